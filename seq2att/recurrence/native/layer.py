"""The recurrence of one layer over packed rows in C++; rows are divided over PyTorch's number of threads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.recurrence.native.functions import CELLS, LAYER
from seq2att.recurrence.reference import CellName


class PackedLayer(NamedTuple):
    """One layer over one packed batch: step t has `sizes[t]` rows, the first ones of the state."""

    cell: CellName
    gates: Tensor  # [N, G*H] W x and all biases (but `new_bias`); then activated; then their gradients
    hidden_weight: Tensor  # [G*H, H]
    new_bias: Tensor | None  # [H] GRU: the bias inside the reset gate, added to U_n h
    sizes: list[int]
    backwards: bool  # from the last step to the first


def forward(
    layer: PackedLayer, start: tuple[Tensor, ...], keep: bool
) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Outputs `[N, H]`, the final state `[B, H]` each, and with `keep` what `backward` needs; overwrites the gates.

    It needs of an LSTM (c before, tanh c after), of a GRU (h before, U_n h + d_n), of the others nothing.
    """
    final = tuple(part.clone(memory_format=torch.contiguous_format) for part in start)
    outputs = layer.gates.new_empty(layer.gates.size(0), layer.hidden_weight.size(1))
    is_gated = layer.cell in ("lstm", "gru")
    saved = (torch.empty_like(outputs), torch.empty_like(outputs)) if keep and is_gated else ()
    call(False, layer, final, outputs, saved)
    return outputs, final, saved


def backward(
    layer: PackedLayer, saved: tuple[Tensor, ...], d_outputs: Tensor, d_final: tuple[Tensor, ...]
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Gradients of `W x` and of `U h`, `[N, G*H]` each, and of the first state; overwrites the gates."""
    d_state = tuple(part.clone(memory_format=torch.contiguous_format) for part in d_final)
    d_projected = torch.empty_like(layer.gates) if layer.cell == "gru" else None
    call(True, layer, d_state, d_outputs.contiguous(), saved, d_projected)
    return layer.gates, layer.gates if d_projected is None else d_projected, d_state


def call(
    backward: bool,
    layer: PackedLayer,
    state: tuple[Tensor, ...],
    outputs: Tensor,
    saved: tuple[Tensor, ...],
    d_projected: Tensor | None = None,
) -> None:
    """Call the kernel; `state` and the gates are overwritten."""
    previous, extra = saved or (None, None)
    LAYER(
        cell=CELLS[layer.cell],
        backwards=layer.backwards,
        backward=backward,
        sizes=torch.tensor(layer.sizes),
        weight=layer.hidden_weight.contiguous(),
        new_bias=None if layer.new_bias is None else layer.new_bias.contiguous(),
        gates=layer.gates,
        hidden=state[0],
        memory=state[1] if len(state) > 1 else None,
        outputs=outputs,
        previous=previous,
        extra=extra,
        d_projected=d_projected,
    )
