"""Callbacks that come with seq2att: what they print, write and refuse; and what a run draws at its end."""

from __future__ import annotations

import copy
import csv
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import seq2att
from seq2att import registry
from seq2att.callback import Callback
from seq2att.callback.norms import layers
from seq2att.callback.parameters import rows, table, total
from seq2att.callback.teacher import aligned, batch_of_targets
from seq2att.data import collate
from seq2att.drawing.terminal import display_width
from seq2att.field.embedding import TextEmbedding
from seq2att.recurrence import CellName, Layer
from seq2att.trainer import fitting
from seq2att.trainer.loop import Training
from seq2att.trainer.progress import example
from seq2att.types import Prediction
from tests.refusals import refused

registry.load()
CLASSES = """
defaults:
  - config
  - override head: classification
  - override target: label
  - override source/tokenizer: char
  - override reader: given
  - _self_
reader:
  train: ["aa\\tx", "ab\\tx", "ba\\ty", "bb\\ty", "bab\\tx"]
  validation: ["aa\\tx", "bb\\ty", "ab\\ty", "b\\ty"]
source: {embedding_size: 4}
encoder: {size: 4}
data: {batch_size: 3}
trainer: {epochs: 1, log_every: 1, progress: false}
"""
NUMBERS = """
defaults:
  - config
  - override head: regression
  - override source/tokenizer: char
  - override target: number
  - override reader: given
  - _self_
reader: {train: ["aa\\t1", "ab\\t2.5", "ba\\t-1"], validation: ["aa\\t1", "bb\\t0.5"]}
source: {embedding_size: 4}
encoder: {size: 4}
trainer: {epochs: 1, progress: false}
"""
TEXT = """
defaults:
  - config
  - override head: language_model
  - override source: none
  - override target/tokenizer: char
  - override encoder: none
  - override attention: none
  - override search: greedy
  - override reader: given
  - _self_
reader: {train: [abc, abd], validation: [abc], separator: null}
target: {embedding_size: 4}
decoder: {size: 4}
trainer: {epochs: 1, progress: false}
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and no curves, which take longer than such a training."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("seq2att.drawing.curves", lambda table, picture, best: None)


def train(recipe: str, *overrides: str, callbacks: tuple[Callback, ...] = ()) -> Path:
    """Train by a recipe's text, in the folder `run` unless told otherwise."""
    Path("tiny.yaml").write_text(recipe, "utf-8")
    return seq2att.train("tiny.yaml", ["run=run", *overrides], callbacks)


