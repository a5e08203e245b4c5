"""Overrides: `key=value` from the command line, read by the type of their option and handed to Hydra quoted.

Hydra's lexer takes no Korean letters and no ~ < ( = or quotes in a value, and reads 1.10 as a number; so a text option
takes what stands after the equal sign as it stands, and Hydra sees it quoted.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from seq2att.config.options import ConfigError
from seq2att.config.recipe import show_value
from seq2att.config.slots import NAMES, TRAINER, Checker, Lists, Slots, lists_after, mapped, presets
from seq2att.registry import entries, suggestion

SHAPE = re.compile(r"(\+\+|\+|~|)([^=]*)(=?)(.*)", re.DOTALL)
PIECES = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|[][{}():,]|[^][{}():,'"]+|.""", re.DOTALL)
SWEEPS = re.compile(r"(choice|range|interval|glob|sort|shuffle)\(.*\)", re.DOTALL)
OPENING, CLOSING = "[{(", "]})"


class Override(NamedTuple):
    """One `key=value`, as it was typed."""

    text: str
    sign: str  # Hydra's +, ++ or ~
    key: str
    value: str

    @property
    def hydra(self) -> bool:
        """Whether it is meant for Hydra itself."""
        return self.key.startswith(("hydra.", "hydra/"))


class Overrides(NamedTuple):
    """What overrides say: the component of every slot, those that are listed, and lines that Hydra can read."""

    choices: dict[str, str]
    lists: Lists  # the components that settings list
    lines: dict[str, str]  # key -> line
    problems: list[str]


def split(texts: typing.Iterable[str]) -> list[Override]:
    """The overrides, of each key the last; ConfigError for a text that is none."""
    found, problems = {}, []
    for text in texts:
        shape = SHAPE.fullmatch(text)
        assert shape is not None  # it matches everything
        sign, key, equal, value = shape.groups()
        if sign == "~" and not key.startswith("hydra"):
            problems.append(f"{text}: a setting cannot be removed; what the head does not use drops out by itself")
        elif not key or (not equal and sign != "~"):
            problems.append(f"{text}: an override is written key=value, as in encoder=gru")
        found[key] = Override(text, sign, key, value)
    if problems:
        raise ConfigError(problems)
    return list(found.values())


def read(slots: Slots, chosen: Mapping[str, str], listed: Lists, overrides: list[Override]) -> Overrides:
    """Check overrides of a recipe that chose and listed these components; all that is wrong is in `problems`."""
    choices, lines, problems = dict(chosen), {}, []
    for override in overrides:
        if override.key in slots.kinds or override.key == TRAINER:
            name = read_value(override.value, str)
            problem = several(override) or wrong_choice(slots, override.key, name)
            problems += [problem] if problem else []
            choices[override.key] = choices[override.key] if problem else name
    told = {one.key: read_value(one.value, list[str]) for one in overrides if one.key in NAMES}
    lists = lists_after(listed, told)
    checker = Checker(slots, choices, lists)
    used = slots.used(choices)
    for override in overrides:
        key = override.key
        if key in choices:
            if key in slots.kinds and key not in used:
                checker.refuse(checker.unasked(key))
            lines[key] = f"{key}={render(choices[key])}"
        elif override.hydra:
            lines[key] = override.text if parsed(override.value) else f"{override.sign}{key}={render(override.value)}"
        elif line := read_line(checker, override):
            lines[key] = line
    return Overrides(choices, lists, lines, problems + checker.problems)


def read_line(checker: Checker, override: Override) -> str | None:
    """The line for Hydra, or None when the override is wrong (the checker then knows)."""
    path = tuple(override.key.split("."))
    slot = override.key.replace(".", "/").removesuffix("/name")
    if slot in checker.choices and "/" in override.key.replace(".", "/"):
        checker.refuse(f"{override.text}: a component is chosen by {slot}={override.value}")
        return None
    if "/" in override.key:
        checker.refuse(f"{override.text}: an option is written with dots: {slot.replace('/', '.')}={override.value}")
        return None
    option = checker.lookup(path)
    if option is None:
        return None
    annotation = checker.annotation(path)
    problem = None if textual(annotation) else several(override, annotation)
    if problem:
        checker.refuse(problem)
        return None
    result = checker.value(path, option, read_value(override.value, annotation))
    adds = mapped(annotation) or mapped(checker.annotation(path[:-1]))  # parts of a mapping, as Hydra must be told
    return None if result is None else f"{'++' if adds else ''}{override.key}={render(result[0])}"


def wrong_choice(slots: Slots, slot: str, name: Any) -> str | None:
    """What is wrong with a component in a slot, if anything."""
    if slot == TRAINER:
        files = presets()
        wrong = f"trainer={name}: there is no conf/trainer/{name}.yaml; {suggestion(str(name), files)}"
        return None if name in files else wrong
    kind = slots.kinds[slot]
    if name in entries(kind):
        return None
    if str(name).lower() == "null":
        rule = "a slot is never empty, and what the head does not use drops out by itself"
        return f"{slot}=null: {rule}; {suggestion('', entries(kind))}"
    hint = "; a component of your own needs plugins=[your_file.py]" if name else ""
    return f"{slot}={show_value(name)}: no {kind} is called {name!r}; {suggestion(str(name), entries(kind))}{hint}"


def several(override: Override, annotation: Any = None) -> str | None:
    """The message about an override that sweeps over several values, if it does."""
    message = f"{override.text}: these are several values; add --multirun to train with one after the other"
    if len(commas(override.value)) > 1:
        origins = {typing.get_origin(part) for part in (annotation, *typing.get_args(annotation))}
        lists = not origins.isdisjoint({list, tuple})
        return message + (f", or write one list: {override.key}=[{override.value}]" if lists else "")
    return message if SWEEPS.fullmatch(override.value) else None


def textual(annotation: Any) -> bool:
    """Whether an option holds text, which is taken as it stands."""
    arguments = [argument for argument in typing.get_args(annotation) if argument is not type(None)]
    return (
        annotation is str
        or typing.get_origin(annotation) is Literal
        or (type(None) in typing.get_args(annotation) and len(arguments) == 1 and textual(arguments[0]))
    )


def read_value(text: str, annotation: Any) -> Any:
    """The value of an override for an option of this type, or the text when it cannot be read."""
    found = parsed(text)
    if textual(annotation):
        quoted = found is not None and text[:1] in "'\"" and not commas(text)[1:]
        nothing = text.lower() == "null" and type(None) in typing.get_args(annotation)
        return found.value() if found is not None and (quoted or nothing) else text
    if found is None:
        solid = [piece if piece in "[]{}:,()" or parsed(piece) else render(piece.strip()) for piece in pieces(text)]
        found = parsed("".join(solid))
    return text if found is None else found.value()


def parsed(value: str) -> Any | None:
    """What Hydra makes of a value, or None when its grammar does not take it."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(f"key={value}")
    except HydraException:
        return None


def pieces(text: str) -> list[str]:
    """The text cut at brackets, commas and colons outside of quotes."""
    return PIECES.findall(text)


def commas(text: str) -> list[str]:
    """The text cut at commas outside of brackets and quotes."""
    parts, depth = [""], 0
    for piece in pieces(text):
        depth += (piece in OPENING) - (piece in CLOSING)
        if piece == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += piece
    return parts


def render(value: Any) -> str:
    """A value as Hydra reads it back, texts quoted."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if isinstance(value, str):
        return QuotedString(value, Quote.single).with_quotes()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(render, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{render(item)}' for key, item in value.items())}}}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return repr(value)
