"""`seq2att explain`: every step of a model for one input, as a page or as JSON."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from seq2att.cli.model import Commands, add_model, add_parser, load, positive
from seq2att.cli.show import add_input, check_input, input_of, search_options
from seq2att.cli.text import put, standard_output, typed
from seq2att.errors import UserError
from seq2att.files import write_file

LARGEST = 100_000  # numbers of an array that a page holds; of a larger one it holds the first units
EXAMPLES = """examples:
  seq2att explain runs/reverse "a b c d" -o page.html
  seq2att explain runs/reverse "a b c d" -o page.html --beam 3 --gradient --language ko
  seq2att explain runs/reverse "a b c d" --target "d c b a" -o page.html
  seq2att explain runs/reverse --row 3 -o explanation.json

The page is one file that opens in any browser, without a network: attention in four steps, the gates of every layer
over time, the distribution of each token, the tree of the search, pooling, tags, and every array by its name. In
Python it is seq2att.load("runs/reverse").explain("a b c d"). A language model continues TEXT, which may be left out."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "explain", "show every step of a model for one input, with its numbers", EXAMPLES)
    add_model(parser)
    add_input(parser)
    where = "the page to write (explain.html), or FILE.json for the numbers alone"
    parser.add_argument("-o", "--output", metavar="FILE.html", default="explain.html", help=where)
    parser.add_argument(
        "--target", type=typed("--target"), metavar="TEXT", help="explain this answer in place of the model's own"
    )
    parser.add_argument("--gradient", action="store_true", help="also how strongly the loss feels each state")
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; 1 is greedy")
    parser.add_argument(
        "--top", type=positive, metavar="N", default=10, help="likeliest tokens of a step; 10 by default"
    )
    languages = "language in which the page opens: en (default) or ko"
    parser.add_argument("--language", choices=("en", "ko"), default="en", help=languages)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Explain the input, write the page, and print the answer."""
    path = Path(arguments.output)
    if path.suffix.lower() not in (".html", ".json"):
        raise UserError("E-argument", f"--output={path}", "must end in .html or .json", "write -o explain.html")
    check_input(arguments)
    predictor = load(arguments)
    search: Any = search_options(arguments, predictor)
    source, header, _ = input_of(arguments, predictor)
    request = {"target": arguments.target, "gradient": arguments.gradient, "top": arguments.top}
    explanation = predictor.explain(source, **request, **search)
    if path.suffix.lower() == ".json":
        text = explanation.to_json()
    else:
        from seq2att.drawing.explain import explanation_page

        text = explanation_page(explanation.to_dict(LARGEST, first_units=True), arguments.language)
    write_file(path, text)
    put(standard_output(), [*header, explanation.prediction.text])
    print(f"written to {path}", file=sys.stderr)
