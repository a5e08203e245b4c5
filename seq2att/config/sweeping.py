"""Sweeps: one training for every combination of overrides, by Hydra's own sweepers and launchers.

Hydra chooses the jobs and launches them. Every value reaches Hydra quoted, and each job composes its text as a single
run does, so that one set of rules holds for both.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from seq2att.config.composing import compose, load_plugins
from seq2att.config.options import ConfigError
from seq2att.config.override import SWEEPS, Override, is_sweep, parse, quote, split_commas, split_overrides
from seq2att.config.recipe import base_layer, presets, read_recipe
from seq2att.config.slots import Slots
from seq2att.errors import UserError
from seq2att.registry import entries

PRIMARY = "seq2att-recipe"  # the name in Hydra's store
UNNAMED = ("run", "overwrite", "plugins", "data.root", "data.cache")  # named in a folder only where they are swept
CHECKED = 200  # jobs that are checked before the first one starts
LONGEST = 200  # bytes in the name of a run folder


def sweep(
    recipe: str,
    overrides: Sequence[str],
    train: Callable[[dict[str, Any]], Any],
    flags: Sequence[str] = ("--multirun",),
    check: Callable[[dict[str, Any]], None] = lambda config: None,
) -> None:
    """Train each job of a sweep in a folder of its own, `runs/<recipe>/<overrides>`; `flags` are Hydra's.

    `train` gets the configuration of a job, whose `run` ends with the name of the job; `check` may refuse one.
    Raises `UserError`, before the first job starts, for anything wrong in any of them.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.errors import HydraException
    from omegaconf import OmegaConf

    changes = split_overrides(overrides)
    load_plugins(read_recipe(recipe), changes)
    values = {one.key: job_values(one) for one in changes if not one.is_hydra}
    texts = {f"++{key}={hydra_value(value)}": f"{key}={value}" for key in values for value in values[key] or ()}
    ours = [one.text for one in changes if not one.is_hydra]
    config = check_jobs(recipe, changes, values, check) if "--multirun" in flags else compose(recipe, ours)
    arguments = [hydra_line(one, values.get(one.key)) for one in changes if one.is_hydra or is_sweep(one)]
    fixed = [one.key for one in changes if not is_sweep(one)]

    def job(_: Any) -> Any:
        """One job, composed as a single run is."""
        lines: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
        chosen = split_overrides([texts.get(line, line) for line in lines])
        named = {one.key: one for one in (*changes, *chosen) if not one.is_hydra}
        job_config = compose(recipe, [one.text for one in named.values()])
        parts = [one for key, one in named.items() if key not in UNNAMED or (one in chosen and key != "run")]
        job_config["run"] = "/".join(filter(None, (job_config["run"], folder_name(parts))))
        return train(job_config)

    try:
        with hydra_input(primary_node(recipe, config, fixed), ["seq2att", *flags, *arguments]):
            hydra.main(version_base="1.3", config_path=None, config_name=PRIMARY)(job)()
    except HydraException as error:
        raise ConfigError("E-argument", " ".join(flags), f"Hydra: {' '.join(str(error).split())}") from error


def job_values(override: Override) -> list[str] | None:
    """The values that an override has in the jobs, as text; None where Hydra draws them, as for `range(1,9)`."""
    if not SWEEPS.fullmatch(override.value):
        values = split_commas(override.value)
        return [value.strip() for value in values] if len(values) > 1 else values
    parsed = parse(override.value)
    if parsed is None:
        problem, remedy = "Hydra cannot parse this sweep", f"quote texts, or write {override.key}=a,b"
        raise ConfigError("E-syntax", override.text, problem, remedy)
    if not hasattr(parsed.value(), "filter"):
        return None
    kind = Slots().kinds.get(override.key)
    return list(parsed.value().filter(sorted(entries(kind) if kind else presets())))  # glob(*)


