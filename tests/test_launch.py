"""Launching: threads and seeds, where a run takes place, and how the end of a worker is told."""

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seq2att import launch
from seq2att.errors import UserError
from seq2att.launch import elastic, environment, threads, worker
from seq2att.trainer import fitting
from seq2att.trainer.processes import ALONE, Processes
from tests.refusals import refused

OPTIONS = {"devices": 1, "num_nodes": 1, "accelerator": "cpu"}


# Threads


def test_a_configured_process_is_repeatable() -> None:
    before = torch.get_num_threads()
    drawn = []
    for _ in range(2):
        launch.configure_threads(1, 5)
        drawn.append((random.random(), np.random.random(), torch.rand(1).item()))
    assert drawn[0] == drawn[1]
    torch.set_num_threads(before)


DENORMAL = """
import torch
from seq2att import launch
if {configured}:
    launch.configure_threads(2, 1)
torch.set_num_threads(2)
small = torch.full((2_000_000,), 1e-20, requires_grad=True)
product = small * 1e-20  # 1e-40 is a denormal
product.backward(small.detach())
matrix = torch.full((400, 400), 1e-21)
print(*(int(found.count_nonzero()) for found in (product, small.grad, matrix @ matrix)))
"""


@pytest.mark.parametrize("configured", [True, False])
def test_denormals_are_nothing_in_every_thread(configured: bool) -> None:
    """In the threads that share an operation, forwards and backwards, too; without `configure_threads` none is."""
    variables = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    code = DENORMAL.format(configured=configured)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=variables)
    left = [int(word) for word in done.stdout.split()]
    assert left == [0, 0, 0] if configured else left[:2] == [2_000_000, 2_000_000]


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
    assert threads.num_cores(system(tmp_path / "plain", {})) == 6  # nothing is known of twins
    assert threads.num_cores(system(tmp_path / "twins", twins)) == 3
    for quota, cores in (("150000 100000\n", 2), ("max 100000\n", 3), ("5000 100000\n", 1), ("900000 100000\n", 3)):
        assert threads.num_cores(system(tmp_path / "quota", {**twins, "fs/cgroup/cpu.max": quota})) == cores
    older = {"fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n", "fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}
    assert threads.num_cores(system(tmp_path / "older", {**twins, **older})) == 2
    unbounded = {**older, "fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n"}
    assert threads.num_cores(system(tmp_path / "unbounded", {**twins, **unbounded})) == 3


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "num_cores", lambda: 12)
    monkeypatch.setattr(threads, "default_threads", lambda: 64)  # PyTorch knows of no quota
    assert [threads.threads_per_process(number) for number in (1, 2, 5, 12, 40)] == [12, 6, 2, 1, 1]
    monkeypatch.setattr(threads, "default_threads", lambda: 4)  # OMP_NUM_THREADS says so
    assert [threads.threads_per_process(number) for number in (1, 2, 5)] == [4, 4, 2]
    given: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    launch.configure_threads(None, 1, 3)
    launch.configure_threads(7, 1, 3)
    assert given == [4, 7]


def test_a_run_takes_nothing_from_the_next_one() -> None:
    """What one run sets is not what the next one finds usual."""
    before, usual = torch.get_num_threads(), threads.default_threads()
    launch.configure_threads(usual + 3, 1)
    assert torch.get_num_threads() == usual + 3
    launch.configure_threads(None, 1)
    assert torch.get_num_threads() == min(usual, threads.num_cores())
    torch.set_num_threads(before)


@pytest.mark.parametrize(("size", "used"), [(1000, 1), (5_000_000, 6)])
def test_small_models_have_one_thread(size: int, used: int) -> None:
    model: Any = torch.nn.Linear(size, 1, bias=False, device="meta")
    assert fitting.useful_threads(model, 6) == used


# Which process this is


def test_started_alone() -> None:
    assert environment.current_processes(OPTIONS, {}) is None
    assert environment.current_processes(OPTIONS, {"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert (
        environment.current_processes({**OPTIONS, "devices": 4}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}) is None
    )  # without srun


MEETING = {"MASTER_ADDR": "first", "MASTER_PORT": "1234"}


def test_started_by_torchrun() -> None:
    variables = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", **MEETING}
    for options in (OPTIONS, {**OPTIONS, "devices": 4, "num_nodes": 2}, {**OPTIONS, "devices": -1}):
        assert environment.current_processes(options, dict(variables)) == Processes(5, 8, 1, 4)
    for key, number in (("devices", 3), ("num_nodes", 4)):
        with refused("E-process", f"trainer.{key}={number}"):
            environment.current_processes({**OPTIONS, key: number}, dict(variables))


