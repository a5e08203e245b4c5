"""Splits that the reader does not name: which of the training rows they get."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError
from seq2att.types import class_order

Hashes = npt.NDArray[np.uint64]
ReadRows = Callable[[], Iterator[Sequence[Any]]]
"""Reads the values of all rows from the beginning."""

Rows = npt.NDArray[np.unsignedinteger[Any]]
"""Numbers of rows, in four bytes where that is enough."""
Splits = npt.NDArray[np.uint8]
"""The index in `ORDER` of every row's split."""
ORDER = ("test", "validation", "train")
TEST, VALIDATION, TRAIN = range(len(ORDER))


class Shares(NamedTuple):
    """What is taken from the training rows for splits that the reader does not name."""

    seed: int
    test: float  # 0 to 1
    validation: float
    how: str = "random"  # by a hash of a value; or `shuffle` as scikit-learn does; or the rows at the `end`
    side: int = 0  # rows with an equal value of this side stay together if random: 0 the source, 1 the target
    stratify: bool = False
    of_rest: bool = False  # whether `validation` is a share of what the test leaves, not of all rows

    @property
    def validation_of_all(self) -> float:
        """The share of all rows that the validation takes."""
        return self.validation * (1 - self.test) if self.of_rest else self.validation

    def sizes(self, count: int) -> tuple[int, int]:
        """The rows of test and validation among so many, rounded as scikit-learn and Keras (`of_rest`) round them."""
        test = math.ceil(self.test * count)
        rest = count - test
        validation = rest - math.floor(rest * (1 - self.validation)) if self.of_rest else self.validation * count
        return test, min(math.ceil(validation), rest)

    def split_of(self, value: Any) -> str:
        """The split of all rows with this value, whatever else the data holds."""
        number = int.from_bytes(hash_value(value, key=f"split {self.seed}")) / 2**64  # 0 to 1
        if number < self.test:
            return "test"
        return "validation" if number < self.test + self.validation_of_all else "train"


def divider(shares: Shares, rows: ReadRows) -> Callable[[Sequence[Any]], str]:
    """A function from the values of a row to its split, to be called in the order of the rows."""
    if not (shares.test or shares.validation):
        return lambda values: "train"
    if shares.how == "random" and not shares.stratify:
        return lambda values: shares.split_of(values[shares.side])
    if shares.how == "shuffle":
        classes = classes_of(rows()) if shares.stratify else None
        splits = shuffled(count_rows(rows()) if classes is None else len(classes), classes, shares)
    elif shares.how == "end":
        splits = at_end(count_rows(rows()), shares)
    else:
        hashes = b"".join(hash_row(values, shares) for values in rows())
        keys, of_class = np.frombuffer(hashes, np.uint64).reshape(-1, 2).T
        splits = stratified(keys, of_class, shares)
    names = map(ORDER.__getitem__, splits)
    return lambda values: next(names)


def count_rows(rows: Iterator[Sequence[Any]]) -> int:
    """How many rows there are."""
    return sum(1 for _ in rows)


def at_end(count: int, shares: Shares) -> Splits:
    """The split of each of `count` rows in order: training, then validation, then test."""
    test, validation = shares.sizes(count)
    return np.repeat(np.array([TRAIN, VALIDATION, TEST], np.uint8), [count - test - validation, validation, test])


def shuffled(count: int, classes: npt.NDArray[np.int32] | None, shares: Shares) -> Splits:
    """The split of each of `count` rows, as `sklearn.model_selection.train_test_split` chooses them.

    Its first call takes the test, with `random_state=seed`; a second one, with the same seed, takes the validation from
    what is left. With `of_rest` the validation is the last part of what the first call left, as `validation_split` of
    Keras takes it. Holds 13 bytes of memory a row (with `classes`, which it stratifies by, 42).
    """
    splits = np.full(count, TRAIN, np.uint8)
    test, validation = shares.sizes(count)
    rest: Rows = np.arange(count, dtype=np.uint32 if count < 2**32 else np.uint64)
    if test or shares.of_rest:
        taken, rest = draw_rows(rest, test, classes if test else None, shares.seed)
        splits[taken] = TEST
    if shares.of_rest:
        splits[rest[len(rest) - validation :]] = VALIDATION
    elif validation:
        taken, _ = draw_rows(rest, validation, classes, shares.seed)
        splits[taken] = VALIDATION
    return splits


