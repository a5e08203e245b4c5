"""Checks of pairs of texts: lengths, copies, numbers, shifts, and sides that were swapped or not translated."""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.audit.characters import Characters
from seq2att.audit.context import Block, Check, Column, Context
from seq2att.audit.findings import shown

Floats = npt.NDArray[np.floating[Any]]
FEATURES = (("length",), ("DIGIT",), ("QUESTION",), ("COMMA",), ("STOP",), ("UPPER",))
"""What a source and its target have alike: how many characters there are, and of each of these classes."""
RATIO = math.log(4)  # a text this many times longer or shorter than usual is an outlier
SMOOTHING = 5  # characters added to both lengths: short texts vary more
COPYING_TASK = 0.2  # share of equal sides above which copying is the task, as in normalisation
NUMERIC = re.compile(r"\d[\d.,\u00a0\u202f' ]*\d")
KEEP_NUMBERS = 0.7  # share of the rows with numbers that have them in the target, from which others are wrong
LEAST_SHIFTED = 40  # rows
LEAST_SLOPE = 0.3  # standard deviations by which a shifted target fits better, on average
CELLS = 1 << 16  # hashed pairs of characters
LEARNED = 20_000  # rows from which the spelling of the sides is learned
EVIDENCE = 8.0  # nats that a text is of the other side


class Lengths(Check):
    """Sides of unlike length, copies, missing numbers."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.sizes = {side: Column(np.int32) for side in context.sides}
        self.copies, self.with_numbers, self.without = Column(np.bool_), 0, Column(np.bool_)

    def applies(self) -> bool:
        return self.context.is_pair

    def see(self, block: Block) -> None:
        source, target = block.characters("source"), block.characters("target")
        for side, characters in (("source", source), ("target", target)):
            self.sizes[side].add(block.split, characters.lengths)
        pairs = zip(source.texts, target.texts, strict=True)
        self.copies.add(block.split, [one == two and len(one) > 1 for one, two in pairs])
        lacks = np.zeros(len(block), bool)
        for row in np.flatnonzero(source.count("DIGIT") > 1).tolist():
            numbers = {digits(text) for text in NUMERIC.findall(source.texts[row])}
            self.with_numbers += bool(numbers) and block.split == "train"
            lacks[row] = not all(number in digits(target.texts[row]) for number in numbers)
        self.without.add(block.split, lacks)

    def finish(self) -> None:
        """Name the pairs whose lengths differ more than usual."""
        train = self.ratios("train")
        middle = float(np.median(train)) if len(train) else 0.0
        width = float(np.median(np.abs(train - middle))) if len(train) else 0.0
        limit = max(RATIO, 10 * width)
        is_copying = float(self.copies.of("train").mean() if len(train) else 0) > COPYING_TASK
        keeps = int(self.without.of("train").sum()) <= (1 - KEEP_NUMBERS) * self.with_numbers
        for split in self.copies.splits():
            sizes = [self.sizes[side].of(split) for side in ("source", "target")]
            far = np.flatnonzero((np.abs(self.ratios(split) - middle) > limit) & (np.minimum(*sizes) > 0))
            texts = [f"{one} and {two} characters" for one, two in zip(*(size[far] for size in sizes), strict=True)]
            self.context.add_each("length-ratio", split, far, texts)
            if not is_copying:
                self.context.add("copied-source", split, np.flatnonzero(self.copies.of(split)))
            if keeps and self.with_numbers:
                self.context.add("missing-numbers", split, np.flatnonzero(self.without.of(split)))

    def ratios(self, split: str) -> Floats:
        """The logarithm of the ratio of the lengths of every row."""
        source, target = (self.sizes[side].of(split) + SMOOTHING for side in ("source", "target"))
        return np.asarray(np.log(np.divide(target, source, dtype=np.float32)))


def digits(text: str) -> str:
    """The digits of a text alone."""
    return "".join(character for character in text if character.isdecimal())


class Shift(Check):
    """Pairs that are shifted by one from some line on: the neighbour fits better than the own target."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        sizes = [np.uint16 if kinds == ("length",) else np.uint8 for kinds in FEATURES]
        self.features = [(Column(size), Column(size)) for size in sizes]  # [features] of both sides

    def applies(self) -> bool:
        return self.context.is_pair

    def see(self, block: Block) -> None:
        for kinds, columns in zip(FEATURES, self.features, strict=True):
            for side, column in zip(("source", "target"), columns, strict=True):
                characters = block.characters(side)
                numbers = characters.lengths if kinds == ("length",) else characters.count(*kinds)
                column.add(block.split, np.minimum(numbers, np.iinfo(column.dtype).max))

    def finish(self) -> None:
        for split in self.features[0][0].splits():
            for gain, which in zip(self.gains(split), ("next", "previous"), strict=True):
                segment = rising_segment(gain)
                if segment is not None:
                    rows = np.arange(*segment)
                    detail = f"from about here on, {len(rows):,} sources fit the {which} target better than their own"
                    self.context.add("shifted-pairs", split, rows, detail)
        self.features.clear()

    def gains(self, split: str) -> tuple[Floats, Floats]:
        """How much more every source is like the next and the previous target than like its own.

        That is summed over the features, with their correlation as weight.
        """
        rows = len(self.features[0][0].of(split))
        gains = (np.zeros(rows, np.float32), np.zeros(rows, np.float32))
        for one, other in self.features:
            source, target = standardized(one.of(split)), standardized(other.of(split))
            aligned = source * target
            for gain, step in zip(gains, (1, -1), strict=True):
                moved = np.roll(target, -step)
                moved *= source
                weight = max(float(aligned.mean()), float(moved.mean())) if rows else 0.0
                if weight > 0.2:
                    moved -= aligned
                    moved *= np.float32(weight)
                    gain += moved
        if rows:
            gains[0][-1] = gains[1][0] = 0.0
        return gains


