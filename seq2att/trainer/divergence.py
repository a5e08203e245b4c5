"""Divergence: when the losses of a run are no longer those of a model that learns."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Mapping
from typing import Any

from torch import Tensor

WINDOW = 100  # steps whose median loss is compared with
FACTOR = 10.0  # times that median is too much
PATIENCE = 10  # steps in a row that make a divergence of losses which are too high, or of steps left out
LEAST = 1.0  # a loss up to this is never too high: near zero a single mistake is many times the median
MOST_LOWERED = 5  # times that the learning rate is lowered in a run


class DivergedError(Exception):
    """Training diverged at a step.

    Args:
        reason: what is wrong with the loss or the gradient.
        rows: `[B]`, the rows of the step in this process; None for a validation.
        step: optimizer steps until then, this one included.
    """

    def __init__(self, reason: str, rows: Tensor | None, step: int) -> None:
        super().__init__(reason)
        self.reason, self.rows, self.step = reason, rows, step


class LossWatch:
    """Judges the losses of steps, the same in all processes of a run.

    A loss is too high above ten times the running median, if it is also above the loss that the run began with: that of
    a model which has learned nothing. A few such steps are noise; `PATIENCE` of them in a row are a divergence. A loss
    or a gradient that is not finite is one at once.

    Args:
        policy: `trainer.on_divergence`.
    """

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.first, self.best_validation = math.nan, math.inf
        self.losses: deque[float] = deque(maxlen=WINDOW)  # those of steps that were not too high
        self.loss = self.norm = math.nan  # of the last step
        self.in_row = 0  # steps whose loss was too high or that were left out
        self.skipped = self.lowered = 0  # steps left out, and how often the learning rate was lowered

    def judge(self, loss: float, norm: float) -> str:
        """What is wrong with a step of this mean loss and norm of the gradient; empty if it may be taken."""
        self.loss, self.norm = loss, norm
        if not math.isfinite(loss):
            problem = f"the training loss is {loss}"
        elif not math.isfinite(norm):
            problem = f"the norm of the gradient is {norm}"
        elif self.is_too_high(loss):
            problem = (
                f"the training loss is {loss:.4g}, over {FACTOR:g} times the usual {statistics.median(self.losses):.4g}"
            )
        else:
            self.first = loss if math.isnan(self.first) else self.first
            self.losses.append(loss)
            self.in_row = 0
            return ""
        self.in_row += 1
        is_noise = math.isfinite(loss) and math.isfinite(norm) and self.policy != "skip" and self.in_row < PATIENCE
        return "" if is_noise else problem

    def is_too_high(self, loss: float) -> bool:
        """Whether a finite loss is far above the ones before."""
        if math.isnan(self.first) or loss <= max(self.first, LEAST):
            return False
        return loss > FACTOR * abs(statistics.median(self.losses))

    def judge_validation(self, loss: float) -> str:
        """What is wrong with the mean loss of a validation; overfitting is not."""
        if not math.isfinite(loss):
            return f"the validation loss is {loss}"
        usual = max(self.first, LEAST, self.best_validation if math.isfinite(self.best_validation) else LEAST)
        if loss > FACTOR * usual:  # never so where the first loss is NaN
            return f"the validation loss is {loss:.4g}, over {FACTOR:g} times the usual {usual:.4g}"
        self.best_validation = min(self.best_validation, loss)
        return ""

    def state_dict(self) -> dict[str, Any]:
        """What the next judgement depends on."""
        state = {name: value for name, value in vars(self).items() if name != "policy"}
        return {**state, "losses": list(self.losses)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there."""
        vars(self).update({**state, "losses": deque(state["losses"], maxlen=WINDOW)})
