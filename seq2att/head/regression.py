"""Regression: a number for a source."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.head import target_error
from seq2att.head.pooling import Pooled, PooledHead, one_value, seen
from seq2att.registry import Factory, register
from seq2att.search import Search
from seq2att.types import Column, Encoding, Loss, Prediction, State


@register("head", "regression")
class Regression(PooledHead):
    """Many-to-one: a number for a source, from its pooled encoding.

    With error d, `loss` is d^2 (`squared`), |d| (`absolute`), or d^2 / 2 below 1 and |d| - 1/2 above it (`huber`),
    in standardized units where the target is standardized. With `projection=false` the pooled vector, of size 1,
    is the number itself: a bare LSTM with one unit.
    """

    metrics: ClassVar[tuple[str, ...]] = ("mse", "mae", "pearson")
    task: ClassVar[str] = "estimate"

    def __init__(
        self,
        memory_size: int,
        target: Field,
        attention: Factory[Attention],
        *,
        pool: tuple[Literal["last", "mean", "max", "attend"], ...] = ("last",),
        dropout: float = 0.0,
        hidden: int | None = None,
        activation: Literal["tanh", "relu"] = "tanh",
        projection: bool = True,
        loss: Literal["squared", "absolute", "huber"] = "squared",
    ) -> None:
        super().__init__(
            memory_size, target, attention, pool=pool, dropout=dropout, hidden=hidden, activation=activation
        )
        if not projection and self.width != 1:
            raise UserError(
                f"head.projection=false takes what is pooled as the prediction, but that is {self.width} numbers; set "
                f"encoder.size=1, encoder.bidirectional=false and one head.pool, or head.projection=true"
            )
        self.kind = loss
        self.output = nn.Linear(self.width, 1) if projection else None

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target that is not one number for each row."""
        if not target.is_number:
            raise target_error(cls, target, "one number for each row", "number")

    def reach(self, bound: float | None) -> float | None:
        """Without a projection what the last units can say: a tanh is within 1, as is the state of an LSTM."""
        if self.output is not None:
            return None
        if self.hidden is not None:
            return 1.0 if self.activation == "tanh" else None
        return bound

    def numbers(self, encoding: Encoding) -> Pooled:
        """The predicted numbers `[B]`, with the weights of the pool."""
        pooled = self.features(encoding)
        values = pooled.values if self.output is None else self.output(pooled.values)  # [B, 1]
        return pooled._replace(values=values.squeeze(1).to(torch.promote_types(values.dtype, torch.float32)))

    def losses(self, found: Tensor, target: Column) -> tuple[Tensor, Tensor]:
        """The loss of every row `[B]`, 0 where there is no right number; which rows have one."""
        wanted, there = one_value(target)  # [B, 1], [B]
        error = (found - wanted.squeeze(1).to(found.dtype)) * there
        if self.kind == "squared":
            return error.square(), there
        if self.kind == "absolute":
            return error.abs(), there
        return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none"), there

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """The summed loss of the rows."""
        found = self.numbers(encoding)
        losses, there = self.losses(found.values, target)
        total = losses.sum()
        if found.penalty is not None:
            total = total + (found.penalty * there).sum()
        return Loss(total, there.sum())

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Minus the loss of every row `[B]`: up to scale and a constant, log p under noise that the loss stands for."""
        return -self.losses(self.numbers(encoding).values, target)[0]

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """The number for every row, in the unit of the data."""
        found = self.numbers(encoding)
        lengths, numbers = encoding.mask.sum(1).tolist(), found.values.tolist()
        predictions = []
        for row, (length, number) in enumerate(zip(lengths, numbers, strict=True)):
            value = self.target.decode([number])
            tokens = (f"{value:.4g}",)
            predictions.append(Prediction(value, 0.0, tokens, (), seen(found.weights, row, length)))
        return predictions