def draw_rows(rows: Rows, size: int, classes: npt.NDArray[np.int32] | None, seed: int) -> tuple[Rows, Rows]:
    """So many of the rows, and the others, both in the order of scikit-learn's ShuffleSplit."""
    random = np.random.RandomState(seed)
    if classes is not None:
        return draw_stratified(rows, size, classes[rows], random)
    order = np.arange(len(rows), dtype=rows.dtype)
    random.shuffle(order)  # as `permutation` of the number of rows, in half of its memory
    order = rows[order]
    return order[:size], order[size:]


def draw_stratified(
    rows: Rows, size: int, classes: npt.NDArray[np.int32], random: np.random.RandomState
) -> tuple[Rows, Rows]:
    """So many of the rows, of each class the share, and the others: scikit-learn's StratifiedShuffleSplit."""
    _, numbers, counts = np.unique(classes, return_inverse=True, return_counts=True)  # [rows], [classes]
    check_classes(counts, size)
    num_left = allocate(counts, len(rows) - size, random)
    num_taken = allocate(counts - num_left, size, random)
    taken, left, start = [], [], 0
    by_class = np.argsort(numbers, kind="stable")
    for count, stay, go in zip(counts, num_left, num_taken, strict=True):
        members = rows[by_class[start + random.permutation(count)]]
        left.append(members[:stay])
        taken.append(members[stay : stay + go])
        start += count
    left_rows = random.permutation(np.concatenate(left))  # drawn first, as scikit-learn does
    return random.permutation(np.concatenate(taken)), left_rows


def check_classes(counts: npt.NDArray[np.int64], size: int) -> None:
    """Refuse classes that scikit-learn cannot stratify by: those of one row, or more of them than rows in a split."""
    if counts.min() < 2:
        problem = f"needs two rows of each class, and {np.sum(counts < 2):,} classes of {len(counts):,} have one"
        remedy = "set data.split=random, which keeps such rows in training, or data.stratify=false"
        raise UserError("E-split", "data.stratify=true", problem, remedy)
    if min(size, counts.sum() - size) < len(counts):
        problem = f"divides {counts.sum():,} rows into {size:,} and the rest, which cannot hold {len(counts):,} classes"
        raise UserError("E-split", "data.stratify=true", problem, "set a larger fraction, or data.stratify=false")


def allocate(counts: npt.NDArray[Any], size: int, random: np.random.RandomState) -> npt.NDArray[np.int64]:
    """How many of each class make a draw of this size, in proportion: `[classes]`; ties are broken at random.

    These are the numbers, and the random numbers used, of scikit-learn's `_approximate_mode`.
    """
    exact = counts / counts.sum() * size
    numbers = np.floor(exact)
    fractions = exact - numbers
    missing = int(size - numbers.sum())
    for fraction in sorted(set(fractions.tolist()), reverse=True):
        if missing <= 0:
            break
        (places,) = np.where(fractions == fraction)
        chosen = random.choice(places, min(len(places), missing), replace=False)
        numbers[chosen] += 1
        missing -= len(chosen)
    result: npt.NDArray[np.int64] = numbers.astype(np.int64)
    return result


def classes_of(rows: Iterator[Sequence[Any]]) -> npt.NDArray[np.int32]:
    """The class of every row, its target, as a number in the order of the classes."""
    numbers: dict[str, int] = {}
    ids = array("i")
    for values in rows:
        name = str(values[-1]).strip()
        ids.append(numbers.setdefault(name, len(numbers)))
    places = {name: place for place, name in enumerate(class_order(numbers))}
    order = np.array([places[name] for name in numbers], np.int32)
    return order.take(np.frombuffer(ids, np.int32))


def hash_row(values: Sequence[Any], shares: Shares) -> bytes:
    """The hashes of the value that keeps rows together, and of the class."""
    key = f"split {shares.seed}"
    return hash_value(values[shares.side], key) + hash_value(values[-1], key)


def stratified(keys: Hashes, classes: Hashes, shares: Shares) -> Splits:
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
    both = test + quotas(rows - test, shares.validation_of_all / (1 - shares.test))
    splits = np.zeros(len(first), np.uint8)
    splits[order] = (middle > test[members]).astype(np.uint8) + (middle > both[members])
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
