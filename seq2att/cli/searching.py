"""The arguments of a search, for the commands that say sequences."""

from __future__ import annotations

import argparse
from typing import Any

from seq2att.cli.model import positive
from seq2att.errors import UserError

SAMPLING = {"temperature": float, "top_k": int, "top_p": float, "seed": int}
LENGTHS = {"min_length": int, "max_length": int, "length_penalty": float}
HELP = {
    "temperature": "below 1: safer, above 1: wilder",
    "top_k": "draw from the likeliest K tokens only",
    "top_p": "draw from the likeliest tokens that hold this probability",
    "seed": "which sample",
    "min_length": "fewest tokens of an answer",
    "max_length": "most tokens of an answer",
    "length_penalty": "0: by probability, 1: by the mean over tokens",
}


def add_search(parser: argparse.ArgumentParser) -> None:
    """How an answer is searched, or drawn."""
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; 1 is greedy")
    parser.add_argument("--n-best", type=positive, metavar="N", default=1, help="answers for each line")
    for name, kind in LENGTHS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=HELP[name])
    parser.add_argument("--sample", action="store_true", help="draw answers at random")
    for name, kind in SAMPLING.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=f"with --sample: {HELP[name]}")


def search_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments as `Predictor.translate` and `generate` take them."""
    given = {name: getattr(arguments, name) for name in (*LENGTHS, *SAMPLING) if getattr(arguments, name) is not None}
    for name in SAMPLING:
        if name in given and not arguments.sample:
            raise UserError(f"--{name.replace('_', '-')} needs --sample")
    if arguments.sample and arguments.beam:
        raise UserError("--sample and --beam exclude each other; leave one out")
    search = {**({"name": "sample"} if arguments.sample else {}), **given}
    return {"beam": arguments.beam, "n_best": arguments.n_best, "search": search or None}