def test_started_by_anyone_who_sets_ranks() -> None:
    variables = {"RANK": "1", "WORLD_SIZE": "2", **MEETING}
    assert environment.current_processes(OPTIONS, variables) == Processes(1, 2, 1, 2)
    assert variables["LOCAL_RANK"] == "1"  # for Lightning, which reads it there
    with refused("E-process", "MASTER_PORT") as info:
        environment.current_processes(OPTIONS, {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "first"})
    assert "MASTER_ADDR" not in info.value.subject


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
    variables = dict(SLURM)
    assert environment.current_processes({**OPTIONS, "devices": 2, "num_nodes": 2}, variables) == Processes(3, 4, 1, 2)
    names = "RANK WORLD_SIZE LOCAL_RANK LOCAL_WORLD_SIZE GROUP_RANK MASTER_ADDR MASTER_PORT".split()
    assert [variables[name] for name in names] == ["3", "4", "1", "2", "1", "node07", "17345"]
    with refused("E-process", "SLURM_STEP_TASKS_PER_NODE=3,1"):
        environment.current_processes(OPTIONS, {**SLURM, "SLURM_STEP_TASKS_PER_NODE": "3,1"})


def test_a_task_on_each_machine_starts_its_workers() -> None:
    tasks = {**SLURM, "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_TASKS_PER_NODE": "1(x2)"}
    assert environment.current_processes({**OPTIONS, "devices": 4, "num_nodes": 2}, dict(tasks)) is None
    assert environment.current_processes({**OPTIONS, "num_nodes": 2}, dict(tasks)) == Processes(3, 2, 1, 1)
    assert environment.meeting_point(tasks) == ("node07", 17345)
    assert environment.meeting_point({"MASTER_ADDR": "a"}) == ("a", environment.PORT)
    assert environment.meeting_point({}) is None


def test_how_many_processes_are_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    assert environment.requested_processes({**OPTIONS, "devices": 3, "num_nodes": 2}) == (3, 2)
    for devices in (0, -1, -2):
        with refused("E-size", f"trainer.devices={devices}"):
            environment.requested_processes({**OPTIONS, "devices": devices})
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    options = {**OPTIONS, "accelerator": "gpu"}
    assert environment.requested_processes({**options, "devices": -1}) == (4, 1)
    with refused("E-device", "trainer.devices=5") as info:
        environment.requested_processes({**options, "devices": 5})
    assert "4 GPU" in info.value.problem
    with refused("E-size", "trainer.devices=0") as info:
        environment.requested_processes({**options, "devices": 0})
    assert "-1 for all GPUs" in info.value.problem


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
    assert ALONE.collect("mine") == ["mine"]
    assert ALONE.share(lambda: "made") == ALONE.in_turn(lambda: "made") == "made"
    with ALONE.together():
        assert not torch.distributed.is_initialized()


# The parent


def test_objects_stay_in_their_process() -> None:
    config: Any = {"trainer": {**OPTIONS, "devices": 2}}
    with refused("E-argument", "callbacks"):
        launch.run(config, [object()])  # type: ignore[list-item]


def test_machines_must_know_where_to_meet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MASTER_ADDR", "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST"):
        monkeypatch.delenv(name, raising=False)
    with refused("E-process", "trainer.num_nodes=2"):
        elastic.make_launch_config(4, 2, tmp_path)
    monkeypatch.setenv("MASTER_ADDR", "first")
    config = elastic.make_launch_config(4, 2, tmp_path)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node, config.max_restarts) == (2, 2, 4, 0)
    assert config.rdzv_endpoint == f"first:{environment.PORT}"
    assert elastic.make_launch_config(4, 1, tmp_path).rdzv_endpoint == "localhost:0"


USER = worker.Failure(3.0, 1, worker.USER, ["E-size", "encoder.size=0", "must be at least 1", ""])
BUG = worker.Failure(2.0, 0, worker.BUG, ["Traceback ...\nZeroDivisionError"])
LOST = worker.Failure(1.0, 0, worker.LOST, ["Traceback ...\nRuntimeError: gloo"])
SOON, LATE = 3.0, 2.0 + elastic.HANG + 1  # when the last worker ended, in seconds after the start


