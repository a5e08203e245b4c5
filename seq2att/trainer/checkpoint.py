"""Stopping and going on: checkpoints, random states and signals.

`last.ckpt` holds everything that the run depends on, `best.ckpt` the same at the best validation. They are made of
tensors, numbers and texts only (`torch.load(weights_only=True)` reads them), and are for resuming; the bundle is the
product.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Trainer

from seq2att.trainer.folder import LAST


class Interrupted(BaseException):
    """Training was stopped by a signal and has saved what it needs to go on."""

    def __init__(self, number: int, saved: bool) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.saved = number, saved


class Interruption:
    """Remembers that SIGINT or SIGTERM asked for an end; a second one ends at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def listen(self) -> None:
        """Take the signals over; only the main thread of a program may."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self.receive)

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal, obey the second."""
        if self.number is not None:
            raise Interrupted(number, saved=False)
        self.number = number


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """An interruption to listen with; afterwards the signals are whose they were."""
    main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield Interruption()
    finally:
        for number, handler in before.items():
            if main:
                signal.signal(number, handler)


def save_last(trainer: Trainer, folder: Path) -> None:
    """Save the run's state, which all processes hold; a crash while writing leaves the one before in place."""
    partial = folder / f"{LAST}.partial"
    trainer.save_checkpoint(partial)  # by the first process; all must call it
    if trainer.is_global_zero:
        partial.replace(folder / LAST)


def link(file: Path, name: Path) -> None:
    """Give a file another name that stays when the first is replaced; a copy where the disk knows no links."""
    partial = name.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(file, partial)
    except OSError:
        shutil.copy(file, partial)
    partial.replace(name)


def as_epoch_start(checkpoint: dict[str, Any], epoch: int, step: int) -> None:
    """Write Lightning's loops as they are before an epoch: `Training` itself knows which batch comes next in it.

    Lightning's own resumption in the middle of an epoch repeats or leaves out validations and batches.
    """
    loops = checkpoint["loops"]["fit_loop"]
    for scope in ("total", "current"):
        loops["epoch_progress"][scope] = dict.fromkeys(loops["epoch_progress"][scope], epoch)
        batches = loops["epoch_loop.batch_progress"][scope]
        loops["epoch_loop.batch_progress"][scope] = dict.fromkeys(batches, batches["ready"])
    loops["epoch_loop.state_dict"]["_batches_that_stepped"] = step


def random_states() -> dict[str, Any]:
    """The states of all random generators, as tensors, numbers and texts."""
    name, keys, place, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), place, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],  # of the GPU of this process
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Set all random generators to what `random_states` saw."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, place, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), place, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"][0].cpu())
