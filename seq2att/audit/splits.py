"""Checks of rows against each other: repeats, contradictions, leaks between splits, characters unseen in training."""

from __future__ import annotations

import itertools
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt

from seq2att.audit.context import Block, Check, Column, Context
from seq2att.field.text import NORMAL_FORMS

Hashes = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]
FEWEST_REPEATS = 10  # different partners of one text, from which it is a filler
SHARE_OF_REPEATS = 0.01  # and of the rows
MANY_UNSEEN = 0.25  # share of the words of a split that training lacks
MAX_WORDS = 1_000_000  # words of training that are remembered; beyond, unseen ones are not counted
SMALL, LARGE = 50, 1000  # rows of a small split, and of a training that deserves a larger one


def key_of(value: Any) -> Any:
    """A value that can be hashed."""
    return value if isinstance(value, str) else repr(value)


def fold(value: Any) -> str:
    """A text without what differs in case and spaces only."""
    return " ".join(str(value).casefold().split())


class Repeats(Check):
    """Duplicates, contradictions, fillers and leaks, by hashes of all rows."""

    needs_all = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.hashes = {side: Column(np.int64) for side in context.sides}
        self.folded = Column(np.int64)
        self.first = next(iter(context.sides))  # the side that identifies a row
        kinds = {name: side.kind for name, side in context.sides.items()}
        self.identifies = kinds[self.first] not in ("label", "number")
        self.kinds = kinds

    def applies(self) -> bool:
        return not self.context.running

    def see(self, block: Block) -> None:
        for side, column in self.hashes.items():
            column.add(block.split, [hash(key_of(value)) for value in block.values[side]])
        if self.kinds[self.first] == "text":
            self.folded.add(block.split, [hash(fold(value)) for value in block.values[self.first]])

    def finish(self) -> None:
        train = self.hashes[self.first].of("train")
        for split in self.hashes[self.first].splits():
            self.duplicates(split)
            if split == "train" or not self.identifies or not len(train):
                continue
            exact = self.leaks("leaked-row", split, self.hashes[self.first], np.zeros(0, np.int64))
            if self.folded.splits():
                self.leaks("nearly-leaked-row", split, self.folded, exact)
        if len(self.hashes) == 2:
            self.contradictions()

    def duplicates(self, split: str) -> None:
        """Rows that repeat an earlier one with both sides."""
        keys = mix([column.of(split) for column in self.hashes.values()])
        first = first_equal(keys)
        rows = np.flatnonzero(first != np.arange(len(first)))
        self.context.add("duplicate-row", split, rows, self.says(split, rows, first[rows], "repeats", split))

    def leaks(self, name: str, split: str, column: Column, known: Numbers) -> Numbers:
        """Rows of a split whose key training has, apart from known ones; returns the rows."""
        train, keys = column.of("train"), column.of(split)
        order = np.argsort(train, kind="stable")
        position = np.minimum(np.searchsorted(train[order], keys), len(train) - 1)
        partner = order[position]
        rows = np.setdiff1d(np.flatnonzero(train[partner] == keys), known)
        text = "is in training:" if name == "leaked-row" else "is nearly in training:"
        self.context.add(name, split, rows, self.says(split, rows, partner[rows], text, "train"))
        if len(rows):
            in_training = self.context.numbers("train", np.flatnonzero(np.isin(train, keys[rows])))
            self.findings.entries[name, split, ""].in_training.extend(in_training)
        return rows

    def says(self, split: str, rows: Numbers, partners: npt.NDArray[Any], verb: str, other: str) -> Any:
        """A function from an entry to what is wrong with it: its partner's place."""
        some = slice(0, 3)
        names = [self.findings.place(other, number) for number in self.context.numbers(other, partners[some])]
        detail = dict(zip(self.context.numbers(split, rows[some]), names, strict=True))
        return lambda number: f"{verb} {detail[number]}" if number in detail else ""

    def contradictions(self) -> None:
        """Sources with several labels in training, and texts that stand for many others."""
        source, target = (self.hashes[side].of("train") for side in ("source", "target"))
        if self.kinds["target"] == "label":
            partners = distinct_partners(source, target)
            rows = np.flatnonzero(partners > 1)
            first = first_equal(source)
            self.context.add(
                "conflicting-labels", "train", rows, self.says("train", rows, first[rows], "same text as", "train")
            )
        if self.context.is_pair:
            least = max(FEWEST_REPEATS, SHARE_OF_REPEATS * len(source))
            for name, one, other, what in (
                ("repeated-target", target, source, "sources"),
                ("repeated-source", source, target, "targets"),
            ):
                partners = distinct_partners(one, other)
                rows = np.flatnonzero(partners >= least)
                most = int(partners.max(initial=0))
                side = name.removeprefix("repeated-")
                self.context.add(name, "train", rows, f"one text for {most:,} different {what}", side)


