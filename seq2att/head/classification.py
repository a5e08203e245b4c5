"""Classification: one of several labels for a source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.head import target_error
from seq2att.head.pooling import Pooled, PooledHead, one_value, row_attentions
from seq2att.registry import Factory, Inherited, NonNegative, Rate, register, suggestion
from seq2att.search import Search
from seq2att.types import Column, Encoding, Prediction


@register("head", "classification")
class Classification(PooledHead):
    """Many-to-one: a label for a source, from its pooled encoding, by cross-entropy.

    Two classes share one logit z, with p = 1 / (1 + exp(-z)) of the second class; more have a softmax. Weights and
    label smoothing hold in training only.

    Args:
        class_weights: weight of a class in the loss: `none` for 1, `balanced` for rows / (classes * rows of the class).
        weights: weights of single classes by name; they replace those of `class_weights`.
        label_smoothing: share of the target distribution spread over the classes.
    """

    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1_macro", "f1_weighted")
    accuracy: ClassVar[str] = "accuracy"
    task: ClassVar[str] = "classify"
    weights: Tensor

    def __init__(
        self,
        memory_size: int,
        target: Field,
        attention: Factory[Attention],
        *,
        class_weights: Literal["none", "balanced"] = "none",
        weights: dict[str, NonNegative] | None = None,
        label_smoothing: Rate = 0.0,
        **options: Inherited,
    ) -> None:
        super().__init__(memory_size, target, attention, **options)
        self.classes = classes_of(target)
        self.label_smoothing = label_smoothing
        counts = getattr(target, "counts", ()) if class_weights == "balanced" else ()
        values = class_weights_of(self.classes, counts, weights or {})
        self.register_buffer("weights", torch.tensor(values), persistent=False)  # [C]
        self.output = nn.Linear(self.width, 1 if len(self.classes) == 2 else len(self.classes))

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target without classes."""
        if target.is_sequence or not hasattr(target, "classes"):
            raise target_error(cls, target, "one label for each row", "label")

    def outputs(self, encoding: Encoding) -> Pooled:
        """Compute the log-probabilities of all classes `[B, C]`, with the weights of the pool."""
        pooled = self.features(encoding)
        return pooled._replace(values=self.logits(pooled.values).log_softmax(1))

    def logits(self, features: Tensor) -> Tensor:
        """Score every class `[B, C]` from `features` `[B, F]`; the first of two classes has 0."""
        logits: Tensor = self.output(features)  # [B, 1] or [B, C]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # half precision is too coarse for a loss
        return torch.cat([torch.zeros_like(logits), logits], 1) if len(self.classes) == 2 else logits

    def losses(self, outputs: Tensor, target: Column, training: bool) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the rows `[B]` whose label occurs in training; weighted and smoothed in training only."""
        ids, has_value = one_value(target)
        real = has_value & (ids >= 0)
        labels = ids.clamp(min=0)
        log_probs = outputs.gather(1, labels.unsqueeze(1)).squeeze(1) * real
        if training:
            smooth = self.label_smoothing
            log_probs = ((1 - smooth) * log_probs + smooth * outputs.mean(1)) * self.weights[labels] * real
        return -log_probs, real

    def num_correct(self, outputs: Tensor, target: Column) -> Tensor:
        """How many rows have their label as the likeliest class."""
        ids, has_value = one_value(target)
        return ((outputs.argmax(1) == ids) & has_value).sum()

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """Predict the likeliest label of every row, with the probability of every class."""
        pooled = self.outputs(encoding)
        ordered, order = pooled.values.sort(stable=True, dim=1, descending=True)  # [B, C] each
        columns = order.tolist(), ordered.tolist(), ordered.exp().tolist(), row_attentions(pooled, encoding)
        predictions = []
        for ids, scores, probs, attention in zip(*columns, strict=True):
            label, best = self.target.decode(ids[:1]), scores[0]
            probabilities = {self.classes[label_id]: prob for label_id, prob in zip(ids, probs, strict=True)}
            predictions.append(Prediction(label, best, (label,), (), attention, (best,), probabilities=probabilities))
        return predictions


def classes_of(target: Field) -> tuple[str, ...]:
    """The classes of a label field; `E-label` where there are fewer than 2."""
    classes: Any = getattr(target, "classes", ())
    if len(classes) < 2:
        problem = f"needs 2 classes or more, but training has {', '.join(classes) or 'none'}"
        raise UserError("E-label", "head=classification", problem, "name the column of the labels in the reader")
    return tuple(classes)


def class_weights_of(classes: tuple[str, ...], counts: tuple[int, ...], weights: Mapping[str, float]) -> list[float]:
    """The weight of every class: from `weights`, else rows / (classes * rows of the class), or 1 without counts."""
    for name in weights:
        if name not in classes:
            raise UserError("E-label", f"head.weights.{name}", "there is no such class", suggestion(name, classes))
    defaults = [sum(counts) / (len(classes) * count) for count in counts] if counts else [1.0] * len(classes)
    return [float(weights.get(name, default)) for name, default in zip(classes, defaults, strict=True)]
