"""Which of three equal tiers runs a layer: plain torch, the loop in Python, or the loop in C++.

`SEQ2ATT_KERNEL=torch`, `python` or `cpp` forces one wherever it can run. Plain torch is for all that is not float32 or
float64 on a CPU (a GPU has cuDNN), and for calls that a compiler, a tracer, autocast or a transform watches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2att.recurrence import reference
from seq2att.recurrence.engine import Engine
from seq2att.recurrence.forced import forced, native_engine
from seq2att.recurrence.function import Setting, recur
from seq2att.recurrence.packing import pack
from seq2att.recurrence.product import plain, traced
from seq2att.recurrence.reference import CellName, Run, Weights, reverse
from seq2att.recurrence.steps import Engine as PythonEngine


def run(
    cell: CellName,
    inputs: Tensor,
    state: tuple[Tensor, ...],
    weights: Weights,
    lengths: Tensor | None = None,
    backwards: bool = False,
) -> Run:
    """The recurrence over `inputs` `[B, T, I]` from `state` (`[B, H]` each); rows end after `lengths` `[B]`, if given.

    `backwards` starts at each row's last real position.
    """
    engine = choose(cell, inputs, state, weights, lengths)
    if engine is not None:
        packing = pack(lengths, inputs.size(0), inputs.size(1))
        if packing.sizes:
            return recur(Setting(cell, packing, backwards, engine), inputs, state, weights)
    if not backwards:
        return reference.run(cell, inputs, state, weights, lengths)
    outputs, final = reference.run(cell, reverse(inputs, lengths), state, weights, lengths)
    return Run(reverse(outputs, lengths), final)


def choose(
    cell: CellName, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None
) -> Engine | None:
    """The engine for these tensors; None: plain torch."""
    if traced() or inputs.numel() == 0 or (lengths is None and short(inputs, weights)):
        return None
    tensors = (inputs, *state, *weights)
    if inputs.dtype not in (torch.float32, torch.float64) or not plain(*tensors):
        return None
    if any(tensor.dtype != inputs.dtype for tensor in tensors):
        return None
    kernel = forced()
    if kernel == "torch":
        return None
    if kernel != "python" and (engine := native_engine(required=kernel == "cpp")) is not None:
        return engine
    return PythonEngine() if kernel == "python" or pays(cell, inputs, weights, lengths) else None


def short(inputs: Tensor, weights: Weights) -> bool:
    """Whether this is one step, so small that an engine's preparations are not worth it.

    Measured as in `pays`, torch's time over that of C++: LSTM 16x256 0.7, 64x256 1.0, 64x512 1.1, 320x512 1.1, and 1.8
    forward only; GRU 320x512 1.8.
    """
    return inputs.size(1) == 1 and (inputs.size(0) < 128 or weights.hidden.numel() < 1 << 18)


def pays(cell: CellName, inputs: Tensor, weights: Weights, lengths: Tensor | None) -> bool:
    """Whether the loop in Python is quicker than plain torch, where there is none in C++ (which always is).

    Measured on one core of a Zen 5, forward and backward, batch x steps x units, plain torch's time over the loop's:
    GRU 8x8x16 0.9, 32x10x32 1.0, 64x60x8 1.3, 16x30x120 1.4, 64x16x256 1.7, 64x16x512 2.2, 64x300x120 1.5; tanh 1.1 to
    1.9; LSTM, which torch has from oneDNN, with a quarter of padding 64x16x64 0.6, 64x30x256 1.0, 64x30x512 1.4,
    64x300x120 1.5, without padding 0.2 to 1.0. Forward only: GRU 64x16x64 0.9, 64x100x120 1.0, 8x20x512 1.6,
    64x16x256 1.8; LSTM 0.1 to 1.1.
    """
    rows, steps = inputs.size(0), inputs.size(1)
    size = weights.hidden.size(1)
    training = torch.is_grad_enabled() and weights.hidden.requires_grad
    if steps == 1:
        return False
    if cell != "lstm":
        return rows * size * size >= (1 << 12 if training else 1 << 20)
    padded = lengths is not None and int(lengths.sum()) <= 0.75 * rows * steps
    return training and padded and rows * steps * size >= 400_000
