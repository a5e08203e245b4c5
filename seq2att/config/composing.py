"""Composing: a recipe and overrides become one plain, checked dictionary."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seq2att import registry
from seq2att.config.checker import Checker, choice_problem
from seq2att.config.options import ConfigError
from seq2att.config.override import Override, is_sweep, split_overrides, sweep_problem
from seq2att.config.recipe import Layer, Recipe, base_layer, presets, read_recipe, show
from seq2att.config.slots import LISTED, SETTING_OF, TRAINER, Lists, Schema, Slots, lists_after
from seq2att.errors import UserError
from seq2att.registry import MISSING, Option, entries


def compose(recipe: str, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The resolved configuration of a recipe (a name or a path) under overrides, as a plain dictionary.

    Raises `UserError`, which names everything that is wrong, before any data is touched.
    """
    source, changes = read_recipe(recipe), split_overrides(overrides)
    plugins = load_plugins(source, changes)
    composer = Composer()
    for layer in source.layers:
        composer.add(layer)
    composer.add_overrides(changes, {"recipe": source.name, "plugins": plugins})
    return composer.finish()


def load_plugins(recipe: Recipe, overrides: Sequence[Override] = ()) -> list[str]:
    """Fill the registry; returns the plugins that the recipe (also from its own folder) and the overrides name."""
    ours: list[str] = []
    others: list[str] = []
    for file, layer in zip(recipe.files, recipe.layers, strict=True):
        names = layer.values.get("plugins") or []
        for name in map(str, [names] if isinstance(names, str) else names if isinstance(names, list) else ()):
            if layer.is_saved:  # what lies in a bundle is not imported: whoever wants it names it
                ours += [name] if registry.shipped(name) else []
                continue
            near = file.parent / name
            if registry.shipped(name) == near.resolve():  # of our own recipe: found again by its bare name
                ours.append(name)
            else:
                others.append(show(near) if near.exists() and not Path(name).exists() else name)
    others = list(dict.fromkeys([*others, *named_plugins([one.text for one in overrides if one.key == "plugins"])]))
    registry.load()
    registry.load_shipped(ours)
    problems: list[UserError] = []
    for plugin in others:
        try:
            registry.load_plugin(plugin)
        except UserError as error:
            problems.append(error)
    problems += [error for layer in recipe.layers for error in missing_packages(layer)]
    if problems:
        raise ConfigError.of(problems)
    return list(dict.fromkeys([*ours, *others]))


def named_plugins(overrides: Sequence[str]) -> list[str]:
    """The plugins that overrides such as `plugins=[a.py,b]` name."""
    changes = split_overrides(overrides)
    if problems := [sweep_problem(one, list[str]) for one in changes if is_sweep(one)]:
        raise ConfigError.of(problems)
    names = [one.parse(list[str]) for one in changes]
    return [str(name) for value in names for name in (value if isinstance(value, list) else [value])]


def missing_packages(layer: Layer) -> list[UserError]:
    """What is wrong with the packages that a recipe needs: `requires: {package: how to get it}`."""
    packages = layer.values.pop("requires", {})
    if not isinstance(packages, Mapping):
        problem, remedy = "must be a mapping", "write `requires: {package: pip install package}`"
        return [ConfigError("E-recipe", f"{layer.origin}: requires", problem, remedy)]
    return [
        ConfigError("E-package", f"{layer.origin}: requires={package}", "this package is not installed", str(remedy))
        for package, remedy in packages.items()
        if importlib.util.find_spec(str(package).partition(".")[0]) is None
    ]


class Stage(NamedTuple):
    """A checked layer: the choices and lists up to it, and its values."""

    choices: Mapping[str, str]
    lists: Lists
    values: Mapping[str, Any]


