"""Options: what stands after the star of a component, and what a configuration can hold of it."""

from __future__ import annotations

import inspect
import itertools
import re
import typing
from typing import Annotated, Any, Literal, NamedTuple

from seq2att.errors import UserError
from seq2att.registry.value import MISSING, UNIONS, Range, bare, convert, describe, format_type, parts, range_words

SCALARS = (bool, int, float, str)
TYPES = (
    "bool, int, float (or Annotated with a Range), str, Literal of strings, list[X], tuple[X, ...] or dict[str, X] of "
    "those, or one of them `| None`"
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

    @property
    def meaning(self) -> str:
        """The line of documentation, and the range of the annotation."""
        words = range_words(self.annotation)
        return f"{self.doc.rstrip('.')}; {words}." if words else self.doc

    def convert(self, subject: str, value: Any) -> Any:
        """The value as the option holds it; a `UserError` about the subject (`key=value`) says why it cannot."""
        try:
            return convert(self.annotation, value, subject)
        except UserError as error:
            is_explained = self.doc and error.problem.startswith("must be")
            problem = f"{error.problem} ({self.doc.rstrip('.')})" if is_explained else error.problem
            raise UserError(error.code, subject, problem, error.remedy) from None


def make_option(name: str, annotation: Any, default: Any) -> Option:
    """The option of a parameter; raises `E-register` where no configuration could hold its value."""
    subject, empty = f"option {name!r}", inspect.Parameter.empty
    if name == "name":
        raise RegistryError("E-register", subject, "has a reserved name", "rename it")
    if annotation is empty:
        raise RegistryError("E-register", subject, "has no annotation", f"write `{name}: int = ...`")
    if not is_supported(annotation):
        raise RegistryError("E-register", subject, f"has the annotation {format_type(annotation)}", f"use {TYPES}")
    if default is not empty and not is_default(default, annotation):
        problem = f"the default {default!r} is not {describe(annotation)}"
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


def is_supported(annotation: Any, container: bool = True) -> bool:
    """Whether a configuration can hold values of this type."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return arguments[0] in (int, float) and all(isinstance(extra, Range) for extra in arguments[1:])
    if annotation in SCALARS:
        return True
    if origin is Literal:
        return all(isinstance(argument, str) for argument in arguments)
    if origin in UNIONS:
        rest = [argument for argument in arguments if argument is not type(None)]
        return is_supported(rest[0], container) if len(rest) == 1 else all(bare(r) in SCALARS for r in rest)
    if not container:
        return False
    if origin is tuple:
        return len(arguments) == 2 and arguments[1] is Ellipsis and is_supported(arguments[0], container=False)
    if origin is dict:
        return arguments[0] is str and is_supported(arguments[1], container=False)
    return origin is list and is_supported(arguments[0], container=False)


def is_default(value: Any, annotation: Any) -> bool:
    """Whether a default is a value of the annotated type, in its range."""
    origins = {typing.get_origin(part) for part in parts(annotation)}
    if isinstance(value, str | int | float) and not isinstance(value, bool) and not origins.isdisjoint((list, tuple)):
        return False  # a setting may leave out the brackets, a default may not
    try:
        convert(annotation, value, "default")
    except UserError:
        return False
    return True