def mix(columns: list[Hashes]) -> Hashes:
    """One hash for each row."""
    mixed = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        mixed *= np.int64(6364136223846793005)
        mixed += column
    return mixed


def first_equal(keys: Hashes) -> Rows:
    """The first row with the same key, for every row."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    is_first = np.ones(len(keys), bool)
    is_first[1:] = ordered[1:] != ordered[:-1]
    del ordered  # of millions of rows, as much as the keys
    group = np.cumsum(is_first, dtype=np.int32) - np.int32(1)  # [rows] in the order of the keys
    leaders = order[is_first].astype(np.int32)
    first = np.empty(len(keys), np.int32)
    first[order] = leaders[group]
    return first


def distinct_partners(keys: Hashes, partners: Hashes) -> npt.NDArray[np.integer[Any]]:
    """With how many different partners the key of every row occurs."""
    first = first_equal(keys)
    is_new = first_equal(mix([keys, partners])) == np.arange(len(keys))
    return np.bincount(first[is_new], minlength=len(keys))[first] if len(keys) else first


class Unseen(Check):
    """Characters and words of the other splits that training lacks."""

    needs_all = True

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.seen = {side.name: np.zeros(0x110000, bool) for side in context.of_kind("text")}
        self.words: dict[str, set[str]] = {s.name: set() for s in context.of_kind("text") if s.tokenizer == "word"}
        self.counts: dict[tuple[str, str], list[int]] = {}  # words, unseen words, first entry with one

    def see(self, block: Block) -> None:
        """Note the rows of a block by their texts."""
        for side in self.context.of_kind("text"):
            texts = block.texts(side.name)
            if side.normalize != "none" and not block.characters(side.name).is_ascii:
                texts = [unicodedata.normalize(NORMAL_FORMS[side.normalize], text) for text in texts]
            joined = "".join(texts)
            codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
            if block.split == "train":
                self.seen[side.name][codes] = True
                if side.name in self.words and len(self.words[side.name]) < MAX_WORDS:
                    self.words[side.name].update(joined_words(texts))
                continue
            self.unseen_characters(block, side.name, texts, codes)
            self.unseen_words(block, side.name, texts)

    def unseen_characters(self, block: Block, side: str, texts: list[str], codes: Any) -> None:
        """Rows with a character that training lacks."""
        new = np.flatnonzero(~self.seen[side][codes])
        if len(new) and self.context.rows.get("train"):
            ends = np.cumsum([len(text) for text in texts])
            rows = np.searchsorted(ends, new, "right")
            first = {int(block.numbers[row]): chr(codes[p]) for row, p in zip(rows[::-1], new[::-1], strict=True)}
            self.findings.add("unseen-characters", block.split, sorted(first), lambda n: repr(first[n]), side)

    def unseen_words(self, block: Block, side: str, texts: list[str]) -> None:
        """Count the words that training lacks."""
        known = self.words.get(side, set())
        if not known or len(known) >= MAX_WORDS:
            return
        counts = self.counts.setdefault((block.split, side), [0, 0, -1])
        words = joined_words(texts)
        unseen = len(words) - sum(map(known.__contains__, words))
        if unseen and counts[2] < 0:
            is_new = (not all(map(known.__contains__, text.split())) for text in texts)
            counts[2] = int(next(itertools.compress(block.numbers, is_new)))
        counts[0] += len(words)
        counts[1] += unseen

    def finish(self) -> None:
        for (split, side), (total, unseen, first) in self.counts.items():
            if unseen > MANY_UNSEEN * total:
                self.findings.add("unseen-words", split, [first], f"{unseen / total:.0%} of {total:,} words", side)


def joined_words(texts: list[str]) -> list[str]:
    """All words of texts."""
    return " ".join(texts).split()


class Sizes(Check):
    """Splits that are too small, or larger than training."""

    needs_all = True

    def finish(self) -> None:
        rows = self.context.rows
        train = rows.get("train", 0)
        for split, size in rows.items():
            if split == "train" or not size:
                continue
            detail = f"{size:,} rows, training has {train:,}"
            if size < SMALL and train >= LARGE:
                self.findings.add("small-split", split, [0], detail)
            if size > train > 0:
                self.findings.add("large-split", split, [0], detail)
