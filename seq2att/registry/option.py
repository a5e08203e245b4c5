"""Options: what stands after the star of a component, and what a configuration can hold of it."""

from __future__ import annotations

import enum
import inspect
import types
import typing
from dataclasses import field
from typing import Any, Literal, NamedTuple

MISSING = "???"  # what OmegaConf calls a value that must be given
RESERVED = frozenset({"keys", "items", "values", "get", "pop", "copy", "name"})  # OmegaConf's own methods, our own key


class Option(NamedTuple):
    """One option of a component: what stands after the star."""

    annotation: Any
    default: Any  # MISSING when it must be given


def option_problem(name: str, annotation: Any, default: Any) -> str | None:
    """Why no configuration could hold an option, if so."""
    if name in RESERVED:
        return f"an option cannot be called {name!r} (configurations use it); rename it"
    if annotation is inspect.Parameter.empty:
        return f"option {name!r} has no annotation; write `{name}: int = ...`"
    if not is_supported(annotation):
        return (
            f"option {name!r} is annotated {format_type(annotation)}; allowed are "
            f"bool, int, float, str, Literal of strings, "
            f"list, tuple[X, ...] and dict[str, X] of those, and each with `| None`"
        )
    if default is not inspect.Parameter.empty and not is_of_type(default, annotation):
        return f"the default {default!r} of option {name!r} is no {format_type(annotation)}"
    return None


def format_type(annotation: Any) -> str:
    """A type as it is written."""
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return "None" if annotation is type(None) else annotation.__qualname__
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(format_type, arguments))
    return str(annotation).replace("typing.", "")


def is_supported(annotation: Any, container: bool = True) -> bool:
    """Whether OmegaConf can hold values of this type."""
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


def schema_field(name: str, option: Option) -> tuple[str, Any, Any]:
    """One option as a dataclass field; OmegaConf takes no Literal, so choices become an Enum."""
    annotation, default = enumerated(name, option.annotation), option.default
    if isinstance(default, list | tuple | dict):
        plain = dict(default) if isinstance(default, dict) else list(default)
        return name, annotation, field(default_factory=lambda: plain.copy())
    return name, annotation, field(default=default)


def enumerated(name: str, annotation: Any) -> Any:
    """The annotation with an Enum in the place of Literal, wherever it stands."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return enum.Enum(name, {choice: choice for choice in arguments})
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(enumerated(name, argument) for argument in arguments)]  # noqa: UP007
    if origin in (list, dict, tuple):
        return origin[tuple(argument if argument is ... else enumerated(name, argument) for argument in arguments)]
    return annotation
