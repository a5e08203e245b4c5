"""The C++ loops behind the interface of an engine: the recurrence of one layer over packed rows."""

from __future__ import annotations

import ctypes
import functools
from ctypes import POINTER, Structure, c_int64, c_void_p
from typing import ClassVar

import torch
from torch import Tensor

from seq2att.recurrence.engine import Pass
from seq2att.recurrence.native.build import NativeError, library
from seq2att.recurrence.reference import GATES, CellName

CELLS: dict[CellName, int] = {"tanh": 0, "relu": 1, "lstm": 2, "gru": 3}
SUFFIX = {torch.float32: "f32", torch.float64: "f64"}


class LayerRun(Structure):
    """`Layer` of layer.h."""

    _fields_: ClassVar = [
        *((name, c_int64) for name in ("cell", "steps", "rows", "size", "backwards", "threads")),
        ("sizes", POINTER(c_int64)),
        *((name, c_void_p) for name in ("weight", "new_bias", "gates", "hidden", "memory")),
        *((name, c_void_p) for name in ("outputs", "previous", "extra", "through")),
    ]


def address(tensor: Tensor | None) -> int | None:
    """Where a tensor's numbers lie, in order."""
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()


class Engine:
    """Runs a layer's loops in C++; rows are divided over PyTorch's number of threads."""

    name = "cpp"

    def __init__(self, loaded: ctypes.CDLL) -> None:
        self.library = loaded

    def forward(
        self, over: Pass, state: tuple[Tensor, ...], keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        final = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
        outputs = over.gates.new_empty(over.gates.size(0), over.hidden_weight.size(1))
        gated = over.cell in ("lstm", "gru")
        saved = (torch.empty_like(outputs), torch.empty_like(outputs)) if keep and gated else ()
        self.run("forward", over, final, outputs, saved)
        return outputs, final, saved if gated else (outputs,)

    def backward(
        self, over: Pass, saved: tuple[Tensor, ...], d_outputs: Tensor, d_final: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        d_state = tuple(part.clone(memory_format=torch.contiguous_format) for part in d_final)
        through = torch.empty_like(over.gates) if over.cell == "gru" else None
        self.run("backward", over, d_state, d_outputs.contiguous(), saved, through)
        return over.gates, over.gates if through is None else through, d_state

    def run(
        self,
        way: str,
        over: Pass,
        state: tuple[Tensor, ...],
        outputs: Tensor,
        saved: tuple[Tensor, ...],
        through: Tensor | None = None,
    ) -> None:
        """Call the library; `state` and the gates are overwritten."""
        cell, gates, hidden_weight, new_bias, sizes, backwards = over
        weight = hidden_weight.contiguous()
        bias = None if new_bias is None else new_bias.contiguous()
        previous, extra = saved if len(saved) > 1 else (None, None)
        rows, size = state[0].shape
        assert gates.size(1) == GATES[cell] * size == weight.size(0) and gates.size(0) == sum(sizes)
        layer = LayerRun(
            *(CELLS[cell], len(sizes), rows, size, int(backwards), torch.get_num_threads()),
            (c_int64 * len(sizes))(*sizes),
            *(address(tensor) for tensor in (weight, bias, gates, state[0], state[1] if len(state) > 1 else None)),
            *(address(tensor) for tensor in (outputs, previous, extra, through)),
        )
        getattr(self.library, f"layer_{way}_{SUFFIX[gates.dtype]}")(ctypes.byref(layer))


@functools.cache
def engine() -> Engine | None:
    """The engine, or None where the library cannot be made."""
    try:
        return Engine(library())
    except NativeError:
        return None
