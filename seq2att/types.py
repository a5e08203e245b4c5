"""The values that components hand to each other: batches, encodings, memories, states, losses.

Shapes: B batch, S source length, T target steps in this call, L layers, M memory size, D decoder size,
V vocabulary size, K hypotheses a row, N rows of a search. Dimension 0 of every state tensor is the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

State = Any
"""A tree (tuple, NamedTuple, dict, list) whose leaves are tensors only; dimension 0 of each is the batch."""

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
"""Ids of the four special tokens, the same in every vocabulary: padding, unknown piece, begin and end of sequence."""

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
"""How the special tokens are written, in the order of their ids."""


class Column(NamedTuple):
    """One field of a batch, padded to its longest row."""

    values: Tensor  # [B, S] int64 ids, or [B, S, F] float vectors
    lengths: Tensor  # [B] int64

    def mask(self) -> Tensor:
        """Which positions are real: `[B, S]` bool."""
        return length_mask(self.lengths, self.values.size(1))


class Batch(NamedTuple):
    """What a training or prediction step sees."""

    source: Column
    target: Column | None  # None when predicting
    rows: Tensor  # [B] row numbers in the data: order, accounts, messages
    continues: Tensor  # [B] bool: row b goes on where row b of the last batch stopped (running text)


class Encoding(NamedTuple):
    """What an encoder returns."""

    outputs: Tensor  # [B, S, M]
    mask: Tensor  # [B, S] bool, True = real
    final: tuple[Tensor, ...]  # last states, each [B, L, M]: (h,), (h, c) or (); bidirectional: [forward ; backward]


class Memory(NamedTuple):
    """What a decoder attends to; it stays the same for a sentence."""

    keys: State  # what `Attention.keys` returns, computed once per sentence
    values: Tensor  # [B, S, M]
    mask: Tensor  # [B, S] bool, True = real


class Attended(NamedTuple):
    """What an attention returns for T queries."""

    context: Tensor  # [B, T, C]
    weights: Tensor | None  # [B, T, S]
    state: State
    penalty: Tensor | None = None  # [B, T], added to the loss


class Decoded(NamedTuple):
    """What a decoder returns for T steps."""

    outputs: Tensor  # [B, T, D]
    weights: Tensor | None  # [B, T, S]
    state: State
    penalty: Tensor | None = None  # [B, T], added to the loss


class Loss(NamedTuple):
    """A summed loss and its number of terms, so that devices and micro-batches add."""

    total: Tensor  # scalar, summed over everything that counts
    count: Tensor  # type: ignore[assignment]  # scalar, the number of targets; it hides tuple.count
    state: State = ()  # detached, for running text


class CarriedState(NamedTuple):
    """What a loss is given beside a batch of running text."""

    before: State  # what `Loss.state` said of the batch before; () or its leaves will do
    continues: Tensor  # [B] bool: which rows go on from there, `Batch.continues`; the others begin anew


class Step(NamedTuple):
    """One step of a generator: all that a search sees."""

    log_probs: Tensor  # [N, V'] normalised; V' may exceed V (copying); a search may write into it
    weights: Tensor | None  # [N, S]
    state: State


class Hypotheses(NamedTuple):
    """What a search returns, best first; lengths count the end symbol."""

    tokens: Tensor  # [B, K, T] int64, padded with PAD
    lengths: Tensor  # [B, K] number of tokens, the end symbol included where it was reached
    scores: Tensor  # [B, K] what the search ranks by
    log_probs: Tensor  # [B, K, T] of each token; 0 on padding
    weights: Tensor | None  # [B, K, T, S]


class Prediction(NamedTuple):
    """The prediction of a head for one row."""

    value: Any  # what the target field decodes to: a text, a label, a number
    score: float  # log p(value | source)
    tokens: tuple[str, ...] = ()  # pieces of the value
    source_tokens: tuple[str, ...] = ()  # pieces of the source
    attention: Tensor | None = None  # [T, S], rows sum to 1
    token_scores: tuple[float, ...] = ()  # log p of each token, the end symbol last
    others: tuple[Prediction, ...] = ()  # the next best, where more than one was asked for
    probabilities: Mapping[str, float] | None = None  # of every class, likeliest first, where the target is a label

    @property
    def text(self) -> str:
        """The value as text; a number below a million by seven digits."""
        short = isinstance(self.value, float) and abs(self.value) < 1e6
        return f"{self.value:.7g}" if short else str(self.value)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Which of `size` positions are real in rows of these lengths: `[B, size]` bool."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


class Shared(NamedTuple):
    """What many rows of a search have in common: selecting rows of it copies none of it."""

    whole: State  # dimension 0 is the sentence
    rows: Tensor  # [N] the sentence of each row


def tree_map(function: Callable[[Tensor], Tensor], tree: State) -> State:
    """The same tree with the function applied to every tensor in it; of something shared, to its rows."""
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Shared):
        return tree._replace(rows=function(tree.rows))
    if isinstance(tree, dict):
        return {key: tree_map(function, value) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, value) for value in tree))
    if isinstance(tree, tuple | list):
        return type(tree)(tree_map(function, value) for value in tree)
    if tree is None:
        return None
    raise TypeError(f"a state holds tensors, tuples, lists and dicts only, not {type(tree).__name__}")


def select(tree: State, rows: Tensor) -> State:
    """The rows `[N]` of every tensor in the tree: expands a beam, reorders it, drops finished sentences."""
    return tree_map(lambda tensor: tensor.index_select(0, rows), tree)


def leaves(tree: State) -> list[Tensor]:
    """All tensors of a tree, in order."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    tree_map(note, tree)
    return found


def where(rows: Tensor, one: State, other: State) -> State:
    """A tree with the rows of `one` where `rows` `[N]` is true, and of `other` elsewhere; `other` may be its leaves."""
    waiting = iter(leaves(other))

    def choose(tensor: Tensor) -> Tensor:
        chosen = rows.view(-1, *[1] * (tensor.dim() - 1))
        return torch.where(chosen, tensor, next(waiting).to(tensor))

    return tree_map(choose, one)


def detach(tree: State) -> State:
    """The same tree, cut from the graph of gradients."""
    return tree_map(lambda tensor: tensor.detach(), tree)


def class_order(names: Iterable[str]) -> list[str]:
    """Names of classes as they are numbered and shown: by value where all are numbers, else as text."""
    ordered = sorted(names)
    try:
        values = {name: float(name) for name in ordered}
    except ValueError:
        return ordered
    return sorted(ordered, key=values.__getitem__) if all(map(math.isfinite, values.values())) else ordered
