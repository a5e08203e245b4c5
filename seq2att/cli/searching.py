"""The arguments of a search, for the commands that generate sequences."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seq2att.cli.model import positive
from seq2att.errors import UserError

SAMPLING: dict[str, Callable[[str], Any]] = {"temperature": float, "top_k": int, "top_p": float, "seed": int}
LENGTHS: dict[str, Callable[[str], Any]] = {"min_length": int, "max_length": positive, "length_penalty": float}
HELP = {
    "temperature": "sampling temperature, above 0; below 1: likelier tokens, above 1: more variety",
    "top_k": "sample from the X likeliest tokens only; 0: no limit",
    "top_p": "sample from the likeliest tokens that hold this probability, at most 1",
    "seed": "seed of the sample; without it the same one every time",
    "min_length": "fewest tokens of an answer",
    "max_length": "most tokens of an answer",
    "length_penalty": "0: by probability, 1: by the mean over tokens",
}


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a search."""
    parser.add_argument(
        "--beam",
        type=positive,
        metavar="N",
        help="beam size; 1 takes the likeliest token each time; without it the search is that of the model's recipe",
    )
    parser.add_argument(
        "--n-best",
        type=positive,
        metavar="N",
        default=1,
        help="answers for each line, with their log-probabilities, in the order of the search: a beam ranks by these "
        "divided by the length (--length-penalty)",
    )
    for name, kind in LENGTHS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=HELP[name])
    parser.add_argument("--sample", action="store_true", help="sample answers at random, as some recipes do by default")
    for name, kind in SAMPLING.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=f"with --sample: {HELP[name]}")


def search_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments as `Predictor.translate` and `generate` take them."""
    names = [name for name in (*LENGTHS, *SAMPLING) if getattr(arguments, name) is not None]
    sampling = [f"--{name.replace('_', '-')}" for name in SAMPLING if name in names]
    if arguments.beam and (arguments.sample or sampling):
        first = "--sample" if arguments.sample else sampling[0]
        raise UserError("E-conflict", f"{first} and --beam", "exclude each other", "leave one out")
    if sampling and not arguments.sample and (own := own_search(arguments.model)) not in ("sample", None):
        raise UserError(
            "E-conflict", sampling[0], f"is an option of --sample; the search of this model is {own}", "add --sample"
        )
    search = {**({"name": "sample"} if arguments.sample else {}), **{name: getattr(arguments, name) for name in names}}
    return {"beam": arguments.beam, "n_best": arguments.n_best, "search": search or None}


def own_search(path: str) -> str | None:
    """The search that the configuration of a saved model names, read before the model is loaded; None: it has none."""
    from seq2att.model import read_config

    name: str | None = read_config(Path(path)).get("search", {}).get("name")
    return name
