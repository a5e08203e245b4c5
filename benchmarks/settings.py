"""What a run measures: sizes, lengths and switches, small enough to be sent to another process."""

from __future__ import annotations

import time
from typing import NamedTuple


class Sizes(NamedTuple):
    """The sizes of the models; SPEED figures are comparable only where these are equal."""

    vocabulary: int = 8000  # ids, the four special ones included
    embedding: int = 256
    encoder: int = 256  # units in one direction
    decoder: int = 512  # also the size of the readout
    attention: int = 512  # units of the additive attention
    steps: int = 500  # the longest text of the classifier
    shortest: int = 60  # and its shortest
    sentence: int = 13  # output tokens of the sentence that is decoded alone


class Settings(NamedTuple):
    """The switches of the command line, and the folder that the run may write in."""

    folder: str
    sizes: Sizes = Sizes()
    batch: int = 64
    threads: int = 1
    device: str = "cpu"
    seed: int = 1
    data: str | None = None  # a folder with train.de, train.en, ... in place of synthetic sentences
    model: str | None = None  # a trained bundle to decode with, in place of a crafted one
    seconds: float = 12.0  # of measuring a row, warm-up not counted
    rounds: tuple[int, int] = (3, 15)  # fewest and most
    memory: bool = True
    cpu_time: bool = False  # seconds on a core in place of seconds by the clock: for a machine that others use too
    peers: tuple[tuple[str, str], ...] = ()  # (name, its Python)

    def now(self) -> float:
        """The time in seconds, from any start."""
        return time.process_time() if self.cpu_time else time.perf_counter()


TINY = Sizes(vocabulary=60, embedding=6, encoder=4, decoder=8, attention=5, steps=12, shortest=3, sentence=4)
