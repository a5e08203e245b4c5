"""No value at all: the source of a language model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seq2att.field import Field
from seq2att.registry import register


@register("field", "none")
class NoField(Field):
    """Nothing: the source of a model that says texts by itself. Whatever a row holds on this side is left unread."""

    has_values: ClassVar[bool] = False
    has_tokens: ClassVar[bool] = False
    size = 0

    def fit(self, values: Iterable[Any]) -> None:
        """There is nothing to learn."""

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """No id at all `[0]`."""
        return np.zeros(0, np.int32)

    def decode(self, ids: Sequence[int]) -> None:
        """There is no value."""

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """There is nothing to show."""
        return ()

    def text(self, value: Any) -> str:
        """The empty text."""
        return ""

    def embed(self) -> NoEmbedding:
        """A layer that gives empty sequences."""
        return NoEmbedding()

    def files(self) -> dict[str, bytes]:
        """There is nothing to write."""
        return {}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """There is nothing to restore."""


class NoEmbedding(nn.Module):
    """An empty sequence for every row, of vectors of size 1."""

    nothing: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.output_size = 1
        self.register_buffer("nothing", torch.zeros(0), persistent=False)  # knows device and precision of the model

    def forward(self, values: Tensor) -> Tensor:
        """`[B, 0]` to `[B, 0, 1]`."""
        return self.nothing.new_zeros(values.size(0), values.size(1), 1)
