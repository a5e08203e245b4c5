"""Schedules: how the learning rate changes over the steps of a run.

A schedule is a dictionary: the scheduler, whether it counts steps or epochs, and what it watches. All but `plateau`
multiply the optimizer's rate by a function of the step, so a resumed run continues where it stopped.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, ReduceLROnPlateau

from seq2att.registry import Count, NonNegative, Range, Share, kind, register


@kind("schedule")
def schedule(optimizer: Optimizer, steps: int, steps_per_epoch: int) -> dict[str, Any]:
    """A schedule of `steps` optimizer steps in all: `{"scheduler": ..., "interval": "step" or "epoch", ...}`.

    With `monitor` among the keys, the scheduler is given that figure after each validation.
    """
    raise NotImplementedError


def each_step(optimizer: Optimizer, factor: Callable[[int], float]) -> dict[str, Any]:
    """A schedule that multiplies the rate of step s (from 0) by `factor(s)`."""
    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def warmup(step: int, warmup_steps: int) -> float:
    """The factor of a linear warm-up: 1 / warmup_steps at step 0, 1 from step warmup_steps - 1 on."""
    return min(1.0, (step + 1) / max(1, warmup_steps))


def progress(step: int, start: int, steps: int) -> float:
    """How far step `step` is from `start` (0) to the last of `steps` (1)."""
    return min(1.0, max(0.0, (step - start) / max(1, steps - 1 - start)))


@register("schedule", "constant")
def constant(optimizer: Optimizer, steps: int, steps_per_epoch: int, *, warmup_steps: Count = 0) -> dict[str, Any]:
    """A constant rate after a linear warm-up.

    Args:
        warmup_steps: steps in which the rate rises linearly to its peak.
    """
    return each_step(optimizer, lambda step: warmup(step, warmup_steps))


@register("schedule", "inverse_square_root")
def inverse_square_root(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, *, warmup_steps: Count = 4000
) -> dict[str, Any]:
    """Linear warm-up to the peak, then decay with the inverse square root of the step (Vaswani et al. 2017).

    Args:
        warmup_steps: steps in which the rate rises linearly to its peak.
    """
    peak = max(1, warmup_steps)
    return each_step(optimizer, lambda step: min((step + 1) / peak, math.sqrt(peak / (step + 1))))


@register("schedule", "cosine")
def cosine(
    optimizer: Optimizer, steps: int, steps_per_epoch: int, *, warmup_steps: Count = 0, final: Share = 0.0
) -> dict[str, Any]:
    """Half a cosine from the peak to a fraction of it at the last step (Loshchilov and Hutter 2017).

    Args:
        warmup_steps: steps in which the rate rises linearly to its peak.
        final: rate of the last step, as a fraction of the peak.
    """

    def factor(step: int) -> float:
        decay = (1 - math.cos(math.pi * progress(step, warmup_steps, steps))) / 2
        return warmup(step, warmup_steps) * (1 - (1 - final) * decay)

    return each_step(optimizer, factor)


@register("schedule", "linear")
def linear(
    optimizer: Optimizer,
    steps: int,
    steps_per_epoch: int,
    *,
    warmup_steps: Count = 0,
    hold: Share = 0.5,
    final: Share = 0.02,
) -> dict[str, Any]:
    """The peak for a part of the steps, then linear decay to a fraction of it at the last step.

    Args:
        warmup_steps: steps in which the rate rises linearly to its peak.
        hold: fraction of all steps before the decay begins.
        final: rate of the last step, as a fraction of the peak.
    """
    start = max(warmup_steps, round(hold * steps))

    def factor(step: int) -> float:
        return warmup(step, warmup_steps) * (1 - (1 - final) * progress(step, start, steps))

    return each_step(optimizer, factor)


@register("schedule", "plateau")
def plateau(
    optimizer: Optimizer,
    steps: int,
    steps_per_epoch: int,
    *,
    factor: Annotated[float, Range(above=0, below=1)] = 0.5,
    patience: Count = 2,
    monitor: str = "loss",
    min_delta: NonNegative = 0.0,
    minimum: NonNegative = 0.0,
) -> dict[str, Any]:
    """Lower the rate when a figure of the validation no longer improves.

    Training negates a figure of which more is better, so the scheduler always looks for less.

    Args:
        factor: what the rate is multiplied by.
        patience: validations without improvement before the rate falls.
        monitor: the figure to watch: `loss`, or one of `metrics`.
        min_delta: smallest change that counts as improvement.
        minimum: lower bound of the rate.
    """
    scheduler = ReduceLROnPlateau(
        optimizer, "min", factor, patience, threshold=min_delta, threshold_mode="abs", min_lr=minimum
    )
    return {"scheduler": scheduler, "interval": "epoch", "monitor": monitor}
