"""Encoding: the rows of a table as flat ids on disk; long and empty rows are refused, dropped or cut, and counted."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.data.corpus import RaggedWriter
from seq2att.data.numbers import ROW, NumberWriter, trim
from seq2att.data.reading import CHUNK, Table
from seq2att.data.report import RowReport
from seq2att.errors import UserError
from seq2att.field import Field, TextField, with_side
from seq2att.field.tags import length_mismatch

PIECE = 1024  # rows that are encoded at once: of pictures, 150 kB each, so many fit into memory

Arrays = list[npt.NDArray[Any]]
Location = tuple[str, int]  # a file and a line


class Limits(NamedTuple):
    """What happens to rows that are too long or empty."""

    max_length: int | None  # tokens of either side
    too_long: str  # refuse, drop or cut
    empty: str  # refuse or drop
    keep: str = "start"  # which part remains of what is cut: start or end
    running: bool = False  # whether the rows are parts of one text, none of which is dropped


class SideValues:
    """All values of a side in order; `row` is the row of the last one read, None before the first and at the end."""

    def __init__(self, table: Table, side: str) -> None:
        self.table, self.side = table, side
        self.row: int | None = None

    def __iter__(self) -> Iterator[Any]:
        for row, value in enumerate(itertools.chain.from_iterable(self.table.chunks(self.side))):
            self.row = row
            yield value
        self.row = None


def fit_fields(fields: Mapping[str, Field], table: Table, is_shared: bool) -> None:
    """Fit the fields on the values of a table, together if they share a tokenizer."""
    values = {side: SideValues(table, side) for side in fields}
    if is_shared:
        with located(*values.values()):
            fields["source"].fit_shared(values["source"], fields["target"], values["target"])
        trim()
        return
    for side, field in fields.items():
        with located(values[side]):
            field.fit(values[side])
        trim()


@contextmanager
def located(*values: SideValues) -> Iterator[None]:
    """Give an error about one of the values its file and line, and one about an option its whole key."""
    try:
        yield
    except UserError as error:
        for one in values:
            if one.row is not None:
                raise error.at(one.table.place(one.row), one.side, keep_remedy=True) from error
        raise with_side(error, values[0].side) from error


def write_ids(table: Table, report: RowReport, fields: Mapping[str, Field], limits: Limits, folder: Path) -> None:
    """Write the ids of both sides, the rows that were kept, and the report.

    Only training rows are dropped: the other splits keep all rows of their table, and those too long are noted.
    """
    report = copy.deepcopy(report)
    dropping = {side: field for side, field in fields.items() if isinstance(field, TextField) and field.drops_unknown}
    for field in dropping.values():
        field.num_encoded = field.num_dropped = 0
    sizes = np.zeros(1 + int(table.parts.max(initial=0)), np.int64)  # [names in the settings] rows kept
    with ExitStack() as stack:
        writers = {side: stack.enter_context(RaggedWriter(folder, side)) for side in fields}
        kept = stack.enter_context(NumberWriter(folder / "kept.bin", ROW))
        for start, values, parts in pieces_of(table, fields):
            arrays = {side: encode_piece(field, table, start, side, values[side]) for side, field in fields.items()}
            is_kept = apply_limits(arrays, fields, table, start, report, limits)
            kept.add(start + np.flatnonzero(is_kept))
            sizes += np.bincount(parts[is_kept], minlength=len(sizes))
            for side, rows in arrays.items():
                writers[side].add(list(itertools.compress(rows, is_kept)))
        for writer in writers.values():
            writer.finish()
    (folder / "parts.json").write_text(json.dumps(sizes.tolist()), "utf-8")
    report.kept = kept.size
    report.left_out = {side: (field.num_dropped, field.num_encoded) for side, field in dropping.items()}
    report.save(folder)


def pieces_of(table: Table, sides: Iterable[str]) -> Iterator[tuple[int, dict[str, list[Any]], npt.NDArray[np.int64]]]:
    """The rows in pieces of at most `PIECE`: the first row, the values of the sides, and the parts of `parts_of`."""
    for number in range(len(table.batches)):
        chunks, parts = {side: table.chunk(side, number) for side in sides}, table.parts_of(number)
        for first in range(0, len(parts), PIECE):
            piece = slice(first, first + PIECE)
            yield number * CHUNK + first, {side: chunk[piece] for side, chunk in chunks.items()}, parts[piece]


def encode_piece(field: Field, table: Table, start: int, side: str, values: Sequence[Any]) -> Arrays:
    """The ids of one side of the rows from `start` on; an error of the field gets its file and line."""
    try:
        return field.encode_batch(values)
    except UserError:
        for row, value in enumerate(values, start):
            try:
                field.encode(value)
            except UserError as error:
                raise error.at(table.place(row), side, keep_remedy=True) from error
        raise


def apply_limits(
    arrays: Mapping[str, Arrays],
    fields: Mapping[str, Field],
    table: Table,
    start: int,
    report: RowReport,
    limits: Limits,
) -> npt.NDArray[np.bool_]:
    """Which rows of a chunk are kept `[rows]`; cuts those too long, and counts everything in the report."""
    lengths = {side: np.array([len(array) for array in rows], np.int64) for side, rows in arrays.items()}  # [rows]
    is_kept = np.ones(len(next(iter(lengths.values()))), bool)
    for side, field in fields.items():
        if field.has_values and report.split == "train" and not limits.running:
            for row in map(int, np.flatnonzero((lengths[side] == 0) & is_kept)):
                drop_empty(side, table.location(start + row), report, limits)
                is_kept[row] = False
    if "target" in fields and fields["target"].is_aligned:
        check_aligned(lengths, is_kept, table, start)
    sequences = {side: rows for side, rows in arrays.items() if fields[side].is_sequence}
    if limits.max_length is not None and sequences:
        is_long = np.max([lengths[side] for side in sequences], axis=0) > limits.max_length  # [rows]
        for row in map(int, np.flatnonzero(is_long & is_kept)):
            is_kept[row] = apply_max_length(sequences, row, table.location(start + row), report, limits)
    return is_kept


def drop_empty(side: str, location: Location, report: RowReport, limits: Limits) -> None:
    """Count a row of which no token is left, or refuse it."""
    if limits.empty == "refuse":
        remedy = "fill it, delete the row, or set data.empty=drop"
        place = f"{location[0]}:{location[1]}"
        raise UserError("E-empty", place, f"the {side} is empty: no token is left of it", remedy)
    report.count(report.dropped, f"empty {side}", *location)


def check_aligned(
    lengths: Mapping[str, npt.NDArray[np.int64]], is_kept: npt.NDArray[np.bool_], table: Table, start: int
) -> None:
    """Raise UserError at the first row that has not one target for each item of its source."""
    wrong = np.flatnonzero((lengths["source"] != lengths["target"]) & is_kept)
    if len(wrong):
        row = int(wrong[0])
        problem = length_mismatch(int(lengths["target"][row]), int(lengths["source"][row]))
        remedy = "give each item one tag; to tag words, set source/tokenizer=word"
        raise UserError("E-length", table.place(start + row), problem, remedy)


def apply_max_length(
    sides: Mapping[str, Arrays], row: int, location: Location, report: RowReport, limits: Limits
) -> bool:
    """Whether a row that is too long is kept, cut or as it is."""
    limit = limits.max_length or 0
    reason = f"longer than data.max_length={limit}"
    if limits.too_long == "refuse":
        side = max(sides, key=lambda side: len(sides[side][row]))
        problem = f"the {side} has {len(sides[side][row]):,} tokens, but data.max_length={limit}"
        place = f"{location[0]}:{location[1]}"
        raise UserError("E-length", place, problem, "set data.too_long=drop or cut, or raise data.max_length")
    if limits.too_long == "cut":
        for rows in sides.values():
            first = max(len(rows[row]) - limit, 0) if limits.keep == "end" else 0
            rows[row] = rows[row][first : first + limit]
        report.count(report.cut, reason, *location)
        return True
    is_training = report.split == "train"
    report.count(report.dropped if is_training else report.noted, reason, *location)
    return not is_training
