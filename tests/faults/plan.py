"""Which faults there are, and whether the disturbed runs end as the undisturbed ones."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.config import compose
from seq2att.recurrence.native import NativeError, build
from seq2att.trainer.checkpoint import is_intact
from seq2att.trainer.state import read_state
from tests.faults.forks import (
    FAIL,
    FAIL_ON,
    KILL,
    LIMIT,
    NONE,
    RACE,
    TEAR,
    Command,
    Ended,
    Fault,
    clear,
    fork,
    results,
    run,
    wait,
)
from tests.faults.recipes import RECIPES

PICTURE = b"picture" * 1000
SHIM = Path(__file__).with_name("shim.c")
ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)
RANDOM = 50  # kills at random times of each recipe
TRIES = 3  # commands that a run may need after its fault


class Reference(NamedTuple):
    """An undisturbed run."""

    command: Command
    results: dict[str, Any]
    calls: int
    seconds: float


class Case(NamedTuple):
    """A fault in a run."""

    name: str  # of the row in the table
    reference: Reference
    fault: Fault


def main(arguments: Sequence[str]) -> int:
    """Run all faults, or a part of them; the exit code is 1 if a run ended otherwise than undisturbed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=main.__doc__)
    parser.add_argument("--short", type=int, default=1, metavar="N", help="one fault in N, by chance")
    every = parser.parse_args(arguments).short
    if not sys.platform.startswith("linux"):
        print("skipped: the shim is for Linux")
        return 0
    if "LD_PRELOAD" not in os.environ:
        return preloaded(arguments)
    os.environ.pop("LD_PRELOAD")
    for number in (signal.SIGINT, signal.SIGTERM):  # show what was found until then
        signal.signal(number, signal.default_int_handler)
    prepare()
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:  # a fork may still write
        os.environ["XDG_STATE_HOME"] = name
        cases = list(plan(Path(name), every))
        print(f"{len(cases)} faults", file=sys.stderr, flush=True)
        random.Random(1).shuffle(cases)  # so that the table of a run that is stopped stands for all
        failures = try_all(cases)
    return int(bool(failures))


