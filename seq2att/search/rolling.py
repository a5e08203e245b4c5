"""Searches that follow one hypothesis a row: the likeliest token each time, or one that is drawn."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from seq2att.errors import UserError, check_size
from seq2att.registry import register
from seq2att.search import NEVER, Generates, Search
from seq2att.search.record import Ends, Record, scores_of, trace
from seq2att.types import BEGIN, END, Encoding, Hypotheses, select

Pick = Callable[[Tensor, Tensor, int], Tensor]
"""Chooses tokens `[N]` from log-probabilities `[N, V]`, given the rows `[N]` that still speak and the steps so far."""
LAST_SEED = 2**32 - 1  # with the number of a row, it is still one of torch


@register("search", "greedy")
class Greedy(Search):
    """Says the likeliest token at every step."""

    def __init__(self, *, min_length: int = 0, max_length: int | None = None) -> None:
        super().__init__()
        self.min_length, self.max_length = min_length, max_length

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        return roll_out(self, generator, encoding, lambda log_probs, live, said: log_probs.argmax(-1))


@register("search", "sample")
class Sample(Search):
    """Draws every token from the model's distribution.

    `temperature` divides the log-probabilities; `top_k` keeps the likeliest k tokens (0: no limit), `top_p` the fewest
    that hold that much probability (Holtzman et al. 2020; 1: all). Each row draws from a stream of its own, given by
    `seed` and the row's number, so that its sample does not depend on its neighbours. `n_best` samples a row, likeliest
    first.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        n_best: int = 1,
        min_length: int = 0,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise UserError(
                f"search.temperature={temperature}: allowed is a number above 0; for the likeliest token each time "
                f"take search=greedy (--beam 1)"
            )
        if top_k < 0:
            raise UserError(f"search.top_k={top_k}: allowed is 1 or more tokens, or 0 for all of them; set top_k=0")
        if not 0 < top_p <= 1:
            raise UserError(f"search.top_p={top_p}: allowed is above 0 and at most 1, which keeps all; set top_p=1")
        if not 0 <= seed <= LAST_SEED:
            raise UserError(f"search.seed={seed}: allowed is 0 to {LAST_SEED}; set another one")
        check_size("search.n_best", n_best)
        self.min_length, self.max_length = min_length, max_length
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.seed, self.n_best = seed, n_best

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        batch = encoding.mask.size(0)
        rows = torch.arange(batch) if rows is None else rows.cpu()
        copies = torch.arange(batch, device=encoding.mask.device).repeat_interleave(self.n_best)
        limits = self.limits(encoding).tolist()
        chances = [
            torch.rand(limit + 1, generator=stream(self.seed, row, copy), dtype=torch.float64)
            for row, limit in zip(rows.tolist(), limits, strict=True)
            for copy in range(self.n_best)
        ]
        padded = torch.nn.utils.rnn.pad_sequence(chances, batch_first=True) if chances else torch.zeros(0, 1)
        padded = padded.to(encoding.mask.device)  # [B*K, T]

        def draw(log_probs: Tensor, live: Tensor, said: int) -> Tensor:
            return self.draw(log_probs, padded[live, said])

        found = roll_out(self, generator, encoding, draw, copies)
        return ranked(found, batch, self.n_best)

    def draw(self, log_probs: Tensor, chance: Tensor) -> Tensor:
        """The token `[N]` where the cumulated probability of the likeliest ones passes `chance` `[N]`."""
        kept = self.top_k if 0 < self.top_k < log_probs.size(1) else log_probs.size(1)
        best, tokens = (log_probs.double() / self.temperature).topk(kept, -1)  # [N, k]
        probabilities = best.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities  # [N, k] what the likelier ones hold
        probabilities = probabilities * (before < self.top_p)
        cumulated = probabilities.cumsum(-1)
        place = (cumulated <= chance.unsqueeze(1) * cumulated[:, -1:]).sum(-1, keepdim=True)  # [N, 1]
        return tokens.gather(1, place.clamp(max=kept - 1)).squeeze(1)


def stream(seed: int, row: int, copy: int) -> torch.Generator:
    """The random numbers of one sample of one row."""
    return torch.Generator().manual_seed((seed * 1_000_003 + row) * 1_009 + copy)


def ranked(found: Hypotheses, batch: int, size: int) -> Hypotheses:
    """Hypotheses of `batch * size` rows as `size` a row, likeliest first."""
    scores = found.scores.view(batch, size)
    order = scores.argsort(dim=1, descending=True, stable=True)
    order = (order + size * torch.arange(batch, device=order.device).unsqueeze(1)).flatten()

    def regroup(tensor: Tensor) -> Tensor:
        grouped: Tensor = tensor[order].unflatten(0, (batch, size))
        return grouped.squeeze(2)

    weights = None if found.weights is None else regroup(found.weights)
    tokens, lengths, scores, log_probs = (regroup(tensor) for tensor in found[:4] if tensor is not None)
    return Hypotheses(tokens, lengths, scores, log_probs, weights)


def roll_out(
    search: Search, generator: Generates, encoding: Encoding, pick: Pick, copies: Tensor | None = None
) -> Hypotheses:
    """One hypothesis a row: at every step `pick` chooses each live row's token; `copies` `[N]` repeats rows."""
    memory, state = generator.start(encoding)
    if copies is not None:
        encoding, memory, state = (select(tree, copies) for tree in (encoding, memory, state))
    live = torch.arange(encoding.mask.size(0), device=encoding.mask.device)  # [N] rows still speaking
    limits = search.limits(encoding).tolist()
    parents, tokens = live, torch.full_like(live, BEGIN)
    log_probs = totals = scores_of(encoding).new_zeros(live.size(0))  # [N]
    record = Record(search, encoding)
    while limits:
        said = generator.step(tokens, memory, state)
        allowed = search.restrict(said.log_probs, record.said, limits)
        chosen = pick(allowed, live, record.said)
        gained = said.log_probs.gather(1, chosen.unsqueeze(1)).squeeze(1)  # [N]
        totals = totals + gained
        over = chosen == END
        everyone = torch.arange(len(limits), device=live.device)
        ends = Ends(live, everyone, totals.masked_fill(~over, NEVER), gained)
        record.add(parents, tokens, log_probs, said, ends)
        parents, tokens, log_probs, state = everyone, chosen, gained, said.state
        ended = over.tolist()  # the one time in a step that the host waits for the device
        if any(ended):
            parents = torch.tensor([place for place, one in enumerate(ended) if not one], device=live.device)
            parents = parents.long()  # an empty list has no type
            limits = [limit for limit, one in zip(limits, ended, strict=True) if not one]
            tokens, log_probs, totals, live = (part[parents] for part in (tokens, log_probs, totals, live))
            state, memory = select(state, parents), select(memory, parents)
    return trace(record, 1)
