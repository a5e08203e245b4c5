"""How time and memory grow: with the length of sources, with what the attention looks at, with the size of a corpus."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks import ours, textbook
from benchmarks.lengths import made, placed, ragged, sentence_lengths
from benchmarks.machine import apart, peak_memory
from benchmarks.report import Section, number
from benchmarks.rows.training import book
from benchmarks.settings import TINY, Settings
from benchmarks.textbook import Design
from benchmarks.timing import Contender, Row, Run, Work
from benchmarks.timing import measure as take_turns
from seq2att.types import Batch

LENGTHS = (10, 20, 50, 100, 200, 500)
QUICK_LENGTHS = (10, 100, 500)
PACKED_UP_TO = 200  # tokens: the textbook's packed encoder is quadratic in time
TARGET = 20  # target tokens where the source's length is what grows
ROWS_OF_A_BATCH = 16  # there: small enough for 500 source tokens on any machine
CORPORA = (10_000, 100_000, 1_000_000)
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def encoder(settings: Settings, quick: bool) -> Section:
    """The encoder forwards and backwards, a token, by the length of the texts (half to all of it)."""

    def work(length: int) -> tuple[Batch, int]:
        generator = np.random.default_rng(settings.seed)
        lengths = generator.integers(max(1, length // 2), length + 1, settings.batch)
        lengths[0] = length
        column = ragged(lengths, settings.sizes.vocabulary, generator).gather(np.arange(settings.batch))
        return placed(made(column, None), settings.device), int(lengths.sum())

    def package(batch: Batch) -> Run:
        model = ours.translator(settings.sizes, Design()).to(settings.device)

        def run(number: int) -> None:
            model.zero_grad()
            model.encode(batch.source).outputs.sum().backward()

        return run

    def packed(batch: Batch) -> Run:
        model = book(settings, Design()).encoder

        def run(number: int) -> None:
            model.zero_grad()
            model(batch.source.values, batch.source.lengths)[0].sum().backward()

        return run

    sides = [("seq2att", package, LENGTHS[-1]), ("packed nn.LSTM", packed, PACKED_UP_TO)]
    title = (
        f"a bidirectional LSTM of {settings.sizes.encoder} units a direction, by the longest of {settings.batch} texts"
    )
    note = "Forwards and backwards, microseconds a source token; the texts have half to all of that length."
    return by_length("growth-encoder", title, note, settings, quick, work, sides)


def attention(settings: Settings, quick: bool) -> Section:
    """A training step, a target token, by what the attention looks at."""
    settings = settings._replace(batch=min(settings.batch, ROWS_OF_A_BATCH))
    additive = Design(order="bahdanau", attention="additive", feeding=False)

    def work(length: int) -> tuple[Batch, int]:
        generator = np.random.default_rng(settings.seed)
        sides = [np.full(settings.batch, steps) for steps in (length, TARGET)]
        columns = [
            ragged(part, settings.sizes.vocabulary, generator).gather(np.arange(settings.batch)) for part in sides
        ]
        return placed(made(*columns), settings.device), settings.batch * (TARGET + 1)

    def package(design: Design) -> Callable[[Batch], Run]:
        def build(batch: Batch) -> Run:
            training = ours.Training(ours.translator(settings.sizes, design).to(settings.device))

            def run(number: int) -> None:
                training.step(batch)

            return run

        return build

    def plain(batch: Batch) -> Run:
        training = textbook.Training(book(settings, additive), quick=True)
        inputs, wanted = ours.textbook_inputs(batch)

        def run(number: int) -> None:
            training.step(inputs, wanted)

        return run

    sides = [
        ("seq2att, general", package(Design()), LENGTHS[-1]),
        ("seq2att, additive", package(additive), LENGTHS[-1]),
        ("textbook, additive", plain, 100),
    ]
    title = f"a training step by the source's length, {settings.batch} sentences of {TARGET} target tokens"
    note = "Microseconds a target token, the encoder's work for the longer source included."
    return by_length("growth-attention", title, note, settings, quick, work, sides)


def by_length(
    name: str,
    title: str,
    note: str,
    settings: Settings,
    quick: bool,
    work: Callable[[int], tuple[Batch, int]],
    sides: Sequence[tuple[str, Callable[[Batch], Run], int]],
) -> Section:
    """Microseconds a token of every side at every length that it goes up to."""
    lengths = (4, 8) if settings.sizes == TINY else QUICK_LENGTHS if quick else LENGTHS
    lines, values = [], []
    for length in lengths:
        batch, tokens = work(length)
        contenders = [Contender(side, functools.partial(build, batch)) for side, build, most in sides if length <= most]
        row = Row(name, title, contenders, [Work(tokens, 0.0)], lambda: "")
        times = take_turns(row, settings._replace(seconds=settings.seconds / 3))
        found = {one.contender.name: 1e6 * float(np.median(one.seconds)) / tokens for one in times if one.seconds}
        lines.append([str(length), *(number(found.get(side, 0.0)) for side, _, _ in sides)])
        values.append({"length": length, **found})
    columns = ["length", *(f"{side}, us a token" for side, _, _ in sides)]
    return Section(name, title, note, columns, lines, values)


def corpus(settings: Settings, quick: bool) -> Section:
    """Reading, encoding and batching, by the number of sentences."""
    sizes = (300,) if settings.sizes == TINY else CORPORA[:2] if quick else CORPORA
    lines, values = [], []
    for rows in sizes:
        file = Path(settings.folder) / f"sentences-{rows}.tsv"
        size = write_sentences(file, rows, settings.seed)
        cold, cold_memory = apart(prepare_corpus, settings, str(file), False)
        warm, warm_memory = apart(prepare_corpus, settings, str(file), True)
        if cold is None or warm is None:
            raise RuntimeError(f"preparing {rows} sentences failed; see the error above")
        figures = {
            "sentences": rows,
            "megabytes": size / 1e6,
            "prepare_seconds": cold["prepare"],
            "prepare_memory": cold_memory,
            "again_seconds": warm["prepare"],
            "tokens_a_second": warm["tokens"] / warm["epoch"],
            "epoch_memory": warm_memory,
            "start_memory": warm["start"],
        }
        values.append(figures)
        lines.append(
            [f"{rows:,}", f"{rows / cold['prepare']:,.0f}", *(number(figures[name]) for name in list(figures)[1:])]
        )
    note = (
        "Made-up sentences of letters, sentencepiece of 8,000 pieces learned from 20,000 lines. Preparing reads, learns"
        " the vocabulary and encodes; again is the same from the cache; then one epoch of batches, both sides' tokens "
        "counted. Peak memory is that of processes that do only this, files that are mapped included; a process that "
        "has only started holds the last column."
    )
    columns = ["sentences", "prepared, sentences/s", "file, MB", "prepare, s", "peak MiB", "again, s"]
    columns += ["batches, tokens/s", "peak MiB of an epoch", "start, MiB"]
    return Section("growth-corpus", "the data path by the size of the corpus", note, columns, lines, values)


def write_sentences(file: Path, rows: int, seed: int) -> int:
    """A file of made-up pairs; words are letters, frequent ones short; gives its size."""
    generator = np.random.default_rng(seed)
    letters = random.Random(seed)
    words = ["".join(letters.choices(ALPHABET, k=2 + rank.bit_length() // 2)) for rank in range(1, 20_001)]
    chance = 1.0 / (10.0 + np.arange(len(words)))
    with file.open("w", encoding="utf-8") as written:
        for start in range(0, rows, 10_000):
            sides = []
            for lengths in sentence_lengths(min(10_000, rows - start), generator):
                drawn = generator.choice(len(words), int(lengths.sum()), p=chance / chance.sum())
                sides.append(
                    [" ".join(words[place] for place in part) for part in np.split(drawn, lengths.cumsum()[:-1])]
                )
            written.writelines(f"{one}\t{other}\n" for one, other in zip(*sides, strict=True))
    return file.stat().st_size


def prepare_corpus(settings: Settings, file: str, epoch: bool) -> dict[str, Any]:
    """Prepare a corpus as a training run does, and go through one epoch of batches; in a process of its own."""
    from seq2att.config import compose
    from seq2att.data import batches, prepare
    from seq2att.model import make_fields
    from seq2att.registry import build

    torch.set_num_threads(settings.threads)
    start = peak_memory()
    pieces = 40 if settings.sizes == TINY else 8000
    tokenizers = [
        f"{side}.tokenizer.{option}" for side in ("source", "target") for option in (f"size={pieces}", "sample=20000")
    ]
    paths = [f"reader.train={file}", f"data.cache={settings.folder}"]
    config = compose("multi30k_de_en", ["reader=tsv", *paths, *tokenizers])
    fields = make_fields(config)
    began = time.perf_counter()
    train = prepare(config, *fields, build("reader", config), lambda _: None)["train"]
    prepared = time.perf_counter()
    tokens = sum(
        int(batch.source.lengths.sum() + batch.target.lengths.sum())
        for batch in (batches(train, config["data"], 1, shuffle=True) if epoch else ())
    )
    return {"prepare": prepared - began, "epoch": time.perf_counter() - prepared, "tokens": tokens, "start": start}


GROWTH = {"growth-encoder": encoder, "growth-attention": attention, "growth-corpus": corpus}
