"""Chains of tags: the score of a path, the sum over all paths, the best of them (Lafferty et al. 2001).

A path y of tags over n items scores `start[y1] + sum_t emissions[t, yt] + sum_t pairs[yt, yt+1] + end[yn]`, and its
probability is the softmax of that over all K^n paths. Sums run in float64 on probabilities that are normalised at every
step, so a step is one matrix product; nothing in them depends on what stands on padding.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seq2att.types import length_mask

FORBIDDEN = -1e9  # beyond every score, yet finite: where no path keeps the rules, the best breaks the fewest


class Chain(NamedTuple):
    """Scores of tags by their neighbours."""

    start: Tensor  # [K] of the first tag
    pairs: Tensor  # [K, K] of a tag (column) after another (row)
    end: Tensor  # [K] of the last tag

    def limited(self, follow: Tensor) -> Chain:
        """The chain with what may not follow forbidden, by `[K + 1, K + 1]`, of which the last is start and end."""
        cost = exact(torch.zeros_like(follow, dtype=torch.float32)).masked_fill(~follow, FORBIDDEN)
        return Chain(self.start + cost[-1, :-1], self.pairs + cost[:-1, :-1], self.end + cost[:-1, -1])


class Transitions(nn.Module):
    """What a chain learns: scores for the first tag, the last one, and each pair of neighbours."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(size))
        self.pairs = nn.Parameter(torch.zeros(size, size))
        self.end = nn.Parameter(torch.zeros(size))

    def chain(self) -> Chain:
        """The scores, in the precision of the sums."""
        return Chain(exact(self.start), exact(self.pairs), exact(self.end))


def exact(tensor: Tensor) -> Tensor:
    """The tensor in float64, where the device has that."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()


def log_probability(emissions: Tensor, lengths: Tensor, tags: Tensor, chain: Chain) -> Tensor:
    """Log p of the paths `tags` `[B, S]` under `emissions` `[B, S, K]`: `[B]`; 0 of no items.

    Where a tag is -1, any may stand there: the probability is the sum over all of them.
    """
    emissions = exact(emissions)
    total = partition(emissions, lengths, chain)
    mask = length_mask(lengths, tags.size(1))  # [B, S]
    known = mask & (tags >= 0)
    if bool((known == mask).all()):
        return path_score(emissions, lengths, tags.clamp(min=0), chain) - total
    numbers = torch.arange(emissions.size(2), device=tags.device)
    possible = ~known.unsqueeze(2) | (tags.unsqueeze(2) == numbers)  # [B, S, K]
    return partition(emissions.masked_fill(~possible, -torch.inf), lengths, chain) - total


def path_score(emissions: Tensor, lengths: Tensor, tags: Tensor, chain: Chain) -> Tensor:
    """The score of the paths `tags` `[B, S]`: `[B]`."""
    if tags.size(1) == 0:
        return emissions.sum((1, 2))
    mask = length_mask(lengths, tags.size(1))  # [B, S]
    items = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)  # [B, S]
    after = tags[:, :-1] * emissions.size(2) + tags[:, 1:]  # [B, S - 1]
    pairs = chain.pairs.flatten().gather(0, after.flatten()).view_as(after)  # [B, S - 1]
    last = tags.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)  # [B]
    ends = (chain.start.gather(0, tags[:, 0]) + chain.end.gather(0, last)) * (lengths > 0)
    return (items * mask).sum(1) + (pairs * mask[:, 1:]).sum(1) + ends


def partition(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The logarithm of the sum of exp(score) over all paths `[B]`; 0 of no items."""
    total: Tensor = Partition.apply(emissions, lengths, *chain)  # type: ignore[no-untyped-call]
    return total


class Sums(NamedTuple):
    """The sums over all beginnings of paths, and what they were made of; steps come first."""

    weights: Tensor  # [S, B, K] exp(emissions), divided by the largest
    forwards: Tensor  # [S, B, K] the share of each tag among the beginnings that end in it
    factors: Tensor  # [S, B] what each step was divided by
    pairs: Tensor  # [K, K] exp(pairs), divided by the largest
    end: Tensor  # [K] exp(end), divided by the largest


def sum_forwards(emissions: Tensor, chain: Chain) -> Sums:
    """The forward algorithm on `emissions` `[B, S, K]`."""
    steps = emissions.transpose(0, 1)  # [S, B, K]
    weights = (steps - steps.amax(2, keepdim=True)).exp()
    start, pairs, end = ((part - part.max()).exp() for part in chain)
    least = torch.finfo(weights.dtype).tiny
    forwards, factors = torch.empty_like(weights), weights.new_empty(weights.shape[:2])
    for step in range(len(weights)):
        shares = (start if step == 0 else forwards[step - 1] @ pairs) * weights[step]  # [B, K]
        factor = shares.sum(1).clamp(min=least)
        torch.div(shares, factor.unsqueeze(1), out=forwards[step])
        factors[step] = factor
    return Sums(weights, forwards, factors, pairs, end)


