"""The options of a predictor's methods, and their checks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any, TypedDict

from seq2att import registry
from seq2att.errors import UserError, check_size
from seq2att.types import Prediction

COUNTS = ("batch_size", "batch_tokens", "max_source_length", "beam", "n_best")  # options that are at least 1
NULLABLE = ("beam", "max_source_length")  # of these, may be None
TOO_LONG = (None, "refuse", "cut")
WIDTH = 40  # characters of a value in an error


class Answering(TypedDict, total=False):
    """Options of `classify`, `estimate` and `tag`."""

    batch_size: int
    """Inputs answered together, at least 1 (default 64); it changes no answer."""
    batch_tokens: int
    """Tokens of the inputs answered together, padding included (default 16,384): bounds the memory, changes no answer.
    An input of more tokens is answered alone; a wide beam takes fewer inputs together."""
    max_source_length: int | None
    """Most tokens of an input, at least 1; None: `data.max_length` of the run, else 100,000."""
    too_long: str | None
    """What to do with an input of more tokens: `refuse`, `cut`, or None, as in training."""
    first_line: int
    """The number of the first input (default 1), in messages and for the random numbers of its sample."""
    attention: bool
    """Whether answers hold attention weights (default true), which take much memory for long texts."""


class Searching(Answering, total=False):
    """Options of `translate` and `generate`."""

    beam: int | None
    """Beam size, at least 1; 1 is greedy search. None: the search of the run's configuration."""
    n_best: int
    """Answers to each input, at least 1 (default 1); all but the best are in `.others`."""
    search: Mapping[str, Any] | str | None
    """The name of a search, as in `"sample"`, or its options, as in `{"name": "sample", "temperature": 0.7}`."""


class Explaining(TypedDict, total=False):
    """Options of `explain`."""

    beam: int | None
    """Beam size, at least 1; 1 is greedy search. None: the search of the run's configuration."""
    search: Mapping[str, Any] | str | None
    """As for `translate`."""
    max_source_length: int | None
    """Most tokens of the input, as for `translate`."""
    too_long: str | None
    """What to do with an input of more tokens: `refuse`, `cut`, or None, as in training."""
    first_line: int
    """The number of the input (default 1), in messages and for the random numbers of its sample."""


class Scoring(TypedDict, total=False):
    """Options of `score`."""

    batch_size: int
    """Pairs scored together, at least 1 (default 64); it changes no score."""
    batch_tokens: int
    """Tokens of the pairs scored together, padding included (default 2,048): bounds the memory."""
    first_pair: int
    """The number of the first pair in messages (default 1)."""
    tokens: bool
    """Whether a score holds its factors, `.pieces` and `.token_scores` (default false)."""


def check_options(method: str, options: Mapping[str, Any], kind: type) -> None:
    """Refuse an option that a method does not have, and a value that is out of range."""
    names = sorted(kind.__annotations__)
    for name, value in options.items():
        if name not in names:
            raise UserError("E-option", f"{method}: {name}={short(value)}", "no such option", hint(name, names))
        if name in COUNTS and not (name in NULLABLE and value is None):
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise UserError("E-type", f"{method}: {name}={value!r}", "must be a whole number")
            check_size(f"{method}: {name}", int(value))
        if name == "too_long" and value not in TOO_LONG:
            raise UserError("E-choice", f"{method}: too_long={value!r}", "must be 'refuse', 'cut' or None")


def hint(name: str, names: list[str]) -> str:
    """What to do about an unknown option: where it belongs, or the options there are and the nearest one."""
    if "search" in names:
        if name in registry.entries("search"):
            return f'write search="{name}"'
        if owners := searches_with(name):
            chosen = f'"name": "{owners[0]}", ' if len(owners) == 1 else ""
            return f'it is an option of the search: write search={{{chosen}"{name}": ...}}'
    near = [one for one in names if one in name] or difflib.get_close_matches(name, names, 1)
    if near:
        return f"known: {', '.join(names)}; did you mean {max(near, key=len)!r}?"
    if field := difflib.get_close_matches(name, Prediction._fields, 1):
        return f"a prediction has it without an option: read .{field[0]}"
    return f"known: {', '.join(names)}"


def searches_with(option: str) -> list[str]:
    """The names of the searches that have an option."""
    return [name for name, entry in registry.entries("search").items() if option in entry.options]


def short(value: Any) -> str:
    """A value as it is shown in an error."""
    return repr(value) if len(repr(value)) <= WIDTH else f"{repr(value)[:WIDTH]}..."


def listed(method: str, inputs: Any) -> list[Any]:
    """The inputs as a list; refuses a single input that is not a text."""
    if isinstance(inputs, bytes | Mapping) or not isinstance(inputs, Iterable):
        raise UserError("E-argument", f"{method}: {short(inputs)}", "must be a text or a list", "put it in a list")
    return list(inputs)


def search_overrides(search: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """The options of a search, which may be given by its name only."""
    if isinstance(search, str):
        return {"name": search}
    name = search.get("name", "") if isinstance(search, Mapping) else search
    if search is not None and not isinstance(name, str):
        remedy = 'write search="sample" or search={"name": "sample", "seed": 3}'
        raise UserError("E-type", f"search={search!r}", "must be the name of a search or its options", remedy)
    return dict(search or {})


def check_search(entry: registry.Entry, options: Mapping[str, Any]) -> None:
    """Refuse options that belong to another search."""
    for name, value in options.items():
        owners = searches_with(name)
        if name not in entry.options and owners and name != "name":
            flag = {"sample": "--sample", "beam": "--beam N"}.get(owners[0], f"search={owners[0]}")
            problem = f"search={entry.name} has no such option, but {', '.join(owners)} has"
            remedy = f'write search={{"name": "{owners[0]}", "{name}": {value!r}}} ({flag})'
            raise UserError("E-option", f"search.{name}", problem, remedy)
