"""Composing: the plan of a recipe and its overrides become one plain dictionary by way of Hydra."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seq2att.config import override
from seq2att.config.options import ConfigError, DataOptions, Settings, TrainerOptions, options_of, schema_of
from seq2att.config.plan import Plan, block_of, make_plan, missing, missing_options, tuned
from seq2att.config.recipe import base_layer
from seq2att.config.slots import NAMES, TRAINER, Checker, everything, mapped, presets
from seq2att.registry import MISSING, Entry, entries

PRIMARY = "seq2att-recipe"  # the recipe's name in Hydra's store


def compose(recipe: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved configuration of a recipe (a name or a path) under overrides, as a plain dictionary.

    Raises ConfigError, which names everything that is wrong, before any data or Lightning is touched.
    """
    given = override.split(overrides)
    plan = make_plan(recipe, given)
    told = override.read(plan.slots, plan.choices, plan.lists, [one for one in given if one.key != "plugins"])
    problems = plan.problems + told.problems + missing_options(plan, told)
    if problems:
        raise ConfigError(problems)
    with stored(plan, told):
        return finish(compose_hydra(list(told.lines.values())), plan, told)


@contextlib.contextmanager
def stored(plan: Plan, told: override.Overrides | None = None) -> Iterator[None]:
    """Hydra's store filled with the components as the recipe tunes them; emptied of them again at the end.

    With overrides, only the components that the recipe or they choose are there, which is quicker.
    """
    from hydra.core.config_store import ConfigStore

    ours = {slot.partition("/")[0] for slot in plan.slots.kinds} | {TRAINER, f"{PRIMARY}.yaml"}
    groups = ConfigStore.instance().repo
    saved = {name: groups.pop(name) for name in ours if name in groups}
    try:
        fill(plan, told)
        yield
    finally:
        for name in ours:
            groups.pop(name, None)
        groups.update(saved)


def fill(plan: Plan, told: override.Overrides | None) -> None:
    """Put the components of every slot, the trainer's presets and the recipe into Hydra's store."""
    from hydra.core.config_store import ConfigStore

    store, choices = ConfigStore.instance(), told.choices if told else None
    for slot, kind in plan.slots.kinds.items():
        wanted = {plan.choices[slot], choices[slot]} if choices and not plan.waits(slot) else entries(kind)
        for name in entries(kind).keys() & wanted:
            store.store(group=slot, name=name, node=component_node(plan, slot, name), provider="seq2att")
    for name, preset in presets().items():
        if choices and name not in (plan.choices[TRAINER], choices[TRAINER]):
            continue
        store.store(group=TRAINER, name=name, node=trainer_node(plan, name, preset), provider="seq2att")
    listed = plan.slots.listed(told.choices if told else plan.choices, told.lists if told else everything())
    store.store(name=PRIMARY, node=primary_node(plan, listed), provider="seq2att")


def component_node(plan: Plan, slot: str, name: str) -> Any:
    """A component's options; where a layer of the recipe picks it, what that layer says is the default."""
    from omegaconf import OmegaConf, open_dict

    nested = [path.rpartition("/")[2] for path in plan.slots.kinds if path.rpartition("/")[0] == slot]
    node = OmegaConf.structured(entries(plan.slots.kinds[slot])[name].schema)
    with open_dict(node):
        for part in nested:
            node[part] = {}
    node.merge_with({key: value for key, value in tuned(plan, slot, name).items() if key not in nested})
    return opened(node, entries(plan.slots.kinds[slot])[name])


def listed_node(plan: Plan, entry: Entry) -> Any:
    """The options of a component that a setting lists, as the recipe tunes it; its name is its key."""
    from omegaconf import OmegaConf, open_dict

    node = OmegaConf.structured(entry.schema)
    with open_dict(node):
        del node["name"]
    for _, values in plan.stages:
        node.merge_with(block_of(f"{entry.kind}/{entry.name}", values))
    return opened(node, entry)


def opened(node: Any, entry: Entry) -> Any:
    """The options with a mapping for null: OmegaConf cannot set a part of null; `resolve` makes it null again."""
    for key, option in entry.options.items():
        if option.default is None and mapped(option.annotation) and node[key] is None:
            node[key] = {}
    return node


def trainer_node(plan: Plan, name: str, preset: Mapping[str, Any]) -> Any:
    """A trainer's options: the recipe tunes the preset that it picks, and any other preset tunes the recipe."""
    from omegaconf import OmegaConf

    values = [values.get(TRAINER, {}) for _, values in plan.stages]
    order = [preset, *values] if plan.choices[TRAINER] == name else [*values, preset]
    return OmegaConf.merge(OmegaConf.structured(schema_of(TrainerOptions)), *order)


