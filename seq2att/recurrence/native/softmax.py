"""Logits to a loss and its gradient in one pass over memory."""

from __future__ import annotations

import torch
from torch import Tensor

from seq2att.recurrence.native.functions import CROSS_ENTROPY


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, spread: float) -> tuple[Tensor, Tensor]:
    """Turn `logits` `[N, V]` into the gradient of their summed cross-entropy; gives that sum, and the sum of the rows.

    Row n is to say `targets[n]` `[M]` with `weights[n]` `[M]`, and all entries alike with `spread` together.
    Errors: `NativeError` where there is no compiled library, IndexError for a target that is none.
    """
    column_sums, total = logits.new_empty(logits.size(1)), torch.empty((), dtype=torch.float64)
    CROSS_ENTROPY(
        spread=spread,
        logits=logits,
        targets=targets.contiguous(),
        weights=weights.contiguous(),
        column_sums=column_sums,
        total=total,
    )
    return total.to(logits.dtype), column_sums
