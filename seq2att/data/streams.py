"""Running text: all rows of a split one after the other, cut in parallel streams, a few tokens of each at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Sampler

from seq2att.data.corpus import Corpus, Ragged
from seq2att.errors import UserError
from seq2att.types import BEGIN, END, Batch, Column

Numbers = npt.NDArray[np.int64]


class RunningText:
    """The ids of all rows as one sequence, with END after every row if `ends`; nothing of it is copied."""

    def __init__(self, rows: Ragged, ends: bool) -> None:
        self.rows, self.ends = rows, ends
        self.starts = rows.offsets[:-1] + (np.arange(len(rows)) if ends else 0)  # [rows] in the whole text
        self.size = int(rows.offsets[-1]) + len(rows) * ends

    def row(self, places: Numbers) -> Numbers:
        """The row that holds each place of the text."""
        found: Numbers = np.searchsorted(self.starts, places, "right") - 1
        return np.clip(found, 0, None)

    def ids(self, places: Numbers) -> Numbers:
        """The id at each place of the text."""
        if not self.ends:
            return self.rows.values.take(places, mode="clip").astype(np.int64)
        row = self.row(places)
        inside = self.rows.offsets[row] + places - self.starts[row]
        ids = self.rows.values.take(inside, mode="clip") if len(self.rows.values) else np.zeros(places.shape)
        return np.where(inside < self.rows.offsets[row + 1], ids, END).astype(np.int64)


class Streams(Sampler[Numbers]):
    """The text cut in `count` streams of equal size (up to a token), and these in batches of `steps` tokens.

    A batch is a number of its own; it goes on where the one before stopped, so the order is that of the text in every
    epoch.
    """

    def __init__(self, text: RunningText, count: int, steps: int) -> None:
        self.text, self.steps = text, steps
        self.bounds = np.arange(count + 1, dtype=np.int64) * text.size // count  # [streams + 1] in the text
        self.longest = int(np.diff(self.bounds).max())

    @classmethod
    def of(cls, corpus: Corpus, options: Mapping[str, Any]) -> Streams:
        """The streams that the data options ask for: `batch_size` of them, or as many as make that many tokens."""
        check(corpus, options)
        steps, count = options["steps"], options["batch_size"]
        if options["batch_by"] == "tokens":
            count = max(1, count // steps)
        assert corpus.target is not None
        text = RunningText(corpus.target, options["row_ends"])
        return cls(text, min(count, max(1, text.size)), steps)

    def __iter__(self) -> Iterator[Numbers]:
        return (np.array([number]) for number in range(len(self)))

    def __len__(self) -> int:
        return -(-self.longest // self.steps)

    def set_epoch(self, epoch: int) -> None:
        """Every epoch reads the text from its beginning."""

    def batch(self, mine: Callable[[Numbers], Numbers] | None, number: Numbers) -> Batch:
        """The batch of this number, or the streams of it that this process works on.

        A row of the target is the token before, then up to `steps` tokens; BEGIN stands before a stream.
        """
        streams = np.arange(len(self.bounds) - 1)
        streams = streams if mine is None else mine(streams)
        at = int(np.asarray(number).item()) * self.steps
        first, last = self.bounds[streams] + at, self.bounds[streams + 1]  # [B]
        lengths = np.clip(last - first, 0, self.steps)
        places = first[:, None] + np.arange(-1, lengths.max(initial=0))  # [B, 1 + T]
        ids = self.text.ids(np.clip(places, 0, max(self.text.size - 1, 0)))
        ids = np.where(np.arange(-1, places.shape[1] - 1) < lengths[:, None], ids, 0)
        if at == 0:
            ids[:, 0] = BEGIN
        count = len(streams)
        nothing = Column(torch.zeros(count, 0, dtype=torch.long), torch.zeros(count, dtype=torch.long))
        target = Column(torch.from_numpy(ids), torch.from_numpy(lengths + 1))
        rows = self.text.row(np.minimum(first, last - 1)).astype(np.int64)
        return Batch(nothing, target, torch.from_numpy(rows), torch.full((count,), at > 0))


def runs(options: Mapping[str, Any]) -> bool:
    """Whether the data options ask for running text."""
    return bool(options.get("batching", "rows") == "stream")


def check(corpus: Corpus, options: Mapping[str, Any]) -> None:
    """Refuse what cannot be read as running text."""
    for name, usual in (("steps", 35), ("batch_size", 20)):
        if options[name] < 1:
            raise UserError(f"data.{name}={options[name]}: running text is read in 1 or more; set data.{name}={usual}")
    if len(corpus.source.values):
        raise UserError(
            "data.batching=stream reads the targets as running text, but the rows have sources too; "
            "set data.batching=rows, or source=none with encoder=none and head=language_model"
        )
    if corpus.target is None or corpus.target.values.ndim > 1 or corpus.target.values.dtype.kind != "i":
        raise UserError(
            "data.batching=stream reads text, but the target is none; set target=text, or data.batching=rows"
        )
