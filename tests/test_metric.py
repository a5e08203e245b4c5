"""Metrics against sacrebleu itself, plain formulas and examples by hand."""

from __future__ import annotations

import functools
import json
import math
import random
from collections.abc import Sequence
from contextlib import suppress

import pytest
import sacrebleu

from seq2att import registry
from seq2att.errors import UserError
from seq2att.metric import Metric, Score
from seq2att.metric.text import Bleu, Chrf, Exact, Per, Ter, Wer, edit_distance
from tests.refusals import refused

PREDICTIONS = ["the cat sat on the mat .", "A dog runs in the park", "한국어 문장 입니다", 'he said "no"']
SINGLE = [["the cat is on the mat ."], ["a dog runs through the park"], ["한국어 문장 이다"], ['she said "no"']]
SEVERAL = [
    ["the cat is on the mat .", "there is a cat on the mat ."],
    ["a dog runs through the park"],
    ["한국어 문장 이다", "한국어 문장 입니다", "국어 문장"],
    ['she said "no"'],
]
TEXT = ("bleu", "chrf", "ter", "exact", "per", "wer", "accuracy", "f1_macro", "f1_weighted")
ALL: list[Metric] = [registry.find("metric", name).target() for name in TEXT]


def test_all_are_registered() -> None:
    assert {*TEXT, "mse", "mae", "pearson"} <= set(registry.entries("metric"))


def test_one_answer_a_row_is_what_sacrebleu_says() -> None:
    stream = [row[0] for row in SINGLE]
    assert Bleu()(PREDICTIONS, SINGLE).value == sacrebleu.corpus_bleu(PREDICTIONS, [stream]).score
    assert Chrf()(PREDICTIONS, SINGLE).value == sacrebleu.corpus_chrf(PREDICTIONS, [stream]).score
    expected = sacrebleu.metrics.TER(case_sensitive=True).corpus_score(PREDICTIONS, [stream]).score
    assert Ter()(PREDICTIONS, SINGLE).value == expected
    lower = sacrebleu.corpus_ter(PREDICTIONS, [stream]).score  # sacrebleu's own default ignores case
    assert Ter(lowercase=True)(PREDICTIONS, SINGLE).value == lower
    assert Ter(lowercase=True)(["A b"], [["a b"]]).value == 0
    assert Ter()(["A b"], [["a b"]]).value == 50
    plus = sacrebleu.corpus_chrf(PREDICTIONS, [stream], word_order=2).score
    assert Chrf(word_order=2)(PREDICTIONS, SINGLE).value == plus != Chrf()(PREDICTIONS, SINGLE).value


def test_rows_may_have_different_numbers_of_answers() -> None:
    padded = [[*row, None, None][:3] for row in SEVERAL]
    columns = [[row[place] for row in padded] for place in range(3)]
    assert Bleu()(PREDICTIONS, SEVERAL).value == sacrebleu.corpus_bleu(PREDICTIONS, columns).score  # type: ignore[arg-type]
    assert Chrf()(PREDICTIONS, SEVERAL).value == sacrebleu.corpus_chrf(PREDICTIONS, columns).score  # type: ignore[arg-type]
    for metric in ALL:
        one, many = metric(PREDICTIONS, SINGLE).value, metric(PREDICTIONS, SEVERAL).value
        assert many > one if metric.higher_is_better else many < one
    assert "nrefs:var" in Bleu()(PREDICTIONS, SEVERAL).signature
    assert "nrefs:1" in Bleu()(PREDICTIONS, SINGLE).signature


def test_the_second_answer_counts_as_much_as_the_first() -> None:
    turned = [list(reversed(row)) for row in SEVERAL]
    for metric in ALL:
        assert metric(PREDICTIONS, SEVERAL).value == pytest.approx(metric(PREDICTIONS, turned).value)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)
