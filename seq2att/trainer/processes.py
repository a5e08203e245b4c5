"""The processes of a run: which one this is, and how they communicate. In a run of one process every call is free.

Only tensors on a GPU travel between GPUs (NCCL); everything else goes through gloo, on the CPU.
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
from torch import Tensor

from seq2att.errors import UserError

Value = TypeVar("Value")
Rows = NDArray[np.int64]

EXIT_USER_ERROR = 2  # of a process when the first one raised a UserError
PATIENCE = timedelta(hours=2)  # one process may prepare data or score a validation while the others wait


class Processes(NamedTuple):
    """One of the processes of a run. All of them must make every call that communicates."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those of this machine
    local_size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes files and prints."""
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
        if self.alone:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64)  # on the CPU, so that nothing waits for a GPU
        torch.distributed.all_reduce(tensor)
        sums: list[float] = tensor.tolist()
        return sums

    def reduce_tensors(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one message for each type; all are on one device."""
        if self.alone:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            same = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.flatten() for tensor in same])
            torch.distributed.all_reduce(flat)
            for tensor, summed in zip(same, flat.split([tensor.numel() for tensor in same]), strict=True):
                tensor.copy_(summed.view_as(tensor))

    def collect(self, value: Value) -> list[Value]:
        """The value of every process, by rank: in the first one; elsewhere an empty list."""
        if self.alone:
            return [value]
        values: list[Any] = [None] * self.size
        torch.distributed.gather_object(value, values if self.first else None)
        return values if self.first else []

    def share(self, make: Callable[[], Value]) -> Value:
        """What the first process makes, for all. Its UserError ends the others too, silently."""
        if self.alone:
            return make()
        made: list[Any] = [None, False]
        error: UserError | None = None
        if self.first:
            try:
                made = [make(), True]
            except UserError as raised:
                error = raised
        torch.distributed.broadcast_object_list(made)
        if error is not None:
            raise error
        if not made[1]:
            raise SystemExit(EXIT_USER_ERROR)
        value: Value = made[0]
        return value

    def in_turn(self, make: Callable[[], Value]) -> Value:
        """What each process makes for itself, the first one of every machine before the others.

        A UserError of a first one ends all, as in `share`.
        """
        if self.alone:
            return make()
        made: list[Value] = []
        error: UserError | None = None
        if self.local_rank == 0:
            try:
                made.append(make())
            except UserError as raised:
                error = raised
        (num_errors,) = self.total(float(error is not None))
        if error is not None:
            raise error
        if num_errors:
            raise SystemExit(EXIT_USER_ERROR)
        return made[0] if made else make()


ALONE = Processes()


def leave() -> None:
    """Leave the other processes, in good order."""
    torch.distributed.destroy_process_group()
    gc.collect()  # cycles may hold gloo's threads, which must end before Python does: it would be killed


def seed(number: int) -> None:
    """Start all random generators anew."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)
