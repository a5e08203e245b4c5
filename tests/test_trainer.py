"""Training: exact steps, exact resumption, what is kept, what a run folder refuses, what is shown."""

import copy
import csv
import dataclasses
import io
import itertools
import json
import logging
import math
import signal
import sys
import warnings
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import seq2att.callback
import seq2att.head
import seq2att.logger
import seq2att.optimizer
import seq2att.schedule  # noqa: F401
from seq2att import launch, registry
from seq2att.callback import Callback
from seq2att.config import compose
from seq2att.config.options import DataOptions, TrainerOptions
from seq2att.data import Ragged, collate
from seq2att.metric import Score
from seq2att.trainer import answer, checks, evaluate, fitting, folder, likelihood, lock, loop, measure, state
from seq2att.trainer.processes import Processes
from seq2att.trainer.state import State, change_phase, read_state
from seq2att.trainer.sums import fetch, plus, restore, zero
from seq2att.types import Loss, Prediction
from tests.refusals import refused

VOCABULARY = 11


class ToyCorpus:
    """Rows of ids; the right answer to a source is the source itself, or several of its neighbours."""

    def __init__(self, rows, seed=0, several=False):
        draw = np.random.default_rng(seed)
        lengths = draw.integers(1, 9, rows)
        ids = [draw.integers(4, VOCABULARY, length) for length in lengths]
        self.ids = ids + ids[:3] if several else ids
        self.source = self.target = Ragged.of(self.ids)
        self.several = several

    def __len__(self):
        return len(self.ids)

    def text(self, row):
        return " ".join(map(str, self.ids[row]))

    def values(self, side, rows):
        return [self.text(row) for row in rows]

    def references(self, rows):
        return [(f"another {row}", self.text(row)) if self.several else (self.text(row),) for row in rows]

    def unique(self):
        return np.arange(len(self) - 3 if self.several else len(self))

    def place(self, row):
        return f"toy.tsv:{row + 1}"


class ToyModel(nn.Module):
    """Guesses each target token from the source token at its place."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 6, padding_idx=0)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(6, VOCABULARY)
        self.head = SimpleNamespace(
            loss_metrics={"perplexity": math.exp},
            multiple_references=True,
            metrics=("exact",),
            accuracy="token_accuracy",
        )
        self.source = self.target = SimpleNamespace(has_values=True, text=str, is_aligned=False)
        self.batches = []

    def logits(self, batch):
        return self.output(self.dropout(torch.tanh(self.embedding(batch.source.values))))  # [B, S, V]

    def forward(self, batch, state=()):
        if self.training:
            self.batches.append(batch.rows.tolist())
        real = batch.target.mask()
        logits, targets = self.logits(batch)[real], batch.target.values[real]
        total = nn.functional.cross_entropy(logits, targets, reduction="sum")
        return Loss(total, real.sum(), correct=(logits.argmax(1) == targets).sum())

    def predict(self, batch, search):
        assert batch.target is None
        assert not self.training
        ids = self.logits(batch).argmax(-1)
        lengths = batch.source.lengths.tolist()
        return [
            Prediction(" ".join(map(str, row[:n])), 0.0, attention=torch.ones(1))
            for row, n in zip(ids.tolist(), lengths, strict=True)
        ]


def make_config(run, optimizer=None, schedule=None, data=None, **trainer):
    options = {"progress": False, "epochs": 2, **trainer}
    return {
        "recipe": "toy",
        "seed": 3,
        "run": str(run),
        "overwrite": False,
        "metrics": ["exact"],
        "callbacks": [],
        "loggers": [],
        "head": {"name": "toy"},
        "optimizer": optimizer or {"name": "adam", "learning_rate": 0.02},
        "schedule": schedule or {"name": "linear", "warmup_steps": 3},
        "data": {**dataclasses.asdict(DataOptions()), "batch_size": 4, "bucket": 2, **(data or {})},
        "trainer": {**dataclasses.asdict(TrainerOptions()), **options},
    }


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Curves take longer than the training of a toy."""
    monkeypatch.setattr("seq2att.drawing.curves", lambda table, picture, best: None)


HIGHER = {"loss": False, "perplexity": False, "exact": True}


def toy(config, callbacks=(), say=lambda line: None, model=None, rows=32, claim=None):
    """One training; the settings that the configuration names are used, the model and the data are toys."""
    model = model or ToyModel(dropout=0.3)
    launch.configure_threads(1, config["seed"])
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    corpora = {"train": ToyCorpus(rows), "validation": ToyCorpus(12, seed=1, several=True)}
    claim = claim or folder.claim(config)
    if not claim.resume:
        folder.start(claim.path, config)
    watching = [*fitting.make_callbacks(config), *callbacks]
    return fitting.fit(model, config, corpora, HIGHER, claim, watching, say, loggers=fitting.make_loggers(config))


def weights(training):
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])


def table(run):
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def hook(name, action):
    """A callback that makes one of the calls."""
    made = Callback()
    setattr(made, name, action)
    return made


# -- the step --


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_parts_of_a_step_equal_the_whole(tmp_path, clip):
    """Ragged parts of one step give the weights of one batch of all the rows, to the last digits of float64."""
    found = []
    for parts, size in ((1, 16), (4, 4)):
        config = make_config(
            tmp_path / str(parts),
            optimizer={"name": "sgd", "learning_rate": 0.5, "momentum": 0.9},
            data={"batch_size": size},
            precision="64",
            accumulate=parts,
            clip=clip,
            epochs=3,
        )
        training = toy(config, model=ToyModel(), rows=16)
        assert training.step == 3
        counts = {len(batch) for batch in training.model.batches}
        assert counts == {size}
        found.append(weights(training))
    assert found[0].dtype == torch.float64
    torch.testing.assert_close(*found, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_the_step_is_that_of_the_mean_token(tmp_path, clip):
    """Two steps of SGD, by hand: the gradient of the mean loss of a token, clipped by its norm."""
    config = make_config(
        tmp_path / "run",
        optimizer={"name": "sgd", "learning_rate": 0.5},
        schedule={"name": "constant"},
        data={"batch_size": 16},
        precision="64",
        clip=clip,
        epochs=2,
    )
    start = []

    def remember(training):
        start.append(copy.deepcopy(training.model))

    training = toy(config, [hook("on_start", remember)], model=ToyModel(), rows=16)
    (model,) = start
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(2):
        optimizer.zero_grad()
        loss = model(collate(training.corpora["train"], np.arange(16)))
        (loss.total / loss.count).backward()
        if clip:
            assert nn.utils.clip_grad_norm_(model.parameters(), clip) > clip
        optimizer.step()
    wanted = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.testing.assert_close(weights(training), wanted, rtol=1e-12, atol=1e-12)


def test_the_last_step_of_an_epoch_may_be_smaller(tmp_path):
    training = toy(make_config(tmp_path / "run", accumulate=3))  # 8 batches an epoch: 3 + 3 + 2
    assert training.num_batches == 8
    assert training.steps_per_epoch == 3
    assert training.step == training.num_steps == 6


def test_every_row_once_an_epoch_in_another_order(tmp_path):
    training = toy(make_config(tmp_path / "run"))
    batches = training.model.batches
    first, second = batches[:8], batches[8:]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(32))
    assert first != second


