"""Launching: threads and seeds, where a run takes place, and how the end of a worker is told."""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seq2att import launch
from seq2att.errors import UserError
from seq2att.launch import place, threads, worker, workers
from seq2att.trainer import fitting
from seq2att.trainer.processes import ALONE, Processes

OPTIONS = {"devices": 1, "num_nodes": 1, "accelerator": "cpu"}


# Threads


def test_settle_makes_a_process_repeatable() -> None:
    before = torch.get_num_threads()
    drawn = []
    for _ in range(2):
        launch.settle(1, 5)
        drawn.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    torch.set_num_threads(before)


DENORMAL = """
import torch
from seq2att import launch
if {settles}:
    launch.settle(2, 1)
torch.set_num_threads(2)
small = torch.full((2_000_000,), 1e-20, requires_grad=True)
product = small * 1e-20  # 1e-40 is a denormal
product.backward(small.detach())
matrix = torch.full((400, 400), 1e-21)
print(*(int(found.count_nonzero()) for found in (product, small.grad, matrix @ matrix)))
"""


@pytest.mark.parametrize("settles", [True, False])
def test_denormals_are_nothing_in_every_thread(settles: bool) -> None:
    """In the threads that share an operation, forwards and backwards, too; without `settle` none is."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = DENORMAL.format(settles=settles)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    left = [int(word) for word in done.stdout.split()]
    assert left == [0, 0, 0] if settles else left[:2] == [2_000_000, 2_000_000]


def system(folder: Path, files: dict[str, str]) -> Path:
    """A folder like /sys."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_cores_are_those_allowed_and_counted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = {
        f"devices/system/cpu/cpu{number}/topology/thread_siblings_list": f"{number % 4},{number % 4 + 4}\n"
        for number in range(8)
    }
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 4, 5, 6}, raising=False)
    assert threads.cores(system(tmp_path / "plain", {})) == 6  # nothing is known of twins
    assert threads.cores(system(tmp_path / "twins", twins)) == 3
    for quota, cores in (("150000 100000\n", 2), ("max 100000\n", 3), ("5000 100000\n", 1), ("900000 100000\n", 3)):
        assert threads.cores(system(tmp_path / "quota", {**twins, "fs/cgroup/cpu.max": quota})) == cores
    older = {"fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n", "fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}
    assert threads.cores(system(tmp_path / "older", {**twins, **older})) == 2
    unbounded = {**older, "fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}
    assert threads.cores(system(tmp_path / "unbounded", {**twins, **unbounded})) == 3


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "cores", lambda: 12)
    monkeypatch.setattr(threads, "usual_threads", lambda: 64)  # PyTorch knows of no quota
    assert [threads.fair_threads(number) for number in (1, 2, 5, 12, 40)] == [12, 6, 2, 1, 1]
    monkeypatch.setattr(threads, "usual_threads", lambda: 4)  # OMP_NUM_THREADS says so
    assert [threads.fair_threads(number) for number in (1, 2, 5)] == [4, 4, 2]
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    launch.settle(None, 1, 3)
    launch.settle(7, 1, 3)
    assert given == [4, 7]


def test_a_run_takes_nothing_from_the_next_one() -> None:
    """What one run sets is not what the next one finds usual."""
    before, usual = torch.get_num_threads(), threads.usual_threads()
    launch.settle(usual + 3, 1)
    assert torch.get_num_threads() == usual + 3
    launch.settle(None, 1)
    assert torch.get_num_threads() == min(usual, threads.cores())
    torch.set_num_threads(before)


@pytest.mark.parametrize(("size", "used"), [(1000, 1), (5_000_000, 6)])
def test_small_models_have_one_thread(size: int, used: int) -> None:
    model: Any = torch.nn.Linear(size, 1, bias=False, device="meta")
    assert fitting.useful_threads(model, 6) == used


# Which process this is


def test_started_alone() -> None:
    assert place.joined(OPTIONS, {}) is None
    assert place.joined(OPTIONS, {"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert place.joined({**OPTIONS, "devices": 4}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None  # without srun


MEETING = {"MASTER_ADDR": "first", "MASTER_PORT": "1234"}


def test_started_by_torchrun() -> None:
    environment = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING}
    for options in (OPTIONS, {**OPTIONS, "devices": 4, "num_nodes": 2}, {**OPTIONS, "devices": -1}):
        assert place.joined(options, dict(environment)) == Processes(5, 8, 1, 4)
    with pytest.raises(
        UserError, match=r"trainer.devices=3, but 4 processes on each machine were started; make them eq"
    ):
        place.joined({**OPTIONS, "devices": 3}, dict(environment))
    with pytest.raises(UserError, match=r"trainer.num_nodes=4, but 2 machines were started; make them equal"):
        place.joined({**OPTIONS, "num_nodes": 4}, dict(environment))


def test_started_by_anyone_who_sets_ranks() -> None:
    environment = {"RANK": "1", "WORLD_SIZE": "2", **MEETING}
    assert place.joined(OPTIONS, environment) == Processes(1, 2, 1, 2)
    assert environment["LOCAL_RANK"] == "1"  # for Lightning, which reads it there
    with pytest.raises(UserError, match="one of 2 processes, but MASTER_PORT does not say where they meet; set it, or"):
        place.joined(OPTIONS, {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "first"})


SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_STEP_NODELIST": "node[07-08]",
    "SLURM_JOB_ID": "4512345",
}


def test_started_by_slurm() -> None:
    environment = dict(SLURM)
    assert place.joined({**OPTIONS, "devices": 2, "num_nodes": 2}, environment) == Processes(3, 4, 1, 2)
    names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK MASTER_ADDR MASTER_PORT".split()
    assert [environment[name] for name in names] == ["3", "4", "1", "2", "1", "node07", "17345"]
    with pytest.raises(UserError, match=r"SLURM_STEP_TASKS_PER_NODE=3,1: start equally many tasks on each machine"):
        place.joined(OPTIONS, {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "3,1"})


def test_a_task_on_each_machine_starts_its_workers() -> None:
    tasks = {**SLURM, "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
    assert place.joined({**OPTIONS, "devices": 4, "num_nodes": 2}, dict(tasks)) is None
    assert place.joined({**OPTIONS, "num_nodes": 2}, dict(tasks)) == Processes(3, 2, 1, 1)
    assert place.meeting_point(tasks) == ("node07", 17345)
    assert place.meeting_point({"MASTER_ADDR": "a"}) == ("a", place.PORT)
    assert place.meeting_point({}) is None


def test_how_many_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.asked_for({**OPTIONS, "devices": 3, "num_nodes": 2}) == (3, 2)
    for devices in (0, -1, -2):
        with pytest.raises(
            UserError, match=rf"trainer.devices={devices}: allowed is 1 or more \(this machine has \d+ c"
        ):
            place.asked_for({**OPTIONS, "devices": devices})
    with pytest.raises(UserError, match=r"trainer.num_nodes=0: allowed is 1 or more"):
        place.asked_for({**OPTIONS, "num_nodes": 0})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    options = {**OPTIONS, "accelerator": "gpu"}
    assert place.asked_for({**options, "devices": -1}) == (4, 1)
    with pytest.raises(UserError, match=r"trainer.devices=5: this machine has 4 GPUs; set it to 4 or less"):
        place.asked_for({**options, "devices": 5})
    with pytest.raises(UserError, match=r"trainer.devices=0: allowed is 1 or more, or -1 for all GPUs"):
        place.asked_for({**options, "devices": 0})


# The parts of the work


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_row_is_in_one_part(size: int) -> None:
    """And the parts are balanced: of rows in order of length, no part is longer by more than the longest row."""
    for number in range(12):
        rows = np.arange(100, 100 + number)
        parts = [Processes(rank, size).mine(rows) for rank in range(size)]
        assert sorted(itertools.chain(*parts)) == rows.tolist()
        assert max(map(len, parts)) - min(map(len, parts)) <= 1
        lengths = [int((part - 99).sum()) for part in parts]
        assert max(lengths) - min(lengths) <= number


def test_alone_nothing_needs_telling() -> None:
    assert ALONE.total(1.5, 2) == [1.5, 2]
    assert ALONE.largest(3) == 3
    assert ALONE.collect("mine") == ["mine"]
    assert ALONE.share(lambda: "made") == ALONE.in_turn(lambda: "made") == "made"
    with ALONE.together():
        assert not torch.distributed.is_initialized()


# The parent


def test_objects_stay_in_their_process() -> None:
    config: Any = {"trainer": {**OPTIONS, "devices": 2}}
    with pytest.raises(
        UserError, match=r"callbacks: objects do not reach the 2 processes .*; name them in `callbacks`"
    ):
        launch.run(config, [object()])  # type: ignore[list-item]


def test_machines_must_know_where_to_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        UserError, match=r"trainer.num_nodes=2: the machines must know where to meet; start this command"
    ):
        workers.launch_config(4, 2)
    monkeypatch.setenv("MASTER_ADDR", "first")
    told = workers.launch_config(4, 2)
    assert (told.min_nodes, told.max_nodes, told.nproc_per_node, told.max_restarts) == (2, 2, 4, 0)
    assert told.rdzv_endpoint == f"first:{place.PORT}"
    assert workers.launch_config(4, 1).rdzv_endpoint == "localhost:0"


USER = worker.Reason(3.0, 1, worker.USER, "mend this")
BUG = worker.Reason(2.0, 0, worker.BUG, "Traceback ...\nZeroDivisionError")
NOW = BUG._replace(at=time.time() + 600)
LOST = worker.Reason(1.0, 0, worker.LOST, "Traceback ...\nRuntimeError: gloo")


@pytest.mark.parametrize(
    ("codes", "reasons", "said"),
    [
        ({0: 1, 1: 2}, [LOST, USER], "^mend this$"),
        ({0: 1, 1: 2}, [BUG, USER], "^mend this$"),
        ({0: 1, 1: -9}, [NOW], r"^process 2 of 2 \(rank 1\) was killed by SIGKILL"),  # what came of it looks like a bug
        ({0: 1, 1: -15}, [NOW], r"^process 1 of 2 \(rank 0\) failed:\nTraceback ...\nZeroDivisionError$"),
        ({0: 1, 1: -9}, [LOST, BUG], r"^process 1 of 2 \(rank 0\) failed:\nTraceback ...\nZeroDivisionError$"),
        (
            {0: 1, 1: -9},
            [LOST],
            r"^process 2 of 2 \(rank 1\) was killed by SIGKILL \(by the system, if memory ran out\);",
        ),
        ({0: -6, 1: -9}, [LOST], r"^process 2 of 2 \(rank 1\) was killed by SIGKILL"),  # and the other one gave up
        ({0: -15, 1: -11}, [], r"^process 2 of 2 \(rank 1\) was killed by SIGSEGV; the same command goes on from what"),
        ({0: 1, 1: -15}, [LOST], r"^the processes lost each other; what process 1 saw of it:\nTraceback"),
    ],
)
def test_the_first_cause_is_told(codes: dict[int, int], reasons: list[worker.Reason], said: str) -> None:
    error = workers.reason(codes, reasons, 2)
    assert isinstance(error, UserError)
    assert re.search(said, str(error))


def test_workers_that_were_asked_to_end() -> None:
    """As a run of one process: KeyboardInterrupt, or the exit code of a signal."""
    for codes in ({0: 143, 1: 143}, {0: 143, 1: -15}, {1: -15}):
        error = workers.reason(codes, [], 2)
        assert isinstance(error, SystemExit)
        assert error.code == 143
    assert isinstance(workers.reason({0: 130, 1: 130}, [], 2), KeyboardInterrupt)


def test_the_launcher_leaves_the_process_as_it_was() -> None:
    before = [signal.getsignal(number) for number in workers.SIGNALS]

    def disturb() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), workers.undisturbed():
        disturb()
    assert [signal.getsignal(number) for number in workers.SIGNALS] == before
    assert "TORCHELASTIC_SIGNALS_TO_HANDLE" not in os.environ


