"""`seq2att score`: the log-probability of targets under a model."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from typing import Any

from seq2att.cli.model import Commands, add_model, add_output, add_parser, add_quantize, load, positive
from seq2att.cli.output import written
from seq2att.cli.text import Chunk, Input, check_output, lines, opened
from seq2att.errors import UserError

EXAMPLES = """examples:
  printf 'a b c\\tc b a\\n' | seq2att score runs/reverse
  seq2att score runs/reverse source.txt target.txt

Prints log p(target | source), a line for each pair, of two files side by side or of lines with a tab on standard input.
A text counts with its end symbol; of a number the score is minus its loss."""

CHUNK = 1024  # pairs


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "score", "print the log-probability of targets", EXAMPLES)
    add_model(parser)
    parser.add_argument("source", metavar="SOURCE_FILE", nargs="?", help="the sources, a line each")
    parser.add_argument("target", metavar="TARGET_FILE", nargs="?", help="the targets, a line each")
    add_output(parser)
    parser.add_argument("--batch-size", type=positive, metavar="N", help="pairs scored together")
    batch_tokens = "tokens scored together, 2048 by default: bounds the memory"
    parser.add_argument("--batch-tokens", type=positive, metavar="N", help=batch_tokens)
    add_quantize(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a score for every pair."""
    if arguments.source and not arguments.target:
        raise UserError("E-missing", f"{arguments.source}", "has no file of targets", "give TARGET_FILE as well")
    check_output(arguments.output, arguments.source, arguments.target)
    predictor = load(arguments)
    limits = {name: getattr(arguments, name) for name in ("batch_size", "batch_tokens")}
    options: Any = {name: value for name, value in limits.items() if value}
    with opened(arguments.source) as source, opened(arguments.target) as target, written(arguments, {}) as output:
        pairs = side_by_side(source, target) if arguments.source else split_at_tabs(source)
        for piece in output.remaining(pieces_of(pairs)):
            scores = predictor.score(piece.lines, first_pair=piece.first, **options)
            output.add(piece, [f"{scored.score:.6f}" for scored in scores])


def pieces_of(pairs: Iterator[tuple[str, str]]) -> Iterator[Chunk]:
    """The pairs in pieces."""
    first = 1
    while piece := list(itertools.islice(pairs, CHUNK)):
        yield Chunk(piece, first)
        first += len(piece)


def side_by_side(source: Input, target: Input) -> Iterator[tuple[str, str]]:
    """The lines of two files in pairs; refuses files of unequal length."""
    for number, (one, other) in enumerate(itertools.zip_longest(lines(source), lines(target)), start=1):
        if one is None or other is None:
            short, long = (source.name, target.name) if one is None else (target.name, source.name)
            problem = f"is its last line, but {long} has more"
            raise UserError("E-length", f"{short}:{number - 1}", problem, "align the two files")
        yield one, other


def split_at_tabs(source: Input) -> Iterator[tuple[str, str]]:
    """Pairs from lines with one tab."""
    for number, line in enumerate(lines(source), start=1):
        parts = line.split("\t")
        if len(parts) != 2:
            problem, remedy = f"has {len(parts) - 1} tabs", "write source, one tab, target"
            raise UserError("E-row", f"{source.name}:{number}", problem, remedy)
        yield parts[0], parts[1]
