"""Several processes, for real: two of them on the CPU, by gloo. They start slowly, so a few runs answer many questions.

Nothing is random in these models, so one process and several must give the same loss and weights, to rounding.
"""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import seq2att
from seq2att import launch
from seq2att.cli.train import measure
from seq2att.model import Model
from seq2att.trainer.state import read_state

STEPS = 26  # of a run: 2 epochs of 13 batches
SETTINGS = [
    "reader.rows=63",
    "data.batch_size=5",
    "encoder.size=8",
    "decoder.size=8",
    "attention.size=8",
    "trainer.precision=64",
    "trainer.epochs=2",
    "trainer.progress=false",
    "trainer.log_every=3",
    "metrics=[exact,ter]",
    "callbacks=[trouble]",
]
PLUGIN = '''
"""Trouble on demand, and notes of random numbers, for the tests of several processes."""

import hashlib
import json
import os
import signal
from pathlib import Path

import torch

from seq2att.callback import Callback
from seq2att.errors import UserError
from seq2att.registry import register

WHAT, RANK, STEP = os.environ.get("TROUBLE", "none:0:0").split(":")
if WHAT == "import" and os.environ.get("RANK") == RANK:
    raise UserError("E-data", "sky", "is falling")


@register("callback", "trouble")
class Trouble(Callback):
    """A signal at a step, and what the random numbers were at the first batch and the end."""

    def note(self, training, when):
        if "NOTES" in os.environ:
            state = hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest()
            Path(os.environ["NOTES"], f"{when}-{training.processes.rank}").write_text(state)

    def on_start(self, training):
        self.first_step = training.step
        listen = training.model.forward

        def forward(*arguments):  # of the first batch, before anything is drawn
            if training.step == self.first_step and training.model.training:
                self.note(training, "start")
                self.first_step = None
            return listen(*arguments)

        training.model.forward = forward

    def state_dict(self):  # a checkpoint is being written
        return {"saved": True}

    def on_batch(self, training):
        torch.rand(3)  # nobody uses them
        self.note(training, "stop")
        if (training.processes.rank, training.step) != (int(RANK), int(STEP)):
            return
        if WHAT == "parent":  # the parent hands it on
            os.kill(os.getppid(), signal.SIGTERM)
        if WHAT == "self":
            os.kill(os.getpid(), signal.SIGTERM)
        if WHAT == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
'''

