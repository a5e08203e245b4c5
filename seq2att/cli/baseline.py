"""`seq2att baseline`: what simple counting makes of the data of a run, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from seq2att.cli.model import add_model, plugins, positive
from seq2att.cli.text import put

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  seq2att baseline runs/ptb_lstm --order 5
  seq2att baseline runs/imdb --split validation

For a language model n-grams are counted, with Kneser-Ney smoothing; for a classifier of texts a linear model is fitted
to them, by scikit-learn. Both learn from the run's training rows, see its tokens, and are judged by its figures."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "baseline",
        help="measure counted n-grams or a linear model on the data of a run (JSON)",
        description="Measure what simple counting makes of the data of a run; prints JSON.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_model(parser)
    parser.add_argument("--order", type=positive, metavar="N", help="the longest n-grams")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="which part of the data")
    parser.add_argument("--root", metavar="DIR", help="where relative paths start (data.root)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the figures."""
    from seq2att import api

    found = api.baseline(
        arguments.model,
        split=arguments.split,
        root=arguments.root,
        plugins=plugins(arguments),
        order=arguments.order,
    )
    put(sys.stdout.buffer, json.dumps(found, ensure_ascii=False, indent=2).splitlines())
