"""Validation during training: the loss of the right answers, and metrics of what the model answers by itself."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seq2att import registry
from seq2att.data import batches
from seq2att.errors import UserError
from seq2att.memory import naming_rows
from seq2att.trainer.checks import check_figures, metric_names
from seq2att.trainer.divergence import DivergedError, LossWatch
from seq2att.trainer.evaluation import (
    Rows,
    StreamState,
    answer,
    loss_figures,
    measure,
    moved,
    predicting,
    references,
    rows_to_answer,
)
from seq2att.trainer.processes import ALONE, Processes
from seq2att.trainer.sums import fetch, plus, zero
from seq2att.types import Loss, Prediction

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from seq2att.data import Corpus
    from seq2att.metric import Score
    from seq2att.model import Model
    from seq2att.search import Search


class Validation(NamedTuple):
    """What a validation measured."""

    values: dict[str, float]  # the loss, what the head derives from it, and the metrics
    signatures: dict[str, str]  # how each metric was computed
    step: int
    epoch: float  # in epochs done
    train_loss: float  # mean of a target since the validation before
    train_accuracy: float  # percent of the targets that were predicted right while they were learned; NaN: not counted


class Validator:
    """Measures a model on the validation split, shared among the processes of a run.

    Args:
        higher_is_better: every figure that a validation may have, and whether more of it is better.
    """

    def __init__(
        self,
        model: Model,
        config: Mapping[str, Any],
        corpus: Corpus,
        search: Search | None,
        higher_is_better: Mapping[str, bool],
        fabric: Fabric,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.config, self.corpus, self.search = model, config, corpus, search
        self.higher_is_better, self.fabric, self.processes = higher_is_better, fabric, processes
        self.metrics = metric_names(config, model.head)
        self.rows = limited_rows(rows_to_answer(model, corpus), config["trainer"]["validation_rows"])
        self.examples: list[tuple[int, Prediction]] = []  # rows of the split and the model's answers to them

    def run(self, step: int, watch: LossWatch) -> tuple[dict[str, float], dict[str, str]]:
        """The figures of the model and the signatures of its metrics, the same in all processes, or DivergedError."""
        total = fetch(self.loss_sum(), self.processes)
        if not total.count:
            raise self.unknown_answers()
        if problem := watch.judge_validation(total.mean):
            raise DivergedError(problem, None, step)
        scores = self.scores() if self.metrics else {}
        values = {**loss_figures(self.model.head, total), **{name: score.value for name, score in scores.items()}}
        check_figures(self.config, values)
        return values, {name: score.signature for name, score in scores.items()}

    def loss_sum(self) -> Loss:
        """The summed loss of this process's rows."""
        only = None if self.processes.alone else self.processes.mine
        loader = batches(self.corpus, self.config["data"], self.config["seed"], False, only)
        size = limited(len(loader), self.config["trainer"]["limit_validation_batches"])
        validation_sum, stream = zero(self.fabric.device), StreamState(self.config["data"])
        with predicting(self.model) as device, self.fabric.autocast(), naming_rows(self.corpus.place):
            for batch in itertools.islice(loader, size):
                if len(batch.rows):
                    for loss in stream.losses(self.model, moved(batch, device)):
                        validation_sum = plus(validation_sum, loss)
        return validation_sum

    def scores(self) -> dict[str, Score]:
        """The metrics of the model's own answers, some of which are kept as examples."""
        data = self.config["data"]
        batch_size = int(data["batch_size"]) if data["batch_by"] == "sentences" else 64
        with self.fabric.autocast():
            predictions = answer(self.model, self.corpus, self.rows, self.search, batch_size, self.processes)

        def score() -> dict[str, Score]:
            right = references(self.model, self.corpus, self.rows, data)
            return measure(predictions, right, self.metrics, self.config)

        number = min(self.config["trainer"]["examples"], len(predictions))
        places = np.arange(number) * len(predictions) // max(number, 1)  # apart from each other, for classes differ
        self.examples = [(int(self.rows[place]), predictions[place]) for place in places]
        return self.processes.share(score)

    def unknown_answers(self) -> UserError:
        """The error about a validation split without any known right answer."""
        (value,) = self.corpus.values("target", [0])
        return UserError(
            "E-data",
            f"validation ({self.corpus.place(0)})",
            f"none of its right answers occurs in training (the first is {self.model.target.text(value)!r}), so there "
            "is no loss",
            "add such rows to training, or validate on random training rows (reader.validation=null data.split=random)",
        )


class NoValidator(Validator):
    """Stands in the place of a validator where there are no validation rows: measures nothing, so nothing is best."""

    def __init__(
        self,
        model: Model,
        config: Mapping[str, Any],
        search: Search | None,
        fabric: Fabric,
        processes: Processes = ALONE,
    ) -> None:
        self.model, self.config, self.search = model, config, search
        self.higher_is_better, self.fabric, self.processes = {}, fabric, processes
        self.metrics, self.rows, self.examples = [], np.zeros(0, np.int64), []

    def run(self, step: int, watch: LossWatch) -> tuple[dict[str, float], dict[str, str]]:
        return {}, {}


def limited_rows(rows: Rows, most: int | None) -> Rows:
    """The rows, or at most so many of them at equal distances."""
    return rows if most is None or most >= len(rows) else rows[:: math.ceil(len(rows) / most)]


def limited(size: int, limit: float) -> int:
    """A number of batches: a whole `limit` counts them, a fraction is of `size`."""
    return min(size, limit) if isinstance(limit, int) else max(1, math.ceil(size * limit))


def is_better(new: float, old: float, higher_is_better: bool, least: float = 0.0) -> bool:
    """Whether a figure is better than an older one by more than `least`; NaN is worse than any number."""
    if math.isnan(new) or math.isnan(old):
        return not math.isnan(new)
    return new - least > old if higher_is_better else new + least < old


def make_validator(
    model: Model,
    config: Mapping[str, Any],
    rows: Corpus | None,
    higher_is_better: Mapping[str, bool],
    fabric: Fabric,
    processes: Processes,
) -> Validator:
    """What measures the model on the validation rows, or stands in for it where there are none."""
    search = greedy_search(config)
    if rows is None:
        return NoValidator(model, config, search, fabric, processes)
    return Validator(model, config, rows, search, higher_is_better, fabric, processes)


def greedy_search(config: Mapping[str, Any]) -> Any:
    """The search of validations: greedy, within the lengths of the configured one; None for a head without search."""
    if "search" not in config:
        return None
    lengths = {name: config["search"][name] for name in ("min_length", "max_length") if name in config["search"]}
    return registry.build("search", {"search": {"name": "greedy", **lengths}})
