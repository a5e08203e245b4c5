"""Metrics of labels: how many are right, and how well each class is told from the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from seq2att.metric import Metric, Score
from seq2att.registry import register
from seq2att.types import class_order

MOST = 100  # classes that the details tell of one by one


class Outcome(NamedTuple):
    """How well one class was found."""

    precision: float  # of the rows that are said to have it, the share that have it, 0 to 100
    recall: float  # of the rows that have it, the share that are said to, 0 to 100
    f1: float  # the harmonic mean of both, 0 to 100
    support: int  # rows that have it


def pairs(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Counter[tuple[str, str]]:
    """How often each (right, predicted) pair comes; of several right answers the one that was predicted counts."""
    return Counter((text if text in row else row[0], text) for text, row in zip(predictions, references, strict=True))


def outcomes(counts: Mapping[tuple[str, str], int]) -> dict[str, Outcome]:
    """The outcome of every class that is right or predicted anywhere, in order; a share of nothing is 0."""
    right: Counter[str] = Counter()
    said: Counter[str] = Counter()
    both: Counter[str] = Counter()
    for (true, predicted), count in counts.items():
        right[true] += count
        said[predicted] += count
        both[true] += count if true == predicted else 0
    found = {}
    for name in class_order(right | said):
        precision = 100 * both[name] / max(said[name], 1)
        recall = 100 * both[name] / max(right[name], 1)
        f1 = 200 * both[name] / (said[name] + right[name])
        found[name] = Outcome(precision, recall, f1, right[name])
    return found


def details(counts: Mapping[tuple[str, str], int]) -> dict[str, Any]:
    """Precision, recall, F1 and rows of every class, and the confusion matrix: a row for each right class.

    `classes` holds the first, `labels` names rows and columns of `confusion`; of many classes only their number.
    """
    table = outcomes(counts)
    if len(table) > MOST:
        return {"number_of_classes": len(table)}
    labels = list(table)
    confusion = [[counts.get((true, predicted), 0) for predicted in labels] for true in labels]
    return {
        "classes": {name: outcome._asdict() for name, outcome in table.items()},
        "labels": labels,
        "confusion": confusion,
    }


@register("metric", "accuracy")
class Accuracy(Metric):
    """Percent of rows whose label is right; beside it a table of the classes and the confusion matrix."""

    verbs: ClassVar[tuple[str, ...]] = ("classify",)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The share of rows with the right label."""
        counts = pairs(predictions, references)
        right = sum(count for (true, predicted), count in counts.items() if true == predicted)
        found = {"right": right, "rows": len(predictions), **details(counts)}
        return Score(100 * right / len(predictions), "accuracy|refs:any|unit:row|version:1", found)


@register("metric", "f1_macro")
class MacroF1(Metric):
    """The mean of the classes' F1, 0 to 100: every class counts alike, however rare."""

    verbs: ClassVar[tuple[str, ...]] = ("classify",)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The mean over the classes that are right or predicted anywhere."""
        counts = pairs(predictions, references)
        table = outcomes(counts)
        value = sum(outcome.f1 for outcome in table.values()) / len(table)
        return Score(value, "f1|average:macro|refs:any|classes:seen|empty:0|version:1", details(counts))


@register("metric", "f1_weighted")
class WeightedF1(Metric):
    """The mean of the classes' F1, 0 to 100, each weighted by the rows that have the class."""

    verbs: ClassVar[tuple[str, ...]] = ("classify",)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The mean over the rows of their classes' F1."""
        counts = pairs(predictions, references)
        value = sum(outcome.f1 * outcome.support for outcome in outcomes(counts).values()) / len(predictions)
        return Score(value, "f1|average:weighted|refs:any|classes:seen|empty:0|version:1", details(counts))