@pytest.mark.parametrize(
    ("precision", "dtype"), [("32", torch.float32), ("bf16", torch.float32), ("64", torch.float64)]
)
def test_precisions(tmp_path, precision, dtype):
    training = toy(make_config(tmp_path / "run", precision=precision))
    assert weights(training).dtype == dtype
    assert weights(training).isfinite().all()
    first, second = table(tmp_path / "run")
    assert float(second["loss"]) < float(first["loss"]) - 0.1


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_scaled_losses_change_nothing(tmp_path, name):
    """Half precision scales the loss: the gradients are brought back before they are normalised and clipped.

    Fused Adam would bring them back itself, after clipping. The scale is a power of 2, so float32 is bitwise the same.
    """
    from lightning_fabric.plugins import MixedPrecision

    def scale(training):
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
        training.stepper.fabric.strategy.precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)

    settings = {"clip": 0.01, "optimizer": {"name": name, "learning_rate": 0.05}, "accumulate": 2}
    plain = toy(make_config(tmp_path / "plain", **settings))
    scaled = toy(make_config(tmp_path / "scaled", **settings), [hook("on_start", scale)])
    assert scaled.stepper.fabric.strategy.precision.scaler.get_scale() == 2.0**12
    assert torch.equal(weights(plain), weights(scaled))


def test_half_precision_steps_without_rows_of_its_own(tmp_path):
    """The first step of a process whose rows are all those of others, which give it their gradients."""
    from lightning_fabric.plugins import MixedPrecision

    stepper = toy(make_config(tmp_path / "run", max_steps=1)).stepper
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    stepper.fabric.strategy.precision = MixedPrecision("16-mixed", "cpu", scaler=scaler)
    stepper.accumulate(collate(ToyCorpus(4), np.arange(0)))
    for parameter in stepper.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert stepper.step([0.0], ends_epoch=False) == ([0.0], "")
    assert scaler.get_scale() == 4.0


def test_the_seed_decides(tmp_path):
    one, again = (toy(make_config(tmp_path / run)) for run in ("one", "again"))
    other = toy({**make_config(tmp_path / "other"), "seed": 4})
    assert torch.equal(weights(one), weights(again))
    assert not torch.equal(weights(one), weights(other))


@pytest.mark.parametrize("has_rows", [True, False])
def test_a_parameter_without_gradient_gets_that_of_the_other_processes(tmp_path, has_rows):
    """One that no process reaches keeps none, so that its weight does not decay; this one may have no rows at all."""
    training = toy(make_config(tmp_path / "run", max_steps=1))
    ours, theirs, idle = (nn.Parameter(torch.ones(2)) for _ in range(3))
    if has_rows:
        ours.grad = torch.full((2,), 3.0)
    sent = []

    class Pretended(Processes):
        def total(self, *numbers):  # the other process reaches `ours` and `theirs`
            return [a + b for a, b in zip(numbers, [0.0, 1.0, 1.0, 0.0], strict=True)]

        def reduce_tensors(self, tensors):
            sent.extend(tensors)

    stepper = training.stepper
    stepper.processes, stepper.parameters = Pretended(0, 2), lambda: [ours, theirs, idle]
    tokens = torch.tensor(5.0)
    assert stepper.reduce(tokens, [1.0]) == [1.0]
    assert torch.equal(ours.grad, torch.full((2,), 3.0 * has_rows))
    assert torch.equal(theirs.grad, torch.zeros(2))
    assert idle.grad is None
    assert [id(one) for one in sent] == [id(ours.grad), id(theirs.grad), id(tokens)]


# -- resumption --


def interrupt(step, how=signal.SIGTERM, hook_name="on_batch"):
    """A callback that sends this process a signal after a step."""

    def send(training):
        if training.step == step:
            signal.raise_signal(how)

    return hook(hook_name, send)


SCHEDULES = [{"name": "linear", "warmup_steps": 3}, {"name": "plateau", "patience": 0, "min_delta": 0.5}]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda schedule: schedule["name"])
@pytest.mark.parametrize("step", [1, 3, 5, 8, 11], ids="step {}".format)
def test_a_resumed_run_is_the_same_run(tmp_path, step, schedule):
    """Stopped inside an epoch, at its end or at a validation and resumed: bitwise the same weights and figures."""
    settings = {"schedule": schedule, "epochs": 3, "validate_every": 0.5, "log_every": 3, "patience": 10}
    straight = toy(make_config(tmp_path / "straight", **settings))
    config = make_config(tmp_path / "stopped", **settings)
    with pytest.raises(SystemExit) as stop:
        toy(config, [interrupt(step)])
    assert stop.value.code == 128 + signal.SIGTERM
    claim = folder.claim(config)
    assert claim.resume
    resumed = toy(config)
    assert torch.equal(weights(straight), weights(resumed))
    assert resumed.model.batches == straight.model.batches[step:]
    rows = [
        [{**row, "tokens_per_second": 0, "seconds": 0} for row in table(tmp_path / run)]
        for run in ("straight", "stopped")
    ]
    assert rows[0] == rows[1]
    assert len(rows[0]) == 6
    assert resumed.best == straight.best
    assert resumed.stepper.learning_rate == straight.stepper.learning_rate


def checkpoint(run, name="last"):
    """The content of the last or the best checkpoint of a run."""
    return torch.load(getattr(read_state(run), name).path(run), weights_only=True)


def test_the_last_and_the_best_checkpoint_change_at_once(tmp_path, monkeypatch):
    """Killed between the checkpoint of the last validation, which is the best one, and the state that names it."""
    straight = toy(make_config(tmp_path / "straight"))
    assert straight.best.step == straight.num_steps

    class KilledError(BaseException):
        pass

    def kill(path, state):
        if state.last and state.last.step == straight.num_steps:
            raise KilledError
        write_state(path, state)

    config = make_config(tmp_path / "stopped")
    write_state = state.write_state
    monkeypatch.setattr(state, "write_state", kill)
    with pytest.raises(KilledError):
        toy(config)
    monkeypatch.undo()
    assert read_state(tmp_path / "stopped").last.step == read_state(tmp_path / "stopped").best.step == 8
    monkeypatch.setattr("seq2att.drawing.curves", lambda table, picture, best: None)
    toy(config)
    best = [checkpoint(tmp_path / run, "best")["model"] for run in ("straight", "stopped")]
    assert all(torch.equal(best[0][name], best[1][name]) for name in best[0])


