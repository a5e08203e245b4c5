"""The Python API: load a trained model and use it on text, or train one.

import seq2att
model = seq2att.load("runs/pronounce")
print(model.translate("hello").text)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from seq2att import registry
from seq2att.api.data import Example, corpus_of, example
from seq2att.api.options import Answering, Scoring, Searching
from seq2att.api.predictor import BATCH_SIZE, Predictor
from seq2att.api.scoring import Scored
from seq2att.bundle import load as load_bundle
from seq2att.bundle.owner import check_training, is_own
from seq2att.errors import UserError
from seq2att.kernels import is_native
from seq2att.types import Prediction

__all__ = [
    "Answering",
    "Example",
    "Prediction",
    "Predictor",
    "Scored",
    "Scoring",
    "Searching",
    "evaluate",
    "example",
    "load",
    "train",
]

QUANTIZED = ("int8",)
"""The types that weights can be quantized to."""
COUNTS = ("rows", "sources")  # numbers of a result that are no metrics


def load(
    path: str | Path,
    device: str = "cpu",
    plugins: Iterable[str] = (),
    say: Callable[[str], None] | None = None,
    *,
    quantize: str | None = None,
    trust_data: bool = False,
) -> Predictor:
    """Load a trained model from a run folder or a bundle.

    From then on numbers below 1e-38 are 0 in this thread and those that it starts, for speed, as they are in training;
    `torch.set_flush_denormal(False)` takes that back.

    Args:
        path: the folder.
        device: `cpu`, `cuda` or `cuda:N`.
        plugins: files, folders or modules to import first; a bundle imports nothing by itself.
        say: receives warnings, such as a text that was cut; by default they go to stderr.
        quantize: `int8` rounds the weights to 8 bits, for speed on a CPU at a small loss of quality, which
            `evaluate(..., quantize="int8")` measures.
        trust_data: whether `example` may open the data that the settings of the bundle name, though this user did not
            train it.

    Raises:
        UserError: the folder is not a bundle, or needs a plugin that is not there.
    """
    if quantize not in (None, *QUANTIZED):
        raise UserError("E-choice", f"quantize={quantize!r}", f"must be {' or '.join(QUANTIZED)}, or left out")
    if quantize and not device.startswith("cpu"):
        raise UserError("E-conflict", f"quantize={quantize}", f"needs device=cpu, not {device}", "leave one out")
    torch.set_flush_denormal(True)
    registry.load(plugins)
    model, config = load_bundle(Path(path), device)
    predictor = Predictor(
        model, config, say or warn, quantize, may_change=False, trust_data=trust_data or is_own(Path(path))
    )
    if quantize:
        if not is_native(torch.float32):
            predictor.say(f"quantize={quantize} without the C++ kernels is slower than float32; install a C++ compiler")
        predictor.ready()
    return predictor


def warn(message: str) -> None:
    """Print a message on stderr."""
    import sys

    print(f"seq2att: {message}", file=sys.stderr)


def train(
    recipe: str, overrides: Iterable[str] = (), callbacks: Sequence[Any] = (), *, trust_data: bool = False
) -> Path:
    """Train by a recipe and return the run folder.

    Args:
        recipe: the name of a recipe, or the path of a file.
        overrides: settings as on the command line, such as `["encoder=gru", "seed=3"]`.
        callbacks: callback objects, in addition to those that the setting `callbacks` names.
        trust_data: whether to use the files that the settings name where the recipe is the run folder of someone else.

    Raises:
        UserError: a setting or the data are wrong.
    """
    from seq2att.config import compose
    from seq2att.launch import run

    overrides = list(overrides)
    config = compose(recipe, overrides)
    if not trust_data:
        check_training(recipe, config)
    return run(config, callbacks, command=["seq2att.train", recipe, *overrides])


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
    trust_data: bool = False,
    draw: str | Path | None = None,
) -> dict[str, Any]:
    """Measure a trained model on a split of its data, or on another `file` of the same form.

    Args:
        run: the run folder or bundle.
        split: `train`, `validation` or `test`.
        file: a file to read in place of that of the split.
        root: where relative paths start, in place of `data.root`.
        plugins: as for `load`.
        beam: beam size, at least 1; 1 is greedy search. None: the search of the run.
        batch_size: rows answered together.
        quantize: as for `load`; the result then holds the metrics of both models and the change.
        trust_data: whether to open the data that the settings name, though this user did not train the bundle. Without
            it such a bundle needs `file` or `root`.
        draw: a folder, into which `examples.png` shows some answers where the sources are pictures.
    """
    from seq2att.drawing import EXAMPLES
    from seq2att.trainer.evaluation import evaluate as measure
    from seq2att.trainer.examples import draw_examples

    predictor = load(run, plugins=plugins, quantize=quantize, trust_data=trust_data)
    config, model = predictor.config, predictor.model
    corpus = corpus_of(model, config, split, root, file, predictor.say, trust_data=predictor.trust_data)
    search = predictor.searching({"beam": beam, "attention": False}) if "search" in config else None
    if draw is not None:
        draw_examples(model, corpus, search, Path(draw) / EXAMPLES)
    exact = Predictor(model, config, predictor.say).ready()
    result = measure(exact, corpus, search, config.get("metrics"), batch_size, config)
    if quantize is None:
        return result
    quantized = measure(predictor.ready(), corpus, search, config.get("metrics"), batch_size, config)
    return compare(result, quantized, str(next(model.parameters()).dtype).removeprefix("torch."), quantize)


def compare(exact: dict[str, Any], quantized: dict[str, Any], dtype: str, quantize: str) -> dict[str, Any]:
    """Two results side by side, and the change of every metric."""
    numbers = [name for name, value in exact.items() if isinstance(value, int | float) and name not in COUNTS]
    return {dtype: exact, quantize: quantized, "change": {name: quantized[name] - exact[name] for name in numbers}}
