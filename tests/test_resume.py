"""Files of answers: killed at every write, a command goes on and ends with the same bytes; no others are mixed in."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from seq2att import api, cli
from seq2att.cli import answering, boundary, output, score
from seq2att.errors import UserError
from seq2att.types import Prediction

LINES = [f"line {number}" if number % 7 else "" for number in range(1, 15)]
KILLED = 9


class Backwards:
    """Says every line backwards, and its number; refuses the line of that number."""

    refuses = 0
    has_source = True

    def translate(self, texts: list[str], first_line: int, **options: Any) -> list[Prediction]:
        if first_line <= self.refuses < first_line + len(texts):
            raise UserError("E-length", f"line {self.refuses}", "is too long")
        return [Prediction(f"{number} {text[::-1]}", 0.0) for number, text in enumerate(texts, first_line)]

    def score(self, pairs: list[tuple[str, str]], first_pair: int) -> list[api.Scored]:
        return [api.Scored(-float(number), 1) for number, _ in enumerate(pairs, first_pair)]


@pytest.fixture(autouse=True)
def model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Backwards:
    """A model in the place of every run folder, parts of four lines, and a journal for each."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").write_text("\n".join(LINES) + "\n")
    model = Backwards()
    monkeypatch.setattr(api, "load", lambda *_, **__: model)
    monkeypatch.setattr(output, "fingerprint", lambda arguments, options: {"model": arguments.model, **options})
    monkeypatch.setattr(output, "COMMIT", 0.0)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no test takes the power away
    monkeypatch.setattr(answering, "PART", 4)
    monkeypatch.setattr(score, "CHUNK", 4)
    return model


COMMAND = ("translate", "runs/x", "in", "-o", "out")
RIGHT = "".join(f"{number} {line[::-1]}\n" for number, line in enumerate(LINES, 1))


def left() -> set[str]:
    """The files in the folder besides the input."""
    return set(os.listdir()) - {"in"}


