"""Regression: a number for a source."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.head import target_error
from seq2att.head.pooling import Pooled, PooledHead, one_value, row_attentions
from seq2att.registry import Factory, Inherited, register
from seq2att.search import Search
from seq2att.types import Column, Encoding, Prediction


@register("head", "regression")
class Regression(PooledHead):
    """Many-to-one: a number for a source, from its pooled encoding.

    The loss is in standardized units where the target is standardized (`target.standardize=true`).

    Args:
        projection: a linear layer makes the number; false: the pooled vector, of size 1, is the number.
        loss: of an error d: `squared` d^2, `absolute` |d|, `huber` d^2 / 2 below 1 and |d| - 1/2 above (Huber 1964).
    """

    metrics: ClassVar[tuple[str, ...]] = ("mse", "mae", "pearson")
    task: ClassVar[str] = "estimate"

    def __init__(
        self,
        memory_size: int,
        target: Field,
        attention: Factory[Attention],
        *,
        projection: bool = True,
        loss: Literal["squared", "absolute", "huber"] = "squared",
        **options: Inherited,
    ) -> None:
        super().__init__(memory_size, target, attention, **options)
        if not projection and self.width != 1:
            problem = f"the pooled vector has size {self.width}, not 1"
            remedy = "set encoder.size=1, encoder.bidirectional=false and one head.pool, or head.projection=true"
            raise UserError("E-conflict", "head.projection=false", problem, remedy)
        self.kind = loss
        self.output = nn.Linear(self.width, 1) if projection else None

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target that is not one number for each row."""
        if not target.is_number:
            raise target_error(cls, target, "one number for each row", "number")

    def outputs(self, encoding: Encoding) -> Pooled:
        """Compute the predicted numbers `[B]`, with the weights of the pool."""
        pooled = self.features(encoding)
        values = pooled.values if self.output is None else self.output(pooled.values)  # [B, 1]
        return pooled._replace(values=values.squeeze(1).to(torch.promote_types(values.dtype, torch.float32)))

    def losses(self, outputs: Tensor, target: Column, training: bool) -> tuple[Tensor, Tensor]:
        """Compute the loss of every row `[B]`, 0 where there is no target; and which rows have one."""
        values, has_value = one_value(target)  # [B, 1], [B]
        error = (outputs - values.squeeze(1).to(outputs.dtype)) * has_value
        if self.kind == "squared":
            return error.square(), has_value
        if self.kind == "absolute":
            return error.abs(), has_value
        return nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none"), has_value

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """Predict the number of every row, in the unit of the data."""
        pooled = self.outputs(encoding)
        values = [self.target.decode([number]) for number in pooled.values.tolist()]
        attentions = row_attentions(pooled, encoding)
        return [
            Prediction(v, 0.0, (f"{v:.4g}",), (), attention) for v, attention in zip(values, attentions, strict=True)
        ]
