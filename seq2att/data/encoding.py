"""Encoding: the rows of a table as flat ids on disk; what is too long is refused, dropped or cut, and counted."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.data.corpus import RaggedWriter
from seq2att.data.reading import CHUNK, RowReport, Table
from seq2att.data.workers import Arrays, encode_chunks
from seq2att.errors import UserError
from seq2att.field import Field, TextField
from seq2att.field.tags import length_mismatch
from seq2att.registry import find


class Limits(NamedTuple):
    """What the settings say of rows that are too long or hold nothing."""

    max_length: int | None  # tokens of either side
    too_long: str  # refuse, drop or cut
    empty: str  # refuse or drop
    keep: str = "start"  # which part is kept of what is cut: start or end
    running: bool = False  # the rows are pieces of one text, none of which is dropped


def write_ids(table: Table, report: RowReport, fields: Mapping[str, Field], limits: Limits, folder: Path) -> None:
    """Write the ids of both sides, the rows that were kept, and the report.

    Only training rows are dropped here: an evaluation has all rows of its table, and those too long are noted.
    """
    report = copy.deepcopy(report)
    kept = [np.zeros(0, np.int64)]
    with ExitStack() as stack:
        writers = {side: stack.enter_context(RaggedWriter(folder, side)) for side in fields}
        for number, sides in enumerate(encode_chunks(table, fields, partial(encode_chunk, table, fields))):
            start = number * CHUNK
            keep = apply_limits(sides, fields, table, start, report, limits)
            kept.append(start + np.flatnonzero(keep))
            for side, arrays in sides.items():
                writers[side].add([array for array, stays in zip(arrays, keep, strict=True) if stays])
        for writer in writers.values():
            writer.finish()
    np.save(folder / "kept.npy", np.concatenate(kept), allow_pickle=False)
    report.kept = sum(map(len, kept))
    report.save(folder)


def encode_chunk(table: Table, fields: Mapping[str, Field], number: int) -> dict[str, Arrays]:
    """The ids of a chunk; an error of a field is told with file and line."""
    return {side: encode(field, table, number, side) for side, field in fields.items()}


def encode(field: Field, table: Table, number: int, side: str) -> Arrays:
    """The ids of one side of a chunk."""
    values = table.chunk(side, number)
    try:
        return field.encode_batch(values)
    except UserError:
        for row, value in enumerate(values, number * CHUNK):
            try:
                field.encode(value)
            except UserError as error:
                raise UserError(f"{table.place(row)}: the {side}: {error}") from error
        raise


def apply_limits(
    sides: Mapping[str, Arrays],
    fields: Mapping[str, Field],
    table: Table,
    start: int,
    report: RowReport,
    limits: Limits,
) -> npt.NDArray[np.bool_]:
    """Which rows of a chunk stay; cuts what is too long, and writes everything into the report."""
    lengths = {side: np.array([len(array) for array in arrays], np.int64) for side, arrays in sides.items()}  # [rows]
    keep = np.ones(len(next(iter(lengths.values()))), bool)
    for side, found in lengths.items():
        lost = found == 0 if fields[side].has_values and report.split == "train" and not limits.running else found < 0
        for row in map(int, np.flatnonzero(lost & keep)):
            apply_empty(f"empty {side}", table.place(start + row), report, limits)
            keep[row] = False
    if "target" in sides and fields["target"].is_aligned:
        check_aligned(lengths, keep, fields, table, start)
    plural = {side: arrays for side, arrays in sides.items() if fields[side].is_sequence}
    if limits.max_length is not None and plural:
        long = np.max([lengths[side] for side in plural], axis=0) > limits.max_length  # [rows]
        for row in map(int, np.flatnonzero(long & keep)):
            keep[row] = apply_max_length(plural, row, table.place(start + row), report, limits)
    return keep


def apply_empty(reason: str, place: str, report: RowReport, limits: Limits) -> None:
    """Count a row of which no token is left, or refuse it."""
    if limits.empty == "refuse":
        raise UserError(f"{place}: {reason}, no token is left of it; fill it, delete it, or set data.empty=drop")
    report.dropped.setdefault(reason, []).append(place)


def check_aligned(
    lengths: Mapping[str, npt.NDArray[np.int64]],
    keep: npt.NDArray[np.bool_],
    fields: Mapping[str, Field],
    table: Table,
    start: int,
) -> None:
    """Raise UserError at the first row that has not one target for each item of its source."""
    wrong = np.flatnonzero((lengths["source"] != lengths["target"]) & keep)
    if len(wrong):
        row = int(wrong[0])
        items, tags = int(lengths["source"][row]), int(lengths["target"][row])
        raise UserError(
            f"{table.place(start + row)}: {length_mismatch(tags, items)}; "
            f"{word_by_word(fields['source'])}give each item one tag"
        )


def word_by_word(source: Field) -> str:
    """What to say of a text that is cut into other items than words."""
    word: Any = find("tokenizer", "word").target
    if not isinstance(source, TextField) or isinstance(source.tokenizer, word):
        return ""
    return "set source/tokenizer=word, whose items are words, or "


def apply_max_length(sides: Mapping[str, Arrays], row: int, place: str, report: RowReport, limits: Limits) -> bool:
    """Whether a row that is too long stays."""
    most = limits.max_length or 0
    reason = f"longer than data.max_length={most}"
    if limits.too_long == "refuse":
        side = max(sides, key=lambda side: len(sides[side][row]))
        raise UserError(
            f"{place}: the {side} has {len(sides[side][row]):,} tokens, but data.max_length={most}; "
            f"set data.too_long=drop or cut, or raise data.max_length"
        )
    if limits.too_long == "cut":
        for arrays in sides.values():
            first = max(len(arrays[row]) - most, 0) if limits.keep == "end" else 0
            arrays[row] = arrays[row][first : first + most]
        report.cut.setdefault(reason, []).append(place)
        return True
    training = report.split == "train"
    (report.dropped if training else report.noted).setdefault(reason, []).append(place)
    return not training