@pytest.mark.parametrize("precision", ["32", "64"])
def test_a_resumed_accumulating_run_is_the_same_run(tmp_path, precision):
    """A signal between the parts of a step waits for the step."""
    settings = {"epochs": 2, "accumulate": 3, "precision": precision}
    straight = toy(make_config(tmp_path / "straight", **settings))
    config = make_config(tmp_path / "stopped", **settings)

    def send(training):
        if len(training.model.batches) == 4:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        toy(config, [hook("on_batch", send)])
    resumed = toy(config)
    assert resumed.model.batches == straight.model.batches[6:]
    assert torch.equal(weights(straight), weights(resumed))


def test_epoch_by_epoch_is_the_same_run(tmp_path):
    """Killed after every epoch, with no chance to save: the checkpoint of the last validation is enough."""
    straight = toy(make_config(tmp_path / "straight", epochs=3))
    config = make_config(tmp_path / "killed", epochs=3)

    class CrashError(Exception):
        pass

    for last in (8, 16):

        def kill(training, last=last):
            if training.step > last:
                raise CrashError

        with pytest.raises(CrashError):
            toy(config, [hook("on_batch", kill)])
    assert torch.equal(weights(toy(config)), weights(straight))
    assert [row["loss"] for row in table(tmp_path / "killed")] == [row["loss"] for row in table(tmp_path / "straight")]


def test_rows_of_a_lost_part_are_not_written_twice(tmp_path):
    config = make_config(tmp_path / "run", epochs=3)

    class CrashError(Exception):
        pass

    def kill(training):
        if training.step == 16:
            raise CrashError

    with pytest.raises(CrashError):  # after the row of step 16, before its checkpoint
        toy(config, [hook("on_validation", kill)])
    assert [row["step"] for row in table(tmp_path / "run")] == ["8", "16"]
    toy(config)
    assert [row["step"] for row in table(tmp_path / "run")] == ["8", "16", "24"]


def test_control_c_saves_and_raises(tmp_path):
    said = []
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(KeyboardInterrupt):
        toy(make_config(tmp_path / "run"), [interrupt(3, signal.SIGINT)], said.append)
    assert said[-1] == "stopped at step 3 of 16; the same command goes on from there"
    assert read_state(tmp_path / "run").last.step == 3
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_second_signal_ends_at_once(tmp_path):
    said = []

    def send_twice(training):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        toy(make_config(tmp_path / "run"), [hook("on_batch", send_twice)], said.append)
    assert read_state(tmp_path / "run") == State("training")
    assert said[-1] == "stopped since the last save; the same command goes on from there"


def test_a_signal_in_a_validation_waits_for_its_end(tmp_path):
    with pytest.raises(SystemExit):
        toy(make_config(tmp_path / "run"), [interrupt(8, hook_name="on_validation")])
    assert len(table(tmp_path / "run")) == 1
    assert len(toy(make_config(tmp_path / "run")).model.batches) == 8


def test_checkpoints_hold_tensors_numbers_and_texts_only(tmp_path):
    toy(make_config(tmp_path / "run", patience=3, max_minutes=10.0))
    state = read_state(tmp_path / "run")
    for name in ("last", "best"):
        assert checkpoint(tmp_path / "run", name)["optimizer"]["state"]
    assert set((tmp_path / "run" / "checkpoints").iterdir()) == {one.path(tmp_path / "run") for one in state[1:]}


@pytest.mark.parametrize("content", ["cut", "text", "other", "gone"])
def test_a_damaged_checkpoint_is_refused_or_replaced_by_the_best_one(tmp_path, content):
    """First of all, before data are read."""
    config = make_config(tmp_path / "run", epochs=3)
    with pytest.raises(SystemExit):
        toy(config, [interrupt(17)])
    last, best = read_state(tmp_path / "run")[1:]
    assert (last.step, best.step) == (17, 16)
    damage(last.path(tmp_path / "run"), content)
    assert folder.claim(config).resume == best
    damage(best.path(tmp_path / "run"), content)
    with refused("E-checkpoint", "checkpoints") as error:
        folder.claim(config)
    assert "overwrite=true" in error.value.remedy
    assert folder.claim({**config, "overwrite": True}).resume is None


def damage(file, content):
    if content == "gone":
        file.unlink()
    elif content == "other":
        torch.save({"position": (1, 0, 1)}, file)
    else:
        file.write_bytes(file.read_bytes()[:-100] if content == "cut" else b"dear")


def test_a_damaged_best_checkpoint_matters_where_its_weights_are_wanted(tmp_path):
    for restore_best in (True, False):
        run = tmp_path / str(restore_best)
        config = make_config(run, epochs=3, restore_best=restore_best)
        with pytest.raises(SystemExit):
            toy(config, [interrupt(17)])
        last, best = read_state(run)[1:]
        damage(best.path(run), "cut")
        if restore_best:
            with refused("E-checkpoint", str(best.path(run))):
                folder.claim(config)
        else:
            assert folder.claim(config).resume == last


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"format": 2}', '{"format": 3, "phase": "odd"}', "\xff"])
def test_a_state_that_is_not_ours_is_refused(tmp_path, content):
    config = make_config(tmp_path / "run")
    folder.start(tmp_path / "run", config)
    (tmp_path / "run" / "state.json").write_text(content, "latin-1")
    with refused("E-checkpoint", "state.json") as error:
        folder.claim(config)
    assert "overwrite=true" in error.value.remedy


def test_an_unfinished_run_of_an_earlier_version_is_refused(tmp_path):
    config = make_config(tmp_path / "run")
    folder.start(tmp_path / "run", config)
    (tmp_path / "run" / "state.json").unlink()
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "last.ckpt").touch()
    with refused("E-checkpoint", "last.ckpt"):
        folder.claim(config)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    config = make_config(tmp_path / "run", epochs=1)
    toy(config)
    other = ToyModel()
    other.output = nn.Linear(6, VOCABULARY + 1)
    with refused("E-checkpoint", ".ckpt"):
        toy(config, model=other)


