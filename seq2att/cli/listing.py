"""`seq2att list`: kinds, components and their options, settings, and recipes."""

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

from seq2att.cli.model import Commands, add_parser, plugins
from seq2att.cli.text import standard_output, write_bytes
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.registry import Option

EXAMPLES = """examples:
  seq2att list
  seq2att list attention
  seq2att list attention.additive
  seq2att list "*lstm*" --paths
  seq2att list trainer data recipe

An option is set by its slot: seq2att train reverse encoder=gru encoder.size=64."""


class Row(NamedTuple):
    """Something that can be chosen or set."""

    name: str
    doc: str
    options: Mapping[str, Option]
    location: str


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "list", "list components, settings and recipes, or the options of one", EXAMPLES)
    what = "a kind, a component (attention.additive), or a pattern such as '*lstm*'"
    parser.add_argument("patterns", metavar="KIND", nargs="*", help=what)
    parser.add_argument("--paths", action="store_true", help="show where each component is written")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print what matches, everything without a pattern."""
    from seq2att import registry

    patterns = [pattern.replace("=", ".") for pattern in arguments.patterns]
    groups = gather(plugins(arguments))
    for message in registry.broken_plugins():
        print(f"seq2att: {message}", file=sys.stderr)
    chosen = {title: [row for row in rows if matches(title, row, patterns)] for title, rows in groups.items()}
    empty = [title for title in groups if title in patterns and not groups[title]]
    if not any(chosen.values()) and not empty:
        names = registry.suggestion(patterns[0], {title.partition(" ")[0] for title in groups})
        raise UserError("E-component", " ".join(arguments.patterns), "nothing has this name", names)
    width = max(60, min(120, shutil.get_terminal_size((100, 24)).columns))
    blocks = []
    for title, rows in chosen.items():
        details = [row for row in rows if is_detailed(title, row, patterns)]
        lines = [row for row in rows if row not in details]
        blocks += [section(title, lines, arguments.paths)] if lines else []
        blocks += ["\n".join(detail_lines(title, row, width, arguments.paths)) for row in details]
    blocks += [f"{title}\n  no components; a plugin may add some" for title in empty]
    write_bytes(standard_output(), ("\n\n".join(blocks) + "\n").encode())


def gather(names: list[str]) -> dict[str, list[Row]]:
    """Everything there is, by kind; a kind's title names its slots where their names differ from the kind's."""
    from seq2att import registry
    from seq2att.config import DataOptions, Settings, TrainerOptions, options_of, recipes
    from seq2att.config.slots import Slots

    registry.load(names)
    slots = Slots().kinds
    groups = {}
    for kind in registry.kinds():
        places = [slot for slot, of in slots.items() if of == kind]
        title = kind if places in ([kind], []) else f"{kind} (in the slots {', '.join(places)})"
        groups[title] = [Row(one.name, one.doc, one.options, one.location) for one in registry.entries(kind).values()]
    groups["settings"] = [
        Row(name, first_line(settings), options_of(settings), registry.location(settings))
        for name, settings in (("run", Settings), ("data", DataOptions), ("trainer", TrainerOptions))
    ]
    groups["recipe"] = [Row(name, comment(file), {}, str(file)) for name, file in recipes().items()]
    return groups


def matches(title: str, row: Row, patterns: list[str]) -> bool:
    """Whether a row belongs to a kind of that name, or its name or `kind.name` matches a pattern."""
    kind = title.partition(" ")[0]
    names = (kind, row.name, f"{kind}.{row.name}")
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns for name in names)


def is_detailed(title: str, row: Row, patterns: list[str]) -> bool:
    """Whether a pattern is the name of a block of settings, or `kind.name`."""
    kind = title.partition(" ")[0]
    named = [pattern for pattern in patterns if "." in pattern]
    is_named = any(fnmatch.fnmatchcase(f"{kind}.{row.name}", pattern) for pattern in named)
    return is_named or (kind == "settings" and row.name in patterns)


def section(title: str, rows: list[Row], has_paths: bool) -> str:
    """A kind with one line for each of its rows."""
    column = max(len(row.name) for row in rows) + 2
    paths = [f"  [{near(row.location)}]" if has_paths else "" for row in rows]
    return "\n".join([title, *(f"  {row.name:{column}}{row.doc}{path}" for row, path in zip(rows, paths, strict=True))])


def detail_lines(title: str, row: Row, width: int, has_paths: bool) -> Iterator[str]:
    """One row with its options: type and default, below them the meaning."""
    kind = title.partition(" ")[0]
    name = row.name if kind == "settings" else f"{kind}.{row.name}{title.removeprefix(kind)}"
    yield from textwrap.wrap(f"{name}: {row.doc}", width, subsequent_indent="  ")
    if has_paths:
        yield f"  {near(row.location)}"
    for option_name, option in row.options.items():
        yield f"  {option_text(option_name, option)}"
        yield from textwrap.wrap(option.meaning, width, initial_indent="      ", subsequent_indent="      ")


def option_text(name: str, option: Option) -> str:
    """An option with its type and default."""
    from seq2att.registry import MISSING, format_value

    default = " (required)" if option.default == MISSING else f" = {format_value(option.default)}"
    return f"{name}: {type_text(option.annotation)}{default}"


def type_text(annotation: Any) -> str:
    """A type as the reader of a YAML file knows it."""
    from seq2att.registry import format_type
    from seq2att.registry.value import bare

    annotation = bare(annotation)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is typing.Literal:
        return "|".join(arguments)
    if typing.get_origin(annotation) in (list, tuple):
        return f"list[{type_text(arguments[0])}]"
    if type(None) in arguments:
        return "|".join([*(type_text(argument) for argument in arguments if argument is not type(None)), "null"])
    return format_type(annotation).replace(" | ", "|")


def near(location: str) -> str:
    """A path from the current folder, where it is below."""
    path = Path(location)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else location


def first_line(documented: Any) -> str:
    """The first line of a docstring."""
    return (inspect.getdoc(documented) or "").partition("\n")[0]


def comment(file: Path) -> str:
    """What a recipe's comment begins with: what it learns, and (`Data: ...`) where the data come from."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), file.read_text("utf-8").splitlines())
    text = " ".join(line.lstrip("# ") for line in lines)
    start = re.match(r".*?\bData: .*?\.(?= |$)", text) or re.match(r".*?[.?!](?= |$)", text)
    return start[0] if start else text
