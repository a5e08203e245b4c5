"""Batches with the lengths of Multi30k, made up or read from it.

Multi30k's training set (German and English, joint sentencepiece vocabulary of 8,000) has target lengths whose logarithm
has the mean 2.634 and the deviation 0.321; the logarithm of the source's length is 0.938 times the target's plus 0.187,
with a deviation of 0.198. Pools of such lengths are cut into batches by the package's own `Buckets`, and of an epoch's
batches those at some quantiles of the target length are measured, so that a row sees short and long sentences.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.settings import Settings
from seq2att.data import Buckets, Corpus, Ragged, prepare
from seq2att.types import SPECIALS, Batch, Column, length_mask

QUANTILES = (0.5, 0.1, 0.9, 0.3, 0.7)  # of an epoch's batches by length; the first ones count where rounds are few
POOLS = 100  # batches of made-up sentences

Numbers = npt.NDArray[np.int64]


def sentence_lengths(rows: int, random: np.random.Generator) -> tuple[Numbers, Numbers]:
    """Made-up lengths of sources and targets `[rows]`, without end symbols."""
    target = random.normal(2.634, 0.321, rows)
    source = 0.938 * target + 0.187 + random.normal(0.0, 0.198, rows)
    both = [np.exp(logarithm).round().clip(3, 60).astype(np.int64) for logarithm in (source, target)]
    return both[0], both[1]


def sentence_batches(settings: Settings) -> list[Batch]:
    """The batches that training rows measure, on the settings' device."""
    return [placed(batch, settings.device) for batch in made_batches(settings)]


@functools.cache
def made_batches(settings: Settings) -> tuple[Batch, ...]:
    """The same, on the CPU; made once a process."""
    if settings.data is not None:
        corpus = read(settings)
        source, target = corpus.source, corpus.target
        assert target is not None
    else:
        random = np.random.default_rng(settings.seed)
        lengths = sentence_lengths(POOLS * settings.batch, random)
        source, target = (ragged(part, settings.sizes.vocabulary, random) for part in lengths)
    buckets = Buckets(source.lengths, target.lengths, batch_size=settings.batch, seed=settings.seed)
    full = [rows for rows in buckets if len(rows) == settings.batch]
    full.sort(key=lambda rows: int(target.lengths[rows].sum()))
    chosen = [full[int(quantile * len(full))] for quantile in QUANTILES]
    return tuple(made(source.gather(rows), target.gather(rows)) for rows in chosen)


def made(source: Column, target: Column | None) -> Batch:
    """A batch of two columns."""
    rows = source.lengths.numel()
    return Batch(source, target, torch.arange(rows), torch.zeros(rows, dtype=torch.bool))


def placed(batch: Batch, device: str) -> Batch:
    """The batch on a device."""
    sides = [None if side is None else Column(*(part.to(device) for part in side)) for side in batch[:2]]
    assert sides[0] is not None
    return Batch(sides[0], sides[1], batch.rows.to(device), batch.continues.to(device))


def ragged(lengths: Numbers, vocabulary: int, random: np.random.Generator) -> Ragged:
    """Sequences of made-up ids: frequent and rare ones as in a language (Zipf)."""
    offsets = np.concatenate([[0], lengths.cumsum()])
    chance = 1.0 / (10.0 + np.arange(vocabulary - len(SPECIALS)))
    drawn = random.choice(len(chance), int(offsets[-1]), p=chance / chance.sum())
    return Ragged((drawn + len(SPECIALS)).astype(np.int32), offsets.astype(np.int64))


def read(settings: Settings) -> Corpus:
    """Multi30k's training split as the recipe reads it, with its vocabulary of 8,000."""
    from seq2att.config import compose
    from seq2att.model import make_fields
    from seq2att.registry import build

    config: dict[str, Any] = compose("multi30k_de_en", [f"data.root={settings.data}", f"data.cache={settings.folder}"])
    fields = make_fields(config)
    return prepare(config, *fields, build("reader", config), lambda _: None)["train"]


def classifier_batch(settings: Settings, vocabulary: int, classes: int = 2) -> tuple[Column, torch.Tensor]:
    """A batch of long texts of different lengths, the first one as long as any, and its labels `[B]`."""
    random = np.random.default_rng(settings.seed)
    lengths = random.integers(settings.sizes.shortest, settings.sizes.steps + 1, settings.batch)
    lengths[0] = settings.sizes.steps
    column = ragged(lengths, vocabulary, random).gather(np.arange(settings.batch))
    labels = torch.from_numpy(random.integers(0, classes, settings.batch))
    return Column(*(part.to(settings.device) for part in column)), labels.to(settings.device)


def real_pairs(source: torch.Tensor, target: torch.Tensor) -> int:
    """How many (source, target) positions of a batch are real: what an attention has to look at."""
    return int((source * target).sum())


__all__ = ["classifier_batch", "length_mask", "real_pairs", "sentence_batches", "sentence_lengths"]