pytestmark = [
    pytest.mark.posix,
    pytest.mark.skipif(not torch.distributed.is_available(), reason="PyTorch without torch.distributed"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the plugin, in which the commands run; none of them takes long."""
    path = tmp_path_factory.mktemp("devices")
    (path / "trouble.py").write_text(PLUGIN)
    return path


class Ended:
    """How a command ended."""

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.code, self.out, self.error = done.returncode, done.stdout, done.stderr


def train(here: Path, *overrides: str, **environment: str) -> Ended:
    """Train by the command line."""
    command = [sys.executable, "-m", "seq2att", "train", "reverse", f"plugins=[{here / 'trouble.py'}]"]
    done = subprocess.run(
        [*command, *SETTINGS, *overrides],
        capture_output=True,
        text=True,
        check=False,
        cwd=here,
        timeout=600,
        env={**os.environ, **environment},
    )
    return Ended(done)


def train_here(here: Path, run: str, *overrides: str) -> Path:
    """Train in one process, this one."""
    return seq2att.train("reverse", [f"plugins=[{here / 'trouble.py'}]", *SETTINGS, f"run={here / run}", *overrides])


def checkpoint(run: Path, name: str = "last") -> dict[str, Any]:
    """The content of a checkpoint."""
    content: dict[str, Any] = torch.load(getattr(read_state(run), name).path(run), weights_only=True)
    return content


def weights(run: Path, name: str = "last") -> torch.Tensor:
    """The weights of a checkpoint, in the precision of training."""
    state = checkpoint(run, name)["model"]
    found = torch.cat([state[key].flatten() for key in sorted(state)])
    assert found.dtype == torch.float64
    return found


def table(run: Path) -> list[dict[str, float]]:
    """What a run wrote of its validations, without what depends on time."""
    with (run / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: float(row[key]) for key in row if key not in ("tokens_per_second", "seconds")} for row in rows]


def same(one: Path, other: Path) -> None:
    """Both runs found the same, to the rounding of float64."""
    assert len(table(one)) == 2
    for row, wanted in zip(table(one), table(other), strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)  # the table holds six digits
    for name in ("last", "best"):
        torch.testing.assert_close(weights(one, name), weights(other, name), rtol=1e-10, atol=1e-10)
    facts = [json.loads((run / "metrics.json").read_text("utf-8")) for run in (one, other)]
    for name, value in facts[0]["validation"].items():
        assert facts[1]["validation"][name] == pytest.approx(value, rel=1e-10), name
    assert facts[0]["step"] == facts[1]["step"]


@pytest.fixture(scope="module")
def alone(here: Path) -> Path:
    """The run of one process that the others are compared with."""
    return train_here(here, "alone")


def test_two_processes_stop_together_go_on_and_give_what_one_gives(here: Path, alone: Path) -> None:
    """The command starts two, whose parent gets SIGTERM; then two that somebody else started, as torchrun, go on.

    One test, for its parts build on each other: the signal, the resumption, the random numbers, the equality.
    """
    for name in ("before", "after"):
        (here / name).mkdir()
    ended = train(here, "run=two", "trainer.devices=2", TROUBLE="parent:1:5", NOTES=str(here / "before"))
    stopped_together(here / "two", ended)
    first, second = joined(here, "run=two", NOTES=str(here / "after"))
    assert (first.code, second.code) == (0, 0), first.error + second.error
    assert "going on in two: " in first.out
    assert first.out.splitlines()[-1].startswith(f"finished: two (epoch 2, step {STEPS}: loss ")
    assert (second.out, second.error, first.error) == ("", "", ""), "the first one speaks"
    states = [[(here / name).read_text() for name in (f"before/stop-{rank}", f"after/start-{rank}")] for rank in (0, 1)]
    assert [before == after for before, after in states] == [True, True]
    assert states[0] != states[1], "each has random numbers of its own"
    same(here / "two", alone)


def stopped_together(run: Path, ended: Ended) -> None:
    """The parent handed its signal on, and all processes saved and ended at the same step."""
    assert ended.code == 128 + signal.SIGTERM, ended.error
    assert ended.error == ""
    said = ended.out.splitlines()
    assert said[said.index("starting 2 processes") + 1].startswith("training in two: ")
    assert len([line for line in said if line.startswith("train: read ")]) == 1
    step = int(said[-1].removeprefix("stopped at step ").partition(" ")[0])
    assert said[-1] == f"stopped at step {step} of {STEPS}; the same command goes on from there"
    assert 5 <= step < STEPS
    assert checkpoint(run)["position"][0] == step
    names = {"checkpoints", "config.yaml", "data.json", "signature", "metrics.csv", "curves.png", "state.json"}
    assert {path.name for path in run.iterdir()} <= names | {"record.json"}


def joined(here: Path, *overrides: str, **environment: str) -> list[Ended]:
    """Two processes, each told its rank and where to meet."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    told = {**environment, "WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": port}
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(train, here, *overrides, RANK=str(rank), **told) for rank in range(2)]
        return [one.result() for one in both]


def test_a_killed_process_stops_the_run_which_goes_on_in_another_number(here: Path, alone: Path) -> None:
    """The other process ends too; what was saved is continued by one process, in the same order of rows."""
    ended = train(here, "run=killed", "trainer.devices=2", TROUBLE="kill:1:17")
    assert ended.code == 2
    assert ended.error == (
        "seq2att: error [E-process]: process 2 of 2 (rank 1): was killed by SIGKILL "
        "(by the system, if memory ran out); the same command resumes from the last save\n"
    )
    state = checkpoint(here / "killed")
    assert state["position"][0] == STEPS // 2
    assert len(state["random"]) == 2
    run = train_here(here, "killed")
    same(run, alone)


def test_a_message_of_one_process_is_that_of_the_command(here: Path) -> None:
    ended = train(here, "run=sky", "trainer.devices=2", TROUBLE="import:1:0")
    assert ended.code == 2
    assert ended.error.startswith("seq2att: error")
    assert "sky: is falling" in ended.error
    assert len(ended.error.splitlines()) == 1
    assert not (here / "sky" / "checkpoints").exists()


def test_a_sweep_in_two_processes_with_accumulation(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accumulated step is that of one process too, though a process has no row of a batch of one.

    A job that was done before is not done again.
    """
    several = [
        "data.batch_size=2",
        "trainer.accumulate=3",
        "trainer.max_minutes=5",
        "optimizer=sgd",
        "optimizer.learning_rate=0.5",
    ]
    ended = train(here, "run=sweep", *several, "trainer.devices=2", "-m", "trainer.clip=0.5")
    assert ended.code == 0, ended.error
    (swept,) = [path.parent for path in (here / "sweep").glob("*/metrics.json")]
    same(swept, train_here(here, "accumulated", *several, "trainer.clip=0.5"))
    head, row = ended.out.splitlines()[-2:]
    assert head.split()[:5] == ["epoch", "loss", "perplexity", "token_accuracy", "exact"]
    facts = json.loads((swept / "metrics.json").read_text("utf-8"))
    assert row.split()[:2] == [f"{facts['epoch']:.4g}", f"{facts['validation']['loss']:.4g}"]
    config = {**yaml.safe_load((swept / "config.yaml").read_text("utf-8")), "run": str(swept)}
    del config["format"]
    monkeypatch.setattr(launch, "run", lambda config: pytest.fail("trained again"))
    capsys.readouterr()
    assert measure(config) == facts["validation"]["loss"]
    assert capsys.readouterr().out == f"{swept}: finished before with the same settings; not trained again\n"


SCARCE = """
import math
import os

from seq2att.model import Model

forward = Model.forward


def scarce(self, batch, state=()):
    if self.training and len(batch.rows) > 1 and os.environ.get("RANK") == "1":
        raise MemoryError
    loss = forward(self, batch, state)
    return loss._replace(total=loss.total * math.nan) if self.training and 7 in batch.rows else loss


Model.forward = scarce
"""


def test_processes_agree_on_a_step_that_diverged_in_one_of_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 7 is in one's part of a batch, the other computes its rows one by one; together they are one process."""
    (here / "scarce.py").write_text(SCARCE)
    plugins = f"plugins=[{here / 'trouble.py'},{here / 'scarce.py'}]"
    monkeypatch.setattr(Model, "forward", Model.forward)  # what the plugin changes comes back
    whole = train_here(here, "whole", plugins, "trainer.on_divergence=skip")
    ended = train(here, "run=parts", plugins, "trainer.devices=2", "trainer.on_divergence=skip")
    assert ended.code == 0, ended.error
    assert "2 steps diverged and were left out" in ended.out
    assert "batches did not fit into memory" in ended.out
    same(here / "parts", whole)
    report = json.loads((here / "parts" / "divergence.json").read_text("utf-8"))
    assert len(report["rows"]) == 5, "those of both"
