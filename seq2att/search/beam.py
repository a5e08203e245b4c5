"""Beam search."""

from __future__ import annotations

from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from seq2att.errors import UserError
from seq2att.kernels import best
from seq2att.registry import Finite, Inherited, Range, register
from seq2att.search import NEVER, Generates, Search, next_step
from seq2att.search.record import Finished, Record, Transition, empty_scores, trace
from seq2att.types import BEGIN, END, Encoding, Hypotheses, select

Width = Annotated[int, Range(1, 10_000)]
"""Hypotheses of a row."""
CANDIDATES = 2  # for each place of the beam: at least half of them do not end


@register("search", "beam")
class Beam(Search):
    """Beam search: keeps the `size` likeliest prefixes of a row until that many hypotheses have ended.

    Hypotheses are ranked by log-probability / length ** length_penalty, the end symbol included in the length.

    Args:
        size: prefixes kept for a row.
        length_penalty: 0 ranks by probability, 1 by the mean log-probability of a token.
        n_best: hypotheses to return for a row, at most `size`.
    """

    def __init__(
        self, *, size: Width = 5, length_penalty: Finite = 1.0, n_best: Width = 1, **options: Inherited
    ) -> None:
        super().__init__(**options)
        if n_best > size:
            problem, remedy = f"must be at most search.size={size}", f"set search.size={n_best} (--beam {n_best})"
            raise UserError("E-conflict", f"search.n_best={n_best}", problem, remedy)
        self.size, self.length_penalty, self.n_best = size, length_penalty, n_best

    @property
    def width(self) -> int:
        """The number of hypotheses of a row that are followed at once."""
        return self.size

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        memory, state = generator.start(encoding)
        limits = self.limits(encoding).tolist()
        live = torch.arange(len(limits), device=encoding.mask.device)  # [b] rows not done
        scores = empty_scores(encoding).new_zeros(len(limits), 1)  # [b, k] of the prefixes; k is 1 at first, then K
        pool = empty_scores(encoding).new_full((len(limits), self.size), NEVER)  # [b, K] of the ended hypotheses
        parents, tokens, log_probs = live, torch.full_like(live, BEGIN), scores.flatten()  # [b * k]
        record = Record(self, encoding)
        while limits:
            step = next_step(generator, tokens, memory, state)
            candidates = self.choose(scores, self.restrict(step.log_probs, record.num_steps, limits))
            ended = candidates.ended / (record.num_steps + 1) ** self.length_penalty  # [b, K]
            pool = torch.cat([pool, ended], 1).topk(self.size, 1).values
            rows = live.repeat_interleave(self.size)  # [b * K]
            finished = Finished(rows, candidates.ended_parents, ended.flatten(), candidates.ended_log_probs)
            record.add(Transition(parents, tokens, log_probs, step.weights), finished)
            has_grown = scores.size(1) != self.size
            scores, parents, tokens, log_probs = candidates[:4]
            # The only time in a step that the host waits for the device.
            done = ((pool[:, -1] > NEVER) | (scores[:, 0] == NEVER)).tolist()
            if any(done):
                keep = torch.tensor([row for row, is_done in enumerate(done) if not is_done], device=live.device).long()
                limits = [limit for limit, is_done in zip(limits, done, strict=True) if not is_done]
                parts = (scores, parents, tokens, log_probs, pool, live)
                scores, parents, tokens, log_probs, pool, live = (part.index_select(0, keep) for part in parts)
            parents, tokens, log_probs = parents.flatten(), tokens.flatten(), log_probs.flatten()
            state = select(step.state, parents)
            if has_grown or any(done):
                memory = select(memory, parents)  # the same for all prefixes of a row: only the number of rows changes
        return trace(record, self.n_best)

    def choose(self, scores: Tensor, log_probs: Tensor) -> Candidates:
        """The likeliest continuations: `size` that do not end, and those that end among the first `size`."""
        (batch, width), vocabulary = scores.shape, log_probs.size(1)
        number = min(CANDIDATES * self.size, width * vocabulary)  # c
        totals, places = best(log_probs, scores, number)  # [b, c]
        if batch > 1:
            first = torch.arange(0, log_probs.numel(), width * vocabulary, device=places.device)
            places = places + first.unsqueeze(1)  # [b, c] in all of `log_probs`
        ends = places % vocabulary == END
        open_totals = totals.masked_fill(ends, NEVER)
        open_scores, order = open_totals.sort(dim=1, descending=True, stable=True)  # [b, c]
        if number < self.size:  # a vocabulary smaller than the beam: pad with what is never chosen
            spare = (0, self.size - number)
            open_scores, order = pad(open_scores, spare, value=NEVER), pad(order, spare)
            totals, places, ends = pad(totals, spare, value=NEVER), pad(places, spare), pad(ends, spare)
        chosen = places.gather(1, order[:, : self.size])  # [b, K]
        places = places[:, : self.size]
        return Candidates(
            open_scores[:, : self.size],
            chosen // vocabulary,
            chosen % vocabulary,
            log_probs.take(chosen),
            totals[:, : self.size].masked_fill(~ends[:, : self.size], NEVER),
            places.flatten() // vocabulary,
            log_probs.take(places).flatten(),
        )


class Candidates(NamedTuple):
    """The continuations of the prefixes of a beam."""

    scores: Tensor  # [b, K] of those that do not end, best first
    parents: Tensor  # [b, K] index into the live hypotheses
    tokens: Tensor  # [b, K]
    log_probs: Tensor  # [b, K] of the tokens
    ended: Tensor  # [b, K] scores of those that end; NEVER elsewhere
    ended_parents: Tensor  # [b * K]
    ended_log_probs: Tensor  # [b * K]
