"""Runs without validation rows: the same training, whose last weights count."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from seq2att import load
from seq2att.cli.train import measure, table
from seq2att.config import compose
from seq2att.trainer import train
from tests.refusals import refused

ROWS = ["reader=given", "reader.train=[a b\tb a, b c\tc b, c a\ta c, a\ta, b\tb]"]
TINY = [
    *("source/tokenizer=word", "target/tokenizer=word", "source.embedding_size=4", "target.embedding_size=4"),
    *("encoder.size=4", "decoder.size=4", "encoder.dropout=0.5", "data.batch_size=2", "data.test_fraction=0"),
    *("trainer.epochs=2", "trainer.progress=false", "search=greedy"),
]
WITHOUT, WITH = ["data.validation_fraction=0"], ["reader.validation=[a c\tc a]", "trainer.restore_best=false"]


def configured(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """The settings of a tiny run."""
    paths = [f"run={folder / name}", f"data.cache={folder / 'cache'}"]
    return compose("config", [*ROWS, *TINY, *paths, *options])


def test_a_run_without_validation_trains_as_one_with_it(tmp_path: Path) -> None:
    lines: list[str] = []
    one = train(configured(tmp_path, "one", *WITHOUT), say=lines.append)
    other = train(configured(tmp_path, "other", *WITH), say=lambda line: None)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    figures = json.loads((one / "metrics.json").read_text())
    rows, others = (list(csv.DictReader((run / "metrics.csv").read_text().splitlines())) for run in (one, other))
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in others]
    assert "loss" not in rows[0]
    assert (figures["validation"], figures["best_by"]) == ({}, "train_loss")
    assert figures["train_loss"] == pytest.approx(float(rows[-1]["train_loss"]), rel=1e-5)
    assert (one / "curves.png").is_file()
    jobs = [configured(tmp_path, "one", *WITHOUT)]
    assert measure(jobs[0]) == figures["train_loss"]  # finished before
    assert table(jobs)[0].split() == "epoch train_loss seconds parameters best by train_loss".split()


@pytest.mark.parametrize(
    ("code", "subject", "options"),
    [
        ("E-conflict", "trainer.patience=2", ["trainer.patience=2"]),
        ("E-conflict", "trainer.best=exact", ["trainer.best=exact"]),
        ("E-conflict", "trainer.monitor=exact", ["trainer.monitor=exact"]),
        ("E-conflict", "schedule=plateau", ["schedule=plateau"]),
        ("E-conflict", "callbacks=[show]", ["callbacks=[show]"]),
    ],
)
def test_what_needs_a_validation_is_refused(tmp_path: Path, code: str, subject: str, options: list[str]) -> None:
    with refused(code, subject):
        train(configured(tmp_path, "run", *WITHOUT, *options), say=lambda line: None)


def test_texts_are_shown_without_validation(tmp_path: Path) -> None:
    lines: list[str] = []
    options = ["callbacks=[show]", "callback.show.texts=[a b]", "trainer.epochs=1"]
    train(configured(tmp_path, "run", *WITHOUT, *options), say=lines.append)
    assert [line for line in lines if line.startswith("  a b -> ")]


def test_words_that_are_left_out_of_an_answer_are_named(tmp_path: Path) -> None:
    options = ["source.tokenizer.unknown=drop", "trainer.epochs=1"]
    run = train(configured(tmp_path, "run", *WITHOUT, *options), say=lambda line: None)
    lines: list[str] = []
    model = load(run, say=lines.append)
    known, other = model.translate(["a b", "a zzz b"])
    assert known.text == other.text
    assert [line for line in lines if "left out: line 2 (zzz)" in line]
