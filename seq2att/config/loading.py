"""Loading: the settings of a bundle are checked as those of a recipe are, but for what only training needs."""

from __future__ import annotations

from typing import Any

from seq2att.config.checker import Checker, choice_problem
from seq2att.config.composing import block_at
from seq2att.config.slots import LISTED, TRAINER, Slots, lists_after
from seq2att.errors import UserError
from seq2att.files.untrusted import COPY
from seq2att.registry import RegistryError, entries

TRAINING_ONLY = ("reader", "optimizer", "schedule")  # a model loads without these components


def check_saved(values: dict[str, Any], place: str) -> dict[str, Any]:
    """The settings, each checked as its option demands; components that only training needs may be unknown here.

    Raises:
        UserError: in one line, the first wrong setting; `RegistryError` for a component that is not installed.
    """
    slots = Slots()
    choices, unchecked = dict(slots.choices), set[str]()
    for slot in slots.kinds:
        name = block_at(values, slot).get("name", choices[slot])
        if not isinstance(name, str):
            raise UserError("E-type", f"{place}: {slot.replace('/', '.')}.name", "must be a text", COPY)
        error = choice_problem(slots, slot, name, place)
        if error is None:
            choices[slot] = name
        elif slot in TRAINING_ONLY:
            unchecked |= {slot}
        elif isinstance(error, RegistryError):
            raise RegistryError("E-component", f"{slot}={name}"[:100], error.problem, error.remedy)
        else:
            raise error
    for setting, kind in LISTED.items():
        names = values.get(setting)
        is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
        if is_list and not set(names or ()) <= entries(kind).keys():
            unchecked |= {setting, kind}  # of a plugin
    lists = lists_after({}, {name: value for name, value in values.items() if name not in unchecked})
    checker = Checker(slots, {**choices, TRAINER: "cpu"}, lists, place)
    checked = checker.block({name: value for name, value in values.items() if name not in unchecked})
    if checker.problems:
        first, *others = checker.problems
        more = f" (and {len(others)} more wrong settings)" if others else ""
        raise UserError(first.code, first.subject[:300], f"{first.problem}{more}", first.remedy)
    return {name: checked.get(name, value) for name, value in values.items()}
