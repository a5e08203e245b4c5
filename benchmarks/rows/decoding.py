"""Translating with a beam of 5: 64 sentences at once, and one alone.

The package is asked as a user asks it, `load(bundle).translate(texts, beam=5, attention=False)`, tokenization included.
The baseline is the plain batched beam of `benchmarks.textbook` over the textbook's model with the same weights, on ids
that are ready; with `--model` it runs over the bundle's own `start` and `step`, as there is no textbook of any model.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import seq2att
from benchmarks import flops, ours
from benchmarks.crafted import follow_source
from benchmarks.lengths import made, ragged, sentence_lengths
from benchmarks.rows.training import book, our_tiers
from benchmarks.settings import Settings
from benchmarks.textbook import Design, Speaker, Translator, beam_search
from benchmarks.timing import Contender, Row, Run, Work, conditions
from seq2att.api import Predictor
from seq2att.bundle import save
from seq2att.errors import UserError
from seq2att.model import Model
from seq2att.types import Column, select

BEAM = 5
SETS = 3  # different sets of sentences that the rounds go through
SAME = 0.9  # of the texts: float32 rounds differently, and random weights nearly tie
DESIGN = Design()


class Task(NamedTuple):
    """Sets of sentences, and what the baseline says to them."""

    texts: list[list[str]]
    answers: list[list[str]]
    tokens: list[list[int]]  # of every answer, the end symbol included
    sources: list[list[int]]  # tokens of every source


def bundle(settings: Settings) -> Path:
    """The folder of the model that is decoded with."""
    if settings.model is not None:
        return Path(settings.model)
    path = Path(settings.folder) / "bundle"
    if not (path / "metrics.json").exists():
        model = ours.copy_weights(crafted(settings), ours.translator(settings.sizes, DESIGN))
        save(model, ours.config(settings.sizes, DESIGN), path, {})
    return path


def crafted(settings: Settings) -> Translator:
    """The textbook's model, ending its sentences where a translation would."""
    return follow_source(book(settings._replace(device="cpu"), DESIGN)).eval()


