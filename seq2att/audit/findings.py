"""Findings: which rows have a defect, and a few examples of it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.audit.table import DEFECTS, SEVERITIES, Defect, Severity

MAX_EXAMPLES = 3


class Places:
    """The file and line of every entry of a split, numbered from 0: a row, or a line that holds none.

    The line is 0 where an entry is about a file as a whole.
    """

    def __init__(self) -> None:
        self.files: dict[str, int] = {}
        self.file, self.line = array("i"), array("q")

    def add(self, file: str, line: int) -> int:
        """Number an entry."""
        self.file.append(self.files.setdefault(file, len(self.files)))
        self.line.append(line)
        return len(self.line) - 1

    def extend(self, files: Sequence[str], lines: Sequence[int]) -> int:
        """Number several entries; returns the number of the first."""
        start = len(self.line)
        self.file.extend([self.files.setdefault(file, len(self.files)) for file in files])
        self.line.extend(lines)
        return start

    def file_of(self, number: int) -> str:
        """The file of an entry."""
        return next(name for name, index in self.files.items() if index == self.file[number])

    def __len__(self) -> int:
        return len(self.line)


class Example(NamedTuple):
    """One place with a defect."""

    place: str
    detail: str


@dataclass
class Finding:
    """All rows of a split that have one defect."""

    defect: Defect
    split: str
    side: str  # source, target, or empty
    total: int = 0  # rows of the split
    is_sample: bool = False  # whether these are only some of its rows
    value: str = ""  # for the remedy
    advice: str = ""  # a remedy for these rows in place of that of the defect
    numbers: array[int] = field(default_factory=lambda: array("q"))  # entries of the split
    examples: list[Example] = field(default_factory=list)
    in_training: array[int] = field(default_factory=lambda: array("q"))  # leaks: the entries of training to leave out

    @property
    def count(self) -> int:
        """How many rows have the defect."""
        return len(self.numbers)

    @property
    def severity(self) -> Severity:
        """That of the defect; a note where few rows have it."""
        limit = self.defect.tolerance * self.total
        limit += 3 * math.sqrt(limit) if self.is_sample else 0  # as many as chance may bring into a sample
        return "note" if self.count <= limit else self.defect.severity

    @property
    def remedy(self) -> str:
        """What to do, with the values of this finding."""
        side = self.side or "source"
        return self.advice or self.defect.remedy.format(side=side, split=self.split, value=self.value or "NA")

    def to_json(self) -> dict[str, Any]:
        """The finding as plain values."""
        return {
            "defect": self.defect.name,
            "severity": self.severity,
            "split": self.split,
            "side": self.side or None,
            "count": self.count,
            "rows": self.total,
            "meaning": self.defect.meaning,
            "examples": [example._asdict() for example in self.examples],
            "remedy": self.remedy,
        }


class Findings:
    """What was found so far, by defect, split and side."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str, str], Finding] = {}
        self.places: dict[str, Places] = {}
        self.suffixes: Mapping[str, str] = {}  # of the files of each side, where each side has files of its own

    def open(self, split: str) -> Places:
        """The places of a split that begins."""
        return self.places.setdefault(split, Places())

    def add(
        self,
        name: str,
        split: str,
        numbers: Iterable[int] | npt.NDArray[Any],
        detail: Callable[[int], str] | str = "",
        side: str = "",
        value: str = "",
    ) -> None:
        """Count entries of a split with a defect; `detail` says of an entry what is wrong there."""
        numbers = [int(number) for number in numbers]
        if not numbers:
            return
        finding = self.entries.setdefault((name, split, side), Finding(DEFECTS[name], split, side, value=value))
        finding.numbers.extend(numbers)
        for number in numbers[: MAX_EXAMPLES - len(finding.examples)]:
            text = detail if isinstance(detail, str) else detail(number)
            finding.examples.append(Example(self.place(split, number, side), text))

    def place(self, split: str, number: int, side: str = "") -> str:
        """The place of an entry, in the file of a side where each side has one."""
        places = self.places[split]
        file, line = places.file_of(number), places.line[number]
        suffix = next((one for one in self.suffixes.values() if file.endswith(f".{one}")), "")
        if suffix and side in self.suffixes:
            file = file.removesuffix(suffix) + self.suffixes[side]
        return f"{file}:{line}" if line else file

    def sorted(self, rows: Mapping[str, int], is_sample: bool = False) -> list[Finding]:
        """The findings by severity, then by count; `rows` are the rows of each split."""
        for finding in self.entries.values():
            finding.total, finding.is_sample = rows.get(finding.split, 0), is_sample
            finding.numbers = array("q", np.unique(np.array(finding.numbers, np.int64)).tolist())
        order = list(DEFECTS)
        return sorted(
            self.entries.values(),
            key=lambda one: (SEVERITIES.index(one.severity), order.index(one.defect.name), one.split, one.side),
        )


def shown(text: str, size: int = 50) -> str:
    """A text in quotes, truncated, with what nobody sees as escapes."""
    text = text if len(text) <= size else f"{text[: size - 3]}..."
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in f"'{text}'")
