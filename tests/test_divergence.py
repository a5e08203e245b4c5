"""A run that diverges: what counts as such, what is kept and said, and how it goes on."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seq2att
from seq2att.model import Model
from seq2att.trainer import divergence, fitting
from seq2att.trainer.divergence import FACTOR, MOST_LOWERED, PATIENCE, LossWatch
from seq2att.types import Batch, Loss
from tests.refusals import refused
from tests.test_trainer import ToyModel, hook, interrupt, make_config, toy, weights

POLICIES = ("stop", "skip", "lower")


# -- what counts --


def problems(losses: Any, policy: str = "stop") -> list[str]:
    watch = LossWatch(policy)
    return [watch.judge(float(loss), 1.0) for loss in losses]


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("seed", range(5))
def test_learning_is_no_divergence(policy: str, seed: int) -> None:
    """Losses that fall by four orders of magnitude with noise, where a mistake near the end is 1000 times the usual."""
    draw = np.random.default_rng(seed)
    falling = 5 * np.exp(-np.linspace(0, 9, 2000)) * draw.lognormal(0, 0.4, 2000)
    falling[draw.random(2000) < 0.05] += 0.5
    assert not any(problems(falling, policy))
    assert not any(problems(1000 * falling, policy)[:200]), "a loss may begin high"
    assert not any(problems(falling - 7, policy)), "the log-likelihood of numbers may be positive"


def test_an_explosion_is_one_after_some_steps() -> None:
    usual, exploded = [3.0] * 60, [31.0] * PATIENCE
    found = problems([*usual, *exploded])
    assert not any(found[:-1])
    assert f"over {FACTOR:g} times" in found[-1]
    assert not any(problems([*usual, *[29.0] * 50])), "not below ten times the median"
    assert not any(problems([*usual, *exploded[1:], 3.0, *exploded[1:]])), "only in a row"
    assert problems([*usual, 31.0], "skip")[-1]
    assert problems([3.0, *[1e6] * PATIENCE])[-1], "from the second step on"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (1.0, math.nan), (1.0, math.inf)])
def test_what_is_not_finite_is_one_at_once(policy: str, loss: float, norm: float) -> None:
    watch = LossWatch(policy)
    assert watch.judge(loss, norm)
    assert not watch.judge(2.0, 1.0)
    assert watch.judge(loss, norm)


def test_overfitting_is_no_divergence() -> None:
    watch = LossWatch("stop")
    watch.judge(0.69, 1.0)
    assert not any(map(watch.judge_validation, (0.5, 0.1, 0.9, 5.0, 6.8)))
    assert watch.judge_validation(50.0)
    assert watch.judge_validation(math.nan)


def test_a_watch_goes_on_from_its_state() -> None:
    losses = [*np.linspace(5, 1, 150), *[60.0] * PATIENCE]
    watch, other = LossWatch("stop"), LossWatch("stop")
    for number, loss in enumerate(losses):
        assert watch.judge(loss, 1.0) == other.judge(loss, 1.0)
        if number % 7 == 0:
            state = other.state_dict()
            other = LossWatch("stop")
            other.load_state_dict(state)


# -- what happens --


class Exploding(ToyModel):
    """A toy whose loss is not finite for a batch with a certain row, if the learning rate is above a bound."""

    def __init__(self, row: int = 7, bound: float = 0.0, dropout: float = 0.0, gradient: bool = False) -> None:
        super().__init__(dropout)
        self.row, self.bound, self.gradient = row, bound, gradient
        self.rate = math.inf

    def watch_rate(self, training: Any) -> None:
        self.rate = training.stepper.learning_rate

    def forward(self, batch: Batch, state: Any = ()) -> Loss:
        loss: Loss = super().forward(batch)
        if not self.training or self.row not in batch.rows or self.rate <= self.bound:
            return loss
        if self.gradient:
            loss.total.register_hook(lambda gradient: gradient * math.inf)
            return loss
        return loss._replace(total=loss.total * math.nan)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("clip", [0.0, 5.0])
def test_stopping_keeps_the_rows(tmp_path: Path, gradient: bool, clip: float, accumulate: int) -> None:
    if gradient and not clip:
        return  # found at the next step
    model = Exploding(gradient=gradient)
    with refused("E-loss", "step ") as error:
        toy(make_config(tmp_path / "run", clip=clip, accumulate=accumulate), model=model)
    report = json.loads((tmp_path / "run" / "divergence.json").read_text("utf-8"))
    assert error.value.subject == f"step {report['step']}"
    assert report["gradient_norm" if gradient else "loss"] in ("nan", "inf")
    rows = list(itertools.chain(*model.batches[(report["step"] - 1) * accumulate :]))
    assert [row["row"] for row in report["rows"]] == rows
    assert 7 in rows
    assert report["rows"][0]["place"] == f"toy.tsv:{rows[0] + 1}"
    assert len(report["losses_before"]) == report["step"] - 1
    assert report["learning_rate"] > 0


def test_the_rows_are_right_where_losses_are_fetched_late(tmp_path: Path) -> None:
    """As on a GPU, where nothing waits for a loss before it is logged."""

    def be_late(training: Any) -> None:
        training.stepper.judges_at_once = False

    model = Exploding()
    with refused("E-loss", "step "):
        toy(make_config(tmp_path / "run", log_every=3), [hook("on_start", be_late)], model=model)
    report = json.loads((tmp_path / "run" / "divergence.json").read_text("utf-8"))
    assert 7 in model.batches[report["step"] - 1]
    assert [row["row"] for row in report["rows"]] == model.batches[report["step"] - 1]


def test_skipping_leaves_weights_and_optimizer_as_they_are(tmp_path: Path) -> None:
    seen: list[tuple[bool, float, float]] = []
    lines: list[str] = []

    def note(training: Any) -> None:
        (moment,) = {float(state["step"]) for state in training.stepper.optimizer.state.values()}
        seen.append((7 in training.last_rows, float(weights(training).sum()), moment))

    config = make_config(tmp_path / "run", on_divergence="skip")
    training = toy(config, [hook("on_batch", note)], say=lines.append, model=Exploding())
    for (_, *before), (is_skipped, *after) in itertools.pairwise(seen):
        assert (before == after) == is_skipped
    assert training.step == 16
    assert training.watch.skipped == 2
    assert len([line for line in lines if "left out" in line]) == 2, "the first, and their number at the end"
    assert math.isfinite(training.best.values["loss"] if training.best else math.nan)


@pytest.mark.parametrize("policy", ["skip", "lower"])
def test_neither_goes_on_for_ever(tmp_path: Path, policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "save_best", lambda training: "")  # a toy has no bundle

    class Hopeless(Exploding):
        def forward(self, batch: Batch, state: Any = ()) -> Loss:
            self.row = int(batch.rows[0])
            return super().forward(batch)

    lines: list[str] = []
    with refused("E-loss", f"step {PATIENCE if policy == 'skip' else 1}") as error:
        toy(make_config(tmp_path / "run", on_divergence=policy), say=lines.append, model=Hopeless())
    report = json.loads((tmp_path / "run" / "divergence.json").read_text("utf-8"))
    assert report["learning_rate_lowered"] == (MOST_LOWERED if policy == "lower" else 0)
    assert ("lower optimizer.learning_rate" in error.value.remedy) == (policy == "skip"), "not what was just tried"
    assert "on_divergence=lower" not in error.value.remedy
    assert report["steps_left_out"] == (PATIENCE - 1 if policy == "skip" else 0)


@pytest.mark.parametrize("schedule", [{"name": "constant"}, {"name": "plateau", "patience": 9}])
def test_lowering_goes_back_until_the_rate_is_low_enough(tmp_path: Path, schedule: dict[str, Any]) -> None:
    lines: list[str] = []
    model = watched(Exploding(bound=0.02 / 3))
    config = make_config(tmp_path / "run", on_divergence="lower", schedule=schedule)
    training = toy(config, [hook("on_start", model.watch_rate)], lines.append, model=model)
    assert training.stepper.learning_rate == pytest.approx(0.02 / 4)
    assert training.watch.lowered == 2
    assert training.step == 16
    assert [line.startswith("went back to step 0 ") for line in lines if "went back" in line] == [True, True]


def watched(model: Exploding) -> Exploding:
    """The model, which knows the present learning rate."""
    forward = model.forward

    def look(batch: Batch, state: Any = ()) -> Loss:
        model.rate = model.optimizer.param_groups[0]["lr"] if hasattr(model, "optimizer") else math.inf
        return forward(batch, state)

    model.watch_rate = lambda training: setattr(model, "optimizer", training.stepper.optimizer)  # type: ignore[method-assign]
    model.forward = look  # type: ignore[method-assign]
    return model


@pytest.mark.parametrize("step", [5, 9])
@pytest.mark.parametrize("policy", ["skip", "lower"])
def test_a_resumed_run_is_the_same_run(tmp_path: Path, policy: str, step: int) -> None:
    def run(name: str, *callbacks: Any) -> Any:
        model = watched(Exploding(bound=0.012 if policy == "lower" else 0.0, dropout=0.3))
        config = make_config(tmp_path / name, on_divergence=policy, epochs=3, schedule={"name": "constant"})
        start = hook("on_start", lambda training: model.watch_rate(training))
        return toy(config, [start, *callbacks], model=model)

    straight = run("straight")
    assert straight.watch.skipped + straight.watch.lowered
    with pytest.raises(SystemExit):
        run("stopped", interrupt(step))
    resumed = run("stopped")
    assert torch.equal(weights(straight), weights(resumed))
    assert json.dumps(resumed.watch.state_dict()) == json.dumps(straight.watch.state_dict())
    assert resumed.stepper.learning_rate == straight.stepper.learning_rate


def test_the_best_weights_are_a_bundle_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Diverged in the second epoch: what was best is there, and the same command goes on as the error says."""
    steps, forward = [0], Model.forward

    def explode(self: Model, batch: Batch, state: Any = ()) -> Loss:
        loss: Loss = forward(self, batch, state)
        steps[0] += self.training
        return loss._replace(total=loss.total * 1e6) if self.training and 13 <= steps[0] < 13 + PATIENCE else loss

    monkeypatch.setattr(Model, "forward", explode)
    small = ["reader.rows=200", "data.batch_size=20", "encoder.size=8", "decoder.size=8", "attention.size=8"]
    settings = [f"run={tmp_path / 'run'}", "trainer.epochs=3", "trainer.progress=false", *small]
    with refused("E-loss", f"step {12 + PATIENCE}") as error:
        seq2att.train("reverse", settings)
    best = tmp_path / "run" / "best"
    assert str(best) in error.value.remedy
    assert seq2att.load(best).translate("a b c").tokens is not None
    assert json.loads((best / "metrics.json").read_text("utf-8"))["step"] in (10, 20)
    assert not (tmp_path / "run" / "metrics.json").exists()
    capsys.readouterr()
    seq2att.train("reverse", [*settings, "trainer.on_divergence=lower"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("finished")
    assert any(line.startswith("going on") for line in lines)


def test_a_falling_loss_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The median is computed only for a loss above the first one."""
    monkeypatch.setattr(divergence.statistics, "median", lambda losses: pytest.fail("computed"))
    assert not any(problems(np.linspace(5, 0, 500)))
