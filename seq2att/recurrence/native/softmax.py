"""Logits to a loss and its gradient in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from seq2att.recurrence.native.functions import CROSS_ENTROPY


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, uniform: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turn `logits` `[N, V]` into the gradient of their summed cross-entropy.

    Returns that sum, the sum of the rows `[V]`, and how many rows have their first target as the largest logit. The
    target distribution of row n has `weights[n]` `[M]` at `targets[n]` `[M]`, and `uniform` divided over all V.
    Raises: `NativeError` where there is no compiled library, IndexError for a target out of range.
    """
    column_sums, total = logits.new_empty(logits.size(1)), torch.empty((), dtype=torch.float64)
    correct = torch.empty((), dtype=torch.int64)
    CROSS_ENTROPY(
        uniform=uniform,
        logits=logits,
        targets=targets.contiguous(),
        weights=weights.contiguous(),
        column_sums=column_sums,
        total=total,
        correct=correct,
    )
    return total.to(logits.dtype), column_sums, correct
