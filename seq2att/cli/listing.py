"""`seq2att list`: the components, their options, and where they are written."""

from __future__ import annotations

import argparse
import fnmatch
import inspect
import itertools
import re
import shutil
import sys
import textwrap
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2att.cli.model import plugins
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.cli.train import Commands
    from seq2att.registry import Option

SENTENCE = re.compile(r".*?(?:[.?!:](?= )|$)")
EXAMPLES = """examples:
  seq2att list
  seq2att list attention
  seq2att list "*lstm*"
  seq2att list trainer data recipe

An option is set by its slot: seq2att train reverse encoder=gru encoder.size=64."""


class Row(NamedTuple):
    """One thing that can be chosen or set."""

    name: str
    doc: str
    options: Mapping[str, Option]
    place: str


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "list",
        help="list components, their options, settings and recipes",
        description="List components with their options, the settings of data and trainer, and the recipes.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("patterns", metavar="KIND", nargs="*", help="a kind, a name, or a pattern such as '*lstm*'")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print what matches, all of it without a pattern."""
    patterns = arguments.patterns
    groups = gather(plugins(arguments))
    chosen = {title: [row for row in rows if matches(title, row, patterns)] for title, rows in groups.items()}
    empty = [title for title in groups if title in patterns and not groups[title]]
    if not any(chosen.values()) and not empty:
        from seq2att.registry import suggestion

        names = {title.partition(" ")[0] for title in groups}
        raise UserError(f"list: nothing is called {' or '.join(patterns)}; {suggestion(patterns[0], names)}")
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    blocks = ["\n".join([title, *lines_of(rows, width)]) for title, rows in chosen.items() if rows]
    blocks += [f"{title}\n  none yet; a plugin may bring one" for title in empty]
    sys.stdout.buffer.write(("\n\n".join(blocks) + "\n").encode())


def gather(names: list[str]) -> dict[str, list[Row]]:
    """Everything there is, by kind; a kind's title names its slots where they are not called as the kind."""
    from seq2att import registry
    from seq2att.config import DataOptions, Settings, TrainerOptions, options_of, recipes
    from seq2att.config.slots import Slots

    registry.load(names)
    slots = Slots().kinds
    groups = {}
    for kind in registry.kinds():
        places = [slot for slot, of in slots.items() if of == kind]
        title = kind if places in ([kind], []) else f"{kind} (in the slots {', '.join(places)})"
        entries = registry.entries(kind).values()
        groups[title] = [Row(entry.name, entry.doc, entry.options, near(entry.location)) for entry in entries]
    groups["settings"] = [
        Row(name, first_line(settings), options_of(settings), near(registry.location(settings)))
        for name, settings in (("(top)", Settings), ("data", DataOptions), ("trainer", TrainerOptions))
    ]
    groups["recipe"] = [Row(name, comment(file), {}, near(str(file))) for name, file in recipes().items()]
    return groups


def matches(title: str, row: Row, patterns: list[str]) -> bool:
    """Whether a row belongs to a kind that is asked for, or its name or `kind=name` matches a pattern."""
    kind = title.partition(" ")[0]
    names = (kind, row.name, f"{kind}={row.name}")
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def lines_of(rows: list[Row], width: int) -> Iterator[str]:
    """The rows of one kind: name and meaning, below them options and place."""
    column = max(len(row.name) for row in rows) + 4
    for row in rows:
        indent = " " * column
        head = f"  {row.name}".ljust(column)
        yield from textwrap.wrap(row.doc or row.place, width, initial_indent=head, subsequent_indent=indent)
        options = ", ".join(option_text(name, option) for name, option in row.options.items())
        yield from wrap_options(options, width, indent)
        if row.doc:
            yield indent + row.place


def wrap_options(options: str, width: int, indent: str) -> list[str]:
    """Options in lines, none broken within."""
    solid = options.replace(" ", "\0").replace(",\0", ", ")
    wrapped = textwrap.wrap(solid, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    return [line.replace("\0", " ") for line in wrapped]


def option_text(name: str, option: Option) -> str:
    """An option with its type and default."""
    from seq2att.config.options import format_value
    from seq2att.registry import MISSING

    kind = type_text(option.annotation)
    return (
        f"{name}: {kind} (required)"
        if option.default == MISSING
        else f"{name}: {kind} = {format_value(option.default)}"
    )


def type_text(annotation: Any) -> str:
    """A type as the reader of a YAML file knows it."""
    from seq2att.registry import format_type

    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(arguments)
    if typing.get_origin(annotation) in (list, tuple):
        return f"list[{type_text(arguments[0])}]"
    if type(None) in arguments:
        return "|".join([*(type_text(argument) for argument in arguments if argument is not type(None)), "null"])
    return format_type(annotation).replace(" | ", "|")


def near(place: str) -> str:
    """A place as a path from here, when it is below."""
    path = Path(place)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else place


def first_line(documented: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def comment(file: Path) -> str:
    """The first sentence of a recipe's comment, which says what it is."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), file.read_text("utf-8").splitlines())
    text = " ".join(line.lstrip("# ") for line in lines)
    return SENTENCE.match(text)[0] if text else ""  # type: ignore[index]  # it matches any text
