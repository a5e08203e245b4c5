"""Searches: find likely sequences, given a generator that returns the distribution of one step at a time.

A search calls a generator's `start` and `step` and nothing else. Every hypothesis ends with the end symbol, so that its
log-probability is that of the generator; at the length limit only the end symbol is allowed. Finished rows leave the
batch at every step, and no row depends on another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Protocol

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.registry import Range, expect, kind
from seq2att.types import BEGIN, END, PAD, Encoding, Hypotheses, Memory, State, Step

NEVER = -math.inf
LONGEST = 2048  # tokens of a hypothesis, unless `max_length` says otherwise: work is linear in the source's length
Length = Annotated[int, Range(0, 1_000_000)]
"""Tokens of a hypothesis."""


class Generates(Protocol):
    """What a search needs of a generator: a head, an ensemble, or anything else with these two methods."""

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """Make the memory and the first state, from an encoding of B rows."""

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """Compute the step after `tokens` `[N]`, the last token of each hypothesis; BEGIN at first."""


@kind("search")
class Search:
    """Searches likely sequences for every row of an encoding.

    A subclass writes `__call__`; its constructor passes `**options: Inherited` on to this one. `attention` set to False
    leaves out the attention weights, which take much memory for long inputs. A greedy search is, in short:

        memory, state = generator.start(encoding)
        step = generator.step(tokens, memory, state)  # tokens [N]; step.log_probs [N, V]
        tokens, state = self.restrict(step.log_probs, num_steps, limits).argmax(1), step.state

    Args:
        min_length: fewest tokens of a hypothesis, without the end symbol.
        max_length: most tokens, without the end symbol; null for twice the source's length plus 32, at most 2048.
    """

    def __init__(self, *, min_length: Length = 0, max_length: Length | None = None) -> None:
        if max_length is not None and min_length > max_length:
            problem, remedy = f"must be at most search.max_length={max_length}", f"set search.min_length={max_length}"
            raise UserError("E-conflict", f"search.min_length={min_length}", problem, remedy)
        self.min_length, self.max_length = min_length, max_length
        self.attention = True

    @property
    def width(self) -> int:
        """The number of hypotheses of a row that are followed at once."""
        return 1

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        """Search every row: `Hypotheses`, K of each row, best first.

        Args:
            generator: `start` and `step` of a model.
            encoding: the encoded sources, B rows.
            rows: the numbers `[B]` of the rows in the data, which seed samples; None: 0 to B - 1.
        """
        raise NotImplementedError

    def limits(self, encoding: Encoding) -> Tensor:
        """The most tokens of each row before its end symbol: `[B]`."""
        lengths = encoding.mask.sum(1)
        if self.max_length is not None:
            return torch.full_like(lengths, self.max_length)
        return (2 * lengths + 32).clamp(max=LONGEST)

    def restrict(self, log_probs: Tensor, num_steps: int, limits: Sequence[int]) -> Tensor:
        """Set tokens that are not allowed after `num_steps` tokens to -inf in `log_probs` `[N, V]`, in place.

        `limits` are those of the b rows of the batch; N is b times the number of hypotheses of a row.
        """
        log_probs.select(1, PAD).fill_(NEVER)
        log_probs.select(1, BEGIN).fill_(NEVER)
        width = log_probs.size(0) // max(1, len(limits))
        ends = log_probs.select(1, END)
        if num_steps < self.min_length:
            ends.index_fill_(0, true_rows([num_steps < limit for limit in limits], width, ends.device), NEVER)
        if num_steps >= min(limits, default=num_steps + 1):
            rows = true_rows([num_steps >= limit for limit in limits], width, ends.device)
            end_log_probs = ends.index_select(0, rows)
            log_probs.index_fill_(0, rows, NEVER)
            ends.index_copy_(0, rows, end_log_probs)
        return log_probs


def next_step(generator: Generates, tokens: Tensor, memory: Memory, state: State) -> Step:
    """The generator's step after `tokens` `[N]`; raise `E-contract` where it is not a `Step`."""
    return expect(generator.step(tokens, memory, state), Step, "head", generator)


def true_rows(flags: list[bool], width: int, device: torch.device) -> Tensor:
    """The indices of the true flags, each of which stands for `width` neighbouring rows."""
    rows = [row for place, flag in enumerate(flags) if flag for row in range(place * width, (place + 1) * width)]
    return torch.tensor(rows, dtype=torch.long, device=device)


# The components stand below the base class that they are made from.
from seq2att.search.beam import Beam  # noqa: E402
from seq2att.search.prefix import Prefixed  # noqa: E402
from seq2att.search.rolling import Greedy, Sample  # noqa: E402

__all__ = ["Beam", "Generates", "Greedy", "Prefixed", "Sample", "Search"]
