"""Linear-chain CRF: the score of a sequence of tags, the sum over all of them, the best one (Lafferty et al. 2001).

A path y of tags over n items scores `start[y1] + sum_t emissions[t, yt] + sum_t pairs[yt, yt+1] + end[yn]`, and its
probability is the softmax of that over all K^n paths. Sums are computed in float64, on probabilities that are
normalised at every step, so that a step is one matrix product. The values on padding change no result.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seq2att.types import length_mask

FORBIDDEN = -1e9  # below every score, yet finite: where every path breaks the rules, the best one breaks the fewest


class Chain(NamedTuple):
    """The transition scores."""

    start: Tensor  # [K] of the first tag
    pairs: Tensor  # [K, K] of a tag (column) after another (row)
    end: Tensor  # [K] of the last tag

    def constrain(self, follow: Tensor) -> Chain:
        """Forbid what is false in `follow` `[K + 1, K + 1]`, whose last row is the start and last column the end."""
        cost = to_double(torch.zeros_like(follow, dtype=torch.float32)).masked_fill(~follow, FORBIDDEN)
        return Chain(self.start + cost[-1, :-1], self.pairs + cost[:-1, :-1], self.end + cost[:-1, -1])


class Transitions(nn.Module):
    """The parameters of a CRF: scores of the first tag, of the last one, and of each pair of neighbours."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(size))
        self.pairs = nn.Parameter(torch.zeros(size, size))
        self.end = nn.Parameter(torch.zeros(size))

    def chain(self) -> Chain:
        """The scores in float64."""
        return Chain(to_double(self.start), to_double(self.pairs), to_double(self.end))


def to_double(tensor: Tensor) -> Tensor:
    """The tensor in float64, or in float32 on a device without it."""
    return tensor.float() if tensor.device.type == "mps" else tensor.double()


def log_probability(
    emissions: Tensor, lengths: Tensor, tags: Tensor, chain: Chain, total: Tensor | None = None
) -> Tensor:
    """Log-probability of the tags `[B, S]` under `emissions` `[B, S, K]`: `[B]`; 0 for a row without items.

    A tag of -1 is unknown: the probability is summed over all tags in its place. `total` `[B]` is the `log_partition`,
    where it is known.
    """
    emissions = to_double(emissions)
    total = log_partition(emissions, lengths, chain) if total is None else total
    mask = length_mask(lengths, tags.size(1))  # [B, S]
    known = mask & (tags >= 0)
    if bool((known == mask).all()):
        return path_score(emissions, lengths, tags.clamp(min=0), chain) - total
    numbers = torch.arange(emissions.size(2), device=tags.device)
    possible = ~known.unsqueeze(2) | (tags.unsqueeze(2) == numbers)  # [B, S, K]
    return log_partition(emissions.masked_fill(~possible, -torch.inf), lengths, chain) - total


def path_score(emissions: Tensor, lengths: Tensor, tags: Tensor, chain: Chain) -> Tensor:
    """The score of the tags `[B, S]`: `[B]`."""
    if tags.size(1) == 0:
        return emissions.sum((1, 2))
    mask = length_mask(lengths, tags.size(1))  # [B, S]
    items = emissions.gather(2, tags.unsqueeze(2)).squeeze(2)  # [B, S]
    after = tags[:, :-1] * emissions.size(2) + tags[:, 1:]  # [B, S - 1]
    pairs = chain.pairs.flatten().gather(0, after.flatten()).view_as(after)  # [B, S - 1]
    last = tags.gather(1, (lengths - 1).clamp(min=0).unsqueeze(1)).squeeze(1)  # [B]
    ends = (chain.start.gather(0, tags[:, 0]) + chain.end.gather(0, last)) * (lengths > 0)
    return (items * mask).sum(1) + (pairs * mask[:, 1:]).sum(1) + ends