def standardized(counts: npt.NDArray[Any]) -> Floats:
    """The logarithm of counts with mean 0 and deviation 1; zeros where all are equal."""
    share = np.bincount(counts) / max(len(counts), 1)  # [largest count + 1]
    values = np.log1p(np.arange(len(share)))
    values -= share @ values
    deviation = math.sqrt(share @ values**2)
    table = values / deviation if deviation > 1e-6 else np.zeros_like(values)
    return np.asarray(table.astype(np.float32)[counts])


def rising_segment(gain: Floats) -> tuple[int, int] | None:
    """The rows with the largest sum of gains; None where a walk over aligned rows could reach it by chance."""
    rows, deviation = len(gain), float(gain.std()) if len(gain) else 0.0
    if rows < LEAST_SHIFTED or deviation < 1e-6:
        return None
    walk = np.zeros(rows + 1)
    np.cumsum(gain, out=walk[1:])
    walk /= deviation
    rise = np.minimum.accumulate(walk)
    np.subtract(walk, rise, out=rise)  # in place: rows are millions
    end = int(rise.argmax())
    start = int(walk[: end + 1].argmin())
    is_steep = rise[end] >= LEAST_SLOPE * (end - start)
    is_high = rise[end] > (math.log(rows) + 12) / (2 * LEAST_SLOPE)
    return (start, end) if is_steep and is_high and end - start >= LEAST_SHIFTED else None


class Pending(NamedTuple):
    """Rows that wait until the spelling is learned."""

    split: str
    numbers: npt.NDArray[np.int64]
    sides: tuple[Characters, Characters]


class Spelling(Check):
    """Sides that were swapped or not translated, by the pairs of neighbouring characters that each side has."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.pending: list[Pending] = []
        self.rows = 0
        self.weights: Floats | None = None  # [CELLS] how much more likely a pair is in a source; None: not learned
        self.median_evidence = (0.0, 0.0)  # of the sources and of the targets
        self.is_clear = False

    def applies(self) -> bool:
        return self.context.is_pair

    def see(self, block: Block) -> None:
        sides = (block.characters("source"), block.characters("target"))
        pending = Pending(block.split, block.numbers, sides)
        if self.weights is not None:
            self.examine(pending)
            return
        self.pending.append(pending)
        self.rows += len(block)
        if self.rows >= LEARNED:
            self.learn()

    def finish(self) -> None:
        if self.weights is None and self.pending:
            self.learn()

    def learn(self) -> None:
        """Learn from the pending rows, and examine them."""
        totals = [sum(np.bincount(cells(p.sides[i])[0], minlength=CELLS) for p in self.pending) for i in (0, 1)]
        shares = [np.log((total + 0.5) / (np.sum(total) + 0.5 * CELLS)) for total in totals]
        self.weights = np.clip(shares[0] - shares[1], -4.0, 4.0)
        means = [np.concatenate([mean_weight(p.sides[i], self.weights)[0] for p in self.pending]) for i in (0, 1)]
        self.median_evidence = (float(np.median(means[0])), float(np.median(means[1])))
        in_order = (means[0] > means[1]).mean()
        self.is_clear = self.median_evidence[0] > 0.2 and self.median_evidence[1] < -0.2 and in_order > 0.75
        for pending in self.pending:
            self.examine(pending)
        self.pending.clear()

    def examine(self, rows: Pending) -> None:
        """Find the rows whose sides are spelled like the other side."""
        if not self.is_clear or self.weights is None:
            return
        (source, source_sum), (target, target_sum) = (mean_weight(side, self.weights) for side in rows.sides)
        odd_source = (source < 0.5 * self.median_evidence[1]) & (source_sum < -EVIDENCE)
        odd_target = (target > 0.5 * self.median_evidence[0]) & (target_sum > EVIDENCE)
        is_copy = np.array([one == two for one, two in zip(rows.sides[0].texts, rows.sides[1].texts, strict=True)])

        def add(name: str, mask: npt.NDArray[np.bool_], side: int) -> None:
            indices = np.flatnonzero(mask)
            texts = {int(rows.numbers[row]): shown(rows.sides[side].texts[row]) for row in indices[:3].tolist()}
            where = "" if name == "swapped-columns" else ("source", "target")[side]
            self.findings.add(name, rows.split, rows.numbers[indices], lambda number: texts.get(number, ""), where)

        add("swapped-columns", odd_source & odd_target, 0)
        add("wrong-language", odd_source & ~odd_target & ~is_copy, 0)
        add("wrong-language", odd_target & ~odd_source & ~is_copy, 1)


def cells(characters: Characters) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The hashed pairs of neighbouring characters, and the row of each."""
    codes, owner = characters.codes.astype(np.uint32), characters.owner
    same = owner[1:] == owner[:-1]
    hashed = (codes[:-1] * np.uint32(40503) + codes[1:] * np.uint32(2654435)) & np.uint32(CELLS - 1)  # wraps around
    return hashed[same], owner[1:][same]


def mean_weight(characters: Characters, weights: Floats) -> tuple[Floats, Floats]:
    """The mean weight of the pairs of every row, and their sum."""
    hashed, owner = cells(characters)
    rows = len(characters.texts)
    total = np.bincount(owner, weights=weights[hashed], minlength=rows)
    return np.asarray(total / np.maximum(np.bincount(owner, minlength=rows), 1)), np.asarray(total, np.float64)
