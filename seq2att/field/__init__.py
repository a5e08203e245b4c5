"""Fields: how a value of the data (a text, a label, numbers) becomes the numbers of a model, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import nn

from seq2att.errors import UserError
from seq2att.registry import kind
from seq2att.types import UNKNOWN


@kind("field")
class Field:
    """One side of the data: turns values into arrays and back, and makes the layer that embeds them.

    A subclass writes `fit`, `encode`, `decode`, `pieces`, `embed`, `files` and `restore`, and sets the class variables
    that differ. A field of classes also has `classes`, the names of the classes in the order of their ids.
    """

    size: int
    """The size of the vocabulary (special tokens included), the number of classes, or the width of a vector; known
    after `fit` or `restore`."""
    is_sequence: ClassVar[bool] = True
    """Whether a value is a sequence, rather than one label, number or vector for each row."""
    has_values: ClassVar[bool] = True
    """Whether rows have a value on this side; False for `none`, which reads nothing."""
    is_aligned: ClassVar[bool] = False
    """Whether a target has exactly one item for each item of its source, as tags have."""
    has_tokens: ClassVar[bool] = True
    """Whether the items are token ids, with begin and end tokens around them: what a `Generator` predicts."""
    is_number: ClassVar[bool] = False
    """Whether a value is one number: what a regression predicts."""
    unknown_id: ClassVar[int] = UNKNOWN
    """The id of what `fit` has not seen."""
    names_files: ClassVar[bool] = False
    """Whether a text among the values is the name of a file or a folder, relative to `data.root` in the data."""
    embedding_options: ClassVar[frozenset[str]] = frozenset()
    """The options that only the layer of `embed` depends on: when they change, cached ids stay valid."""

    @property
    def refuses_unknown(self) -> bool:
        """Whether `encode` raises for a value that `fit` has not seen."""
        return False

    @property
    def drops_unknown(self) -> bool:
        """Whether `encode` leaves out what `fit` has not seen."""
        return False

    def fit(self, values: Iterable[Any]) -> None:
        """Learn from the values of the training split, which can be read once."""
        raise NotImplementedError

    def encode(self, value: Any) -> npt.NDArray[Any]:
        """The value as an array: `[S]` int32 ids without begin and end, `[S, F]` float32 vectors or uint8 pixels.

        Raises:
            UserError: the value cannot be read; the subject is the value, and the caller adds file and line.
        """
        raise NotImplementedError

    def encode_batch(self, values: Sequence[Any]) -> list[npt.NDArray[Any]]:
        """Every value as an array, in order; equal to `encode` of each."""
        return [self.encode(value) for value in values]

    def decode(self, ids: Sequence[int]) -> Any:
        """The value that the ids stand for, up to the end token; other special tokens are left out."""
        raise NotImplementedError

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The written form of every id, special tokens included, for display."""
        raise NotImplementedError

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The pieces of a value that the vocabulary does not hold, each once, in order."""
        return ()

    def embed(self) -> nn.Module:
        """A new layer from ids `[B, S]` (or vectors `[B, S, F]`) to `[B, S, output_size]`; it has `output_size`."""
        raise NotImplementedError

    def valid_transitions(self) -> npt.NDArray[np.bool_] | None:
        """Which item may follow which: `[size + 1, size + 1]`, the last row and column are start and end. None: any."""
        return None

    def picture(self, array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """What an encoded value looks like, `[H, W]` or `[H, W, 3]`, its items from left to right; None: nothing."""
        return None

    def is_single(self, inputs: Any) -> bool:
        """Whether something that is no text is one value, rather than several of them."""
        return False

    def digest(self, values: Iterable[Any]) -> str:
        """A hash of what the values name outside of the data, such as files; empty where they name nothing."""
        return ""

    def text(self, value: Any) -> str:
        """A value of the data as `decode` writes it: what predictions are compared with."""
        return str(value)

    def check(self, side: str, root: Path | None) -> None:
        """Raise UserError for options that this side cannot have and for missing files; called before data are read.

        Args:
            side: `source` or `target`.
            root: the folder of relative paths, `data.root`.
        """

    def check_shared(self, other: Field, share: str) -> None:
        """Raise `E-conflict` unless both fields can share what `share` names: `tokenizer` or `embedding`."""
        raise no_tokenizer(share)

    def share_tokenizer(self, other: Field) -> None:
        """Use the tokenizer object of the other field from now on; it may be fitted before or after."""
        raise no_tokenizer("tokenizer")

    def fit_shared(self, values: Iterable[Any], other: Field, other_values: Iterable[Any]) -> None:
        """Fit this field and the other, which share a tokenizer, each on its own values."""
        raise no_tokenizer("tokenizer")

    def init_embedding(self, embedding: nn.Module, root: Path | None) -> str | None:
        """Initialize a new layer from pretrained vectors, if there are any; returns a line for the log, or None."""
        return None

    def files(self) -> dict[str, bytes]:
        """What `fit` has learned, as files of a bundle: text, JSON or a model, never a pickle."""
        raise NotImplementedError

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Become the field that wrote these files."""
        raise NotImplementedError


def no_tokenizer(share: str) -> UserError:
    """The error about a field that has no tokenizer to share."""
    return UserError("E-conflict", f"share={share}", "only two fields of text have a tokenizer", "set share=nothing")


def with_side(error: UserError, side: str) -> UserError:
    """An error about an option of a field or its tokenizer, by the whole key: `source.tokenizer.size=3`."""
    kind_name, _, option = error.subject.partition(".")
    key = {"field": side, "tokenizer": f"{side}.tokenizer"}.get(kind_name)
    return UserError(error.code, f"{key}.{option}", error.problem, error.remedy) if key and option else error


# The components stand below the base class that they are made from.
from seq2att.field.embedding import OneHotEmbedding, SpelledEmbedding, TextEmbedding  # noqa: E402
from seq2att.field.features import FeaturesField  # noqa: E402  # made from the text field
from seq2att.field.image import FramesField, ImageField  # noqa: E402
from seq2att.field.label import LabelEmbedding, LabelField  # noqa: E402
from seq2att.field.none import NoEmbedding, NoField  # noqa: E402
from seq2att.field.number import NumberEmbedding, NumberField, NumbersField, VectorField, VectorsField  # noqa: E402
from seq2att.field.tags import TagsField  # noqa: E402
from seq2att.field.text import TextField  # noqa: E402

__all__ = [
    "FeaturesField",
    "Field",
    "FramesField",
    "ImageField",
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
