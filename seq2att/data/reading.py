"""Rows on disk: what a reader yields, split, counted and written to memory-mapped Arrow tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seq2att.data.splitting import Shares, divider, hash_value
from seq2att.errors import UserError
from seq2att.reader import Reader, Row

CHUNK = 8192  # rows of a table that are written, and turned into Python values, at once
SIDES = ("source", "target")
TABLE = "rows.arrow"
MAX_SHOWN = 3  # places that a report names of each reason


@dataclass
class RowReport:
    """The counts of all rows that were read: read = kept + moved to other splits + dropped."""

    split: str
    read: int = 0
    kept: int = 0
    moved: dict[str, int] = field(default_factory=dict)  # split -> rows taken from this one
    dropped: dict[str, list[str]] = field(default_factory=dict)  # reason -> places `file:line`
    cut: dict[str, list[str]] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)  # kept as they are, but unusual

    def summary(self) -> str:
        """The report in a few lines, with the first places of each reason."""
        moved = "".join(f", gave {count:,} to {split}" for split, count in self.moved.items())
        lines = [f"{self.split}: read {self.read:,} rows{moved}, kept {self.kept:,}"]
        for verb, reasons in (("dropped", self.dropped), ("cut", self.cut), ("kept, but note", self.noted)):
            for reason, places in reasons.items():
                more = f" and {len(places) - MAX_SHOWN:,} more" if len(places) > MAX_SHOWN else ""
                lines.append(f"  {verb} {len(places):,}, {reason}: {', '.join(places[:MAX_SHOWN])}{more}")
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write the report into a folder."""
        (folder / "report.json").write_text(json.dumps(asdict(self), ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> RowReport:
        """Read the report of a folder."""
        return cls(**json.loads((folder / "report.json").read_text("utf-8")))


class Rules(NamedTuple):
    """What a row must hold to be kept."""

    empty: str  # refuse or drop
    missing: tuple[str, ...]  # texts that mean no value: NA
    needed: tuple[str, ...]  # the sides that must have a value in training
    always: tuple[str, ...]  # and in every split: a label, number or tags, without which nothing can be measured
    running: bool  # whether the rows are running text, where white space counts


class TableWriter:
    """Writes one split, a chunk at a time: values, places, and hashes of the sources (or targets if there are none)."""

    def __init__(self, folder: Path, split: str, absent: frozenset[str]) -> None:
        folder.mkdir()
        self.folder, self.absent = folder, absent
        self.report = RowReport(split)
        self.files: dict[str, int] = {}
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

        numbers = [self.files.setdefault(row.file, len(self.files)) for row in self.rows]
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
        hashes = np.fromfile(self.folder / "hashes.bin", np.uint64)
        _, group = np.unique(hashes, return_inverse=True)
        members = np.argsort(group, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(group))]) if len(group) else np.zeros(1)
        for name, array in (("group", group), ("members", members), ("starts", starts)):
            np.save(self.folder / f"{name}.npy", array.astype(np.int64), allow_pickle=False)
        self.report.save(self.folder)


class Table:
    """The memory-mapped rows of one split; rows with the same source (or target if there is none) form a group."""

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        self.folder = folder
        reader = pa.ipc.open_file(pa.memory_map(str(folder / TABLE)))
        self.batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self.sides = tuple(side for side in SIDES if side in reader.schema.names)
        self.files: list[str] = json.loads((folder / "files.json").read_text("utf-8"))
        hashes = folder / "hashes.bin"  # of the sources, or of the targets where there is no source
        is_empty = not hashes.stat().st_size  # an empty file cannot be mapped
        self.hashes = np.zeros(0, np.uint64) if is_empty else np.memmap(hashes, np.uint64, mode="r")
        self.group, self.members, self.starts = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("group", "members", "starts")
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
        values: list[Any] = self.batches[number].column(side).to_pylist()
        return values

    def place(self, row: int) -> str:
        """The file and line of a row: `file:line`."""
        batch, index = self.batches[row // CHUNK], row % CHUNK
        return f"{self.files[batch.column('file')[index].as_py()]}:{batch.column('line')[index].as_py()}"

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
            writers[split if name == "train" else name].add(row)
        for name in taken:
            report.moved[name] = writers[name].report.read = writers[name].report.kept
        for writer in writers.values():
            writer.finish()


def filter_rows(rows: Iterable[Row], rules: Rules, report: RowReport) -> Iterator[Row]:
    """The rows that are kept, with "" for a missing value; all rows are counted in the report."""
    for row in rows:
        values = tuple(to_python(value) for value in row.values)
        if is_kept(row, values, report, rules):
            yield Row(tuple("" if is_missing(value, rules) else value for value in values), row.file, row.line)


def is_kept(row: Row, values: Sequence[Any], report: RowReport, rules: Rules) -> bool:
    """Count a row, and return whether it is kept: in training every needed side must have a value."""
    report.read += 1
    place = f"{row.file}:{row.line}"
    reason = empty_side(values, rules.needed if report.split == "train" else rules.always, rules)
    if reason and rules.empty == "refuse":
        raise UserError("E-empty", place, reason, "fill it, delete the line, or set data.empty=drop")
    if reason or row.skipped:
        report.dropped.setdefault(reason or row.skipped, []).append(place)
        return False
    if reason := empty_side(values, rules.needed, rules):
        report.noted.setdefault(reason, []).append(place)
    return True


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
