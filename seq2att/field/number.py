"""Numbers: one for each row, or a sequence of them; and what all fields of numbers have in common."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seq2att.errors import InputError, UserError, check_size
from seq2att.field import Field
from seq2att.registry import register

Matrix = npt.NDArray[np.float64]
LARGEST = np.finfo(np.float32).max
AT_ONCE = 4096  # values whose mean and spread are taken together


class Numeric(Field):
    """Values that are numbers already: a model reads them as vectors, with `embedding_size` through a linear layer.

    `standardize` takes the mean of training off every component and divides by its standard deviation; what a model
    says is turned back. The width of the vectors is that of the first value of training.
    """

    has_tokens: ClassVar[bool] = False
    takes: ClassVar[str]  # what a value is, for messages
    one: ClassVar[str]  # how one input is given, for messages

    def __init__(self, *, standardize: bool = False, embedding_size: int | None = None) -> None:
        if embedding_size is not None:
            check_size("field: embedding_size", embedding_size, null="the numbers as they are")
        self.standardize = standardize
        self.embedding_size = embedding_size
        self.mean: Matrix = np.zeros(0)  # [F]
        self.deviation: Matrix = np.ones(0)  # [F]

    @property
    def size(self) -> int:  # type: ignore[override]  # follows what was learned
        """The width F of the vectors."""
        return len(self.mean)

    def array(self, value: Any) -> Any:
        """The value as numbers in lists or an array, text split; its shape is looked at afterwards."""
        raise NotImplementedError

    def read(self, value: Any) -> Matrix:
        """The value as `[S, F]`; `UserError` when it is not such numbers, or one of them is no number."""
        try:
            found = np.asarray(self.array(value), np.float64)
        except (ValueError, TypeError, OverflowError):
            raise self.refusal(value) from None
        if found.shape == (0,):  # nothing has no width
            return found.reshape(0, 0)
        if found.ndim != 2 or (len(found) and not found.size):
            raise self.refusal(value)
        wrong = np.argwhere(~(np.abs(found) <= LARGEST))  # NaN is not less either
        if len(wrong):
            item, component = wrong[0]
            place = f" (item {item + 1}, component {component + 1})" if found.size > 1 else ""
            raise UserError(
                f"{found[item, component]} is not a finite number{place}; mend the value or leave the row out"
            )
        return found

    def refusal(self, value: Any) -> InputError:
        """The error about a value of another kind."""
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        commas = isinstance(value, str) and "," in value and not self.is_number
        hint = "write spaces between the numbers, not commas" if commas else "mend the value"
        mended = hint if isinstance(value, str) else f"one input is {self.one}, and a list of inputs [{self.one}]"
        wrong = f"{shown} is not {self.takes}; "
        return InputError(f"{wrong}{hint}, or name another column in the reader", f"{wrong}{mended}")

    def fit(self, values: Iterable[Any]) -> None:
        """Learn the width, and the mean and deviation of every component; what is broken is refused by `encode`."""
        spread = RunningMoments()
        for value in values:
            try:
                found = self.read(value)
            except UserError:  # `encode` is told of the file and line
                continue
            if len(found) and found.shape[1] == spread.width(found):
                spread.add(found)
        if not spread.count:
            raise UserError(f"training has no value that is {self.takes}; name another column in the reader")
        mean, deviation = spread.result()
        self.mean = mean if self.standardize else np.zeros_like(mean)
        self.deviation = deviation if self.standardize else np.ones_like(mean)

    def encode(self, value: Any) -> npt.NDArray[np.float32]:
        """The numbers `[S, F]`."""
        found = self.read(value)
        if not len(found):
            return np.zeros((0, self.size), np.float32)
        if found.shape[1] != self.size:
            raise UserError(
                f"a vector of {found.shape[1]} numbers, but the vectors of training have {self.size}; mend the value"
            )
        return ((found - self.mean) / self.deviation).astype(np.float32)

    def restored(self, values: Any) -> Matrix:
        """Encoded numbers `[S, F]` in the unit of the data."""
        encoded = np.asarray(values, np.float64).reshape(-1, self.size)
        return encoded * self.deviation + self.mean

    def pieces(self, ids: Sequence[Any]) -> tuple[str, ...]:
        """What a vector is called where attention to it is shown: its number, from 1; a single number is written."""
        if self.size == 1:
            return tuple(f"{number:.4g}" for number in self.restored(ids)[:, 0])
        return tuple(str(place) for place in range(1, len(ids) + 1))

    def embed(self) -> NumberEmbedding:
        """A new layer from `[B, S, F]` to `[B, S, output_size]`."""
        return NumberEmbedding(self.size, self.embedding_size)

    def files(self) -> dict[str, bytes]:
        """Mean and deviation of every component; floats are written exactly."""
        learned = {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}
        return {"numbers.json": (json.dumps(learned) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the mean and the deviation that were written."""
        learned = json.loads(files["numbers.json"])
        self.mean = np.array(learned["mean"], np.float64)
        self.deviation = np.array(learned["deviation"], np.float64)


