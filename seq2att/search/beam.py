"""Beam search."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from seq2att.errors import UserError, check_size
from seq2att.kernels import best
from seq2att.registry import register
from seq2att.search import NEVER, Generates, Search
from seq2att.search.record import Ends, Record, scores_of, trace
from seq2att.types import BEGIN, END, Encoding, Hypotheses, select

SEVERAL = 2  # candidates a beam for each place: at least half of them do not end


@register("search", "beam")
class Beam(Search):
    """Keeps the `size` likeliest beginnings; a sentence is done when that many hypotheses of it have ended.

    Ended hypotheses are ranked by log-probability divided by length ** `length_penalty` (the end symbol counts):
    0 ranks by probability, 1 by the mean over tokens. `n_best` of them are returned.
    """

    def __init__(
        self,
        *,
        size: int = 5,
        length_penalty: float = 1.0,
        n_best: int = 1,
        min_length: int = 0,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        check_size("search.size", size)
        check_size("search.n_best", n_best)
        if n_best > size:
            raise UserError(
                f"search.n_best={n_best} asks for more than the beam of search.size={size} holds; "
                f"set search.size={n_best} or more (--beam {n_best})"
            )
        self.min_length, self.max_length = min_length, max_length
        self.size, self.length_penalty, self.n_best = size, length_penalty, n_best

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        memory, state = generator.start(encoding)
        limits = self.limits(encoding).tolist()
        live = torch.arange(len(limits), device=encoding.mask.device)  # [b] sentences not done
        scores = scores_of(encoding).new_zeros(len(limits), 1)  # [b, k] of the beginnings; one at first, then `size`
        pool = scores_of(encoding).new_full((len(limits), self.size), NEVER)  # [b, K] scores of what has ended
        parents, tokens, log_probs = live, torch.full_like(live, BEGIN), scores.flatten()  # [b * k]
        record = Record(self, encoding)
        while limits:
            said = generator.step(tokens, memory, state)
            found = self.choose(scores, self.restrict(said.log_probs, record.said, limits))
            ended = found.ended / (record.said + 1) ** self.length_penalty  # [b, K]
            pool = torch.cat([pool, ended], 1).topk(self.size, 1).values
            every = live.unsqueeze(1).expand(-1, self.size)  # [b, K]
            ends = Ends(every.flatten(), found.ended_parents, ended.flatten(), found.ended_log_probs)
            record.add(parents, tokens, log_probs, said, ends)
            grown = scores.size(1) != self.size
            scores, parents, tokens, log_probs = found[:4]
            # The one time in a step that the host waits for the device.
            done = ((pool[:, -1] > NEVER) | (scores[:, 0] == NEVER)).tolist()
            if any(done):
                keep = torch.tensor([place for place, one in enumerate(done) if not one], device=live.device).long()
                limits = [limit for limit, one in zip(limits, done, strict=True) if not one]
                parts = (scores, parents, tokens, log_probs, pool, live)
                scores, parents, tokens, log_probs, pool, live = (part.index_select(0, keep) for part in parts)
            parents, tokens, log_probs = parents.flatten(), tokens.flatten(), log_probs.flatten()
            state = select(said.state, parents)
            if grown or any(done):
                memory = select(memory, parents)  # beams of a sentence share it: only its number of rows changes
        return trace(record, self.n_best)

    def choose(self, scores: Tensor, log_probs: Tensor) -> Candidates:
        """The likeliest ways on from the beginnings: `size` that go on, and those that end among the first `size`."""
        (batch, width), vocabulary = scores.shape, log_probs.size(1)
        number = min(SEVERAL * self.size, width * vocabulary)  # c
        found, places = best(log_probs, scores, number)  # [b, c]
        if batch > 1:
            first = torch.arange(0, log_probs.numel(), width * vocabulary, device=places.device)
            places = places + first.unsqueeze(1)  # [b, c] in all of `log_probs`
        ends = places % vocabulary == END
        going = found.masked_fill(ends, NEVER)
        kept, order = going.sort(dim=1, descending=True, stable=True)  # [b, c]
        if number < self.size:  # a vocabulary smaller than the beam: fill up with what is never chosen
            spare = (0, self.size - number)
            kept, order = pad(kept, spare, value=NEVER), pad(order, spare)
            found, places, ends = pad(found, spare, value=NEVER), pad(places, spare), pad(ends, spare)
        chosen = places.gather(1, order[:, : self.size])  # [b, K]
        places = places[:, : self.size]
        return Candidates(
            kept[:, : self.size],
            chosen // vocabulary,
            chosen % vocabulary,
            log_probs.take(chosen),
            found[:, : self.size].masked_fill(~ends[:, : self.size], NEVER),
            places.flatten() // vocabulary,
            log_probs.take(places).flatten(),
        )


class Candidates(NamedTuple):
    """How a beam may go on."""

    scores: Tensor  # [b, K] of those that go on, best first
    parents: Tensor  # [b, K] index into the live hypotheses
    tokens: Tensor  # [b, K]
    log_probs: Tensor  # [b, K] of the tokens
    ended: Tensor  # [b, K] scores of those that end; NEVER: it does not
    ended_parents: Tensor  # [b * K]
    ended_log_probs: Tensor  # [b * K]
