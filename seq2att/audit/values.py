"""Checks of single values: empty and missing ones, headers among the rows, numbers, lengths."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from seq2att.audit.context import Block, Check, Column, Context, Side
from seq2att.audit.findings import shown
from seq2att.errors import UserError

MARKERS = frozenset(("na", "n/a", "nan", "<na>", "#n/a", "null", "nil", "none", "-", "--", "?"))
"""Values that often stand for a missing one, in lower case."""
FEWEST = 3  # rows with a marker in a side of single words, below which it is a word
SENTENCE = 3  # words of a usual text, from which one that is only a marker is odd
HEADERS = frozenset(
    "source target src tgt text label labels class category sentence sentences sentiment tag tags word words input "
    "output question answer review title rating score value number y x id document content translation english german "
    "french korean lemma form features".split()
)
NAME = re.compile(r"[A-Za-z_][\w ./-]{0,30}")
WITH_UNIT = re.compile(
    r"\s*[-+]?[$€£¥₩]?\s*[-+]?[\d.,\u00a0 ]*\d[\d.,]*\s*(?:[%$€£¥₩°]|[A-Za-zµ]{1,5}|[가-힣]{1,3})?\s*"
)
OUTLIER = 25.0  # robust deviations from the median


class Values(Check):
    """Empty and missing values."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.markers: dict[tuple[str, str], list[tuple[int, str]]] = {}  # (split, side) -> entries and values
        self.words: dict[str, list[float]] = {}  # of each side, the median number of words of each block
        self.missing = frozenset(context.data["missing"])

    def applies(self) -> bool:
        return not self.context.running

    def see(self, block: Block) -> None:
        for name, side in self.context.sides.items():
            values = block.values[name]
            for row, value in enumerate(values):
                if type(value) is str and len(value) <= 4 and value.strip().lower() in MARKERS - self.missing:
                    self.markers.setdefault((block.split, name), []).append((int(block.numbers[row]), value.strip()))
            if side.kind == "text":
                words = block.characters(name).words
                self.words.setdefault(name, []).append(float(np.median(words)))
                self.overlong(block, side)

    def overlong(self, block: Block, side: Side) -> None:
        """Rows that are surely longer than `data.max_length`."""
        limit = self.context.data["max_length"]
        if limit is None or self.context.data["too_long"] != "refuse":
            return
        characters = block.characters(side.name)
        sizes = characters.lengths if side.tokenizer in ("char", "byte") else characters.words
        rows = np.flatnonzero(sizes > limit)
        detail = {int(block.numbers[row]): f"{int(sizes[row]):,} tokens or more, limit {limit:,}" for row in rows}
        self.findings.add("overlong-row", block.split, list(detail), detail.__getitem__, side.name)

    def finish(self) -> None:
        for (split, side), markers in self.markers.items():
            kind = self.context.sides[side].kind
            is_sentence = float(np.median(self.words.get(side, [0]))) >= SENTENCE
            counts: dict[str, int] = {}
            for _, value in markers:
                counts[value] = counts.get(value, 0) + 1
            for number, value in markers:
                if kind != "text" or is_sentence or counts[value] >= FEWEST:
                    commonest = max(counts, key=lambda one: counts[one])
                    setting = commonest if commonest.isalnum() else f'"{commonest}"'  # YAML reads some signs otherwise
                    self.findings.add("missing-marker", split, [number], shown(value), side, setting)


