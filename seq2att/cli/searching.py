"""The arguments of a search, for the commands that generate sequences."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seq2att.cli.model import positive
from seq2att.errors import UserError

Types = dict[str, tuple[Callable[[str], Any], str]]
"""The type and the help of an argument, by the name of the option."""
LENGTHS: Types = {
    "min_length": (int, "fewest tokens of an answer"),
    "max_length": (positive, "most tokens of an answer"),
    "length_penalty": (float, "0: by probability, 1: by the mean over tokens"),
}
SAMPLING: Types = {
    "temperature": (float, "sampling temperature, above 0; below 1: likelier tokens, above 1: more variety"),
    "top_k": (int, "sample from the X likeliest tokens only; 0: no limit"),
    "top_p": (float, "sample from the likeliest tokens that hold this probability, at most 1"),
    "seed": (int, "seed of the sample; without it the same one every time"),
}


def add_search(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of a search."""
    beam = "beam size; 1 takes the likeliest token each time; without it the search is that of the model's recipe"
    n_best = "answers for each line, with their log-probabilities, in the order of the search: a beam ranks by these "
    n_best += "divided by the length (--length-penalty)"
    parser.add_argument("--beam", type=positive, metavar="N", help=beam)
    parser.add_argument("--n-best", type=positive, metavar="N", default=1, help=n_best)
    parser.add_argument("--sample", action="store_true", help="sample answers at random, as some recipes do by default")
    for options, note in ((LENGTHS, ""), (SAMPLING, "with --sample: ")):
        for name, (kind, text) in options.items():
            parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=note + text)


def search_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments as `Predictor.translate` and `generate` take them."""
    names = [name for name in (*LENGTHS, *SAMPLING) if getattr(arguments, name) is not None]
    sampling = [f"--{name.replace('_', '-')}" for name in SAMPLING if name in names]
    if arguments.beam and (arguments.sample or sampling):
        first = "--sample" if arguments.sample else sampling[0]
        raise UserError("E-conflict", f"{first} and --beam", "exclude each other", "leave one out")
    if sampling and not arguments.sample and (own := own_search(arguments.model)) not in ("sample", None):
        problem = f"is an option of --sample; the search of this model is {own}"
        raise UserError("E-conflict", sampling[0], problem, "add --sample")
    search = {**({"name": "sample"} if arguments.sample else {}), **{name: getattr(arguments, name) for name in names}}
    return {"beam": arguments.beam, "n_best": arguments.n_best, "search": search or None}


def own_search(path: str) -> str | None:
    """The search that the configuration of a saved model names, read before the model is loaded; None: it has none."""
    from seq2att.bundle import read_config

    search = read_config(Path(path)).get("search")
    name: str | None = search.get("name") if isinstance(search, dict) else None
    return name
