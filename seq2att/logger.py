"""Loggers: where the figures of a run go, beside `metrics.csv`, which is always written.

A plugin is a function that returns a Lightning logger and imports what it needs inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seq2att.errors import UserError
from seq2att.registry import kind, register


@kind("logger")
def logger(folder: Path) -> Any:
    """A Lightning logger that writes into the run folder, if it writes files at all."""
    raise NotImplementedError


@register("logger", "csv")
def csv(folder: Path) -> Any:
    """The figures of every `trainer.log_every` steps: `steps/version_N/metrics.csv`, a version a (resumed) start."""
    from lightning.pytorch.loggers import CSVLogger

    return CSVLogger(folder, name="steps")


@register("logger", "tensorboard")
def tensorboard(folder: Path) -> Any:
    """TensorBoard: `tensorboard --logdir runs` shows all runs."""
    from lightning.pytorch.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(folder, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise UserError(
            "loggers: tensorboard is not installed; pip install 'seq2att[tensorboard]', or leave it out"
        ) from error
