"""What the loop of a decoder with feedback reads and writes: plain tensors, the same for every engine.

Rows are packed: the sentences longest first, and of each step only those that are still alive, step after step, so that
step t has rows `sum(sizes[:t])` to `sum(sizes[:t + 1])`, sentences 0 to `sizes[t]`. Every tensor is contiguous.

N rows, B sentences, S source positions, G gates of H units; E embedding, D output, C context, A what is compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from torch import Tensor

from seq2att.recurrence.reference import CellName

Score = Literal["none", "dot", "additive"]


class Fused(NamedTuple):
    """What an attention says of itself, if the loop may do its work: how it scores, and its weights.

    none: a context of width 0; dot: scale * q . k; additive: v . tanh(W q + k). Then a masked softmax.
    """

    score: Score
    scale: float = 1.0  # of dot
    query: Tensor | None = None  # W [A, H] of additive
    energy: Tensor | None = None  # v [A] of additive


@dataclass
class Level:
    """One layer: its weights, its state, and a row of each buffer for every row."""

    hidden_weight: Tensor  # U [G*H, H]
    below_weight: Tensor | None  # W [G*H, H] of a layer above the lowest
    new_bias: Tensor | None  # [H] GRU: d of the new gate
    gates: Tensor  # [N, G*H] first all that is known before the loop, biases too; then activated; at last d (W x + b)
    outputs: Tensor  # [N, H] h
    previous: Tensor | None  # [N, H] LSTM: c, GRU: h before the step; None when nothing is kept
    extra: Tensor | None  # [N, H] LSTM: tanh c', GRU: U_n h + d_n
    below: Tensor | None  # [N, H] x, above the lowest: what the layer below gave, dropped
    mask: Tensor | None  # [N, H] of that dropout, 0 or 1 / (1 - p)
    hidden: Tensor  # [B, H] h now: first the start, at last the end
    memory: Tensor | None  # [B, H] LSTM: c now


@dataclass
class Loop:
    """A decoder's whole loop.

    With `out` the outputs are made, and fed, in the loop: tanh(readout [top ; context]), or the top itself without
    `readout`. Without, bahdanau feeds the context alone, and the outputs are made of `top` and `context` afterwards.
    """

    cell: CellName
    query_first: bool  # bahdanau: the query is the top layer's h before the step
    residual: bool  # layer l gives h_l + what layer l - 1 gave
    keep: bool  # for a way back
    sizes: list[int]  # rows alive at each step, no zeros
    levels: list[Level]
    fed_weight: Tensor | None  # [G*H, D] columns of the lowest W for the fed output
    context_weight: Tensor | None  # [G*H, C] bahdanau: and for the context
    top: Tensor  # [N, H] what the highest layer gives; its `outputs` unless residual
    # The readout
    readout_top: Tensor | None  # [D, H]
    readout_context: Tensor | None  # [D, C], None where C = 0
    said: Tensor | None  # [N, D] first the embedding's part of the readout; then its tanh
    out: Tensor | None  # [N, D] what is said, dropped; `said` itself without a mask
    out_mask: Tensor | None  # [N, D]
    fed: Tensor | None  # [B, D] the last output
    # The attention
    score: Score
    keys: Tensor | None  # [B, S, A], times the scale
    values: Tensor | None  # [B, S, C]
    holes: Tensor | None  # [B, S] bool, true where there is nothing; None where every position is real
    query_weight: Tensor | None  # [A, H] additive
    energy: Tensor | None  # [A] additive
    query: Tensor | None  # [N, A] additive: W q; None when nothing is kept
    weights: Tensor | None  # [N, S]
    context: Tensor | None  # [N, C]


@dataclass
class LevelSlopes:
    """The gradients of one layer."""

    through: Tensor  # [N, G*H] of U h; the `gates` themselves but in a GRU
    hidden: Tensor  # [B, H] of h: first of the end, at last of the start
    memory: Tensor | None  # [B, H] LSTM: of c


@dataclass
class Slopes:
    """The gradients of a loop: what comes from outside goes in, what the deferred products need comes out."""

    levels: list[LevelSlopes]
    top: Tensor | None  # [N, H] in: of `top`; None where `out` is made in the loop
    out: Tensor | None  # [N, D] in: of `out`; out: of what the tanh is taken of
    fed: Tensor | None  # [B, D] of the fed output: first of the end, at last of the start
    context: Tensor | None  # [N, C] in: of `context` from outside or 0; out: all of it
    weights: Tensor | None  # [N, S] in: of `weights` from outside, or None
    scores: Tensor | None  # [N, S] out: of the scores
    query: Tensor | None  # [N, A] out, additive: of W q
    energy: Tensor | None  # [N, A] out, additive: the sum of d score * tanh(W q + k) over S
    keys: Tensor | None  # [B, S, A] additive: first 0, then added to


class Engine(Protocol):
    """What goes through the steps: `feedback_steps` in Python, `native.loop` in C++."""

    def forward(self, loop: Loop) -> None:
        """Fill the loop's buffers."""

    def backward(self, loop: Loop, slopes: Slopes) -> None:
        """Fill the gradients; the gates become theirs."""
