"""Slots: the places of a configuration that hold a component, and the options that may stand in each."""

from __future__ import annotations

import functools
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from seq2att.config.options import DataOptions, Settings, TrainerOptions, convert, options_of
from seq2att.config.recipe import base_layer, folder, nearest, read_yaml, show_value
from seq2att.registry import MISSING, Entry, Option, entries, suggestion

Schema: TypeAlias = "Mapping[str, Option | Schema]"
Lists: TypeAlias = "Mapping[str, Sequence[str] | None]"  # what the settings that list components say

KINDS = {"source": "field", "target": "field"}  # slots that are not called as their kind
ROOTS = ("head", "source", "target", "encoder", "reader", "optimizer", "schedule")  # what every model has
NAMES = {"metrics": "metric", "callbacks": "callback", "loggers": "logger"}  # settings that list components
TRAINER = "trainer"  # the one choice that is no component: a file in conf/trainer


class Slots:
    """The slots there can be, by their path (`encoder`, `source/tokenizer`), each with its kind and first choice."""

    def __init__(self) -> None:
        choices = {slot: name for slot, name in base_layer().choices.items() if slot != TRAINER}
        self.kinds = {slot: KINDS.get(slot, slot) for slot in choices if "/" not in slot}
        self.beside = frozenset(self.kinds.values())  # kinds with a slot of their own; others nest in who asks
        for slot in (queue := list(self.kinds)):
            for entry in entries(self.kinds[slot]).values():
                for path, kind in self.asked_by(slot, entry):
                    if path not in self.kinds and path.count("/") < 3:
                        self.kinds[path] = kind
                        queue.append(path)
        self.choices = {slot: choices.get(slot) or self.first(kind, choices) for slot, kind in self.kinds.items()}

    def first(self, kind: str, choices: Mapping[str, str]) -> str:
        """The first choice of a slot that a plugin brought: that of the kind's own slot, or the only one there is."""
        return choices.get(kind) or (next(iter(entries(kind))) if len(entries(kind)) == 1 else MISSING)

    def asked_by(self, slot: str, entry: Entry) -> Iterator[tuple[str, str]]:
        """The slots, with their kinds, that a component in a slot asks for."""
        for parameter, kind in entry.asks.items():
            yield (parameter if kind in self.beside else f"{slot}/{parameter}"), kind

    def used(self, choices: Mapping[str, str]) -> list[str]:
        """The slots that these choices use; where a decoder is, a search is."""
        queue = list(ROOTS)
        for slot in queue:
            entry = entries(self.kinds[slot]).get(choices[slot])
            asked = [path for path, _ in self.asked_by(slot, entry)] if entry else []
            asked += ["search"] if self.kinds[slot] == "decoder" else []
            queue += [path for path in asked if path not in queue]
        return [slot for slot in self.kinds if slot in queue]

    def asked(self, choices: Mapping[str, str]) -> dict[str, Entry]:
        """The component in every used slot that holds one."""
        return {
            slot: entries(self.kinds[slot])[choices[slot]]
            for slot in self.used(choices)
            if choices[slot] in entries(self.kinds[slot])
        }

    def listed(self, choices: Mapping[str, str], lists: Lists) -> dict[str, dict[str, Entry]]:
        """The components that settings list, by kind and name; `metrics: null` lists those of the head."""
        found = {}
        for setting, kind in NAMES.items():
            names = lists.get(setting)
            if setting == "metrics" and names is None and choices["head"] in entries("head"):
                names = getattr(entries("head")[choices["head"]].target, "metrics", ())
            found[kind] = {name: entries(kind)[name] for name in names or () if name in entries(kind)}
        return found

    def schema(self, choices: Mapping[str, str], lists: Lists) -> Schema:
        """Every setting that these choices and lists leave open: an option, or a block of them."""
        listed = self.listed(choices, lists).items()
        blocks = {kind: {name: entry.options for name, entry in of.items()} for kind, of in listed}
        schema: dict[str, Any] = {**options_of(Settings), **blocks}
        for slot, entry in self.asked(choices).items():
            *path, last = slot.split("/")
            block = schema
            for name in path:
                block = block[name]
            block[last] = {"name": Option(str, entry.name), **entry.options}
        return {**schema, "data": options_of(DataOptions), TRAINER: options_of(TrainerOptions)}


