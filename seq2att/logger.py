"""Loggers: where the figures of a run go, in addition to `metrics.csv`, which is always written.

A plugin is a function that returns an object with the interface `Logger`, which Lightning's loggers have (so
`WandbLogger` works as it is), and imports what it needs inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from seq2att.errors import UserError
from seq2att.registry import kind, register


@runtime_checkable
class Logger(Protocol):
    """What training needs of a logger: a part of the interface of Lightning's loggers."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Record the figures of an optimizer step (`train_loss`, `learning_rate`), or of a validation after it."""

    def finalize(self, status: str) -> None:
        """Write what is left; `status` is `success`, or `failed` where a signal or an error ended the run."""


@kind("logger")
def logger(folder: Path) -> Logger:
    """A `Logger` that writes into the run folder, if it writes files at all; only the first process uses it."""
    raise NotImplementedError


@register("logger", "csv")
def csv(folder: Path) -> Any:
    """The figures of every `trainer.log_every` steps: `steps/version_N/metrics.csv`, a version for each start."""
    from lightning_fabric.loggers.csv_logs import CSVLogger

    return CSVLogger(folder, name="steps")


@register("logger", "tensorboard")
def tensorboard(folder: Path) -> Any:
    """TensorBoard: `tensorboard --logdir runs` shows all runs."""
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        remedy = "pip install 'seq2att[tensorboard]', or leave it out"
        raise UserError("E-package", "loggers=[tensorboard]", "tensorboard is not installed", remedy) from error