def hydra_line(override: Override, values: Sequence[str] | None) -> str:
    """An override as Hydra reads it: the values of the jobs are quoted, and those of Hydra itself where need be."""
    if values is not None:
        return f"++{override.key}={','.join(map(hydra_value, values))}"
    if override.is_hydra and parse(override.value) is None:
        return f"{override.text.partition('=')[0]}={quote(override.value)}"
    return override.text if override.is_hydra else f"++{override.key}={override.value}"


def hydra_value(text: str) -> str:
    """A value as Hydra reads it and writes it again, quoted where it would not be the same text."""
    parsed = parse(text) if re.fullmatch(r"[\w.+-]+", text) else None
    return text if parsed is not None and str(parsed.value()) == text else quote(text)


def check_jobs(
    recipe: str,
    overrides: Sequence[Override],
    values: Mapping[str, Sequence[str] | None],
    check: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """Compose the first jobs of a sweep; returns the first one, or raises everything that is wrong with them."""
    jobs = []
    for override in overrides:
        drawn = parse(override.value) if values.get(override.key) is None and not override.is_hydra else None
        if drawn is not None and (drawn.is_range_sweep() or drawn.is_choice_sweep()):
            jobs.append([f"{override.key}={text}" for text in drawn.sweep_string_iterator()])
        elif of_key := values.get(override.key):
            jobs.append([f"{override.key}={value}" for value in of_key])
    configs: list[dict[str, Any]] = []
    problems: list[UserError] = []
    for job in itertools.islice(itertools.product(*jobs), CHECKED):
        try:
            configs.append(compose(recipe, job))
            check(configs[-1])
        except ConfigError as error:
            problems += error.problems
        except UserError as error:
            problems.append(UserError(error.code, f"{' '.join(job)}: {error.subject}", error.problem, error.remedy))
    if problems:
        raise ConfigError.of(problems)
    return configs[0]


def folder_name(overrides: Iterable[Override]) -> str:
    """The name of a job's folder: its overrides, without what no file name may hold."""
    parts = []
    for override in overrides:
        parsed = parse(override.value) if override.value[:1] in "'\"" else None
        value = override.value.replace(", ", ",") if parsed is None else parsed.value()
        parts.append(f"{override.key.replace('/', '.')}={value}")
    name = re.sub(r'[\x00-\x20/\\:*?"<>|]+', "_", ",".join(parts))
    if len(name.encode()) <= LONGEST:
        return name
    return f"{name.encode()[: LONGEST - 9].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def primary_node(recipe: str, config: Mapping[str, Any], fixed: Sequence[str]) -> Any:
    """A configuration on which Hydra composes the jobs: they are checked, and composed anew, by `compose`."""
    from omegaconf import OmegaConf

    layers = (base_layer(), *read_recipe(recipe).layers)
    node = OmegaConf.create(dict(config))
    node.hydra = OmegaConf.merge(*(layer.values.get("hydra", {}) for layer in layers))
    if params := OmegaConf.select(node, "hydra.sweeper.params"):  # ++: also what the first job does not have
        node.hydra.sweeper.params = {f"++{key}": value for key, value in params.items() if key not in fixed}
    node.defaults = [*(item for layer in layers for item in layer.hydra), "_self_"]
    return node


@contextlib.contextmanager
def hydra_input(node: Any, argv: list[str]) -> Iterator[None]:
    """Hydra's store with this configuration, and its command line; by HYDRA_FULL_ERROR it raises errors as they are."""
    from hydra.core.config_store import ConfigStore

    store, saved, full = ConfigStore.instance(), sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    store.store(name=PRIMARY, node=node, provider="seq2att")
    sys.argv, os.environ["HYDRA_FULL_ERROR"] = argv, "1"
    try:
        yield
    finally:
        del store.repo[f"{PRIMARY}.yaml"]
        sys.argv = saved
        os.environ.pop("HYDRA_FULL_ERROR")
        os.environ.update({} if full is None else {"HYDRA_FULL_ERROR": full})
