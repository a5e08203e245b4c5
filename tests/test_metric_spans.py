"""Metrics of tags against seqeval, and examples by hand."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

import pytest
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

from seq2att.metric.spans import SpanF1, TagAccuracy, find_spans

BIO = ["O", "O", "B-x", "I-x", "B-y", "I-y"]
BIOES = [*BIO, "E-x", "S-x", "E-y", "S-y"]
OTHERS = ["O", "B", "I", "NOUN", ".", "B-a-b", "I-a-b", "X-x", "-", "E", "S", "L-x", "U-x"]


def rows_of(tags: Sequence[str], count: int, seed: int) -> list[list[str]]:
    rng = random.Random(seed)
    return [[rng.choice(tags) for _ in range(rng.randint(1, 12))] for _ in range(count)]


def disturbed(rows: list[list[str]], tags: Sequence[str], seed: int) -> list[list[str]]:
    rng = random.Random(seed)
    return [[tag if rng.random() < 0.7 else rng.choice(tags) for tag in row] for row in rows]


def texts(rows: list[list[str]]) -> list[str]:
    return [" ".join(row) for row in rows]


@pytest.mark.parametrize("tags", [BIO, BIOES, OTHERS], ids=["BIO", "BIOES", "others"])
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.filterwarnings("ignore:.*seems not to be NE tag")
def test_spans_are_those_of_seqeval(tags: Sequence[str], seed: int) -> None:
    for row in rows_of(tags, 50, seed):
        assert [tuple(span) for span in find_spans(row)] == get_entities(row), row


@pytest.mark.parametrize("tags", [BIO, BIOES], ids=["BIO", "BIOES"])
def test_scores_are_those_of_seqeval(tags: Sequence[str]) -> None:
    right = rows_of(tags, 300, 1)
    said = disturbed(right, tags, 2)
    found = SpanF1()(texts(said), [[text] for text in texts(right)])
    assert found.value == pytest.approx(100 * f1_score(right, said))
    assert found.details["precision"] == pytest.approx(100 * precision_score(right, said))
    assert found.details["recall"] == pytest.approx(100 * recall_score(right, said))
    report = classification_report(right, said, output_dict=True)
    for kind in ("x", "y"):
        wanted = report[kind]
        figures = found.details["classes"][kind]
        assert figures["f1"] == pytest.approx(100 * wanted["f1-score"])
        assert figures["precision"] == pytest.approx(100 * wanted["precision"])
        assert figures["recall"] == pytest.approx(100 * wanted["recall"])
        assert figures["support"] == wanted["support"]
    accuracy = TagAccuracy()(texts(said), [[text] for text in texts(right)])
    assert accuracy.value == pytest.approx(100 * accuracy_score(right, said))
    assert accuracy.details["tags"] == sum(map(len, right))


def test_by_hand() -> None:
    said = ["B-x I-x O B-y", "O O"]
    right = [["B-x I-x O B-x"], ["B-y O"]]
    found = SpanF1()(said, right)
    assert found.value == pytest.approx(40)  # 1 right, 2 said, 3 wanted
    assert found.details["classes"]["x"] == {
        "precision": 100.0,
        "recall": 50.0,
        "f1": pytest.approx(200 / 3),
        "support": 2,
    }
    assert found.details["classes"]["y"] == {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1}
    assert found.signature == "span_f1|refs:nearest|average:micro|rules:conlleval|version:1"
    accuracy = TagAccuracy()(said, right)
    assert accuracy.value == pytest.approx(100 * 4 / 6)
    found_b = {"precision": 100.0, "recall": 50.0, "f1": pytest.approx(200 / 3), "support": 2}
    assert accuracy.details["classes"]["B-x"] == found_b
    assert accuracy.details["classes"]["O"] == {
        "precision": pytest.approx(200 / 3),
        "recall": 100.0,
        "f1": 80.0,
        "support": 2,
    }
    assert accuracy.signature == "tag_accuracy|refs:nearest|unit:tag|version:1"


def test_the_same_span_in_other_rows_does_not_count() -> None:
    assert SpanF1()(["B-x", "O"], [["O"], ["B-x"]]).value == 0


def test_iob1_is_read() -> None:
    assert SpanF1()(["I-x I-x O I-y"], [["B-x I-x O B-y"]]).value == 100


def test_missing_and_surplus_tags_are_wrong() -> None:
    assert TagAccuracy()(["a", "a b c", ""], [["a b"], ["a b"], ["a"]]).value == pytest.approx(100 * 3 / 6)


def test_the_nearest_of_several_right_answers_counts() -> None:
    said, right = ["B-x O"], [["B-x I-x", "B-x O", "O O"]]
    assert SpanF1()(said, right).value == TagAccuracy()(said, right).value == 100


def test_nothing_to_find_is_0_and_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert f1_score([["O", "O"]], [["O", "O"]]) == 0
    found = SpanF1()(["O O"], [["O O"]])
    assert found.value == 0
    assert found.details["note"] == "the references have no span, so this is 0 whatever is predicted"
    assert TagAccuracy()([""], [[""]]).value == 0
