"""Starting a run in its processes: seeds, threads, and then `trainer.train`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seq2att.errors import UserError

if TYPE_CHECKING:
    from lightning.pytorch import Callback


def run(config: Mapping[str, Any], callbacks: Sequence[Callback] = (), say: Callable[[str], None] = print) -> Path:
    """Train what a resolved configuration describes; returns the run folder."""
    from seq2att.trainer import train

    check_devices(config["trainer"])
    settle(config["trainer"]["threads"], config["seed"])
    return train(config, callbacks, say)


def check_devices(options: Mapping[str, Any]) -> None:
    """Refuse more than one device: the batches are not divided between devices yet."""
    devices = options["devices"] if options["devices"] >= 0 else max(1, torch.cuda.device_count())
    for name, number in (("devices", devices), ("num_nodes", options["num_nodes"])):
        if number != 1:
            raise UserError(f"trainer.{name}={options[name]}: a run uses one device; set trainer.{name}=1")


def settle(threads: int | None, seed: int) -> None:
    """Make this process fast and repeatable; comes before other threads start, for they inherit the first setting."""
    torch.set_flush_denormal(True)  # numbers below 1e-38 are slow and worth nothing: 2 to 5 times on long sequences
    if threads is not None:
        torch.set_num_threads(threads)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
