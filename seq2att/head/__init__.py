"""Heads: from an encoding to a loss and to predictions, for one task.

A `Generator` generates sequences token by token: it is all that a search sees of a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from seq2att.contracts import setting_name
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.registry import kind
from seq2att.search import Search
from seq2att.types import Column, Encoding, Loss, Prediction, State


@kind("head")
class Head(nn.Module):
    """Computes the loss of the right targets for an encoded source, their score, and predictions.

    A subclass sets `task` and `metrics`, writes `loss`, `predict` and `score`, and may refuse target fields in `check`.
    The program gives `memory_size` (M, that of the encoder's outputs) and `target` (the fitted field) to its
    constructor.
    """

    metrics: ClassVar[tuple[str, ...]] = ()
    """The metrics of a configuration that names none."""
    task: ClassVar[str] = "translate"
    """The task: `translate`, `classify`, `tag`, `estimate` or `generate`, a method of `Predictor` and a command."""
    loss_metrics: ClassVar[Mapping[str, Callable[[float], float]]] = {}
    """Metrics that are functions of the mean loss, such as the perplexity; lower is better."""
    accuracy: ClassVar[str] = ""
    """The name of the share of targets that are predicted right, where `loss` counts them (`Loss.correct`)."""
    multiple_references: ClassVar[bool] = False
    """Whether the targets of rows with equal sources are all right answers, so that a source is predicted once."""

    def __init__(self, memory_size: int, target: Field) -> None:
        super().__init__()
        self.check(target)

    @classmethod
    def check(cls, target: Field) -> None:
        """Raise `UserError` for a target field that this head cannot predict; also called before data are read."""

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """Compute the summed loss of the targets.

        Args:
            encoding: the encoded sources, B rows.
            target: the targets, padded.
            state: a `CarriedState` in training on running text, else ().

        Returns:
            `Loss(total, count)`: scalars, the sum over all targets (tokens or rows) and their number. A head with an
            `accuracy` gives `correct` too: how many of them are predicted right, from the scores of the loss.
        """
        raise NotImplementedError

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """Predict every row, in order: a list of B `Prediction`.

        `search` finds sequences (None for other heads); `rows` `[B]` are the numbers of the rows, which seed samples.
        """
        raise NotImplementedError

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Compute log p(target | source) of every row: `[B]`."""
        raise NotImplementedError

    def token_scores(self, encoding: Encoding, target: Column) -> Tensor:
        """Split the score of every row into its terms `[B, T]`, 0 on padding: the factors of p(target | source).

        A head of one value for a row has one term. A head of sequences overrides this: term t is the logarithm of
        p(item t | the items before it, source).
        """
        return self.score(encoding, target).unsqueeze(1)


def target_error(head: type[Head], target: Field, predicts: str, allowed: str) -> UserError:
    """The error about a target field that a head cannot predict."""
    return UserError(
        "E-conflict",
        setting_name("field", target, "target"),
        f"{setting_name('head', head)} predicts {predicts}",
        f"set target={allowed}, or another head",
    )


# The components stand below the base class that they are made from.
from seq2att.head.classification import Classification  # noqa: E402
from seq2att.head.generator import (  # noqa: E402
    Generation,
    Generator,
    LanguageModel,
    Translation,
    shift_right,
    shift_stream,
)
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