def test_a_schedule_may_count_epochs(tmp_path, own_registry):
    """Of a plugin; also over a resumption, in an epoch or at its end."""

    def halve(optimizer, steps, steps_per_epoch):
        return {"scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5), "interval": "epoch"}

    registry.register("schedule", "halve")(halve)
    for step in (8, 12):
        config = make_config(tmp_path / str(step), schedule={"name": "halve"}, epochs=3)
        with pytest.raises(SystemExit):
            toy(config, [interrupt(step)])
        toy(config)
        assert [row["learning_rate"] for row in table(tmp_path / str(step))] == ["0.01", "0.005", "0.0025"]


# -- validation, the best, the end --


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({}, [8, 16, 24]),
        ({"validate_every": 0.5}, [4, 8, 12, 16, 20, 24]),
        ({"validate_every": 0.4}, [4, 8, 12, 16, 20, 24]),
        ({"validate_every": 2.0}, [16, 24]),
        ({"validate_every": 5.0}, [24]),
        ({"max_steps": 11}, [8, 11]),
        ({"limit_train_batches": 2}, [2, 4, 6]),
        ({"limit_train_batches": 0.5}, [4, 8, 12]),
        ({"accumulate": 3, "validate_every": 0.25}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"accumulate": 2, "validate_every": 0.4}, [2, 4, 6, 8, 10, 12]),
    ],
)
def test_when_a_run_validates(tmp_path, settings, steps):
    """After parts of an epoch or so many of them, and always at the end."""
    training = toy(make_config(tmp_path / "run", epochs=3, **settings))
    assert [int(row["step"]) for row in table(tmp_path / "run")] == steps
    assert training.step == steps[-1] == training.num_steps


def slow(monkeypatch):
    """A callback of a run in which time passes only in batches: each takes a second."""
    clock = itertools.count(100)  # the machine's clock need not start at 0
    now = next(clock)

    def pass_time(training):
        nonlocal now
        now = next(clock)

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: float(now)))
    return hook("on_batch", pass_time)


@pytest.mark.parametrize(("seconds", "drawings"), [(0.0, 3), (math.inf, 1)])
def test_curves_are_drawn_now_and_then_and_after_the_last_validation(tmp_path, monkeypatch, seconds, drawings):
    drawn = []
    monkeypatch.setattr("seq2att.drawing.curves", lambda table, picture, best: drawn.append(table.read_text("utf-8")))
    monkeypatch.setattr("seq2att.trainer.progress.REDRAWN_AFTER", seconds)
    training = toy(make_config(tmp_path / "run", epochs=3))
    assert len(drawn) == drawings
    assert drawn[-1] == (training.folder / "metrics.csv").read_text("utf-8")


def test_max_minutes_end_a_run_with_a_validation(tmp_path, monkeypatch):
    training = toy(make_config(tmp_path / "run", epochs=100, max_minutes=0.5), [slow(monkeypatch)])
    (*_, last) = table(tmp_path / "run")
    assert (float(last["seconds"]), int(last["step"])) == (30, 30)
    assert training.step == 30 < training.num_steps


def test_max_minutes_bound_a_run_over_its_resumptions(tmp_path, monkeypatch):
    config = make_config(tmp_path / "run", epochs=100, max_minutes=0.5)
    with pytest.raises(SystemExit):
        toy(config, [slow(monkeypatch), interrupt(21)])
    training = toy(config, [slow(monkeypatch)])
    assert training.elapsed_before == 21
    assert (training.seconds(), training.step) == (30, 30)


def scripted(monkeypatch, *values):
    """Let `exact` take these values, validation after validation."""
    script = iter(values)

    def pretend(predictions, references, metrics, config):
        return {name: Score(next(script), f"{name}|scripted") for name in metrics}

    monkeypatch.setattr("seq2att.trainer.validation.measure", pretend)


def test_early_stopping_and_the_best_may_watch_different_figures(tmp_path, monkeypatch):
    """Nothing is learned at such a rate, so `loss` never improves after the first validation; `exact` is made up."""
    config = make_config(
        tmp_path / "run",
        optimizer={"name": "sgd", "learning_rate": 1e-30},
        epochs=50,
        patience=2,
        monitor="loss",
        best="exact",
    )
    scripted(monkeypatch, 10.0, 20.0, 15.0)
    training = toy(config)
    assert [row["epoch"] for row in table(tmp_path / "run")] == ["1", "2", "3"]
    assert (training.best.step, training.best.values["exact"]) == (16, 20.0)


def test_early_stopping_knows_that_more_is_better(tmp_path, monkeypatch):
    scripted(monkeypatch, 10.0, 20.0, 30.0, 30.4, 20.0, 40.0)
    toy(make_config(tmp_path / "run", epochs=50, patience=2, min_delta=0.5, monitor="exact"))
    assert [row["exact"] for row in table(tmp_path / "run")] == ["10", "20", "30", "30.4", "20"]


def test_plateau_knows_that_more_is_better(tmp_path, monkeypatch):
    scripted(monkeypatch, 10.0, 20.0, 30.0, 20.0, 30.0)
    schedule = {"name": "plateau", "patience": 0, "monitor": "exact", "factor": 0.5}
    toy(make_config(tmp_path / "run", epochs=5, schedule=schedule))
    assert [row["learning_rate"] for row in table(tmp_path / "run")] == ["0.02", "0.02", "0.02", "0.01", "0.005"]


@pytest.mark.parametrize("name", ["loss", "exact"])
def test_the_best_is_kept_beside_the_last(tmp_path, monkeypatch, name):
    """The first of equals is kept, also over a resumption."""
    scripted(monkeypatch, 10.0, 30.0, 20.0, 30.0, 5.0, 7.0)
    config = make_config(
        tmp_path / "run",
        optimizer={"name": "adam", "learning_rate": 2.0},  # too fast to settle
        schedule={"name": "constant"},
        epochs=6,
        best=name,
    )
    seen = {}

    def remember(training):
        seen[training.step] = weights(training).clone()

    with pytest.raises(SystemExit):
        toy(config, [hook("on_validation", remember), interrupt(36)])
    training = toy(config, [hook("on_validation", remember)])
    rows = table(tmp_path / "run")
    best = min(rows, key=lambda row: float(row["loss"])) if name == "loss" else rows[1]
    assert training.best.step == int(best["step"]) < 36
    for file, step in (("best", training.best.step), ("last", 48)):
        state = checkpoint(tmp_path / "run", file)["model"]
        assert torch.equal(torch.cat([value.flatten() for value in state.values()]), seen[step])


def test_a_run_that_stopped_early_does_not_go_on(tmp_path, monkeypatch):
    """What was stopped by patience and then lost its process before the bundle was written is done."""
    scripted(monkeypatch, 10.0, 5.0)
    config = make_config(tmp_path / "run", epochs=50, patience=1, monitor="exact")
    toy(config)
    again = toy(config)
    assert again.model.batches == []
    assert again.best.values["exact"] == 10.0


def test_the_table_has_a_row_a_validation(tmp_path):
    training = toy(make_config(tmp_path / "run"))
    first, second = table(tmp_path / "run")
    assert list(first) == (
        "epoch step train_loss train_token_accuracy loss perplexity token_accuracy exact".split()
        + "learning_rate tokens_per_second seconds".split()
    )
    loss = likelihood(training.model, training.corpora["validation"])
    assert float(second["loss"]) == pytest.approx(float(loss.total) / float(loss.count), rel=1e-5)
    assert float(second["perplexity"]) == pytest.approx(math.exp(float(second["loss"])), rel=1e-4)
    assert float(first["train_loss"]) > float(second["train_loss"]) > 0
    assert float(second["tokens_per_second"]) > 0