def printed(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that were printed after the last figures of a validation."""
    lines = capfd.readouterr().out.splitlines()
    start = max(number for number, line in enumerate(lines) if line.startswith("epoch "))
    return [line for line in lines[start + 1 :] if not line.startswith("finished")]


# -- show --


def test_show_tells_chosen_rows_and_texts_after_every_validation(capfd: pytest.CaptureFixture[str]) -> None:
    run = train(CLASSES, "callbacks=[show]", "callback.show.rows=[3,4]", "callback.show.texts=[bb,aaa]")
    third, fourth, bb, aaa = [line for line in printed(capfd) if " -> " in line][-4:]
    model = seq2att.load(run).model
    assert third.startswith("  row 3: ab -> ")
    assert third.endswith("   (right: y)")
    assert fourth.startswith("  row 4: b -> ")
    assert model.target.size == 2
    for line, text in ((bb, "bb"), (aaa, "aaa")):
        assert line.startswith((f"  {text} -> x (0.", f"  {text} -> y (0."))


def test_show_takes_the_first_rows_when_nothing_is_chosen(capfd: pytest.CaptureFixture[str]) -> None:
    train(NUMBERS, "callbacks=[show]")
    lines = printed(capfd)[-2:]
    assert [line.partition(" -> ")[0] for line in lines] == ["  row 1: aa", "  row 2: bb"]
    assert [line.partition("   ")[2] for line in lines] == ["(right: 1.0)", "(right: 0.5)"]


def test_show_continues_texts_where_there_is_no_source(capfd: pytest.CaptureFixture[str]) -> None:
    run = train(TEXT, "callbacks=[show]", "callback.show.rows=1", "callback.show.texts=[ab]", "search.max_length=3")
    row, text = printed(capfd)[-2:]
    assert row.startswith("  row 1: ")
    assert " -> " not in row
    assert row.endswith("   (right: abc)")
    assert text.startswith("  ab -> ")
    assert (run / "metrics.json").is_file()


def test_show_tells_each_position_beside_the_right_one(capfd: pytest.CaptureFixture[str]) -> None:
    settings = ["callbacks=[show]", "callback.show.mode=teacher", "callback.show.texts=[ab,abc,ab]"]
    run = train(TEXT, *settings, "callback.show.rows=[1]")
    lines = printed(capfd)
    assert [line.split(":")[0] for line in lines[::4]] == ["  row 1", "  ab", "  abc"]
    assert lines[1].split() == ["read", "<s>", "a", "b", "c"]
    assert lines[2].split() == ["right", "a", "b", "c", "</s>"]
    model, ids = seq2att.load(run).model, torch.tensor([[4, 5, 6]])
    loss = model(batch_of_targets(model, ["abc"]))
    right, said = lines[2].split()[1:], lines[3].split()[1:]
    assert lines[0] == f"  row 1: {int(loss.correct)} of 4 tokens right"
    assert sum(map(str.__eq__, right, said)) == int(loss.correct)
    assert model.target.pieces(ids[0].tolist()) == ("a", "b", "c")


def test_an_example_is_shown_once(capfd: pytest.CaptureFixture[str]) -> None:
    train(TEXT, "reader.validation=[abc,abc]", "trainer.examples=2", "metrics=[exact]")
    assert len(printed(capfd)) == 1
    train(TEXT, "reader.validation=[abc,abd]", "callbacks=[show]", "callback.show.rows=[1,1]", "run=other")
    assert [line[:8] for line in printed(capfd)] == ["  row 1:"]


def test_teacher_forcing_needs_tokens_and_right_answers() -> None:
    teacher = ["callbacks=[show]", "callback.show.mode=teacher"]
    with refused("E-conflict", "callback.show.mode=teacher"):
        train(CLASSES, *teacher)


def test_long_texts_are_shown_in_blocks() -> None:
    lines = list(aligned({"read": ("한글",) * 60, "right": ("x",) * 60}))
    assert len(lines) == 6
    assert max(map(display_width, lines)) <= 110
    assert sum(line.count("한글") for line in lines) == 60


def test_show_refuses_rows_that_do_not_exist() -> None:
    with refused("E-size", "callback.show.rows=5") as error:
        train(CLASSES, "callbacks=[show]", "callback.show.rows=[1,5]")
    assert "at most 4" in error.value.problem


def test_wrong_options_of_a_callback_are_refused_before_the_data_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "prepare", lambda *_: pytest.fail("the data were read"))
    with refused("E-size", "callback.show.rows="):
        train(CLASSES, "callbacks=[show]", "callback.show.rows=[1,0]")


@pytest.mark.parametrize(("number", "lines"), [(0, 0), (1, 1), (3, 3), (9, 4)])
def test_how_many_examples_are_shown(capfd: pytest.CaptureFixture[str], number: int, lines: int) -> None:
    train(CLASSES, f"trainer.examples={number}")
    shown = [line for line in printed(capfd) if "(right: " in line]
    assert len(shown) == len(set(shown)) == lines
    assert all(line.startswith("  aa -> ") for line in shown[:1])


def test_a_line_tells_how_likely_a_class_is() -> None:
    said = Prediction("x\ny", -0.1, probabilities={"x\ny": 0.904, "z": 0.096})
    assert example("a  b", said) == "a b -> x y (0.90)"
    assert example("a", said, ("z", "q")) == "a -> x y (0.90)   (right: z)"
    assert example(None, Prediction(2.5, 0.0)) == "2.5"


# -- gradient_norms --


class Expected(Callback):
    """Computes the norms anew, from the mean loss of the rows of every step, by the weights before the step."""

    def __init__(self) -> None:
        self.norms: list[list[float]] = []
        self.model: Any = None

    def on_start(self, training: Training) -> None:
        self.model = copy.deepcopy(training.model)

    def on_batch(self, training: Training) -> None:
        assert training.last_rows is not None
        loss = self.model(collate(training.corpora["train"], training.last_rows.numpy()))
        parameters = list(self.model.parameters())
        found = torch.autograd.grad(loss.total / loss.count, parameters, allow_unused=True)
        gradients = {id(p): g for p, g in zip(parameters, found, strict=True) if g is not None}
        squares = [sum(float(gradients[id(p)].square().sum()) for p in of) for of in layers(self.model).values()]
        self.norms.append([square**0.5 for square in squares])
        self.model.load_state_dict(training.model.state_dict())


def table_of(run: Path) -> tuple[list[str], list[int], np.ndarray[Any, Any]]:
    """The layers, steps and norms that a run wrote."""
    with (run / "gradient_norms.csv").open(encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    return head[1:], [int(row[0]) for row in rows], np.array([list(map(float, row[1:])) for row in rows])


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_norms_are_those_of_the_mean_loss_before_clipping(clip: float) -> None:
    expected = Expected()
    more = ("trainer.precision=64", "trainer.epochs=2", "loggers=[csv]", f"trainer.clip={clip}")
    run = train(CLASSES, "callbacks=[gradient_norms]", *more, callbacks=(expected,))
    names, steps, norms = table_of(run)
    assert names == ["embedding", "encoder.forwards.0", "encoder.backwards.0", "head.output"]
    assert steps == [1, 2, 3, 4]
    np.testing.assert_allclose(norms, expected.norms, rtol=1e-4)
    assert (run / "gradient_norms.png").stat().st_size > 10_000
    with (run / "steps" / "version_0" / "metrics.csv").open(encoding="utf-8") as file:
        logged = [row["gradient_norm/head.output"] for row in csv.DictReader(file)]
    np.testing.assert_allclose([float(value) for value in logged if value], norms[:, -1], rtol=1e-5)


def test_norms_of_accumulated_parts_are_those_of_the_step() -> None:
    whole = train(CLASSES, "callbacks=[gradient_norms]", "data.batch_size=5", "run=whole", "trainer.precision=64")
    overrides = ("data.batch_size=3", "trainer.accumulate=2", "run=parts", "trainer.precision=64")
    parts = train(CLASSES, "callbacks=[gradient_norms]", *overrides)
    assert table_of(whole)[1] == table_of(parts)[1] == [1]
    np.testing.assert_allclose(table_of(whole)[2], table_of(parts)[2], rtol=1e-5)


class Stop(Callback):
    """Sends a signal after the third step."""

    def on_batch(self, training: Training) -> None:
        if training.step == 3:
            signal.raise_signal(signal.SIGTERM)


def test_norms_of_a_resumed_run_are_those_of_one_that_was_not_stopped() -> None:
    settings = ("callbacks=[gradient_norms]", "trainer.epochs=3")
    straight = train(CLASSES, *settings, "run=straight")
    with pytest.raises(SystemExit):
        train(CLASSES, *settings, "run=stopped", callbacks=(Stop(),))
    assert not Path("stopped/metrics.json").exists()
    stopped = train(CLASSES, *settings, "run=stopped")
    assert (stopped / "gradient_norms.csv").read_text() == (straight / "gradient_norms.csv").read_text()
    assert table_of(stopped)[1] == [1, 2, 3, 4, 5, 6]


# -- parameters --


def test_the_table_of_parameters() -> None:
    model = nn.ModuleDict({"embedding": nn.Embedding(10_000, 16), "encoder": Layer("lstm", 16, 8)})
    model["output"] = nn.Linear(8, 1)
    assert list(table(model))[1:] == [
        "  layer      kind       output shape  parameters    in Keras",
        "  embedding  Embedding  (B, S, 16)       160,000",
        "  encoder    LSTM       (B, S, 8)            832         800",
        "  output     Dense      (B, S, 1)              9",
        "  total: 160,841 parameters; as Keras counts 160,809 (one bias in an LSTM or SimpleRNN, two here)",
    ]
    model["embedding"].requires_grad_(False)
    model["encoder"] = Layer("gru", 16, 8)
    lines = list(table(model))
    assert lines[-1] == "  total: 160,633 parameters; 633 of them trained"
    assert lines[3].split() == ["encoder", "GRU", "(B,", "S,", "8)", "624"]


Spec = tuple[int, int, CellName, tuple[int, ...], int, int, int]
KERAS: list[tuple[str, Spec, int]] = [
    # Counted once by Keras 3.15.1: entries and size of the embedding (0: numbers or one-hot), units of the recurrent
    # layers, directions, units of a hidden Dense (0: none) and of the last one.
    ("numbers", (0, 1, "tanh", (8,), 1, 0, 1), 89),
    ("one-hot RNN", (0, 30, "tanh", (8,), 1, 0, 1), 321),
    ("IMDB, RNN", (5000, 32, "relu", (8,), 1, 0, 1), 160_337),
    ("IMDB, LSTM", (5000, 120, "lstm", (120,), 1, 0, 1), 715_801),
    ("IMDB, small LSTM", (500, 16, "lstm", (8,), 1, 0, 1), 8_809),
    ("IMDB, two LSTM", (10_000, 16, "lstm", (8, 8), 1, 0, 1), 161_353),
    ("IMDB, small GRU", (500, 16, "gru", (8,), 1, 0, 1), 8_633),
    ("IMDB, two GRU", (10_000, 16, "gru", (8, 8), 1, 0, 1), 161_065),
    ("NSMC, BiLSTM", (3000, 100, "lstm", (64,), 2, 0, 1), 384_609),
    ("BiGRU", (200, 12, "gru", (7,), 2, 0, 3), 3_327),
    ("BiRNN", (200, 12, "tanh", (7,), 2, 0, 3), 2_725),
    ("BiLSTM, tags", (100, 20, "lstm", (9,), 2, 0, 5), 4_255),
    ("hidden layer", (100, 20, "lstm", (9,), 1, 6, 4), 3_168),
]


@pytest.mark.parametrize(("spec", "expected"), [case[1:] for case in KERAS], ids=[case[0] for case in KERAS])
def test_keras_counts_as_many_parameters(spec: Spec, expected: int) -> None:
    entries, width, cell, units, directions, hidden, outputs = spec
    model = nn.ModuleList([TextEmbedding(entries, width, 0.0)] if entries else [])
    for size in units:
        model.extend(Layer(cell, width, size) for _ in range(directions))
        width = size * directions
    for size in filter(None, (hidden, outputs)):
        model.append(nn.Linear(width, size))
        width = size
    assert sum(row.keras for row in rows(model)) == expected
    is_equal = f"total: {expected:,} parameters" in total(model)
    assert is_equal == (cell == "gru")
    assert is_equal or f"as Keras counts {expected:,} " in total(model)


def test_shared_parameters_are_counted_once() -> None:
    model = nn.ModuleDict({"one": nn.Linear(2, 3, bias=False), "other": nn.Linear(2, 3)})
    model["other"].weight = model["one"].weight
    lines = list(table(model))
    assert lines[-1] == "  total: 9 parameters"
    assert lines[3].split() == ["other", "Dense", "(B,", "S,", "3)", "3"]
    assert list(layers(model)) == ["one", "other"]


def test_parameters_are_printed_at_the_start(capfd: pytest.CaptureFixture[str]) -> None:
    train(CLASSES, "callbacks=[parameters]")
    lines = capfd.readouterr().out.splitlines()
    last = next(number for number, line in enumerate(lines) if line.startswith("  total: 353 parameters; as Keras"))
    kinds = [line.split()[1] for line in lines[last - 5 : last]]
    assert kinds == ["Embedding", "LSTM", "LSTM", "last", "Dense"]
    assert [line.split("(")[1].split(")")[0] for line in lines[last - 2 : last]] == ["B, 8", "B, 1"]
    assert last < next(number for number, line in enumerate(lines) if line.startswith("epoch 1"))


# -- what a run draws, says and refuses beside --


def test_the_confusion_of_classes_is_drawn_and_no_search_is_named() -> None:
    run = train(CLASSES)
    assert (run / "confusion.png").is_file()
    assert not (run / "scatter.png").exists()
    assert "search" not in json.loads((run / "metrics.json").read_text())


def test_predicted_numbers_are_drawn_against_the_true_ones() -> None:
    run = train(NUMBERS)
    assert (run / "scatter.png").is_file()
    assert (run / "series.png").is_file()
    assert not (run / "confusion.png").exists()


def test_options_of_metrics_reach_the_validation() -> None:
    run = train(TEXT, "metrics=[bleu]", "metric.bleu.tokenize=char")
    known = json.loads((run / "metrics.json").read_text())
    assert "tok:char" in known["signatures"]["bleu"]
    assert known["search"] == "greedy"


def test_pretrained_vectors_are_read_once_and_a_missing_file_is_refused_early(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "prepare", lambda *_: pytest.fail("the data were read"))
        with refused("E-file", "source.vectors=vectors.txt"):
            train(CLASSES, "source.vectors=vectors.txt")
    Path("vectors.txt").write_text("a 1 2 3 4\nq 0 0 0 1\n")
    with pytest.raises(SystemExit):
        train(CLASSES, "source.vectors=vectors.txt", "trainer.epochs=2", callbacks=(Stop(),))
    assert "vectors: 1 of 2 pieces found in" in capfd.readouterr().out
    train(CLASSES, "source.vectors=vectors.txt", "trainer.epochs=2")
    assert "pieces found" not in capfd.readouterr().out


def test_a_shared_embedding_is_warmed_once() -> None:
    said: list[str] = []
    shared, other = nn.Embedding(2, 2), nn.Embedding(2, 2)

    def field(name: str, line: str | None) -> Any:
        return SimpleNamespace(init_embedding=lambda embedding, root: line and f"{name} {embedding is shared}")

    for source, target, theirs, lines in (
        ("s", "t", other, ["source True", "target False"]),
        ("s", "t", shared, ["source True"]),
        (None, "t", shared, ["target True"]),
        ("s", "t", None, ["source True"]),
    ):
        said.clear()
        head = SimpleNamespace() if theirs is None else SimpleNamespace(embedding=theirs)
        model = SimpleNamespace(source=field("source", source), target=field("target", target), embedding=shared)
        model.head = head
        fitting.init_embeddings(model, None, said.append)  # type: ignore[arg-type]  # all that it looks at
        assert said == lines
