"""Numbers and vectors: one for each row, or a sequence of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.files.untrusted import COPY, parse_json
from seq2att.registry import Size, register

Matrix = npt.NDArray[np.float64]
LARGEST = np.finfo(np.float32).max
CHUNK = 4096  # values whose moments are computed together


class NumericField(Field):
    """Values that are numbers: a model reads each item as a vector, whose width is that of the first training value.

    Args:
        standardize: whether to subtract the training mean of every component and divide by its standard deviation;
            predictions are converted back.
        embedding_size: size of a linear layer that reads the numbers; null reads them as they are.
    """

    has_tokens: ClassVar[bool] = False
    embedding_options: ClassVar[frozenset[str]] = frozenset(("embedding_size",))
    expected: ClassVar[str]  # what a value is, for messages
    example: ClassVar[str]  # one input as JSON, for messages

    def __init__(self, *, standardize: bool = False, embedding_size: Size | None = None) -> None:
        self.standardize = standardize
        self.embedding_size = embedding_size
        self.mean: Matrix = np.zeros(0)  # [F]
        self.deviation: Matrix = np.ones(0)  # [F]

    @property
    def size(self) -> int:  # type: ignore[override]  # follows what was learned
        """The width F of the vectors."""
        return len(self.mean)

    def to_array(self, value: Any) -> Any:
        """The value as numbers in lists or an array; `parse` checks its shape."""
        raise NotImplementedError

    def parse(self, value: Any) -> Matrix:
        """The value as numbers `[S, F]`; raises UserError for another kind of value and for infinite numbers."""
        try:
            numbers = np.asarray(self.to_array(value), np.float64)
        except (ValueError, TypeError, OverflowError):
            raise self.wrong_kind(value) from None
        if numbers.shape == (0,):  # an empty sequence has no width
            return numbers.reshape(0, 0)
        if numbers.ndim != 2 or (len(numbers) and not numbers.size):
            raise self.wrong_kind(value)
        wrong = np.argwhere(~(np.abs(numbers) <= LARGEST))  # NaN too
        if len(wrong):
            item, component = wrong[0]
            position = f" (item {item + 1}, component {component + 1})" if numbers.size > 1 else ""
            problem = f"is not a finite number{position}"
            raise UserError("E-number", str(numbers[item, component]), problem, "correct it, or leave the row out")
        return numbers

    def wrong_kind(self, value: Any) -> UserError:
        """The error about a value of another kind."""
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        if isinstance(value, str) and "," in value and not self.is_number:
            hint = "; separate the numbers by spaces, not commas"
        else:
            hint = "" if isinstance(value, str) else f"; one input is {self.example}, several are [{self.example}]"
        remedy = "correct it, or name another column in the reader"
        return UserError("E-number", shown, f"is not {self.expected}{hint}", remedy)

    def fit(self, values: Iterable[Any]) -> None:
        """Learn the width, and the mean and deviation of every component; `encode` refuses malformed values later."""
        arrays = self.parse_all(values)
        count, mean, squares = 0, np.zeros(0), np.zeros(0)  # [F]; squares are sums of squared distances from the mean
        while chunk := list(itertools.islice(arrays, CHUNK)):  # merged a chunk at a time (Chan et al. 1979)
            numbers = np.concatenate(chunk)  # [N, F]
            if not count:
                mean, squares = np.zeros(numbers.shape[1]), np.zeros(numbers.shape[1])
            earlier, count = count, count + len(numbers)
            gap = numbers.mean(0) - mean
            squares += ((numbers - numbers.mean(0)) ** 2).sum(0) + gap**2 * (earlier * len(numbers) / count)
            mean += gap * (len(numbers) / count)
        if not count:
            remedy = "name another column in the reader"
            raise UserError("E-empty", "field", f"training has no value that is {self.expected}", remedy)
        deviation = np.sqrt(squares / count)
        deviation[deviation <= 1e-12 * np.abs(mean)] = 1.0  # a constant, up to rounding
        self.mean = mean if self.standardize else np.zeros_like(mean)
        self.deviation = deviation if self.standardize else np.ones_like(mean)

    def parse_all(self, values: Iterable[Any]) -> Iterator[Matrix]:
        """The values that are numbers, as wide as the first; `encode` raises for the others, with file and line."""
        width = None
        for value in values:
            try:
                numbers = self.parse(value)
            except UserError:
                continue
            if len(numbers) and numbers.shape[1] == (width := width or numbers.shape[1]):
                yield numbers

    def encode(self, value: Any) -> npt.NDArray[np.float32]:
        """The numbers `[S, F]`."""
        numbers = self.parse(value)
        if not len(numbers):
            return np.zeros((0, self.size), np.float32)
        if numbers.shape[1] != self.size:
            problem = f"has {numbers.shape[1]} numbers, but the vectors of training have {self.size}"
            raise UserError("E-number", "vector", problem, "correct it, or leave the row out")
        return ((numbers - self.mean) / self.deviation).astype(np.float32)

    def unstandardize(self, values: Any) -> Matrix:
        """Encoded numbers `[S, F]` in the unit of the data."""
        return np.asarray(values, np.float64).reshape(-1, self.size) * self.deviation + self.mean

    def pieces(self, ids: Sequence[Any]) -> tuple[str, ...]:
        """Names for display: a single number as it is, a vector by its position from 1."""
        if self.size == 1:
            return tuple(f"{number:.4g}" for number in self.unstandardize(ids)[:, 0])
        return tuple(str(position) for position in range(1, len(ids) + 1))

    def picture(self, array: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """A sequence of vectors as grey columns `[F, S]`, the first number on top."""
        return array.T if self.is_sequence and self.size > 1 else None

    def embed(self) -> NumberEmbedding:
        """A new layer from `[B, S, F]` to `[B, S, output_size]`."""
        return NumberEmbedding(self.size, self.embedding_size)

    def files(self) -> dict[str, bytes]:
        """Mean and deviation of every component; floats are written exactly."""
        learned = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        return {"numbers.json": (json.dumps(learned) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the mean and the deviation that were written."""
        learned = parse_json(files["numbers.json"], "numbers.json")
        lists: list[Any] = (
            [learned.get(name) for name in ("mean", "deviation")] if isinstance(learned, dict) else [None]
        )
        if not all(map(is_finite_list, lists)) or len(lists[0]) != len(lists[1]) or 0 in lists[1]:
            problem = "must hold `mean` and `deviation`, one finite number for each component"
            raise UserError("E-bundle", "numbers.json", problem, COPY)
        self.mean, self.deviation = (np.array(one, np.float64) for one in lists)


