"""The Python API: load a trained model and use it on text, or train one.

import seq2att
model = seq2att.load("runs/pronounce")
print(model.translate("hello").text)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
import numpy.typing as npt
import torch

from seq2att import registry
from seq2att.errors import UserError
from seq2att.inference import follows, twin
from seq2att.kernels import functions
from seq2att.model import Model
from seq2att.model import load as load_bundle
from seq2att.search import Search
from seq2att.types import UNKNOWN, Batch, Prediction, tree_map

QUANTIZED = ("int8",)
"""What the weights can be rounded to."""
COUNTS = ("rows", "sources")
BATCH_SIZE = 64
AT_ONCE = 1 << 14  # source tokens of a batch, padding included: what keeps memory bounded for long texts
SCORED_AT_ONCE = 1 << 11  # as many of both sides: scoring holds a distribution over the vocabulary for each


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

    def __init__(
        self, model: Model, config: Mapping[str, Any], say: Callable[[str], None], quantize: str | None = None
    ) -> None:
        self.model = model
        self.config = config
        self.say = say
        self.quantize = quantize
        self.prepared: tuple[tuple[object, ...], Model] | None = None

    def ready(self) -> Model:
        """The model as it answers: prepared for this CPU, or quantized; made anew when the model's weights change."""
        state = follows(self.model)
        if self.prepared is None or self.prepared[0] != state:
            self.prepared = (state, twin(self.model, self.quantize is not None))
        return self.prepared[1]

    def __getstate__(self) -> dict[str, Any]:
        """All but what can be prepared again."""
        return {**self.__dict__, "prepared": None}

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
        attention: bool = ...,
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
        attention: bool = ...,
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
        attention: bool = True,
    ) -> Prediction | list[Prediction]:
        """Translate a text, or many in their order; an empty text gives an empty one.

        `beam` 1 is greedy search; by default the search is that of the configuration, and `search` sets options of it
        (`{"name": "sample", "temperature": 0.7}`). With `n_best` the others of each answer are in `.others`.
        `too_long` says what happens to a text of more tokens than `data.max_length`: `refuse` or `cut`; `first_line` is
        the number of the first text, for messages about it and for the random numbers of its sample. `attention` set to
        False leaves out what the answers looked at, which takes much memory for long texts.
        Errors: `UserError` on a text that is too long, or an unknown option.
        """
        searching = self.search(beam, n_best, search)
        searching.attention = attention
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
        from seq2att.data import Ragged

        arrays = self.model.source.encode_batch(texts)
        self.note_unknown(arrays, first_line)
        source = Ragged.of(self.fitted(arrays, too_long, first_line))
        model = self.ready()
        found: list[Prediction | None] = [None] * len(texts)
        with torch.inference_mode():
            for rows in groups(source.lengths, batch_size, AT_ONCE):
                numbers = torch.from_numpy(rows + first_line)
                batch = Batch(source.gather(rows), None, numbers, torch.zeros(len(rows), dtype=torch.bool))
                batch = on_device(batch, model)
                for row, prediction in zip(rows.tolist(), model.predict(batch, search), strict=True):
                    found[row] = prediction
        return [prediction for prediction in found if prediction is not None]

    def note_unknown(self, arrays: Sequence[npt.NDArray[Any]], first_line: int) -> None:
        """Say in which texts the model meets pieces that its vocabulary does not hold."""
        counts = [int((array == UNKNOWN).sum()) for array in arrays]
        if found := [row for row, count in enumerate(counts) if count]:
            self.say(f"unknown to the model, read as <unk>: {places(found, counts, 'pieces', first_line)}")

    def fitted(
        self, arrays: Sequence[npt.NDArray[Any]], too_long: str | None, first_line: int
    ) -> Sequence[npt.NDArray[Any]]:
        """The sources no longer than the model's limit: refused or cut by the settings, and then named."""
        limit = self.config["data"].get("max_length")
        lengths = [len(array) for array in arrays]
        over = [row for row, length in enumerate(lengths) if limit and length > limit]
        if not over:
            return arrays
        named = places(over, lengths, "tokens", first_line)
        if (too_long or self.config["data"].get("too_long")) != "cut":
            raise UserError(
                f"longer than data.max_length={limit} tokens: {named}; shorten them, or take too_long=cut to cut them"
            )
        self.say(f"cut to data.max_length={limit} tokens: {named}")
        return [array[:limit] for array in arrays]

    def score(self, pairs: Iterable[tuple[str, str]], *, batch_size: int = BATCH_SIZE) -> list[Scored]:
        """Log p(target | source) of every (source, target), in their order."""
        from seq2att.data import Ragged

        pairs = list(pairs)
        sources = Ragged.of(self.model.source.encode_batch([source for source, _ in pairs]))
        targets = Ragged.of(self.model.target.encode_batch([target for _, target in pairs]))
        scores = torch.zeros(len(pairs))
        model = self.ready()
        with torch.inference_mode():
            for rows in groups(sources.lengths + targets.lengths, batch_size, SCORED_AT_ONCE):
                numbers = torch.from_numpy(rows)
                new = torch.zeros(len(rows), dtype=torch.bool)
                batch = on_device(Batch(sources.gather(rows), targets.gather(rows), numbers, new), model)
                scores[numbers] = model.score(batch).float().cpu()
        lengths = (targets.lengths + 1).tolist()
        return [Scored(score, length) for score, length in zip(scores.tolist(), lengths, strict=True)]


