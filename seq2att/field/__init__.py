"""Fields: how a value of the data (a text, a label, numbers) becomes the numbers of a model, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from seq2att.registry import kind
from seq2att.types import UNKNOWN


@kind("field")
class Field:
    """One side of the data: its values as arrays, and the layer that reads them.

    `size` is the size of the vocabulary (special tokens included), the number of classes, or the width of a vector,
    known after `fit` or `restore`.
    """

    size: int
    is_sequence: ClassVar[bool] = True
    """Whether a value is a sequence, or one thing for each row: a label, a number, a vector."""
    has_values: ClassVar[bool] = True
    """Whether a row without a value on this side teaches nothing; of `none` no value is ever read."""
    is_aligned: ClassVar[bool] = False
    """Whether a target has exactly one item for each item of its source: tags."""
    has_tokens: ClassVar[bool] = True
    """Whether the items of a sequence are ids of tokens, begin and end among them: what a `Generator` says."""
    is_number: ClassVar[bool] = False
    """Whether a value is one number: what a regression says."""
    unknown_id: ClassVar[int] = UNKNOWN
    """The id of what `fit` has not seen."""

    def fit(self, values: Iterable[Any]) -> None:
        """Learn from the values of the training split, read once."""
        raise NotImplementedError

    def encode(self, value: Any) -> npt.NDArray[Any]:
        """The value as an array; of a sequence `[S]` int32 ids, without begin and end."""
        raise NotImplementedError

    def encode_batch(self, values: Sequence[Any]) -> list[npt.NDArray[Any]]:
        """Every value as an array, in order."""
        return [self.encode(value) for value in values]

    def decode(self, ids: Sequence[int]) -> Any:
        """The value that the ids stand for: what comes before the end token, other special tokens left out."""
        raise NotImplementedError

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The written form of every id, special tokens included, for display."""
        raise NotImplementedError

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """What of a value the vocabulary does not hold, as it is written."""
        return ()

    def embed(self) -> nn.Module:
        """A new layer from `[B, S]` ids to `[B, S, output_size]`; it has the attribute `output_size`."""
        raise NotImplementedError

    def valid_transitions(self) -> npt.NDArray[np.bool_] | None:
        """Which item may come after which `[size + 1, size + 1]`, the last being start and end; None: any."""
        return None

    def text(self, value: Any) -> str:
        """A value as it was read, written as `decode` writes it: what a prediction is compared with."""
        return str(value)

    def check(self, side: str, root: Path | None) -> None:
        """Refuse what a side (source or target) cannot have, and missing files; called before data are read."""

    def init_embedding(self, embedding: nn.Module, root: Path | None) -> str | None:
        """Start a new layer from what is known before training (pretrained vectors); gives a line to say, if any."""
        return None

    def files(self) -> dict[str, bytes]:
        """What `fit` learned, as files of a bundle: never a pickle."""
        raise NotImplementedError

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Become the field that wrote these files."""
        raise NotImplementedError


# The components stand below the base class that they are made from.
from seq2att.field.embedding import OneHotEmbedding, SpelledEmbedding, TextEmbedding  # noqa: E402
from seq2att.field.features import FeaturesField  # noqa: E402  # made from the text field
from seq2att.field.label import LabelEmbedding, LabelField  # noqa: E402
from seq2att.field.none import NoEmbedding, NoField  # noqa: E402
from seq2att.field.number import NumberEmbedding, NumberField, NumbersField  # noqa: E402
from seq2att.field.tags import TagsField  # noqa: E402
from seq2att.field.text import TextField  # noqa: E402
from seq2att.field.vector import VectorField, VectorsField  # noqa: E402

__all__ = [
    "FeaturesField",
    "Field",
    "LabelEmbedding",
    "LabelField",
    "NoEmbedding",
    "NoField",
    "NumberEmbedding",
    "NumberField",
    "NumbersField",
    "OneHotEmbedding",
    "SpelledEmbedding",
    "TagsField",
    "TextEmbedding",
    "TextField",
    "VectorField",
    "VectorsField",
]