def primary_node(plan: Plan, listed: Mapping[str, Mapping[str, Entry]]) -> Any:
    """The recipe as Hydra sees it: the defaults list, and what belongs to no component."""
    from omegaconf import OmegaConf

    layers = (base_layer(), *plan.recipe.layers)
    node = OmegaConf.create({name: option.default for name, option in options_of(Settings).items()})
    node.data = OmegaConf.structured(schema_of(DataOptions))
    for _, values in plan.stages:
        node.merge_with({name: value for name, value in values.items() if name in node})
    for kind, of in listed.items():
        node[kind] = {name: listed_node(plan, entry) for name, entry in of.items()}
    node.merge_with({"recipe": plan.recipe.name, "plugins": plan.plugins})
    node.hydra = OmegaConf.merge(*(layer.values.get("hydra", {}) for layer in layers))
    choices = [{slot: name} for slot, name in plan.choices.items() if name != MISSING]
    choices += [{slot: next(iter(entries(kind)))} for slot, kind in plan.slots.kinds.items() if plan.waits(slot)]
    node.defaults = [*choices, *(item for layer in layers for item in layer.hydra), "_self_"]
    return node


def compose_hydra(lines: list[str]) -> Any:
    """What Hydra makes of the stored recipe and these overrides."""
    import hydra
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException

    running, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None  # a job of a sweep composes within Hydra
    try:
        with hydra.initialize(version_base="1.3", config_path=None, job_name="seq2att"):
            return hydra.compose(PRIMARY, lines)
    except HydraException as error:
        cause = f": {error.__cause__}" if error.__cause__ else ""
        raise ConfigError([" ".join(f"{error}{cause}".split())]) from error
    finally:
        GlobalHydra.instance().hydra = running


def finish(config: Any, plan: Plan, told: override.Overrides) -> dict[str, Any]:
    """The composed configuration resolved and checked again, without the slots and blocks that nothing uses."""
    used = plan.slots.used(told.choices)
    checker = Checker(plan.slots, told.choices, told.lists)
    plain = resolve(config, checker, [slot for slot in plan.slots.kinds if slot not in used])
    values = checker.block(plain)
    if not checker.problems:
        checker.problems += shared(values)
    if checker.problems:
        raise ConfigError(checker.problems)
    return {name: values[name] for name in checker.schema if values[name] or name not in NAMES.values()}


def resolve(node: Any, checker: Checker, unused: Sequence[str], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """A block as plain values; what is missing or cannot be resolved is noted."""
    from omegaconf import DictConfig, ListConfig, OmegaConf
    from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

    plain: dict[str, Any] = {}
    for name in node:
        here = (*path, str(name))
        if "/".join(here) in unused:
            continue
        try:
            value = node[name]
            if isinstance(value, DictConfig):
                option = checker.option(here)
                nothing: dict[str, Any] | None = None if option and option.default is None else {}
                plain[str(name)] = resolve(value, checker, unused, here) or nothing
                continue
            value = OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value
            plain[str(name)] = unwrap(value)
        except MissingMandatoryValue:
            slot = "/".join(path)
            checker.refuse(missing(".".join(here), slot, checker.choices.get(slot, "")))
        except OmegaConfBaseException as error:
            checker.refuse(f"{'.'.join(here)}: {str(error).partition(chr(10))[0]}")
    return plain


def unwrap(value: Any) -> Any:
    """Enums, which Hydra needs for choices, back to text."""
    if isinstance(value, list):
        return [unwrap(item) for item in value]
    return value.value if isinstance(value, enum.Enum) else value


def shared(config: Mapping[str, Any]) -> list[str]:
    """What keeps the two sides from sharing what they shall share."""
    share, source, target = config["share"], config["source"], config["target"]
    if share == "nothing":
        return []
    ours, theirs = source.get("tokenizer"), target.get("tokenizer")
    if ours is None or theirs is None:
        return [f"share={share}: source={source['name']} and target={target['name']} have no tokenizer to share"]
    if ours["name"] != theirs["name"]:
        return [
            f"share={share}: the tokenizers are {ours['name']} and {theirs['name']}; make them equal, as in "
            f"target/tokenizer={ours['name']}"
        ]
    pairs = {f"tokenizer.{name}": (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
    if share == "embedding":
        pairs["embedding_size"] = (source.get("embedding_size"), target.get("embedding_size"))
    return [
        f"share={share}: source.{name}={one} but target.{name}={other}; make them equal, or share=nothing"
        for name, (one, other) in pairs.items()
        if one != other
    ]
