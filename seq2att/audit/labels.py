"""Checks of classes and tags: names that look alike, that are rare or unseen, and sequences of tags."""

from __future__ import annotations

import itertools
import re
import unicodedata
from array import array
from collections import Counter
from collections.abc import Iterable

import numpy as np

from seq2att.audit.context import Block, Check, Column, Context
from seq2att.audit.findings import shown
from seq2att.field.tags import BOUNDARY, SPAN, is_valid_transition

HIDDEN = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
BETWEEN = re.compile(r"(?<=\w)[\s_-]+(?=\w)")
RARE = 5  # training rows of a class, below which it is rare
COMMON = 20  # rows of the median class, from which a rare one is remarkable
UNBALANCED = 0.95  # share of the largest class
DIFFERENT = 0.3  # half the sum of the differences of the shares of all classes
MANY = 0.5  # classes for each row
MOST_CLASSES = 100_000  # different labels, beyond which they are none
ENOUGH = 50  # rows, below which shares say little
SPAN_TAGS = 0.98  # share of the tags that are those of spans, from which others are odd
ANOTHER_SCHEME = 0.3  # share of the training rows that break the rules of BIO, from which they follow another one


def spelling(name: str) -> str:
    """A name without what is easily overlooked: case, spaces, invisible characters, Unicode form."""
    text = HIDDEN.sub("", unicodedata.normalize("NFKC", name)).casefold().strip()
    return BETWEEN.sub("", text)


class Names(Check):
    """What checks of labels and of tags share: every name with its rows."""

    kind = "label"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.side = next((side.name for side in context.of_kind(self.kind)), "")
        self.index: dict[str, int] = {}
        self.counts: dict[str, Counter[str]] = {}

    def applies(self) -> bool:
        return bool(self.side)

    def commonest(self) -> dict[str, str]:
        """The names that another one looks like, each with the commonest of these."""
        total: Counter[str] = sum(self.counts.values(), Counter())
        groups: dict[str, list[str]] = {}
        for name in total:
            groups.setdefault(spelling(name), []).append(name)
        alike = {}
        for names in groups.values():
            best = max(names, key=lambda name: (total[name], name))
            alike.update({name: best for name in names if name != best})
            if len(names) > 1:
                self.context.spellings[spelling(best)] = best
        return alike


