"""What an explanation holds: arrays by name, the tree of a search, and all of it as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.types import Prediction

FORMAT = 1  # of the JSON; a change that a reader must know of raises it
LIMIT = 200_000  # numbers of an array that JSON holds
DIGITS = 6  # significant digits of a number in JSON

Array = npt.NDArray[Any]


class Node(NamedTuple):
    """A beginning that a search followed, or an answer that it ended."""

    id: int
    parent: int | None  # None: the root
    token: str  # its last token
    step: int  # tokens after the root
    log_prob: float  # log p(token | the tokens before it)
    score: float  # the sum of `log_prob` from the root
    ended: bool  # whether the token is the end symbol
    rank: int | None = None  # of an answer, 0 for the best
    ranked_by: float | None = None  # of an answer: what the search ranks by, as score / length ** length_penalty


class Top(NamedTuple):
    """The likeliest tokens of every decoding step, best first."""

    tokens: list[list[str]]  # [T, k]
    probabilities: list[list[float]]  # [T, k]


class GradientPath(NamedTuple):
    """How much a loss feels a state, by the position of the state: the norm of d loss / d state."""

    name: str  # of the state
    axis: str  # source or target
    distance: list[int]  # steps from the last state that the layer computes, in the order of the axis
    norm: list[float]  # in the order of the axis


@dataclass(frozen=True)
class Explanation(Mapping[str, Array]):
    """Every step of a model for one input: NumPy arrays by name, in the order of computation.

    docs/explain.md has the names. `explanation["attention.weights"]` is an array, `explanation.axes` names its axes,
    `explanation.equations` has the equation, and `explanation.labels` the tokens along an axis.
    """

    task: str
    components: Mapping[str, Any]  # the names of the components, and settings that decide what is computed
    source: str  # the input as text
    target: str  # the answer that is explained
    has_target: bool  # whether the answer is a target that was given, not what the model found
    prediction: Prediction  # the model's own; of a generator, the answer that is explained
    labels: Mapping[str, tuple[str, ...]]  # texts along an axis, by the name of the axis
    axes: Mapping[str, tuple[str, ...]]  # the names of the axes of every array
    equations: Mapping[str, str]  # of every array; "" where there is none
    top: Top | None = None
    tree: tuple[Node, ...] = ()
    gradient: tuple[GradientPath, ...] = ()
    loss: float | None = None  # that the gradient is of
    loss_of: str | None = None  # `last step`, `row` or `value`
    arrays: Mapping[str, Array | Callable[[], Array]] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Array:
        value = self.arrays[name]
        return value() if callable(value) else value

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __repr__(self) -> str:
        return f"<seq2att.Explanation: {self.task}, {self.source!r} -> {self.target!r}, {len(self)} arrays>"

    def to_dict(self, limit: int = LIMIT, first_units: bool = False) -> dict[str, Any]:
        """Make a tree of plain values; an array of more than `limit` numbers has null as its values.

        With `first_units` it has as many of its first units as the limit allows, and their number as `shown`.
        """
        prediction = self.prediction
        return {
            "format": FORMAT,
            **{name: getattr(self, name) for name in ("task", "components", "source", "target", "has_target")},
            "prediction": {
                "text": prediction.text,
                "score": prediction.score,
                "token_scores": list(prediction.token_scores),
                "probabilities": None if prediction.probabilities is None else dict(prediction.probabilities),
            },
            "labels": {axis: list(texts) for axis, texts in self.labels.items()},
            "arrays": [self.array_to_dict(name, limit, first_units) for name in self],
            "top": None if self.top is None else self.top._asdict(),
            "tree": [node._asdict() for node in self.tree],
            "gradient": [path._asdict() for path in self.gradient],
            "loss": self.loss,
            "loss_of": self.loss_of,
        }

    def array_to_dict(self, name: str, limit: int, first_units: bool = False) -> dict[str, Any]:
        """Describe one array; what is computed on demand has no values."""
        stored, axes = self.arrays[name], list(self.axes[name])
        shape = self.product_shape(name) if callable(stored) else list(stored.shape)
        described = {"name": name, "axes": axes, "shape": shape, "equation": self.equations[name], "values": None}
        if callable(stored):
            return described
        if stored.size <= limit:
            return described | {"values": rounded(stored)}
        shown = limit * stored.shape[-1] // stored.size if first_units and axes[-1:] == ["unit"] else 0
        return described | ({"values": rounded(stored[..., :shown]), "shown": shown} if shown else {})

    def product_shape(self, name: str) -> list[int]:
        """The shape of weighted values, from that of the weights and of the values."""
        prefix = name.rpartition(".")[0]
        return [*self[f"{prefix}.weights"].shape, self[f"{prefix}.values"].shape[-1]]

    def to_json(self, limit: int = LIMIT) -> str:
        """Write it as JSON, in numbers of six digits; docs/explain.md describes the form."""
        return json.dumps(self.to_dict(limit), ensure_ascii=False, allow_nan=False)


def rounded(array: Array) -> Any:
    """Nested lists of numbers of `DIGITS` digits; None where one is not finite."""
    if array.dtype.kind != "f":
        return array.tolist()
    values = array.astype(np.float64)
    is_finite = np.isfinite(values)
    size = np.abs(np.where(is_finite & (values != 0), values, 1.0))
    scale = 10.0 ** np.clip(DIGITS - 1 - np.floor(np.log10(size)), -300, 300)
    short: Array = np.round(np.where(is_finite, values, 0.0) * scale) / scale
    if not is_finite.all():
        short = short.astype(object)
        short[~is_finite] = None
    return short.tolist()
