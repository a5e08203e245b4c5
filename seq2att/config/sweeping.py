"""Sweeps: one training for every combination of overrides, by Hydra's own sweepers and launchers."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from seq2att.config import override
from seq2att.config.composing import PRIMARY, compose, stored
from seq2att.config.options import ConfigError
from seq2att.config.plan import make_plan
from seq2att.config.slots import Checker, everything

UNNAMED = ("run", "overwrite", "plugins", "data.root", "data.cache")  # overrides that tell no two runs apart
CHECKED = 200  # jobs that are checked before the first one starts
LONGEST = 200  # bytes in the name of a run folder


def sweep(
    recipe: str,
    overrides: Sequence[str],
    train: Callable[[dict[str, Any]], Any],
    flags: Sequence[str] = ("--multirun",),
) -> None:
    """Train each job of a sweep in a folder of its own, `runs/<recipe>/<overrides>`; `flags` are Hydra's.

    `train` gets the configuration of a job, whose `run` ends with the name of the job.
    Raises ConfigError, before the first job starts, for anything wrong in any of them.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig

    given = override.split(overrides)
    plugins = [one.text for one in given if one.key == "plugins"]
    plan = make_plan(recipe, given)
    checker = Checker(plan.slots, plan.choices, everything())
    lines = [sweep_line(checker, one) for one in given if one.key != "plugins"]
    check_jobs(recipe, plugins, lines)

    def job(_: Any) -> Any:
        """One job: composed anew, so that it is checked and pruned as any other run."""
        told = list(HydraConfig.get().overrides.task)
        config = compose(recipe, [*plugins, *told])
        config["run"] = "/".join(filter(None, (config["run"], folder_name(told))))
        return train(config)

    with stored(plan), arguments(["seq2att", *flags, *lines]):
        hydra.main(version_base="1.3", config_path=None, config_name=PRIMARY)(job)()


def sweep_line(checker: Checker, given: override.Override) -> str:
    """An override as Hydra's sweepers can read it: what its grammar does not take is quoted, value by value."""
    if given.hydra or override.SWEEPS.fullmatch(given.value):
        return given.text
    choice = given.key in checker.choices
    annotation = str if choice else checker.annotation(tuple(given.key.split(".")))
    parts = override.commas(given.value)
    parts = [override.read_value(part.strip() if len(parts) > 1 else part, annotation) for part in parts]
    return f"{given.key}={','.join(part if choice else override.render(part) for part in parts)}"


def check_jobs(recipe: str, plugins: list[str], lines: list[str]) -> None:
    """Compose the first jobs of a sweep and say everything that is wrong with them."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    choices = []
    for one in OverridesParser.create().parse_overrides([line for line in lines if not line.startswith("hydra")]):
        if not one.is_sweep_override():
            choices.append([str(one.input_line)])
        elif one.is_range_sweep() or (one.is_choice_sweep() and hasattr(one.value(), "list")):
            choices.append([f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()])
    problems: list[str] = []
    for job in itertools.islice(itertools.product(*choices), CHECKED):
        try:
            compose(recipe, [*plugins, *job])
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)


def folder_name(overrides: Sequence[str]) -> str:
    """The name of a job's folder: its overrides, without what no file name may hold."""
    parts = []
    for one in override.split(overrides):
        if one.key not in UNNAMED and not one.hydra:
            found = override.parsed(one.value)
            parts.append(f"{one.key.replace('/', '.')}={one.value if found is None else found.value()}")
    name = re.sub(r'[\x00-\x20/\\:*?"<>|]+', "_", ",".join(parts))
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@contextlib.contextmanager
def arguments(argv: list[str]) -> Iterator[None]:
    """Hydra reads its arguments from sys.argv, and hands errors on as they are with HYDRA_FULL_ERROR."""
    saved, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        sys.argv = saved
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full
