"""Encoding: the rows of a table as flat ids on disk; what is too long is refused, dropped or cut, and counted."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.data.corpus import RaggedWriter
from seq2att.data.reading import CHUNK, Account, Table
from seq2att.data.workers import Arrays, encode_chunks
from seq2att.errors import UserError
from seq2att.field import Field


class Limits(NamedTuple):
    """What the settings say of rows that are too long or hold nothing."""

    max_length: int | None  # tokens of either side
    too_long: str  # refuse, drop or cut
    empty: str  # refuse or drop


def write_ids(table: Table, account: Account, fields: Mapping[str, Field], limits: Limits, folder: Path) -> None:
    """Write the ids of both sides, the rows that were kept, and the account.

    Only training rows are ever dropped: an evaluation has as many rows as its file, those too long are noted.
    """
    account = copy.deepcopy(account)
    kept = [np.zeros(0, np.int64)]
    with ExitStack() as stack:
        writers = {side: stack.enter_context(RaggedWriter(folder, side)) for side in fields}
        for number, sides in enumerate(encode_chunks(table, fields, partial(encode_chunk, table, fields))):
            start = number * CHUNK
            keep = settle(sides, table, start, account, limits)
            kept.append(start + np.flatnonzero(keep))
            for side, arrays in sides.items():
                writers[side].add([array for array, stays in zip(arrays, keep, strict=True) if stays])
        for writer in writers.values():
            writer.finish()
    np.save(folder / "kept.npy", np.concatenate(kept), allow_pickle=False)
    account.kept = sum(map(len, kept))
    account.save(folder)


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


def settle(
    sides: Mapping[str, Arrays], table: Table, start: int, account: Account, limits: Limits
) -> npt.NDArray[np.bool_]:
    """Which rows of a chunk stay; cuts what is too long, and writes everything into the account."""
    lengths = np.array([[len(array) for array in arrays] for arrays in sides.values()])  # [sides, rows]
    keep = np.ones(lengths.shape[1], bool)
    empty = (lengths == 0).any(0) & (account.split == "train")
    for row in map(int, np.flatnonzero(empty)):
        reason = f"empty {list(sides)[int(np.argmin(lengths[:, row]))]}"
        place = table.place(start + row)
        if limits.empty == "refuse":
            raise UserError(f"{place}: {reason}, no token is left of it; fill it, delete it, or set data.empty=drop")
        account.dropped.setdefault(reason, []).append(place)
        keep[row] = False
    if limits.max_length is not None:
        for row in map(int, np.flatnonzero((lengths > limits.max_length).any(0) & keep)):
            keep[row] = settle_long(sides, row, table.place(start + row), account, limits)
    return keep


def settle_long(sides: Mapping[str, Arrays], row: int, place: str, account: Account, limits: Limits) -> bool:
    """Whether a row that is too long stays."""
    reason = f"longer than data.max_length={limits.max_length}"
    if limits.too_long == "refuse":
        side = max(sides, key=lambda side: len(sides[side][row]))
        raise UserError(
            f"{place}: the {side} has {len(sides[side][row]):,} tokens, but data.max_length={limits.max_length}; "
            f"set data.too_long=drop or cut, or raise data.max_length"
        )
    if limits.too_long == "cut":
        for arrays in sides.values():
            arrays[row] = arrays[row][: limits.max_length]
        account.cut.setdefault(reason, []).append(place)
        return True
    training = account.split == "train"
    (account.dropped if training else account.noted).setdefault(reason, []).append(place)
    return not training
