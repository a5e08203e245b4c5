"""A matrix packed once, for products with few rows: what decoding does at every step."""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_void_p

import torch
from torch import Tensor

from seq2att.recurrence.native.build import library
from seq2att.recurrence.native.engine import SUFFIX, address

ALIGNMENT = 64  # bytes: a panel begins at a cache line


class Packed:
    """`weight` `[M, K]` and `bias` `[M]` for `inputs @ weight.T + bias`, float32 or float64, on a CPU.

    Errors: `NativeError` where there is no compiled library.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        self.outputs, self.inputs = weight.shape
        self.dtype = weight.dtype
        suffix = SUFFIX[weight.dtype]
        loaded: ctypes.CDLL = library()
        size = getattr(loaded, f"packed_size_{suffix}")
        size.argtypes, size.restype = [c_int64, c_int64], c_int64
        self.product = getattr(loaded, f"product_{suffix}")
        self.product.argtypes = [c_void_p, c_int64, c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64]
        self.product.restype = None
        self.panels = aligned(size(self.outputs, self.inputs), weight.dtype)
        pack = getattr(loaded, f"pack_{suffix}")
        pack.argtypes = [c_void_p, c_int64, c_int64, c_void_p]
        pack(address(weight.detach().contiguous()), self.outputs, self.inputs, address(self.panels))
        self.bias = None if bias is None else bias.detach().contiguous().clone()

    def __call__(self, inputs: Tensor) -> Tensor:
        """The product `[..., M]` of `inputs` `[..., K]`; no gradients."""
        results = inputs.new_empty(*inputs.shape[:-1], self.outputs)
        assert inputs.dtype == self.dtype and inputs.size(-1) == self.inputs
        inputs = inputs.contiguous()
        rows = results.numel() // max(1, self.outputs)
        self.product(
            *(inputs.data_ptr(), rows, self.panels.data_ptr(), address(self.bias), self.outputs, self.inputs),
            *(results.data_ptr(), torch.get_num_threads()),
        )
        return results


def aligned(size: int, dtype: torch.dtype) -> Tensor:
    """So many numbers, the first of them at a cache line."""
    spare = ALIGNMENT // dtype.itemsize
    memory = torch.empty(size + spare, dtype=dtype)
    start = -memory.data_ptr() % ALIGNMENT // dtype.itemsize
    return memory[start : start + size]