class Composer:
    """Checks one layer of settings after the other, and merges them."""

    def __init__(self) -> None:
        self.slots = Slots()
        self.stages = [Stage({**self.slots.choices, TRAINER: base_layer().choices[TRAINER]}, {}, {})]
        self.problems: list[UserError] = []

    def add(self, layer: Layer, overrides: Sequence[Override] = ()) -> None:
        """Check a layer, and overrides that go with it."""
        values = {name: value for name, value in layer.values.items() if name != "hydra"}
        listed = {one.key: one.parse(list[str]) for one in overrides if one.key in LISTED}
        choices, lists = self.choose(layer, values), lists_after(self.stages[-1].lists, {**values, **listed})
        checker = Checker(self.slots, choices, lists, layer.origin)
        used = self.slots.used(choices)
        unused = [slot for slot in layer.choices if slot in self.slots.kinds and slot not in {*used, *values}]
        self.problems += [checker.unused(slot) for slot in unused]
        checked = checker.block(values)
        for override in overrides:
            merge(checked, checker.override(override))
        self.problems += checker.problems
        self.stages.append(Stage(choices, lists, checked))

    def add_overrides(self, overrides: Sequence[Override], values: dict[str, Any]) -> None:
        """Check the overrides as the last layer, on top of values that the program sets."""
        layer, options = Layer("", {}, values, []), []
        for override in overrides:
            if override.key not in self.slots.kinds and override.key != TRAINER:
                options += [] if override.key == "plugins" else [override]
            elif is_sweep(override):
                self.problems.append(sweep_problem(override))
            else:
                layer.choices[override.key] = override.parse(str)
        self.add(layer, options)

    def choose(self, layer: Layer, values: Mapping[str, Any]) -> dict[str, str]:
        """The choices after a layer, by its defaults list or by `name` in a block, as in the file of a run folder."""
        choices, named = dict(self.stages[-1].choices), {}
        for slot in self.slots.kinds:
            block = block_at(values, slot)
            if "name" in block:
                named[slot] = str(block["name"])
        for slot, name in {**named, **layer.choices}.items():
            if slot in named and name != named[slot]:
                problem = f"the defaults list has {name}, the block has {named[slot]}"
                self.problems.append(ConfigError("E-conflict", f"{layer.origin}: {slot}", problem, "leave one out"))
            if slot not in choices:
                subject, remedy = f"{layer.origin}: defaults: {slot}", registry.suggestion(slot, choices)
                self.problems.append(ConfigError("E-setting", subject, "there is no such slot", remedy))
            elif error := choice_problem(self.slots, slot, name, layer.origin):
                self.problems.append(error)
            else:
                choices[slot] = name
        return choices

    def finish(self) -> dict[str, Any]:
        """The layers merged, resolved and complete; raises everything that is wrong with them."""
        choices, lists, _ = self.stages[-1]
        checker = Checker(self.slots, choices, lists)
        config = default_values(checker.schema)
        for stage in self.with_preset():
            is_recipe = stage is not self.stages[-1]
            merge(config, self.tuning(stage, checker.schema, stage.values), checker.schema if is_recipe else None)
        self.problems += self.missing(config)
        if not self.problems:
            resolve(config, checker)
            self.problems += checker.problems or sharing_problems(config)
        if self.problems:
            raise ConfigError.of(self.problems)
        return {name: value for name, value in config.items() if value or name not in SETTING_OF}

    def with_preset(self) -> list[Stage]:
        """The layers with the preset of the trainer: below the recipe that picks it, above any other recipe."""
        *recipe, last = self.stages
        preset = Stage(last.choices, {}, {TRAINER: presets()[last.choices[TRAINER]]})
        is_from_recipe = recipe[-1].choices[TRAINER] == last.choices[TRAINER]
        return [preset, *recipe, last] if is_from_recipe else [*recipe, preset, last]

    def tuning(
        self, stage: Stage, schema: Schema, values: Mapping[str, Any], path: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The part of a layer's values that tunes the components that are chosen in the end.

        Options of another component hold where both are interchangeable (`encoder=gru` in the place of `lstm`).
        """
        slot, names = "/".join(path), set(schema) - {"name"} if path else set(schema)
        if slot in self.slots.kinds:
            registered = entries(self.slots.kinds[slot])
            entry = registered[self.stages[-1].choices[slot]]
            other = registered.get(stage.choices[slot])
            if other is None or not (other is entry or registry.is_interchangeable(entry, other)):
                names -= set(entry.signature)
            elif other is not entry:
                types = {key: option.annotation for key, option in other.signature.items()}
                names -= {key for key, option in entry.signature.items() if types.get(key) != option.annotation}
        tuned: dict[str, Any] = {}
        for name in values.keys() & names:
            value, level = values[name], schema[name]
            tuned[name] = value if isinstance(level, Option) else self.tuning(stage, level, value, (*path, name))
        return tuned

    def missing(self, config: Mapping[str, Any], path: tuple[str, ...] = ()) -> list[UserError]:
        """What must be set and is not."""
        choices, problems = self.stages[-1].choices, []
        for name, value in config.items():
            if isinstance(value, Mapping):
                problems += self.missing(value, (*path, name))
            elif value == MISSING:
                key, slot = ".".join((*path, name)), "/".join(path)
                owner = f"{slot}={choices[slot]}" if slot in self.slots.kinds else ".".join(path)
                component = f"{self.slots.kinds[slot]}.{choices[slot]}" if slot in self.slots.kinds else owner
                remedy = f"add {key}=VALUE, or leave {owner} out (seq2att list {component})"
                problems.append(ConfigError("E-missing", key, f"{owner} needs this option", remedy))
        for slot in [] if path else self.slots.used(choices):
            if choices[slot] == MISSING:
                remedy = f"add {slot}=NAME; {registry.suggestion('', entries(self.slots.kinds[slot]))}"
                problems.append(ConfigError("E-missing", slot, "a component must be chosen", remedy))
        return problems


def default_values(schema: Schema) -> dict[str, Any]:
    """The defaults of all options, as YAML could hold them."""
    values: dict[str, Any] = {}
    for name, option in schema.items():
        if isinstance(option, Option):
            default = option.default
            values[name] = list(default) if isinstance(default, list | tuple) else default
        else:
            values[name] = default_values(option)
    return values


def merge(target: dict[str, Any], values: Mapping[str, Any], schema: Schema | None = None) -> None:
    """Set values in nested dictionaries; an option that holds a mapping is merged, too, unless there is a schema."""
    for name, value in values.items():
        level = schema[name] if schema is not None else None
        if isinstance(value, Mapping) and not isinstance(level, Option):
            block = target.get(name)
            target[name] = dict(block) if isinstance(block, Mapping) else {}
            merge(target[name], value, level)
        else:
            target[name] = value


def block_at(values: Mapping[str, Any], slot: str) -> Mapping[str, Any]:
    """The block of the component in a slot, empty where there is none."""
    block: Any = values
    for part in slot.split("/"):
        block = block.get(part) if isinstance(block, Mapping) else None
    return block if isinstance(block, Mapping) else {}


def resolve(config: dict[str, Any], checker: Checker) -> None:
    """Replace interpolations (`${seed}`) by what they stand for; the checker collects what is wrong with them."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        tree = OmegaConf.create(config)
    except OmegaConfBaseException as error:
        problem = str(error).partition("\n")[0]
        checker.problems.append(ConfigError("E-syntax", f"{error.full_key}=${{...}}", problem))
        return

    def visit(block: dict[str, Any], node: Any, path: tuple[str, ...]) -> None:
        """Replace the interpolations of a block and of those in it."""
        for name, value in block.items():
            here = (*path, name)
            try:
                if isinstance(value, dict):
                    visit(value, node[name], here)
                elif "${" in str(value):
                    item = node[name]
                    item = OmegaConf.to_container(item, resolve=True) if OmegaConf.is_config(item) else item
                    option = checker.lookup(here)
                    assert isinstance(option, Option)
                    block[name] = checker.value(here, option, item)
            except OmegaConfBaseException as error:
                problem = str(error).partition("\n")[0]
                checker.problems.append(ConfigError("E-setting", f"{'.'.join(here)}={value}", problem))
            except UserError as error:
                checker.problems.append(error)

    visit(config, tree, ())


def sharing_problems(config: Mapping[str, Any]) -> list[UserError]:
    """What keeps the two sides from having a tokenizer or an embedding in common."""
    share, source, target = config["share"], config["source"], config["target"]
    if share == "nothing":
        return []
    ours, theirs = source.get("tokenizer"), target.get("tokenizer")
    subject = f"share={share}"
    if ours is None or theirs is None:
        problem = f"source={source['name']} and target={target['name']} do not both have a tokenizer"
        return [ConfigError("E-conflict", subject, problem, "choose share=nothing")]
    if ours["name"] != theirs["name"]:
        problem, remedy = f"the tokenizers are {ours['name']} and {theirs['name']}", f"target/tokenizer={ours['name']}"
        return [ConfigError("E-conflict", subject, problem, f"make them equal, as in {remedy}")]
    pairs = {f"tokenizer.{name}": (ours.get(name), theirs.get(name)) for name in {**ours, **theirs}}
    if share == "embedding":
        pairs["embedding_size"] = (source.get("embedding_size"), target.get("embedding_size"))
    unequal = [f"source.{name}={one} but target.{name}={other}" for name, (one, other) in pairs.items() if one != other]
    return [ConfigError("E-conflict", subject, problem, "make them equal, or share=nothing") for problem in unequal]
