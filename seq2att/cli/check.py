"""`seq2att check`: hold a component against the laws of its kind."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seq2att.cli.model import Commands, add_parser, plugins
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.registry import Entry

BROKEN = 1  # the exit code when a law does not hold
EXAMPLES = """examples:
  seq2att check attention additive

With components of your own:
  seq2att check attention cosine --plugin cosine.py
  seq2att check attention cosine --plugin cosine.py temperature=0.2 decoder=gru
  seq2att check field clock --plugin clock.py --example 07:30 --example 23:15
  seq2att check reader tsv train=pairs.tsv

Exit codes: 0 all laws hold, 1 a law is broken, 2 the command or the component cannot be used.
The laws are listed in CONTRIBUTING.md; docs/plugins has a page for each kind."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "check", "test a component against the laws of its kind", EXAMPLES)
    parser.add_argument("kind", metavar="KIND", help="kind of the component, such as attention")
    parser.add_argument("name", metavar="NAME", help="its registered name")
    parser.add_argument(
        "settings", metavar="KEY=VALUE", nargs="*", default=[], help="an option of it, or of another slot"
    )
    parser.add_argument("--plugin", metavar="FILE", action="append", default=[], help="a file, folder or module")
    parser.add_argument("--example", metavar="VALUE", action="append", default=[], help="a value that a field reads")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Check the component, with a line for each case on stderr."""
    from seq2att import registry
    from seq2att.testing import LawError, check

    registry.load([*plugins(arguments), *arguments.plugin])
    kind, name = arguments.kind, arguments.name
    options, around = parse_settings(kind, registry.find(kind, name), arguments.settings)
    cases: list[str] = []

    def report(line: str) -> None:
        cases.append(line)
        print(f"  {line}", file=sys.stderr, flush=True)

    try:
        check(kind, name, options, around=around, examples=arguments.example, report=report)
    except LawError as error:
        print(f"seq2att: broken law: {error}", file=sys.stderr)
        return BROKEN
    print(f"{kind}={name}: all laws hold in {len(cases)} case{'s' * (len(cases) != 1)}")
    return 0


def parse_settings(kind: str, entry: Entry, settings: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options of the component and the other slots, from `key=value`, `slot=name` and `slot.option=value`."""
    import yaml

    from seq2att.registry import suggestion
    from seq2att.testing import DEFAULTS

    options: dict[str, Any] = {}
    around: dict[str, dict[str, Any]] = {}
    for setting in settings:
        key, equals, text = setting.partition("=")
        slot, _, option = key.removeprefix(f"{kind}.").partition(".")
        if not equals:
            raise UserError("E-syntax", setting, "is not a setting", "write key=value")
        value = yaml.safe_load(text)
        if slot in entry.options and not option:
            options[slot] = entry.options[slot].convert(setting, value)
        elif slot in DEFAULTS:
            others = around.setdefault(slot, dict(DEFAULTS[slot]))
            if option:
                others[option] = value
            else:
                around[slot] = {"name": text}
        else:
            remedy = suggestion(slot, [*entry.options, *DEFAULTS])
            raise UserError("E-option", setting, f"{kind}={entry.name} has no option {slot!r}", remedy)
    return options, around
