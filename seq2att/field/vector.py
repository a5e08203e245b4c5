"""Vectors: one for each row, or a sequence or set of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from seq2att.field.number import Numeric
from seq2att.registry import register


@register("field", "vector")
class VectorField(Numeric):
    """One vector for each row: a list of numbers, or a text with white space between them."""

    is_sequence: ClassVar[bool] = False
    takes: ClassVar[str] = "a vector (as in 0.1 0.2 0.3)"
    one: ClassVar[str] = "[0.1, 0.2, 0.3]"

    def array(self, value: Any) -> Any:
        items = value.split() if isinstance(value, str) else value
        if len(items) == 0:
            raise ValueError("no number")
        return [items]

    def decode(self, ids: Sequence[Any]) -> list[float]:
        """The vector in the unit of the data."""
        return [float(number) for number in self.restored(ids)[0]]


@register("field", "vectors")
class VectorsField(Numeric):
    """A sequence or set of vectors of one width: a list of lists, or a text with `;` between vectors."""

    takes: ClassVar[str] = "a sequence of vectors of one width (as in 0.1 0.2; 0.3 0.4)"
    one: ClassVar[str] = "[[0.1, 0.2], [0.3, 0.4]]"

    def array(self, value: Any) -> Any:
        if isinstance(value, str):
            return [part.split() for part in value.split(";")] if value.strip() else []
        return np.asarray(value, np.float64) if len(value) else []

    def decode(self, ids: Sequence[Any]) -> list[list[float]]:
        """The vectors in the unit of the data."""
        return [[float(number) for number in vector] for vector in self.restored(ids)]
