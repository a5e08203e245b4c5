"""Searches: which sequence to say, given a generator that scores one step at a time.

A search sees a generator's `start` and `step` and nothing else: no decoder's type, no attention. Every hypothesis ends
with the end symbol, so that its log-probability is the generator's own; where the length limit is reached, only the
end symbol is allowed. Finished sentences leave the batch at every step, and no row sees another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from seq2att.registry import kind
from seq2att.types import BEGIN, END, PAD, Encoding, Hypotheses, Memory, State, Step

NEVER = -math.inf


class Generates(Protocol):
    """What a search needs: a generator, an ensemble of them, anything with these two."""

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The memory and the first state."""

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """One step after `tokens` `[N]`."""


@kind("search")
class Search:
    """Finds likely sequences for every row of an encoding.

    `min_length` and `max_length` count tokens without the end symbol; `max_length` null is twice the source's length
    plus 32, for each row by itself. `attention` set to False does without the weights, which take much memory for
    long inputs.
    """

    def __init__(self) -> None:
        self.min_length = 0
        self.max_length: int | None = None
        self.attention = True

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        """Hypotheses of every row, best first; `rows` `[B]` are the rows' numbers in the data (for sampling)."""
        raise NotImplementedError

    def limits(self, encoding: Encoding) -> Tensor:
        """The most tokens `[B]` that each row may say before its end symbol."""
        lengths = encoding.mask.sum(1)
        return torch.full_like(lengths, self.max_length) if self.max_length is not None else 2 * lengths + 32

    def restrict(self, log_probs: Tensor, said: int, limits: Sequence[int]) -> Tensor:
        """Set what may not come after `said` tokens to `NEVER` in `log_probs` `[N, V]`, in place.

        `limits` are those of the sentences, each of which has as many rows as the others.
        """
        log_probs.select(1, PAD).fill_(NEVER)
        log_probs.select(1, BEGIN).fill_(NEVER)
        width = log_probs.size(0) // max(1, len(limits))
        ends = log_probs.select(1, END)
        if said < self.min_length:
            ends.index_fill_(0, rows_of([said < limit for limit in limits], width, ends.device), NEVER)
        if said >= min(limits, default=said + 1):
            rows = rows_of([said >= limit for limit in limits], width, ends.device)
            kept = ends.index_select(0, rows)
            log_probs.index_fill_(0, rows, NEVER)
            ends.index_copy_(0, rows, kept)
        return log_probs


def rows_of(sentences: list[bool], width: int, device: torch.device) -> Tensor:
    """The rows of the sentences that are meant, each of which has `width` rows."""
    rows = [row for place, one in enumerate(sentences) if one for row in range(place * width, (place + 1) * width)]
    return torch.tensor(rows, dtype=torch.long, device=device)


# The components stand below the base class that they are made from.
from seq2att.search.beam import Beam  # noqa: E402
from seq2att.search.prefix import Prefixed  # noqa: E402
from seq2att.search.rolling import Greedy, Sample  # noqa: E402

__all__ = ["Beam", "Generates", "Greedy", "Prefixed", "Sample", "Search"]
