"""Batches that do not fit into memory are computed in parts: in halves, in halves of those, down to single rows.

No row of a batch depends on its neighbours, so the parts together give what the batch gives, up to rounding.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from seq2att.errors import UserError, is_out_of_memory
from seq2att.types import Batch, Column, State, leaves, tree_map

Value = TypeVar("Value")


class DoesNotFitError(MemoryError):
    """Rows that are computed together do not fit into memory.

    Args:
        rows: `[B]`, their numbers in the data.
        reason: the message of the failed allocation.
    """

    def __init__(self, rows: Tensor, reason: str) -> None:
        super().__init__(reason)
        self.rows, self.reason = rows, reason


@contextmanager
def naming_rows(place: Callable[[int], str]) -> Iterator[None]:
    """Raise `E-memory` for a row that does not fit into memory; `place` says where a row stands."""
    try:
        yield
    except DoesNotFitError as error:
        problem = f"does not fit into memory, though it was computed alone ({error.reason})"
        raise UserError("E-memory", place(int(error.rows[0])), problem, "shorten it, or free memory") from error


def in_parts(
    compute: Callable[[Batch, State], Value], batch: Batch, state: State = (), can_split: bool = True
) -> list[Value]:
    """What `compute` returns for a batch and its state, or for each of its parts, in the order of the rows.

    Raises `DoesNotFitError` for a single row that does not fit, or a batch that may not be split.
    """
    pending, values = [(batch, state)], []
    while pending:
        part, before = pending.pop()
        try:
            values.append(compute(part, before))
            continue
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(part.rows) < 2 or not can_split:
                raise DoesNotFitError(part.rows, (str(error) or "MemoryError").splitlines()[0]) from error
        free_memory()  # outside of `except`: the exception held all tensors of the attempt
        middle = len(part.rows) // 2
        pending += [take(part, before, slice(middle, None)), take(part, before, slice(middle))]
    return values


def take(batch: Batch, state: State, rows: slice) -> tuple[Batch, State]:
    """Some rows of a batch, padded to the longest of them, and of its state."""
    target = None if batch.target is None else take_column(batch.target, rows)
    part = Batch(take_column(batch.source, rows), target, batch.rows[rows], batch.continues[rows])
    return part, tree_map(lambda tensor: tensor[rows], state)


def take_column(column: Column, rows: slice) -> Column:
    """Some rows of one side, padded to the longest of them."""
    values, lengths = column.values[rows], column.lengths[rows]
    return Column(values[:, : int(lengths.max())].contiguous(), lengths)


def join(states: list[State]) -> State:
    """The state of a batch from those of its parts: the list of its tensors where there are several parts."""
    if len(states) == 1:
        return states[0]
    return [torch.cat(parts) for parts in zip(*map(leaves, states), strict=True)]


def free_memory() -> None:
    """Give back what a failed attempt has taken."""
    gc.collect(1)  # of young objects, as it may happen at every batch
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