# A worker


def test_what_a_worker_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reason for each failure, in the order of time; a parent that is gone is a signal."""
    monkeypatch.setattr(worker, "follow", lambda parent: None)
    worker.hand_over(tmp_path, {"seed": 3, "run": Path("runs/x")})
    assert json.loads((tmp_path / worker.HANDED).read_text())["config"] == {"seed": 3, "run": "runs/x"}
    path = list(sys.path)

    def fail(error: BaseException) -> int:
        def work(config: dict[str, Any]) -> None:
            assert config == {"seed": 3, "run": "runs/x"}
            raise error

        monkeypatch.setattr(worker, "work", work)
        return worker.main(tmp_path)

    monkeypatch.setenv("RANK", "0")
    assert fail(RuntimeError("[..]/third_party/gloo/gloo/transport/tcp/pair.cc: Connection closed by peer")) == 1
    monkeypatch.setenv("RANK", "1")
    with warnings.catch_warnings():  # a worker that is not the first one gives none
        assert fail(UserError("mend this")) == 2
    monkeypatch.setenv("RANK", "0")
    assert [found[1:] for found in worker.reasons(tmp_path)][1:] == [(1, worker.USER, "mend this")]
    assert worker.reasons(tmp_path)[0].kind == worker.LOST
    assert fail(KeyError("x")) == 1
    assert worker.reasons(tmp_path)[-1].kind == worker.BUG
    assert "Traceback" in worker.reasons(tmp_path)[-1].text
    assert fail(KeyboardInterrupt()) == 130
    assert sys.path == path


def test_a_worker_follows_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    parents, sent = iter([7, 7, 1]), []
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    worker.follow(7)
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert next(parents, None) is None
