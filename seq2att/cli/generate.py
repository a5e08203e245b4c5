"""`seq2att generate`: text from labels, vectors, or its own beginning."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from seq2att.cli.answering import Task, add_command, answer, given, written_as
from seq2att.cli.model import load
from seq2att.cli.searching import add_search, search_options
from seq2att.cli.text import put
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  seq2att generate runs/shakespeare_char --prompt "ROMEO:" --sample --temperature 0.8 --max-length 300
  seq2att generate runs/surname_invent --prompt Irish --sample --n-best 10
  printf 'Irish\\nItalian\\n' | seq2att generate runs/surname_invent --sample

For a language model a line, or the prompt, is the beginning of a text, and --max-length counts what it adds (200 by
default). For other models it is what they generate from: a label, or the numbers of a vector. With --n-best above 1,
every answer is a line of its own: number of the input line, score, text, with tabs between.

Without --beam and --sample the search is that of the model's recipe: surname_invent draws at random. --beam 1 takes the
likeliest token each time. What is drawn is the same every time, and another with another --seed."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "generate",
        "generate text from labels, vectors, or its beginning",
        "Generate text from labels or vectors; by a language model, from its beginning.",
        EXAMPLES,
    )
    parser.add_argument("--prompt", metavar="TEXT", help="one input, in place of a file; its line ends are kept")
    add_search(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Generate for a prompt, a file, standard input, or what is typed."""
    task = Task("generate", {**search_options(arguments), **given(arguments)})
    if arguments.prompt is None:
        answer(arguments, task)
        return
    if arguments.file is not None:
        raise UserError(f"generate takes a file or --prompt, not both; leave out {arguments.file} or --prompt")
    prediction = load(arguments).generate(arguments.prompt, attention=False, **task.options)
    if arguments.n_best == 1:  # a text may have several lines
        sys.stdout.buffer.write(f"{prediction.text}\n".encode("utf-8", "replace"))
    else:
        put(sys.stdout.buffer, written_as(prediction, 1, task))
