"""The loop of a decoder with feedback in C++: its buffers, in the order of feedback.h.

Rows are packed: the sentences longest first, and of each step only those that are still alive, step after step, so that
step t has rows `sum(sizes[:t])` to `sum(sizes[:t + 1])`, sentences 0 to `sizes[t]`. Every tensor is contiguous.

N rows, B sentences, S source positions, G gates of H units; E embedding, D output, C context, A what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from seq2att.recurrence.native.functions import CELLS, FEEDBACK, SCORES
from seq2att.recurrence.reference import CellName

Score = Literal["none", "dot", "additive"]


@dataclass
class Level:
    """One layer: its weights, its state, and a row of each buffer for every row.

    In the backward pass `hidden` and `memory` are gradients: first of the final state, at last of the initial one.
    """

    hidden_weight: Tensor  # U [G*H, H]
    below_weight: Tensor | None  # W [G*H, H] of a layer above the lowest
    new_bias: Tensor | None  # [H] GRU: the bias inside the reset gate
    mask: Tensor | None  # [N, H] dropout on the layer's input, 0 or 1 / (1 - p)
    gates: Tensor  # [N, G*H] first all that is known before the loop, biases too; then activated; at last d (W x + b)
    outputs: Tensor  # [N, H] h
    previous: Tensor | None  # [N, H] LSTM: c, GRU: h before the step; None when nothing is kept
    extra: Tensor | None  # [N, H] LSTM: tanh c', GRU: U_n h + d_n
    below: Tensor | None  # [N, H] above the lowest: the output of the layer below after dropout
    hidden: Tensor  # [B, H] h: first the initial state, at last the final one
    memory: Tensor | None  # [B, H] LSTM: c
    d_projected: Tensor | None = None  # [N, G*H] GRU: gradient of U h


@dataclass
class Loop:
    """A decoder's whole loop.

    With `out` the outputs are made, and fed, in the loop: tanh(R [top ; context]), or the top itself without a readout.
    Without `out`, only the context feeds back, and the outputs are made of `top` and `context` afterwards.
    """

    cell: CellName
    score: Score
    query_first: bool  # bahdanau: the query is the top layer's h before the step
    residual: bool  # a layer's output is h plus the output of the layer below
    sizes: list[int]  # rows alive at each step, no zeros
    levels: list[Level]
    fed_weight: Tensor | None  # [G*H, D] columns of the lowest W for the fed output
    context_weight: Tensor | None  # [G*H, C] bahdanau: columns of the lowest W for the context
    readout_top: Tensor | None  # [D, H]; None: the output is the top itself
    readout_context: Tensor | None  # [D, C], None where C = 0
    out_mask: Tensor | None  # [N, D] dropout on the output
    keys: Tensor | None  # [B, S, A], times the scale
    values: Tensor | None  # [B, S, C]
    query_weight: Tensor | None  # [A, H] additive
    energy: Tensor | None  # [A] additive
    padding: Tensor | None  # [B, S] bool, True at padding; None where every position is real
    top: Tensor  # [N, H] output of the highest layer; its `outputs` unless residual
    readout: Tensor | None  # [N, D] first the embedding's part of the readout; then its tanh
    out: Tensor | None  # [N, D] `readout` after dropout; `readout` itself without dropout
    fed: Tensor | None  # [B, D] the last output
    query: Tensor | None  # [N, A] additive: W q; None when nothing is kept
    weights: Tensor | None  # [N, S]
    context: Tensor | None  # [N, C]
    d_top: Tensor | None = None  # [N, H] in: gradient of `top`; None where `out` is made in the loop
    d_weights: Tensor | None = None  # [N, S] in: gradient of `weights` from outside, or None
    d_out: Tensor | None = None  # [N, D] in: gradient of `out`; out: of the readout before its tanh
    d_fed: Tensor | None = None  # [B, D] in: gradient of the final fed output; out: of the initial one
    d_context: Tensor | None = None  # [N, C] in: gradient of `context` from outside; out: all of it
    d_scores: Tensor | None = None  # [N, S] out: gradient of the scores
    d_query: Tensor | None = None  # [N, A] out, additive: gradient of W q
    d_energy: Tensor | None = None  # [N, A] out, additive: the sum of d score * tanh(W q + k) over S
    d_keys: Tensor | None = None  # [B, S, A] additive: first 0, then added to


def call(loop: Loop, backward: bool) -> None:
    """Run the kernel: fill the loop's buffers, or those of its gradients; then the gates become gradients too."""
    arguments = vars(loop) | {
        "cell": CELLS[loop.cell],
        "score": SCORES[loop.score],
        "sizes": torch.tensor(loop.sizes),
        "levels": [vars(level) for level in loop.levels],
    }
    FEEDBACK(**arguments, backward=backward)