@pytest.mark.parametrize("settings", [{}, {"accumulate": 3, "log_every": 2, "validate_every": 0.5}])
def test_the_accuracy_is_that_of_the_batches_as_they_were_trained(tmp_path, settings):
    model, batches, expected = ToyModel(dropout=0.3), [], []
    forward = model.forward

    def counting(batch, state=()):
        loss = forward(batch)
        if model.training:
            batches.append((int(loss.correct), int(loss.count)))
        return loss

    def close(training):
        correct, count = map(sum, zip(*batches, strict=True))
        expected.append(100 * correct / count)
        batches.clear()

    model.forward = counting
    training = toy(make_config(tmp_path / "run", **settings), [hook("on_validation", close)], model=model)
    rows = table(tmp_path / "run")
    assert [float(row["train_token_accuracy"]) for row in rows] == pytest.approx(expected, rel=1e-5)
    assert len(set(expected)) == len(rows) > 1
    loss = likelihood(training.model, training.corpora["validation"])
    assert float(rows[-1]["token_accuracy"]) == pytest.approx(100 * loss.correct / loss.count, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("correct", [None, torch.tensor(2)])
def test_a_saved_sum_is_restored_as_it_was(dtype, correct):
    cpu = torch.device("cpu")
    part = Loss(torch.tensor(1 / 3, dtype=dtype), torch.tensor(3), correct=correct)
    whole = plus(zero(cpu), part)
    again = restore(fetch(whole), cpu)
    assert again == whole
    assert plus(again, part) == plus(whole, part)
    assert float(again.total) == float(part.total)


def test_a_head_that_counts_nothing_has_no_accuracy(tmp_path):
    model = ToyModel()
    forward = model.forward
    model.forward = lambda batch: forward(batch)._replace(correct=None)
    toy(make_config(tmp_path / "run"), model=model)
    assert not [name for name in table(tmp_path / "run")[0] if "accuracy" in name]
    with refused("E-metric", "trainer.monitor=token_accuracy"):
        config = make_config(tmp_path / "other", monitor="token_accuracy")
        toy(config, model=model)


@pytest.mark.parametrize("settings", [{"log_every": 1}, {"log_every": 100}, {"log_every": 100, "max_steps": 1}])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_loss_ends_the_run(tmp_path, settings, value):
    """Whenever the loss was last looked at, and though the validation is fine: no checkpoint keeps it."""

    class Diverging(ToyModel):
        def forward(self, batch, state=()):
            loss = super().forward(batch)
            return loss._replace(total=loss.total * value) if self.training else loss

    config = make_config(tmp_path / "run", clip=0.0, **settings)
    with refused("E-loss", "step ") as error:
        toy(config, model=Diverging())
    assert "the training loss is" in error.value.problem
    assert read_state(tmp_path / "run") == State("training")


def test_a_validation_loss_that_is_not_finite_ends_the_run(tmp_path):
    config = make_config(
        tmp_path / "run", optimizer={"name": "sgd", "learning_rate": 1e38}, clip=0.0, max_steps=1, log_every=1
    )
    with refused("E-loss", "step 1") as error:
        toy(config)
    assert "the validation loss is" in error.value.problem


@pytest.mark.parametrize(
    ("values", "best", "epochs"), [((math.nan, 10.0, 5.0), 16, 3), ((10.0, math.nan, 20.0), 24, 3)]
)
def test_nan_is_worse_than_any_number(tmp_path, monkeypatch, values, best, epochs):
    scripted(monkeypatch, *values)
    config = make_config(tmp_path / "run", epochs=epochs, best="exact", monitor="exact", patience=2)
    assert toy(config).best.step == best
    assert len(table(tmp_path / "run")) == 3


def test_patience_ends_with_nan(tmp_path, monkeypatch):
    scripted(monkeypatch, *[math.nan] * 50)
    training = toy(make_config(tmp_path / "run", epochs=50, patience=2, monitor="exact"))
    assert [row["exact"] for row in table(tmp_path / "run")] == ["nan"] * 2
    assert training.num_bad_validations == 2


def test_validation_rows_bound_what_is_decoded(tmp_path):
    training = toy(make_config(tmp_path / "run", validation_rows=5))
    assert len(training.validator.rows) <= 5
    assert len(toy(make_config(tmp_path / "all")).validator.rows) == 12


# -- evaluation --


@pytest.mark.parametrize("rows", [2, 20])
def test_processes_answer_each_source_once(rows):
    """Together they say what one says, in its order; the first one hears it all."""
    corpus, model, heard, asked = ToyCorpus(rows), ToyModel(), [], []
    wanted = answer(model, corpus, corpus.unique()[::-1], None)
    predict = model.predict
    model.predict = lambda batch, search: asked.extend(batch.rows.tolist()) or predict(batch, search)

    class Pretended(Processes):
        def collect(self, value):
            heard.append(value)
            return heard if self.first else []

    for rank in (2, 1, 0):
        said = answer(model, corpus, corpus.unique()[::-1], None, 3, Pretended(rank, 3))
        assert (said == []) == (rank > 0)
    assert said == wanted
    assert sorted(asked) == list(range(rows))


def test_evaluate_answers_each_source_once_and_in_order():
    corpus, model = ToyCorpus(20, several=True), ToyModel()
    rows = corpus.unique()[::-1].copy()
    said = answer(model, corpus, rows, None, batch_size=3)
    alone = [answer(model, corpus, np.array([row]), None)[0] for row in rows]
    assert [prediction.text for prediction in said] == [prediction.text for prediction in alone]
    assert all(prediction.attention is None for prediction in said)
    assert model.training


def test_evaluate_gives_all_figures():
    corpus, model = ToyCorpus(20, several=True), ToyModel()
    with torch.no_grad():  # the right answer to everything
        model.embedding.weight.copy_(torch.randn(VOCABULARY, 6))
        model.output.weight.copy_(20 * torch.tanh(model.embedding.weight))
    figures = evaluate(model, corpus, None, ["exact"], batch_size=7)
    assert figures["rows"] == 23
    assert figures["sources"] == 20
    assert 0 < figures["exact"] <= 100
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    assert set(figures["signatures"]) == {"exact"}
    assert json.loads(json.dumps(figures)) == figures
    texts = [Prediction(references[-1], 0.0) for references in corpus.references(corpus.unique())]
    assert measure(texts, corpus.references(corpus.unique()), ["exact"])["exact"].value == 100


def test_evaluate_does_not_depend_on_the_batches():
    corpus, model = ToyCorpus(20), ToyModel(dropout=0.5)
    one, other = (evaluate(model, corpus, None, ["exact"], batch_size=size) for size in (1, 20))
    assert one["exact"] == other["exact"]
    assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)


def test_evaluate_refuses_nothing():
    with refused("E-empty", "evaluate"):
        evaluate(ToyModel(), ToyCorpus(0), None, ["exact"])