@pytest.mark.parametrize(
    ("codes", "failures", "now", "message"),
    [
        ({0: 1, 1: 2}, [LOST, USER], LATE, "^encoder.size=0: must be at least 1$"),
        ({0: 1, 1: 2}, [BUG, USER], LATE, "^encoder.size=0: must be at least 1$"),
        # what a kill does to the others looks like a bug, but the launcher kills who hangs after a bug
        ({0: 1, 1: -9}, [BUG], SOON, r"^process 2 of 2 \(rank 1\): was killed by SIGKILL"),
        ({0: 1, 1: -9}, [LOST, BUG], LATE, r"^process 1 of 2 \(rank 0\): failed:\nTraceback ...\nZeroDivisionError$"),
        ({0: 1, 1: -15}, [BUG], SOON, r"^process 1 of 2 \(rank 0\): failed:\nTraceback ...\nZeroDivisionError$"),
        ({0: 1, 1: -9}, [LOST], LATE, r"^process 2 of 2 \(rank 1\): was killed by SIGKILL \(by the system, if memory"),
        ({0: -6, 1: -9}, [LOST], SOON, r"^process 2 of 2 \(rank 1\): was killed by SIGKILL"),  # the other gave up
        ({0: -15, 1: -11}, [], SOON, r"^process 2 of 2 \(rank 1\): was killed by SIGSEGV; the same command resumes"),
        ({0: 1, 1: -15}, [LOST], SOON, r"^process 1 of 2 \(rank 0\): lost the others:\nTraceback"),
    ],
)
def test_the_first_cause_is_reported(
    codes: dict[int, int], failures: list[worker.Failure], now: float, message: str
) -> None:
    error = elastic.first_cause(codes, failures, 2, now)
    assert isinstance(error, UserError)
    assert error.code == ("E-size" if USER in failures else "E-process")
    assert re.search(message, str(error))


def test_workers_that_were_asked_to_end() -> None:
    """As a run of one process: KeyboardInterrupt, or the exit code of a signal."""
    for codes in ({0: 143, 1: 143}, {0: 143, 1: -15}, {1: -15}):
        error = elastic.first_cause(codes, [], 2, SOON)
        assert isinstance(error, SystemExit)
        assert error.code == 143
    assert isinstance(elastic.first_cause({0: 130, 1: 130}, [], 2, SOON), KeyboardInterrupt)


def test_the_launcher_leaves_the_process_as_it_was() -> None:
    before = [signal.getsignal(number) for number in elastic.SIGNALS]

    def disturb() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGTERM"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), elastic.quiet_launcher():
        disturb()
    assert [signal.getsignal(number) for number in elastic.SIGNALS] == before
    assert "TORCHELASTIC_SIGNALS_TO_HANDLE" not in os.environ


# A worker


def test_what_a_worker_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure for each error, in the order of time; a parent that is gone is a signal."""
    ticks = itertools.count(1.0)
    monkeypatch.setattr(worker.time, "time", lambda: next(ticks))
    monkeypatch.setattr(worker, "end_with_parent", lambda parent, folder: None)
    worker.write_job(tmp_path, {"seed": 3, "run": Path("runs") / "x"})
    config = {"seed": 3, "run": str(Path("runs") / "x")}
    assert json.loads((tmp_path / worker.JOB).read_text("utf-8"))["config"] == config
    path = list(sys.path)

    def fail(error: BaseException) -> int:
        def train(job: dict[str, Any], command: list[str]) -> None:
            assert (job, command) == (config, [])
            raise error

        monkeypatch.setattr(worker, "train", train)
        return worker.main(tmp_path)

    monkeypatch.setenv("RANK", "0")
    assert fail(RuntimeError("[..]/third_party/gloo/gloo/transport/tcp/pair.cc: Connection closed by peer")) == 1
    monkeypatch.setenv("RANK", "1")
    mistake = UserError("E-size", "encoder.size=0", "must be at least 1", "set it")
    with warnings.catch_warnings():  # a worker that is not the first one gives none
        assert fail(mistake) == 2
    lost, user = worker.read_failures(tmp_path)
    assert (lost.rank, lost.kind) == (0, worker.LOST)
    assert (user.rank, user.kind) == (1, worker.USER)
    assert vars(UserError(*user.parts)) == vars(mistake)
    monkeypatch.setenv("RANK", "0")
    assert fail(KeyError("x")) == 1
    bug = worker.read_failures(tmp_path)[-1]
    assert (bug.rank, bug.kind) == (0, worker.BUG)
    assert "Traceback" in bug.parts[0]
    assert fail(KeyboardInterrupt()) == 130
    assert sys.path == path


def test_a_worker_ends_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And removes what the parent could not."""
    (tmp_path / "job").mkdir()
    worker.write_job(tmp_path / "job", {})
    parents, sent = iter([7, 7, 1]), []
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(os, "kill", lambda *arguments: sent.append(arguments))
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: None)
    worker.end_with_parent(7, tmp_path / "job")
    assert not (tmp_path / "job").exists()
    assert sent == [(os.getpid(), signal.SIGTERM)]
    assert next(parents, None) is None
