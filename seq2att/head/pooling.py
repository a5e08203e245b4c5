"""Pooling: one vector for a source, and the base of the heads that read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.contracts import check_attended
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.head import Head
from seq2att.registry import Factory, Rate, Size
from seq2att.types import Column, Encoding, Loss, Memory, State

PoolName = Literal["last", "mean", "max", "attend"]


class Pooled(NamedTuple):
    """One vector for every source, and the weights that made it."""

    values: Tensor  # [B, P]
    weights: Tensor | None  # [B, S] of `attend`; 0 on padding, the sum is 1
    penalty: Tensor | None = None  # [B], added to the loss


class Pool(nn.Module):
    """One vector for a source: the concatenation of several poolings.

    `last` is the top layer's last state, `mean` and `max` are over the positions of the outputs, `attend` is their
    average by an attention with one learned query. An empty source gives zeros (`last`: the encoder's state).
    """

    def __init__(self, memory_size: int, kinds: Sequence[PoolName], attention: Factory[Attention]) -> None:
        super().__init__()
        if not kinds or len(set(kinds)) < len(kinds):
            problem = "must hold one or more of last, mean, max, attend, each once"
            raise UserError("E-choice", f"head.pool={list(kinds)}", problem)
        self.kinds = tuple(kinds)
        self.attention: Attention | None = None
        self.output_size = memory_size * len(kinds)  # P
        if "attend" in kinds:
            self.attention = attention(memory_size, memory_size)
            if self.attention.output_size == 0:
                problem = "needs an attention, not attention=none"
                raise UserError("E-conflict", "head.pool=attend", problem, "set attention=additive")
            self.query = nn.Parameter(torch.randn(memory_size) * memory_size**-0.5)  # [M]
            self.output_size += self.attention.output_size - memory_size

    def forward(self, encoding: Encoding) -> Pooled:
        """Pool the encodings into vectors `[B, P]`."""
        parts, weights, penalty = [], None, None
        for kind in self.kinds:
            pooled = self.part(kind, encoding)
            parts.append(pooled.values)
            if kind == "attend":
                _, weights, penalty = pooled
        return Pooled(torch.cat(parts, 1), weights, penalty)

    def part(self, kind: PoolName, encoding: Encoding) -> Pooled:
        """Pool in one way: `[B, M]`, or `[B, C]` by attention."""
        if kind == "attend":
            return self.attend(encoding)
        return Pooled({"last": last, "mean": mean, "max": maximum}[kind](encoding), None)

    def attend(self, encoding: Encoding) -> Pooled:
        """Average by attention: `[B, C]`, and the weights."""
        assert self.attention is not None
        outputs = encoding.outputs
        memory = Memory(self.attention.keys(outputs), outputs, encoding.mask)
        query = self.query.expand(outputs.size(0), 1, -1)  # [B, 1, M]
        attended = self.attention(query, memory, self.attention.start(memory))
        attended = check_attended(self.attention, attended, query, self.attention.output_size)
        weights, penalty = (None if part is None else part.squeeze(1) for part in (attended.weights, attended.penalty))
        return Pooled(attended.context.squeeze(1), weights, penalty)


def last(encoding: Encoding) -> Tensor:
    """The top layer's last state `[B, M]`."""
    if not encoding.final:
        problem = "needs the encoder's last state, but this encoder has none"
        raise UserError("E-conflict", "head.pool=last", problem, "set head.pool=[mean], or encoder=lstm")
    return encoding.final[0][:, -1]


def mean(encoding: Encoding) -> Tensor:
    """The mean of the real outputs `[B, M]`."""
    total = encoding.outputs.masked_fill(~encoding.mask.unsqueeze(2), 0.0).sum(1)  # [B, M]
    return total / encoding.mask.sum(1, keepdim=True).clamp(min=1)


def maximum(encoding: Encoding) -> Tensor:
    """The largest of the real outputs in every component `[B, M]`."""
    outputs, mask = encoding.outputs, encoding.mask
    if outputs.size(1) == 0:
        return outputs.new_zeros(outputs.size(0), outputs.size(2))
    lowest = torch.finfo(outputs.dtype).min
    values = outputs.masked_fill(~mask.unsqueeze(2), lowest).amax(1)  # [B, M]
    return values.masked_fill(~mask.any(1, keepdim=True), 0.0)


class PooledHead(Head):
    """Predicts from one pooled vector: dropout, an optional hidden layer, a linear layer; a subclass writes `losses`.

    Args:
        pool: one or more of `last`, `mean`, `max` and `attend`, concatenated; see `Pool`.
        dropout: dropout on the pooled vector and on the hidden units.
        hidden: units of a layer before the last one; null for no such layer.
        activation: activation of the hidden layer.
    """

    def __init__(
        self,
        memory_size: int,
        target: Field,
        attention: Factory[Attention],
        *,
        pool: tuple[PoolName, ...] = ("last",),
        dropout: Rate = 0.0,
        hidden: Size | None = None,
        activation: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        super().__init__(memory_size, target)
        self.target = target
        self.pool = Pool(memory_size, pool, attention)
        self.dropout = nn.Dropout(dropout)
        self.hidden = None if hidden is None else nn.Linear(self.pool.output_size, hidden)
        self.activation = activation
        self.width = hidden or self.pool.output_size  # of the features

    def features(self, encoding: Encoding) -> Pooled:
        """Compute the input of the last layer `[B, width]`, with the weights of the pool."""
        pooled: Pooled = self.pool(encoding)
        values = self.dropout(pooled.values)
        if self.hidden is not None:
            units = self.hidden(values)
            values = self.dropout(units.tanh() if self.activation == "tanh" else units.relu())
        return pooled._replace(values=values)

    def outputs(self, encoding: Encoding) -> Pooled:
        """Compute what the head predicts from, such as log-probabilities, with the weights of the pool."""
        raise NotImplementedError

    def losses(self, outputs: Tensor, target: Column, training: bool) -> tuple[Tensor, Tensor]:
        """The loss of every row `[B]`, 0 where there is no target; and which rows have one."""
        raise NotImplementedError

    def num_correct(self, outputs: Tensor, target: Column) -> Tensor | None:
        """How many rows are predicted right, a scalar; None where that is no question of right or wrong."""
        return None

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """The summed loss of the rows that have a target, with the penalty of the attention."""
        outputs = self.outputs(encoding)
        losses, real = self.losses(outputs.values, target, self.training)
        total = losses.sum()
        if outputs.penalty is not None:
            total = total + (outputs.penalty * real).sum()
        return Loss(total, real.sum(), correct=self.num_correct(outputs.values, target))

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Minus the loss of every row outside training `[B]`: log p(target | source), up to scale and a constant."""
        return -self.losses(self.outputs(encoding).values, target, training=False)[0]


def one_value(target: Column) -> tuple[Tensor, Tensor]:
    """The one value of every row, `[B]` or `[B, F]`, and which rows have one, `[B]` bool."""
    has_value = target.lengths > 0
    if target.values.size(1) == 0:
        return target.values.new_zeros(target.values.size(0), *target.values.shape[2:]), has_value
    return target.values[:, 0], has_value


def row_attentions(pooled: Pooled, encoding: Encoding) -> list[Tensor | None]:
    """The attention weights `[1, S]` of every row, without padding."""
    lengths = encoding.mask.sum(1).tolist()
    if pooled.weights is None:
        return [None] * len(lengths)
    weights = pooled.weights.detach().cpu().unsqueeze(1)  # [B, 1, S]
    return [row[:, :length] for row, length in zip(weights, lengths, strict=True)]