# -- the run folder --


def test_a_new_folder_is_claimed_and_an_unfinished_one_resumed(tmp_path):
    config = make_config(tmp_path / "runs" / "a b", epochs=1)
    assert folder.claim(config) == (tmp_path / "runs" / "a b", None)
    toy(config)
    assert folder.claim(config) == (tmp_path / "runs" / "a b", read_state(tmp_path / "runs" / "a b").last)
    shown = copy.deepcopy(config)
    shown["trainer"]["progress"] = True  # changes nothing that is learned
    assert folder.claim(shown).resume


def test_a_finished_run_is_refused(tmp_path):
    config = make_config(tmp_path / "run", epochs=1)
    folder.start(tmp_path / "run", config)
    (tmp_path / "run" / "metrics.json").write_text("{}")
    folder.claim(config)  # killed before it was finished
    change_phase(tmp_path / "run", "finished")
    with refused("E-run", f"run={tmp_path / 'run'}") as error:
        folder.claim(config)
    assert "finished" in error.value.problem
    assert not folder.claim({**config, "overwrite": True}).resume


def test_a_run_is_finished_if_it_is_the_same(tmp_path):
    """Where it runs and what it shows does not matter, nor what the bundle adds to its configuration."""
    config = make_config(tmp_path / "run", epochs=1)
    assert not folder.finished(config)
    folder.start(tmp_path / "run", {"format": 1, **config})
    assert not folder.finished(config)
    (tmp_path / "run" / "metrics.json").write_text("{}")
    assert not folder.finished(config)
    change_phase(tmp_path / "run", "finished")
    assert folder.finished(config)
    (tmp_path / "run" / "state.json").unlink()  # of an earlier version
    assert folder.finished(config)
    elsewhere = {**config["trainer"], "devices": 4, "num_nodes": 2, "accelerator": "gpu", "threads": 3}
    assert folder.finished({**config, "trainer": elsewhere})
    assert not folder.finished({**config, "trainer": {**elsewhere, "epochs": 2}})
    assert not folder.finished({**config, "seed": 4})
    assert not folder.finished({**config, "overwrite": True})


def test_a_different_run_is_refused_and_the_difference_named(tmp_path):
    config = make_config(tmp_path / "run", epochs=1)
    folder.start(tmp_path / "run", config)
    other = copy.deepcopy(config)
    other["trainer"]["clip"], other["optimizer"]["learning_rate"], other["share"] = 1.0, 0.5, "tokenizer"
    with refused("E-run", "run=") as error:
        folder.claim(other)
    message = error.value.problem
    for change in (
        "optimizer.learning_rate: 0.02, now 0.5",
        "trainer.clip: 5.0, now 1.0",
        "share: None, now tokenizer",
    ):
        assert change in message
    assert "run=NAME" in error.value.remedy
    assert "overwrite=true" in error.value.remedy


def test_a_folder_that_is_no_run_is_never_touched(tmp_path):
    (tmp_path / "letters").write_text("dear")
    for overwrite in (False, True):
        with refused("E-run", f"run={tmp_path}"):
            folder.claim({**make_config(tmp_path), "overwrite": overwrite})
    with refused("E-run", "letters"):
        folder.claim(make_config(tmp_path / "letters"))
    assert (tmp_path / "letters").read_text() == "dear"


def test_overwriting_removes_what_a_run_writes_and_nothing_else(tmp_path):
    config = make_config(tmp_path / "run", epochs=1)
    toy(config)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    folder.start(tmp_path / "run", {**config, "overwrite": True})
    assert {file.name for file in (tmp_path / "run").iterdir()} == {
        "notes.txt",
        "config.yaml",
        "data.json",
        "state.json",
    }
    assert read_state(tmp_path / "run") == State("training")


def test_resumption_can_be_forbidden(tmp_path):
    folder.start(tmp_path / "run", make_config(tmp_path / "run", resume=False))
    with refused("E-run", "run="):
        folder.claim(make_config(tmp_path / "run", resume=False))


def test_odd_settings_survive_the_folder(tmp_path):
    config = {**make_config(tmp_path / "run"), "odd": ["null", "no", "1e-3", 1e-5, "여보세요", "a: b\n#", "\x00", None]}
    folder.start(tmp_path / "run", config)
    folder.claim(config)  # nothing differs


def test_a_run_leaves_no_lock(reverse_run):
    assert not (reverse_run / lock.LOCK).exists()


# -- what is refused before the data are read --


def test_figures_that_no_validation_measures_are_refused():
    for key, config in (
        ("trainer.monitor=lost", make_config("run", monitor="lost")),
        ("trainer.best=lost", make_config("run", best="lost")),
        ("schedule.monitor=lost", make_config("run", schedule={"name": "plateau", "monitor": "lost"})),
    ):
        with refused("E-metric", key) as error:
            checks.check_figures(config, HIGHER)
        assert "known: exact, loss, perplexity; did you mean 'loss'?" in error.value.problem


def test_known_figures_know_their_direction():
    config = {**make_config("run"), "metrics": ["bleu", "ter", "per"], "head": {"name": "translation"}}
    losses = {"loss": False, "perplexity": False, "token_accuracy": True}
    head = registry.find("head", "translation").target
    assert checks.known_figures(config, head) == {**losses, "bleu": True, "ter": False, "per": False}
    assert tuple(checks.known_figures({**config, "metrics": None}, head))[3:] == head.metrics


@pytest.mark.parametrize(
    ("head", "wrong", "fitting_ones"),
    [
        ("classification", "bleu", "accuracy, exact, f1_macro, f1_weighted"),
        ("classification", "mse", "accuracy, exact, f1_macro, f1_weighted"),
        ("regression", "f1_macro", "exact, mae, mse, pearson"),
        ("tagging", "wer", "exact, span_f1, tag_accuracy"),
        ("translation", "accuracy", "bleu, chrf, exact, per, span_f1, tag_accuracy, ter, wer"),
    ],
)
def test_metrics_of_other_answers_are_refused_before_the_data_are_read(head, wrong, fitting_ones):
    config = {**make_config("run"), "metrics": ["exact", wrong], "head": {"name": head}}
    with refused("E-metric", f"metrics=[{wrong}]") as error:
        fitting.make_ready(config, print)
    assert error.value.problem == f"does not fit head={head}; choose from {fitting_ones}"


def test_a_validation_without_known_answers_is_refused(tmp_path, monkeypatch):
    model = ToyModel()
    monkeypatch.setattr(ToyCorpus, "values", lambda self, side, rows: ["odd"])
    forward = model.forward
    model.forward = lambda batch: forward(batch) if model.training else Loss(torch.tensor(0.0), torch.tensor(0))
    with refused("E-data", "validation (toy.tsv:1)") as error:
        toy(make_config(tmp_path / "run"), model=model)
    assert "'odd'" in error.value.problem


