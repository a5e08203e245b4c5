"""Numbers on disk: written a part at a time, and mapped into memory, so that no corpus needs to fit it."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

ROW = np.int32  # a row of a split, of which there are at most 2**31 - 1
GROUPED = 1 << 20  # hashes that are sorted at once
SCANNED = 1 << 20  # hashes that are looked at once


class NumberWriter:
    """Writes numbers of one type, an array at a time."""

    def __init__(self, path: Path, dtype: Any) -> None:
        self.dtype = dtype
        self.file = path.open("wb")
        self.size = 0

    def add(self, numbers: npt.NDArray[Any]) -> None:
        """Write more numbers."""
        self.file.write(np.ascontiguousarray(numbers, self.dtype).data)
        self.size += len(numbers)

    def __enter__(self) -> NumberWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def map_numbers(path: Path, dtype: Any) -> npt.NDArray[Any]:
    """The numbers of a file, mapped; an empty file, which cannot be mapped, gives an empty array."""
    if not path.stat().st_size:
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(path, dtype, mode="r"))  # not a np.memmap, which is slow to index


def release(numbers: npt.NDArray[Any]) -> None:
    """Leave the pages of a mapped file to the system's cache; until they are read again they are not our memory."""
    base: Any = numbers
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # Linux and macOS
        base.madvise(mmap.MADV_DONTNEED)


def trim() -> None:
    """Give memory that is free again back to the system, where the C library (glibc) would keep it for itself."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None).malloc_trim(0)


def write_groups(folder: Path) -> None:
    """Write the groups of rows with equal hashes (`hashes.bin`), the groups in the order of their hashes.

    `group.bin` has the group of each row, `members.bin` the rows of all groups in order, and `starts.bin` where each
    group starts there. Hashes are sorted in parts of similar ones, so memory depends on the largest part only.
    """
    hashes = map_numbers(folder / "hashes.bin", np.uint64)
    num_bits = max(0, (len(hashes) - 1) // GROUPED).bit_length()
    (folder / "group.bin").touch()
    group = np.memmap(folder / "group.bin", ROW, "w+", shape=len(hashes)) if len(hashes) else np.zeros(0, ROW)
    with (
        NumberWriter(folder / "members.bin", ROW) as members,
        NumberWriter(folder / "starts.bin", ROW) as starts,
    ):
        for rows in rows_by_part(hashes, num_bits):
            keys = hashes[rows]
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            is_first = np.ones(len(keys), bool)
            is_first[1:] = keys[1:] != keys[:-1]
            rows = rows[order]
            group[rows] = starts.size + np.cumsum(is_first) - 1
            starts.add(members.size + np.flatnonzero(is_first))
            members.add(rows)
        starts.add(np.array([members.size]))


def rows_by_part(hashes: npt.NDArray[Any], num_bits: int) -> Iterable[npt.NDArray[np.int64]]:
    """The rows of all hashes with equal first bits, for each value of these bits."""
    shift = np.uint64(64 - num_bits)
    for part in range(1 << num_bits):
        parts = [np.zeros(0, np.int64)]
        for start in range(0, len(hashes), SCANNED):
            chunk = hashes[start : start + SCANNED]
            is_here = (chunk >> shift) == part if num_bits else np.ones(len(chunk), bool)
            parts.append(start + np.flatnonzero(is_here))
        yield np.concatenate(parts)
