"""Rows for an audit: read as training reads them, but past what cannot be read, which is counted."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2att.audit.context import Block, Context
from seq2att.audit.findings import shown
from seq2att.data.reading import SIDES, to_python
from seq2att.errors import UserError
from seq2att.files.encoding import OtherEncodingError
from seq2att.reader import Csv, Parallel, Reader, Row, TableReader, Tsv
from seq2att.reader.hub import HuggingFace

ROWS = 4096  # of a block
CHARACTERS = 1 << 20  # of a block, about
FEW = 64  # rows that are read before their characters are counted
MOST_DAMAGED = 0.05  # share of rows with wrong bytes, above which a file is in another encoding, not damaged
UNDECODABLE = "undecodable-bytes"
OF_CODE = {
    "E-encoding": UNDECODABLE,
    "E-length": "unequal-lines",
    "E-row": "malformed-row",
    "E-file": "unreadable-file",
}
"""The defect that an error of a reader stands for, where the reader says no other."""


def file_reader(reader: Reader, root: Path | None) -> Reader:
    """The reader of the files themselves: of a hub's data set that is read from local files, the one of these."""
    if isinstance(reader, HuggingFace) and reader.local is not None and root is not None:
        return reader.local
    return reader


class Intake:
    """Reads the splits of a reader in blocks."""

    def __init__(self, reader: Reader, root: Path | None, context: Context) -> None:
        self.reader, self.root, self.context = file_reader(reader, root), root, context
        self.missing = frozenset(context.data["missing"])
        self.split = ""
        self.faults: dict[tuple[str, str, str], set[int]] = {}  # defect, split and file -> lines
        self.encodings: dict[tuple[str, str], OtherEncodingError] = {}  # split and file -> the first such error
        if isinstance(self.reader, Parallel):
            context.findings.suffixes = dict(zip(SIDES, self.reader.suffixes, strict=False))

    def blocks(self, split: str) -> Iterator[Block]:
        """Yield the rows of a split that have a value on every side; count the others, and lines without a row."""
        self.split = split
        places = self.context.findings.open(split)
        self.context.rows[split] = 0
        self.reader.fault = self.fault
        is_first = True
        try:
            self.columns(split)
            rows = (row for row in self.reader.read(split, self.root) if not row.skipped)
            while chunk := next_rows(rows):
                start = places.extend([row.file for row in chunk], [row.line for row in chunk])
                self.context.rows[split] += len(chunk)
                yield self.block(chunk, start, is_first)
                is_first = False
        except UserError as error:
            if error.code not in OF_CODE:  # a setting
                raise
            self.fault(OF_CODE[error.code], error)
        finally:
            del self.reader.fault

    def block(self, rows: Sequence[Row], start: int, is_first: bool) -> Block:
        """The block of some rows; those with an empty side are found and left out."""
        context = self.context
        columns = {side: [to_python(row.values[SIDES.index(side)]) for row in rows] for side in context.sides}
        is_whole = np.ones(len(rows), bool)
        for side, values in () if context.running else columns.items():
            if self.all_present(values):
                continue
            for row, value in enumerate(values):
                name = self.absence(value)
                if name:
                    is_whole[row] = False
                if name in ("blank-text", "empty-side"):
                    detail = "white space only" if name == "blank-text" else f"no {side}"
                    context.findings.add(name, self.split, [start + row], detail, side)
        if self.faults:
            is_whole &= ~np.array([self.is_undecodable(row) for row in rows], bool)
        numbers = start + np.flatnonzero(is_whole)
        if len(numbers) < len(rows):
            columns = {side: list(itertools.compress(values, is_whole)) for side, values in columns.items()}
        return Block(context, self.split, numbers, columns, is_first)

    def all_present(self, values: Sequence[Any]) -> bool:
        """Whether all values are texts that say something; False where that takes a closer look."""
        return (
            not self.missing and set(map(type, values)) == {str} and all(values) and not any(map(str.isspace, values))
        )

    def absence(self, value: Any) -> str:
        """The defect of a value that is none, `missing` for a text that the settings name; empty for a value."""
        if not isinstance(value, str):
            return "empty-side" if value is None or value == [] else ""
        if not value:
            return "empty-side"
        if value.isspace():
            return "blank-text"
        return "missing" if self.missing and value.strip() in self.missing else ""

    def fault(self, name: str, error: UserError) -> None:
        """Count a line that the reader cannot read."""
        place, colon, line = error.subject.rpartition(":")
        file = relative(place if colon and line.isdecimal() else error.subject, self.root)
        at = int(line) if colon and line.isdecimal() else 0
        lines = self.faults.setdefault((name, self.split, file), set())
        if at and at in lines:  # the first lines are read twice, for the names of the columns
            return
        lines.add(at)
        findings = self.context.findings
        findings.add(name, self.split, [findings.places[self.split].add(file, at)], error.problem)
        if isinstance(error, OtherEncodingError) and (self.split, file) not in self.encodings:
            self.encodings[self.split, file] = error
            finding = findings.entries[name, self.split, ""]
            finding.advice = finding.advice or error.remedy

    def is_undecodable(self, row: Row) -> bool:
        """Whether the first line of a row, in any of its files, has bytes that are not text."""
        files = {row.file}
        if isinstance(self.reader, Parallel):
            name = row.file.removesuffix(self.reader.suffixes[0])
            files |= {f"{name}{suffix}" for suffix in self.reader.suffixes}
        return any(row.line in self.faults.get((UNDECODABLE, self.split, file), ()) for file in files)

    def check_encodings(self) -> None:
        """Raise `E-encoding` where cleaning would leave out more than a few rows, as a file is in another encoding."""
        for (split, file), error in self.encodings.items():
            if len(self.faults[UNDECODABLE, split, file]) > MOST_DAMAGED * self.context.rows[split]:
                raise error

    def columns(self, split: str) -> None:
        """Judge the names of the columns, where a file has some."""
        reader = self.reader
        if not isinstance(reader, Csv | Tsv):
            return
        file = reader.files(split, self.root)[0]
        separator = reader.separator if isinstance(reader, Csv) else "\t"
        self.context.separator, self.context.can_quote = separator, isinstance(reader, Csv)
        names = next(iter(reader.records(file)), (0, []))[1]
        self.context.width = len(names)
        number = self.context.findings.places[split].add(relative(str(file), self.root), 1)
        if reader.header:
            self.context.header = tuple(reader.columns.names)
            for side in SIDES:
                for name in getattr(reader.columns, side):
                    if names.count(name) > 1:
                        second = [i for i, other in enumerate(names, start=1) if other == name]
                        detail = f"columns {' and '.join(map(str, second))} are called {shown(name)}"
                        value = str(second[0])
                        self.context.findings.add("doubled-column", split, [number], detail, side, value)
        if isinstance(reader, TableReader) and len(names) > len(reader.columns.names):
            detail = f"{len(names)} columns, of which {len(reader.columns.names)} are read"
            self.context.findings.add("unused-column", split, [number], detail)


def relative(file: str, root: Path | None) -> str:
    """The path of a file from the folder of the data."""
    try:
        return Path(file).relative_to(root or Path()).as_posix()
    except ValueError:
        return file


def next_rows(rows: Iterator[Row]) -> list[Row]:
    """The rows of the next block: fewer where they are long."""
    chunk: list[Row] = []
    size = 0
    while len(chunk) < ROWS and size < CHARACTERS and (few := list(itertools.islice(rows, FEW))):
        size += sum(len(value) for row in few for value in row.values if isinstance(value, str))
        chunk += few
    return chunk
