"""The Python API: load a trained model and use it on text, or train one.

import seq2att
model = seq2att.load("runs/pronounce")
print(model.translate("hello").text)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import torch
from torch import Tensor

from seq2att import registry
from seq2att.errors import UserError
from seq2att.model import Model
from seq2att.model import load as load_bundle
from seq2att.search import Search
from seq2att.types import UNKNOWN, Batch, Column, Prediction, length_mask

BATCH_SIZE = 64


class Scored(NamedTuple):
    """How likely a model finds a target for a source."""

    score: float  # log p(target | source), the end symbol included
    tokens: int  # target tokens, the end symbol included

    @property
    def perplexity(self) -> float:
        """The perplexity of one target token."""
        return float(np.exp(-self.score / self.tokens))


class Predictor:
    """A trained model that takes text and gives text.

    Answers come in the order of the questions, and no answer depends on its neighbours.
    """

    def __init__(self, model: Model, config: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.model = model
        self.config = config
        self.say = say

    @overload
    def translate(  # type: ignore[overload-overlap]  # one text is no list of its letters
        self,
        texts: str,
        *,
        beam: int | None = ...,
        n_best: int = ...,
        search: Mapping[str, Any] | None = ...,
        batch_size: int = ...,
        too_long: str | None = ...,
        first_line: int = ...,
    ) -> Prediction: ...

    @overload
    def translate(
        self,
        texts: Iterable[str],
        *,
        beam: int | None = ...,
        n_best: int = ...,
        search: Mapping[str, Any] | None = ...,
        batch_size: int = ...,
        too_long: str | None = ...,
        first_line: int = ...,
    ) -> list[Prediction]: ...

    def translate(
        self,
        texts: str | Iterable[str],
        *,
        beam: int | None = None,
        n_best: int = 1,
        search: Mapping[str, Any] | None = None,
        batch_size: int = BATCH_SIZE,
        too_long: str | None = None,
        first_line: int = 1,
    ) -> Prediction | list[Prediction]:
        """Translate a text, or many in their order; an empty text gives an empty one.

        `beam` 1 is greedy search; by default the search is that of the configuration, and `search` sets options of it
        (`{"name": "sample", "temperature": 0.7}`). With `n_best` the others of each answer are in `.others`.
        `too_long` says what happens to a text of more tokens than `data.max_length`: `refuse` or `cut`; `first_line` is
        the number of the first text, for messages about it and for the random numbers of its sample.
        Errors: `UserError` on a text that is too long, or an unknown option.
        """
        searching = self.search(beam, n_best, search)
        if isinstance(texts, str):
            return self.predict([texts], searching, batch_size, too_long, first_line)[0]
        return self.predict(list(texts), searching, batch_size, too_long, first_line)

    def search(self, beam: int | None = None, n_best: int = 1, options: Mapping[str, Any] | None = None) -> Search:
        """The configured search with other options: `beam=1` is greedy, more is a beam of that size."""
        asked = dict(options or {})
        if beam is not None:
            asked |= {"name": "greedy"} if beam == n_best == 1 else {"name": "beam", "size": beam}
        if n_best > 1:
            asked["n_best"] = n_best
        entry = registry.find("search", asked.get("name", self.config["search"]["name"]))
        kept = {key: value for key, value in self.config["search"].items() if key in entry.options}
        chosen = {**kept, **asked, "name": entry.name}
        if n_best > 1 and beam is None and "size" in chosen:
            chosen["size"] = max(chosen["size"], n_best)
        found: Search = registry.build("search", {"search": chosen})
        return found

    def predict(
        self,
        texts: Sequence[str],
        search: Search,
        batch_size: int = BATCH_SIZE,
        too_long: str | None = None,
        first_line: int = 1,
    ) -> list[Prediction]:
        """Answers to all texts, in their order; texts of similar length are decoded together."""
        from seq2att.data import source_batch

        whole = source_batch(self.model.source, list(texts)).source
        self.note_unknown(whole, first_line)
        whole = self.fitted(whole, too_long, first_line)
        order = whole.lengths.argsort(descending=True, stable=True)
        found: list[Prediction | None] = [None] * len(texts)
        with torch.inference_mode():
            for rows in order.split(batch_size):
                longest = int(whole.lengths[rows].max()) if len(rows) else 0
                source = Column(whole.values[rows, :longest], whole.lengths[rows])
                batch = Batch(source, None, rows + first_line, torch.zeros(len(rows), dtype=torch.bool))
                for row, prediction in zip(rows.tolist(), self.model.predict(batch, search), strict=True):
                    found[row] = prediction
        return [prediction for prediction in found if prediction is not None]

    def note_unknown(self, source: Column, first_line: int) -> None:
        """Say in which texts the model meets pieces that its vocabulary does not hold."""
        counts = (source.values == UNKNOWN).sum(1)
        if found := counts.nonzero().squeeze(1).tolist():
            self.say(f"unknown to the model, read as <unk>: {places(found, counts, 'pieces', first_line)}")

    def fitted(self, source: Column, too_long: str | None, first_line: int) -> Column:
        """The source no longer than the model's limit: refused or cut by the settings, and then named."""
        limit = self.config["data"].get("max_length")
        over = (source.lengths > limit).nonzero().squeeze(1).tolist() if limit else []
        if not over:
            return source
        named = places(over, source.lengths, "tokens", first_line)
        if (too_long or self.config["data"].get("too_long")) != "cut":
            raise UserError(
                f"longer than data.max_length={limit} tokens: {named}; shorten them, or take too_long=cut to cut them"
            )
        self.say(f"cut to data.max_length={limit} tokens: {named}")
        lengths = source.lengths.clamp(max=limit)
        values = source.values[:, :limit]
        return Column(values * length_mask(lengths, values.size(1)), lengths)

    def score(self, pairs: Iterable[tuple[str, str]], *, batch_size: int = BATCH_SIZE) -> list[Scored]:
        """Log p(target | source) of every (source, target), in their order."""
        from seq2att.data import source_batch

        pairs = list(pairs)
        sources = source_batch(self.model.source, [source for source, _ in pairs]).source
        targets = source_batch(self.model.target, [target for _, target in pairs]).source
        scores = torch.zeros(len(pairs))
        order = (targets.lengths + sources.lengths).argsort(descending=True, stable=True)
        with torch.inference_mode():
            for rows in order.split(batch_size):
                source, target = (
                    Column(
                        side.values[rows, : int(side.lengths[rows].max())] if len(rows) else side.values,
                        side.lengths[rows],
                    )
                    for side in (sources, targets)
                )
                batch = Batch(source, target, rows, torch.zeros(len(rows), dtype=torch.bool))
                scores[rows] = self.model.score(batch).float()
        lengths = (targets.lengths + 1).tolist()
        return [Scored(score, length) for score, length in zip(scores.tolist(), lengths, strict=True)]


