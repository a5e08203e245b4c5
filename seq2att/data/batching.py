"""Batches: rows of similar length together, in an order that depends on seed and epoch only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from seq2att.data.corpus import Corpus, Ragged, Rows
from seq2att.data.epochs import EpochRows, Part
from seq2att.data.streams import Streams, is_stream
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.types import Batch

BATCH_TOKENS = 1 << 14  # tokens of a batch outside training, padding included: what bounds the memory for long rows
NARROW = 4  # hypotheses of a row whose memory that of its encoding outweighs
LONG = 256  # tokens; of the batch of a longer row at most half is padding
FEWEST_MIXED = 4  # batches of a band; with fewer, a small data set would see the same batches in every epoch

Numbers = npt.NDArray[np.int64]


class Buckets:
    """The rows of each batch: similar lengths together, a different mix in every epoch, every row exactly once.

    Rows are sorted by (target, source) length and cut into bands of neighbours, each for about `num_mixed` batches.
    An epoch cuts a band into strata of one row for each batch and deals every stratum at random, so that a batch holds
    similar lengths and yet always another mix. Within a band batches differ by at most one row. The bands are those of
    the smallest limit that needs no more batches than `batch_size` does, so no small batch is left over. Lengths of a
    band are the same in every epoch, and so is the number of batches. Without `shuffle` a band is one batch, and
    batches come from short to long.

    With `parts` the rows of an epoch are drawn by weight. The bands are then those of the first epoch: another may
    exceed a limit in tokens by as much as its rows are longer. More than `epochs.WINDOW` rows are sorted in windows.
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
        parts: Sequence[Part] = (),
    ) -> None:
        longest = max((int(side.max(initial=0)) for side in (source, target) if side is not None), default=0)
        small = np.uint16 if longest < 1 << 16 else np.int64  # memory for every row of the corpus
        self.lengths = np.stack([np.asarray(side, small) for side in (source, source if target is None else target)])
        self.seed, self.shuffle, self.epoch = seed, shuffle, 0
        self.rows = EpochRows(len(source), seed, shuffle, parts)
        drawn, random = self.rows.draw(0), np.random.default_rng(0)
        self.bands = []  # of every window
        for number in range(len(self.rows.windows)):
            order = self.order(self.rows.window(number, drawn), random)
            cost = self.lengths.max(0, initial=1)[order].astype(np.int64)  # [rows of the window] in their order
            cost = cost if batch_by == "tokens" else np.ones_like(cost)
            rows = len(cost)
            mean = max(cost.mean(), 1) if rows else 1
            full = batch_size if batch_by == "sentences" else max(1, int(batch_size / mean))
            num_mixed = max(-(-rows // (full * bucket)), min(FEWEST_MIXED, rows // full), 1) if shuffle else 1
            self.bands.append(balanced_bands(cost, batch_size, num_mixed))

    def order(self, rows: Numbers, random: np.random.Generator) -> Numbers:
        """Rows by (target, source) length, equal ones in random order."""
        return sort_stably(random.permutation(rows) if self.shuffle else rows, *self.lengths)

    def __iter__(self) -> Iterator[Numbers]:
        random = np.random.default_rng((self.seed, self.epoch))
        drawn, windows = self.rows.draw(self.epoch), range(len(self.bands))
        for window in random.permutation(windows) if len(windows) > 1 else windows:
            order = self.order(self.rows.window(window, drawn), random)
            bands = self.bands[window]
            epoch = [batch for band in bands for batch in self.deal(order[band.start : band.end], band, random)]
            for number in random.permutation(len(epoch)) if self.shuffle else range(len(epoch)):
                yield epoch[number]

    def deal(self, rows: Numbers, band: Band, random: np.random.Generator) -> list[Numbers]:
        """The rows of a band as its batches, each stratum dealt at random."""
        missing = -len(rows) % band.batches
        strata = np.concatenate([rows, np.full(missing, -1)]).reshape(-1, band.batches)  # [strata, batches]
        if self.shuffle:
            strata = random.permuted(strata, axis=1)
        return [column[column >= 0] for column in strata.T]

    def __len__(self) -> int:
        """The number of batches, the same in every epoch."""
        return sum(band.batches for bands in self.bands for band in bands)

    def set_epoch(self, epoch: int) -> None:
        """Set which epoch the next iteration is."""
        self.epoch = epoch


class Band(NamedTuple):
    """Neighbours in the order of lengths, and how many batches they make."""

    start: int
    end: int
    batches: int


def balanced_bands(cost: Numbers, limit: int, num_mixed: int) -> list[Band]:
    """The bands of the smallest limit that needs no more batches than `limit` does: batches of near-equal size."""
    best = cut_bands(cost, limit, num_mixed)
    num_batches = sum(band.batches for band in best)
    low, high = 0, limit  # `low` needs more batches, `high` does not
    while high - low > 1:
        middle = (low + high) // 2
        bands = cut_bands(cost, middle, num_mixed)
        if sum(band.batches for band in bands) <= num_batches:
            best, high = bands, middle
        else:
            low = middle
    return best


def cut_bands(cost: Numbers, limit: int, num_mixed: int) -> list[Band]:
    """The rows, shortest first, as bands of `num_mixed` batches whose rows times their greatest cost keep the limit.

    A row that exceeds the limit alone is a batch of its own. The last band has as few batches as it needs, and joins
    the one before it where they would be less than half full.
    """
    bands: list[Band] = []
    start = 0
    while start < len(cost):
        most = num_mixed * max(1, limit // int(cost[start]))  # no more rows fit, for none costs less than the first
        greatest = np.maximum.accumulate(cost[start : start + most])  # [rows that may fit]
        per_batch = -(-np.arange(1, len(greatest) + 1) // num_mixed)  # [rows that may fit] rows of the largest batch
        fitting = max(1, int(np.searchsorted(per_batch * greatest, limit, side="right")))
        end, rows_of_a_batch = start + fitting, max(1, limit // int(greatest[fitting - 1]))
        if bands and end == len(cost) and 2 * fitting < rows_of_a_batch * -(-fitting // rows_of_a_batch):
            start = bands.pop().start
        bands.append(Band(start, end, -(-(end - start) // rows_of_a_batch)))
        start = end
    return bands


def sort_stably(rows: Numbers, *keys: Numbers) -> Numbers:
    """The rows by their keys, of which the last counts most; equal ones keep their order.

    NumPy sorts 16-bit numbers by their digits, a million of them in a tenth of the time.
    """
    for key in keys:
        small = key.max(initial=0) < 1 << 16
        rows = rows[np.argsort((key.astype(np.uint16, copy=False) if small else key)[rows], kind="stable")]
    return rows


def by_length(lengths: Numbers, batch_size: int, tokens: int = BATCH_TOKENS, width: int = 1) -> Iterator[Numbers]:
    """The rows in batches of similar length, longest first, so that a lack of memory shows at once.

    A batch has at most `batch_size` rows, and with its padding at most so many `tokens` unless it is one row; with more
    than `NARROW` hypotheses of a row (`width`) fewer in proportion.
    """
    tokens = tokens * NARROW // max(NARROW, width)
    order, first = np.argsort(-lengths, kind="stable"), 0
    ordered = lengths[order]
    while first < len(order):
        longest = max(1, int(ordered[first]))
        size = max(1, min(batch_size, tokens // longest))
        if longest > LONG:
            size = min(size, int(np.searchsorted(-ordered[first:], -longest // 2, side="right")))
        yield order[first : first + size]
        first += size


class Loader:
    """The batches of an epoch, in the order of a sampler, whose `set_epoch` chooses the order."""

    def __init__(self, sampler: Buckets | Streams, make_batch: Callable[[Any], Batch]) -> None:
        self.sampler, self.make_batch = sampler, make_batch

    def __iter__(self) -> Iterator[Batch]:
        return map(self.make_batch, self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)


def batches(
    corpus: Corpus,
    data_options: Mapping[str, Any],
    seed: int,
    shuffle: bool,
    select: Callable[[Numbers], Numbers] | None = None,
) -> Loader:
    """The batches of a corpus.

    `select` returns the part of a batch's rows that this process works on, which may be empty: all processes form the
    same batches, so their number and their rows do not depend on the number of processes.
    """
    if is_stream(data_options):
        streams = Streams.of(corpus, data_options)
        return Loader(streams, lambda number: streams.batch(number, select))
    buckets = Buckets(
        corpus.source.small_lengths(),
        None if corpus.target is None else corpus.target.small_lengths(),
        batch_size=data_options["batch_size"],
        batch_by=data_options["batch_by"],
        bucket=data_options["bucket"],
        seed=seed,
        shuffle=shuffle,
        parts=weighted_parts(corpus, data_options) if shuffle else (),
    )
    return Loader(buckets, lambda rows: collate(corpus, rows if select is None else select(rows)))


def weighted_parts(corpus: Corpus, data_options: Mapping[str, Any]) -> list[Part]:
    """The corpora that `data.weights` weighs; none where it is null."""
    weights = data_options.get("weights")
    if weights is None:
        return []
    for number, size in enumerate(corpus.part_sizes, start=1):
        if not size:
            problem = f"weighs a corpus of which no row is left, number {number} of reader.train"
            raise UserError("E-empty", f"data.weights={weights}", problem, "check its file, or leave it out")
    return [Part(size, weight) for size, weight in zip(corpus.part_sizes, weights, strict=True)]


def collate(corpus: Corpus, rows: Rows) -> Batch:
    """The rows of a corpus as a batch; target ids without begin and end."""
    numbers = torch.as_tensor(np.array(rows, np.int64))  # [B]
    target = None if corpus.target is None else corpus.target.gather(rows)
    return Batch(corpus.source.gather(rows), target, numbers, torch.zeros(len(numbers), dtype=torch.bool))


def source_batch(field: Field, values: Sequence[Any]) -> Batch:
    """Values to predict from, as a batch without target."""
    source = Ragged.of(field.encode_batch(list(values))).gather(np.arange(len(values)))
    return Batch(source, None, torch.arange(len(values)), torch.zeros(len(values), dtype=torch.bool))
