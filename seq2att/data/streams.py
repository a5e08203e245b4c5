"""Running text: all rows of a split in order, cut into parallel streams that are read a few tokens at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seq2att.data.corpus import Corpus, Ragged
from seq2att.errors import UserError
from seq2att.types import BEGIN, END, Batch, Column

Numbers = npt.NDArray[np.int64]


class RunningText:
    """The ids of all rows as one sequence, with END after every row if `has_ends`; nothing is copied."""

    def __init__(self, rows: Ragged, has_ends: bool) -> None:
        self.rows, self.has_ends = rows, has_ends
        self.starts = rows.offsets[:-1] + (np.arange(len(rows)) if has_ends else 0)  # [rows] in the whole text
        self.size = int(rows.offsets[-1]) + len(rows) * has_ends

    def row(self, positions: Numbers) -> Numbers:
        """The row that holds each position of the text."""
        rows: Numbers = np.searchsorted(self.starts, positions, "right") - 1
        return np.clip(rows, 0, None)

    def ids(self, positions: Numbers) -> Numbers:
        """The id at each position of the text."""
        if not self.has_ends:
            return self.rows.values.take(positions, mode="clip").astype(np.int64)
        row = self.row(positions)
        index = self.rows.offsets[row] + positions - self.starts[row]
        ids = self.rows.values.take(index, mode="clip") if len(self.rows.values) else np.zeros(positions.shape)
        return np.where(index < self.rows.offsets[row + 1], ids, END).astype(np.int64)


class Streams:
    """The text cut into `count` streams of equal size (up to a token), and these into batches of `steps` tokens.

    The sampler gives batch numbers. A batch continues where the previous one stopped, in every epoch alike.
    """

    def __init__(self, text: RunningText, count: int, steps: int) -> None:
        self.text, self.steps = text, steps
        self.bounds = np.arange(count + 1, dtype=np.int64) * text.size // count  # [streams + 1] in the text
        self.longest = int(np.diff(self.bounds).max())

    @classmethod
    def of(cls, corpus: Corpus, options: Mapping[str, Any]) -> Streams:
        """The streams of the data options: `batch_size` of them, or as many as make that many tokens."""
        check(corpus, options)
        steps, count = options["steps"], options["batch_size"]
        if options["batch_by"] == "tokens":
            count = max(1, count // steps)
        assert corpus.target is not None
        text = RunningText(corpus.target, options["row_ends"])
        return cls(text, min(count, max(1, text.size)), steps)

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __len__(self) -> int:
        return -(-self.longest // self.steps)

    def set_epoch(self, epoch: int) -> None:
        """Nothing changes: every epoch reads the text from its beginning."""

    def batch(self, number: int, select: Callable[[Numbers], Numbers] | None = None) -> Batch:
        """The batch of this number, or the part of its streams that `select` returns.

        A row of the target is the previous token, or BEGIN at the start of a stream, then up to `steps` tokens.
        """
        streams = np.arange(len(self.bounds) - 1)
        streams = streams if select is None else select(streams)
        start = number * self.steps
        first, last = self.bounds[streams] + start, self.bounds[streams + 1]  # [B]
        lengths = np.clip(last - first, 0, self.steps)
        positions = first[:, None] + np.arange(-1, lengths.max(initial=0))  # [B, 1 + T]
        ids = self.text.ids(np.clip(positions, 0, max(self.text.size - 1, 0)))
        ids = np.where(np.arange(-1, positions.shape[1] - 1) < lengths[:, None], ids, 0)
        if start == 0:
            ids[:, 0] = BEGIN
        count = len(streams)
        no_source = Column(torch.zeros(count, 0, dtype=torch.long), torch.zeros(count, dtype=torch.long))
        target = Column(torch.from_numpy(ids), torch.from_numpy(lengths + 1))
        rows = self.text.row(np.minimum(first, last - 1)).astype(np.int64)
        return Batch(no_source, target, torch.from_numpy(rows), torch.full((count,), start > 0))


def is_stream(options: Mapping[str, Any]) -> bool:
    """Whether the data options ask for running text."""
    return bool(options.get("batching", "rows") == "stream")


def check(corpus: Corpus, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be read as running text."""
    if len(corpus.source.values):
        problem = "reads the targets as one running text, but the rows have sources too"
        remedy = "set data.batching=rows, or source=none with encoder=none and head=language_model"
        raise UserError("E-conflict", "data.batching=stream", problem, remedy)
    if corpus.target is None or corpus.target.values.ndim > 1 or corpus.target.values.dtype.kind != "i":
        problem = "reads text, but the targets are not text"
        raise UserError("E-conflict", "data.batching=stream", problem, "set target=text, or data.batching=rows")
