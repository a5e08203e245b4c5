"""Metrics of labels: accuracy, and precision, recall and F1 of each class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from seq2att.metric import Metric, Score
from seq2att.registry import register
from seq2att.types import class_order

MAX_CLASSES = 100  # with more, the details hold only their number

Pairs = Counter[tuple[str, str]]
"""How often each pair of a true and a predicted label occurs."""
Scores = dict[str, dict[str, float]]
"""Precision, recall, F1 and support of each class, by its name."""


def class_scores(correct: Counter[str], predicted: Counter[str], true: Counter[str], order: Iterable[str]) -> Scores:
    """The scores of each class, in this order, from its numbers of correct, predicted and true items."""
    return {name: precision_recall_f1(correct[name], predicted[name], true[name]) for name in order}


def precision_recall_f1(correct: int, predicted: int, true: int) -> dict[str, float]:
    """Precision, recall and F1, 0 to 100, and the number of true items; a share of nothing is 0."""
    return {
        "precision": percent(correct, predicted),
        "recall": percent(correct, true),
        "f1": percent(2 * correct, predicted + true),
        "support": true,
    }


def percent(part: int, total: int) -> float:
    """100 part / total; 0 of nothing."""
    return 100 * part / total if total else 0.0


def count_pairs(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Pairs:
    """The pairs of true and predicted labels; of several references, the predicted one counts if it is among them."""
    return Counter((text if text in row else row[0], text) for text, row in zip(predictions, references, strict=True))


def score_classes(pairs: Pairs) -> Scores:
    """The scores of every class that is true or predicted anywhere."""
    correct, predicted, true = Counter[str](), Counter[str](), Counter[str]()
    for (reference, prediction), count in pairs.items():
        true[reference] += count
        predicted[prediction] += count
        correct[reference] += count if reference == prediction else 0
    return class_scores(correct, predicted, true, class_order(true | predicted))


def make_details(pairs: Pairs, scores: Scores) -> dict[str, Any]:
    """The scores of every class (`classes`), and `confusion`: a row for each true class, named by `labels`."""
    if len(scores) > MAX_CLASSES:
        return {"number_of_classes": len(scores)}
    confusion = [[pairs.get((true, predicted), 0) for predicted in scores] for true in scores]
    return {"classes": scores, "labels": list(scores), "confusion": confusion}


@register("metric", "accuracy")
class Accuracy(Metric):
    """Accuracy: percentage of rows whose label is right, 0 to 100.

    Its details hold precision, recall and F1 of each class, and the confusion matrix.
    """

    tasks = ("classify",)

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        pairs = count_pairs(predictions, references)
        right = sum(count for (true, predicted), count in pairs.items() if true == predicted)
        details = {"right": right, "rows": len(predictions), **make_details(pairs, score_classes(pairs))}
        return Score(100 * right / len(predictions), "accuracy|refs:any|unit:row|version:1", details)


@register("metric", "f1_macro")
class MacroF1(Metric):
    """Macro F1: mean of the F1 of all classes, 0 to 100; every class counts alike, however rare."""

    tasks = ("classify",)
    average = "macro"

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        pairs = count_pairs(predictions, references)
        scores = score_classes(pairs)
        weights = [one["support"] if self.average == "weighted" else 1 for one in scores.values()]
        value = sum(weight * one["f1"] for weight, one in zip(weights, scores.values(), strict=True)) / sum(weights)
        signature = f"f1|average:{self.average}|refs:any|classes:seen|empty:0|version:1"
        return Score(value, signature, make_details(pairs, scores))


@register("metric", "f1_weighted")
class WeightedF1(MacroF1):
    """Weighted F1: mean of the F1 of all classes, 0 to 100, each weighted by its number of rows."""

    average = "weighted"
