"""`seq2att tag`: words in, tags out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from seq2att.cli.answering import Task, add_command, answer, given

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  echo "flights from boston to denver" | seq2att tag runs/atis_slots
  seq2att tag runs/atis_slots sentences.txt -o tags.txt

Words stand between spaces; line n of the output has a tag for every word of line n of the input."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_command(
        commands, "tag", "say a tag for each word of each line", "Say a tag for each word of each line.", EXAMPLES
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Answer a file, standard input, or what is typed."""
    answer(arguments, Task("tag", given(arguments)))
