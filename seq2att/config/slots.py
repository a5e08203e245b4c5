"""Slots: the places of a configuration that hold a component, and the options that each may have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from seq2att.config.options import DataOptions, Settings, TrainerOptions, options_of
from seq2att.config.recipe import base_layer
from seq2att.registry import MISSING, Entry, Option, entries

Schema: TypeAlias = "Mapping[str, Option | Schema]"
Lists: TypeAlias = "Mapping[str, Sequence[str] | None]"  # the names in each setting that lists components

KINDS = {"source": "field", "target": "field"}  # slots whose name is not that of their kind
ROOTS = ("head", "source", "target", "encoder", "reader", "optimizer", "schedule")  # what every model has
LISTED = {"metrics": "metric", "callbacks": "callback", "loggers": "logger"}  # settings that list components
SETTING_OF = {kind: setting for setting, kind in LISTED.items()}
TRAINER = "trainer"  # the one choice that is no component: a file in conf/trainer


class Slots:
    """All slots by their path (`encoder`, `source/tokenizer`), each with its kind and default choice."""

    def __init__(self) -> None:
        choices = {slot: name for slot, name in base_layer().choices.items() if slot != TRAINER}
        self.kinds = {slot: KINDS.get(slot, slot) for slot in choices if "/" not in slot}
        self.top_kinds = frozenset(self.kinds.values())  # the others nest in the component that uses them
        for slot in (queue := list(self.kinds)):
            for entry in entries(self.kinds[slot]).values():
                for path, kind in self.used_by(slot, entry):
                    if path not in self.kinds and path.count("/") < 3:
                        self.kinds[path] = kind
                        queue.append(path)
        self.choices = {slot: choices.get(slot) or self.default(kind, choices) for slot, kind in self.kinds.items()}

    def default(self, kind: str, choices: Mapping[str, str]) -> str:
        """The choice in a slot that a plugin adds: that of the kind's own slot, or the only component of the kind."""
        return choices.get(kind) or (next(iter(entries(kind))) if len(entries(kind)) == 1 else MISSING)

    def used_by(self, slot: str, entry: Entry) -> Iterator[tuple[str, str]]:
        """The slots, with their kinds, that a component in a slot uses."""
        for parameter, kind in entry.factories.items():
            yield (parameter if kind in self.top_kinds else f"{slot}/{parameter}"), kind

    def used(self, choices: Mapping[str, str]) -> list[str]:
        """The slots that these choices use; where a decoder is, a search is."""
        queue = list(ROOTS)
        for slot in queue:
            entry = entries(self.kinds[slot]).get(choices[slot])
            paths = [path for path, _ in self.used_by(slot, entry)] if entry else []
            paths += ["search"] if self.kinds[slot] == "decoder" else []
            queue += [path for path in paths if path not in queue]
        return [slot for slot in self.kinds if slot in queue]

    def components(self, choices: Mapping[str, str]) -> dict[str, Entry]:
        """The component in every used slot that holds one."""
        chosen = {slot: entries(self.kinds[slot]).get(choices[slot]) for slot in self.used(choices)}
        return {slot: entry for slot, entry in chosen.items() if entry}

    def listed(self, choices: Mapping[str, str], lists: Lists) -> dict[str, dict[str, Entry]]:
        """The components that settings list, by kind and name; `metrics: null` lists those of the head."""
        components = {}
        for setting, kind in LISTED.items():
            names = lists.get(setting)
            if setting == "metrics" and names is None and choices["head"] in entries("head"):
                names = getattr(entries("head")[choices["head"]].target, "metrics", ())
            components[kind] = {name: entries(kind)[name] for name in names or () if name in entries(kind)}
        return components

    def schema(self, choices: Mapping[str, str], lists: Lists) -> Schema:
        """Every setting that goes with these choices and lists: an option, or a block of them."""
        listed = self.listed(choices, lists).items()
        blocks = {kind: {name: entry.options for name, entry in of_kind.items()} for kind, of_kind in listed}
        schema: dict[str, Any] = {**options_of(Settings), **blocks}
        for slot, entry in self.components(choices).items():
            *path, last = slot.split("/")
            block = schema
            for name in path:
                block = block[name]
            block[last] = {"name": Option(str, entry.name), **entry.options}
        return {**schema, "data": options_of(DataOptions), TRAINER: options_of(TrainerOptions)}


def lists_after(before: Lists, values: Mapping[str, Any]) -> Lists:
    """The names that settings list after these values; a value that is no list lists nothing."""
    lists = dict(before)
    for setting in LISTED.keys() & values.keys():
        value = values[setting]
        names = value if isinstance(value, list) else [value]
        lists[setting] = None if value is None else [name for name in names if isinstance(name, str)]
    return lists
