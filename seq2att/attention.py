"""Attention: from a query to a weighted average of the memory.

A plugin subclasses `Attention` and writes `score`, and `keys` to project the memory once per sentence; the base class
masks, normalises and averages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seq2att.errors import UserError
from seq2att.recurrence import Dense, is_exact
from seq2att.recurrence.feedback import Fused
from seq2att.registry import Size, kind, register
from seq2att.types import Attended, Memory, State


@kind("attention")
class Attention(nn.Module):
    """Attends to a memory: context = sum over s of softmax(score(query, keys))[s] * values[s].

    A subclass writes `score`; most need nothing else. The program gives `query_size` (Q) and `memory_size` (M) to its
    constructor. One that needs lengths or the mask overrides `forward`; one whose step depends on the step before sets
    `recurrent = True` and keeps what it needs in the state (`start`).
    """

    recurrent = False
    """Whether step t needs the state after step t - 1, as in coverage or monotonic attention."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.output_size = memory_size  # C, the size of the context

    def keys(self, outputs: Tensor) -> State:
        """Compute what `score` compares with, once per sentence, from the encoder's outputs `[B, S, M]`."""
        return outputs

    def score(self, query: Tensor, keys: State) -> Tensor:
        """Score the positions of the memory for the queries `[B, T, Q]`: `[B, T, S]`, before masking."""
        raise NotImplementedError(f"{type(self).__name__} must define score(query, keys) -> [B, T, S]")

    def start(self, memory: Memory) -> State:
        """Make the state before the first step, a tree of tensors whose dimension 0 is the batch."""
        return ()

    def fused(self) -> Fused | None:
        """Describe this attention to the fused loop of a decoder; None: the loop must call `forward`.

        What is returned promises that `forward` computes exactly that. A plugin needs none of it.
        """
        return None

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        """Attend with the queries `[B, T, Q]`; an empty memory gives zeros.

        Returns:
            `Attended(context [B, T, C], weights [B, T, S], state)`; weights are 0 on padding and sum to 1.
        """
        weights = self.normalize(self.score(query, memory.keys), memory.mask)  # [B, T, S]
        return Attended(weights @ memory.values, weights, state)

    def normalize(self, scores: Tensor, mask: Tensor) -> Tensor:
        """`masked_softmax`; a `forward` of your own that calls it has its scores in an explanation of the model."""
        return masked_softmax(scores, mask)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax of scores `[B, T, S]` or `[B, heads, T, S]` over the real positions of `mask` `[B, S]`, else zeros."""
    real = mask.reshape(mask.size(0), *[1] * (scores.dim() - 2), mask.size(1))  # [B, 1, S]
    lowest = torch.finfo(scores.dtype).min  # not -inf, whose softmax over an empty row is NaN
    return scores.masked_fill(~real, lowest).softmax(-1) * real


@register("attention", "none")
class NoAttention(Attention):
    """No attention: a context of size 0."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__(query_size, memory_size)
        self.output_size = 0

    def keys(self, outputs: Tensor) -> State:
        return ()

    def fused(self) -> Fused | None:
        return Fused("none") if is_exact(self, NoAttention) else None

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        return Attended(query[..., :0], None, state)


@register("attention", "dot")
class Dot(Attention):
    """Dot-product attention: score = q . m, with query and memory of one size (Luong et al. 2015).

    Args:
        scaled: divide the scores by the square root of the size (Vaswani et al. 2017).
    """

    def __init__(self, query_size: int, memory_size: int, *, scaled: bool = False) -> None:
        super().__init__(query_size, memory_size)
        if query_size != memory_size:
            raise UserError(
                "E-conflict",
                "attention=dot",
                f"the query size {query_size} (decoder.size) must equal the encoder's output size {memory_size}",
                "make them equal, or set attention=general",
            )
        self.scale = query_size**-0.5 if scaled else 1.0

    def fused(self) -> Fused | None:
        return Fused("dot", self.scale) if is_exact(self, Dot) else None

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return (query * self.scale) @ keys.mT


@register("attention", "general")
class General(Attention):
    """General (bilinear) attention: score = q . W m (Luong et al. 2015)."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__(query_size, memory_size)
        self.key = Dense(memory_size, query_size, bias=False)

    def fused(self) -> Fused | None:
        return Fused("dot") if is_exact(self, General, Dense) else None

    def keys(self, outputs: Tensor) -> State:
        return self.key(outputs)  # [B, S, Q]

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys.mT


@register("attention", "additive")
class Additive(Attention):
    """Bahdanau (additive) attention: score = v . tanh(W q + U m + b) (Bahdanau et al. 2015).

    Args:
        size: units of the tanh layer.
    """

    CHUNK = 2**24  # tanh units held for one chunk of steps: 64 MiB in float32

    def __init__(self, query_size: int, memory_size: int, *, size: Size = 256) -> None:
        super().__init__(query_size, memory_size)
        self.query = Dense(query_size, size, bias=False)
        self.key = Dense(memory_size, size)
        self.energy = Dense(size, 1, bias=False)

    def fused(self) -> Fused | None:
        if not is_exact(self, Additive, Dense) or any(layer.bias is not None for layer in (self.query, self.energy)):
            return None
        return Fused("additive", query=self.query.weight, energy=self.energy.weight.squeeze(0))

    def keys(self, outputs: Tensor) -> State:
        return self.key(outputs)  # [B, S, A]

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        steps = max(1, self.CHUNK // max(1, keys.numel()))
        if query.size(1) <= steps:
            return self.energies(query, keys)
        # Long sequences go in chunks of steps whose tanh is computed again in the backward pass: as fast, and small.
        chunks = [
            checkpoint(self.energies, part, keys, use_reentrant=False, preserve_rng_state=False)
            if torch.is_grad_enabled()
            else self.energies(part, keys)
            for part in query.split(steps, dim=1)
        ]
        return torch.cat(chunks, 1)

    def energies(self, query: Tensor, keys: Tensor) -> Tensor:
        """Score a few steps, `[B, T, S]`; holds `[B, T, S, A]`."""
        units = torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1))  # [B, T, S, A]
        energies: Tensor = self.energy(units)
        return energies.squeeze(3)
