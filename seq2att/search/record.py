"""The record of a search: what it did at every step, and the hypotheses that are traced back from it."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.search import NEVER, Search
from seq2att.types import END, PAD, Encoding, Hypotheses, length_mask, select


class Transition(NamedTuple):
    """One step of a search: the N hypotheses that the generator was called with, and where each comes from."""

    parents: Tensor  # [N] index into the hypotheses of the step before
    tokens: Tensor  # [N] the last token of each
    log_probs: Tensor  # [N] of that token
    weights: Tensor | None  # [N, S] attention in this step


class Finished(NamedTuple):
    """Candidates to end at one step, those that do not end included."""

    rows: Tensor  # [F] rows of the encoding
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]; NEVER where it does not end
    log_probs: Tensor  # [F] of the end symbol


class Record:
    """All steps of a search."""

    def __init__(self, search: Search, encoding: Encoding) -> None:
        self.encoding = encoding
        self.has_attention = search.attention
        self.transitions: list[Transition] = []
        self.finished: list[Finished] = []

    @property
    def num_steps(self) -> int:
        """The number of steps so far."""
        return len(self.transitions)

    def add(self, transition: Transition, finished: Finished) -> None:
        """Add one step: its hypotheses, and which of them end there."""
        self.transitions.append(transition if self.has_attention else transition._replace(weights=None))
        self.finished.append(finished)


class Ended(NamedTuple):
    """The best ended hypotheses of all rows, F in number."""

    rows: Tensor  # [F]
    steps: Tensor  # [F] number of tokens before the end symbol
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]
    log_probs: Tensor  # [F] of the end symbol


def trace(record: Record, n_best: int) -> Hypotheses:
    """Trace back the `n_best` ended hypotheses of every row."""
    ended, rank = best_ended(record, n_best) if record.transitions else (None, None)
    if ended is None or rank is None or rank.numel() == 0:
        return empty_hypotheses(record, n_best)
    nodes, starts = walk_back(record, ended)  # [F, T]
    hypotheses = empty_hypotheses(record, n_best, nodes.size(1))
    where, index = (ended.rows, rank), torch.arange(rank.numel(), device=rank.device)
    following, padding = nodes.roll(-1, 1), ~length_mask(ended.steps, nodes.size(1))  # [F, T]
    tokens = torch.cat([step.tokens for step in record.transitions])[following].masked_fill_(padding, PAD)
    tokens[index, ended.steps] = END
    log_probs = torch.cat([step.log_probs for step in record.transitions])[following].masked_fill_(padding, 0.0)
    log_probs[index, ended.steps] = ended.log_probs.to(log_probs.dtype)
    hypotheses.tokens[where], hypotheses.lengths[where] = tokens, ended.steps + 1
    hypotheses.log_probs[where] = log_probs.to(hypotheses.log_probs.dtype)
    hypotheses.scores[where] = ended.scores.to(hypotheses.scores.dtype)
    if hypotheses.weights is not None:
        weights = [
            step.weights.index_select(0, (nodes[:, number] - start).clamp_(0, step.weights.size(0) - 1))
            for number, (step, start) in enumerate(zip(record.transitions, starts, strict=True))
            if number < nodes.size(1) and step.weights is not None
        ]
        real = length_mask(ended.steps + 1, nodes.size(1))  # [F, T]
        hypotheses.weights[where] = (torch.stack(weights, 1) * real.unsqueeze(2)).to(hypotheses.weights.dtype)
    return hypotheses


def best_ended(record: Record, n_best: int) -> tuple[Ended, Tensor]:
    """The best `n_best` ended hypotheses of every row, and the rank `[F]` of each within its row."""
    rows, parents, scores, log_probs = (torch.cat(parts) for parts in zip(*record.finished, strict=True))
    sizes = torch.tensor([finished.rows.numel() for finished in record.finished], device=rows.device)
    steps = torch.arange(len(sizes), device=rows.device).repeat_interleave(sizes)
    order = scores.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]  # by row, best first
    counts = torch.bincount(rows, minlength=record.encoding.mask.size(0))
    rank = torch.arange(order.numel(), device=order.device) - (counts.cumsum(0) - counts)[rows[order]]
    is_best = (rank < n_best) & (scores[order] > NEVER)
    ended: Ended = select(Ended(rows, steps, parents, scores, log_probs), order[is_best])
    return ended, rank[is_best]


def walk_back(record: Record, ended: Ended) -> tuple[Tensor, list[int]]:
    """The indices `[F, T]` of the hypotheses on the way to the ended ones, and the first index of each step.

    Indices run over the hypotheses of all steps; those after the end are arbitrary.
    """
    sizes = [step.tokens.numel() for step in record.transitions]
    starts = [0, *itertools.accumulate(sizes[:-1])]
    device = ended.steps.device
    offsets = torch.tensor([0, *starts[:-1]], device=device).repeat_interleave(torch.tensor(sizes, device=device))
    parents = torch.cat([step.parents for step in record.transitions]) + offsets  # [all]; the first are their own
    node = torch.tensor(starts, device=device)[ended.steps] + ended.parents  # [F]
    longest = int(ended.steps.max()) + 1
    path = [node]
    for _ in range(longest - 1):
        path.append(parents.index_select(0, path[-1]))
    back = ended.steps.unsqueeze(1) - torch.arange(longest, device=device)  # [F, T]
    return torch.stack(path, 1).gather(1, back.clamp(min=0)), starts


def empty_scores(encoding: Encoding) -> Tensor:
    """An empty tensor with the type and device of scores: sums of log-probabilities need float32 or more."""
    outputs = encoding.outputs.new_empty(0)
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def empty_hypotheses(record: Record, n_best: int, longest: int = 0) -> Hypotheses:
    """Hypotheses of the right shapes without a token."""
    like, mask = empty_scores(record.encoding), record.encoding.mask
    batch, device = mask.size(0), mask.device
    has_weights = record.has_attention and (not record.transitions or record.transitions[0].weights is not None)
    return Hypotheses(
        torch.full((batch, n_best, longest), PAD, device=device),
        torch.zeros(batch, n_best, dtype=torch.long, device=device),
        like.new_full((batch, n_best), NEVER),
        like.new_zeros(batch, n_best, longest),
        like.new_zeros(batch, n_best, longest, mask.size(1)) if has_weights else None,
    )