def is_finite_list(values: Any) -> bool:
    """Whether this is a list of finite numbers."""
    return isinstance(values, list) and all(type(one) in (int, float) and abs(one) <= LARGEST for one in values)


class NumberEmbedding(nn.Module):
    """Numbers as they are, in the precision of the model; or a linear layer of them: W x + b."""

    reference: Tensor

    def __init__(self, width: int, size: int | None) -> None:
        super().__init__()
        self.output_size = size or width
        self.projection = None if size is None else nn.Linear(width, size)
        self.register_buffer("reference", torch.zeros(()), persistent=False)  # has the precision of the model

    def forward(self, values: Tensor) -> Tensor:
        """From `[B, S, F]` to `[B, S, E]`."""
        numbers = values.to(self.reference.dtype)
        return numbers if self.projection is None else self.projection(numbers)


def split_text(value: Any) -> Any:
    """The items of a text between white space; another value as it is."""
    return value.split() if isinstance(value, str) else value


@register("field", "number")
class NumberField(NumericField):
    """One number for each row."""

    is_sequence: ClassVar[bool] = False
    is_number: ClassVar[bool] = True
    expected: ClassVar[str] = "a number (as in 3.5)"
    example: ClassVar[str] = "3.5"

    def to_array(self, value: Any) -> Any:
        if isinstance(value, bool | np.bool_) or (isinstance(value, str) and "_" in value):  # float("1_0") is 10
            raise ValueError("not a number")
        return [[float(value)]]

    def decode(self, ids: Sequence[Any]) -> float:
        """The number in the unit of the data."""
        return float(self.unstandardize(ids)[0, 0])

    def text(self, value: Any) -> str:
        """The number as Python writes it."""
        return repr(float(self.parse(value)[0, 0]))


@register("field", "numbers")
class NumbersField(NumericField):
    """A sequence of numbers: a list, or a text with white space between them."""

    expected: ClassVar[str] = "a sequence of numbers (as in 0.1 0.2 0.3)"
    example: ClassVar[str] = "[1, 2, 3]"

    def to_array(self, value: Any) -> Any:
        numbers = np.asarray(split_text(value), np.float64)
        if numbers.ndim != 1:
            raise ValueError("not a sequence of numbers")
        return numbers[:, None]  # [S, 1]

    def decode(self, ids: Sequence[Any]) -> list[float]:
        """The numbers in the unit of the data."""
        return [float(number) for number in self.unstandardize(ids)[:, 0]]


@register("field", "vector")
class VectorField(NumericField):
    """One vector for each row: a list of numbers, or a text with white space between them."""

    is_sequence: ClassVar[bool] = False
    expected: ClassVar[str] = "a vector (as in 0.1 0.2 0.3)"
    example: ClassVar[str] = "[0.1, 0.2, 0.3]"

    def to_array(self, value: Any) -> Any:
        items = split_text(value)
        if len(items) == 0:
            raise ValueError("no number")
        return [items]

    def decode(self, ids: Sequence[Any]) -> list[float]:
        """The vector in the unit of the data."""
        return [float(number) for number in self.unstandardize(ids)[0]]


@register("field", "vectors")
class VectorsField(NumericField):
    """A sequence or set of vectors of one width: a list of lists, or a text with `;` between vectors."""

    expected: ClassVar[str] = "a sequence of vectors of one width (as in 0.1 0.2; 0.3 0.4)"
    example: ClassVar[str] = "[[0.1, 0.2], [0.3, 0.4]]"

    def to_array(self, value: Any) -> Any:
        if isinstance(value, str):
            return [part.split() for part in value.split(";")] if value.strip() else []
        return np.asarray(value, np.float64) if len(value) else []

    def decode(self, ids: Sequence[Any]) -> list[list[float]]:
        """The vectors in the unit of the data."""
        return [[float(number) for number in vector] for vector in self.unstandardize(ids)]
