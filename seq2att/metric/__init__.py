"""Metrics: how good predictions are, compared with one or several references for each row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from seq2att.errors import UserError
from seq2att.registry import expect, kind


class Score(NamedTuple):
    """The value of a metric, and what makes it comparable."""

    value: float
    signature: str  # everything that the value depends on besides the texts
    details: dict[str, Any] = {}  # noqa: RUF012  # numbers and lists of numbers; never written to


@kind("metric")
class Metric:
    """Compares predictions with references; a subclass writes `measure`."""

    higher_is_better: bool = True
    tasks: ClassVar[tuple[str, ...]] = ()
    """The tasks whose predictions it judges, as in `Head.task`; empty: every task."""

    def __call__(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The score of all rows together.

        Args:
            predictions: one text for each row.
            references: the right answers of each row, one or more; their number may differ between rows.

        Raises:
            UserError: if there is nothing to score, or a row has no reference.
        """
        name = type(self).__name__
        if not predictions:
            raise UserError("E-empty", name, "there are no predictions to score", "check the file or the split")
        if len(predictions) != len(references):
            rows = f"{len(predictions)} predictions for {len(references)} rows of references"
            raise UserError("E-length", name, rows, "give as many of both")
        for number, row in enumerate(references, 1):
            if isinstance(row, str):
                raise UserError("E-type", f"{name}: row {number}", f"{row!r} is no list", f"write [{row!r}]")
            if not row:
                raise UserError("E-empty", f"{name}: row {number}", "has no reference", "leave it out or add one")
        return expect(self.measure(predictions, references), Score, "metric", self)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The score of at least one row, each with at least one reference."""
        raise NotImplementedError


# The components stand below the base class that they are made from.
from seq2att.metric import classes, numbers, spans, text  # noqa: E402, F401
