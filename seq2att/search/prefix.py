"""Beginnings that are given: a search says how they go on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.search import Generates
from seq2att.search.record import scores_of
from seq2att.types import BEGIN, PAD, Encoding, Hypotheses, Memory, State, Step, length_mask, where


class PrefixState(NamedTuple):
    """Where a generator stands, and what it said last when it was given to the search."""

    inner: State
    last: Tensor  # [N] the last token of the prefix, or BEGIN


class Prefixed:
    """A generator that has said the beginning of every row already, whatever the search.

    Row b of the encoding has said `prefixes[b]`, ids without begin and end, which may be none at all. The search finds
    what follows, which is what its limits count; `whole` puts the prefix before it, so that a hypothesis and its
    log-probabilities are those of the generator.
    """

    def __init__(self, generator: Generates, prefixes: Sequence[Sequence[int]]) -> None:
        self.generator = generator
        self.prefixes = [list(map(int, prefix)) for prefix in prefixes]
        none = torch.zeros(0, 0)
        self.said = Said(none.long(), none.long().flatten(), none, None)  # known when the search has begun

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The state after the prefixes, which are scored on the way."""
        rows, device = encoding.mask.size(0), encoding.mask.device
        if rows != len(self.prefixes):
            raise ValueError(f"{len(self.prefixes)} prefixes for {rows} rows; give one for each, or an empty one")
        lengths = torch.tensor([len(prefix) for prefix in self.prefixes], dtype=torch.long, device=device)  # [B]
        longest = max(map(len, self.prefixes), default=0)
        padded = [[*prefix, *[PAD] * (longest - len(prefix))] for prefix in self.prefixes]
        tokens = torch.tensor(padded, dtype=torch.long, device=device).view(rows, longest)  # [B, P]
        memory, state = self.generator.start(encoding)
        last, log_probs, weights = torch.full_like(lengths, BEGIN), scores_of(encoding).new_zeros(rows, longest), []
        for place in range(longest):
            given, wanted = lengths > place, tokens[:, place]
            said = self.generator.step(last, memory, state)
            log_probs[:, place] = said.log_probs.gather(1, wanted.unsqueeze(1)).squeeze(1).masked_fill(~given, 0.0)
            weights.append(said.weights)
            state = where(given, said.state, state)
            last = torch.where(given, wanted, last)
        looked = [one for one in weights if one is not None]
        self.said = Said(tokens, lengths, log_probs, torch.stack(looked, 1) if looked else None)
        return memory, PrefixState(state, last)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """One step after `tokens` `[N]`; what a search takes for the beginning is the end of the prefix."""
        said = self.generator.step(torch.where(tokens == BEGIN, state.last, tokens), memory, state.inner)
        return said._replace(state=PrefixState(said.state, state.last))

    def whole(self, found: Hypotheses) -> Hypotheses:
        """What the search found, each with its prefix; scores are still those that the search ranked by."""
        tokens, lengths, log_probs, looked = self.said
        batch, hypotheses, steps = found.tokens.shape
        size = tokens.size(1) + steps
        spoken = length_mask(lengths, size)[:, None, :]  # [B, 1, P + T] where the prefix is
        place = torch.arange(size, device=lengths.device) - lengths.unsqueeze(1)  # [B, P + T] after the prefix
        held = (place >= 0) & (place < steps)
        index = place.clamp(0, max(steps - 1, 0)).unsqueeze(1).expand(batch, hypotheses, size)

        def joined(before: Tensor, after: Tensor) -> Tensor:
            """`[B, P, ...]` and `[B, K, T, ...]`, one after the other."""
            rest = (1,) * (after.dim() - 3)
            shape = (batch, hypotheses, size, *after.shape[3:])
            more = after.new_zeros(batch, hypotheses, size - steps, *after.shape[3:])
            moved = torch.cat([after, more], 2).gather(2, index.view(*index.shape, *rest).expand(shape))
            padded = torch.cat([before, before.new_zeros(batch, steps, *before.shape[2:])], 1).unsqueeze(1)
            moved = moved * held[:, None, :].view(batch, 1, size, *rest).to(moved.dtype)
            return torch.where(spoken.view(batch, 1, size, *rest), padded.to(moved.dtype), moved)

        real = found.lengths > 0  # [B, K]
        weights = found.weights if looked is None or found.weights is None else joined(looked, found.weights)
        whole = [joined(one, other) for one, other in ((tokens, found.tokens), (log_probs, found.log_probs))]
        kept = [tensor * real.unsqueeze(2).to(tensor.dtype) for tensor in whole]
        return Hypotheses(kept[0], (found.lengths + lengths.unsqueeze(1)) * real, found.scores, kept[1], weights)


class Said(NamedTuple):
    """The prefixes of all rows, as the generator finds them."""

    tokens: Tensor  # [B, P]
    lengths: Tensor  # [B]
    log_probs: Tensor  # [B, P]; 0 on padding
    weights: Tensor | None  # [B, P, S]
