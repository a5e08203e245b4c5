"""The account of rows: how many were read, kept, moved and dropped, from which file and on which lines.

Lines are listed as ranges, of which a reason keeps so many that its memory is bounded; beyond them rows are counted.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from seq2att.files import write_file

MOST_RANGES = 10_000  # of line numbers that a reason lists, of all files together
MAX_SHOWN = 3  # places that a summary names of each reason
REPORT = "report.json"


class Places:
    """Rows by their file and line: their number, and their lines as ranges while these are few enough."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # file -> rows
        self.ranges: dict[str, list[list[int]]] = {}  # file -> first and last line of every range
        self.num_ranges = 0

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, file: str, line: int) -> None:
        """Count a row."""
        self.counts[file] += 1
        ranges = self.ranges.setdefault(file, [])
        if ranges and ranges[-1][1] + 1 == line:
            ranges[-1][1] = line
        elif self.num_ranges < MOST_RANGES:
            ranges.append([line, line])
            self.num_ranges += 1

    def __iter__(self) -> Iterator[str]:
        """The places that are listed: `file:line`."""
        for file, ranges in self.ranges.items():
            for first, last in ranges:
                yield from (f"{file}:{line}" for line in range(first, last + 1))

    def summary(self) -> str:
        """The first places, and how many more there are."""
        more = f" and {len(self) - MAX_SHOWN:,} more" if len(self) > MAX_SHOWN else ""
        return f"{', '.join(itertools.islice(self, MAX_SHOWN))}{more}"

    def to_json(self) -> dict[str, Any]:
        """The rows and the lines of each file, as `2-5, 9`; and how many rows have no line here."""
        lines = {file: format_ranges(ranges) for file, ranges in self.ranges.items()}
        listed = sum(last - first + 1 for ranges in self.ranges.values() for first, last in ranges)
        return {"rows": len(self), "files": dict(self.counts), "lines": lines, "unlisted": len(self) - listed}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Places:
        """The rows that `to_json` wrote."""
        places = cls()
        places.counts = Counter(content["files"])
        places.ranges = {file: parse_ranges(lines) for file, lines in content["lines"].items()}
        places.num_ranges = sum(map(len, places.ranges.values()))
        return places


def format_ranges(ranges: Iterable[Iterable[int]]) -> str:
    """Ranges of lines as text: `2-5, 9`."""
    return ", ".join(f"{first}-{last}" if first != last else f"{first}" for first, last in ranges)


def parse_ranges(text: str) -> list[list[int]]:
    """The ranges that `format_ranges` wrote."""
    parts = [part.partition("-") for part in text.split(", ") if part]
    return [[int(first), int(last or first)] for first, _, last in parts]


class RowReport:
    """The account of a split: rows read = kept + moved to other splits + dropped, in sum and for each file."""

    def __init__(self, split: str) -> None:
        self.split = split
        self.files: Counter[str] = Counter()  # file -> rows read
        self.kept = 0
        self.moves: dict[str, Counter[str]] = {}  # split -> file -> rows taken from this one
        self.dropped: dict[str, Places] = {}  # reason -> rows
        self.cut: dict[str, Places] = {}
        self.noted: dict[str, Places] = {}  # kept as they are, but unusual
        self.left_out: dict[str, tuple[int, int]] = {}  # side -> tokens that the vocabulary does not have, of how many

    @property
    def read(self) -> int:
        """The rows that were read."""
        return self.files.total()

    @property
    def moved(self) -> dict[str, int]:
        """The rows that each other split took from this one."""
        return {split: files.total() for split, files in self.moves.items()}

    def count(self, kind: dict[str, Places], reason: str, file: str, line: int) -> None:
        """Count a row in `dropped`, `cut` or `noted`."""
        if reason not in kind:
            kind[reason] = Places()
        kind[reason].add(file, line)

    def move(self, split: str, file: str) -> None:
        """Count a row that another split takes."""
        self.moves.setdefault(split, Counter())[file] += 1

    def summary(self) -> str:
        """The report in a few lines, with the first places of each reason."""
        moved = "".join(f", gave {count:,} to {split}" for split, count in self.moved.items())
        lines = [f"{self.split}: read {self.read:,} rows{moved}, kept {self.kept:,}"]
        for verb, reasons in (("dropped", self.dropped), ("cut", self.cut), ("kept, but note", self.noted)):
            lines += [f"  {verb} {len(rows):,}, {reason}: {rows.summary()}" for reason, rows in reasons.items()]
        for side, (number, total) in self.left_out.items():
            lines.append(f"  left out {number:,} of {total:,} tokens of the {side}, which the vocabulary does not have")
        return "\n".join(lines)

    def per_file(self) -> dict[str, dict[str, int]]:
        """The account of each file."""
        result = {}
        for file, read in self.files.items():
            moved = {split: files[file] for split, files in self.moves.items() if files[file]}
            dropped = sum(rows.counts[file] for rows in self.dropped.values())
            kept = read - sum(moved.values()) - dropped
            result[file] = {"read": read, "kept": kept, **{f"moved to {one}": n for one, n in moved.items()}}
            result[file]["dropped"] = dropped
        return result

    def check_sum(self) -> None:
        """Raise RuntimeError where the account does not sum up, which would be our mistake."""
        files = self.per_file().values()
        if min((each["kept"] for each in files), default=0) < 0 or sum(each["kept"] for each in files) != self.kept:
            raise RuntimeError(f"the rows of {self.split} do not sum up: kept {self.kept}, {self.per_file()}")

    def to_json(self) -> dict[str, Any]:
        """The whole account as plain values."""
        total = {"read": self.read, "kept": self.kept, "moved": self.moved}
        kinds = {"dropped": self.dropped, "cut": self.cut, "noted": self.noted}
        reasons = {kind: {reason: rows.to_json() for reason, rows in of.items()} for kind, of in kinds.items()}
        moves = {split: dict(files) for split, files in self.moves.items()}
        left_out = {"tokens_left_out": {side: {"left_out": n, "of": of} for side, (n, of) in self.left_out.items()}}
        tokens = left_out if self.left_out else {}
        return {"split": self.split, **total, "files": self.per_file(), "moves": moves, **reasons, **tokens}

    def save(self, folder: Path) -> None:
        """Write the report into a folder, after its sum was checked."""
        self.check_sum()
        (folder / REPORT).write_text(json.dumps(self.to_json(), ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> RowReport:
        """Read the report of a folder."""
        content = json.loads((folder / REPORT).read_text("utf-8"))
        report = cls(content["split"])
        report.kept = content["kept"]
        report.files = Counter({file: each["read"] for file, each in content["files"].items()})
        report.moves = {split: Counter(files) for split, files in content["moves"].items()}
        for kind in ("dropped", "cut", "noted"):
            setattr(report, kind, {reason: Places.from_json(rows) for reason, rows in content[kind].items()})
        tokens = content.get("tokens_left_out", {})
        report.left_out = {side: (numbers["left_out"], numbers["of"]) for side, numbers in tokens.items()}
        return report


def write_account(path: Path, reports: Iterable[RowReport]) -> None:
    """Write the account of all splits: read, kept, moved and dropped rows, of each file and with their lines."""
    content = {}
    for report in reports:
        content[report.split] = report.to_json()
        del content[report.split]["split"], content[report.split]["moves"]
    write_file(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
