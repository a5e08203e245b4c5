"""What a search did, step by step, and the hypotheses that are traced back from it."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.search import NEVER, Search
from seq2att.types import END, PAD, Encoding, Hypotheses, Step, length_mask, select


class Move(NamedTuple):
    """One step of a search: the hypotheses that it asked, and how each of them came to be."""

    parents: Tensor  # [N] index into the hypotheses of the step before
    tokens: Tensor  # [N] what each said last
    log_probs: Tensor  # [N] of that
    weights: Tensor | None  # [N, S] what each looks at in this step


class Ends(NamedTuple):
    """Hypotheses that ended at one step, among others that did not."""

    rows: Tensor  # [F] rows of the encoding
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]; NEVER: it did not end
    log_probs: Tensor  # [F] of the end symbol


class Record:
    """What a search did, to trace back from."""

    def __init__(self, search: Search, encoding: Encoding) -> None:
        self.encoding = encoding
        self.attention = search.attention
        self.moves: list[Move] = []
        self.ends: list[Ends] = []

    @property
    def said(self) -> int:
        """The number of steps so far."""
        return len(self.moves)

    def add(self, parents: Tensor, tokens: Tensor, log_probs: Tensor, step: Step, ends: Ends) -> None:
        """One step: what was asked, what it answered, and what ended then."""
        self.moves.append(Move(parents, tokens, log_probs, step.weights if self.attention else None))
        self.ends.append(ends)


def trace(record: Record, n_best: int) -> Hypotheses:
    """The `n_best` ended hypotheses of every row, read back from their ends."""
    found, place = best_ends(record, n_best) if record.moves else (None, None)
    if found is None or place is None or place.numel() == 0:
        return nothing(record, n_best)
    nodes, starts = walk_back(record, found)  # [F, T]
    shaped = nothing(record, n_best, nodes.size(1))
    where, index = (found.rows, place), torch.arange(place.numel(), device=place.device)
    after, past = nodes.roll(-1, 1), ~length_mask(found.steps, nodes.size(1))  # [F, T]
    tokens = torch.cat([move.tokens for move in record.moves])[after].masked_fill_(past, PAD)
    tokens[index, found.steps] = END
    log_probs = torch.cat([move.log_probs for move in record.moves])[after].masked_fill_(past, 0.0)
    log_probs[index, found.steps] = found.log_probs.to(log_probs.dtype)
    shaped.tokens[where], shaped.log_probs[where] = tokens, log_probs.to(shaped.log_probs.dtype)
    shaped.lengths[where], shaped.scores[where] = found.steps + 1, found.scores.to(shaped.scores.dtype)
    if shaped.weights is not None:
        weights = [
            move.weights.index_select(0, (nodes[:, step] - start).clamp_(0, move.weights.size(0) - 1))
            for step, (move, start) in enumerate(zip(record.moves, starts, strict=False))
            if step < nodes.size(1) and move.weights is not None
        ]
        spoken = length_mask(found.steps + 1, nodes.size(1))  # [F, T]
        looked = torch.stack(weights, 1) * spoken.unsqueeze(2)  # [F, T, S]
        shaped.weights[where] = looked.to(shaped.weights.dtype)
    return shaped


class Found(NamedTuple):
    """Ended hypotheses of all steps, F in number."""

    rows: Tensor  # [F]
    steps: Tensor  # [F] how many tokens each said before its end symbol
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]
    log_probs: Tensor  # [F] of the end symbol


def best_ends(record: Record, n_best: int) -> tuple[Found, Tensor]:
    """The best `n_best` ends of every row, and the place `[F]` of each among its row's."""
    rows, parents, scores, log_probs = (torch.cat(parts) for parts in zip(*record.ends, strict=True))
    sizes = torch.tensor([end.rows.numel() for end in record.ends], device=rows.device)
    steps = torch.arange(len(sizes), device=rows.device).repeat_interleave(sizes)
    order = scores.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]  # by row, best first
    counts = torch.bincount(rows, minlength=record.encoding.mask.size(0))
    place = torch.arange(order.numel(), device=order.device) - (counts.cumsum(0) - counts)[rows[order]]
    kept = (place < n_best) & (scores[order] > NEVER)
    chosen: Found = select(Found(rows, steps, parents, scores, log_probs), order[kept])
    return chosen, place[kept]


def walk_back(record: Record, found: Found) -> tuple[Tensor, list[int]]:
    """The hypotheses `[F, T]` that the ended ones came through, any of them after the end, and each step's first.

    They are numbered through over all steps.
    """
    sizes = [move.tokens.numel() for move in record.moves]
    starts = [0, *itertools.accumulate(sizes[:-1])]
    device = found.steps.device
    before = torch.tensor([0, *starts[:-1]], device=device).repeat_interleave(torch.tensor(sizes, device=device))
    parents = torch.cat([move.parents for move in record.moves]) + before  # [all]; the first are their own
    node = torch.tensor(starts, device=device)[found.steps] + found.parents  # [F]
    longest = int(found.steps.max()) + 1
    path = [node]
    for _ in range(longest - 1):
        path.append(parents.index_select(0, path[-1]))
    back = found.steps.unsqueeze(1) - torch.arange(longest, device=device)  # [F, T]
    return torch.stack(path, 1).gather(1, back.clamp(min=0)), starts


def scores_of(encoding: Encoding) -> Tensor:
    """An empty tensor of the type of scores, on the device: they are sums, for which half precision is too little."""
    outputs = encoding.outputs.new_empty(0)
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def nothing(record: Record, n_best: int, longest: int = 0) -> Hypotheses:
    """No hypotheses yet, of the right shapes."""
    like, mask = scores_of(record.encoding), record.encoding.mask
    batch, device = mask.size(0), mask.device
    looked = record.attention and (not record.moves or record.moves[0].weights is not None)
    return Hypotheses(
        torch.full((batch, n_best, longest), PAD, device=device),
        torch.zeros(batch, n_best, dtype=torch.long, device=device),
        like.new_full((batch, n_best), NEVER),
        like.new_zeros(batch, n_best, longest),
        like.new_zeros(batch, n_best, longest, mask.size(1)) if looked else None,
    )