class RunningMoments:
    """Mean and standard deviation of vectors as they come, a chunk at a time (Chan et al. 1979)."""

    def __init__(self) -> None:
        self.count = 0
        self.mean: Matrix = np.zeros(0)  # [F]
        self.squares: Matrix = np.zeros(0)  # [F] summed squares of distances from the mean
        self.waiting: list[Matrix] = []

    def width(self, found: Matrix) -> int:
        """The width of the first vectors, which are these when there was none."""
        if not self.count:
            self.mean, self.squares = np.zeros(found.shape[1]), np.zeros(found.shape[1])
        return len(self.mean)

    def add(self, found: Matrix) -> None:
        """Take in vectors `[S, F]`."""
        self.count += len(found)
        self.waiting.append(found)
        if len(self.waiting) >= AT_ONCE:
            self.flush()

    def flush(self) -> None:
        """Merge the vectors that wait into mean and squares."""
        if not self.waiting:
            return
        chunk = np.concatenate(self.waiting)  # [N, F]
        self.waiting = []
        before = self.count - len(chunk)
        gap = chunk.mean(0) - self.mean
        self.squares += ((chunk - chunk.mean(0)) ** 2).sum(0) + gap**2 * (before * len(chunk) / self.count)
        self.mean += gap * (len(chunk) / self.count)

    def result(self) -> tuple[Matrix, Matrix]:
        """Mean and deviation `[F]`; the deviation of a component that never changes is 1."""
        self.flush()
        deviation = np.sqrt(self.squares / self.count)
        tiny = deviation <= 1e-12 * np.abs(self.mean)  # rounding of a constant
        return self.mean, np.where(tiny | (deviation == 0), 1.0, deviation)


class NumberEmbedding(nn.Module):
    """Numbers as they are, in the type of the model; with a size, W x + b of them."""

    like: Tensor

    def __init__(self, width: int, size: int | None) -> None:
        super().__init__()
        self.output_size = size or width
        self.projection = None if size is None else nn.Linear(width, size)
        self.register_buffer("like", torch.zeros(()), persistent=False)  # has the type of the model's weights

    def forward(self, values: Tensor) -> Tensor:
        """From `[B, S, F]` to `[B, S, E]`."""
        numbers = values.to(self.like.dtype)
        return numbers if self.projection is None else self.projection(numbers)


def one_number(value: Any) -> Any:
    """A number, or a text that is one; `ValueError` for truth values and anything else."""
    if isinstance(value, bool | np.bool_) or (isinstance(value, str) and "_" in value):
        raise ValueError("no number")
    return float(value)


@register("field", "number")
class NumberField(Numeric):
    """One number for each row; the mean squared error of a model that has learned nothing is its variance."""

    is_sequence: ClassVar[bool] = False
    is_number: ClassVar[bool] = True
    takes: ClassVar[str] = "a number (as in 3.5)"
    one: ClassVar[str] = "3.5"

    def array(self, value: Any) -> Any:
        return [[one_number(value)]]

    def decode(self, ids: Sequence[Any]) -> float:
        """The number in the unit of the data."""
        return float(self.restored(ids)[0, 0])

    def text(self, value: Any) -> str:
        """The number as Python writes it."""
        return repr(float(self.read(value)[0, 0]))


@register("field", "numbers")
class NumbersField(Numeric):
    """A sequence of numbers: a list, or a text with white space between them."""

    takes: ClassVar[str] = "a sequence of numbers (as in 0.1 0.2 0.3)"
    one: ClassVar[str] = "[1, 2, 3]"

    def array(self, value: Any) -> Any:
        items = value.split() if isinstance(value, str) else value
        found = np.asarray(items, np.float64)
        if found.ndim != 1:
            raise ValueError("no sequence of numbers")
        return found[:, None]  # [S, 1]

    def decode(self, ids: Sequence[Any]) -> list[float]:
        """The numbers in the unit of the data."""
        return [float(number) for number in self.restored(ids)[:, 0]]
