"""`seq2att estimate`: lines in, numbers out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seq2att.cli.answering import Task, add_command, answer, given

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  echo "0.1 0.2 0.3 0.4 0.5" | seq2att estimate runs/number_sequence
  seq2att estimate runs/number_sequence windows.txt -o numbers.txt

Line n of the output is the number for line n of the input; an empty line stays empty."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands,
        "estimate",
        "say a number for each line",
        "Say the number that a regression gives for each line.",
        EXAMPLES,
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Answer a file, standard input, or what is typed."""
    answer(arguments, Task("estimate", given(arguments)))
