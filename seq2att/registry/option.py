"""Options: what stands after the star of a component, and what a configuration can hold of it."""

from __future__ import annotations

import inspect
import itertools
import re
import types
import typing
from typing import Annotated, Any, Literal, NamedTuple

from seq2att.errors import UserError

MISSING = "???"  # what OmegaConf calls a value that must be set
TYPES = (
    "bool, int, float, str, Literal of strings, list[X], tuple[X, ...] or dict[str, X] of those, "
    "or one of them `| None`"
)
ARGUMENT = re.compile(r"\s*(\w+)(?: \([^)]*\))?:\s*(.*)")
Inherited = Annotated[Any, "inherited"]
"""In a constructor, `**options: Inherited` takes the options of the parent's constructor, to pass them on."""


class RegistryError(UserError):
    """A component, a kind or a plugin that the registry cannot take or find."""


class Option(NamedTuple):
    """One option of a component: a parameter after the star."""

    annotation: Any
    default: Any  # MISSING where it must be set
    doc: str = ""  # its line under `Args:` in the docstring


def make_option(name: str, annotation: Any, default: Any) -> Option:
    """The option of a parameter; raises `E-register` where no configuration could hold its value."""
    subject, empty = f"option {name!r}", inspect.Parameter.empty
    if name == "name":
        raise RegistryError("E-register", subject, "has a reserved name", "rename it")
    if annotation is empty:
        raise RegistryError("E-register", subject, "has no annotation", f"write `{name}: int = ...`")
    if not is_supported(annotation):
        raise RegistryError("E-register", subject, f"has the annotation {format_type(annotation)}", f"use {TYPES}")
    if default is not empty and not is_of_type(default, annotation):
        problem = f"the default {default!r} is not of type {format_type(annotation)}"
        raise RegistryError("E-register", subject, problem, "change one of them")
    return Option(annotation, MISSING if default is empty else default)


def parse_args(docstring: str | None) -> dict[str, str]:
    """The entries of the `Args:` section of a Google-style docstring, by name; continuation lines are joined."""
    docs: dict[str, str] = {}
    name, margin = "", 0
    lines = iter(inspect.cleandoc(docstring or "").splitlines())
    for _ in itertools.takewhile(lambda line: line != "Args:", lines):
        pass
    for line in filter(str.strip, lines):
        depth = len(line) - len(line.lstrip())
        margin = margin or depth
        if depth == 0:
            break
        entry = ARGUMENT.match(line) if depth == margin else None
        if entry:
            name, docs[entry[1]] = entry[1], entry[2]
        elif name:
            docs[name] += f" {line.strip()}"
    return docs


def format_type(annotation: Any) -> str:
    """A type as it is written."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return "None" if annotation is type(None) else annotation.__qualname__
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(format_type, arguments))
    return str(annotation).replace("typing.", "")


def is_supported(annotation: Any, container: bool = True) -> bool:
    """Whether a configuration can hold values of this type."""
    if annotation in (bool, int, float, str):
        return True
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return all(isinstance(argument, str) for argument in arguments)
    if origin in (typing.Union, types.UnionType):
        rest = [argument for argument in arguments if argument is not type(None)]
        return is_supported(rest[0], container) if len(rest) == 1 else all(r in (bool, int, float, str) for r in rest)
    if not container:
        return False
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is Ellipsis and is_supported(arguments[0], container=False)
    if origin is dict:
        return arguments[0] is str and is_supported(arguments[1], container=False)
    return origin is list and is_supported(arguments[0], container=False)


def is_of_type(value: Any, annotation: Any) -> bool:
    """Whether a default is of the annotated type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(value is None if argument is type(None) else is_of_type(value, argument) for argument in arguments)
    if origin in (tuple, list):
        return isinstance(value, origin) and all(is_of_type(item, arguments[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict) and all(is_of_type(item, arguments[1]) for item in value.values())
    if annotation is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)