class Labels(Names):
    """The classes of the rows."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.ids = Column(np.int32)
        self.alike: dict[str, str] = {}
        self.candidates: list[tuple[str, int, str, str]] = []  # split, entry, label, source

    def see(self, block: Block) -> None:
        if len(self.index) > MOST_CLASSES:
            return
        names = [text.strip() for text in block.texts(self.side)]
        self.counts.setdefault(block.split, Counter()).update(names)
        for name in set(names):
            self.index.setdefault(name, len(self.index))
        self.ids.add(block.split, [self.index[name] for name in names])
        if "source" in block.values and self.side == "target":
            sources = block.texts("source")
            rows = [row for row, text in enumerate(sources) if text.strip() in self.index]
            self.candidates += [(block.split, int(block.numbers[r]), names[r], sources[r].strip()) for r in rows]

    def finish(self) -> None:
        """Compare the classes of the splits with those of training."""
        train = self.counts.get("train", Counter())
        if len(self.index) > MOST_CLASSES:
            self.findings.add("too-many-classes", "train", [0], f"more than {MOST_CLASSES:,} classes", self.side)
            return
        self.alike = self.commonest()
        odd = self.report_swapped() | set(self.alike)
        for split in self.ids.splits():
            alike = [name for name in self.alike if name in self.counts[split]]
            for name in alike:
                detail = f"{shown(name)} and {shown(self.alike[name])}"
                self.add("look-alike-labels", split, [name], detail, self.alike[name])
            if split != "train":
                new = [name for name in self.counts[split] if name not in train and name not in odd]
                for name in new:
                    self.add("unseen-label", split, [name], shown(name))
                self.compare(split, {name for name in train if name not in odd})
        self.training(train, odd)
        self.order()

    def add(self, name: str, split: str, labels: Iterable[str], detail: str, value: str = "") -> None:
        """Add the rows of a split that have one of these labels."""
        ids = [self.index[label] for label in labels]
        numbers = self.context.numbers(split, np.flatnonzero(np.isin(self.ids.of(split), ids)))
        self.findings.add(name, split, numbers, detail, self.side, value)

    def report_swapped(self) -> set[str]:
        """Find rows whose source is a class and whose label is hardly one; returns these labels."""
        total: Counter[str] = sum(self.counts.values(), Counter())
        swapped = set()
        for split, number, label, source in self.candidates:
            if total[label] <= 2 and total[source] > 2 * total[label]:
                swapped.add(label)
                self.findings.add("swapped-columns", split, [number], f"source {shown(source)}, target {shown(label)}")
        return swapped

    def training(self, train: Counter[str], odd: set[str]) -> None:
        """Judge the classes of training."""
        rows, sizes = train.total(), sorted(count for name, count in train.items() if name not in odd)
        if not sizes:
            return
        name, most = train.most_common(1)[0]
        if len(train) == 1 and rows > 1:
            self.findings.add("single-class", "train", [0], f"{rows:,} rows of {shown(name)}", self.side)
        elif most > UNBALANCED * rows and rows >= ENOUGH:
            self.findings.add("unbalanced-classes", "train", [0], f"{most / rows:.1%} are {shown(name)}", self.side)
        if len(train) > MANY * rows and rows >= ENOUGH:
            self.findings.add("too-many-classes", "train", [0], f"{len(train):,} classes in {rows:,} rows", self.side)
        elif sizes[len(sizes) // 2] >= COMMON:
            for name, count in train.items():
                if count < RARE and name not in odd:
                    self.add("rare-class", "train", [name], f"{shown(name)}: {count} of {rows:,} rows", name)

    def compare(self, split: str, classes: set[str]) -> None:
        """Judge how the classes of a split differ from those of training."""
        train, counts = self.counts["train"] if "train" in self.counts else Counter(), self.counts[split]
        absent = sorted(name for name in classes if name not in counts and train[name] >= RARE)
        if absent:
            names = ", ".join(map(shown, absent[:5]))
            self.findings.add("absent-class", split, [0], f"{len(absent):,}: {names}", self.side)
        if counts.total() >= ENOUGH and train:
            gaps = {name: abs(counts[name] / counts.total() - train[name] / train.total()) for name in classes}
            if sum(gaps.values()) / 2 > DIFFERENT:
                name = max(gaps, key=lambda one: gaps[one])
                shares = [f"{c[name] / c.total():.0%} of {s}" for c, s in ((counts, split), (train, "train"))]
                detail = f"{shown(name)}: {' and '.join(shares)}"
                self.findings.add("different-classes", split, [0], detail, self.side)

    def order(self) -> None:
        """Judge the order of the classes, where the end of training is taken for other splits."""
        ids = self.ids.of("train")
        data = self.context.data
        taken = [one for one in ("validation", "test") if one not in self.counts and data[f"{one}_fraction"]]
        is_sorted = np.count_nonzero(np.diff(ids)) < 2 * len(set(ids.tolist()))
        if data["split"] == "end" and taken and len(ids) >= ENOUGH and is_sorted and len(self.index) > 1:
            start = int(np.flatnonzero(np.diff(ids))[-1]) + 1
            self.context.add("sorted-classes", "train", np.array([start]), "the last class begins here", self.side)


class Tags(Names):
    """A tag for every word."""

    kind = "tags"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.rows: dict[tuple[str, str], array[int]] = {}  # (split, tag) -> entries
        self.broken: dict[str, list[tuple[int, str]]] = {}

    def see(self, block: Block) -> None:
        """Count the tags of a block, and examine their sequences."""
        tags = [text.split() for text in block.texts(self.side)]
        counts = self.counts.setdefault(block.split, Counter())
        counts.update(itertools.chain.from_iterable(tags))
        source = self.context.sides.get("source")
        if source is not None and source.kind == "text" and source.tokenizer == "word":
            words = block.characters("source").words
            wrong = np.flatnonzero(words != np.array([len(row) for row in tags]))
            sizes = {int(block.numbers[row]): f"{len(tags[row])} tags for {words[row]} words" for row in wrong}
            self.findings.add("tag-count", block.split, list(sizes), sizes.__getitem__)
        for number, row in zip(block.numbers.tolist(), tags, strict=True):
            for tag in set(row):
                self.rows.setdefault((block.split, tag), array("q")).append(number)
            problem = broken_span(row)
            if problem:
                self.broken.setdefault(block.split, []).append((number, problem))

    def finish(self) -> None:
        """Name the tags that look alike or are missing in training."""
        train = self.counts.get("train", Counter())
        self.alike = self.commonest()
        total: Counter[str] = sum(self.counts.values(), Counter())
        spans = sum(count for tag, count in total.items() if SPAN.fullmatch(tag))
        is_span = spans >= SPAN_TAGS * total.total() and any(tag[0] == "B" for tag in total if SPAN.fullmatch(tag))
        for (split, tag), numbers in self.rows.items():
            if tag in self.alike:
                detail = f"{shown(tag)} and {shown(self.alike[tag])}"
                self.findings.add("look-alike-labels", split, numbers, detail, self.side, self.alike[tag])
            elif is_span and not SPAN.fullmatch(tag):
                self.findings.add("odd-tag", split, numbers, shown(tag), self.side, tag)
            elif split != "train" and tag not in train:
                self.findings.add("unseen-tag", split, numbers, shown(tag), self.side, tag)
        is_bio = len(self.broken.get("train", ())) <= ANOTHER_SCHEME * max(self.context.rows.get("train", 0), 1)
        for split, rows in self.broken.items() if is_span and is_bio else ():
            details = dict(rows)
            self.findings.add("broken-span", split, list(details), details.__getitem__, self.side)


def broken_span(tags: list[str]) -> str:
    """The first place where a tag continues no span, as text; empty where there is none."""
    for one, two in itertools.pairwise((BOUNDARY, *tags)):
        if two[:1] in ("I", "E") and SPAN.fullmatch(two) and not is_valid_transition(one, two, False):
            return f"{two} after {one or 'the beginning'}"
    return ""