def groups(lengths: npt.NDArray[np.int64], batch_size: int, tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """The rows by their lengths, longest first, in batches of that size and at most so many tokens with padding."""
    order, first = np.argsort(-lengths, kind="stable"), 0
    while first < len(order):
        longest = max(1, int(lengths[order[first]]))
        size = max(1, min(batch_size, tokens // longest))
        yield order[first : first + size]
        first += size


def on_device(batch: Batch, model: Model) -> Batch:
    """The batch where the model is."""
    device = next(model.parameters()).device
    moved: Batch = batch if device.type == "cpu" else tree_map(lambda tensor: tensor.to(device), batch)
    return moved


def places(rows: Sequence[int], counts: Sequence[int], what: str, first_line: int) -> str:
    """Some rows of a text by their line numbers, each with its count."""
    named = ", ".join(f"line {row + first_line} ({counts[row]} {what})" for row in rows[:10])
    return f"{named} and {len(rows) - 10:,} more" if len(rows) > 10 else named


def load(
    path: str | Path,
    device: str = "cpu",
    plugins: Iterable[str] = (),
    say: Callable[[str], None] | None = None,
    *,
    quantize: str | None = None,
) -> Predictor:
    """A trained model from a run folder or a bundle.

    `plugins` are files, folders or modules to import first: a bundle imports nothing by itself. `say` gets warnings (a
    text that was cut); by default they go to stderr. `quantize` set to `int8` rounds the weights to 8 bits, for speed
    on a CPU at a small price in quality, which `evaluate(..., quantize="int8")` tells.
    Errors: `UserError` when the folder is no bundle, or needs a plugin that is not there.
    """
    if quantize not in (None, *QUANTIZED):
        raise UserError(f"quantize={quantize!r} is not known; take {' or '.join(QUANTIZED)}, or leave it out")
    if quantize and not device.startswith("cpu"):
        raise UserError(f"quantize={quantize} is for the CPU, not for device={device}; leave one of them out")
    torch.set_flush_denormal(True)
    registry.load(plugins)
    model, config = load_bundle(Path(path), device)
    predictor = Predictor(model, config, say or warn, quantize)
    if quantize:
        if functions(torch.float32) is None:
            predictor.say(
                f"{quantize} without the C++ kernels is slower than the model as it is; install a C++ compiler"
            )
        predictor.ready()
    return predictor


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
    quantize: str | None = None,
) -> dict[str, Any]:
    """All figures of a trained model on a split of its data, or on another `file` of the same form.

    `root` is where relative paths start, in place of `data.root`; `beam` 1 is greedy search. With `quantize` there are
    those of the model as it is, those of the quantized one, and by how much they differ.
    """
    from seq2att.data import load_split
    from seq2att.trainer.evaluation import evaluate as measure

    predictor = load(run, plugins=plugins, quantize=quantize)
    config = dict(predictor.config)
    if root is not None:
        config["data"] = {**config["data"], "root": root}
    reader = registry.build("reader", config)
    if file is not None:
        reader.use(split, file)
    model = predictor.model
    corpus = load_split(config, model.source, model.target, reader, split)
    search = predictor.search(beam)
    search.attention = False
    exact = Predictor(model, config, predictor.say).ready()
    figures = measure(exact, corpus, search, config.get("metrics"), batch_size)
    if quantize is None:
        return figures
    rounded = measure(predictor.ready(), corpus, search, config.get("metrics"), batch_size)
    return compared(figures, rounded, str(next(model.parameters()).dtype).removeprefix("torch."), quantize)


def compared(exact: dict[str, Any], rounded: dict[str, Any], kind: str, quantize: str) -> dict[str, Any]:
    """Figures side by side, and the change in every number that says how good they are."""
    numbers = [name for name, value in exact.items() if isinstance(value, int | float) and name not in COUNTS]
    return {kind: exact, quantize: rounded, "change": {name: rounded[name] - exact[name] for name in numbers}}
