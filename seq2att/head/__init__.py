"""Heads: what a model is for, from an encoding to a loss and to predictions.

A `Generator` says sequences: it is all that a search, an ensemble or an export ever sees of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.registry import entries, kind
from seq2att.search import Search
from seq2att.types import Column, Encoding, Loss, Prediction, State


@kind("head")
class Head(nn.Module):
    """Says something about an encoded source, and how wrong that is."""

    metrics: ClassVar[tuple[str, ...]] = ()
    """Metrics that are reported when the configuration names none."""
    task: ClassVar[str] = "translate"
    """What such a model is asked to do: the method of the Python API and the command."""
    loss_metrics: ClassVar[Mapping[str, Callable[[float], float]]] = {}
    """What else is told of the mean loss, such as the perplexity; less is better."""
    multiple_references: ClassVar[bool] = False
    """Whether all targets of equal sources are right answers for each of them, so that each is asked once."""

    def __init__(self, memory_size: int, target: Field) -> None:
        super().__init__()
        self.check(target)

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target field that such a head cannot say; called before data are read as well."""

    def reach(self, bound: float | None) -> float | None:
        """The largest size of a number that it can say where no output of its encoder exceeds `bound`; None: any."""
        return None

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """The summed loss of the right answers and their number; `state` is that of running text."""
        raise NotImplementedError

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """An answer for every row, in row order."""
        raise NotImplementedError

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(target | source) of every row: `[B]`."""
        raise NotImplementedError


def target_error(head: type[Head], target: Field, says: str, allowed: str) -> UserError:
    """The error about a target field that a head cannot say."""
    return UserError(
        f"{setting('target', 'field', type(target))}: {setting('head', 'head', head)} says {says}; "
        f"set target={allowed}, or another head"
    )


def setting(slot: str, kind: str, component: type) -> str:
    """How settings ask for a component, as in `target=tags`."""
    names = [name for name, entry in entries(kind).items() if entry.target is component]
    return f"{slot}={names[0] if names else component.__name__}"


# The components stand below the base class that they are made from.
from seq2att.head.classification import Classification  # noqa: E402
from seq2att.head.generation import Generation  # noqa: E402
from seq2att.head.generator import Generator, Translation, shift_right, shift_stream  # noqa: E402
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
    "shift_right",
    "shift_stream",
]
