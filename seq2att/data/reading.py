"""Rows on disk: what a reader yields, split, counted and written to memory-mapped Arrow tables."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.data.numbers import ROW, map_numbers, write_groups
from seq2att.data.report import RowReport
from seq2att.data.splitting import Shares, divider, hash_value
from seq2att.errors import UserError
from seq2att.reader import Reader, Row

CHUNK = 8192  # rows of a table that are written, and turned into Python values, at once
SIDES = ("source", "target")
TABLE = "rows.arrow"


class Rules(NamedTuple):
    """What a row must hold to be kept."""

    empty: str  # refuse or drop
    missing: tuple[str, ...]  # texts that mean no value: NA
    needed: tuple[str, ...]  # the sides that must have a value in training
    always: tuple[str, ...]  # and in every split: a label, number or tags, without which nothing can be measured
    running: bool  # whether the rows are running text, where white space counts
    files: tuple[str, ...] = ()  # the sides whose texts are names of files
    root: str = ""  # where these start: an absolute path, so that they are found from everywhere


class TableWriter:
    """Writes one split, a chunk at a time: values, places, and hashes of the sources (or targets if there are none)."""

    def __init__(self, folder: Path, split: str, absent: frozenset[str]) -> None:
        folder.mkdir()
        self.folder, self.absent = folder, absent
        self.report = RowReport(split)
        self.files: dict[tuple[str, int], int] = {}  # its name and the part of the settings that names it
        self.rows: list[Row] = []
        self.schema: Any = None
        self.stack = ExitStack()
        self.hashes = self.stack.enter_context((folder / "hashes.bin").open("wb"))
        self.writer: Any = None

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def add(self, row: Row) -> None:
        """Add one row."""
        self.rows.append(row)
        self.report.kept += 1
        if len(self.rows) == CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write the pending rows."""
        import pyarrow as pa

        numbers = [self.files.setdefault((row.file, row.part), len(self.files)) for row in self.rows]
        places = [pa.array(numbers, pa.int32()), pa.array([row.line for row in self.rows], pa.int64())]
        width = len(self.rows[0].values) if self.rows else len(SIDES)
        sides = [side for side in SIDES[:width] if side not in self.absent]
        types = [self.schema.field(side).type for side in sides] if self.schema else [None] * len(sides)
        values = [self.column(SIDES.index(side), kind) for side, kind in zip(sides, types, strict=True)]
        batch = pa.RecordBatch.from_arrays([*values, *places], [*sides, "file", "line"])
        if self.writer is None:
            self.schema = batch.schema
            self.writer = self.stack.enter_context(pa.ipc.new_file(str(self.folder / TABLE), self.schema))
        self.writer.write_batch(batch)
        self.hashes.write(b"".join(hash_value(row.values[SIDES.index(sides[0])]) for row in self.rows))
        self.rows.clear()

    def column(self, side: int, kind: Any) -> Any:
        """The pending values of one side; raises UserError at the row whose value has another type than the others."""
        import pyarrow as pa

        values = [row.values[side] for row in self.rows]
        sample = next((value for value in values if value != ""), "")
        if kind is None and isinstance(sample, str):
            kind = pa.string()
        if kind != pa.string():  # no value is an empty text among texts, an empty list among lists, and else null
            is_list = isinstance(sample, list) if kind is None else pa.types.is_list(kind)
            empty: list[Any] | None = [] if is_list else None
            values = [empty if isinstance(value, str) and not value else value for value in values]
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            problem = str(error).partition("\n")[0]
        for row, value in zip(self.rows, values, strict=True):
            try:
                pa.array([sample, value], kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                problem = f"the {SIDES[side]} {ascii(value)[:60]} has another type than the rows before it ({problem})"
                remedy = "give all rows values of one type, without lone surrogates"
                raise UserError("E-type", f"{row.file}:{row.line}", problem, remedy) from None
        raise UserError("E-type", self.rows[0].file, f"its {SIDES[side]} column cannot be stored ({problem})")

    def finish(self) -> None:
        """Write the last rows, the groups and the report."""
        if self.rows or self.writer is None:
            self.flush()
        self.stack.close()
        (self.folder / "files.json").write_text(json.dumps(list(self.files), ensure_ascii=False), "utf-8")
        write_groups(self.folder)
        self.report.save(self.folder)


class Table:
    """The memory-mapped rows of one split; rows with the same source (or target if there is none) form a group."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        self.folder = folder
        reader = pa.ipc.open_file(pa.memory_map(str(folder / TABLE)))
        self.stream = pa.ipc.open_file(pa.OSFile(str(folder / TABLE)))  # to read all: maps no page of the file
        self.batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self.sides = tuple(side for side in SIDES if side in reader.schema.names)
        files = json.loads((folder / "files.json").read_text("utf-8"))
        self.files: list[str] = [name for name, _ in files]
        self.parts = np.array([part for _, part in files], np.int64)  # [files] which name in the settings each is of
        self.hashes = map_numbers(folder / "hashes.bin", np.uint64)  # of the sources, or targets if there are none
        self.group, self.members, self.starts = (
            map_numbers(folder / f"{name}.bin", ROW) for name in ("group", "members", "starts")
        )

    def __len__(self) -> int:
        return len(self.group)

    def value(self, side: str, row: int) -> Any:
        """The source or target of one row; None for a side that the rows do not have."""
        if side not in self.sides:
            return None
        return self.batches[row // CHUNK].column(side)[row % CHUNK].as_py()

    def chunks(self, side: str) -> Iterator[list[Any]]:
        """All values of one side in order, in lists of at most CHUNK."""
        for number in range(len(self.batches)):
            yield self.chunk(side, number)

    def chunk(self, side: str, number: int) -> list[Any]:
        """The values of one side in one chunk: rows from `number * CHUNK` on."""
        if side not in self.sides:
            return [None] * self.batches[number].num_rows
        values: list[Any] = self.stream.get_batch(number).column(side).to_pylist()
        return values

    def parts_of(self, number: int) -> npt.NDArray[np.int64]:
        """For each row of a chunk, which name in the settings its file is of."""
        if not self.parts.any():
            return np.zeros(self.batches[number].num_rows, np.int64)
        parts: npt.NDArray[np.int64] = self.parts[self.batches[number].column("file").to_numpy()]
        return parts

    def location(self, row: int) -> tuple[str, int]:
        """The file and the line of a row."""
        batch, index = self.batches[row // CHUNK], row % CHUNK
        return self.files[batch.column("file")[index].as_py()], batch.column("line")[index].as_py()

    def place(self, row: int) -> str:
        """The file and line of a row: `file:line`."""
        file, line = self.location(row)
        return f"{file}:{line}"

    def references(self, row: int) -> tuple[Any, ...]:
        """The distinct targets of all rows with the same source, in order; without a source, the row's own target."""
        if "source" not in self.sides:
            return (self.value("target", row),)
        number = self.group[row]
        members = self.members[self.starts[number] : self.starts[number + 1]]
        source = self.value("source", row)
        targets = [self.value("target", int(m)) for m in members if self.value("source", int(m)) == source]
        return tuple({repr(target): target for target in targets}.values())  # a list has no hash


def write_tables(reader: Reader, split: str, root: Path | None, rules: Rules, shares: Shares, folder: Path) -> None:
    """Write the rows of a split that the reader names, and those of the splits taken from it, as tables in a folder."""
    taken = [name for name, share in (("validation", shares.validation), ("test", shares.test)) if share]

    def rows(report: RowReport) -> Iterator[Row]:
        return filter_rows(reader.read(split, root), rules, report)

    split_of = divider(shares, lambda: (row.values for row in rows(RowReport(split))))
    with ExitStack() as stack:
        names = (split, *taken)
        writers = {name: stack.enter_context(TableWriter(folder / name, name, reader.absent)) for name in names}
        report = writers[split].report
        for row in rows(report):
            name = split_of(row.values)
            if name != "train":
                report.move(name, row.file)
                writers[name].report.files[row.file] += 1
            writers[split if name == "train" else name].add(row)
        for writer in writers.values():
            writer.finish()


def filter_rows(rows: Iterable[Row], rules: Rules, report: RowReport) -> Iterator[Row]:
    """The rows that are kept, with "" for a missing value; all rows are counted in the report."""
    for row in rows:
        values = tuple(to_python(value) for value in row.values)
        if is_kept(row, values, report, rules):
            cleared = tuple("" if is_missing(value, rules) else value for value in values)
            located = tuple(locate(value, side, rules) for side, value in zip(SIDES, cleared, strict=False))
            yield Row(located, row.file, row.line, part=row.part)


def is_kept(row: Row, values: Sequence[Any], report: RowReport, rules: Rules) -> bool:
    """Count a row, and return whether it is kept: in training every needed side must have a value."""
    report.files[row.file] += 1
    reason = empty_side(values, rules.needed if report.split == "train" else rules.always, rules)
    if reason and rules.empty == "refuse":
        raise UserError("E-empty", f"{row.file}:{row.line}", reason, "fill it, delete the line, or set data.empty=drop")
    if reason or row.skipped:
        report.count(report.dropped, reason or row.skipped, row.file, row.line)
        return False
    if reason := empty_side(values, rules.needed, rules):
        report.count(report.noted, reason, row.file, row.line)
    return True


def locate(value: Any, side: str, rules: Rules) -> Any:
    """A value with the whole path in place of a name of a file; any other value as it is."""
    if side not in rules.files or not value:
        return value
    if isinstance(value, list):
        return [locate(one, side, rules) for one in value]
    return os.path.join(rules.root, os.path.expanduser(value)) if isinstance(value, str) else value


def to_python(value: Any) -> Any:
    """A value without NumPy; "" for null and for a float that is NaN."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def is_missing(value: Any, rules: Rules) -> bool:
    """Whether a value is one of the texts that mean no value."""
    return bool(rules.missing) and isinstance(value, str) and value.strip() in rules.missing


def is_empty(value: Any, rules: Rules) -> bool:
    """Whether a value is an empty text or list; white space is empty too, except in running text."""
    if isinstance(value, str) and value.isspace():
        return not rules.running
    return isinstance(value, str | list) and not value


def empty_side(values: Sequence[Any], sides: Sequence[str], rules: Rules) -> str:
    """Which of these sides lacks a value and how (`missing source`, `empty target`), or an empty text."""
    for side, value in zip(SIDES, values, strict=False):
        if side in sides and is_missing(value, rules):
            return f"missing {side}"
        if side in sides and is_empty(value, rules):
            return f"empty {side}"
    return ""
