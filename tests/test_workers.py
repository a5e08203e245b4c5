"""Processes that share lines: order, errors, ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from seq2att.cli.text import Chunk
from seq2att.cli.workers import PENDING, Answer, Answering, share, split
from seq2att.errors import UserError
from tests.refusals import refused


@dataclass(frozen=True)
class Backwards:
    """Says every line backwards; some lines are orders."""

    refuses: bool = False

    def __call__(self, number: int) -> Answering:
        if self.refuses:
            raise UserError("E-bundle", "runs/none", "there is no such model")

        def answer(piece: Chunk) -> Answer:
            for line in piece.lines:
                if line == "slow":
                    time.sleep(0.5)
                if line == "refuse":
                    raise UserError("E-length", f"line {piece.first}", "is too long")
                if line == "fail":
                    raise ValueError("a bug")
                if line == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if line == "exit":
                    os._exit(7)
            return Answer(len(piece.lines), [line[::-1] for line in piece.lines], [f"{os.getpid()}"])

        return answer


def pieces_of(*lines: str) -> list[Chunk]:
    return [Chunk([line], number) for number, line in enumerate(lines, start=1)]


def shared(*lines: str, making: Backwards | None = None) -> tuple[list[str], set[str], Exception | None]:
    """What two workers wrote, which workers wrote it, and the error."""
    written: list[Answer] = []
    failure = None
    try:
        share(pieces_of(*lines), making or Backwards(), 2, lambda _, answer: written.append(answer))
    except Exception as error:
        failure = error
    return [line for one in written for line in one.lines], {one.warnings[0] for one in written if one.rows}, failure


def test_answers_keep_their_order_whoever_is_slow() -> None:
    lines = ["slow", *(f"line {number}" for number in range(60))]
    found, writers, error = shared(*lines)
    assert error is None
    assert found == [line[::-1] for line in lines]
    assert len(writers) == 2
    assert str(os.getpid()) not in writers


def test_nothing_to_share_is_nothing() -> None:
    assert shared() == ([], set(), None)


@pytest.mark.parametrize(
    ("order", "code", "subject"),
    [
        ("refuse", "E-length", "line 3"),
        pytest.param("die", "E-process", "worker 1 of 2", marks=pytest.mark.posix),
        ("exit", "E-process", "worker 1 of 2"),
    ],
)
def test_an_error_comes_after_all_that_goes_before_it(order: str, code: str, subject: str) -> None:
    found, _, error = shared("slow", "b", order, *"defghijklmnopqrstuvwxyz")
    assert found == ["wols", "b"]
    with refused(code, subject):
        raise error or AssertionError("there was no error")


def test_a_bug_in_a_worker_arrives_with_its_traceback() -> None:
    found, _, error = shared("a", "fail", "c")
    assert found == ["a"]
    assert isinstance(error, ValueError)
    assert "in answer" in str(error.__cause__)


def test_a_model_that_cannot_be_loaded_is_told_even_without_lines() -> None:
    for lines in ((), ("a", "b")):
        found, _, error = shared(*lines, making=Backwards(refuses=True))
        assert found == []
        with refused("E-bundle", "runs/none"):
            raise error or AssertionError("there was no error")


def test_no_more_is_read_than_can_be_written_soon() -> None:
    read = written = 0
    ahead = []

    def pieces() -> Iterator[Chunk]:
        nonlocal read
        for piece in pieces_of(*["slow"] * 2, *["x"] * 40):
            read += 1
            yield piece

    def write(piece: Chunk, answer: Answer) -> None:
        nonlocal written
        ahead.append(read - written)
        written += answer.rows

    share(pieces(), Backwards(), 2, write)
    assert written == 42
    assert max(ahead) <= 2 * PENDING + 2  # one at the reader and one at the writer


def test_an_error_of_reading_or_writing_ends_it() -> None:
    def pieces() -> Iterator[Chunk]:
        yield Chunk(["a"], 1)
        raise UserError("E-encoding", "in:2", "is not UTF-8")

    with refused("E-encoding", "in:2"):
        share(pieces(), Backwards(), 2, lambda piece, answer: None)

    def write(piece: Chunk, answer: Answer) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        share(pieces_of(*"abcdefghijklmnopqrstuvwxyz"), Backwards(), 2, write)


def test_pieces_hold_the_same_lines() -> None:
    chunks = [Chunk(list("abcde"), 1), Chunk([], 6), Chunk(["f"], 6)]
    assert list(split(chunks, 2)) == [Chunk(["a", "b"], 1), Chunk(["c", "d"], 3), Chunk(["e"], 5), Chunk(["f"], 6)]


def test_two_devices_translate_as_one(reverse_run: Path, tmp_path: Path) -> None:
    lines = [" ".join("abcdefghijkl"[place % 7 : place % 12]) for place in range(600)]
    (tmp_path / "in").write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "seq2att", "translate", str(reverse_run), str(tmp_path / "in"), "--beam", "2"]
    outputs = []
    for devices in ("1", "2"):
        done = subprocess.run([*command, "--devices", devices], capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
        assert done.stderr.startswith("600 lines in ")
    assert outputs[0] == outputs[1]
    assert outputs[0].count("\n") == 600


@pytest.mark.posix
def test_ctrl_c_ends_the_workers_too(reverse_run: Path) -> None:
    command = [sys.executable, "-m", "seq2att", "translate", str(reverse_run), "--devices", "2"]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"a b\n")
        process.stdin.flush()
        assert process.stdout.readline()  # an answer, though the input goes on
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        workers = children.read_text().split() if children.exists() else []
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=600)
    assert (process.returncode, error) == (130, b"seq2att: interrupted\n")
    patience = time.monotonic() + 300  # of multiprocessing's own helper, which notices by itself
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < patience, workers
        time.sleep(0.05)