class Checker:
    """Compares values with a schema and collects what is wrong with them."""

    def __init__(self, slots: Slots, choices: Mapping[str, str], lists: Lists, origin: str = "") -> None:
        self.slots, self.choices, self.lists = slots, choices, lists
        self.schema = slots.schema(choices, lists)
        self.prefix = f"{origin}: " if origin else ""
        self.problems: list[str] = []

    def refuse(self, message: str) -> None:
        """Note that something is wrong."""
        self.problems.append(self.prefix + message)

    def block(self, values: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
        """The values of a block as their options hold them; those that are wrong are left out."""
        converted = {}
        for name, value in values.items():
            option = self.lookup((*path, str(name)))
            if option is not None and (result := self.value((*path, str(name)), option, value)) is not None:
                converted[str(name)] = result[0]
        return converted

    def value(self, path: tuple[str, ...], option: Option | Schema, value: Any) -> tuple[Any] | None:
        """The value as its option holds it (in a tuple), or None when it is wrong."""
        if not isinstance(option, Option):
            if isinstance(value, Mapping | None):
                return (self.block(value or {}, path),)
            self.refuse(self.no_block("/".join(path), value))
            return None
        key = ".".join(path)
        try:
            result = convert(option.annotation, value)
        except ValueError as error:
            self.refuse(f"{key}={show_value(value)}: {error}")
            return None
        if key in NAMES and isinstance(result, list):
            self.names(key, result)
        return (result,)

    def names(self, key: str, names: Iterable[str]) -> None:
        """Refuse names of components that are not registered, in a setting that lists them."""
        for name in names:
            if name not in entries(NAMES[key]):
                self.refuse(f"{key}: no {NAMES[key]} is called {name!r}; {suggestion(name, entries(NAMES[key]))}")

    def lookup(self, path: tuple[str, ...]) -> Option | Schema | None:
        """The option or block at a path; None, and a problem noted, where there is none."""
        level: Option | Schema = self.schema
        for depth, name in enumerate(path):
            if isinstance(level, Option) and (items := mapped(level.annotation)):
                level = Option(items, MISSING)
                continue
            if isinstance(level, Option):
                self.refuse(f"{'.'.join(path)}: {'.'.join(path[:depth])} is one value and has no part {name!r}")
                return None
            if name not in level:
                self.refuse(self.unknown(path[: depth + 1], level))
                return None
            level = level[name]
        return level

    def option(self, path: tuple[str, ...]) -> Option | None:
        """The option at a path, if there is one."""
        level: Any = self.schema
        for name in path:
            items = mapped(level.annotation) if isinstance(level, Option) else None
            level = Option(items, MISSING) if items else level.get(name) if isinstance(level, Mapping) else None
        return level if isinstance(level, Option) else None

    def annotation(self, path: tuple[str, ...]) -> Any:
        """The type of the option at a path, or None when there is no option."""
        option = self.option(path)
        return option.annotation if option else None

    def unknown(self, path: tuple[str, ...], level: Schema) -> str:
        """The message about a setting that there is not."""
        key, slot, name = ".".join(path), "/".join(path), path[-1]
        if slot in self.slots.kinds:
            return self.unasked(slot)
        if path[0] in NAMES.values() and len(path) == 2:
            return self.unlisted(*path)
        if len(path) > 1:
            parent = ("." if path[0] in NAMES.values() else "/").join(path[:-1])
            owner = f"{parent}={self.choices[parent]}" if parent in self.choices and parent != TRAINER else parent
            return f"{key}: {owner} has no option {name!r}; {suggestion(name, set(level) - {'name'})}"
        places = list(self.places(name))
        hint = f"; did you mean {' or '.join(places)}?" if places else nearest(name, list(self.schema))
        return f"{key}: there is no setting {name!r}{hint or f'; {suggestion(name, self.schema)}'}"

    def places(self, name: str) -> Iterator[str]:
        """The keys of all options of that name."""
        for owner, block in self.schema.items():
            if isinstance(block, Mapping):
                inner = block.items() if owner in NAMES.values() else ()
                yield from (f"{owner}.{of}.{name}" for of, held in inner if isinstance(held, Mapping) and name in held)
                yield from [f"{owner}.{name}"] if name in block else []

    def unasked(self, slot: str) -> str:
        """The message about a slot that no component uses."""
        who = slot.rpartition("/")[0] or "head"
        return (
            f"{slot}: nothing here uses a {self.slots.kinds[slot]} ({who}={self.choices[who]}); "
            f"leave {slot} out, or choose another {who}"
        )

    def unlisted(self, kind: str, name: str) -> str:
        """The message about options of a component that no setting lists."""
        if name not in entries(kind):
            return f"{kind}.{name}: no {kind} is called {name!r}; {suggestion(name, entries(kind))}"
        setting = next(setting for setting, of in NAMES.items() if of == kind)
        names = list(self.schema[kind])
        now = f"the list is {show_value(names)}" if names else "the list is empty"
        return (
            f"{kind}.{name}: {name} is not in {setting} ({now}); add it, as in {setting}={show_value([*names, name])}, "
            f"or leave its options out"
        )

    def no_block(self, slot: str, value: Any) -> str:
        """The message about one value where a block of options stands."""
        key = slot.replace("/", ".")
        if key in NAMES.values():
            setting = next(setting for setting, of in NAMES.items() if of == key)
            return (
                f"{key}={show_value(value)}: {setting} are listed, as in {setting}=[NAME]; "
                f"{key} holds their options, as in {key}.NAME.OPTION=VALUE"
            )
        if slot in self.choices and isinstance(value, str):
            return (
                f"{key}={value}: a component is chosen by `{slot}={value}`, in a recipe by `- override {slot}: {value}`"
            )
        return f"{key}={show_value(value)}: {key} is a block of options; set them one by one, as in {key}.NAME=VALUE"


def everything() -> Lists:
    """All components that settings can list."""
    return {setting: list(entries(kind)) for setting, kind in NAMES.items()}


def lists_after(before: Lists, values: Mapping[str, Any]) -> Lists:
    """What the settings that list components say after these values; what is no list lists nothing."""
    lists = dict(before)
    for setting in NAMES.keys() & values.keys():
        value = values[setting]
        lists[setting] = [value] if isinstance(value, str) else value if isinstance(value, list | None) else []
    return lists


def mapped(annotation: Any) -> Any:
    """The type of the values when an option holds a mapping, else None."""
    for part in (annotation, *typing.get_args(annotation)):
        if typing.get_origin(part) is dict:
            return typing.get_args(part)[1]
    return None


@functools.cache
def presets() -> dict[str, dict[str, Any]]:
    """The settings of every file in conf/trainer, by name."""
    return {file.stem: read_yaml(file) for file in sorted((folder("conf") / TRAINER).glob("*.yaml"))}
