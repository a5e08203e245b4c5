"""Metrics: how good predictions are, judged by one or several right answers for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from seq2att.errors import UserError
from seq2att.registry import kind


class Score(NamedTuple):
    """The value of a metric, and what makes it comparable."""

    value: float
    signature: str  # everything that the value depends on beside the texts
    details: dict[str, Any] = {}  # noqa: RUF012  # numbers and lists of numbers; never written to


@kind("metric")
class Metric:
    """Compares predictions with the right answers; a subclass writes `measure`."""

    higher_is_better: bool = True
    verbs: ClassVar[tuple[str, ...]] = ()
    """What the models do whose answers it judges, as in `Head.verb`; none: whatever they do."""

    def __call__(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The score of all rows together.

        `references` holds for each row its right answers, one or more; their number may differ between rows.
        `UserError` when there is nothing to score or a row has no right answer.
        """
        name = type(self).__name__
        if not predictions:
            raise UserError(f"{name}: there are no predictions to score; check the file or the split that is evaluated")
        if len(predictions) != len(references):
            raise UserError(
                f"{name}: {len(predictions)} predictions meet right answers for {len(references)} rows; give as many"
            )
        for number, row in enumerate(references, 1):
            if isinstance(row, str):
                raise UserError(f"{name}: row {number} is the text {row!r}, not a sequence of texts; write [{row!r}]")
            if not row:
                raise UserError(f"{name}: row {number} has no right answer; leave the row out or give it one")
        return self.measure(predictions, references)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The score, of at least one row, each with at least one right answer."""
        raise NotImplementedError


# The components stand below the base class that they are made from.
from seq2att.metric.classes import Accuracy, MacroF1, WeightedF1  # noqa: E402
from seq2att.metric.numbers import AbsoluteError, Pearson, SquaredError  # noqa: E402
from seq2att.metric.spans import SpanF1, TagAccuracy  # noqa: E402
from seq2att.metric.text import Bleu, Chrf, Exact, Per, Ter, Wer, edit_distance  # noqa: E402

__all__ = [
    "AbsoluteError",
    "Accuracy",
    "Bleu",
    "Chrf",
    "Exact",
    "MacroF1",
    "Metric",
    "Pearson",
    "Per",
    "Score",
    "SpanF1",
    "SquaredError",
    "TagAccuracy",
    "Ter",
    "WeightedF1",
    "Wer",
    "edit_distance",
]
