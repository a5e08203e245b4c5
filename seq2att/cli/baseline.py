"""`seq2att baseline`: measure n-grams or a linear model on the data of a run; prints JSON."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from seq2att.cli.model import add_model, add_parser, plugins, positive
from seq2att.cli.text import put, standard_output

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  seq2att baseline runs/ptb_lstm --order 5
  seq2att baseline runs/imdb --split validation

Beside a language model stands an n-gram model with Kneser-Ney smoothing; beside a text classifier logistic regression
over tf-idf weights, by scikit-learn. Both learn from the run's training rows and tokens, and have its metrics."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        commands, "baseline", "measure n-grams or a linear model on the data of a run and print JSON", EXAMPLES
    )
    add_model(parser)
    parser.add_argument("--order", type=positive, metavar="N", help="the longest n-grams")
    parser.add_argument("--split", choices=("validation", "test"), default="test", help="which part of the data")
    parser.add_argument("--root", metavar="DIR", help="where relative paths start (data.root)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the metrics."""
    from seq2att import api

    result = api.baseline(
        arguments.model,
        split=arguments.split,
        root=arguments.root,
        plugins=plugins(arguments),
        order=arguments.order,
    )
    put(standard_output(), json.dumps(result, ensure_ascii=False, indent=2).splitlines())
