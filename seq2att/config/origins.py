"""Where each setting of a configuration was made: in which file of a recipe, or on the command line."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from seq2att.config.composing import block_at, compose
from seq2att.config.override import split_overrides
from seq2att.config.recipe import BASE, base_layer, read_recipe
from seq2att.config.slots import TRAINER, Schema, Slots, lists_after
from seq2att.registry import Option
from seq2att.registry.value import format_value

DEFAULT, COMMAND_LINE = "default", "command line"
PLAIN = re.compile(r"[\w.,/\[\]-]*")  # a list that needs no quotes


def describe_settings(recipe: str, overrides: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The components of a recipe under overrides, then the settings that were made, each with its place.

    Each is written as on the command line (`encoder=lstm`); settings that are left out have their defaults.
    Raises `UserError` as `compose` does.
    """
    config, slots = compose(recipe, overrides), Slots()
    names = {slot: block_at(config, slot).get("name") for slot in slots.kinds}
    choices = {slot: name for slot, name in names.items() if name}
    chosen: dict[str, str] = {}  # slot -> place
    made: dict[str, str] = {}  # option, or a block that holds it -> place
    preset = ""  # of the trainer, the one choice that is no component
    for layer in read_recipe(recipe).layers if recipe != BASE else ():
        preset = layer.choices.get(TRAINER, preset)
        chosen |= dict.fromkeys(layer.choices, layer.origin)
        made |= dict.fromkeys(keys_of(layer.values), layer.origin)
    for override in split_overrides(overrides):
        preset = override.value if override.key == TRAINER else preset
        chosen[override.key] = COMMAND_LINE
        made |= dict.fromkeys(itertools.accumulate(override.key.split("."), "{}.{}".format), COMMAND_LINE)
    places = {slot: chosen.get(slot) or made.get(f"{slot.replace('/', '.')}.name", DEFAULT) for slot in choices}
    schema = slots.schema({**slots.choices, **choices, TRAINER: base_layer().choices[TRAINER]}, lists_after({}, config))
    return [
        *([(f"{TRAINER}={preset}", chosen[TRAINER])] if preset else []),
        *((f"{slot}={name}", places[slot]) for slot, name in choices.items()),
        *((f"{key}={write(value)}", made[key]) for key, value in options_in(config, schema) if key in made),
    ]


def keys_of(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted keys of all values, and of the blocks that hold them."""
    for name, value in values.items():
        yield f"{prefix}{name}"
        if isinstance(value, Mapping):
            yield from keys_of(value, f"{prefix}{name}.")


def options_in(values: Mapping[str, Any], schema: Schema, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The value of every option with its dotted key."""
    for name, value in values.items():
        level = schema.get(name)
        if isinstance(level, Mapping):
            yield from options_in(value, level, f"{prefix}{name}.")
        elif isinstance(level, Option) and not (prefix and name == "name"):
            yield f"{prefix}{name}", value


def write(value: Any) -> str:
    """A value as the command line takes it: a list or a mapping that is not plain as JSON."""
    text = format_value(value)
    is_plain = PLAIN.fullmatch(text) or not isinstance(value, list | dict)
    return text if is_plain else json.dumps(value, ensure_ascii=False)
