"""`seq2att data`: what is wrong with the data of a recipe, before anything is trained on them."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from seq2att.cli.model import Commands, add_parser
from seq2att.errors import UserError

FOUND = 1  # the exit code of --strict where something is wrong
EXAMPLES = """examples:
  seq2att data reverse

With files of your own:
  seq2att data g2p data.root=words --strict
  seq2att data imdb data.root=reviews --write clean

Each finding names a class of defects (docs/data.md lists them), the first places as file:line, and what to do. Errors
make training fail or learn what is wrong; look at warnings; a note is for your information.
--write DIR writes the files again without the rows that are wrong, and DIR/left_out.tsv with all of these.
Exit codes: 0, or with --strict 1 if there is an error or a warning; 2 the data cannot be read."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "data", "find what is wrong with the data of a recipe", EXAMPLES)
    add = parser.add_argument
    add("recipe", metavar="RECIPE", help="a recipe's name or YAML file")
    add("overrides", metavar="key=value", nargs="*", default=[], help="settings in place of the recipe's")
    add("--json", action="store_true", help="print one JSON object")
    add("--strict", action="store_true", help="exit with code 1 if there is an error or a warning")
    add("--write", metavar="DIR", type=Path, help="write cleaned copies of the files into a new folder")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Read the data, judge them, and print the report."""
    from seq2att import audit
    from seq2att.config import compose

    if arguments.write is not None and arguments.write.exists() and any(arguments.write.iterdir()):
        raise UserError("E-file", f"--write={arguments.write}", "the folder is not empty", "name a new one")
    config = compose(arguments.recipe, [*arguments.plugins, *arguments.overrides])
    report = audit.audit(config)
    if arguments.json:
        print(json.dumps(report.to_json(), ensure_ascii=False, indent=1))
    else:
        width = min(shutil.get_terminal_size((80, 24)).columns or 80, 120)
        color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        print("\n".join(report.lines(max(width, 40), color)))
    if arguments.write is not None:
        for line in audit.write_clean(report, arguments.write):
            print(line, file=sys.stderr)
    return FOUND if arguments.strict and not report.is_clean else 0
