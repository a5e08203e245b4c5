"""Search with given prefixes: every hypothesis of a row continues the tokens that it begins with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.search import Generates, next_step
from seq2att.search.record import empty_scores
from seq2att.types import BEGIN, PAD, Encoding, Hypotheses, Memory, State, Step, where


class PrefixState(NamedTuple):
    """The state of a generator after the prefixes."""

    inner: State
    last: Tensor  # [N] the last token of the prefix, or BEGIN


class Prefixes(NamedTuple):
    """The prefixes of all rows, with the generator's scores."""

    tokens: Tensor  # [B, P]
    lengths: Tensor  # [B]
    log_probs: Tensor  # [B, P]; 0 on padding
    weights: Tensor | None  # [B, P, S]


class Prefixed:
    """A generator whose state is already after the prefix of every row; any search can use it.

    Row b of the encoding begins with `prefixes[b]`, ids without begin and end, possibly none. A search finds what comes
    after them, which is what its limits count; `prepend` then puts the prefixes before the hypotheses.
    """

    def __init__(self, generator: Generates, prefixes: Sequence[Sequence[int]]) -> None:
        self.generator = generator
        self.ids = [list(map(int, prefix)) for prefix in prefixes]
        self.prefixes: Prefixes | None = None  # known when the search has started

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """Make the state after the prefixes, and score them."""
        rows, device = encoding.mask.size(0), encoding.mask.device
        if rows != len(self.ids):
            problem, remedy = f"got {len(self.ids)} prefixes for {rows} rows", "give one for each, or an empty one"
            raise UserError("E-argument", "prefixes", problem, remedy)
        lengths = torch.tensor([len(prefix) for prefix in self.ids], dtype=torch.long, device=device)  # [B]
        longest = max(map(len, self.ids), default=0)
        padded = [[*prefix, *[PAD] * (longest - len(prefix))] for prefix in self.ids]
        tokens = torch.tensor(padded, dtype=torch.long, device=device).view(rows, longest)  # [B, P]
        memory, state = self.generator.start(encoding)
        last, log_probs, weights = torch.full_like(lengths, BEGIN), empty_scores(encoding).new_zeros(rows, longest), []
        for place in range(longest):
            real, labels = lengths > place, tokens[:, place]
            step = next_step(self.generator, last, memory, state)
            log_probs[:, place] = step.log_probs.gather(1, labels.unsqueeze(1)).squeeze(1).masked_fill(~real, 0.0)
            weights.append(step.weights)
            state = where(real, step.state, state)
            last = torch.where(real, labels, last)
        attended = [each for each in weights if each is not None]
        self.prefixes = Prefixes(tokens, lengths, log_probs, torch.stack(attended, 1) if attended else None)
        return memory, PrefixState(state, last)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """Compute the step after `tokens` `[N]`, where BEGIN stands for the last token of the prefix."""
        step = next_step(self.generator, torch.where(tokens == BEGIN, state.last, tokens), memory, state.inner)
        return step._replace(state=PrefixState(step.state, state.last))

    def prepend(self, hypotheses: Hypotheses) -> Hypotheses:
        """Put the prefixes before the hypotheses; scores stay those that the search ranks by."""
        assert self.prefixes is not None
        tokens, lengths, log_probs, weights = self.prefixes
        has_ended = hypotheses.lengths > 0  # [B, K]

        def joined(prefix: Tensor, rest: Tensor) -> Tensor:
            return concatenate(prefix, rest, lengths)

        return Hypotheses(
            joined(tokens, hypotheses.tokens) * has_ended.unsqueeze(2),
            (hypotheses.lengths + lengths.unsqueeze(1)) * has_ended,
            hypotheses.scores,
            joined(log_probs, hypotheses.log_probs) * has_ended.unsqueeze(2),
            hypotheses.weights
            if weights is None or hypotheses.weights is None
            else joined(weights, hypotheses.weights),
        )


def concatenate(prefix: Tensor, rest: Tensor, lengths: Tensor) -> Tensor:
    """For each row the first `lengths[b]` of `prefix` `[B, P, ...]`, then `rest` `[B, K, T, ...]`."""
    batch, hypotheses, steps = rest.shape[:3]
    size, ones = prefix.size(1) + steps, (1,) * (rest.dim() - 3)
    place = torch.arange(size, device=lengths.device) - lengths.unsqueeze(1)  # [B, P + T] after the prefix
    in_prefix, in_rest = place < 0, (place >= 0) & (place < steps)
    shape = (batch, hypotheses, size, *rest.shape[3:])
    padded_rest = torch.cat([rest, rest.new_zeros(batch, hypotheses, size - steps, *rest.shape[3:])], 2)
    index = place.clamp(0, max(steps - 1, 0)).view(batch, 1, size, *ones).expand(shape)
    moved = padded_rest.gather(2, index) * in_rest.view(batch, 1, size, *ones).to(rest.dtype)
    padded = torch.cat([prefix, prefix.new_zeros(batch, steps, *prefix.shape[2:])], 1).unsqueeze(1)
    return torch.where(in_prefix.view(batch, 1, size, *ones), padded.to(rest.dtype), moved)
