"""Baselines on the data of small runs: the metrics are those of the run."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from seq2att_baselines import baseline
from seq2att_baselines.__main__ import main

from seq2att import api
from tests.refusals import refused


def test_n_grams_count_the_tokens_of_the_run(tiny_run: Callable[[str], Path]) -> None:
    counted = baseline(tiny_run("texts"), split="validation", order=3)
    figures = api.evaluate(tiny_run("texts"), split="validation")
    assert counted["tokens"] == 8
    assert counted["perplexity"] == pytest.approx(math.exp(counted["loss"]))
    assert set(counted) & set(figures) >= {"loss", "perplexity", "bits"}


def test_a_linear_baseline_is_judged_by_the_metrics_of_the_run(tiny_run: Callable[[str], Path]) -> None:
    result = baseline(tiny_run("classes"), split="validation", order=1)
    assert result["accuracy"] == 100
    assert result["rows"] == 2


def test_other_tasks_and_orders_are_refused(tiny_run: Callable[[str], Path]) -> None:
    with refused("E-task", "head=tagging, source=text"):
        baseline(tiny_run("tags"))
    with refused("E-size", "order=0"):
        baseline(tiny_run("texts"), order=0)


def test_the_command_prints_json(
    tiny_run: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = str(tiny_run("classes"))
    assert main([run, "--split", "validation", "--order", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == baseline(run, split="validation", order=1)
    assert main([run, "--order", "0"]) == 2
    assert "[E-size]: order=0" in capsys.readouterr().err
