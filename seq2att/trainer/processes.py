"""The processes of a run: which one this is, and what they tell each other. Alone, every call costs nothing.

What they tell each other beside the gradients goes through gloo, on the processor, also where training is on GPUs.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from seq2att.errors import UserError

Value = TypeVar("Value")
Rows = NDArray[np.int64]

WRONG = 2  # the exit code of a process whose first one has a message for the user
PATIENCE = timedelta(hours=2)  # one process may prepare data or score a validation while the others wait


class Processes(NamedTuple):
    """One of the processes of a run. Every method that tells something must be called by all of them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of this machine
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.size == 1

    @property
    def nodes(self) -> int:
        """On how many machines they are."""
        return self.size // self.local_size

    @contextmanager
    def together(self, gpu: bool = False) -> Iterator[None]:
        """Join the others for what is inside; the address of the first one is in the environment."""
        if self.alone:
            yield
            return
        if gpu:
            torch.cuda.set_device(self.local_rank)
        backend = "cpu:gloo,cuda:nccl" if gpu else "gloo"
        torch.distributed.init_process_group(backend, rank=self.rank, world_size=self.size, timeout=PATIENCE)
        try:
            yield
        except Exception:  # the others may be gone, or wait for us: leaving in good order would wait for them
            raise
        except BaseException:  # a signal, on which all have agreed
            leave()
            raise
        leave()

    def mine(self, rows: Rows) -> Rows:
        """The part of the rows that this process works on: every row is in one part, and neighbours in different ones.

        So rows sorted by length give parts of nearly equal work; a part may be empty.
        """
        return rows if self.alone else rows[self.rank :: self.size]

    def total(self, *numbers: float) -> list[float]:
        """The sum over all processes of each number."""
        return list(numbers) if self.alone else self.reduced(numbers, "SUM")

    def largest(self, number: float) -> float:
        """The largest that any process gives."""
        return number if self.alone else self.reduced([number], "MAX")[0]

    def reduced(self, numbers: Sequence[float], operation: str) -> list[float]:
        """The numbers of all processes made one by an operation."""
        told = torch.tensor(numbers, dtype=torch.float64)
        torch.distributed.all_reduce(told, getattr(torch.distributed.ReduceOp, operation))
        found: list[float] = told.tolist()
        return found

    def collect(self, value: Value) -> list[Value]:
        """What every process gives, by rank: on the first one; elsewhere nothing."""
        if self.alone:
            return [value]
        found: list[Any] = [None] * self.size
        torch.distributed.gather_object(value, found if self.first else None)
        return found if self.first else []

    def share(self, make: Callable[[], Value]) -> Value:
        """What the first process makes, for all. A UserError in it ends the others too, without a word."""
        if self.alone:
            return make()
        told: list[Any] = [None, False]
        error: UserError | None = None
        if self.first:
            try:
                told = [make(), True]
            except UserError as mistake:
                error = mistake
        torch.distributed.broadcast_object_list(told)
        if error is not None:
            raise error
        if not told[1]:
            raise SystemExit(WRONG)
        made: Value = told[0]
        return made

    def in_turn(self, make: Callable[[], Value]) -> Value:
        """What each process makes for itself, the first one of every machine before the others.

        A UserError in the first ones ends all, as in `share`.
        """
        if self.alone:
            return make()
        made: list[Value] = []
        error: UserError | None = None
        if self.local_rank == 0:
            try:
                made.append(make())
            except UserError as mistake:
                error = mistake
        (wrong,) = self.total(float(error is not None))
        if error is not None:
            raise error
        if wrong:
            raise SystemExit(WRONG)
        return made[0] if made else make()


ALONE = Processes()


def leave() -> None:
    """Leave the other processes, in good order."""
    torch.distributed.destroy_process_group()
    gc.collect()  # the trainer's circles hold gloo's threads, which must end before Python does: it would be killed


def seed(number: int) -> None:
    """Start all random generators anew."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
