"""Baselines on the data of small runs: the factors of a text counted and by the neural model, and their figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import seq2att
from seq2att import api
from seq2att.baselines import linear
from seq2att.cli import main
from tests.refusals import refused


def test_factors_multiply_to_the_probability_of_the_text(tiny_run: Callable[[str], Path]) -> None:
    counted = seq2att.count_ngrams(tiny_run("texts"), order=3, add_k=0.5)  # of: ab ba, abba, ba ab, baab
    factors, scores = counted.factors("aba"), counted.score("aba")
    assert [(one.token, one.history, one.ngram_count, one.history_count) for one in factors] == [
        ("a", ("<s>",), 2, 4),
        ("b", ("<s>", "a"), 2, 2),
        ("a", ("a", "b"), 0, 4),
        ("</s>", ("b", "a"), 2, 4),
    ]
    assert [one.unsmoothed for one in factors] == [1 / 2, 1, 0, 1 / 2]
    assert factors[2].longest == 2
    for one in factors:
        assert len(one.back_off) == len(one.history) + 2
        assert one.back_off[-1] == one.kneser_ney
    assert (scores["unsmoothed"].score, scores["unsmoothed"].perplexity) == (-math.inf, math.inf)
    for name in ("add_k", "kneser_ney", "neural"):
        product = math.prod(getattr(one, name) for one in factors)
        assert product == pytest.approx(math.exp(scores[name].score), rel=1e-12)
        assert scores[name].perplexity == pytest.approx(product ** (-1 / 4), rel=1e-12)
    (neural,) = seq2att.load(tiny_run("texts")).score([(None, "aba")])
    assert scores["neural"].score == pytest.approx(neural.score, rel=1e-5)


def test_counts_and_what_may_follow(tiny_run: Callable[[str], Path]) -> None:
    counted = seq2att.count_ngrams(tiny_run("texts"), order=2)
    assert [counted.count(text) for text in ("a", "ab", "bb", "ba", "zz")] == [8, 4, 1, 4, 0]
    with refused("E-length", "'aba'"):
        counted.count("aba")
    for estimate in ("unsmoothed", "add_k", "kneser_ney"):
        found = counted.probabilities("ab", estimate)
        assert sum(found.values()) == pytest.approx(1)
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert next(iter(found)) in ("a", "</s>")
    with refused("E-choice", "estimate=neural"):
        counted.probabilities("ab", "neural")


def test_unknown_tokens_are_named(tiny_run: Callable[[str], Path]) -> None:
    counted = seq2att.count_ngrams(tiny_run("texts"))
    messages: list[str] = []
    counted.predictor.say = messages.append
    assert counted.factors("az")[1].longest == 0
    assert messages == ["not in the vocabulary, read as <unk>: line 1 (z)"]
    field: Any = counted.field
    field.tokenizer.drops_unknown = True
    assert [one.token for one in counted.factors("az")] == ["a", "</s>"]
    assert messages[1:] == ["not in the vocabulary, left out: line 1 (z)"]


def test_running_text_has_no_end(tiny_run: Callable[[str], Path], tmp_path: Path) -> None:
    recipe = tmp_path / "running.yaml"
    recipe.write_text((tiny_run("texts").parent / "texts.yaml").read_text())
    options = ["data.batching=stream", "data.row_ends=false", "trainer.epochs=1", "trainer.progress=false"]
    run = seq2att.train(str(recipe), [f"run={tmp_path / 'run'}", "data.steps=4", *options])
    counted = seq2att.count_ngrams(run, order=2)  # ab baabbaba abbaab
    assert [(one.token, one.history) for one in counted.factors("ab")] == [("a", ()), ("b", ("a",))]
    assert counted.counts.num_texts == 1
    assert set(api.evaluate(run, split="validation")) > {"loss", "perplexity", "bits"}
    result = seq2att.baseline(run, split="validation", order=2)
    assert result["tokens"] == 6
    assert result["neural"]["loss"] == pytest.approx(api.evaluate(run, split="validation")["loss"])


def test_n_grams_count_the_tokens_of_the_run(tiny_run: Callable[[str], Path]) -> None:
    counted = seq2att.baseline(tiny_run("texts"), split="validation", order=3)
    figures = api.evaluate(tiny_run("texts"), split="validation")
    assert counted["tokens"] == 8
    for one in counted["estimates"].values():
        assert one["perplexity"] == pytest.approx(math.exp(one["loss"]))
    assert counted["neural"] == {name: figures[name] for name in ("loss", "perplexity", "bits")}


def test_a_linear_baseline_is_judged_by_the_metrics_of_the_run(tiny_run: Callable[[str], Path]) -> None:
    result = seq2att.baseline(tiny_run("classes"), split="validation", order=1)
    assert result["linear"]["accuracy"] == 100
    assert set(result["linear"]) < set(result["neural"])
    assert result["rows"] == 2


def test_texts_without_a_common_token_are_refused() -> None:
    texts = linear.Texts(["a b", "c d"], ["x", "y"])
    with refused("E-data", "train"):
        linear.classify(texts, texts, ["a"], 2, str.split)


def test_other_tasks_and_orders_are_refused(tiny_run: Callable[[str], Path]) -> None:
    with refused("E-task", "head=classification, source=text"):
        seq2att.count_ngrams(tiny_run("classes"))
    with refused("E-size", "order=0"):
        seq2att.baseline(tiny_run("texts"), order=0)


def test_data_of_others_are_opened_only_where_they_are_trusted(root: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts.txt"
    texts.write_text("ab ba\nabba\n")
    recipe = tmp_path / "own.yaml"
    options = ["reader=lines", f"reader.train={texts}", f"reader.validation={texts}", "trainer.progress=false"]
    recipe.write_text("defaults: [next_character, _self_]\ncallbacks: []\ntrainer: {epochs: 1, validate_every: 1}\n")
    run = seq2att.train(str(recipe), [f"run={tmp_path / 'run'}", *options])
    assert seq2att.count_ngrams(run).count("ab") == 2
    (run / "signature").unlink()
    for refuse in (seq2att.count_ngrams, seq2att.baseline):
        with refused("E-bundle", "reader."):
            refuse(run)
    assert seq2att.count_ngrams(run, trust_data=True).count("ab") == 2


def test_the_command_prints_a_table_and_json(
    tiny_run: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(tiny_run("texts"))
    assert main(["baseline", run, "--text", "aba", "--order", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = seq2att.count_ngrams(run, order=3).factors("aba")
    assert found["factors"] == [json.loads(json.dumps(one._asdict())) for one in expected]
    assert found["unsmoothed"] == {"log_probability": None, "probability": 0.0, "perplexity": None}
    assert main(["baseline", run, "--text", "aba", "--order", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[4:8]] == ["a", "b", "a", "</s>"]
    assert lines[6].split()[1:6] == ["a", "b", "0", "4", "0"]
    assert lines[-1].split()[:2] == ["perplexity", "inf"]
    for name in ("texts", "classes"):
        assert main(["baseline", str(tiny_run(name)), "--split", "validation", "--order", "1"]) == 0
        assert "neural" in capsys.readouterr().out
    assert main(["baseline", run, "--order", "1", "--add-k", "0"]) == 2
    assert "[E-range]: add_k=0" in capsys.readouterr().err
