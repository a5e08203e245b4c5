"""Rows on disk: what a reader gives, split, counted and written to memory-mapped Arrow tables."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
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
SHOWN = 3  # places that a report names of each reason


@dataclass
class RowReport:
    """What became of every row that was read: read = kept + given to other splits + dropped."""

    split: str
    read: int = 0
    kept: int = 0
    given: dict[str, int] = field(default_factory=dict)  # split -> rows taken from this one
    dropped: dict[str, list[str]] = field(default_factory=dict)  # reason -> places `file:line`
    cut: dict[str, list[str]] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)  # kept as they are, worth a look

    def summary(self) -> str:
        """The report in a few lines; long lists of places are abbreviated."""
        given = "".join(f", gave {count:,} to {split}" for split, count in self.given.items())
        lines = [f"{self.split}: read {self.read:,} rows{given}, kept {self.kept:,}"]
        for verb, reasons in (("dropped", self.dropped), ("cut", self.cut), ("kept, but note", self.noted)):
            for reason, places in reasons.items():
                shown = ", ".join(places[:SHOWN])
                more = f" and {len(places) - SHOWN:,} more" if len(places) > SHOWN else ""
                lines.append(f"  {verb} {len(places):,}, {reason}: {shown}{more}")
        return "\n".join(lines)

    def save(self, folder: Path) -> None:
        """Write the report into a folder."""
        (folder / "report.json").write_text(json.dumps(asdict(self), ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> RowReport:
        """Read the report of a folder."""
        return cls(**json.loads((folder / "report.json").read_text("utf-8")))


class Rules(NamedTuple):
    """What a row must hold to teach anything."""

    empty: str  # refuse or drop
    missing: tuple[str, ...]  # texts that stand for nothing
    needed: tuple[str, ...]  # the sides that must hold something in training
    always: tuple[str, ...]  # and in every split: a label, a number or tags that are not there cannot be measured
    running: bool  # white space is text


class TableWriter:
    """Writes one split: its values, its places and the hashes of its sources, a chunk at a time.

    Without a source, the hashes are those of the targets.
    """

    def __init__(self, folder: Path, split: str, absent: frozenset[str]) -> None:
        folder.mkdir()
        self.folder, self.absent = folder, absent
        self.report = RowReport(split)
        self.files: dict[str, int] = {}
        self.rows: list[Row] = []
        self.schema: Any = None
        self.open = ExitStack()
        self.hashes = self.open.enter_context((folder / "hashes.bin").open("wb"))
        self.writer: Any = None

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.open.close()

    def add(self, row: Row) -> None:
        """Take one row."""
        self.rows.append(row)
        self.report.kept += 1
        if len(self.rows) == CHUNK:
            self.flush()

    def flush(self) -> None:
        """Write the rows that wait."""
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
            self.writer = self.open.enter_context(pa.ipc.new_file(str(self.folder / TABLE), self.schema))
        self.writer.write_batch(batch)
        self.hashes.write(b"".join(hash_value(row.values[SIDES.index(sides[0])]) for row in self.rows))
        self.rows.clear()

    def column(self, side: int, kind: Any) -> Any:
        """The waiting values of one side; raises UserError at the row whose value does not fit with the others."""
        import pyarrow as pa

        values = [row.values[side] for row in self.rows]
        sample = next((value for value in values if value != ""), "")
        if kind is None and isinstance(sample, str):
            kind = pa.string()
        if kind != pa.string():  # only among texts nothing is an empty text, and among lists it is an empty list
            lists = isinstance(sample, list) if kind is None else pa.types.is_list(kind)
            nothing: list[Any] | None = [] if lists else None
            values = [nothing if isinstance(value, str) and not value else value for value in values]
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            problem = str(error).partition("\n")[0]
        for row, value in zip(self.rows, values, strict=True):
            try:
                pa.array([sample, value], kind)
            except (pa.ArrowException, TypeError, ValueError, OverflowError):
                raise UserError(
                    f"{row.file}:{row.line}: the {SIDES[side]} {ascii(value)[:60]} does not fit with the rows before "
                    f"it ({problem}); give all of them one type, and texts no lone surrogates"
                ) from None
        raise UserError(f"{self.rows[0].file}: its {SIDES[side]} column cannot be stored: {problem}")

    def finish(self) -> None:
        """Write what is left, the groups and the report."""
        if self.rows or self.writer is None:
            self.flush()
        self.open.close()
        (self.folder / "files.json").write_text(json.dumps(list(self.files), ensure_ascii=False), "utf-8")
        hashes = np.fromfile(self.folder / "hashes.bin", np.uint64)
        _, group = np.unique(hashes, return_inverse=True)
        members = np.argsort(group, kind="stable")
        starts = np.concatenate([[0], np.cumsum(np.bincount(group))]) if len(group) else np.zeros(1)
        for name, array in (("group", group), ("members", members), ("starts", starts)):
            np.save(self.folder / f"{name}.npy", array.astype(np.int64), allow_pickle=False)
        self.report.save(self.folder)


class Table:
    """The rows of one split as they were read: values and places, memory-mapped; rows of equal source form a group.

    Rows without source are grouped by their target.
    """

    def __init__(self, folder: Path) -> None:
        import pyarrow as pa

        self.folder = folder
        reader = pa.ipc.open_file(pa.memory_map(str(folder / TABLE)))
        self.batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self.sides = tuple(side for side in SIDES if side in reader.schema.names)
        self.files: list[str] = json.loads((folder / "files.json").read_text("utf-8"))
        hashes = folder / "hashes.bin"  # of the sources, or of the targets where there is no source
        empty = not hashes.stat().st_size  # nothing cannot be mapped
        self.hashes = np.zeros(0, np.uint64) if empty else np.memmap(hashes, np.uint64, mode="r")
        self.group, self.members, self.starts = (
            np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
            for name in ("group", "members", "starts")
        )

    def __len__(self) -> int:
        return len(self.group)

    def value(self, side: str, row: int) -> Any:
        """The source or target of one row; None of a side that the rows do not have."""
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
        """Where a row stands: `file:line`."""
        batch, inside = self.batches[row // CHUNK], row % CHUNK
        return f"{self.files[batch.column('file')[inside].as_py()]}:{batch.column('line')[inside].as_py()}"

    def answers(self, row: int) -> tuple[Any, ...]:
        """All distinct targets of the rows with the same source, in the order of the data; without source, its own."""
        if "source" not in self.sides:
            return (self.value("target", row),)
        number = self.group[row]
        members = self.members[self.starts[number] : self.starts[number + 1]]
        source = self.value("source", row)
        answers = [self.value("target", int(m)) for m in members if self.value("source", int(m)) == source]
        return tuple({repr(answer): answer for answer in answers}.values())  # a list has no hash


def write_tables(reader: Reader, split: str, root: Path | None, rules: Rules, shares: Shares, folder: Path) -> None:
    """Write the rows of a split that the reader names, and those of the splits taken from it, as tables in a folder.

    A training row with an empty side is dropped and counted, or refused; of other splits only one that holds nothing
    where there must always be something.
    """
    taken = [name for name, share in (("validation", shares.validation), ("test", shares.test)) if share]
    split_of = divider(
        shares, lambda: (row.values for row in filter_rows(reader, split, root, rules, RowReport(split)))
    )
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(TableWriter(folder / name, name, reader.absent)) for name in (split, *taken)
        }
        report = writers[split].report
        for row in filter_rows(reader, split, root, rules, report):
            name = split_of(row.values)
            writers[split if name == "train" else name].add(row)
        for name in taken:
            report.given[name] = writers[name].report.read = writers[name].report.kept
        for writer in writers.values():
            writer.finish()


def filter_rows(reader: Reader, split: str, root: Path | None, rules: Rules, report: RowReport) -> Iterator[Row]:
    """The rows that stay, with "" for what is nothing; all of them are counted."""
    for row in reader.read(split, root):
        values = tuple(plain(value) for value in row.values)
        if is_kept(row, values, report, rules):
            yield Row(tuple("" if lacks(value, rules.missing) else value for value in values), row.file, row.line)


def is_kept(row: Row, values: Sequence[Any], report: RowReport, rules: Rules) -> bool:
    """Count a row, and say whether it stays; the report tells why it cannot teach or measure anything."""
    report.read += 1
    place = f"{row.file}:{row.line}"
    reason = empty_side(values, rules.needed if report.split == "train" else rules.always, rules)
    if reason and rules.empty == "refuse":
        raise UserError(f"{place}: {reason}; fill it, delete the line, or set data.empty=drop")
    if reason or row.skipped:
        report.dropped.setdefault(reason or row.skipped, []).append(place)
        return False
    if reason := empty_side(values, rules.needed, rules):
        report.noted.setdefault(reason, []).append(place)
    return True


def plain(value: Any) -> Any:
    """A value without NumPy; "" for null, and for a float that is no number."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value


def lacks(value: Any, missing: Sequence[str]) -> bool:
    """Whether a value is one of the texts that stand for nothing."""
    return bool(missing) and isinstance(value, str) and value.strip() in missing


def empty_side(values: Sequence[Any], sides: Sequence[str], rules: Rules) -> str:
    """What one of these sides lacks, or nothing."""
    for side, value in zip(SIDES, values, strict=False):
        if side not in sides:
            continue
        if lacks(value, rules.missing):
            return f"missing {side}"
        if isinstance(value, str | list) and (not value or (isinstance(value, str) and blank(value, rules))):
            return f"empty {side}"
    return ""


def blank(value: str, rules: Rules) -> bool:
    """Whether a text is white space, where that is no text."""
    return value.isspace() and not rules.running