def preloaded(arguments: Sequence[str]) -> int:
    """Compile the shim and start this program under it."""
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        library = Path(name) / "shim.so"
        try:
            compiler = build.compiler()
        except NativeError as error:
            print(f"skipped: {error}")
            return 0
        subprocess.run([compiler, "-x", "c", "-O1", "-shared", "-fPIC", "-o", library, SHIM, "-ldl"], check=True)
        environment = {**os.environ, "LD_PRELOAD": str(library), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "tests.faults", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode


def prepare() -> None:
    """Import what a run needs, so that forks have it; pictures are written but not drawn, which takes a second each."""
    import lightning_fabric  # noqa: F401
    import matplotlib.figure

    import seq2att.callback.norms
    import seq2att.cli.train
    import seq2att.drawing
    import seq2att.launch.elastic
    import seq2att.trainer.fitting
    import seq2att.trainer.progress
    from seq2att.files import write_file

    def save(figure: object, stream: Any, **options: object) -> None:
        stream.write(PICTURE)

    matplotlib.figure.Figure.savefig = save  # type: ignore[method-assign, assignment]
    seq2att.drawing.curves = lambda table, picture, best: write_file(picture, PICTURE)
    seq2att.trainer.progress.REDRAWN_AFTER = 0.0  # the calls of a run do not depend on its speed
    seq2att.callback.norms.draw = lambda steps, columns, path: write_file(path, PICTURE)


def plan(folder: Path, every: int) -> Iterator[Case]:
    """All faults, or one in `every` of them, drawn from each run's."""
    generator = random.Random(1)
    for name, reference in references(folder):
        calls = range(1, reference.calls + 1)
        cases = [Case(f"{name}: killed at a call", reference, Fault(KILL, number)) for number in calls]
        cases += [Case(f"{name}: a write torn", reference, Fault(TEAR, number)) for number in calls[::4]]
        times = [generator.random() * reference.seconds for _ in range(RANDOM * (name != "cache"))]
        cases += [Case(f"{name}: killed at a time", reference, Fault(seconds=one + 1e-3)) for one in times]
        if reference.command.size == 1:
            cases += [Case(f"{name}: two at once", reference, Fault(RACE))] * 5
            for code, number in product(ERRORS, calls):
                action = FAIL_ON if code == errno.ENOSPC else FAIL
                cases.append(Case(f"{name}: {errno.errorcode[code]}", reference, Fault(action, number, code)))
        yield from cases if every == 1 else generator.sample(cases, len(cases) // every)


def references(folder: Path) -> Iterator[tuple[str, Reference]]:
    """The undisturbed runs: of each recipe in one and in two processes, and of one that also writes its cache."""
    for name, (text, overrides) in RECIPES.items():
        recipe = folder / f"{name.replace(' ', '-')}.yaml"
        recipe.write_text(text, "utf-8")
        place = folder / recipe.stem
        shared = folder / f"{recipe.stem}-cache"
        usual = reference(Command(recipe, overrides, place, shared))
        yield name, usual
        two = Command(recipe, overrides, folder / f"{recipe.stem}-two", shared, 2)
        yield f"{name}, two processes", reference(two)
        if name == "tagger":
            cached = reference(Command(recipe, overrides, folder / "cached", folder / "cached/c"))
            yield "cache", cached._replace(calls=cached.calls - usual.calls + 10)  # the run begins after the cache


def reference(command: Command) -> Reference:
    """Run a command undisturbed, twice: the first one fills the shared cache and says what to import before forks."""
    _, recipe, *overrides = command.words()
    command = command._replace(config=compose(recipe, overrides))
    for _ in range(2):
        clear(command)
        start = time.monotonic()
        ended = run(command)
        seconds = time.monotonic() - start
        if ended.code:
            raise SystemExit(f"the undisturbed run ended with {ended.code}:\n{ended.text}")
        for name in ended.modules:
            with suppress(ImportError):
                importlib.import_module(name)
    return Reference(command, results(command.run), ended.calls, seconds)


def try_all(cases: Sequence[Case]) -> list[str]:
    """Try the cases and print a table; returns a line for each that failed."""
    tried: Counter[str] = Counter()
    identical: Counter[str] = Counter()
    failures: list[str] = []
    start = shown = time.monotonic()
    with suppress(KeyboardInterrupt):
        for number, case in enumerate(cases, start=1):
            problem = try_one(case)
            tried[case.name] += 1
            identical[case.name] += not problem
            if problem:
                failures.append(f"{case.name}, {case.fault}: {problem}")
                print(failures[-1], flush=True)
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                print(f"{number} of {len(cases)} tried, {shown - start:.0f} s", file=sys.stderr, flush=True)
    width = max(map(len, tried))
    print(f"{'fault':{width}}  {'tried':>5}  identical")
    for name, count in sorted(tried.items()):
        print(f"{name:{width}}  {count:5}  {identical[name]:9}")
    print(f"{'all':{width}}  {tried.total():5}  {identical.total():9}  {time.monotonic() - start:.0f} s")
    return failures


def try_one(case: Case) -> str:
    """Disturb a run, then give the same command until it finished; what is wrong, if anything is."""
    command, wanted = case.reference.command, case.reference.results
    clear(command)
    try:
        if case.fault.action == RACE:
            return refused_second(command) or difference(results(command.run), wanted)
        ended = run(command, case.fault)
        if problem := unclear(case, ended) or lost(command.run):
            return problem
        for _ in range(TRIES):
            state = read_state(command.run)
            if state is not None and state.phase == "finished":
                break
            ended = run(command)
            if ended.code:
                return f"the same command ended with {ended.code}: {ended.text[-500:]}"
            if state is not None and state.last is not None and "going on in" not in ended.text:
                return "started anew although there was a checkpoint"
        return difference(results(command.run), wanted)
    except (OSError, TimeoutError) as error:
        return repr(error)


def refused_second(command: Command) -> str:
    """Run a command twice at once; what is wrong unless one of them is refused."""
    command.folder.mkdir(parents=True)
    logs = [command.folder.with_name(f"{number}.log") for number in range(2)]
    codes = [wait(process, LIMIT) for process in [fork(command, {}, NONE, log) for log in logs]]
    texts = [log.read_text("utf-8") for log in logs]
    is_right = sorted(codes) == [0, 2] and "error [E-run]" in texts[codes.index(2)]
    return "" if is_right else f"exit codes {codes}: {texts}"


def unclear(case: Case, ended: Ended) -> str:
    """What is wrong with the end of a disturbed run: a failed call is one line and the exit code 2."""
    if case.fault.action not in (FAIL, FAIL_ON) or ended.code == 0:
        return ""
    errors = [line for line in ended.text.splitlines() if line.startswith("seq2att: error [E-")]
    if ended.code == 2 and len(errors) == 1 and "Traceback" not in ended.text:
        return ""
    return f"exit code {ended.code}: {ended.text[-1500:]}"


def lost(folder: Path) -> str:
    """Which checkpoint that the state names is not there as it was written."""
    state = read_state(folder)
    for one in (state.last, state.best) if state else ():
        if one and not is_intact(one.path(folder), one.sha256):
            return f"checkpoint {one.number} is lost"
    return ""


def difference(one: dict[str, Any], wanted: dict[str, Any]) -> str:
    """What two runs found differently."""
    for key in ("phase", "steps", "table", "names"):
        if one[key] != wanted[key]:
            return f"{key}: {one[key]} in place of {wanted[key]}"
    files = one["files"].keys() | wanted["files"].keys()
    different = sorted(name for name in files if one["files"].get(name) != wanted["files"].get(name))
    return f"other content of {', '.join(different)}" if different else ""
