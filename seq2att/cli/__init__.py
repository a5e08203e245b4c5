"""The command line: `seq2att train`, `translate`, `classify`, `tag`, `evaluate`, `show`, `explain` and others.

A command parses its arguments and calls the API; what is slow to load is imported when a command needs it.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from seq2att.cli import (
    answering,
    baseline,
    check,
    data,
    evaluate,
    explain,
    listing,
    plugin,
    reproduce,
    score,
    show,
    train,
)
from seq2att.cli.boundary import USER_ERROR, guarded, prepare_streams
from seq2att.registry import suggestion

COMMANDS = (train, data, reproduce, answering, evaluate, score, baseline, show, explain, listing, check, plugin)
EXAMPLES = """start here:
  seq2att train reverse
  seq2att translate runs/reverse

Components of your own join any command by plugins=[file.py,package]."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give its exit code; whatever goes wrong is one line, not a traceback."""
    # Read when PyTorch is loaded. Its idle threads wait for work some 50 microseconds before they sleep: much longer,
    # and they take the core that our own threads or another program work on; not at all, and each call wakes them.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")
    prepare_streams()
    return guarded(lambda: run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int | None:
    """Run the command that the arguments name."""
    arguments = parse(argv)
    status: int | None = arguments.run(arguments)
    return status


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The arguments of a command; its flags may stand anywhere after its name, and so may `plugins=`."""
    parser, commands = make_parser()
    if not argv:
        parser.print_help(sys.stderr)
        parser.exit(USER_ERROR)
    plugins = [word for word in argv if word.startswith("plugins=")]
    words = [word for word in argv if word not in plugins]
    if not words or words[0].startswith("-"):
        return parser.parse_args(words[:1])
    name, *rest = words
    if name not in commands:
        parser.error(f"no command is called {name!r}; {suggestion(name, commands)}")
    arguments, unknown = commands[name].parse_known_intermixed_args(rest)
    if unknown:
        commands[name].error(f"unrecognized arguments: {' '.join(unknown)}; see seq2att {name} --help")
    arguments.command, arguments.plugins, arguments.words = name, plugins, ["seq2att", *argv]
    return arguments


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of all commands, and that of each."""
    parser = argparse.ArgumentParser(
        prog="seq2att",
        description="Train, inspect and ship recurrent sequence-to-sequence models with attention.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=Version, help="print the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    return parser, dict(commands.choices)


class Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __init__(self, option_strings: list[str], dest: str, help: str) -> None:
        super().__init__(option_strings, dest=argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit."""
        import seq2att

        print(f"seq2att {seq2att.__version__}")
        parser.exit()
