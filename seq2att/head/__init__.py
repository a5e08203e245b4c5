"""Heads: what a model is for, from an encoding to a loss and to predictions.

A `Generator` says sequences: it is all that a search, an ensemble or an export ever sees of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from seq2att.field import Field
from seq2att.registry import kind
from seq2att.search import Search
from seq2att.types import Column, Encoding, Loss, Prediction, State


@kind("head")
class Head(nn.Module):
    """Says something about an encoded source, and how wrong that is."""

    metrics: ClassVar[tuple[str, ...]] = ()
    """Metrics that are reported when the configuration names none."""
    verb: ClassVar[str] = "translate"
    """What such a model is asked to do: the method of the Python API and the command."""
    figures: ClassVar[Mapping[str, Callable[[float], float]]] = {}
    """What else is told of the mean loss, such as the perplexity; less is better."""
    several_answers: ClassVar[bool] = False
    """Whether all targets of equal sources are right answers for each of them, so that each is asked once."""

    def __init__(self, memory_size: int, target: Field) -> None:
        super().__init__()

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """The summed loss of the right answers and their number; `state` is that of running text."""
        raise NotImplementedError

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """An answer for every row, in row order."""
        raise NotImplementedError

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(target | source) of every row: `[B]`."""
        raise NotImplementedError


# The components stand below the base class that they are made from.
from seq2att.head.classification import Classification  # noqa: E402
from seq2att.head.generation import Generation  # noqa: E402
from seq2att.head.generator import Generator, Translation, following, shifted  # noqa: E402
from seq2att.head.language_model import LanguageModel  # noqa: E402
from seq2att.head.regression import Regression  # noqa: E402
from seq2att.head.tagging import Tagging  # noqa: E402

__all__ = [
    "Classification",
    "Generation",
    "Generator",
    "Head",
    "LanguageModel",
    "Regression",
    "Tagging",
    "Translation",
    "following",
    "shifted",
]
