"""Runs of a command in forks of this process, which has imported everything: one takes less than a second."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.trainer.lock import LOCK

KILL, TEAR, FAIL, FAIL_ON = 1, 2, 3, 4  # as in shim.c; 0 counts only
RACE = 5  # no fault: the command is given twice at once
LIMIT = 120.0  # seconds after which a run hangs


class Fault(NamedTuple):
    """What happens to a run: at the n-th call that changes a file, or at a time."""

    action: int = 0
    number: int = 0
    error: int = 0  # errno
    seconds: float = 0.0  # SIGKILL then, if not 0


NONE = Fault()


class Ended(NamedTuple):
    """How a run ended."""

    code: int  # negative if a signal ended it
    text: str  # what it printed
    calls: int  # that changed files
    modules: list[str]  # that were imported


class Command(NamedTuple):
    """A training in a folder of its own."""

    recipe: Path
    overrides: list[str]
    folder: Path  # whose calls are counted
    cache: Path  # of the data; below the folder, its writes are disturbed, too
    size: int = 1  # processes
    config: dict[str, Any] | None = None  # composed before, which takes as long as the training

    @property
    def run(self) -> Path:
        """The run folder."""
        return self.folder / "run"

    def words(self) -> list[str]:
        """The arguments of the command line."""
        return ["train", str(self.recipe), *self.overrides, f"run={self.run}", f"data.cache={self.cache}"]


def run(command: Command, fault: Fault = NONE) -> Ended:
    """Run a command to its end, with a fault in its first process; the others are ended with it, as by a launcher."""
    command.folder.mkdir(parents=True, exist_ok=True)
    logs = command.folder.with_name(f"{command.folder.name}.log")
    environments: list[dict[str, str]] = [{}]
    if command.size > 1:
        common = {"WORLD_SIZE": str(command.size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        environments = [{**common, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(command.size)]
    processes = [
        fork(command, environment, fault if rank == 0 else NONE, logs.with_suffix(f".{rank}"))
        for rank, environment in enumerate(environments)
    ]
    if fault.seconds:
        time.sleep(fault.seconds)
        kill(processes[0])
    code = wait(processes[0], LIMIT)
    for process in processes[1:]:
        try:
            wait(process, 0 if code else LIMIT)
        except TimeoutError:
            kill(process)
            wait(process, LIMIT)
    report = logs.with_suffix(".json")
    calls, modules = json.loads(report.read_text()) if report.exists() else (0, [])
    report.unlink(missing_ok=True)
    return Ended(code, logs.with_suffix(".0").read_text("utf-8", "replace"), calls, modules)


def fork(command: Command, environment: Mapping[str, str], fault: Fault, log: Path) -> int:
    """Start one process of a run; returns its number."""
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 99
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.update(environment)
        code = disturbed(command, fault, log.with_suffix(".json"))
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def disturbed(command: Command, fault: Fault, report: Path) -> int:
    """Run a command line under the shim; the exit code. What happened goes into a file of the first process."""
    import seq2att.config
    from seq2att.cli import main

    if command.config:
        seq2att.config.compose = lambda recipe, overrides: command.config

    shim = ctypes.CDLL(None)
    shim.faults_disarm.restype = ctypes.c_long
    shim.faults_arm(str(command.folder).encode(), ctypes.c_long(fault.number), fault.action, fault.error)
    try:
        code = main(command.words())
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    calls = shim.faults_disarm()
    if os.environ.get("RANK", "0") == "0":
        report.write_text(json.dumps([calls, sorted(sys.modules)]))
    return int(code or 0)


def wait(process: int, limit: float) -> int:
    """The exit code of a process; negative if a signal ended it. Raises TimeoutError after so many seconds."""
    end = time.monotonic() + limit
    while True:
        number, status = os.waitpid(process, os.WNOHANG)
        if number:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            raise TimeoutError(f"process {process} hangs")
        time.sleep(0.002)


def kill(process: int) -> None:
    """End a process that was started here and not waited for."""
    os.kill(process, signal.SIGKILL)


def free_port() -> int:
    """A port of this machine that nobody listens to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def results(folder: Path) -> dict[str, Any]:
    """What a finished run found, without times."""
    state = json.loads((folder / "state.json").read_text("utf-8"))
    rows = [line.split(",")[:-2] for line in (folder / "metrics.csv").read_text("utf-8").splitlines()]
    files = {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name not in ("metrics.csv", "state.json") and file.suffix not in (".ckpt", ".png")
    }
    files = {name: content for name, content in files.items() if not name.startswith("steps")}  # one for each start
    for name in ("config.yaml", "manifest.json", "signature", "record.json", LOCK):  # they name folders and times
        files.pop(name, None)
    steps = [state[name]["step"] for name in ("last", "best")]
    names = sorted(file.name for file in folder.iterdir() if file.name not in ("steps", LOCK))
    return {"phase": state["phase"], "steps": steps, "table": rows, "files": files, "names": names}


def clear(command: Command) -> None:
    """Remove what a command wrote."""
    shutil.rmtree(command.folder, ignore_errors=True)
