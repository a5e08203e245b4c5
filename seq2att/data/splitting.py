"""Splits that the reader does not name: which of the training rows they get."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]
ReadRows = Callable[[], Iterator[Sequence[Any]]]
"""Reads the values of all rows from the beginning."""

ORDER = ("test", "validation", "train")
TRAIN = ORDER.index("train")


class Shares(NamedTuple):
    """What is taken from the training rows for splits that the reader does not name."""

    seed: int
    test: float  # 0 to 1
    validation: float
    how: str = "random"  # or the rows at the end
    side: int = 0  # rows with an equal value of this side stay together: 0 the source, 1 the target
    stratify: bool = False

    def split_of(self, value: Any) -> str:
        """The split of all rows with this value, whatever else the data holds."""
        number = int.from_bytes(hash_value(value, key=f"split {self.seed}")) / 2**64  # 0 to 1
        if number < self.test:
            return "test"
        return "validation" if number < self.test + self.validation else "train"


def divider(shares: Shares, rows: ReadRows) -> Callable[[Sequence[Any]], str]:
    """A function from the values of a row to its split, to be called in the order of the rows."""
    if not (shares.test or shares.validation):
        return lambda values: "train"
    if shares.how == "random" and not shares.stratify:
        return lambda values: shares.split_of(values[shares.side])
    if shares.how == "end":
        names = at_end(sum(1 for _ in rows()), shares)
    else:
        hashes = b"".join(hash_row(values, shares) for values in rows())
        keys, classes = np.frombuffer(hashes, np.uint64).reshape(-1, 2).T
        names = iter([ORDER[number] for number in stratified(keys, classes, shares)])
    return lambda values: next(names)


def at_end(count: int, shares: Shares) -> Iterator[str]:
    """The split of each of `count` rows: training, then validation, then test."""
    test, validation = (math.ceil(share * count - 1e-9) for share in (shares.test, shares.validation))
    parts = [("train", count - test - validation), ("validation", validation), ("test", test)]
    return itertools.chain.from_iterable(itertools.repeat(name, max(size, 0)) for name, size in parts)


def hash_row(values: Sequence[Any], shares: Shares) -> bytes:
    """The hashes of the value that keeps rows together, and of the class."""
    key = f"split {shares.seed}"
    return hash_value(values[shares.side], key) + hash_value(values[-1], key)


def stratified(keys: Hashes, classes: Hashes, shares: Shares) -> npt.NDArray[np.int64]:
    """The index in `ORDER` of every row's split: of each class the share, up to one row or group, and of all rows too.

    Rows of equal key form a group, which stays together and has the class of its first row. The groups of a class are
    taken in the order of their keys, which is random. A class without a training row gets the group of its first row
    back.
    """
    _, first, group, sizes = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    of_group = classes[first]
    order = np.lexsort((np.arange(len(first)), of_group))  # groups by class, then by key
    ends = np.cumsum(sizes[order])  # rows up to each group, itself included
    _, starts, members = np.unique(of_group[order], return_index=True, return_inverse=True)
    offsets = np.concatenate([[0], ends])[starts]  # rows before each class
    middle = ends - sizes[order] / 2 - offsets[members]  # of a group, in rows of its class
    rows = np.diff(np.append(offsets, len(keys)))  # of each class
    test = quotas(rows, shares.test)
    both = test + quotas(rows - test, shares.validation / (1 - shares.test))
    splits = np.zeros(len(first), np.int64)
    splits[order] = (middle > test[members]).astype(np.int64) + (middle > both[members])
    _, row, of_row = np.unique(classes, return_index=True, return_inverse=True)
    in_training = np.bincount(of_row[splits[group] == TRAIN], minlength=len(row)) > 0  # [classes]
    splits[group[row[~in_training]]] = TRAIN
    return splits[group]


def quotas(rows: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
    """The share of the rows of each class, rounded up or down so that the sum is the share of all rows."""
    return np.diff(np.floor(np.append(0, np.cumsum(rows)) * share + 0.5)).astype(np.int64)


def hash_value(value: Any, key: str = "") -> bytes:
    """A hash of a value, in eight bytes."""
    text = value if isinstance(value, str) else repr(value)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key.encode()).digest()
