"""What makes a process fast and repeatable: its threads, its memory, denormal numbers and seeds."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Iterable
from math import ceil
from pathlib import Path

import torch

from seq2att.model import is_forked

SYSTEM = Path("/sys")
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h


def configure_threads(threads: int | None, seed: int, processes: int = 1) -> None:
    """Set threads, memory, denormal numbers and seeds of this process, one of `processes` on this machine.

    Call it before other threads start: they inherit how this one treats denormal numbers.
    """
    torch.set_flush_denormal(True)  # numbers below 1e-38 slow long sequences down 2 to 5 times
    torch.set_num_threads(1 if is_forked() else threads or threads_per_process(processes))
    keep_memory()
    from seq2att.trainer.processes import seed as seed_all

    seed_all(seed)


def keep_memory(mapped: int = 1 << 30, trimmed: int = 1 << 30) -> None:
    """Let glibc's malloc keep freed memory; does nothing elsewhere.

    Otherwise the kernel clears the pages of large tensors anew in every step, which takes a tenth of it. Blocks of at
    least `mapped` bytes still come from the kernel and go back; the rest goes back when `trimmed` bytes are free.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    if library is not None and hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, mapped)
        library.mallopt(TRIM_THRESHOLD, trimmed)


def threads_per_process(processes: int = 1) -> int:
    """The threads of each of `processes` processes that share the cores of this machine."""
    return min(default_threads(), max(1, num_cores() // processes))


@functools.cache
def default_threads() -> int:
    """The number of threads that PyTorch starts with (OMP_NUM_THREADS), before any run changes it."""
    return torch.get_num_threads()


def num_cores(system: Path = SYSTEM) -> int:
    """The number of physical cores that this process may use, within the quota of its container."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return max(1, min(num_physical(allowed, system), container_quota(system) or len(allowed)))


def num_physical(cpus: Iterable[int], system: Path = SYSTEM) -> int:
    """The number of physical cores of these logical CPUs: hyperthreads share what multiplies matrices."""
    cores = set()
    for cpu in cpus:
        try:
            siblings = system / f"devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
            cores.add(siblings.read_text("ascii").strip())
        except OSError:
            cores.add(str(cpu))
    return len(cores)


def container_quota(system: Path = SYSTEM) -> int | None:
    """The number of cores that the container may keep busy (cgroup version 2 or 1), rounded up; None if unlimited."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((system / "fs/cgroup" / name).read_text("ascii") for name in names).split()
            quota, period = int(words[0]), int(words[1])
        except (OSError, ValueError, IndexError):  # no such file, or `max`
            continue
        if quota > 0 < period:
            return ceil(quota / period)
    return None