def places(rows: Sequence[int], counts: Tensor, what: str, first_line: int) -> str:
    """Some rows of a text by their line numbers, each with its count."""
    named = ", ".join(f"line {row + first_line} ({int(counts[row])} {what})" for row in rows[:10])
    return f"{named} and {len(rows) - 10:,} more" if len(rows) > 10 else named


def load(
    path: str | Path,
    device: str = "cpu",
    plugins: Iterable[str] = (),
    say: Callable[[str], None] | None = None,
) -> Predictor:
    """A trained model from a run folder or a bundle.

    `plugins` are files, folders or modules to import first: a bundle imports nothing by itself. `say` gets warnings (a
    text that was cut); by default they go to stderr.
    Errors: `UserError` when the folder is no bundle, or needs a plugin that is not there.
    """
    torch.set_flush_denormal(True)
    registry.load(plugins)
    model, config = load_bundle(Path(path), device)
    return Predictor(model, config, say or warn)


def warn(message: str) -> None:
    """Print a message on stderr."""
    import sys

    print(f"seq2att: {message}", file=sys.stderr)


def train(recipe: str, overrides: Iterable[str] = (), callbacks: Sequence[Any] = ()) -> Path:
    """Train by a recipe (a name or a file) with overrides as on the command line; gives the run folder.

    `callbacks` are Lightning callbacks. Errors: `UserError` names every wrong setting.
    """
    from seq2att.config import compose
    from seq2att.launch import run

    return run(compose(recipe, list(overrides)), callbacks)


def evaluate(
    run: str | Path,
    *,
    split: str = "test",
    file: str | None = None,
    root: str | None = None,
    plugins: Iterable[str] = (),
    beam: int | None = None,
    batch_size: int = BATCH_SIZE,
) -> dict[str, Any]:
    """All figures of a trained model on a split of its data, or on another `file` of the same form.

    `root` is where relative paths start, in place of `data.root`; `beam` 1 is greedy search.
    """
    from seq2att.data import load_split
    from seq2att.trainer.evaluation import evaluate as measure

    predictor = load(run, plugins=plugins)
    config = dict(predictor.config)
    if root is not None:
        config["data"] = {**config["data"], "root": root}
    reader = registry.build("reader", config)
    if file is not None:
        reader.use(split, file)
    model = predictor.model
    corpus = load_split(config, model.source, model.target, reader, split)
    return measure(model, corpus, predictor.search(beam), config.get("metrics") or (), batch_size)
