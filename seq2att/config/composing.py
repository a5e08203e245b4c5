"""Composing: a recipe and overrides, checked as a whole, become one plain dictionary by way of Hydra."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seq2att import registry
from seq2att.config import override
from seq2att.config.options import ConfigError, DataOptions, Settings, TrainerOptions, options_of, schema_of
from seq2att.config.recipe import Layer, Recipe, base_layer, read_recipe, show
from seq2att.config.slots import NAMES, TRAINER, Checker, Lists, Slots, everything, lists_after, mapped, presets
from seq2att.registry import MISSING, Entry, RegistryError, entries

PRIMARY = "seq2att-recipe"  # the recipe's name in Hydra's store


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
            problems.append(f"{show(layer.file)}: defaults: there is no slot {slot!r}{registry.known(slot, choices)}")
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
        f"{slot}: must be chosen: {slot}=NAME{registry.known('', entries(plan.slots.kinds[slot]))}"
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
        elif other is not None and registry.related(registered[name], other):
            ours, theirs = registered[name].options, other.options
            same = {key for key in ours.keys() & theirs.keys() if ours[key].annotation == theirs[key].annotation}
            found |= {key: value for key, value in block.items() if key in same}
    return found


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
