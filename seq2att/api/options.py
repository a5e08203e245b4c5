"""What a model is asked with: the options of every verb, and what is wrong with them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, TypedDict

from seq2att import registry
from seq2att.errors import UserError
from seq2att.registry.option import is_of_type
from seq2att.types import Prediction

COUNTS = ("batch_size", "beam", "n_best")  # options that are numbers from 1
LENGTHS = ("min_length", "max_length")  # options of a search that count tokens
TOO_LONG = (None, "refuse", "cut")
WIDTH = 40  # characters of a value that an error shows


class Answering(TypedDict, total=False):
    """How inputs are answered."""

    batch_size: int
    """Inputs that are answered together; it changes no answer."""
    too_long: str | None
    """What happens to a text of more tokens than `data.max_length`: `refuse` or `cut`; None: as in training."""
    first_line: int
    """The number of the first input, for messages about it and for the random numbers of its sample."""
    attention: bool
    """False leaves out what the answers looked at, which takes much memory for long texts."""


class Searching(Answering, total=False):
    """How texts are found."""

    beam: int | None
    """1 is greedy search; by default the search is that of the configuration."""
    n_best: int
    """How many answers; the others of each are in `.others`."""
    search: Mapping[str, Any] | str | None
    """A search by its name, as in `"sample"`, or its options, as in `{"name": "sample", "temperature": 0.7}`."""


class Scoring(TypedDict, total=False):
    """How pairs are scored."""

    batch_size: int
    """Pairs that are scored together; it changes no score."""
    first_pair: int
    """The number of the first pair, for messages about it."""


def common(options: Searching) -> Answering:
    """The options that do not concern the search."""
    kept: Any = {key: value for key, value in options.items() if key in Answering.__annotations__}
    return kept  # type: ignore[no-any-return]


def check_options(verb: str, options: Mapping[str, Any], kind: type) -> None:
    """Refuse an option that a verb does not have, and a value that it does not take."""
    names = sorted(kind.__annotations__)
    for name, value in options.items():
        if name not in names:
            raise UserError(f"{verb}: {unknown(name, value, names)}")
        if name in COUNTS and not (name == "beam" and value is None):
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if not whole or value < 1:
                raise UserError(f"{verb}: {name}={value!r}: allowed is a whole number of at least 1")
        if name == "too_long" and value not in TOO_LONG:
            raise UserError(f"{verb}: too_long={value!r}: allowed is 'refuse', 'cut', or None for that of training")


def unknown(name: str, value: Any, names: list[str]) -> str:
    """What to say of an option that there is not: where it belongs, or the nearest one and all there are."""
    known = f"known: {', '.join(names)}"
    searches = [one for one, entry in registry.entries("search").items() if name in entry.options]
    shown = repr(value) if len(repr(value)) <= WIDTH else "..."
    if "search" in names and searches:
        chosen = f'"name": "{searches[0]}", ' if len(searches) == 1 else ""
        return f'{name} is an option of the search; write search={{{chosen}"{name}": {shown}}}; {known}'
    if "search" in names and name in registry.entries("search"):
        return f'{name} is a search; write search="{name}"; {known}'
    inside = [one for one in names if one in name]
    near = inside or difflib.get_close_matches(name, names, 1)
    said = f"there is no option {name!r}; {known}"
    if near:
        return f"{said}; did you mean {max(near, key=len)!r}?" + (SEARCHED if "search" in names else "")
    if field := difflib.get_close_matches(name, Prediction._fields, 1):
        return f"{said}; what an answer holds needs no option: read .{field[0]} of it"
    return said + (SEARCHED if "search" in names else "; leave it out")


SEARCHED = '; options of a search go into it, as in search={"name": "sample", "seed": 3}'


def listed(verb: str, inputs: Any) -> list[Any]:
    """Many inputs as a list; refuses what is one thing and no text."""
    if isinstance(inputs, bytes | Mapping) or not isinstance(inputs, Iterable):
        shown = repr(inputs) if len(repr(inputs)) <= WIDTH else f"{repr(inputs)[:WIDTH]}..."
        raise UserError(f"{verb}: {shown} is neither a text nor a list of inputs; give one input in a list, as in [x]")
    return list(inputs)


def asked_search(search: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """The options of a search, which may be given by its name."""
    if isinstance(search, str):
        return {"name": search}
    if search is not None and not isinstance(search, Mapping):
        raise UserError(
            f'search={search!r} is no search; give its name, as in search="sample", or its options, as in '
            f'search={{"name": "sample", "seed": 3}}'
        )
    asked = dict(search or {})
    if not isinstance(asked.get("name", ""), str):
        names = ", ".join(sorted(registry.entries("search")))
        raise UserError(f"search.name={asked['name']!r} is no name of a search; known: {names}")
    return asked


def check_search(entry: registry.Entry, asked: Mapping[str, Any]) -> None:
    """Refuse options that a search does not have but another one has, and values that an option does not take."""
    from seq2att.config.options import describe

    for name, value in asked.items():
        option = entry.options.get(name)
        others = [one for one, other in registry.entries("search").items() if name in other.options]
        if option is None and others and name != "name":
            flag = {"sample": "--sample", "beam": "--beam N"}.get(others[0], f"search={others[0]}")
            raise UserError(
                f"search.{name}: search={entry.name} has no option {name!r}, which is one of {', '.join(others)}; "
                f'take search={{"name": "{others[0]}", "{name}": {value!r}}} ({flag})'
            )
        if option is not None and not is_of_type(value, option.annotation):
            raise UserError(f"search.{name}={value!r}: allowed is {describe(option.annotation)}")
        if name in LENGTHS and value is not None and value < 0:
            raise UserError(f"search.{name}={value}: allowed is 0 or more tokens")