@pytest.mark.parametrize("every", [1.5, 2.25])
def test_validate_every_is_a_part_or_a_number_of_epochs(every):
    with refused("E-range", f"trainer.validate_every={every}"):
        checks.check_trainer(make_config("run", validate_every=every)["trainer"])


def test_half_precision_needs_a_gpu():
    with refused("E-device", "trainer.precision=16"):
        checks.check_trainer(make_config("run", precision="16")["trainer"])


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("trainer.epochs", 0, "E-size"),
        ("trainer.threads", -1, "E-size"),
        ("trainer.threads", 100_000, "E-size"),
        ("trainer.validation_rows", 0, "E-size"),
        ("trainer.limit_train_batches", -1, "E-size"),
        ("trainer.limit_validation_batches", 1.5, "E-range"),
        ("trainer.validate_every", math.nan, "E-range"),
        ("trainer.accelerator", "nosuch", "E-choice"),
        ("data.batch_size", 0, "E-size"),
        ("data.bucket", -1, "E-size"),
        ("data.steps", 0, "E-size"),
    ],
)
def test_numbers_out_of_range_are_refused_before_the_data_are_read(tmp_path, key, value, code):
    config = {**make_config(tmp_path / "run"), "reader": {"name": "never built"}}
    block, name = key.split(".")
    config[block] = {**config[block], name: value}
    with refused(code, f"{key}={value}"):
        fitting.make_ready(config, pytest.fail)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_a_missing_accelerator_is_a_message(tmp_path):
    """It is said before any data are read, as every logger that is not installed."""
    config = {**make_config(tmp_path / "run", accelerator="gpu"), "reader": {"name": "never built"}}
    with refused("E-device", "trainer.accelerator=gpu"):
        fitting.make_ready(config, pytest.fail)
    with refused("E-device", "trainer.accelerator=cuda"):
        checks.check_trainer(make_config(tmp_path / "run", accelerator="cuda")["trainer"])


def test_a_missing_logger_is_said_before_the_data_are_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", False)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    monkeypatch.setattr(fitting, "prepare", lambda *_: pytest.fail("the data were read"))
    config = compose("reverse", [f"run={tmp_path / 'run'}", "loggers=[tensorboard]"])
    with refused("E-package", "loggers=[tensorboard]"):
        fitting.make_ready(config, pytest.fail)


# -- what is shown --


def test_what_a_run_says(tmp_path):
    said = []
    toy(make_config(tmp_path / "run"), say=said.append)
    assert said[0] == f"training in {tmp_path / 'run'}: 143 parameters; 32 rows, 15 to validate; 16 steps of 8 an epoch"
    assert said[1].startswith("epoch 1  step 8  train_loss ")
    assert "perplexity " in said[1]
    assert "exact " in said[1]
    assert "(best " in said[1]
    assert len([line for line in said if " -> " in line and "(right: " in line]) == 4


def test_the_line_of_a_log_and_of_a_terminal(tmp_path):
    from seq2att.trainer.progress import Progress

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream in (io.StringIO(), Terminal()):
        progress = Progress(stream)
        progress.interval = 0.0
        toy(make_config(tmp_path / type(stream).__name__, log_every=1, max_minutes=3.0), [progress])
        lines = stream.getvalue().replace("\r\x1b[K", "\n").strip().split("\n")
        assert any(
            line.startswith("epoch 2/2  step 12/16  loss ") and " tokens/s  0:0" in line and line.endswith(" left")
            for line in lines
        ), lines
        assert lines[0].startswith("epoch 1/2  step 1/16  ")
    assert stream.getvalue().endswith("\r\x1b[K")


@pytest.mark.parametrize("precision", ["32", "64", "bf16"])
def test_fabric_is_quiet_and_leaves_no_trace(tmp_path, capfd, precision):
    import lightning_fabric

    log = logging.getLogger(lightning_fabric.__name__)
    level, filters, dtype = log.level, list(warnings.filters), torch.get_default_dtype()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        toy(make_config(tmp_path / "run", limit_train_batches=2, precision=precision))
    assert [str(warning.message) for warning in seen] == []
    assert capfd.readouterr() == ("", "")
    assert (log.level, warnings.filters, torch.get_default_dtype()) == (level, filters, dtype)


def test_deterministic_algorithms_are_used_inside_only(tmp_path):
    seen = []
    note = hook("on_batch", lambda training: seen.append(torch.are_deterministic_algorithms_enabled()))
    toy(make_config(tmp_path / "run", deterministic=True, max_steps=1), [note])
    toy(make_config(tmp_path / "other", max_steps=1), [note])
    assert seen == [True, False]
    assert not torch.are_deterministic_algorithms_enabled()


def test_tensorboard_and_csv_loggers(tmp_path):
    """A record has the step of `metrics.csv`; a stopped run loses none, and a resumed one repeats none."""
    config = {**make_config(tmp_path / "run", log_every=1), "loggers": ["csv", "tensorboard"]}
    with pytest.raises(SystemExit):
        toy(config, [interrupt(11)])
    toy(config)
    assert list((tmp_path / "run" / "tensorboard").glob("events*"))
    rows = []
    for start in range(2):
        with (tmp_path / "run" / "steps" / f"version_{start}" / "metrics.csv").open() as file:
            rows += list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == list(range(1, 17))
    assert float(rows[-1]["learning_rate"]) < float(rows[3]["learning_rate"])
    exact = {row["step"]: float(row["exact"]) for row in table(tmp_path / "run")}
    assert {row["step"]: float(row["exact"]) for row in rows if row["exact"]} == pytest.approx(exact, rel=1e-5)


def test_any_object_with_the_interface_is_a_logger(tmp_path, own_registry):
    class Notes:
        def __init__(self):
            self.steps, self.status = [], []

        def log_metrics(self, metrics, step):
            self.steps.append((step, "train_loss" in metrics, "exact" in metrics, metrics["epoch"]))

        def finalize(self, status):
            self.status.append(status)

    notes = Notes()
    registry.register("logger", "notes")(lambda folder: notes)
    config = {**make_config(tmp_path / "run", log_every=5), "loggers": ["notes"]}
    with pytest.raises(SystemExit):
        toy(config, [interrupt(9)])
    toy(config)
    assert notes.steps == [
        (5, True, False, 5 / 8),
        (8, False, True, 1.0),
        (10, True, False, 10 / 8),
        (15, True, False, 15 / 8),
        (16, False, True, 2.0),
    ]
    assert notes.status == ["failed", "success"]


def test_callbacks_of_a_configuration(tmp_path, own_registry):
    seen = []

    class Ping(Callback):
        def on_validation(self, training):
            seen.append(training.validation.values["exact"])

    registry.register("callback", "ping")(Ping)
    toy({**make_config(tmp_path / "run"), "callbacks": ["ping"]})
    assert seen == [pytest.approx(float(row["exact"]), rel=1e-5) for row in table(tmp_path / "run")]
    assert len(seen) == 2


