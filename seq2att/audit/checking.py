"""All checks, and how blocks of rows pass through them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from seq2att.audit.context import Block, Check, Context, make_side
from seq2att.audit.labels import Labels, Tags
from seq2att.audit.pairs import Lengths, Shift, Spelling
from seq2att.audit.splits import Repeats, Sizes, Unseen
from seq2att.audit.text import NormalForms, OddCharacters, Script
from seq2att.audit.values import Headers, Numbers, Values
from seq2att.config.options import DataOptions
from seq2att.data.reading import SIDES
from seq2att.field import Field
from seq2att.reader import Reader

CHECKS: tuple[type[Check], ...] = (
    Headers,  # the first: it hides the rows that are none
    Values,
    OddCharacters,
    NormalForms,
    Script,
    Lengths,
    Shift,
    Spelling,
    Labels,
    Tags,
    Numbers,
    Repeats,
    Unseen,
    Sizes,
)


def make_context(config: Mapping[str, Any], fields: Mapping[str, Field], reader: Reader) -> Context:
    """What the checks need to know of a configuration."""
    sides = {
        name: make_side(name, fields[name], config.get(name, {}))
        for name in SIDES
        if fields.get(name) is not None and fields[name].has_values and name not in reader.absent
    }
    return Context(sides, {**asdict(DataOptions()), **config["data"]}, reader.running)


def check_blocks(context: Context, blocks: Iterable[Block], is_sample: bool = False) -> None:
    """Pass the blocks through all checks that apply, of a sample only those that do not need all rows."""
    checks = [make(context) for make in CHECKS if not (is_sample and make.needs_all)]
    checks = [check for check in checks if check.applies()]
    for block in blocks:
        for number, check in enumerate(checks):
            if number == 1:
                context.entries.add(block.split, block.numbers)
            if len(block):
                check.see(block)
    while checks:
        checks.pop(0).finish()  # and free what it gathered
