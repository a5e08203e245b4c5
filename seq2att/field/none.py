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
    """No value: the source of a language model. What a row holds on this side is not read."""

    has_values: ClassVar[bool] = False
    has_tokens: ClassVar[bool] = False
    size = 0

    def fit(self, values: Iterable[Any]) -> None:
        """Nothing to learn."""

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """An empty sequence `[0]`."""
        return np.zeros(0, np.int32)

    def decode(self, ids: Sequence[int]) -> None:
        """No value."""

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """No pieces."""
        return ()

    def text(self, value: Any) -> str:
        """The empty text."""
        return ""

    def embed(self) -> NoEmbedding:
        """A layer that gives empty sequences."""
        return NoEmbedding()

    def files(self) -> dict[str, bytes]:
        """No files."""
        return {}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Nothing to restore."""


class NoEmbedding(nn.Module):
    """An empty sequence of vectors of size 1 for every row."""

    empty: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.output_size = 1
        self.register_buffer("empty", torch.zeros(0), persistent=False)  # has the device and precision of the model

    def forward(self, values: Tensor) -> Tensor:
        """From `[B, 0]` to `[B, 0, 1]`."""
        return self.empty.new_zeros(values.size(0), values.size(1), 1)