class Headers(Check):
    """Names of columns that are read as rows."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.first: tuple[str, ...] = ()  # the values of a first row that looks like a header

    def see(self, block: Block) -> None:
        """Compare the sides of the rows of a block."""
        sides = list(self.context.sides)
        rows = list(zip(*(block.values[side] for side in sides), strict=True))
        if block.is_first and block.split == "train":
            self.first = rows[0] if rows and is_header(rows[0], [self.context.sides[s] for s in sides], rows) else ()
            if self.first:
                self.findings.add("header-as-row", block.split, [int(block.numbers[0])], shown(" | ".join(self.first)))
        names = [0] if self.first and block.is_first and block.split == "train" else []
        headers = {self.first, self.context.header} - {()}
        for row, values in enumerate(rows):
            if headers and type(values[0]) is str and values in headers and not (row == 0 and block.is_first):
                number = int(block.numbers[row])
                self.findings.add("repeated-header", block.split, [number], shown(" | ".join(values)))
                names.append(row)
        for side in sides if self.context.separator else ():
            if self.context.can_quote:
                self.swallowed(block, side)
            else:
                self.quoted(block, side)
        if names:
            block.leave_out(names)

    def swallowed(self, block: Block, side: str) -> None:
        """Values that hold whole rows: lines with as many columns as the file, one of them a label of the block."""
        separator, width = self.context.separator, self.context.width
        labels = {one for kind in self.context.of_kind("label") for one in block.values[kind.name]}
        for row, value in enumerate(block.values[side]):
            if not isinstance(value, str) or "\n" not in value:
                continue
            lines = [line.split(separator) for line in value.split("\n")[1:]]
            rows = [cells for cells in lines if len(cells) == width and (not labels or labels & set(cells))]
            if 2 * len(rows) >= len(lines):
                detail = f"{len(rows):,} rows in one {side}"
                self.findings.add("swallowed-lines", block.split, [int(block.numbers[row])], detail)

    def quoted(self, block: Block, side: str) -> None:
        """Values of a tab-separated file that stand in quotes."""
        rows = [row for row, value in enumerate(block.values[side]) if is_quoted(value)]
        details = {int(block.numbers[row]): shown(str(block.values[side][row])) for row in rows}
        self.findings.add("literal-quotes", block.split, list(details), details.__getitem__, side)


def is_quoted(value: Any) -> bool:
    """Whether a value is a text in quotes."""
    return isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"'


def is_header(row: Sequence[Any], sides: Sequence[Side], rows: Sequence[Sequence[Any]]) -> bool:
    """Whether the first row looks like the names of columns, and unlike the rows after it."""
    if not all(isinstance(value, str) and NAME.fullmatch(value.strip()) for value in row):
        return False
    known = [value.strip().lower() in HEADERS for value in row]
    others = rows[1:]
    for value, side, is_known, index in zip(row, sides, known, range(len(row)), strict=True):
        if side.kind == "number" and others and not is_number(value) and is_number(others[0][index]):
            return True
        if side.kind == "label" and is_known and all(other[index] != value for other in others[:100]):
            return True
    return all(known) and len(row) > 1


def is_number(value: Any) -> bool:
    """Whether a value is a finite or infinite number."""
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


class Numbers(Check):
    """Fields of one number, and vectors of one width."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.numbers = {side.name: Column(np.float64) for side in context.of_kind("number")}
        self.width: dict[str, int] = {}

    def see(self, block: Block) -> None:
        for side, column in self.numbers.items():
            column.add(block.split, [self.parse(block, side, row) for row in range(len(block))])
        for one in self.context.of_kind("vector"):
            self.vectors(block, one)

    def parse(self, block: Block, side: str, row: int) -> float:
        """The number of a row, NaN where it is none."""
        value, number = block.values[side][row], int(block.numbers[row])
        try:
            parsed = float(value)
        except (TypeError, ValueError):
            text = str(value)
            if text.strip() and not is_marker(text, self.context):
                name = "number-format" if WITH_UNIT.fullmatch(text) else "not-a-number"
                self.findings.add(name, block.split, [number], shown(text), side)
            return float("nan")
        if not np.isfinite(parsed) and not is_marker(str(value), self.context):
            self.findings.add("infinite-number", block.split, [number], str(value), side, str(value))
        return parsed

    def vectors(self, block: Block, side: Side) -> None:
        """Rows whose vector cannot be read, or has another width."""
        for row, value in enumerate(block.values[side.name]):
            number = int(block.numbers[row])
            if isinstance(value, str | list) and not value:
                continue
            try:
                width = side.field.parse(value).shape[-1]  # type: ignore[attr-defined]
            except UserError as error:
                name = "infinite-number" if "finite" in error.problem else "not-a-number"
                self.findings.add(name, block.split, [number], shown(str(value)), side.name, error.subject)
                continue
            if width and width != self.width.setdefault(side.name, width):
                detail = f"{width} numbers, the first row has {self.width[side.name]}"
                self.findings.add("vector-width", block.split, [number], detail, side.name)

    def finish(self) -> None:
        """Examine the numbers of each side as a whole."""
        for side, column in self.numbers.items():
            train = column.of("train")
            train = train[np.isfinite(train)]
            if len(train) > 1 and (train == train[0]).all():
                self.findings.add("constant-number", "train", [0], f"{len(train):,} rows of {train[0]:g}", side)
            if len(train) < 20:
                continue
            middle = float(np.median(train))
            width = 1.4826 * float(np.median(np.abs(train - middle)))
            for split in column.splits() if width else ():
                values = column.of(split)
                far = np.flatnonzero(np.isfinite(values) & (np.abs(values - middle) > OUTLIER * width))
                self.context.add_each("number-outlier", split, far, [f"{value:g}" for value in values[far]], side)


def is_marker(text: str, context: Context) -> bool:
    """Whether a text stands for a missing value, by the settings or by custom."""
    return text.strip() in context.data["missing"] or text.strip().lower() in MARKERS
