"""A recipe read and checked as a whole, and what its overrides leave missing, before Hydra composes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seq2att import registry
from seq2att.config import override
from seq2att.config.options import ConfigError
from seq2att.config.recipe import Layer, Recipe, base_layer, read_recipe, show
from seq2att.config.slots import NAMES, TRAINER, Checker, Lists, Slots, lists_after
from seq2att.registry import MISSING, RegistryError, entries


class Plan(NamedTuple):
    """A recipe that was read and checked, before any override."""

    recipe: Recipe
    plugins: list[str]
    slots: Slots
    stages: list[tuple[dict[str, str], dict[str, Any]]]  # of every layer: the choices up to it, and its checked values
    problems: list[str]

    @property
    def choices(self) -> dict[str, str]:
        """The component that the recipe puts into every slot."""
        return self.stages[-1][0]

    @property
    def lists(self) -> Lists:
        """The components that the recipe lists."""
        lists: Lists = {}
        for _, values in self.stages:
            lists = lists_after(lists, values)
        return lists

    def waits(self, slot: str) -> bool:
        """Whether a slot waits for its choice, which an override must make; for Hydra any will do until then."""
        return self.choices[slot] == MISSING and bool(entries(self.slots.kinds[slot]))


def make_plan(recipe: str, overrides: Sequence[override.Override] = ()) -> Plan:
    """Read a recipe, import its plugins, and check what it says."""
    read = read_recipe(recipe)
    plugins = load_plugins(read, overrides)
    slots = Slots()
    choices = {**slots.choices, TRAINER: base_layer().choices[TRAINER]}
    lists: Lists = {}
    stages, problems = [], []
    for layer in read.layers:
        lists = lists_after(lists, layer.values)
        choices, values, wrong = check_layer(slots, choices, lists, layer)
        stages.append((choices, values))
        problems += wrong
    return Plan(read, plugins, slots, stages, problems)


def load_plugins(recipe: Recipe, overrides: Sequence[override.Override]) -> list[str]:
    """Fill the registry; the plugins named by the recipe (from its own folder, too) and by the overrides."""
    ours: list[str] = []
    wanted: list[str] = []
    for layer in recipe.layers:
        names = layer.values.get("plugins") or []
        for name in [names] if isinstance(names, str) else names if isinstance(names, list) else ():
            beside = layer.file.parent / str(name)
            if registry.shipped(str(name)) == beside.resolve():  # of our own recipe: found again by its bare name
                ours.append(str(name))
                continue
            wanted.append(show(beside) if beside.exists() and not Path(str(name)).exists() else str(name))
    wanted += named_plugins([given.text for given in overrides if given.key == "plugins"])
    registry.load()
    registry.load_shipped(ours)
    problems = []
    for plugin in (plugins := list(dict.fromkeys(wanted))):
        try:
            registry.load_plugin(plugin)
        except RegistryError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys([*ours, *plugins]))


def named_plugins(overrides: Sequence[str]) -> list[str]:
    """The plugins that overrides such as `plugins=[a.py,b]` name."""
    problems = [problem for one in override.split(overrides) if (problem := override.several(one, list[str]))]
    if problems:
        raise ConfigError(problems)
    names = [override.read_value(text.partition("=")[2], list[str]) for text in overrides]
    return [str(one) for name in names for one in (name if isinstance(name, list) else [name])]


def check_layer(
    slots: Slots, before: Mapping[str, str], lists: Lists, layer: Layer
) -> tuple[dict[str, str], dict[str, Any], list[str]]:
    """The choices up to a layer of a recipe, its values, and what is wrong with them."""
    values = {name: value for name, value in layer.values.items() if name != "hydra"}
    named = named_in_blocks(slots, values)
    picked, choices = {**named, **layer.choices}, dict(before)
    problems = [
        f"{show(layer.file)}: {slot}: the defaults list says {picked[slot]}, the block {name}; leave one out"
        for slot, name in named.items()
        if name != picked[slot]
    ]
    for slot, name in picked.items():
        if slot not in choices:
            problems.append(
                f"{show(layer.file)}: defaults: there is no slot {slot!r}; {registry.suggestion(slot, choices)}"
            )
        elif problem := override.wrong_choice(slots, slot, name):
            problems.append(f"{show(layer.file)}: {problem}")
        else:
            choices[slot] = name
    checker = Checker(slots, choices, lists, show(layer.file))
    for slot in layer.choices:
        if slot in slots.kinds and slot not in slots.asked(choices) and slot not in values:
            checker.refuse(checker.unasked(slot))
    return choices, checker.block(values), problems + checker.problems


def named_in_blocks(slots: Slots, values: Mapping[str, Any]) -> dict[str, str]:
    """The components that blocks choose by `name`, as the configuration in a run folder does."""
    found = {}
    for slot in slots.kinds:
        block: Any = values
        for part in slot.split("/"):
            block = block.get(part) if isinstance(block, Mapping) else None
        if isinstance(block, Mapping) and "name" in block:
            found[slot] = str(block["name"])
    return found


def missing_options(plan: Plan, told: override.Overrides) -> list[str]:
    """What must be given and is not."""
    problems = []
    for slot, entry in plan.slots.asked(told.choices).items():
        given = tuned(plan, slot, entry.name)
        for name, option in entry.options.items():
            key = f"{slot.replace('/', '.')}.{name}"
            if option.default == MISSING and name not in given and key not in told.lines:
                problems.append(missing(key, slot, entry.name))
    problems += missing_listed(plan, told)
    problems += [
        f"{slot}: must be chosen: {slot}=NAME; {registry.suggestion('', entries(plan.slots.kinds[slot]))}"
        for slot in plan.slots.used(told.choices)
        if told.choices[slot] == MISSING
    ]
    return problems


def missing_listed(plan: Plan, told: override.Overrides) -> list[str]:
    """What must be given to components that settings list, and is not."""
    settings = {kind: setting for setting, kind in NAMES.items()}
    return [
        f"{kind}.{name}.{option}: missing; {name} in {settings[kind]} needs it: add {kind}.{name}.{option}=VALUE, "
        f"or leave {name} out of {settings[kind]} (seq2att list {kind})"
        for kind, of in plan.slots.listed(told.choices, told.lists).items()
        for name, entry in of.items()
        for option, held in entry.options.items()
        if held.default == MISSING
        and f"{kind}.{name}.{option}" not in told.lines
        and not any(option in block_of(f"{kind}/{name}", values) for _, values in plan.stages)
    ]


def missing(key: str, slot: str, name: str) -> str:
    """The message about a value that must be given."""
    return f"{key}: missing; {slot}={name} needs it: add {key}=VALUE, or choose another {slot} (seq2att list {slot})"


def block_of(slot: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe says about the component in a slot."""
    block: Any = values
    for part in slot.split("/"):
        block = block.get(part, {})
    return dict(block)


def tuned(plan: Plan, slot: str, name: str) -> dict[str, Any]:
    """What a recipe says about a component in a slot.

    What it says about another one holds too where they are interchangeable (`encoder=gru` in the place of `lstm`): its
    size stays, for instance.
    """
    registered = entries(plan.slots.kinds[slot])
    found: dict[str, Any] = {}
    for choices, values in plan.stages:
        block, other = block_of(slot, values), registered.get(choices[slot])
        if choices[slot] == name:
            found |= block
        elif other is not None and registry.is_interchangeable(registered[name], other):
            ours, theirs = registered[name].options, other.options
            same = {key for key in ours.keys() & theirs.keys() if ours[key].annotation == theirs[key].annotation}
            found |= {key: value for key, value in block.items() if key in same}
    return found