def test_right_answers_are_perfect_and_details_are_json(metric: Metric) -> None:
    answers = [row[-1] for row in SEVERAL]
    score = metric(answers, SEVERAL)
    assert score.value == pytest.approx(100 if metric.higher_is_better else 0)
    assert score.signature
    assert score.details
    json.dumps(score.details)
    worst = metric(["zzz"] * 4, SEVERAL)
    assert worst.value < 5 if metric.higher_is_better else worst.value >= 90


def test_signatures_say_what_the_value_depends_on() -> None:
    assert f"version:{sacrebleu.__version__}" in Bleu()(PREDICTIONS, SINGLE).signature
    assert "case:mixed" in Bleu()(PREDICTIONS, SINGLE).signature
    assert "tok:13a" in Bleu()(PREDICTIONS, SINGLE).signature
    assert "case:mixed" in Ter()(PREDICTIONS, SINGLE).signature
    assert "case:lc" in Ter(lowercase=True)(PREDICTIONS, SINGLE).signature
    assert "tok:char" in Bleu(tokenize="char")(PREDICTIONS, SINGLE).signature
    assert Exact()(PREDICTIONS, SINGLE).signature == "exact|refs:any|unit:row|version:1"


def test_exact_is_to_the_character_and_wer_to_the_symbol() -> None:
    assert Exact()(["a b", "a  b", "A b", ""], [["a b"], ["a b"], ["a b"], ["x", ""]]).value == 50
    assert Wer()(["a b", "a  b", "A b", ""], [["a b"], ["a b"], ["a b"], ["x", ""]]).value == 25


def test_phoneme_error_rate_by_hand() -> None:
    # K AE T for K AA T: 1 edit of 3.  D AO G Z: nearest is D AO G, 1 edit of 3, not D AA G S, 2 of 4.  AH: right, of 1.
    score = Per()(["K AE T", "D AO G Z", "AH"], [["K AA T"], ["D AA G S", "D AO G"], ["EY", "AH"]])
    assert score.value == pytest.approx(100 * 2 / 7)
    assert score.details == {"edits": 2, "symbols": 7, "rows": 3}
    assert Per()(["a b"], [["a b c", "a"]]).value == 100  # equally near: the shortest
    assert Per()(["a"], [[""]]).value == 100
    assert Per()([""], [[""]]).value == 0


def plain_distance(one: Sequence[str], two: Sequence[str]) -> int:
    @functools.cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        change = distance(i - 1, j - 1) + (one[i - 1] != two[j - 1])
        return min(change, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(one), len(two))


def test_edit_distance_is_the_plain_recursion() -> None:
    generator = random.Random(1)
    distances = set()
    for _ in range(500):
        one, two = ("".join(generator.choices("abc", k=generator.randrange(9))) for _ in "12")
        assert edit_distance(one, two) == plain_distance(one, two) == edit_distance(two, one)
        distances.add(edit_distance(one, two))
    assert len(distances) > 5


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: type(metric).__name__)
def test_what_cannot_be_scored_is_refused(metric: Metric) -> None:
    with refused("E-empty", type(metric).__name__):
        metric([], [])
    with refused("E-length"):
        metric(["a", "b"], [["a"]])
    with refused("E-empty", "row 2"):
        metric(["a", "b"], [["a"], []])
    with refused("E-type", "row 1") as info:
        metric(["a"], ["ab"])
    assert info.value.remedy == "write ['ab']"


def test_a_score_needs_no_details() -> None:
    assert Score(1.0, "mine|version:1").details == {}


@pytest.mark.parametrize("name", sorted(registry.entries("metric")))
def test_nothing_and_empty_texts_have_a_defined_score_or_are_refused(name: str) -> None:
    metric = registry.build_listed("metric", {}, name)
    for rows in ([], [[]]):
        with refused("E-empty"):
            metric([""] * len(rows), rows)
    for predictions, references in (([""], [[""]]), (["", ""], [["1"], ["", "2"]]), (["1", " "], [["1"], [" "]])):
        with suppress(UserError):  # in one line
            assert math.isfinite(metric(predictions, references).value)
