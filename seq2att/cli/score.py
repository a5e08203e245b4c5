"""`seq2att score`: the log-probability of targets under a model, and its factors."""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from seq2att.cli.model import Commands, add_model, add_output, add_parser, add_quantize, load, positive
from seq2att.cli.output import written
from seq2att.cli.text import Chunk, Input, check_output, lines, opened, to_json
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.api import Scored

EXAMPLES = """examples:
  printf 'a b c\\tc b a\\n' | seq2att score runs/reverse
  seq2att score runs/reverse source.txt target.txt
  echo "a rolling stone" | seq2att score runs/next_character --tokens

Prints log p(target | source), a line for each pair, of two files side by side or of lines with a tab on standard input.
A text counts with its end symbol; of a number the score is minus its loss. A language model has no source: it takes one
file of texts, or lines without a tab.

--tokens prints a table for each pair: the factors, p(token | the tokens before it, source), whose product is
p(target | source), the end symbol last. A tagger's are p(tag | source), with head.transitions=true also given the tags
before; one label or number is one factor. --json prints a line of JSON for each pair."""

CHUNK = 1024  # pairs


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "score", "print the log-probability of targets", EXAMPLES)
    add_model(parser)
    parser.add_argument("source", metavar="SOURCE_FILE", nargs="?", help="the sources, a line each")
    parser.add_argument("target", metavar="TARGET_FILE", nargs="?", help="the targets, a line each")
    parser.add_argument("--tokens", action="store_true", help="print the factors of each score")
    parser.add_argument("--json", action="store_true", help="print JSON, a line for each pair, for programs")
    add_output(parser)
    parser.add_argument("--batch-size", type=positive, metavar="N", help="pairs scored together")
    batch_tokens = "tokens scored together, 2048 by default: bounds the memory"
    parser.add_argument("--batch-tokens", type=positive, metavar="N", help=batch_tokens)
    add_quantize(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print a score for every pair."""
    predictor = load(arguments)
    if not predictor.has_source and arguments.target is None:
        arguments.source, arguments.target = None, arguments.source
    if arguments.source and not arguments.target:
        raise UserError("E-missing", f"{arguments.source}", "has no file of targets", "give TARGET_FILE as well")
    check_output(arguments.output, arguments.source, arguments.target)
    names = ("batch_size", "batch_tokens", "tokens")
    options: Any = {name: getattr(arguments, name) for name in names if getattr(arguments, name)}
    style = {name: True for name in ("tokens", "json") if getattr(arguments, name)}
    with opened(arguments.source) as source, opened(arguments.target) as target, written(arguments, style) as output:
        if arguments.source:
            pairs = side_by_side(source, target)
        else:
            pairs = split_at_tabs(target if arguments.target else source, predictor.has_source)
        for piece in output.remaining(pieces_of(pairs)):
            scores = predictor.score(piece.lines, first_pair=piece.first, **options)
            numbered = enumerate(scores, piece.first)
            output.add(piece, [line for number, scored in numbered for line in score_lines(number, scored, arguments)])


def score_lines(number: int, scored: Scored, arguments: argparse.Namespace) -> list[str]:
    """What is printed for a pair."""
    values: dict[str, Any] = {"score": scored.score, "tokens": scored.tokens, "perplexity": scored.perplexity}
    if arguments.json:
        if arguments.tokens:
            values |= {"pieces": scored.pieces, "token_scores": scored.token_scores}
        return [to_json(values)]
    if not arguments.tokens:
        return [f"{scored.score:.6f}"]
    from seq2att.drawing.terminal import table, visible

    perplexity = "" if scored.perplexity is None else f", perplexity {scored.perplexity:.4g}"
    rows = [["token", "log p", "p"]]
    rows += [
        [visible(piece), f"{score:.6f}", f"{math.exp(score):.4g}"]
        for piece, score in zip(scored.pieces, scored.token_scores, strict=True)
    ]
    rows.append(["product", f"{scored.score:.6f}", f"{math.exp(scored.score):.4g}"])
    return [f"pair {number}: log p = {scored.score:.6f}{perplexity}", *(f"  {line}" for line in table(rows)), ""]


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


def split_at_tabs(source: Input, has_source: bool) -> Iterator[tuple[str, str]]:
    """Pairs from lines with one tab; where the model has no source, from lines that may have none."""
    for number, line in enumerate(lines(source), start=1):
        parts = line.split("\t")
        if len(parts) == 1 and not has_source:
            parts = ["", line]
        if len(parts) != 2:
            problem, remedy = f"has {len(parts) - 1} tabs", "write source, one tab, target"
            raise UserError("E-row", f"{source.name}:{number}", problem, remedy)
        yield parts[0], parts[1]
