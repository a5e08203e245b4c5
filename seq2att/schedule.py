"""Schedules: how the learning rate changes over the steps of a run.

A schedule gives Lightning's dictionary: the scheduler, whether it counts steps or epochs, and what it watches. All but
`plateau` are a factor on the optimizer's rate as a function of the step, so a resumed run continues where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from seq2att.registry import kind, register


@kind("schedule")
def schedule(optimizer: Optimizer, steps: int, steps_per_epoch: int) -> dict[str, Any]:
    """A schedule of `steps` optimizer steps in all: `{"scheduler": ..., "interval": "step" or "epoch", ...}`.

    With `monitor` among the keys, the scheduler is told that figure after each validation.
    """
    raise NotImplementedError


def each_step(optimizer: Optimizer, factor: Callable[[int], float]) -> dict[str, Any]:
    """A schedule that multiplies the rate of step s (from 0) by `factor(s)`."""
    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def warm(step: int, warmup_steps: int) -> float:
    """The factor of a linear warm-up: 1 / warmup_steps at step 0, 1 from step warmup_steps - 1 on."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def progress(step: int, start: int, steps: int) -> float:
    """How far step `step` is from `start` (0) to the last of `steps` (1)."""
    return min(1.0, max(0.0, (step - start) / max(1, steps - 1 - start)))


@register("schedule", "constant")
def constant(optimizer: Optimizer, steps: int, steps_per_epoch: int, *, warmup_steps: int = 0) -> dict[str, Any]:
    """The same rate from the end of the warm-up to the end."""
    return each_step(optimizer, lambda step: warm(step, warmup_steps))


@register("schedule", "inverse_square_root")
def inverse_square_root(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, *, warmup_steps: int = 4000
) -> dict[str, Any]:
    """Linear warm-up to the full rate, then falling with the root of the step (Vaswani et al. 2017)."""
    peak = max(1, warmup_steps)
    return each_step(optimizer, lambda step: min((step + 1) / peak, math.sqrt(peak / (step + 1))))


@register("schedule", "cosine")
def cosine(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, *, warmup_steps: int = 0, final: float = 0.0
) -> dict[str, Any]:
    """Half a cosine from the full rate to the fraction `final` of it (Loshchilov and Hutter 2017)."""

    def factor(step: int) -> float:
        fallen = (1 - math.cos(math.pi * progress(step, warmup_steps, steps))) / 2
        return warm(step, warmup_steps) * (1 - (1 - final) * fallen)

    return each_step(optimizer, factor)


@register("schedule", "linear")
def linear(
    optimizer: Optimizer,
    steps: int,
    steps_per_epoch: int,
    *,
    warmup_steps: int = 0,
    hold: float = 0.5,
    final: float = 0.02,
) -> dict[str, Any]:
    """The full rate for the fraction `hold` of the steps, then a line down to the fraction `final` of the rate."""
    start = max(warmup_steps, round(hold * steps))

    def factor(step: int) -> float:
        return warm(step, warmup_steps) * (1 - (1 - final) * progress(step, start, steps))

    return each_step(optimizer, factor)


@register("schedule", "plateau")
def plateau(
    optimizer: Optimizer,
    steps: int,
    steps_per_epoch: int,
    *,
    factor: float = 0.5,
    patience: int = 2,
    monitor: str = "loss",
    min_delta: float = 0.0,
    minimum: float = 0.0,
) -> dict[str, Any]:
    """Multiplies the rate by `factor` when `monitor` has not improved in more than `patience` validations.

    Training turns the sign of a figure of which more is better, so the scheduler always looks for less.
    """
    scheduler = ReduceLROnPlateau(
        optimizer, "min", factor, patience, threshold=min_delta, threshold_mode="abs", min_lr=minimum
    )
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}
