"""Measuring side by side: contenders take turns, A B C A B C ..., so that a slow phase of the machine hits them all.

A ratio is taken inside a round, between contenders that did the same work one after the other; a row reports the
median of the rounds' ratios with the least and the greatest, and of rates the median and the best.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.ours import kernel
from benchmarks.settings import Settings
from seq2att.errors import UserError
from seq2att.launch.threads import keep_memory

Run = Callable[[int], "float | None"]
"""Does the work of a round and waits for it; gives its seconds where it measures itself (another process)."""


SLOW, SLOW_ROUNDS = 5.0, 2  # seconds from which a contender takes part in the first rounds only
REPEATED = 1.0  # seconds below which a contender works twice a round: its own memory and caches, not its neighbour's
FLOAT32 = 4  # bytes


class UnavailableError(Exception):
    """A contender that this machine cannot run; the message says why."""


class Contender(NamedTuple):
    """Somebody who does the work of a row."""

    name: str
    build: Callable[[], Run]
    kernel: str | None = None  # the tier of the package's recurrence
    flush: bool = True  # whether denormal numbers count as zero
    weight_bytes: int = FLOAT32  # of each weight that it reads


class Work(NamedTuple):
    """What a round does."""

    tokens: int  # tokens, or sentences' output tokens: what a rate counts
    flop: float  # useful operations; 0 where no fraction of the peak is reported
    weights: float = 0.0  # how many are read; 0 where no bandwidth is reported


class Row(NamedTuple):
    """Contenders that do the same work; the first one is what the others are compared with."""

    name: str
    title: str
    contenders: Sequence[Contender]
    work: Sequence[Work]  # of round r: work[r % len(work)]
    check: Callable[[], str]  # proves that they do the same work, and says how; raises where they do not
    unit: str = "tokens/s"


class Times(NamedTuple):
    """What a contender took, round by round."""

    contender: Contender
    seconds: list[float]
    why: str = ""  # it could not run, where there are no seconds
    memory: float = 0.0  # peak of its own process in MiB, where it has one
    share: float = 1.0  # of the time that it was on a core, where it runs in this process
    version: str = ""  # of another system


def measure(row: Row, settings: Settings) -> list[Times]:
    """Warm every contender up, choose the number of rounds by the time this took, and let them take turns.

    A contender that is too slow for that takes part in the first rounds only.
    """
    runs: list[tuple[Contender, Run, float]] = []
    failed: dict[str, str] = {}
    memory: dict[str, float] = {}
    for contender in row.contenders:
        try:
            with conditions(contender):
                before = start_memory(settings)
                run = contender.build()
                runs.append((contender, run, warm(run, settings)))
                memory[contender.name] = gpu_memory(settings, before)
        except (UserError, UnavailableError) as error:
            failed[contender.name] = str(error)
    fewest, most = settings.rounds
    quick = sum(once * (1 + (once < REPEATED)) for _, _, once in runs if once < SLOW)
    rounds = max(fewest, min(most, int(settings.seconds / max(quick, 1e-9))))
    seconds: dict[str, list[float]] = {contender.name: [] for contender in row.contenders}
    busy, passed = dict.fromkeys(seconds, 0.0), dict.fromkeys(seconds, 0.0)
    for number in range(rounds):
        for contender, run, once in runs:
            if once < SLOW or number < SLOW_ROUNDS:
                with conditions(contender):
                    if once < REPEATED:
                        run(number)
                    began, on_core = time.perf_counter(), time.process_time()
                    seconds[contender.name].append(timed(run, number, settings))
                    busy[contender.name] += time.process_time() - on_core
                    passed[contender.name] += time.perf_counter() - began
    ended = {contender.name: end(run) for contender, run, _ in runs}
    found = []
    for one in row.contenders:
        own, version = ended.get(one.name, (0.0, ""))
        took = seconds[one.name]
        own_work = took and not version and settings.device == "cpu"
        share = busy[one.name] / max(passed[one.name], 1e-9) if own_work else 1.0
        most = own or memory.get(one.name, 0.0)
        found.append(Times(one, took, failed.get(one.name, ""), most, share, version))
    return found


def warm(run: Run, settings: Settings) -> float:
    """The seconds of a round that does not count; the better of two where two are quick."""
    once = timed(run, 0, settings)
    return once if once > 1 else min(once, timed(run, 0, settings))


def start_memory(settings: Settings) -> int:
    """Start to watch the memory of the GPU, if there is one; what is in use now."""
    if not settings.device.startswith("cuda"):
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def gpu_memory(settings: Settings, before: int) -> float:
    """How much of the GPU's memory was taken since then, at most, in MiB."""
    return (torch.cuda.max_memory_allocated() - before) / 2**20 if settings.device.startswith("cuda") else 0.0


