"""Checkpoints, random states and signals: what a run needs to stop and to continue exactly.

A checkpoint holds everything that the run depends on. It is made of tensors, numbers and texts only
(`torch.load(weights_only=True)` reads it) and serves to resume; the bundle is the product. `state.py` names the
checkpoints of a run.
"""

from __future__ import annotations

import hashlib
import random
import signal
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, cast

import numpy as np
import torch

from seq2att.errors import UserError
from seq2att.files import open_atomic
from seq2att.files.untrusted import regular_size

OVERWRITE = "set overwrite=true to train anew"


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


class Hashing:
    """A stream to write to that computes a digest of what it writes, and keeps the first error for later.

    PyTorch's writer aborts the process or hides the reason where a stream raises.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.digest, self.size = stream, hashlib.sha256(), 0
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        """Write some bytes."""
        if self.error is None:
            try:
                self.stream.write(content)
            except OSError as error:
                self.error = error
        self.digest.update(content)
        self.size += len(content)
        return len(content)

    def flush(self) -> None:
        """Nothing: the stream is flushed when it is closed."""


def write_checkpoint(state: Mapping[str, Any], path: Path) -> tuple[int, str]:
    """Write a checkpoint, which appears whole; returns its size in bytes and its SHA-256 digest."""
    with open_atomic(path) as stream:
        hashing = Hashing(stream)
        torch.save(dict(state), cast(BinaryIO, hashing))
        if hashing.error is not None:
            raise hashing.error
    return hashing.size, hashing.digest.hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether a checkpoint is there and has this SHA-256 digest."""
    try:
        regular_size(path)  # no link, no pipe
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == digest
    except (OSError, UserError):
        return False


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the CPU."""
    try:
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that was changed may raise anything
        problem = f"cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})"
        raise UserError("E-checkpoint", f"{path}", problem, OVERWRITE) from error
    if not isinstance(state, dict):
        raise UserError("E-checkpoint", f"{path}", "is no checkpoint of seq2att", OVERWRITE)
    return state


def check_archive(path: Path) -> None:
    """Raise ValueError for an archive that holds more than its file: PyTorch compresses nothing."""
    size = regular_size(path)
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > size:
            raise ValueError("it unpacks to more than it holds")


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
