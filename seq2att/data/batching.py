"""Batches: rows of similar length together, in an order that depends on seed and epoch only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from seq2att.data.corpus import Corpus, Ragged, Rows
from seq2att.data.streams import Streams, runs
from seq2att.field import Field
from seq2att.types import Batch

FEWEST_POOLS = 4  # with fewer, a small data set would see the same batches in every epoch

Numbers = npt.NDArray[np.int64]


class Buckets(Sampler[Numbers]):
    """The rows of each batch, a different mix in every epoch; every row comes exactly once.

    Rows are sorted by (target, source) length and cut into strata of neighbours. A pool takes one random row of every
    stratum and is cut into batches of consecutive strata, so a batch holds similar lengths and yet always another mix.
    As a stratum has the same lengths in every epoch, so has the number of batches. Without `shuffle` there is one
    pool, and batches come from short to long.
    """

    def __init__(
        self,
        source: Numbers,
        target: Numbers | None,
        *,
        batch_size: int,
        batch_by: Literal["sentences", "tokens"] = "sentences",
        bucket: int = 100,
        seed: int = 1,
        shuffle: bool = True,
    ) -> None:
        self.lengths = np.stack([source, source if target is None else target])  # [2, rows]
        self.seed, self.shuffle, self.epoch = seed, shuffle, 0
        rows = self.lengths.shape[1]
        mean = self.lengths.max(0, initial=0).mean() if rows else 0.0
        usual = batch_size if batch_by == "sentences" else max(1, int(batch_size / max(mean, 1)))  # rows of a batch
        self.pools = max(-(-rows // (usual * bucket)), min(FEWEST_POOLS, rows // usual), 1) if shuffle else 1
        order = self.order(np.random.default_rng(0))
        self.bounds = self.strata_bounds(order)  # [strata] the longest row of each, on either side
        self.cuts = cut(self.bounds, batch_size, batch_by)
        last = rows - (len(self.bounds) - 1) * self.pools  # rows of the last stratum, which may be short
        alone = bool(rows) and self.cuts[-2] == len(self.bounds) - 1  # the last batch of a pool is that stratum
        self.count = self.pools * (len(self.cuts) - 1) - (self.pools - last if alone else 0)

    def order(self, random: np.random.Generator) -> Numbers:
        """All rows by (target, source) length, equal ones in random order."""
        rows = self.lengths.shape[1]
        mixed = random.permutation(rows) if self.shuffle else np.arange(rows)
        return sort_stably(mixed, *self.lengths)

    def strata(self, order: Numbers) -> Numbers:
        """The sorted rows as `[strata, pools]`, the end filled with -1."""
        missing = -len(order) % self.pools
        return np.concatenate([order, np.full(missing, -1)]).reshape(-1, self.pools)

    def strata_bounds(self, order: Numbers) -> Numbers:
        """The longest length on either side in every stratum `[2, strata]`."""
        missing = -len(order) % self.pools
        lengths = np.pad(self.lengths[:, order], ((0, 0), (0, missing)))  # [2, strata * pools]
        bounds: Numbers = lengths.reshape(2, -1, self.pools).max(2, initial=0).T
        return bounds

    def __iter__(self) -> Iterator[Numbers]:
        random = np.random.default_rng((self.seed, self.epoch))
        strata = self.strata(self.order(random))
        if self.shuffle:
            strata = random.permuted(strata, axis=1)
        batches = [(pool, batch) for pool in range(self.pools) for batch in range(len(self.cuts) - 1)]
        for number in random.permutation(len(batches)) if self.shuffle else range(len(batches)):
            pool, batch = batches[number]
            rows = strata[self.cuts[batch] : self.cuts[batch + 1], pool]
            rows = rows[rows >= 0]
            if len(rows):
                yield rows

    def __len__(self) -> int:
        """The number of batches, the same in every epoch."""
        return self.count

    def set_epoch(self, epoch: int) -> None:
        """Which epoch the next iteration is; Lightning calls it."""
        self.epoch = epoch


def sort_stably(rows: Numbers, *keys: Numbers) -> Numbers:
    """The rows by their keys, of which the last counts most; equal ones keep their order.

    NumPy sorts 16-bit numbers by their digits, a million of them in a tenth of the time.
    """
    for key in keys:
        small = key.max(initial=0) < 1 << 16
        rows = rows[np.argsort((key.astype(np.uint16) if small else key)[rows], kind="stable")]
    return rows


def cut(bounds: Numbers, batch_size: int, batch_by: str) -> list[int]:
    """Where batches of consecutive strata begin and end; a row longer than `batch_size` tokens goes alone."""
    strata = len(bounds)
    if batch_by == "sentences":
        return [*range(0, strata, batch_size), strata]
    cuts, longest = [0] if strata else [], np.zeros(2, np.int64)
    for number in range(strata):
        longest = np.maximum(longest, bounds[number])
        if max(longest.max(), 1) * (number + 1 - cuts[-1]) > batch_size and number > cuts[-1]:
            cuts.append(number)
            longest = bounds[number]
    return [*cuts, strata]


class RowSets(Dataset[Numbers]):
    """What a DataLoader reads: a set of rows is its own item, collation fetches the ids."""

    def __getitem__(self, rows: Any) -> Numbers:
        return np.asarray(rows, np.int64)


def batches(
    corpus: Corpus,
    data_options: Mapping[str, Any],
    seed: int,
    shuffle: bool,
    mine: Callable[[Numbers], Numbers] | None = None,
) -> DataLoader[Numbers]:
    """A loader of `Batch`es; its `sampler` is the `Buckets`, whose `set_epoch` chooses the order, or the `Streams`.

    `mine` gives the part of a batch's rows that this process works on, which may be none of them: all processes form
    the same batches, so their number and their rows do not depend on how many processes share them.
    """
    if runs(data_options):
        streams = Streams.of(corpus, data_options)
        return loader(streams, partial(streams.batch, mine))
    buckets = Buckets(
        corpus.source.lengths,
        None if corpus.target is None else corpus.target.lengths,
        batch_size=data_options["batch_size"],
        batch_by=data_options["batch_by"],
        bucket=data_options["bucket"],
        seed=seed,
        shuffle=shuffle,
    )
    return loader(buckets, partial(collate, corpus) if mine is None else partial(collate_part, corpus, mine))


def loader(sampler: Sampler[Numbers], collation: Callable[[Any], Batch]) -> DataLoader[Numbers]:
    """What a sampler names, made into batches."""
    return DataLoader(
        RowSets(),
        batch_size=None,
        sampler=sampler,
        collate_fn=collation,
        generator=torch.Generator(),  # its own: an iteration draws a seed, which is to leave the global one alone
    )


def collate(corpus: Corpus, rows: Rows) -> Batch:
    """The rows of a corpus as a batch; target ids without begin and end."""
    numbers = torch.as_tensor(np.array(rows, np.int64))  # [B]
    target = None if corpus.target is None else corpus.target.gather(rows)
    return Batch(corpus.source.gather(rows), target, numbers, torch.zeros(len(numbers), dtype=torch.bool))


def collate_part(corpus: Corpus, mine: Callable[[Numbers], Numbers], rows: Numbers) -> Batch:
    """The part of the rows that this process works on, as a batch."""
    return collate(corpus, mine(rows))


def source_batch(field: Field, values: Sequence[Any]) -> Batch:
    """Values to predict from, as a batch without target."""
    source = Ragged.of(field.encode_batch(list(values))).gather(np.arange(len(values)))
    return Batch(source, None, torch.arange(len(values)), torch.zeros(len(values), dtype=torch.bool))
