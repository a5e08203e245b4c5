"""Overrides of any kind, for every option of every recipe, give a valid configuration or errors of one line each.

`make fuzz` draws more of them, anew each time.
"""

from __future__ import annotations

import itertools
import os
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seq2att import launch, registry
from seq2att.config import compose, recipes
from seq2att.config.composing import block_at
from seq2att.config.options import ConfigError
from seq2att.config.slots import LISTED, TRAINER, Slots
from seq2att.errors import UserError
from seq2att.registry import Option, Range
from seq2att.registry.value import ranges
from seq2att.trainer.dry_run import check_run
from tests import tiny

EXAMPLES = int(os.environ.get("SEQ2ATT_EXAMPLES", "150"))
LIMIT = 5.0  # seconds of an example
QUICK = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize="SEQ2ATT_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
ODD = [
    *(
        "",
        " ",
        "null",
        "true",
        "x",
        "한국",
        "e\u0301",
        "\u200b",
        "'",
        '"',
        "[",
        "[]",
        "[1",
        "{}",
        "{a: 1}",
        "[[1]]",
        "~",
    ),
    *("nan", "-nan", "inf", "-inf", "1e400", "-1e400", "1e-400", "-0.0", "0", "-1", "1", "2", "0.5", "1.5", "1e3"),
    *("9" * 10, "-" + "9" * 25, "9" * 400, "9" * 5000, "0x10", "1_000", "1,2", "[1,2]", "[0,-1]", "a=b", "a b", "\\"),
    *(
        "${seed}",
        "${nope}",
        "${",
        "${oc.env:HOME}",
        "???",
        "a\nb",
        "\0",
        "range(1,3)",
        "choice(a,b)",
        "!!python/x",
        "&a",
    ),
]


def schema_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """All options of a composed configuration."""
    slots = Slots()
    choices = {slot: block_at(config, slot).get("name", choice) for slot, choice in slots.choices.items()}
    return slots.schema({**choices, TRAINER: "cpu"}, {name: config.get(name) for name in LISTED})


def options_in(schema: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, Option]]:
    """Every option of a schema by its key."""
    for name, level in schema.items():
        if isinstance(level, Option):
            if name != "name":
                yield ".".join((*path, name)), level
        else:
            yield from options_in(level, (*path, name))


def loadable() -> dict[str, dict[str, Option]]:
    """The options of every recipe whose packages are installed."""
    found = {}
    for recipe in recipes():
        try:
            config = compose(recipe)
        except UserError:
            continue
        found[recipe] = {key: option for key, option in options_in(schema_of(config)) if key not in ("plugins", "run")}
    return found


RECIPES = loadable()
SLOTS = sorted(Slots().kinds)
COMPONENTS = sorted({name for kind in registry.kinds() for name in registry.entries(kind)})


def edges(option: Option) -> list[str]:
    """Numbers at the ends of an option's range, just inside and just outside; and its choices."""
    numbers: list[float] = []
    for base, limits in ranges(option.annotation):
        bounds = [bound for bound in (limits.low, limits.high, limits.above, limits.below) if bound is not None]
        step = 1 if base is int else 1e-9
        numbers += [base(bound) + sign * step for bound in bounds for sign in (-1, 0, 1)]
    literals = typing.get_args(option.annotation) if typing.get_origin(option.annotation) is typing.Literal else ()
    return [*map(repr, numbers), *map(str, literals)]


@st.composite
def overrides(draw: st.DrawFn, recipe: str) -> list[str]:
    """One to three overrides of a recipe: options, slots, or keys that do not exist."""
    options = RECIPES[recipe]
    texts = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 9))
        if kind == 0:
            texts.append(f"{draw(st.sampled_from(SLOTS))}={draw(st.sampled_from([*COMPONENTS, *ODD[:6]]))}")
        elif kind == 1:
            texts.append(draw(st.text(max_size=12)) + draw(st.sampled_from(["=", "=1", "", "=x"])))
        else:
            key = draw(st.sampled_from(sorted(options)))
            usual = [st.sampled_from(found)] if (found := edges(options[key])) else []
            numbers = st.one_of(st.integers(-3, 300).map(str), st.floats().map(repr))
            texts.append(f"{key}={draw(st.one_of(*usual, st.sampled_from(ODD), numbers, st.text(max_size=20)))}")
    return texts


def refusals(action: Callable[[], object]) -> list[UserError]:
    """The errors of the user that an action raises; any other error is one of ours."""
    try:
        action()
    except ConfigError as error:
        return list(error.problems)
    except UserError as error:
        return [error]
    return []


def check_ranges(config: Mapping[str, Any]) -> None:
    """Every number of a configuration is in the range that is documented for it."""
    for key, option in options_in(schema_of(config)):
        value: Any = config
        for part in key.split("."):
            value = value[part] if isinstance(value, Mapping) and part in value else None
        values = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]
        for number, limits in itertools.product(values, dict(ranges(option.annotation)).items()):
            if type(number) is limits[0]:
                assert number in limits[1], f"{key}={value} is outside of {limits[1]}"
        assert not any(isinstance(number, float) and number not in Range() for number in values), f"{key}={value}"


@QUICK
@given(data=st.data())
def test_any_overrides_give_a_valid_configuration_or_errors_of_one_line(data: st.DataObject) -> None:
    recipe = data.draw(st.sampled_from(sorted(RECIPES)))
    texts = data.draw(overrides(recipe))
    start = time.process_time()
    config: dict[str, Any] = {}

    def check() -> None:
        config.update(compose(recipe, texts))
        check_run(config)

    problems = refusals(check)
    for problem in problems:
        assert "\n" not in str(problem)
        assert len(str(problem)) < 2000 + len("".join(texts))
    if not problems:
        check_ranges(config)
    assert time.process_time() - start < LIMIT, texts


SMALL = {"classes": tiny.CLASSES, "numbers": tiny.NUMBERS, "tags": tiny.TAGS, "texts": tiny.TEXTS}
COSTLY = ("data.root", "data.cache", "trainer.devices", "trainer.num_nodes", "trainer.accelerator", "trainer.progress")


@settings(QUICK, max_examples=max(8, EXAMPLES // 12))
@given(data=st.data())
def test_accepted_values_train(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder: Path = tmp_path_factory.mktemp("run")
    recipe = folder / "small.yaml"
    recipe.write_text(SMALL[data.draw(st.sampled_from(sorted(SMALL)))], "utf-8")
    fixed = [f"run={folder / 'run'}", f"data.cache={folder / 'cache'}", "trainer.max_steps=1", "trainer.progress=false"]
    options = dict(options_in(schema_of(compose(str(recipe), fixed))))
    keys = sorted(key for key in options if key.startswith(("trainer.", "data.", "optimizer.", "schedule.", "head."))
                  and key not in COSTLY and edges(options[key]))  # fmt: skip
    for key in data.draw(st.lists(st.sampled_from(keys), min_size=1, max_size=3, unique=True)):
        fixed.append(f"{key}={data.draw(st.sampled_from([text for text in edges(options[key]) if len(text) < 9]))}")
    for problem in refusals(lambda: launch.run(compose(str(recipe), [*fixed, "trainer.threads=1"]), say=ignore)):
        assert "\n" not in str(problem), fixed


def ignore(line: str) -> None:
    """Print nothing."""
