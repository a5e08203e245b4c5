"""Ranges belong to options: every number has a bound, and settings and `build` hold it."""

from __future__ import annotations

import math
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import pytest

from seq2att import registry
from seq2att.config import DataOptions, Settings, TrainerOptions, options_of
from seq2att.registry import Count, Finite, Option, Range, Rate, Share, Size, build, entries, register
from seq2att.registry.value import LARGEST, UNIONS, convert, describe, format_type, ranges
from tests.refusals import refused

registry.load()
SETTINGS = {"": Settings, "data": DataOptions, "trainer": TrainerOptions}


def all_options() -> Iterator[tuple[str, Option]]:
    """Every option of our components and every setting, by its key."""
    for kind in registry.kinds():
        for entry in entries(kind).values():
            if entry.target.__module__.partition(".")[0] == "seq2att":
                yield from ((f"{kind}.{entry.name}.{name}", option) for name, option in entry.options.items())
    for block, settings in SETTINGS.items():
        yield from ((f"{block}.{name}", option) for name, option in options_of(settings).items())


OPTIONS = dict(all_options())
RANGED = {key: option for key, option in OPTIONS.items() if list(ranges(option.annotation))}


def unbounded(annotation: Any) -> bool:
    """Whether an annotation has a number without a range."""
    if typing.get_origin(annotation) in (Annotated, Literal):
        return False
    return annotation in (int, float) or any(map(unbounded, typing.get_args(annotation)))


def outside(base: type, limits: Range) -> Iterator[float]:
    """Numbers just outside of a range, and some that no option takes."""
    step = 1 if base is int else 1e-9
    yield from () if limits.low is None else (limits.low - step, -1e300 if base is float else -(10**30))
    yield from () if limits.high is None else (limits.high + step,)
    yield from (base(bound) for bound in (limits.above, limits.below) if bound is not None)
    yield from (math.nan, math.inf, -math.inf) if base is float else (10**400,)


def inside(base: type, limits: Range) -> Iterator[float]:
    """The ends of a range."""
    yield from (base(bound) for bound in (limits.low, limits.high) if bound is not None)
    yield from () if limits.above is None else (limits.above + 1e-12,)
    yield from () if limits.below is None else (limits.below - 1e-12,)
    yield from (LARGEST,) if base is int and limits.high is None else ()


def test_every_number_has_a_bound() -> None:
    missing = [key for key, option in OPTIONS.items() if unbounded(option.annotation)]
    assert not missing, f"annotate them with Size, Count, Rate, ... or, if any number is right, Finite: {missing}"


@pytest.mark.parametrize("key", RANGED)
def test_a_range_is_held_and_includes_its_ends(key: str) -> None:
    option = RANGED[key]
    for base, limits in ranges(option.annotation):
        for value in outside(base, limits):
            with refused("E-size" if base is int else "E-range", f"{key}={value}"[:40]):
                option.convert(f"{key}={value}"[:40], listed(option, value))
        for value in inside(base, limits):
            option.convert(key, listed(option, value))
    assert option.meaning != option.doc or limits == Range()


def listed(option: Option, value: float) -> Any:
    """The value, within a mapping where the option holds one."""
    holds_mapping = "dict" in format_type(option.annotation)
    return {"a": value} if holds_mapping else value


def test_build_holds_ranges_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.component, "_entries", {**registry.component._entries, "optimizer": {}})

    @register("optimizer", "made")
    def made(parameters: Any, *, layers: tuple[Size, ...] = (1,), rate: Rate | None = None) -> Any:
        return layers, rate

    def options(**values: Any) -> dict[str, Any]:
        return {"optimizer": {"name": "made", **values}}

    assert build("optimizer", options(layers=[2, 3], rate=0), None) == ([2, 3], 0.0)
    for code, values in [
        ("E-size", {"layers": [2, 0]}),
        ("E-size", {"layers": [2, LARGEST + 1]}),
        ("E-range", {"rate": 1}),
        ("E-range", {"rate": math.nan}),
        ("E-type", {"rate": "0.5"}),
        ("E-type", {"layers": [True]}),
    ]:
        with refused(code, f"optimizer.{next(iter(values))}="):
            build("optimizer", options(**values), None)


def test_a_default_out_of_range_is_refused() -> None:
    def made(parameters: Any, *, size: Size = 0) -> Any: ...

    with refused("E-register", "optimizer=made"):
        register("optimizer", "made")(made)


def test_plain_numbers_are_finite() -> None:
    assert convert(float, 3, "x") == 3.0
    assert convert(int, -5, "x") == -5
    for value in (math.nan, math.inf, 10**400):
        with refused("E-range", "x"):
            convert(float, value, "x")
    with refused("E-size", "x"):
        convert(int, -(10**40), "x")


def test_ranges_in_words() -> None:
    assert [describe(each) for each in (Size, Share, Finite, Annotated[float, Range(above=0, below=2)])] == [
        "a whole number, at least 1",
        "a number, 0 to 1",
        "a number",
        "a number, above 0 and below 2",
    ]
    assert Option(Count | None, 0, "rows; null for all.").meaning == "rows; null for all; at least 0."
    assert format_type(tuple[Size, ...] | None) == "tuple[int, ...] | None"
    assert typing.get_origin(Size | None) in UNIONS