def test_the_state_of_callbacks_is_saved_with_the_run(tmp_path):
    """By class and order; the calls come in order, and `on_end` only when the run was not stopped."""

    class Count(Callback):
        def __init__(self):
            self.calls = []

        def state_dict(self):
            return {"calls": self.calls}

        def load_state_dict(self, state):
            self.calls = state["calls"]

        def on_start(self, training):
            self.calls.append("start")

        def on_batch(self, training):
            self.calls.append(training.step)

        def on_validation(self, training):
            self.calls.append("validation")

        def on_end(self, training):
            self.calls.append("end")

    config = make_config(tmp_path / "run", accumulate=2)
    with pytest.raises(SystemExit):
        toy(config, [Count(), Count(), interrupt(3)])
    one, two = Count(), Count()
    toy(config, [one, two])
    wanted = ["start", 0, 1, 1, 2, 2, 3, "start", 3, 4, "validation", 4, 5, 5, 6, 6, 7, 7, 8, "validation", "end"]
    assert one.calls == two.calls == wanted


def test_a_callback_of_lightning_is_refused(tmp_path):
    class Foreign:
        def on_train_batch_end(self, trainer, module, *_):
            pass

    with refused("E-contract", "callbacks"):
        toy(make_config(tmp_path / "run"), [Foreign()])


# -- the whole way --


QUICK = ["reader.rows=300", "encoder.dropout=0.2", "trainer.epochs=2", "trainer.progress=false"]


def test_a_finished_run_is_a_bundle(reverse_run):
    import seq2att

    assert seq2att.load(reverse_run).translate("a b c").text
    facts = json.loads((reverse_run / "metrics.json").read_text("utf-8"))
    best = min(table(reverse_run), key=lambda row: float(row["loss"]))
    assert facts["step"] == int(best["step"])
    assert facts["validation"]["loss"] == pytest.approx(float(best["loss"]), rel=1e-5)
    assert set(facts["signatures"]) == {"exact"}
    assert facts["seed"] == 1
    assert {"seq2att", "torch", "lightning-fabric", "python"} == set(facts["versions"])
    assert (reverse_run / "curves.png").read_bytes().startswith(b"\x89PNG")
    with refused("E-run", "run="):
        seq2att.train("reverse", [f"run={reverse_run}"])


WEIGHTED = ["reader=tsv", "reader.train=[a.tsv,b.tsv]", "data.weights=[1,3]", "data.test_fraction=0"]


@pytest.mark.parametrize("overrides", [[], WEIGHTED], ids=["one corpus", "two weighted corpora"])
def test_a_real_run_resumes_exactly(tmp_path, overrides):
    import seq2att

    for number, name in enumerate(["a.tsv", "b.tsv"], start=1):
        words = ["abcdefg"[row % 7 :] + "ab" * number for row in range(40 * number)]
        (tmp_path / name).write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    settings = [*(QUICK[1:] if overrides else QUICK), *overrides, f"data.root={tmp_path}"]
    straight = seq2att.train("reverse", [*settings, f"run={tmp_path / 'straight'}"])
    stopped = [*settings, f"run={tmp_path / 'stopped'}"]
    with pytest.raises(SystemExit):
        seq2att.train("reverse", stopped, [interrupt(4)])
    assert seq2att.train("reverse", stopped) == tmp_path / "stopped"
    assert (straight / "model.safetensors").read_bytes() == (tmp_path / "stopped" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("recipe", ["reverse", "numbers"])
def test_a_bundle_keeps_the_precision_of_its_training(tmp_path, recipe):
    """What was trained in float64 is saved, loaded and scored in float64."""
    import seq2att
    from seq2att.api import evaluate as evaluate_run
    from tests.tiny import RECIPES

    if recipe != "reverse":
        (tmp_path / "r.yaml").write_text(RECIPES[recipe])
    settings = [*(QUICK if recipe == "reverse" else QUICK[2:]), "trainer.precision=64", f"run={tmp_path / 'run'}"]
    run = seq2att.train("reverse" if recipe == "reverse" else str(tmp_path / "r.yaml"), settings)
    saved = checkpoint(run, "best")["model"]
    loaded = seq2att.load(run).model.state_dict()
    assert {value.dtype for value in loaded.values() if value.is_floating_point()} == {torch.float64}
    assert all(torch.equal(loaded[name], saved[name]) for name in saved)
    facts = json.loads((run / "metrics.json").read_text("utf-8"))
    assert evaluate_run(run, split="validation")["loss"] == pytest.approx(facts["validation"]["loss"], rel=1e-12)


def test_a_figure_that_is_always_nan_is_reported(tmp_path, monkeypatch):
    import seq2att

    def pretend(predictions, references, metrics, config):
        return {name: Score(math.nan, name) for name in metrics}

    monkeypatch.setattr("seq2att.trainer.validation.measure", pretend)
    said = []
    config = compose("reverse", [*QUICK, f"run={tmp_path / 'run'}", "trainer.best=exact"])
    run = launch.run(config, say=said.append)
    assert any(line.startswith("note: exact was NaN in every validation") for line in said)
    assert not any("(best" in line for line in said)
    facts = json.loads((run / "metrics.json").read_text("utf-8"))
    assert facts["step"] == int(table(run)[-1]["step"])
    seq2att.load(run)


def test_the_best_weights_are_those_of_the_bundle(tmp_path):
    """Scored again from the bundle, the validation split gives the figures of the row that was kept."""
    import seq2att
    from seq2att.api import evaluate as evaluate_run

    settings = ["optimizer.learning_rate=0.5", "trainer.epochs=5", f"run={tmp_path / 'run'}"]
    run = seq2att.train("reverse", [*QUICK, *settings])
    rows = table(run)
    best = min(rows, key=lambda row: float(row["loss"]))
    assert best != rows[-1], "the test needs a run that gets worse"
    assert evaluate_run(run, split="validation")["loss"] == pytest.approx(float(best["loss"]), rel=1e-5)
    facts = json.loads((run / "metrics.json").read_text("utf-8"))
    assert facts["step"] == int(best["step"])
    assert facts["validation"]["loss"] == pytest.approx(float(best["loss"]), rel=1e-5)


def test_a_run_may_start_beside_the_jobs_of_a_sweep(tmp_path):
    job = tmp_path / "run" / "attention=dot"
    folder.start(job, make_config(job))
    (tmp_path / "run" / "multirun.yaml").write_text("jobs")
    assert folder.claim(make_config(tmp_path / "run")) == folder.Claim(tmp_path / "run")
    (tmp_path / "run" / "thesis.tex").write_text("dear")
    with refused("E-run", "run="):
        folder.claim(make_config(tmp_path / "run"))
