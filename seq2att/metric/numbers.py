"""Metrics of numbers: how far predictions are from the truth, and how they correlate with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from seq2att.errors import UserError
from seq2att.metric import Metric, Score
from seq2att.registry import register

MAX_POINTS = 1000  # in the details, evenly taken from the rows


def parse_rows(
    metric: str, predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[float], list[float], dict[str, Any]]:
    """Predicted and true numbers, of several references the nearest, and the number of rows.

    A row without a prediction (its source is empty) is left out and counted as `unanswered`.
    """
    predicted, true = [], []
    for row, (text, answers) in enumerate(zip(predictions, references, strict=True), 1):
        if not text.strip():
            continue
        value = parse(metric, text, row)
        predicted.append(value)
        true.append(min((parse(metric, answer, row) for answer in answers), key=lambda answer: abs(answer - value)))
    if not predicted:
        raise UserError("E-empty", metric, "no row has a prediction", "check whether all sources are empty")
    unanswered = len(predictions) - len(predicted)
    return predicted, true, {"rows": len(predicted), **({"unanswered": unanswered} if unanswered else {})}


def parse(metric: str, text: str, row: int) -> float:
    """The number that a text is."""
    try:
        return float(text)
    except ValueError:
        problem = f"{text!r} is not a number"
        raise UserError("E-number", f"{metric}: row {row}", problem, "needs head=regression") from None


def mean(values: Sequence[float]) -> float:
    """The mean, whatever the order of the values."""
    return math.fsum(values) / len(values)


def center(values: Sequence[float]) -> list[float]:
    """The values less their mean; exactly 0 where all are equal."""
    if min(values) == max(values):
        return [0.0] * len(values)
    middle = mean(values)
    return [value - middle for value in values]


@register("metric", "mse")
class SquaredError(Metric):
    """Mean squared error, in the squared unit of the data; at least 0, less is better.

    Its details hold points (true, predicted) to draw.
    """

    tasks = ("estimate",)
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        predicted, true, details = parse_rows("mse", predictions, references)
        value = mean([(one - other) ** 2 for one, other in zip(predicted, true, strict=True)])
        variance = mean([distance**2 for distance in center(true)])  # the error of always predicting the mean
        step = -(-len(predicted) // MAX_POINTS)
        points = [list(point) for point in zip(true[::step], predicted[::step], strict=True)]
        details |= {"root_mean_square": math.sqrt(value), "variance": variance, "points": points}
        return Score(value, "mse|refs:nearest|version:1", details)


@register("metric", "mae")
class AbsoluteError(Metric):
    """Mean absolute error, in the unit of the data; at least 0, less is better."""

    tasks = ("estimate",)
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        predicted, true, details = parse_rows("mae", predictions, references)
        value = mean([abs(one - other) for one, other in zip(predicted, true, strict=True)])
        return Score(value, "mae|refs:nearest|version:1", details)


@register("metric", "pearson")
class Pearson(Metric):
    """Pearson's correlation of predicted and true numbers, -1 to 1; 0, with a note, where one of them is constant."""

    tasks = ("estimate",)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        predicted, true, details = parse_rows("pearson", predictions, references)
        ours, theirs = center(predicted), center(true)
        scale = math.hypot(*ours) * math.hypot(*theirs)
        if scale == 0:
            constant = "true numbers" if any(ours) else "predictions"
            details["note"] = f"undefined, because the {constant} are all equal; reported as 0"
            return Score(0.0, "pearson|refs:nearest|version:1", details)
        value = math.fsum(one * other for one, other in zip(ours, theirs, strict=True)) / scale
        return Score(max(-1.0, min(1.0, value)), "pearson|refs:nearest|version:1", details)
