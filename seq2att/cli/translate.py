"""`seq2att translate`: lines in, lines out, in their order."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seq2att.cli.answering import Task, add_command, answer, given
from seq2att.cli.searching import add_search, search_options

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  echo "a b c d" | seq2att translate runs/reverse
  seq2att translate runs/reverse input.txt -o output.txt --beam 5
  seq2att translate runs/reverse input.txt -o output.txt --devices 2 --quantize int8
  seq2att translate runs/reverse                      (asks for one line after the other)

RUN is a run folder or a bundle. Line n of the output answers line n of the input; an empty line stays empty.
With --n-best above 1, every answer is a line of its own: number of the input line, score, text, with tabs between.
With --devices N the lines are shared by N processes, each with its part of the threads or its own GPU."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "translate",
        "translate a file, standard input, or what you type",
        "Translate lines of text.",
        EXAMPLES,
    )
    add_search(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Translate a file, standard input, or what is typed."""
    answer(arguments, Task("translate", {**search_options(arguments), **given(arguments)}))
