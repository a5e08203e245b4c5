"""Attention: how a decoder looks at the memory.

A plugin subclasses `Attention` and writes `score`, and `keys` if the memory should be projected once per sentence;
the base class masks, normalises and averages.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from seq2att.errors import UserError, check_size
from seq2att.recurrence import Dense, is_exact
from seq2att.recurrence.feedback import Fused
from seq2att.registry import kind, register
from seq2att.types import Attended, Memory, State


@kind("attention")
class Attention(nn.Module):
    """Scores every position of the memory for a query; the context is their average by the softmax of the scores."""

    recurrent = False
    """True when step t must see what step t-1 attended to (coverage, location, monotonic)."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.output_size = memory_size  # C, the size of the context

    def keys(self, outputs: Tensor) -> State:
        """What `score` compares with, computed once per sentence from the encoder's outputs `[B, S, M]`."""
        return outputs

    def score(self, query: Tensor, keys: State) -> Tensor:
        """Scores `[B, T, S]` of the memory for the queries `[B, T, Q]`: the one method that a usual plugin writes."""
        raise NotImplementedError(f"{type(self).__name__} must define score(query, keys) -> [B, T, S]")

    def start(self, memory: Memory) -> State:
        """The state before the first step."""
        return ()

    def fused(self) -> Fused | None:
        """How a decoder's loop may do this attention's work in one operation; None: it must call `forward`.

        An attention that says something here promises that its `forward` is exactly that.
        """
        return None

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        """Context `[B, T, C]` and weights `[B, T, S]` of the queries `[B, T, Q]`; an empty memory gives zeros."""
        weights = masked_softmax(self.score(query, memory.keys), memory.mask)  # [B, T, S]
        return Attended(weights @ memory.values, weights, state)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """The softmax of scores `[B, T, S]` over the real positions of `mask` `[B, S]`; zeros where there is none."""
    real = mask.unsqueeze(1)  # [B, 1, S]
    lowest = torch.finfo(scores.dtype).min  # not -inf, whose softmax over an empty row is NaN
    return scores.masked_fill(~real, lowest).softmax(-1) * real


@register("attention", "none")
class NoAttention(Attention):
    """Looks at nothing: a context of width 0."""

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
    """Dot product of query and memory (Luong et al. 2015), which must be of one size: q . m."""

    def __init__(self, query_size: int, memory_size: int, *, scaled: bool = False) -> None:
        super().__init__(query_size, memory_size)
        if query_size != memory_size:
            raise UserError(
                f"attention=dot compares a query of size {query_size} (decoder.size) with a memory of size "
                f"{memory_size} (the encoder's output); make them equal, or take attention=general"
            )
        self.scale = query_size**-0.5 if scaled else 1.0

    def fused(self) -> Fused | None:
        return Fused("dot", self.scale) if is_exact(self, Dot) else None

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return (query * self.scale) @ keys.mT


@register("attention", "general")
class General(Attention):
    """Bilinear form of query and memory (Luong et al. 2015): q . W m."""

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
    """A layer of tanh units between query and memory (Bahdanau et al. 2015): v . tanh(W q + U m + b)."""

    AT_ONCE = 2**24  # tanh units held for one chunk of steps: 64 MiB in float32

    def __init__(self, query_size: int, memory_size: int, *, size: int = 256) -> None:
        super().__init__(query_size, memory_size)
        check_size("attention.size", size)
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
        steps = max(1, self.AT_ONCE // max(1, keys.numel()))
        if query.size(1) <= steps:
            return self.energies(query, keys)
        # Long sequences go in chunks of steps whose tanh is computed again on the way back: as fast, and small.
        chunks = [
            checkpoint(self.energies, part, keys, use_reentrant=False, preserve_rng_state=False)
            if torch.is_grad_enabled()
            else self.energies(part, keys)
            for part in query.split(steps, dim=1)
        ]
        return torch.cat(chunks, 1)

    def energies(self, query: Tensor, keys: Tensor) -> Tensor:
        """Scores `[B, T, S]` of a few steps: holds `[B, T, S, A]`."""
        units = torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1))  # [B, T, S, A]
        energies: Tensor = self.energy(units)
        return energies.squeeze(3)