def sentences(settings: Settings, number: int) -> list[str]:
    """So many source sentences."""
    if settings.model is not None:
        reader = ours_reader(settings)
        lines = (Path(settings.data) / f"test_2016_flickr.{reader}").read_text("utf-8").splitlines()
        return (lines * (1 + number // len(lines)))[:number]
    random = np.random.default_rng(settings.seed)
    lengths, _ = sentence_lengths(number, random)
    found = ragged(lengths, settings.sizes.vocabulary, random)
    parts = np.split(found.values, found.offsets[1:-1])
    return [" ".join(ours.word(int(number)) for number in part) for part in parts]


def ours_reader(settings: Settings) -> str:
    """The language that a bundle translates from."""
    from seq2att.bundle import read_config

    return str(read_config(bundle(settings))["reader"].get("source", "de"))


class OurSpeaker:
    """A model of the package, one step at a time, for the plain beam."""

    def __init__(self, model: Model) -> None:
        self.model, self.head = model, model.head

    def start(self, source: Tensor, lengths: Tensor, beams: int) -> Any:
        """The state of the first step."""
        encoding = self.model.encode(Column(source, lengths))
        rows = torch.arange(source.size(0), device=source.device).repeat_interleave(beams)
        self.memory, state = self.head.start(select(encoding, rows))
        return state

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Log-probabilities `[N, V]` after `tokens` `[N]`, and the state."""
        said = self.head.step(tokens, self.memory, state)
        return said.log_probs, said.state

    def reorder(self, state: Any, rows: Tensor) -> Any:
        """The state of these rows."""
        return select(state, rows)


class Baseline:
    """The plain beam over the textbook's model, or over a bundle's."""

    def __init__(self, settings: Settings) -> None:
        self.device = settings.device
        if settings.model is None:
            model = crafted(settings).to(settings.device)
            self.field = ours.field(ours.config(settings.sizes, DESIGN), "target", settings.sizes.vocabulary)
            self.source, self.speaker = self.field, Speaker(model)
        else:
            loaded = seq2att.load(settings.model, settings.device).model
            self.source, self.field, self.speaker = loaded.source, loaded.target, OurSpeaker(loaded)

    def ids(self, texts: Sequence[str]) -> Column:
        """The sentences as ids, longest first, as the package takes them too."""
        arrays = self.source.encode_batch(texts)
        lengths = torch.tensor([len(array) for array in arrays])
        padded = torch.zeros(len(arrays), int(lengths.max()), dtype=torch.long)
        for row, array in enumerate(arrays):
            padded[row, : len(array)] = torch.from_numpy(array.astype(np.int64))
        return Column(padded.to(self.device), lengths.to(self.device))

    def say(self, column: Column) -> list[list[int]]:
        """The ids of every answer."""
        return beam_search(self.speaker, column.values, column.lengths, BEAM)


def task(settings: Settings, batch: int) -> Task:
    """The sentences of the rounds and the baseline's answers, made once a run."""
    kept = Path(settings.folder) / f"task-{batch}.json"
    if kept.exists():
        return Task(*json.loads(kept.read_text("utf-8")))
    baseline = Baseline(settings)
    texts = sentences(settings, 4 * SETS * max(batch, 16))
    if batch == 1:
        texts = alone(baseline, texts, settings.sizes.sentence)
    sets = [texts[start : start + batch] for start in range(0, SETS * batch, batch)]
    said = [baseline.say(baseline.ids(part)) for part in sets]
    found = Task(
        sets,
        [[baseline.field.decode(ids) for ids in part] for part in said],
        [[len(ids) + 1 for ids in part] for part in said],
        [baseline.ids(part).lengths.tolist() for part in sets],
    )
    kept.write_text(json.dumps(found), "utf-8")
    return found


def alone(baseline: Baseline, texts: Sequence[str], tokens: int) -> list[str]:
    """The sentences whose answer is nearest to this many tokens, the end symbol included."""
    said = baseline.say(baseline.ids(texts))
    order = sorted(range(len(texts)), key=lambda row: abs(len(said[row]) + 1 - tokens))
    return [texts[row] for row in order[:SETS]]


def build_baseline(settings: Settings, batch: int) -> Run:
    """Rounds of the baseline."""
    baseline = Baseline(settings)
    ready = [baseline.ids(part) for part in task(settings, batch).texts]

    def run(number: int) -> None:
        baseline.say(ready[number % len(ready)])

    return run


def predictor(settings: Settings, quantize: str | None) -> Predictor:
    """The package's side, as a user loads it."""
    return seq2att.load(bundle(settings), settings.device, quantize=quantize)


def build_ours(settings: Settings, batch: int, quantize: str | None = None) -> Run:
    """Rounds of the package."""
    translate = predictor(settings, quantize).translate
    texts = task(settings, batch).texts

    def run(number: int) -> None:
        translate(texts[number % len(texts)], beam=BEAM, attention=False)

    return run


def our_contenders(settings: Settings, batch: int) -> list[Contender]:
    """The package in every tier, and quantized."""
    found = our_tiers(settings, lambda: build_ours(settings, batch))
    if settings.device == "cpu":
        quantized = Contender("seq2att, int8", lambda: build_ours(settings, batch, "int8"), weight_bytes=1)
        found.append(quantized)
    return found


def check(settings: Settings, batch: int) -> str:
    """How many answers of each contender are the baseline's; float32 must give nearly all."""
    asked = task(settings, batch)
    texts, expected = asked.texts[0], asked.answers[0]
    said = [f"{sum(asked.tokens[0])} output tokens for {sum(asked.sources[0])} source tokens in the first set"]
    for contender in our_contenders(settings, batch):
        quantized = contender.weight_bytes == 1
        try:
            with conditions(contender):
                translate = predictor(settings, "int8" if quantized else None).translate
                found = [one.text for one in translate(texts, beam=BEAM, attention=False)]
        except UserError:
            continue  # measuring says why
        equal = sum(one == other for one, other in zip(found, expected, strict=True)) / len(expected)
        if equal < SAME and not quantized:
            raise RuntimeError(
                f"{contender.name}: only {equal:.0%} of its answers are the baseline's: not the same work"
            )
        said.append(f"{contender.name} {equal:.0%} equal answers")
    return "; ".join(said)


def work(settings: Settings, batch: int) -> list[Work]:
    """Output tokens of every set, the operations of all hypotheses until their sentence ends, and the weights read."""
    asked, sizes = task(settings, batch), settings.sizes
    found = []
    for tokens, sources in zip(asked.tokens, asked.sources, strict=True):
        if settings.model is not None:  # not the sizes of this run
            found.append(Work(sum(tokens), 0.0))
            continue
        column = Column(torch.zeros(len(tokens), 1), torch.tensor(sources))
        target = Column(torch.zeros(len(tokens), 1), torch.tensor(tokens) - 1)
        useful = flops.beam(sizes, DESIGN, made(column, target), BEAM)
        reads = flops.weights_read(sizes, DESIGN, max(sources), max(tokens)) if batch == 1 else 0
        found.append(Work(sum(tokens), useful, reads))
    return found


def row(name: str, settings: Settings) -> Row:
    """The plain batched beam that keeps finished sentences, and the package."""
    batch = 1 if name == "decode-one" else settings.batch
    told = f"{batch} sentences" if batch > 1 else f"one sentence of {settings.sizes.sentence} output tokens"
    model = "a crafted model" if settings.model is None else f"the bundle {Path(settings.model).name}"
    first = Contender("plain batched beam", lambda: build_baseline(settings, batch), "torch")
    contenders = [first, *our_contenders(settings, batch)]
    title = f"beam {BEAM}, {told}, {model}"
    return Row(name, title, contenders, work(settings, batch), lambda: check(settings, batch))


ROWS = {name: functools.partial(row, name) for name in ("decode", "decode-one")}
