"""Values of options: their types and ranges, how a setting is converted to them, and how they are written.

A number has a range in its annotation: `size: Size`, `dropout: Rate`, `rows: list[Size] | None`, or
`order: Annotated[int, Range(1, 9)]`. The checker of settings and `build` hold it; constructors need no checks.
"""

from __future__ import annotations

import difflib
import math
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from seq2att.errors import UserError

MISSING = "???"  # what OmegaConf calls a value that must be set
LARGEST = 2**31 - 1  # of whole numbers without another bound: what an index of 32 bits holds
SIMILAR = 0.7  # of difflib's ratio: names that are less alike are not suggested
WIDTH = 120  # characters of a value in a message
UNIONS = (typing.Union, types.UnionType)
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}


@dataclass(frozen=True)
class Range:
    """The numbers that an option may have; always finite, whole numbers below 2^31 unless a range says otherwise.

    Args:
        low: the smallest number.
        high: the largest number.
        above: what every number is above.
        below: what every number is below.
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, number: float) -> bool:
        return (
            (isinstance(number, int) or math.isfinite(number))
            and (self.low is None or number >= self.low)
            and (self.high is None or number <= self.high)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low} to {self.high}"
        bounds = {"at least": self.low, "above": self.above, "at most": self.high, "below": self.below}
        return " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None) or "finite"

    def problem(self, number: float) -> str:
        """What is wrong with a number, if anything."""
        if number not in self:
            return "must be finite" if self == Range() else f"must be {self}"
        if isinstance(number, int) and self.high is None and self.below is None and number > LARGEST:
            return f"must be at most {LARGEST}"
        is_too_low = isinstance(number, int) and self.low is None and self.above is None and number < -LARGEST
        return f"must be at least {-LARGEST}" if is_too_low else ""


Size = Annotated[int, Range(1)]
"""A whole number, at least 1: units, layers, rows."""
Count = Annotated[int, Range(0)]
"""A whole number, at least 0."""
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""The seed of random numbers."""
Share = Annotated[float, Range(0, 1)]
"""A number from 0 to 1: a part of a whole."""
Rate = Annotated[float, Range(0, below=1)]
"""A number of at least 0 and below 1: dropout, the decay of a mean."""
Positive = Annotated[float, Range(above=0)]
"""A finite number above 0."""
NonNegative = Annotated[float, Range(0)]
"""A finite number of at least 0."""
Finite = Annotated[float, Range()]
"""Any finite number."""


def bare(annotation: Any) -> Any:
    """An annotation without the range that it may have."""
    return typing.get_args(annotation)[0] if typing.get_origin(annotation) is Annotated else annotation


