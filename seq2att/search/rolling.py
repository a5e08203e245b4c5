"""Searches with one hypothesis for a row: greedy search and sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from seq2att.registry import Count, Inherited, Positive, Range, Seed, register
from seq2att.search import NEVER, Generates, Search, next_step
from seq2att.search.record import Finished, Record, Transition, empty_scores, trace
from seq2att.types import BEGIN, END, Encoding, Hypotheses, select, tree_map

Pick = Callable[[Tensor, Tensor, int], Tensor]
"""Picks tokens `[N]` from log-probabilities `[N, V]`, given the live rows `[N]` and the number of steps so far."""


@register("search", "greedy")
class Greedy(Search):
    """Greedy search: the likeliest token at every step."""

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        return roll_out(self, generator, encoding, lambda log_probs, live, num_steps: log_probs.argmax(-1))


@register("search", "sample")
class Sample(Search):
    """Sampling: draws every token from the model's distribution.

    Each row draws from a random stream of its own, so that its sample does not depend on its neighbours.

    Args:
        temperature: divides the log-probabilities.
        top_k: draw among the k likeliest tokens; 0 for all.
        top_p: draw among the fewest tokens with this total probability (Holtzman et al. 2020); 1 for all.
        seed: with the number of a row, seeds its random stream.
        n_best: samples of a row, likeliest first.
    """

    def __init__(
        self,
        *,
        temperature: Positive = 1.0,
        top_k: Count = 0,
        top_p: Annotated[float, Range(above=0, high=1)] = 1.0,
        seed: Seed = 1,
        n_best: Annotated[int, Range(1, 10_000)] = 1,
        **options: Inherited,
    ) -> None:
        super().__init__(**options)
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.seed, self.n_best = seed, n_best

    @property
    def width(self) -> int:
        """The number of hypotheses of a row that are followed at once."""
        return self.n_best

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

        def pick(log_probs: Tensor, live: Tensor, num_steps: int) -> Tensor:
            return self.draw(log_probs, padded[live, num_steps])

        return best_first(roll_out(self, generator, encoding, pick, copies), batch, self.n_best)

    def draw(self, log_probs: Tensor, chance: Tensor) -> Tensor:
        """The tokens `[N]` at which the cumulative probability, likeliest first, passes `chance` `[N]`."""
        size = self.top_k if 0 < self.top_k < log_probs.size(1) else log_probs.size(1)
        scores, tokens = (log_probs.double() / self.temperature).topk(size, -1)  # [N, k]
        probabilities = scores.softmax(-1)
        preceding = probabilities.cumsum(-1) - probabilities  # [N, k] total probability of the likelier tokens
        probabilities = probabilities * (preceding < self.top_p)
        cumulative = probabilities.cumsum(-1)
        place = (cumulative <= chance.unsqueeze(1) * cumulative[:, -1:]).sum(-1, keepdim=True)  # [N, 1]
        return tokens.gather(1, place.clamp(max=size - 1)).squeeze(1)


def stream(seed: int, row: int, copy: int) -> torch.Generator:
    """The random stream of one sample of a row."""
    return torch.Generator().manual_seed((seed * 1_000_003 + row) * 1_009 + copy)


def best_first(hypotheses: Hypotheses, batch: int, size: int) -> Hypotheses:
    """Regroup one hypothesis of each of `batch * size` rows into `size` of each of `batch` rows, likeliest first."""
    order = hypotheses.scores.view(batch, size).argsort(dim=1, descending=True, stable=True)
    order = (order + size * torch.arange(batch, device=order.device).unsqueeze(1)).flatten()
    grouped: Hypotheses = tree_map(lambda tensor: tensor[order].unflatten(0, (batch, size)).squeeze(2), hypotheses)
    return grouped


def roll_out(
    search: Search, generator: Generates, encoding: Encoding, pick: Pick, copies: Tensor | None = None
) -> Hypotheses:
    """Follow one hypothesis of each row, whose next token `pick` chooses; `copies` `[N]` repeats rows."""
    memory, state = generator.start(encoding)
    if copies is not None:
        encoding, memory, state = (select(tree, copies) for tree in (encoding, memory, state))
    live = torch.arange(encoding.mask.size(0), device=encoding.mask.device)  # [N] rows not finished
    limits = search.limits(encoding).tolist()
    parents, tokens = live, torch.full_like(live, BEGIN)
    log_probs = totals = empty_scores(encoding).new_zeros(live.size(0))  # [N]
    record = Record(search, encoding)
    while limits:
        step = next_step(generator, tokens, memory, state)
        picked = pick(search.restrict(step.log_probs, record.num_steps, limits), live, record.num_steps)
        picked_log_probs = step.log_probs.gather(1, picked.unsqueeze(1)).squeeze(1)  # [N]
        totals = totals + picked_log_probs
        is_end = picked == END
        indices = torch.arange(len(limits), device=live.device)
        finished = Finished(live, indices, totals.masked_fill(~is_end, NEVER), picked_log_probs)
        record.add(Transition(parents, tokens, log_probs, step.weights), finished)
        parents, tokens, log_probs, state = indices, picked, picked_log_probs, step.state
        ended = is_end.tolist()  # the only time in a step that the host waits for the device
        if any(ended):
            parents = torch.tensor([row for row, has_ended in enumerate(ended) if not has_ended], device=live.device)
            parents = parents.long()  # an empty list has no type
            limits = [limit for limit, has_ended in zip(limits, ended, strict=True) if not has_ended]
            tokens, log_probs, totals, live = (part[parents] for part in (tokens, log_probs, totals, live))
            state, memory = select(state, parents), select(memory, parents)
    return trace(record, 1)