def killed_at(event: int, command: tuple[str, ...]) -> int:
    """The exit code of a process that is killed in its n-th write, or before its n-th fsync, rename or removal."""
    if process := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    events = itertools.count()

    class Torn(io.FileIO):
        def write(self, data: Any) -> int:
            if next(events) == event:
                super().write(data[: len(data) // 2])
                os._exit(KILLED)
            return super().write(data)

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if next(events) == event:
                os._exit(KILLED)
            return function(*arguments, **options)

        return call

    output.io = SimpleNamespace(FileIO=Torn)  # type: ignore[assignment]
    for name in ("fsync", "replace", "unlink"):
        setattr(os, name, mortal(getattr(os, name)))
    os._exit(cli.main(command))


@pytest.mark.posix
@pytest.mark.parametrize("command", [COMMAND, ("score", "runs/x", "in", "in", "-o", "out")], ids=["translate", "score"])
def test_killed_at_every_write_it_goes_on(command: tuple[str, ...]) -> None:
    assert cli.main(command) == 0
    right = Path("out").read_bytes()
    assert right.count(b"\n") == len(LINES)
    for event in itertools.count():
        Path("out").write_text("of yesterday\n")
        if (code := killed_at(event, command)) != KILLED:
            break
        assert Path("out").read_bytes() in (b"of yesterday\n", right)
        killed_at(event // 2, command)  # once more, somewhere
        assert cli.main(command) == 0
        assert (Path("out").read_bytes(), left()) == (right, {"out"})
    assert code == 0
    assert event > 15


def test_a_refused_line_keeps_those_before_it(model: Backwards, capsys: pytest.CaptureFixture[str]) -> None:
    model.refuses = 10
    assert cli.main(COMMAND) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "[E-length]: line 10" in line
    assert "8 lines are done in out.partial" in line
    model.refuses = 0
    assert cli.main([*COMMAND, "--too-long", "cut", "--batch-tokens", "9", "--resume"]) == 0
    assert "after line 8\n" in capsys.readouterr().err
    assert Path("out").read_text() == RIGHT


def stopped(model: Backwards) -> None:
    """Leave the answers to 8 lines."""
    model.refuses = 10
    assert cli.main(COMMAND) == 2
    model.refuses = 0


def change_input() -> None:
    Path("in").write_text("\n".join(["other", *LINES[1:]]) + "\n")


def shorten_input() -> None:
    Path("in").write_text("line 1\n")


def change_answers() -> None:
    Path("out.partial").write_text("x" + Path("out.partial").read_text()[1:])


CHANGES: dict[str, tuple[Callable[[], Any] | None, tuple[str, ...]]] = {
    "model": (None, ("translate", "runs/y", "in", "-o", "out")),
    "beam": (None, (*COMMAND, "--beam", "2")),
    "input": (change_input, COMMAND),
    "short input": (shorten_input, COMMAND),
    "answers": (change_answers, COMMAND),
    "lost answers": (lambda: os.truncate("out.partial", 9), COMMAND),
    "no journal": (lambda: os.remove("out.partial.json"), COMMAND),
    "another journal": (lambda: Path("out.partial.json").write_text("[1]"), COMMAND),
    "no JSON": (lambda: Path("out.partial.json").write_text("{"), COMMAND),
}


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_of_another_command_is_mixed_in(
    name: str, model: Backwards, capsys: pytest.CaptureFixture[str]
) -> None:
    change, command = CHANGES[name]
    stopped(model)
    before = left()
    if change is not None:
        change()
    capsys.readouterr()
    assert cli.main(command) == 2
    assert "out.partial" in capsys.readouterr().err.splitlines()[-1]
    assert before - left() <= {"out.partial.json"}
    assert cli.main([*command, "--no-resume"]) == 0
    lines = Path("in").read_text().splitlines()
    assert Path("out").read_text() == "".join(f"{number} {line[::-1]}\n" for number, line in enumerate(lines, 1))
    assert left() == {"out"}


def test_more_lines_at_the_end_are_answered_too(model: Backwards) -> None:
    stopped(model)
    with Path("in").open("a") as file:
        file.write("more\n")
    assert cli.main(COMMAND) == 0
    assert Path("out").read_text() == f"{RIGHT}15 erom\n"


@pytest.mark.posix
def test_two_commands_write_no_file_together(model: Backwards, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("out.partial").open("w") as file:
        output.lock(file, Path("out.partial"))  # type: ignore[arg-type]
        assert cli.main(COMMAND) == 2
    assert "[E-file]: out.partial: another command" in capsys.readouterr().err
    assert cli.main([*COMMAND, "--no-resume"]) == 0


def test_the_partial_file_is_no_input(capsys: pytest.CaptureFixture[str]) -> None:
    Path("in").rename("out.partial")
    assert cli.main(["translate", "runs/x", "out.partial", "-o", "out", "--no-resume"]) == 2
    assert "[E-argument]: --output=out" in capsys.readouterr().err
    assert Path("out.partial").read_text() == "\n".join(LINES) + "\n"


@pytest.mark.posix
def test_a_link_stays_a_link_and_a_device_is_written_to(model: Backwards, capsys: pytest.CaptureFixture[str]) -> None:
    Path("target").write_text("old")
    Path("target").chmod(0o600)
    Path("out").symlink_to("target")
    assert cli.main(COMMAND) == 0
    assert Path("out").is_symlink()
    assert (Path("target").read_text(), Path("target").stat().st_mode & 0o777) == (RIGHT, 0o600)
    assert cli.main(["translate", "runs/x", "in", "-o", os.devnull]) == 0
    assert cli.main(["translate", "runs/x", "in", "-o", os.devnull, "--resume"]) == 2
    assert cli.main(["translate", "runs/x", "in", "-o", "."]) == 2
    assert "[E-file]: .: " in capsys.readouterr().err


@pytest.mark.posix
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_is_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if self.tell() > 50:
                super().write(data[:3])
                raise OSError(number, os.strerror(number))
            return super().write(data)

    with monkeypatch.context() as patch:
        patch.setattr(output, "io", SimpleNamespace(FileIO=Full))
        assert cli.main(COMMAND) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "[E-file]" in line
    assert "lines are done in out.partial" in line
    assert cli.main(COMMAND) == 0
    assert Path("out").read_text() == RIGHT


@pytest.mark.posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_is_one_line(
    number: int, code: int, model: Backwards, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    translate = model.translate

    def interrupted(texts: list[str], first_line: int, **options: Any) -> list[Prediction]:
        if first_line == 9:
            os.kill(os.getpid(), number)
        return translate(texts, first_line, **options)

    with monkeypatch.context() as patch:
        patch.setattr(model, "translate", interrupted)
        assert cli.main(COMMAND) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert "8 lines are done in out.partial" in line
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert cli.main(COMMAND) == 0
    assert Path("out").read_text() == RIGHT


def test_a_pipe_goes_on_too(model: Backwards, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped(model)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(Path("in").read_bytes()))))
    assert cli.main(["translate", "runs/x", "-o", "out"]) == 0
    assert Path("out").read_text() == RIGHT


def test_an_endless_line_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("seq2att.cli.text.LONGEST_LINE", 1 << 18)
    Path("in").write_text("short\n" + "x" * (1 << 20))
    assert cli.main(COMMAND) == 2
    assert "[E-length]: in:2" in capsys.readouterr().err
    assert boundary.USER_ERROR == 2


def answered() -> int:
    """How many lines the journal says."""
    journal = Path("out.partial.json")
    return int(json.loads(journal.read_text())["inputs"]) if journal.exists() else 0


@pytest.mark.posix
def test_two_processes_killed_go_on_as_one(
    reverse_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()  # the model of the run
    monkeypatch.chdir(tmp_path)
    Path("in").write_text("".join(" ".join("abcdefghijkl"[n % 7 : n % 12]) + "\n" for n in range(40_000)))
    command = ["translate", str(reverse_run), "in", "-o", "out", "--beam", "1"]
    with subprocess.Popen([sys.executable, "-m", "seq2att", *command, "--devices", "2"]) as process:
        patience = time.monotonic() + 100
        while process.poll() is None and not answered() and time.monotonic() < patience:
            time.sleep(0.02)
        process.kill()
    assert 0 < answered() < 40_000
    assert cli.main(command) == 0
    assert "continuing" in capfd.readouterr().err
    killed = Path("out").read_bytes()
    assert cli.main(command) == 0
    assert Path("out").read_bytes() == killed
    assert killed.count(b"\n") == 40_000
