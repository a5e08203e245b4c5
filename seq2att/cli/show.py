"""`seq2att show`: where a model looks while it speaks."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from seq2att.cli.model import add_model, load, positive
from seq2att.cli.text import put
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  seq2att show runs/reverse "a b c d"
  seq2att show runs/reverse "a b c d" -o attention.png"""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "show",
        help="show the attention of a translation",
        description="Translate one text and show which source token each target token looked at.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_model(parser)
    parser.add_argument("text", metavar="TEXT", help="what to translate")
    parser.add_argument("-o", "--output", metavar="FILE.png", help="draw the map into this file, too")
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; 1 is greedy")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the translation and its attention, and draw it if asked."""
    if not arguments.text.strip():
        raise UserError("the text is empty; give a sentence in quotes")
    if arguments.output and not arguments.output.lower().endswith(".png"):
        raise UserError(f"-o {arguments.output}: the map is drawn as a PNG; name a file that ends in .png")
    from seq2att import drawing

    prediction = load(arguments).translate(arguments.text, beam=arguments.beam)
    put(sys.stdout.buffer, [prediction.text])
    if prediction.attention is None:
        raise UserError(f"{arguments.model}: this model has no attention to show (it was trained with attention=none)")
    seen = (prediction.attention, prediction.source_tokens, prediction.tokens)
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((100, 24)).columns
    sys.stdout.buffer.write(f"\n{drawing.attention_text(*seen, width=width, color=color).rstrip()}\n".encode())
    if arguments.output:
        drawing.attention_map(*seen, Path(arguments.output))
        print(f"drawn into {arguments.output}", file=sys.stderr)
