"""`seq2att classify`: lines in, labels out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seq2att.cli.answering import Task, add_command, answer, given

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  echo "Virtanen" | seq2att classify runs/surname_origin
  seq2att classify runs/surname_origin surnames.txt -o labels.txt --probabilities

Line n of the output is the label of line n of the input; an empty line stays empty. With --probabilities every class
and its probability follow, likeliest first, with tabs between."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "classify", "say the class of each line", "Say to which class each line of text belongs.", EXAMPLES
    )
    parser.add_argument("--probabilities", action="store_true", help="write the probability of every class, too")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Answer a file, standard input, or what is typed."""
    answer(arguments, Task("classify", given(arguments), arguments.probabilities))
