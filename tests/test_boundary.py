"""The boundary of a command: whatever fails is one line and an exit code; no stream, locale or folder is needed."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from seq2att import cli
from seq2att.cli import boundary
from seq2att.errors import UserError

PIPES = (errno.EPIPE, errno.ESHUTDOWN)  # whoever read has gone


def failing(error: BaseException) -> Callable[[], int]:
    def fail() -> int:
        print("before")
        raise error

    return fail


def outcome(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """The exit code of a command that raises, and its lines on standard error; what it printed is not lost."""
    code = boundary.guarded(failing(error))
    captured = capsys.readouterr()
    assert captured.out == "before\n"
    return code, captured.err.splitlines()


@pytest.mark.parametrize("number", sorted(set(errno.errorcode) - set(PIPES)))
def test_every_error_of_the_system_is_one_line(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    code, (line,) = outcome(OSError(number, os.strerror(number), "some/file"), capsys)
    assert code == 2
    kind = "[E-memory]: memory" if number == errno.ENOMEM else "[E-file]: some/file"
    assert line.startswith(f"seq2att: error {kind}: ")
    code, (line,) = outcome(OSError(number, os.strerror(number)), capsys)
    assert (code, ";" in line) == (2, True)


@pytest.mark.parametrize(
    ("error", "code", "start"),
    [
        (UserError("E-size", "a=0", "must be at least 1"), 2, "error [E-size]: a=0: must be at least 1"),
        (UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"), 2, "error [E-encoding]: "),
        (io.UnsupportedOperation("not writable"), 2, "error [E-file]: "),
        (OSError(), 2, "error [E-file]: "),
        (MemoryError(), 2, "error [E-memory]: memory: ran out"),
        (ValueError("wrong\nin two lines"), 1, "error [E-internal]: test_boundary.py:"),
        (AssertionError(), 1, "error [E-internal]: test_boundary.py:"),
        (RecursionError("deep"), 1, "error [E-internal]: "),
        (KeyboardInterrupt(), 130, "interrupted"),
        (boundary.Terminated(), 143, "terminated"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_every_failure_is_one_line(
    error: BaseException, code: int, start: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(boundary.TRACEBACK, raising=False)
    error.add_note("3 lines are kept")
    found, (line,) = outcome(error, capsys)
    assert found == code
    assert line.startswith(f"seq2att: {start}")
    assert line.endswith("; 3 lines are kept")


def test_a_broken_pipe_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(BrokenPipeError(errno.EPIPE, "gone"), capsys) == (141, [])


def test_a_fault_is_shown_whole_if_asked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(boundary.TRACEBACK, "1")
    code, lines = outcome(ValueError("wrong"), capsys)
    assert (code, lines[0]) == (1, "Traceback (most recent call last):")
    assert lines[-1].startswith("seq2att: error [E-internal]: ")
    assert len(outcome(UserError("E-size", "a=0", "must be at least 1"), capsys)[1]) == 1


def test_bytes_that_are_no_text_cannot_be_settings(capsys: pytest.CaptureFixture[str]) -> None:
    word = os.fsdecode(b"run=\xff")
    assert cli.main(["train", "reverse", word]) == 2
    assert "[E-encoding]: run=" in capsys.readouterr().err


class Streams(NamedTuple):
    """What the three streams of a process are; a closed one is None."""

    stdin: str | None = os.devnull
    stdout: str | None = "out"
    stderr: str | None = "err"


def in_process(streams: Streams, command: Callable[[], int]) -> int:
    """The exit code of a command in a process that starts with these streams, as Python starts it."""
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    code = 99
    try:
        for number, (name, file) in enumerate(zip(streams._fields, streams, strict=True)):
            os.close(number)
            stream = None
            if file is not None:
                flags = os.O_RDONLY if name == "stdin" else os.O_WRONLY | (os.O_CREAT if "/" not in file else 0)
                opened = os.open(file, flags, 0o600)
                if opened != number:
                    os.dup2(opened, number)
                stream = os.fdopen(number, "r" if name == "stdin" else "w", encoding="ascii", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        boundary.prepare_streams()
        code = boundary.guarded(command)
    finally:
        os._exit(code)


def copies() -> int:
    """Reads standard input and writes to both streams, by Python and below it."""
    os.write(1, b"")
    text = sys.stdin.read()
    print(f"한국 {len(text)}")
    print("출력", file=sys.stderr)
    Path("file").write_text("of the command")
    return 0


def writes_much() -> int:
    """Writes more than a buffer holds, then goes on."""
    for _ in range(3000):
        print("message", file=sys.stderr)
    Path("file").write_text("of the command")
    return 0


@pytest.mark.posix
@pytest.mark.parametrize("closed", [(), (0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_closed_streams_are_read_and_written_as_empty(
    closed: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    streams = [None if number in closed else file for number, file in enumerate(Streams())]
    assert in_process(Streams(*streams), copies) == 0
    assert Path("file").read_text() == "of the command"
    if 1 not in closed:
        assert Path("out").read_text("utf-8") == "한국 0\n"
    if 2 not in closed:
        assert Path("err").read_text("utf-8") == "출력\n"


@pytest.mark.posix
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_full_streams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert in_process(Streams(stderr="/dev/full"), writes_much) == 0  # nobody reads it, but the work is done
    assert Path("file").exists()
    assert in_process(Streams(stdout="/dev/full"), copies) == 2
    assert "[E-file]" in Path("err").read_text("utf-8").splitlines()[-1]


@pytest.mark.posix
def test_a_process_without_anything(reverse_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("a b c\n")
    name = os.fsdecode(b"\xff") if sys.platform == "linux" else "out"
    script = 'exec 0<&- 2>&-; exec "$@"'
    words = [sys.executable, "-m", "seq2att", "translate", str(reverse_run), "in", "-o"]
    environment = {"LC_ALL": "POSIX", "TERM": "dumb", "COLUMNS": "0", "NO_COLOR": "1", "PYTHONCOERCECLOCALE": "0"}
    environment |= {"PYTHONUTF8": "0", "PATH": os.environ.get("PATH", ""), "SEQ2ATT_KERNEL": "torch"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(["sh", "-c", script, "sh", *words, name], cwd=tmp_path, env=environment, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / name).read_bytes().count(b"\n") == 1
