"""Large matrix products in C++."""

from __future__ import annotations

from torch import Tensor

from seq2att.recurrence.native.functions import PRODUCT


def matmul(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`inputs` `[N, K]` times `weight` `[M, K]` transposed, plus `bias` `[M]`: `[N, M]`; float32 or float64, on a CPU.

    Both may be transposed views and have gaps between rows; threads are PyTorch's number of them.
    """
    outputs = inputs.new_empty(inputs.size(0), weight.size(0))
    bias = None if bias is None else bias.contiguous()
    PRODUCT(a=regular(inputs), b=regular(weight), bias=bias, c=outputs)
    return outputs


def regular(matrix: Tensor) -> Tensor:
    """The matrix, or a copy where neither its rows nor its columns lie in one piece."""
    return matrix if 1 in matrix.stride() else matrix.contiguous()
