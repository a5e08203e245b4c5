"""What makes a process fast and repeatable: its threads, denormal numbers and seeds."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Iterable
from math import ceil
from pathlib import Path

import torch

SYSTEM = Path("/sys")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h


def settle(threads: int | None, seed: int, processes: int = 1) -> None:
    """Make this process, one of so many on this machine, fast and repeatable.

    Comes before other threads start, for they inherit how this one treats denormal numbers.
    """
    torch.set_flush_denormal(True)  # numbers below 1e-38 are slow and worth nothing: 2 to 5 times on long sequences
    torch.set_num_threads(threads or fair_threads(processes))
    keep_memory()
    from seq2att.trainer.processes import seed as seed_all

    seed_all(seed)


def keep_memory(mapped: int = 1 << 30, trimmed: int = 1 << 30) -> None:
    """Let glibc keep what is freed: else the system clears large tensors anew in every step, a tenth of it.

    Blocks of `mapped` bytes come from the system and go back; the rest goes back when `trimmed` bytes are free.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, mapped)  # type: ignore[union-attr]
        library.mallopt(TRIM_THRESHOLD, trimmed)  # type: ignore[union-attr]


def fair_threads(processes: int = 1) -> int:
    """How many threads each of so many processes on this machine gets: its cores are shared, none is used twice."""
    return min(usual_threads(), max(1, cores() // processes))


@functools.cache
def usual_threads() -> int:
    """How many threads PyTorch takes by itself, or OMP_NUM_THREADS says: before a run of ours sets another number."""
    return torch.get_num_threads()


def cores(system: Path = SYSTEM) -> int:
    """How many cores this process may use at once: of those allowed to it, within the quota of its container.

    Two hardware threads of one core count once: they share what multiplies matrices.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return max(1, min(physical(allowed, system), quota(system) or len(allowed)))


def physical(allowed: Iterable[int], system: Path = SYSTEM) -> int:
    """How many different cores these hardware threads belong to."""
    found = set()
    for number in allowed:
        try:
            siblings = system / f"devices/system/cpu/cpu{number}/topology/thread_siblings_list"
            found.add(siblings.read_text("ascii").strip())
        except OSError:
            found.add(str(number))
    return len(found)


def quota(system: Path = SYSTEM) -> int | None:
    """How many cores the container may keep busy, rounded up; None where nothing limits it."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((system / "fs/cgroup" / name).read_text("ascii") for name in names).split()
            share, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or `max`
            continue
        if share > 0 < period:
            return ceil(share / period)
    return None
