"""The settings of a run folder or a bundle, which someone else may have written: read and migrated.

They are data: nothing that they name is opened or imported, and nothing in them is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.errors import UserError
from seq2att.files.untrusted import COPY, parse_yaml, read_regular
from seq2att.registry import MISSING

FORMAT = 2  # of bundles; increased when settings are renamed, or when an earlier seq2att cannot read what is written
CONFIG = "config.yaml"
MAX_BYTES = 1 << 20
RECIPE_ONLY = ("defaults", "requires", "hydra")


class Saved(NamedTuple):
    """The settings in a saved file, in the form of today, not checked yet."""

    values: dict[str, Any]
    number: int  # of the format that they were saved in


def read_saved(file: Path) -> Saved:
    """The settings in the `config.yaml` of a run folder or a bundle."""
    return parse_saved(read_regular(file, MAX_BYTES), f"{file}")


def parse_saved(content: bytes | bytearray, place: str) -> Saved:
    """The settings in the content of a `config.yaml`; `place` names it in errors."""
    values = parse_yaml(content, place)
    number = values.pop("format", FORMAT)
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise UserError("E-bundle", f"{place}: format={number}"[:200], "must be a whole number of at least 1", COPY)
    if number > FORMAT:
        problem = f"its format {number} is newer than this seq2att reads ({FORMAT})"
        raise UserError("E-bundle", place, problem, "upgrade seq2att")
    for name in RECIPE_ONLY:
        if name in values:
            raise UserError("E-bundle", f"{place}: {name}", "belongs to a recipe, not to a saved run", COPY)
    for key, text in texts({name: value for name, value in values.items() if name != "reader"}):
        if "${" in text or text == MISSING:
            raise UserError("E-bundle", f"{place}: {key}", "is an interpolation or missing, not a value", COPY)
    return Saved(migrate(values, number), number)


def texts(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text among settings with its key."""
    if isinstance(values, str):
        yield key, values
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from texts(value, f"{key}.{name}" if key else name)
    elif isinstance(values, list):
        for value in values:
            yield from texts(value, key)


def migrate(values: dict[str, Any], number: int) -> dict[str, Any]:
    """Settings of format `number` in the form of today: one step for each format."""
    for step in range(number, FORMAT):
        values = STEPS[step](values)
    return values


def from_1(values: dict[str, Any]) -> dict[str, Any]:
    """Format 2 adds `manifest.json` to a bundle. Settings kept their names; those that are new since have defaults."""
    return values


STEPS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: from_1}
"""For each earlier format the function that turns its settings into those of the next one."""
