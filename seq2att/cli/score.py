"""`seq2att score`: how likely a model finds given targets."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seq2att.cli.model import add_model, add_quantize, load, positive
from seq2att.cli.text import Input, check_output, lines, opened, written
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  printf 'a b c\\tc b a\\n' | seq2att score runs/reverse
  seq2att score runs/reverse source.txt target.txt

Prints log p(target | source), a line for each pair: of a text with its end symbol, of a label, of tags; of a number
minus its loss."""

AT_ONCE = 1024  # pairs


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "score",
        help="print the log-probability of given targets",
        description="Print log p(target | source) of pairs: two files side by side, or lines with a tab from stdin.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_model(parser)
    parser.add_argument("source", metavar="SOURCE_FILE", nargs="?", help="the sources, a line each")
    parser.add_argument("target", metavar="TARGET_FILE", nargs="?", help="the targets, a line each")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; else standard output")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="pairs scored together")
    add_quantize(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a score for every pair."""
    if arguments.source and not arguments.target:
        raise UserError(f"{arguments.source}: give the file of its targets as well, or pairs with a tab on stdin")
    check_output(arguments.output, "score", arguments.source, arguments.target)
    predictor = load(arguments)
    options = {"batch_size": arguments.batch_size} if arguments.batch_size else {}
    with opened(arguments.source) as source, opened(arguments.target) as target, written(arguments.output) as write:
        pairs = side_by_side(source, target) if arguments.source else split_at_tabs(source)
        first = 1
        while some := list(itertools.islice(pairs, AT_ONCE)):
            write([f"{scored.score:.6f}" for scored in predictor.score(some, first_pair=first, **options)])
            first += len(some)


def side_by_side(source: Input, target: Input) -> Iterator[tuple[str, str]]:
    """The lines of two files in pairs; refuses files of unequal length."""
    for number, (one, other) in enumerate(itertools.zip_longest(lines(source), lines(target)), start=1):
        if one is None or other is None:
            short, long = (source.name, target.name) if one is None else (target.name, source.name)
            raise UserError(f"{short} ends at line {number - 1}, but {long} goes on; make them of equal length")
        yield one, other


def split_at_tabs(source: Input) -> Iterator[tuple[str, str]]:
    """Pairs from lines with one tab."""
    for number, line in enumerate(lines(source), start=1):
        parts = line.split("\t")
        if len(parts) != 2:
            raise UserError(f"{source.name}:{number}: {len(parts) - 1} tabs; write source, one tab, target")
        yield parts[0], parts[1]
