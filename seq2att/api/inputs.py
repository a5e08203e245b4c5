"""The inputs of a predictor: their arrays, their limits, and how messages name them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt

from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.model import Model
from seq2att.types import Batch, tree_map

MAX_LINES = 10  # lines that a message names
MAX_PIECES = 5  # unknown pieces of a line that a message names


class Limit(NamedTuple):
    """The most tokens of an input, and the option that says so."""

    name: str
    tokens: int


def encode_values(field: Field, values: Sequence[Any], place: str, first: int) -> list[npt.NDArray[Any]]:
    """Encode values; an error names its place, in which `{}` stands for the number of the value."""
    try:
        return field.encode_batch(values)
    except UserError:
        for number, value in enumerate(values, first):
            try:
                field.encode(value)
            except UserError as error:
                raise error.at(place.format(number)) from None
        raise


def on_device(batch: Batch, model: Model) -> Batch:
    """Move the batch to the device of the model."""
    device = next(model.parameters()).device
    moved: Batch = batch if device.type == "cpu" else tree_map(lambda tensor: tensor.to(device), batch)
    return moved


def list_lines(rows: Sequence[int], notes: Mapping[int, str], first_line: int) -> str:
    """The first rows by their line numbers, each with its note."""
    named = ", ".join(f"line {row + first_line} ({notes[row]})" for row in rows[:MAX_LINES])
    return f"{named} and {len(rows) - MAX_LINES:,} more" if len(rows) > MAX_LINES else named
