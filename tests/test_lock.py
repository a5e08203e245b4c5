"""One run at a time trains in a folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from seq2att.trainer import lock
from seq2att.trainer.lock import LOCK, locked
from tests.refusals import refused

HOLD = """
import sys
from pathlib import Path
from seq2att.errors import UserError
from seq2att.trainer.lock import locked
try:
    with locked(Path(sys.argv[1]), 0.1):
        print("held", flush=True)
        input()
except UserError as error:
    print(error.code, flush=True)
    input()
"""


def start(path: Path) -> subprocess.Popen[str]:
    """A process that tries to hold the folder until it is killed or told to end."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.communicate("\n")


def write_owner(path: Path, host: str) -> Path:
    (path / LOCK).write_text(json.dumps({"host": host, "process": 1, "since": "2026-11-28 08:00:00"}))
    return path / LOCK


def test_a_second_process_is_refused_and_a_killed_one_is_replaced(tmp_path: Path) -> None:
    """With the name of the first in the message; the folder that only held a lock is gone afterwards."""
    run = tmp_path / "run"
    first = start(run)
    assert answer(first) == "held"
    with refused("E-run", f"run={run}") as error, locked(run):
        pytest.fail("taken twice")
    assert f"process {first.pid} on " in error.value.problem
    first.kill()
    first.communicate()
    assert [file.name for file in run.iterdir()] == [LOCK]
    with locked(run):
        assert json.loads((run / LOCK).read_text())["process"] == os.getpid()
    assert not run.exists()


def test_of_processes_that_find_a_stale_lock_at_once_one_takes_it(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(json.dumps({"host": lock.socket.gethostname(), "process": os.getpid()}))
    processes = [start(tmp_path) for _ in range(3)]
    assert sorted(map(answer, processes)) == ["E-run", "E-run", "held"]
    end(*processes)
    assert not tmp_path.exists()


def test_threads_of_one_process_train_once_in_a_folder(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        with refused("E-run", "run="), locked(tmp_path / "run"):
            pytest.fail("taken twice")
        assert (tmp_path / "run" / LOCK).exists()
        with locked(tmp_path / "other"):
            pass
    with locked(tmp_path / "run"):
        pass


@pytest.mark.parametrize("is_alive", [True, False])
def test_another_machine_holds_a_lock_while_it_touches_it(tmp_path: Path, is_alive: bool) -> None:
    """The system's lock is granted, as on a network folder that keeps locks for each machine."""
    file = write_owner(tmp_path, "elsewhere")
    over = threading.Event()
    other = threading.Thread(target=lock.beat, args=(file, 0.05, over))
    if is_alive:
        other.start()
        with refused("E-run", "run=") as error, locked(tmp_path, 0.1):
            pytest.fail("taken twice")
        assert "process 1 on elsewhere" in error.value.problem
        over.set()
        other.join()
    with locked(tmp_path, 0.05):
        assert lock.read_owner(file)["process"] == os.getpid()


def test_without_locks_of_the_system_the_heartbeat_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "take", lambda descriptor: False)
    write_owner(tmp_path, lock.socket.gethostname())
    with locked(tmp_path, 0.05), refused("E-run", "run="), locked(tmp_path, 0.2):  # nobody touched the first
        pytest.fail("taken twice")


def test_a_lock_that_goes_while_it_is_taken_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take, tries = lock.take, []

    def take_late(descriptor: int) -> bool | None:
        if not tries:  # its owner ends now
            (tmp_path / LOCK).unlink()
        tries.append(descriptor)
        return take(descriptor)

    monkeypatch.setattr(lock, "take", take_late)
    with locked(tmp_path):
        assert len(tries) == 2
        assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("content", ["", "12 host", "[]", "\xff"])
def test_an_odd_lock_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / LOCK).write_text(content, "latin-1")
    start = time.monotonic()
    with locked(tmp_path):
        assert lock.read_owner(tmp_path / LOCK)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_lock_that_cannot_be_written_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*arguments: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", refuse)
    with refused("E-file", str(tmp_path)), locked(tmp_path):
        pytest.fail("taken")
