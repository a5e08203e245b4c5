"""Large matrix products in C++."""

from __future__ import annotations

import ctypes
from ctypes import Structure, c_int64, c_void_p
from typing import ClassVar

import torch
from torch import Tensor

from seq2att.recurrence.native.build import library
from seq2att.recurrence.native.engine import SUFFIX


class MatrixRun(Structure):
    """`Matrix` of product.h."""

    _fields_: ClassVar = [("data", c_void_p), ("row", c_int64), ("column", c_int64)]


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`inputs` `[N, K]` times `weight` `[M, K]` transposed, plus `bias` `[M]`: `[N, M]`; float32 or float64, on a CPU.

    Both may be transposed views and have gaps between rows; threads are PyTorch's number of them.
    """
    inputs, weight = regular(inputs), regular(weight)
    outputs = inputs.new_empty(inputs.size(0), weight.size(0))
    bias = None if bias is None else bias.contiguous()
    getattr(library(), f"product_{SUFFIX[inputs.dtype]}")(
        *(ctypes.byref(MatrixRun(matrix.data_ptr(), *matrix.stride())) for matrix in (inputs, weight)),
        c_void_p(None if bias is None else bias.data_ptr()),
        *(c_int64(size) for size in (*outputs.shape, inputs.size(1))),
        c_void_p(outputs.data_ptr()),
        c_int64(torch.get_num_threads()),
    )
    return outputs


def regular(matrix: Tensor) -> Tensor:
    """The matrix, or a copy where neither its rows nor its columns lie in one piece."""
    return matrix if 1 in matrix.stride() else matrix.contiguous()