def parts(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of a union, None included; else the annotation."""
    return typing.get_args(annotation) if typing.get_origin(annotation) in UNIONS else (annotation,)


def ranges(annotation: Any) -> Iterator[tuple[type, Range]]:
    """The ranges of the numbers in an annotation, each with the type of the number."""
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        yield from ((base, extra) for extra in extras if isinstance(extra, Range))
    elif typing.get_origin(annotation) is not Literal:
        for argument in typing.get_args(annotation):
            yield from ranges(argument)


def range_words(annotation: Any) -> str:
    """The range of the numbers in an annotation; empty without one."""
    bounds = list(ranges(annotation))
    if len(bounds) == 1:
        return "" if bounds[0][1] == Range() else str(bounds[0][1])
    return " or ".join(f"{base.__name__} {limits}" for base, limits in bounds)


def convert(annotation: Any, value: Any, subject: str) -> Any:
    """The value as an option of this type holds it; interpolations and `???` pass.

    One text or number stands for a list of one. An error is about the subject, such as `key=value`.
    """
    if isinstance(value, str) and ("${" in value or value == MISSING):
        return value
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in UNIONS:
        return convert_union(annotation, value, subject)
    if annotation is str or origin is Literal:
        return convert_text(annotation, value, subject)
    if origin in (list, tuple):
        items = [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value
        if isinstance(items, list | tuple):
            return [convert(arguments[0], item, subject) for item in items]
    elif origin is dict:
        if isinstance(value, Mapping):
            return {str(key): convert(arguments[1], item, subject) for key, item in value.items()}
    elif isinstance(value, bool) and annotation is bool:
        return value
    elif not isinstance(value, bool) and isinstance(value, int if bare(annotation) is int else int | float):
        return convert_number(annotation, value, subject)
    raise UserError("E-type", subject, f"must be {describe(annotation)}")


def convert_number(annotation: Any, value: float, subject: str) -> float:
    """The number as an option holds it; refuse what is out of range."""
    base, limits = next(ranges(annotation), (bare(annotation), Range()))
    try:
        number: float = base(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    problem = limits.problem(number)
    if problem and isinstance(number, int):
        raise UserError("E-size", subject, problem)
    if problem:
        raise UserError("E-range", subject, problem)
    return number


def convert_union(annotation: Any, value: Any, subject: str) -> Any:
    """The value as one of several types holds it; `X | None` takes null."""
    rest = [part for part in parts(annotation) if part is not type(None)]
    has_null = len(rest) < len(parts(annotation))
    if value is None and has_null:
        return None
    exact = [part for part in rest if type(value) is bare(part)]
    if len(rest) > 1 and not exact:
        raise UserError("E-type", subject, f"must be {describe(annotation)}")
    try:
        return convert((exact or rest)[0], value, subject)
    except UserError as error:
        is_complete = not (has_null and error.problem.startswith("must be"))
        problem = error.problem if is_complete else f"{error.problem} or null"
        raise UserError(error.code, subject, problem, error.remedy) from None


def convert_text(annotation: Any, value: Any, subject: str) -> str:
    """The value as text, or as one of the choices; what YAML reads as another type must be quoted."""
    choices = typing.get_args(annotation)
    if isinstance(value, bool):
        problem = "YAML reads no, off, yes, on, true and false as truth values"
        remedy = 'quote the text, as in "no"'
    elif isinstance(value, float):
        problem, remedy = "YAML reads this text as a number and changes it", 'quote the text, as in "1.10"'
    else:
        text = str(value) if isinstance(value, int) else value
        if isinstance(text, str) and (not choices or text in choices):
            return text
        near = closest(str(text), choices)
        problem = f"must be {describe(annotation)}"
        remedy = f"did you mean {near!r}?" if near else ""
    if choices:
        raise UserError("E-choice", subject, problem, remedy)
    raise UserError("E-type", subject, problem, remedy)


def closest(name: str, names: Iterable[str]) -> str:
    """The name that is most like another, empty where none is."""
    return next(iter(difflib.get_close_matches(name, list(names), 1, SIMILAR)), "")


def describe(annotation: Any) -> str:
    """What a value of this type is, in words."""
    if annotation in WORDS:
        return WORDS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return ", ".join(filter(None, (describe(arguments[0]), range_words(annotation))))
    if origin is Literal:
        return " or ".join(filter(None, (", ".join(arguments[:-1]), arguments[-1])))
    if origin in (list, tuple):
        return f"a list, as in [a, b], each {describe(arguments[0])}"
    if origin is dict:
        return f"a mapping, as in {{a: ..., b: ...}}, each {describe(arguments[1])}"
    return " or ".join(describe(argument) for argument in arguments)


def format_type(annotation: Any) -> str:
    """A type as it is written, without ranges."""
    annotation = bare(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if isinstance(annotation, type) and origin is None:
        return "None" if annotation is type(None) else annotation.__qualname__
    if origin in UNIONS:
        return " | ".join(map(format_type, arguments))
    if origin in (list, tuple, dict):
        return f"{origin.__name__}[{', '.join('...' if each is ... else format_type(each) for each in arguments)}]"
    return str(annotation).replace("typing.", "")


def format_value(value: Any) -> str:
    """A value as it is written on the command line, in one line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {format_value(item)}' for key, item in value.items())}}}"
    text = str(value)
    return text if text.strip() and text.isprintable() else repr(text)


def shorten_value(value: Any) -> str:
    """A value as a message shows it: in one line that is not too long."""
    text = format_value(value)
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."
