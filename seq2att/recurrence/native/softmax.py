"""Logits to a loss and its gradient in one pass over memory."""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_double, c_int64, c_void_p
from typing import ClassVar

import torch
from torch import Tensor

from seq2att.recurrence.native.build import library
from seq2att.recurrence.native.engine import SUFFIX, address


class CrossEntropyRun(Structure):
    """`CrossEntropy` of softmax.h."""

    _fields_: ClassVar = [
        *((name, c_int64) for name in ("rows", "size", "marks", "threads")),
        ("spread", c_double),
        *((name, c_void_p) for name in ("logits", "targets", "weights", "column_sums", "total")),
    ]


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, spread: float) -> tuple[Tensor, Tensor]:
    """Turn `logits` `[N, V]` into the gradient of their summed cross-entropy; gives that sum, and the sum of the rows.

    Row n is to say `targets[n]` `[M]` with `weights[n]` `[M]`, and all entries alike with `spread` together.
    Errors: `NativeError` where there is no compiled library, IndexError for a target that is none.
    """
    rows, size = logits.shape
    if targets.numel() and not 0 <= int(targets.min()) <= int(targets.max()) < size:
        raise IndexError(f"a target is out of range: there are {size} entries")
    assert targets.shape == weights.shape and targets.dtype == torch.int64 and weights.dtype == logits.dtype
    column_sums, total = logits.new_empty(size), torch.empty((), dtype=torch.float64)
    kept = targets.contiguous(), weights.contiguous()
    run = CrossEntropyRun(
        *(rows, size, targets.size(1), torch.get_num_threads(), spread),
        *(address(tensor) for tensor in (logits, *kept, column_sums, total)),
    )
    getattr(library(), f"cross_entropy_{SUFFIX[logits.dtype]}")(ctypes.byref(run))
    return total.to(logits.dtype), column_sums
