"""Metrics of labels and of numbers against scikit-learn, NumPy and examples by hand."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from seq2att.metric import Metric
from seq2att.metric.classes import Accuracy, MacroF1, WeightedF1
from seq2att.metric.numbers import AbsoluteError, Pearson, SquaredError
from tests.refusals import refused

sklearn = pytest.importorskip("sklearn.metrics")


def labels(rows: int, names: list[str], seed: int) -> list[str]:
    return [str(name) for name in np.random.default_rng(seed).choice(names, rows)]


def one(answers: list[str]) -> list[tuple[str, ...]]:
    return [(answer,) for answer in answers]


@pytest.mark.parametrize(
    ("said_names", "right_names"),
    [(["a", "b"], ["a", "b"]), (["a", "b", "c"], ["a", "b", "z", "w"]), (["1", "2", "10"], ["10", "2", "1"])],
)
def test_classes_are_scored_as_by_scikit_learn(said_names: list[str], right_names: list[str]) -> None:
    said, right = labels(200, said_names, 1), labels(200, right_names, 2)
    accuracy = Accuracy()(said, one(right))
    assert accuracy.value == pytest.approx(100 * sklearn.accuracy_score(right, said))
    for metric, average in ((MacroF1(), "macro"), (WeightedF1(), "weighted")):
        expected = sklearn.f1_score(right, said, average=average, zero_division=0)
        assert metric(said, one(right)).value == pytest.approx(100 * expected)
    names = accuracy.details["labels"]
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        right, said, labels=names, average=None, zero_division=0
    )
    table = accuracy.details["classes"]
    assert list(table) == names
    np.testing.assert_allclose([table[name]["precision"] for name in names], 100 * precision)
    np.testing.assert_allclose([table[name]["recall"] for name in names], 100 * recall)
    np.testing.assert_allclose([table[name]["f1"] for name in names], 100 * f1)
    assert [table[name]["support"] for name in names] == support.tolist()
    confusion = sklearn.confusion_matrix(right, said, labels=names)
    assert accuracy.details["confusion"] == confusion.tolist()
    json.dumps(accuracy.details)


def test_classes_that_are_numbers_are_in_their_order() -> None:
    assert Accuracy()(["10", "9"], one(["9", "100"])).details["labels"] == ["9", "10", "100"]
    assert Accuracy()(["b", "10", "9"], one(["9", "100", "nan"])).details["labels"] == ["10", "100", "9", "b", "nan"]
    assert Accuracy()(["nan", "2"], one(["10", "2"])).details["labels"] == ["10", "2", "nan"]


def test_a_class_unseen_in_training_counts_as_wrong() -> None:
    score = Accuracy()(["a", "a", "b"], one(["a", "new", "b"]))
    assert score.value == pytest.approx(200 / 3)
    assert score.details["classes"]["new"] == {"precision": 0, "recall": 0, "f1": 0, "support": 1}
    assert MacroF1()(["a", "a", "b"], one(["a", "new", "b"])).value == pytest.approx(100 * (2 / 3 + 0 + 1) / 3)


def test_any_right_answer_will_do() -> None:
    assert Accuracy()(["b"], [("a", "b")]).value == 100
    assert Accuracy()(["b"], [("a", "b")]).details["labels"] == ["b"]


def test_many_classes_are_counted_only() -> None:
    names = [str(number) for number in range(101)]
    assert Accuracy()(names, one(names)).details == {"right": 101, "rows": 101, "number_of_classes": 101}


def test_numbers_are_scored_as_by_numpy_and_scikit_learn() -> None:
    random = np.random.default_rng(1)
    said, right = random.normal(3, 2, 50), random.normal(1, 2, 50) * 100
    texts: tuple[Any, Any] = (list(map(repr, said.tolist())), one(list(map(repr, right.tolist()))))
    squared = SquaredError()(*texts)
    assert squared.value == pytest.approx(sklearn.mean_squared_error(right, said), rel=1e-14)
    assert squared.details["root_mean_square"] == pytest.approx(squared.value**0.5)
    assert squared.details["variance"] == pytest.approx(right.var())
    np.testing.assert_allclose(squared.details["points"], np.stack([right, said], 1))
    assert AbsoluteError()(*texts).value == pytest.approx(sklearn.mean_absolute_error(right, said), rel=1e-14)
    assert Pearson()(*texts).value == pytest.approx(np.corrcoef(said, right)[0, 1], rel=1e-12)
    assert Pearson()(["1", "2", "3"], one(["10", "20", "30"])).value == pytest.approx(1)
    assert Pearson()(["3", "2", "1"], one(["10", "20", "30"])).value == pytest.approx(-1)


def test_points_are_no_more_than_a_thousand() -> None:
    texts = [str(number) for number in range(2500)]
    points = SquaredError()(texts, one(texts)).details["points"]
    assert len(points) == 834
    assert points[1] == [3, 3]


@pytest.mark.parametrize(
    ("said", "right", "which"), [(["0.1", "0.1"], ["1", "2"], "predictions"), (["1", "2"], ["3", "3"], "true numbers")]
)
def test_a_correlation_with_what_never_changes_is_0_with_a_note(said: list[str], right: list[str], which: str) -> None:
    score = Pearson()(said, one(right))
    assert score.value == 0
    assert score.details["note"] == f"undefined, because the {which} are all equal; reported as 0"


def test_the_nearest_right_number_counts_and_no_answer_is_counted() -> None:
    score = AbsoluteError()(["2", ""], [("0", "3", "9"), ("1",)])
    assert score.value == 1
    assert score.details == {"rows": 1, "unanswered": 1}
    with refused("E-empty", "mae"):
        AbsoluteError()(["", " "], one(["1", "2"]))


@pytest.mark.parametrize(
    ("metric", "name"), [(SquaredError(), "mse"), (AbsoluteError(), "mae"), (Pearson(), "pearson")]
)
def test_text_is_no_number(metric: Metric, name: str) -> None:
    with refused("E-number", f"{name}: row 2"):
        metric(["1", "cat"], one(["1", "2"]))


def test_less_error_is_better() -> None:
    assert not SquaredError.higher_is_better
    assert not AbsoluteError.higher_is_better
    assert Pearson.higher_is_better
    assert Accuracy.higher_is_better