def log_sum(emissions: Tensor, lengths: Tensor, chain: Chain, sums: Sums) -> Tensor:
    """The logarithm of the sum over all paths `[B]`, from the sums over their beginnings."""
    steps = len(sums.factors)
    if steps == 0:
        return emissions.new_zeros(len(lengths))
    mask = length_mask(lengths, steps)  # [B, S]
    logs = sums.factors.t().log() + emissions.amax(2)  # [B, S]
    logs[:, 0] += chain.start.max()
    logs[:, 1:] += chain.pairs.max()
    place = (lengths - 1).clamp(min=0)
    last = sums.forwards[place, torch.arange(len(lengths), device=place.device)]  # [B, K]
    ending = (last @ sums.end).clamp(min=torch.finfo(last.dtype).tiny).log() + chain.end.max()
    return logs.masked_fill(~mask, 0.0).sum(1) + ending.masked_fill(lengths == 0, 0.0)


def sum_backwards(lengths: Tensor, sums: Sums) -> Tensor:
    """The sums over all ends of paths `[S, B, K]`, each step normalised; meaningless on padding."""
    steps = len(sums.weights)
    least = torch.finfo(sums.weights.dtype).tiny
    backwards = torch.empty_like(sums.weights)
    back = sums.pairs.t()
    last = (torch.arange(steps, device=lengths.device).unsqueeze(1) >= lengths - 1).unsqueeze(2)  # [S, B, 1]
    for step in range(steps - 1, -1, -1):
        if step == steps - 1:
            backwards[step] = sums.end
            continue
        shares = (sums.weights[step + 1] * backwards[step + 1]) @ back  # [B, K]
        shares /= shares.sum(1, keepdim=True).clamp(min=least)
        torch.where(last[step], sums.end, shares, out=backwards[step])
    return backwards


def occupied(lengths: Tensor, sums: Sums, backwards: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of every tag at every item `[S, B, K]`, 0 on padding, and what it was divided by `[S, B, 1]`."""
    both = sums.forwards * backwards
    total = both.sum(2, keepdim=True).clamp(min=torch.finfo(both.dtype).tiny)
    mask = length_mask(lengths, len(both)).t().unsqueeze(2)  # [S, B, 1]
    return both / total * mask, total


@torch.no_grad()
def marginals(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The probability of every tag at every item, over all paths `[B, S, K]`; 0 on padding."""
    sums = sum_forwards(exact(emissions), chain)
    return occupied(lengths, sums, sum_backwards(lengths, sums))[0].transpose(0, 1)


class Partition(torch.autograd.Function):
    """`partition`, whose gradients are probabilities: of tags, and of pairs of neighbours (forward-backward)."""

    @staticmethod
    def forward(context: Any, emissions: Tensor, lengths: Tensor, *scores: Tensor) -> Tensor:
        """From `[B, S, K]`, `[B]` and the parts of a chain to `[B]`."""
        chain = Chain(*scores)
        sums = sum_forwards(emissions, chain)
        context.save_for_backward(lengths, *sums)
        return log_sum(emissions, lengths, chain, sums)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the emissions and of the chain."""
        if torch.is_grad_enabled():  # it would be a constant to whoever wants a gradient of it
            raise RuntimeError("the loss of a chain of tags can be differentiated once only")
        lengths, *parts = context.saved_tensors
        sums = Sums(*parts)
        backwards = sum_backwards(lengths, sums)
        tags, total = occupied(lengths, sums, backwards)
        tags = tags * gradient.unsqueeze(1)  # [S, B, K]
        steps, _, size = tags.shape
        mask = length_mask(lengths, steps).t() * gradient  # [S, B]
        later = sums.weights * backwards * (mask / sums.factors).unsqueeze(2) / total  # [S, B, K]
        pairs = sums.forwards[:-1].reshape(-1, size).t() @ later[1:].reshape(-1, size) * sums.pairs  # [K, K]
        last = torch.arange(steps, device=lengths.device).unsqueeze(1) == lengths - 1  # [S, B]
        start = tags[:1].sum((0, 1))
        return tags.transpose(0, 1), None, start, pairs, (tags * last.unsqueeze(2)).sum((0, 1))


@torch.no_grad()
def best_path(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The path with the highest score `[B, S]` (Viterbi 1967); what stands on padding means nothing."""
    steps = exact(emissions).transpose(0, 1)  # [S, B, K]
    scores = torch.empty_like(steps)  # of the best beginning that ends in a tag
    before = chain.pairs.t().contiguous()  # [K, K] the row comes after the column
    through = steps.new_empty(len(lengths), *before.shape)  # made once: memory is slower than the sums
    for step in range(len(steps)):
        if step > 0:
            torch.add(scores[step - 1].unsqueeze(1), before, out=through)
        torch.add(through.amax(2) if step > 0 else chain.start, steps[step], out=scores[step])
    tags = lengths.new_zeros(steps.shape[:2])  # [S, B]
    last = (torch.arange(len(steps), device=lengths.device).unsqueeze(1) >= lengths - 1).unsqueeze(2)  # [S, B, 1]
    for step in range(len(steps) - 1, -1, -1):
        ahead = chain.end if step == len(steps) - 1 else torch.where(last[step], chain.end, before[tags[step + 1]])
        tags[step] = (scores[step] + ahead).argmax(1)
    return tags.t()
