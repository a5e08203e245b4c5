"""Checkpoints, random states and signals: what a run needs to stop and to continue exactly.

`last.ckpt` holds everything that the run depends on, `best.ckpt` the same at the best validation. They are made of
tensors, numbers and texts only (`torch.load(weights_only=True)` reads them) and serve to resume; the bundle is the
product.
"""

from __future__ import annotations

import os
import pickle
import random
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

from seq2att.errors import UserError

FORMAT = 2  # of checkpoints; 1 was the format of Lightning's Trainer
OVERWRITE = "finish the run with the seq2att that began it, or set overwrite=true to train anew"


class Interrupted(BaseException):
    """A signal stopped the training."""

    def __init__(self, number: int, is_saved: bool) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number, self.is_saved = number, is_saved


class Interruption:
    """Notes the first SIGINT or SIGTERM; a second one ends the process at once."""

    def __init__(self) -> None:
        self.number: int | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self.number is not None:
            raise Interrupted(number, is_saved=False)
        self.number = number


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Handle SIGINT and SIGTERM inside the block; only the main thread of a program may."""
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    handlers = {number: signal.signal(number, interruption.receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint; a crash while writing leaves the previous one in place."""
    partial = path.with_name(f"{path.name}.partial")
    try:
        torch.save({"format": FORMAT, **state}, partial)
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        problem = f"cannot be written ({str(error).splitlines()[0]})"
        remedy = "free space or rights, then the same command continues from the previous checkpoint"
        raise UserError("E-checkpoint", str(path), problem, remedy) from error


def read_checkpoint(path: Path, mmap: bool = False) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU. With `mmap`, tensors are read only when they are used."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        problem = f"cannot be read ({str(error).splitlines()[0]})"
        raise UserError("E-checkpoint", str(path), problem, "set overwrite=true to train anew") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError("E-checkpoint", str(path), "is of another version of seq2att", OVERWRITE)
    return state


def link(file: Path, name: Path) -> None:
    """Give a file a second name that stays when the first is replaced; copy it where links are not supported."""
    partial = name.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(file, partial)
    except OSError:
        shutil.copy(file, partial)
    partial.replace(name)


def random_states() -> dict[str, Any]:
    """The states of all random generators, as tensors, numbers and texts."""
    name, keys, position, has_gauss, gauss = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [],  # of the GPU of this process
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Set all random generators to the states of `random_states`."""
    version, internal, gauss = states["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(states["torch"].cpu())
    if states["cuda"] and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"][0].cpu())