def end(run: Run) -> tuple[float, str]:
    """End a contender that is a process: its memory and its version."""
    close = getattr(run, "close", None)
    return (0.0, "") if close is None else (close(), str(getattr(run, "version", "another process")))


WITHOUT = (32 << 20, 64 << 20)  # where glibc's thresholds end up by themselves with large tensors


def give_back() -> None:
    """Return to the system what others left free in this process, so that it does not serve the next contender."""
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)


class conditions:  # noqa: N801  # reads as a statement: with conditions(contender)
    """What a contender runs under: its tier, whether denormals are flushed, whether freed memory is kept."""

    def __init__(self, contender: Contender) -> None:
        self.flush, self.kernel = contender.flush, kernel(contender.kernel)
        self.settled = contender.name.startswith("seq2att")

    def __enter__(self) -> None:
        torch.set_flush_denormal(self.flush)
        if self.settled:
            keep_memory()
        else:
            keep_memory(*WITHOUT)
            give_back()
        self.kernel.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.kernel.__exit__(*error)
        torch.set_flush_denormal(True)


def timed(run: Run, number: int, settings: Settings) -> float:
    """The seconds of one round."""
    synchronize(settings)
    began = settings.now()
    told = run(number)
    synchronize(settings)
    return settings.now() - began if told is None else told


def synchronize(settings: Settings) -> None:
    """Wait for the device."""
    if settings.device.startswith("cuda"):
        torch.cuda.synchronize()


class Result(NamedTuple):
    """A contender's figures in a row."""

    name: str
    rate: float = 0.0  # median of the rounds, in the row's unit
    best: float = 0.0
    milliseconds: float = 0.0  # median
    ratio: float = 0.0  # median of the rounds' ratios to the first contender
    least: float = 0.0
    greatest: float = 0.0
    flops: float = 0.0  # useful operations a second, median
    bandwidth: float = 0.0  # bytes of weights a second, median
    memory: float = 0.0  # peak, MiB
    rounds: int = 0
    share: float = 1.0  # of the time that it was on a core; less than 1 tells of other work on the machine
    why: str = ""


def summarize(row: Row, times: Sequence[Times]) -> list[Result]:
    """The figures of a row."""
    first = next((one.seconds for one in times if one.seconds), [])
    results = []
    for one in times:
        name = f"{one.contender.name} ({one.version})" if one.version else one.contender.name
        if not one.seconds:
            results.append(Result(name, why=one.why))
            continue
        work = [row.work[number % len(row.work)] for number in range(len(one.seconds))]
        rates = [part.tokens / taken for part, taken in zip(work, one.seconds, strict=True)]
        flops = [part.flop / taken for part, taken in zip(work, one.seconds, strict=True)]
        reads = [part.weights / taken for part, taken in zip(work, one.seconds, strict=True)]
        ratios = [base / taken for base, taken in zip(first, one.seconds, strict=False)]  # of common rounds
        result = Result(
            name,
            rate=statistics.median(rates),
            best=max(rates),
            milliseconds=1e3 * statistics.median(one.seconds),
            ratio=statistics.median(ratios),
            least=min(ratios),
            greatest=max(ratios),
            flops=statistics.median(flops) if one.contender.weight_bytes == FLOAT32 else 0.0,  # the peak is of float32
            bandwidth=one.contender.weight_bytes * statistics.median(reads),
            memory=one.memory,
            rounds=len(one.seconds),
            share=one.share,
        )
        results.append(result)
    return results