def log_partition(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The logarithm of the sum of exp(score) over all paths `[B]`; 0 for a row without items."""
    total: Tensor = LogPartition.apply(emissions, lengths, False, *chain)[0]  # type: ignore[no-untyped-call]
    return total


def partition_and_marginals(emissions: Tensor, lengths: Tensor, chain: Chain) -> tuple[Tensor, Tensor]:
    """The same, and the probability of every tag at every item, over all paths `[B, S, K]`; 0 on padding."""
    both: tuple[Tensor, Tensor] = LogPartition.apply(emissions, lengths, True, *chain)  # type: ignore[no-untyped-call]
    return both


class Forward(NamedTuple):
    """The results of the forward algorithm, with the steps as dimension 0."""

    weights: Tensor  # [S, B, K] exp(emissions), divided by the largest
    alphas: Tensor  # [S, B, K] the forward probabilities, normalised: their sum over K is 1
    factors: Tensor  # [S, B] what each step was divided by
    pairs: Tensor  # [K, K] exp(pairs), divided by the largest
    end: Tensor  # [K] exp(end), divided by the largest


def run_forward(emissions: Tensor, chain: Chain) -> Forward:
    """The forward algorithm on `emissions` `[B, S, K]`."""
    steps = emissions.transpose(0, 1)  # [S, B, K]
    weights = (steps - steps.amax(2, keepdim=True)).exp()
    start, pairs, end = ((part - part.max()).exp() for part in chain)
    tiny = torch.finfo(weights.dtype).tiny
    alphas, factors = torch.empty_like(weights), weights.new_empty(weights.shape[:2])
    for step in range(len(weights)):
        shares = (start if step == 0 else alphas[step - 1] @ pairs) * weights[step]  # [B, K]
        factor = shares.sum(1).clamp(min=tiny)
        torch.div(shares, factor.unsqueeze(1), out=alphas[step])
        factors[step] = factor
    return Forward(weights, alphas, factors, pairs, end)


def log_total(emissions: Tensor, lengths: Tensor, chain: Chain, forward: Forward) -> Tensor:
    """The logarithm of the sum over all paths `[B]`, from the forward probabilities."""
    steps = len(forward.factors)
    if steps == 0:
        return emissions.new_zeros(len(lengths))
    mask = length_mask(lengths, steps)  # [B, S]
    logs = forward.factors.t().log() + emissions.amax(2)  # [B, S]
    logs[:, 0] += chain.start.max()
    logs[:, 1:] += chain.pairs.max()
    position = (lengths - 1).clamp(min=0)
    last = forward.alphas[position, torch.arange(len(lengths), device=position.device)]  # [B, K]
    end = (last @ forward.end).clamp(min=torch.finfo(last.dtype).tiny).log() + chain.end.max()
    return logs.masked_fill(~mask, 0.0).sum(1) + end.masked_fill(lengths == 0, 0.0)


def run_backward(lengths: Tensor, forward: Forward) -> Tensor:
    """The backward algorithm: probabilities `[S, B, K]`, normalised at each step; arbitrary on padding."""
    steps = len(forward.weights)
    tiny = torch.finfo(forward.weights.dtype).tiny
    betas = torch.empty_like(forward.weights)
    last = (torch.arange(steps, device=lengths.device).unsqueeze(1) >= lengths - 1).unsqueeze(2)  # [S, B, 1]
    for step in range(steps - 1, -1, -1):
        if step == steps - 1:
            betas[step] = forward.end
            continue
        shares = (forward.weights[step + 1] * betas[step + 1]) @ forward.pairs.t()  # [B, K]
        shares /= shares.sum(1, keepdim=True).clamp(min=tiny)
        torch.where(last[step], forward.end, shares, out=betas[step])
    return betas


def tag_probabilities(lengths: Tensor, forward: Forward, betas: Tensor) -> tuple[Tensor, Tensor]:
    """The probability of every tag at every item `[S, B, K]`, 0 on padding, and the divisor `[S, B, 1]`."""
    products = forward.alphas * betas
    total = products.sum(2, keepdim=True).clamp(min=torch.finfo(products.dtype).tiny)
    mask = length_mask(lengths, len(products)).t().unsqueeze(2)  # [S, B, 1]
    return products / total * mask, total


@torch.no_grad()
def marginals(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The probability of every tag at every item, over all paths `[B, S, K]`; 0 on padding."""
    return partition_and_marginals(to_double(emissions), lengths, chain)[1]


class LogPartition(torch.autograd.Function):
    """`log_partition`, whose gradients are probabilities: of tags, and of pairs of neighbours (forward-backward)."""

    @staticmethod
    def forward(
        context: Any, emissions: Tensor, lengths: Tensor, with_marginals: bool, *scores: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """From emissions `[B, S, K]`, lengths `[B]` and the scores of a chain to `[B]`, and the marginals `[B, S, K]`.

        The gradient needs those too, so they are computed once.
        """
        chain = Chain(*scores)
        forward = run_forward(emissions, chain)
        total = log_total(emissions, lengths, chain, forward)
        if not (with_marginals or any(context.needs_input_grad)):
            return total, None
        betas = run_backward(lengths, forward)
        tags, divisor = tag_probabilities(lengths, forward, betas)
        context.save_for_backward(lengths, betas, tags, divisor, *forward)
        marginals = tags.transpose(0, 1)
        context.mark_non_differentiable(marginals)
        return total, marginals

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of the emissions and of the chain."""
        if torch.is_grad_enabled():  # a second derivative would silently be 0
            raise RuntimeError("the loss of a CRF can be differentiated once only")
        lengths, betas, tags, divisor, *parts = context.saved_tensors
        forward = Forward(*parts)
        tags = tags * gradient.unsqueeze(1)  # [S, B, K]
        steps, _, size = tags.shape
        mask = length_mask(lengths, steps).t() * gradient  # [S, B]
        following = forward.weights * betas * (mask / forward.factors).unsqueeze(2) / divisor  # [S, B, K]
        pairs = forward.alphas[:-1].reshape(-1, size).t() @ following[1:].reshape(-1, size) * forward.pairs  # [K, K]
        last = torch.arange(steps, device=lengths.device).unsqueeze(1) == lengths - 1  # [S, B]
        start = tags[:1].sum((0, 1))
        return tags.transpose(0, 1), None, None, start, pairs, (tags * last.unsqueeze(2)).sum((0, 1))


@torch.no_grad()
def viterbi(emissions: Tensor, chain: Chain) -> Tensor:
    """The score of the best path up to each tag `[S, B, K]` (Viterbi 1967)."""
    steps = to_double(emissions).transpose(0, 1)  # [S, B, K]
    scores = torch.empty_like(steps)
    pairs = chain.pairs.t().contiguous()  # [K, K] the row comes after the column
    candidates = steps.new_empty(steps.size(1), *pairs.shape)  # allocated once: that takes longer than the sums
    for step in range(len(steps)):
        if step > 0:
            torch.add(scores[step - 1].unsqueeze(1), pairs, out=candidates)
        torch.add(candidates.amax(2) if step > 0 else chain.start, steps[step], out=scores[step])
    return scores


@torch.no_grad()
def best_path(emissions: Tensor, lengths: Tensor, chain: Chain) -> Tensor:
    """The path with the highest score `[B, S]`, traced back from `viterbi`; arbitrary on padding."""
    scores = viterbi(emissions, chain)
    pairs = chain.pairs.t()
    tags = lengths.new_zeros(scores.shape[:2])  # [S, B]
    last = (torch.arange(len(scores), device=lengths.device).unsqueeze(1) >= lengths - 1).unsqueeze(2)  # [S, B, 1]
    for step in range(len(scores) - 1, -1, -1):
        following = chain.end if step == len(scores) - 1 else torch.where(last[step], chain.end, pairs[tags[step + 1]])
        tags[step] = (scores[step] + following).argmax(1)
    return tags.t()
