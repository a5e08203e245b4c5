"""Damaged and hostile bundles against the law: one line or a right answer, in a second and 500 MB, nothing executed.

`python -m tests.hostile [NUMBER]` (`make hostile`) tries all listed corruptions and NUMBER random ones.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import json
import math
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import seq2att
from seq2att.errors import UserError
from seq2att.types import Prediction
from tests.corruptions import HARMLESS, LISTED, OPENED, random_corruption

GOOD = Path(__file__).parent / "data" / "format2-reverse"
TEXTS = ("a b c d", "b a", "", "d d c a b")
SECONDS, MEGABYTES = 1.0, 500
HANG = 20  # seconds after which an attempt is ended
NUMBER = 2000


class Outcome(NamedTuple):
    """What came of loading a bundle and asking it."""

    error: UserError | None
    answers: tuple[tuple[str, float], ...]  # text and log-probability
    seconds: float  # of this process
    megabytes: float  # beyond what the process had before; 0 where the system does not tell


class HangError(BaseException):
    """An attempt took too long; nothing may catch it."""


class BrokenLawError(AssertionError):
    """A bundle was not handled as it must be."""


def try_bundle(path: Path, ask: Callable[[Path], list[Prediction]] | None = None) -> Outcome:
    """Load a bundle and translate by it; raises what is not a `UserError`, also after `HANG` seconds."""
    before, started = reset_peak(), time.process_time()
    error, answers = None, ()
    with limited():
        try:
            answers = tuple((answer.text, answer.score) for answer in (ask or translate)(path))
        except UserError as caught:
            error = caught
    return Outcome(error, answers, time.process_time() - started, max(0.0, peak() - before))


def translate(path: Path) -> list[Prediction]:
    """The answers of a bundle to the texts."""
    answers: list[Prediction] = seq2att.load(path, say=lambda _: None).translate(TEXTS)
    return answers


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """What takes longer than `HANG` seconds raises `HangError`, where the system has alarms."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def end(*_: object) -> None:
        raise HangError(f"took more than {HANG} s")

    earlier = signal.signal(signal.SIGALRM, end)
    signal.alarm(HANG)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, earlier)


def reset_peak() -> float:
    """Forget the largest memory of this process so far; returns its memory now, in megabytes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> float:
    """The largest memory of this process, in megabytes; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) / 1024
    return 0.0


def check_outcome(outcome: Outcome) -> None:
    """Raise `BrokenLawError` unless an outcome keeps the law."""
    if outcome.error is not None:
        text = str(outcome.error)
        require("\n" not in text and len(text) < 1500, f"not one line: {text[:300]}")
    for answer in outcome.answers:
        require(isinstance(answer[0], str) and math.isfinite(answer[1]), f"no right answer: {answer}")
    require(outcome.seconds < SECONDS, f"took {outcome.seconds:.2f} s")
    require(outcome.megabytes < MEGABYTES, f"took {outcome.megabytes:.0f} MB")
    require(not Path(os.environ["EXECUTED"]).exists(), "something was executed")


def require(is_kept: bool, problem: str) -> None:
    """Raise the problem unless the law is kept."""
    if not is_kept:
        raise BrokenLawError(problem)


def copied(place: Path) -> Path:
    """A fresh copy of the good bundle."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(GOOD, place)
    return place


def try_listed(name: str, place: Path) -> Outcome:
    """A listed corruption must be refused."""
    LISTED[name](copied(place))
    outcome = try_bundle(place)
    check_outcome(outcome)
    require(outcome.error is not None, "was not refused")
    return outcome


def try_harmless(name: str, place: Path) -> Outcome:
    """What changes no answer must change none."""
    HARMLESS[name](copied(place))
    outcome = try_bundle(place)
    check_outcome(outcome)
    require(outcome.answers == right_answers(), f"has other answers: {outcome.error or outcome.answers}")
    return outcome


def try_random(seed: int, place: Path) -> Outcome:
    """A random corruption is refused, or the answers are right: finite, the same where nothing was changed."""
    random_corruption(copied(place), seed)
    outcome = try_bundle(place)
    check_outcome(outcome)
    if all((place / name).read_bytes() == (GOOD / name).read_bytes() for name in OPENED if (place / name).exists()):
        require(outcome.answers == right_answers() or not (place / OPENED[2]).exists(), "has other answers")
    return outcome


@functools.cache
def right_answers() -> tuple[tuple[str, float], ...]:
    """The answers of the good bundle."""
    return try_bundle(GOOD).answers


def main(number: int = NUMBER) -> int:
    """Try them all; print what broke the law and a summary."""
    folder = Path(tempfile.mkdtemp(prefix="seq2att-hostile-"))
    os.environ["EXECUTED"] = str(folder / "executed")
    right_answers()  # what is imported counts for none of them
    failures, outcomes = 0, []
    attempts = [(f"listed: {name}", try_listed, name) for name in LISTED]
    attempts += [(f"harmless: {name}", try_harmless, name) for name in HARMLESS]
    attempts += [(f"random: {seed}", try_random, seed) for seed in range(number)]
    for title, attempt, argument in attempts:
        try:
            outcomes.append(attempt(argument, folder / "bundle"))
        except (Exception, HangError) as error:
            failures += 1
            print(f"{title}: {type(error).__name__}: {error}", flush=True)
    codes = collections.Counter(outcome.error.code if outcome.error else "answered" for outcome in outcomes)
    print(json.dumps(codes.most_common()))
    print(
        f"{len(attempts):,} bundles, {failures} broke the law; at most {max(one.seconds for one in outcomes):.2f} s "
        f"and {max(one.megabytes for one in outcomes):.0f} MB"
    )
    shutil.rmtree(folder, ignore_errors=True)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
