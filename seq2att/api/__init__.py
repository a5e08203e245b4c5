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
from seq2att.api.baseline import baseline
from seq2att.api.data import Example, corpus_of, example
from seq2att.api.options import Answering, Scoring, Searching
from seq2att.api.predictor import BATCH_SIZE, Predictor, Scored
from seq2att.errors import UserError
from seq2att.kernels import is_native
from seq2att.model import load as load_bundle
from seq2att.types import Prediction

__all__ = [
    "Answering",
    "Example",
    "Prediction",
    "Predictor",
    "Scored",
    "Scoring",
    "Searching",
    "baseline",
    "evaluate",
    "example",
    "load",
    "train",
]

QUANTIZED = ("int8",)
"""What the weights can be rounded to."""
COUNTS = ("rows", "sources")


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
        if not is_native(torch.float32):
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
    from seq2att.trainer.evaluation import evaluate as measure

    predictor = load(run, plugins=plugins, quantize=quantize)
    config, model = predictor.config, predictor.model
    corpus = corpus_of(model, config, split, root, file, predictor.say)
    search = predictor.searching({"beam": beam, "attention": False}) if "search" in config else None
    exact = Predictor(model, config, predictor.say).ready()
    figures = measure(exact, corpus, search, config.get("metrics"), batch_size, config)
    if quantize is None:
        return figures
    rounded = measure(predictor.ready(), corpus, search, config.get("metrics"), batch_size, config)
    return compared(figures, rounded, str(next(model.parameters()).dtype).removeprefix("torch."), quantize)


def compared(exact: dict[str, Any], rounded: dict[str, Any], kind: str, quantize: str) -> dict[str, Any]:
    """Figures side by side, and the change in every number that says how good they are."""
    numbers = [name for name, value in exact.items() if isinstance(value, int | float) and name not in COUNTS]
    return {kind: exact, quantize: rounded, "change": {name: rounded[name] - exact[name] for name in numbers}}
