"""Classification: one of a few labels for a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.errors import UserError, check_probability
from seq2att.field import Field
from seq2att.head import target_error
from seq2att.head.pooling import Pooled, PooledHead, one_value, seen
from seq2att.registry import Factory, register, suggestion
from seq2att.search import Search
from seq2att.types import Column, Encoding, Loss, Prediction, State


@register("head", "classification")
class Classification(PooledHead):
    """Many-to-one: a label for a source, from its pooled encoding.

    Two classes share one logit z, p = 1 / (1 + exp(-z)) being that of the second; more have a softmax. The loss is
    cross-entropy. In training alone, `class_weights=balanced` gives every class the same weight however many rows it
    has, `weights` sets those of single classes, and `label_smoothing` e mixes the target with e / C of every class.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1_macro", "f1_weighted")
    task: ClassVar[str] = "classify"
    weights: Tensor

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
        class_weights: Literal["none", "balanced"] = "none",
        weights: dict[str, float] | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            memory_size, target, attention, pool=pool, dropout=dropout, hidden=hidden, activation=activation
        )
        self.classes = classes_of(target)
        self.label_smoothing = check_probability("head.label_smoothing", label_smoothing)
        shares = weights_of(
            self.classes, getattr(target, "counts", ()) if class_weights == "balanced" else (), weights or {}
        )
        self.register_buffer("weights", torch.tensor(shares), persistent=False)  # [C]
        self.output = nn.Linear(self.width, 1 if len(self.classes) == 2 else len(self.classes))

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target that has no classes."""
        if target.is_sequence or not hasattr(target, "classes"):
            raise target_error(cls, target, "one label for each row", "label")

    def log_probs(self, encoding: Encoding) -> Pooled:
        """The logarithms of the probabilities of all classes `[B, C]`, with the weights of the pool."""
        pooled = self.features(encoding)
        logits = self.output(pooled.values)  # [B, 1] or [B, C]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # a loss in half precision would be none
        if len(self.classes) == 2:
            logits = torch.cat([torch.zeros_like(logits), logits], 1)
        return pooled._replace(values=logits.log_softmax(1))

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """Cross-entropy over the rows whose label training has; weighted and smoothed in training only."""
        found = self.log_probs(encoding)
        picked, right, real = chosen(found.values, target)
        if self.training:
            smooth = self.label_smoothing
            picked = ((1 - smooth) * picked + smooth * found.values.mean(1)) * self.weights[right] * real
        total = -picked.sum()
        if found.penalty is not None:
            total = total + (found.penalty * real).sum()
        return Loss(total, real.sum())

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(label | source) of every row `[B]`; 0 where training does not have the label."""
        return chosen(self.log_probs(encoding).values, target)[0]

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """The likeliest label of every row, with the probability of every class."""
        found = self.log_probs(encoding)
        ordered, order = found.values.sort(stable=True, dim=1, descending=True)  # [B, C] each
        lengths, scores, ids = encoding.mask.sum(1).tolist(), ordered.tolist(), order.tolist()
        chances = ordered.exp().tolist()
        predictions = []
        for row, length in enumerate(lengths):
            label = self.target.decode(ids[row][:1])
            probabilities = {self.classes[place]: chance for place, chance in zip(ids[row], chances[row], strict=True)}
            best, attention = scores[row][0], seen(found.weights, row, length)
            predictions.append(Prediction(label, best, (label,), (), attention, (best,), probabilities=probabilities))
        return predictions


def chosen(log_probs: Tensor, target: Column) -> tuple[Tensor, Tensor, Tensor]:
    """Log p of the right labels `[B]`, 0 where training has no such label; the labels (0 there); which rows count."""
    ids, there = one_value(target)
    real = there & (ids >= 0)
    right = ids.clamp(min=0)
    return log_probs.gather(1, right.unsqueeze(1)).squeeze(1) * real, right, real


def classes_of(target: Field) -> tuple[str, ...]:
    """The classes of a field of labels; `UserError` where there is nothing to tell apart."""
    classes: Any = getattr(target, "classes", ())
    if len(classes) < 2:
        raise UserError(
            f"head=classification tells two classes or more apart, but training has only {', '.join(classes) or 'none'}"
            f"; name the column of the labels in the reader"
        )
    return tuple(classes)


def weights_of(classes: tuple[str, ...], counts: tuple[int, ...], given: Mapping[str, float]) -> list[float]:
    """The weight of every class: what is given, else rows / (classes * rows of the class), or 1 without counts."""
    unknown = [name for name in given if name not in classes]
    if unknown:
        raise UserError(f"head.weights: there is no class {unknown[0]!r}; {suggestion(unknown[0], classes)}")
    wrong = {name: weight for name, weight in given.items() if not 0 <= weight < float("inf")}
    if wrong:
        name, weight = next(iter(wrong.items()))
        raise UserError(f"head.weights.{name}={weight} is no weight; set a number that is 0 or more")
    usual = [sum(counts) / (len(classes) * count) for count in counts] if counts else [1.0] * len(classes)
    return [float(given.get(name, weight)) for name, weight in zip(classes, usual, strict=True)]
