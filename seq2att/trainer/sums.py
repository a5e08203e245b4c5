"""Sums of losses: as tensors while batches are computed, and as numbers of all processes where they are looked at."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from seq2att.head.transitions import to_double
from seq2att.trainer.processes import ALONE, Processes
from seq2att.types import Loss


class LossSum(NamedTuple):
    """A sum of losses of all processes, as numbers."""

    total: float = 0.0
    count: int = 0  # type: ignore[assignment]  # of targets; it hides tuple.count
    correct: float = 0  # targets that are predicted right; NaN where the head does not count them

    @property
    def mean(self) -> float:
        """The loss of a target in nats; NaN where there is none."""
        return self.total / self.count if self.count else math.nan

    @property
    def accuracy(self) -> float:
        """The percentage of targets that are predicted right; NaN where there is none or they are not counted."""
        return 100 * self.correct / self.count if self.count else math.nan

    def plus(self, other: LossSum) -> LossSum:
        """The sum of two sums."""
        return LossSum(self.total + other.total, self.count + other.count, self.correct + other.correct)


def zero(device: torch.device) -> Loss:
    """An empty sum, in double precision where the device has it: a saved sum is then restored as it was."""
    nothing = torch.tensor(0, device=device)
    return Loss(to_double(torch.tensor(0.0, device=device)), nothing, correct=nothing)


def plus(one: Loss, other: Loss) -> Loss:
    """The sum of two sums, which counts right predictions where both do; does not wait for the device."""
    correct = None if one.correct is None or other.correct is None else one.correct + other.correct
    return Loss(one.total + other.total.detach(), one.count + other.count, correct=correct)


def fetch(loss: Loss, processes: Processes = ALONE) -> LossSum:
    """The sum of a loss over all processes, which must all call this; waits for the device."""
    own = math.nan if loss.correct is None else int(loss.correct)
    total, count, correct = processes.total(float(loss.total), int(loss.count), own)
    return LossSum(total, int(count), correct)


def restore(saved: LossSum, device: torch.device) -> Loss:
    """A sum as tensors of a device again."""
    empty = zero(device)
    correct = None if math.isnan(saved.correct) else empty.count + int(saved.correct)
    return Loss(empty.total + saved.total, empty.count + saved.count, correct=correct)
