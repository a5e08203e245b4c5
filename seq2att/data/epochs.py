"""The rows of an epoch: each once or by the weights of the corpora, in windows that are sorted one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

WINDOW = 1 << 22  # rows that are sorted and held at once
BLOCK = 1 << 10  # neighbouring rows that are always in the same window

Numbers = npt.NDArray[np.int64]


class Part(NamedTuple):
    """A corpus among several: rows that follow each other, and how much of an epoch is drawn from them."""

    size: int
    weight: float


class EpochRows:
    """The rows of each epoch.

    Without `parts` an epoch has each row once. With them it has as many rows, of each part the share of its weight:
    all rows of the part equally often, up to one, and which ones once more depends on seed and epoch. Rows beyond
    `WINDOW` are in several windows, each of blocks from everywhere, the same in every epoch; so memory does not grow
    with the corpus, and neither the number of batches nor the rows of an epoch depend on it.
    """

    def __init__(self, count: int, seed: int, is_mixed: bool, parts: Sequence[Part] = ()) -> None:
        self.count, self.seed, self.parts = count, seed, parts
        num_windows = max(1, -(-count // WINDOW)) if is_mixed else 1
        blocks = np.arange(-(-count // BLOCK))
        if num_windows > 1:
            blocks = np.random.default_rng((seed, num_windows)).permutation(blocks)
        self.windows = np.array_split(blocks, num_windows)

    def draw(self, epoch: int) -> Numbers | None:
        """All rows of an epoch, part by part; None where they are all rows in order."""
        if not self.parts:
            return None
        random = np.random.default_rng((self.seed, epoch, len(self.parts)))
        starts = np.cumsum([0, *(part.size for part in self.parts)])
        bounds = np.cumsum([0.0, *(part.weight for part in self.parts)])
        counts = np.diff(np.floor(bounds / bounds[-1] * self.count + 0.5)).astype(np.int64)
        drawn = []
        for part, start, count in zip(self.parts, starts.tolist(), counts.tolist(), strict=False):
            times, rest = divmod(count, part.size)
            drawn += [np.arange(start, start + part.size)] * times
            drawn.append(start + random.permutation(part.size)[:rest])
        return np.concatenate(drawn)

    def window(self, number: int, drawn: Numbers | None) -> Numbers:
        """The rows of a window, of all that `draw` returned."""
        positions = (self.windows[number][:, None] * BLOCK + np.arange(BLOCK)).ravel()
        positions = positions[positions < self.count]
        return positions if drawn is None else drawn[positions]
