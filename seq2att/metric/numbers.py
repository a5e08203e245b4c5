"""Metrics of numbers: how far predictions are from the truth, and whether they rise and fall with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from seq2att.errors import UserError
from seq2att.metric import Metric, Score
from seq2att.registry import register

MOST = 1000  # points that the details hold, evenly taken from the rows


def numbers(
    name: str, predictions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[list[float], list[float], dict[str, Any]]:
    """Predicted and right numbers, of several right ones the nearest; and how many rows that are.

    A row without a prediction (its source is empty) is left out and counted as `unanswered`.
    """
    said, right = [], []
    for row, (text, answers) in enumerate(zip(predictions, references, strict=True), 1):
        if not text.strip():
            continue
        prediction = parse(name, text, row)
        said.append(prediction)
        right.append(min((parse(name, answer, row) for answer in answers), key=lambda true: abs(true - prediction)))
    if not said:
        raise UserError(f"{name}: no row has a prediction; check whether all of their sources are empty")
    unanswered = len(predictions) - len(said)
    return said, right, {"rows": len(said), **({"unanswered": unanswered} if unanswered else {})}


def parse(name: str, text: str, row: int) -> float:
    """The number that a text is."""
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"{name}: row {row}: {text!r} is no number; {name} is for numbers (head=regression), take it out of metrics"
        ) from None


def mean(values: Sequence[float]) -> float:
    """The mean, whatever the order of the values."""
    return math.fsum(values) / len(values)


@register("metric", "mse")
class SquaredError(Metric):
    """Mean squared error, in the unit of the data squared; its details have points (true, predicted) to draw."""

    verbs: ClassVar[tuple[str, ...]] = ("estimate",)
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The mean over the rows that have a prediction."""
        said, right, found = numbers("mse", predictions, references)
        value = mean([(one - other) ** 2 for one, other in zip(said, right, strict=True)])
        variance = mean([distance**2 for distance in centred(right)])  # the error of who always says the mean
        found |= {"root_mean_square": math.sqrt(value), "variance": variance}
        step = -(-len(said) // MOST)
        found["points"] = [[true, predicted] for true, predicted in zip(right[::step], said[::step], strict=True)]
        return Score(value, "mse|refs:nearest|version:1", found)


@register("metric", "mae")
class AbsoluteError(Metric):
    """Mean absolute error, in the unit of the data."""

    verbs: ClassVar[tuple[str, ...]] = ("estimate",)
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The mean over the rows that have a prediction."""
        said, right, found = numbers("mae", predictions, references)
        value = mean([abs(one - other) for one, other in zip(said, right, strict=True)])
        return Score(value, "mae|refs:nearest|version:1", found)


@register("metric", "pearson")
class Pearson(Metric):
    """Pearson's correlation of predictions and truth, -1 to 1; 0 where one of them never changes, which is noted."""

    verbs: ClassVar[tuple[str, ...]] = ("estimate",)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The correlation over the rows that have a prediction."""
        said, right, found = numbers("pearson", predictions, references)
        ours, theirs = centred(said), centred(right)
        scale = math.hypot(*ours) * math.hypot(*theirs)
        if scale == 0:
            which = "predictions" if not any(ours) else "right answers"
            found["note"] = f"undefined: the {which} are all the same; 0 stands for it"
            return Score(0.0, "pearson|refs:nearest|version:1", found)
        value = math.fsum(one * other for one, other in zip(ours, theirs, strict=True)) / scale
        return Score(max(-1.0, min(1.0, value)), "pearson|refs:nearest|version:1", found)


def centred(values: Sequence[float]) -> list[float]:
    """The values less their mean; exactly 0 where all are the same."""
    if min(values) == max(values):
        return [0.0] * len(values)
    middle = mean(values)
    return [value - middle for value in values]
