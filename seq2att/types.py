"""The values that components take and return: batches, encodings, memories, states, losses, predictions.

Letters of shapes: B batch, S source length, T target steps in this call, E embedding size, M memory size, C context
size, D decoder size, Q query size, L layers, V vocabulary size, F features, K hypotheses of a row, N rows of a search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

State = Any
"""A tree of tensors (tuples, NamedTuples, lists, dicts, None). Dimension 0 of every tensor is the batch: a search takes
rows of it by `select`, whatever it means."""

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
"""Ids of the four special tokens, the same in every vocabulary: padding, unknown piece, begin and end of sequence."""

SPECIALS = ("<pad>", "<unk>", "<s>", "</s>")
"""How the special tokens are written, in the order of their ids."""


class Column(NamedTuple):
    """One side of a batch, padded to its longest row."""

    values: (
        Tensor  # [B, S] int64 ids of tokens, labels or tags; [B, S, F] floats or uint8 pixels; a number is [B, 1, 1]
    )
    lengths: Tensor  # [B] int64; 0 where a row has no value

    def mask(self) -> Tensor:
        """Which positions are real: `[B, S]` bool."""
        return length_mask(self.lengths, self.values.size(1))


class Batch(NamedTuple):
    """The rows of one step of training or prediction."""

    source: Column
    target: Column | None  # None in prediction
    rows: Tensor  # [B] int64, the numbers of the rows in the data
    continues: Tensor  # [B] bool: row b continues row b of the batch before (running text)


class Encoding(NamedTuple):
    """What an encoder returns."""

    outputs: Tensor  # [B, S, M]; arbitrary on padding
    mask: Tensor  # [B, S] bool, True on real positions
    final: tuple[Tensor, ...]  # last states, each [B, L, M]: (h,), (h, c) or (); bidirectional: [forward ; backward]


class Memory(NamedTuple):
    """What a decoder attends to; it stays the same for a sentence."""

    keys: State  # what `Attention.keys` returns, computed once per sentence
    values: Tensor  # [B, S, M], the outputs of the encoder
    mask: Tensor  # [B, S] bool, True on real positions


class Attended(NamedTuple):
    """What an attention returns for T queries."""

    context: Tensor  # [B, T, C]
    weights: Tensor | None  # [B, T, S]: 0 on padding, the sum over S is 1; None: there are none
    state: State  # after the last query; () where the attention has none
    penalty: Tensor | None = None  # [B, T], added to the loss


class Decoded(NamedTuple):
    """What a decoder returns for T steps."""

    outputs: Tensor  # [B, T, D]
    weights: Tensor | None  # [B, T, S] attention weights
    state: State  # after the last step
    penalty: Tensor | None = None  # [B, T], added to the loss


class Loss(NamedTuple):
    """A summed loss and its number of terms, so that devices and micro-batches add."""

    total: Tensor  # scalar, summed over everything that counts
    count: Tensor  # type: ignore[assignment]  # scalar, the number of targets; it hides tuple.count
    state: State = ()  # detached, for running text
    correct: Tensor | None = None  # scalar, how many of the targets are predicted right; None: not counted


class CarriedState(NamedTuple):
    """The state that a head gets with a batch of running text."""

    before: State  # `Loss.state` of the batch before, or the list of its tensors; () at first
    continues: Tensor  # [B] bool: rows that continue from `before`; the others start anew


class Step(NamedTuple):
    """One step of a generator: all that a search sees."""

    log_probs: Tensor  # [N, V'], normalised; V' may exceed V (copying); a search may write into it
    weights: Tensor | None  # [N, S] attention weights
    state: State  # after the step


class Hypotheses(NamedTuple):
    """What a search returns, best first; lengths count the end symbol."""

    tokens: Tensor  # [B, K, T] int64, padded with PAD
    lengths: Tensor  # [B, K] int64, number of tokens; 0 where fewer than K were found
    scores: Tensor  # [B, K], what the search ranks by
    log_probs: Tensor  # [B, K, T] of each token; 0 on padding
    weights: Tensor | None  # [B, K, T, S] attention weights


class Prediction(NamedTuple):
    """The prediction of a head for one row, on the CPU."""

    value: Any  # what the target field decodes to: a text, a label, a number
    score: float  # log p(value | source); 0 where a head has none
    tokens: tuple[str, ...] = ()  # pieces of the value
    source_tokens: tuple[str, ...] = ()  # pieces of the source
    attention: Tensor | None = None  # [T, S]; rows sum to 1
    token_scores: tuple[float, ...] = ()  # log p of each token, the end symbol last
    others: tuple[Prediction, ...] = ()  # the next best ones, where n_best is above 1
    probabilities: Mapping[str, float] | None = None  # of every class, likeliest first, where the target is a label

    @property
    def text(self) -> str:
        """The value as text; a number below a million by seven digits."""
        short = isinstance(self.value, float) and abs(self.value) < 1e6
        return f"{self.value:.7g}" if short else str(self.value)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """The mask of rows of these `lengths` `[B]`: `[B, size]` bool, True on real positions."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


class Shared(NamedTuple):
    """A tree that many rows of a search share: `select` takes rows of the index and copies no tensor of the tree."""

    tree: State  # dimension 0 is the sentence
    rows: Tensor  # [N] the sentence of each row


def tree_map(function: Callable[[Tensor], Tensor], tree: State) -> State:
    """Apply a function to every tensor of a tree and return the tree of the results; of `Shared`, to its rows."""
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
    """Take `rows` `[N]` of every tensor of a tree: to expand a beam, to reorder it, to drop finished rows."""
    return tree_map(lambda tensor: tensor.index_select(0, rows), tree)


def leaves(tree: State) -> list[Tensor]:
    """List the tensors of a tree, in order."""
    tensors: list[Tensor] = []

    def collect(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    tree_map(collect, tree)
    return tensors


def where(rows: Tensor, one: State, other: State) -> State:
    """Take the rows of `one` where `rows` `[N]` is true, those of `other` elsewhere; `other` may be its leaves."""
    others = iter(leaves(other))

    def choose(tensor: Tensor) -> Tensor:
        condition = rows.view(-1, *[1] * (tensor.dim() - 1))
        return torch.where(condition, tensor, next(others).to(tensor))

    return tree_map(choose, one)


def detach(tree: State) -> State:
    """Detach every tensor of a tree from the graph of gradients."""
    return tree_map(lambda tensor: tensor.detach(), tree)


def class_order(names: Iterable[str]) -> list[str]:
    """Sort names of classes: by value where all are finite numbers, else as text."""
    ordered = sorted(names)
    try:
        values = {name: float(name) for name in ordered}
    except ValueError:
        return ordered
    return sorted(ordered, key=values.__getitem__) if all(map(math.isfinite, values.values())) else ordered
