"""What every check gets: the sides of the data, their settings, and the rows a block at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.audit.characters import Characters, Classes
from seq2att.audit.findings import Findings
from seq2att.field import Field

Numbers = npt.NDArray[np.int64]


class Side(NamedTuple):
    """One side of the data."""

    name: str  # source or target
    kind: str  # text, label, tags, number, vector or other
    field: Field
    tokenizer: str  # its name; empty where the field has none

    @property
    def normalize(self) -> str:
        """The Unicode form that the field makes, or `none`."""
        return str(getattr(self.field, "normalize", "none"))

    def text(self, value: Any) -> str:
        """A value as text, with what the field's `replace` and `remove` do to it."""
        text = value if isinstance(value, str) else " ".join(map(str, value)) if isinstance(value, list) else str(value)
        for pattern, by in getattr(self.field, "replace", ()):
            text = pattern.sub(by, text)
        remove = getattr(self.field, "remove", None)
        return remove.sub("", text) if remove else text


def make_side(name: str, field: Field, options: Mapping[str, Any]) -> Side:
    """The side of a field."""
    tokenizer = options.get("tokenizer", {}).get("name", "")
    if field.is_aligned:
        kind = "tags"
    elif hasattr(field, "classes"):
        kind = "label"
    elif field.is_number:
        kind = "number"
    elif hasattr(field, "standardize"):
        kind = "vector"
    else:
        kind = "text" if field.has_tokens else "other"
    return Side(name, kind, field, tokenizer)


class Block:
    """Some rows of a split."""

    def __init__(
        self, context: Context, split: str, numbers: Numbers, values: Mapping[str, Sequence[Any]], is_first: bool
    ) -> None:
        self.context, self.split, self.numbers, self.values = context, split, numbers, values
        self.is_first = is_first  # whether it has the first row of the split
        self.text_cache: dict[str, list[str]] = {}
        self.character_cache: dict[str, Characters] = {}

    def __len__(self) -> int:
        return len(self.numbers)

    def leave_out(self, rows: Sequence[int]) -> None:
        """Hide rows from the checks that follow."""
        self.numbers = np.delete(self.numbers, rows)
        self.values = {
            side: [value for row, value in enumerate(values) if row not in rows] for side, values in self.values.items()
        }
        self.text_cache.clear()
        self.character_cache.clear()

    def texts(self, side: str) -> list[str]:
        """The values of a side as texts."""
        if side not in self.text_cache:
            one, values = self.context.sides[side], self.values[side]
            changes = getattr(one.field, "replace", ()) or getattr(one.field, "remove", None)
            is_text = not changes and all(type(value) is str for value in values)
            self.text_cache[side] = list(values) if is_text else [one.text(value) for value in values]
        return self.text_cache[side]

    def characters(self, side: str) -> Characters:
        """The characters of a side."""
        if side not in self.character_cache:
            self.character_cache[side] = Characters(self.texts(side), self.context.classes)
        return self.character_cache[side]


class Context:
    """The sides and settings of the data, and the findings."""

    def __init__(self, sides: Mapping[str, Side], data: Mapping[str, Any], running: bool) -> None:
        self.sides = dict(sides)
        self.data = data
        self.running = running  # whether rows are pieces of one text
        self.classes = Classes()
        self.findings = Findings()
        self.rows: dict[str, int] = {}  # of each split
        self.header: tuple[str, ...] = ()  # the names of the columns that are read, where the settings give names
        self.spellings: dict[str, str] = {}  # without case, spaces and so on -> the commonest label or tag
        self.separator = ""  # between the columns of a file
        self.width = 0  # columns of a file
        self.can_quote = False  # whether values of a file may stand in quotes
        self.entries = Column(np.int32)  # the entry of each row of a split

    def of_kind(self, *kinds: str) -> list[Side]:
        """The sides of these kinds."""
        return [side for side in self.sides.values() if side.kind in kinds]

    def numbers(self, split: str, rows: Numbers) -> list[int]:
        """The entries of these rows of a split."""
        entries: list[int] = self.entries.of(split)[rows].tolist()
        return entries

    def add(
        self, name: str, split: str, rows: Numbers, detail: Callable[[int], str] | str = "", side: str = ""
    ) -> None:
        """Add a finding about rows of a split, counted from 0 without the entries that hold no row."""
        self.findings.add(name, split, self.numbers(split, rows), detail, side)

    def add_each(self, name: str, split: str, rows: Numbers, details: Sequence[str], side: str = "") -> None:
        """Add a finding about rows of a split, with a detail for each."""
        numbers = self.numbers(split, rows)
        self.findings.add(name, split, numbers, dict(zip(numbers, details, strict=True)).__getitem__, side)

    @property
    def is_pair(self) -> bool:
        """Whether both sides are texts."""
        return len(self.of_kind("text")) == 2


class Check:
    """A pass over the rows: `see` gets every block in order, `finish` is called once after the last."""

    needs_all: ClassVar[bool] = False
    """Whether only all rows together show what is checked."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.findings = context.findings

    def applies(self) -> bool:
        """Whether these data have what is checked."""
        return True

    def see(self, block: Block) -> None:
        """Look at more rows."""

    def finish(self) -> None:
        """Judge what was seen."""


class Column:
    """One number for each row of every split, gathered a block at a time.

    The numbers of a split are one piece of memory that grows in place: millions of rows leave no holes behind.
    """

    def __init__(self, dtype: Any) -> None:
        self.dtype = dtype
        self.parts: dict[str, bytearray] = {}

    def add(self, split: str, numbers: Any) -> None:
        """Add those of a block."""
        self.parts.setdefault(split, bytearray()).extend(np.asarray(numbers, self.dtype).tobytes())

    def of(self, split: str) -> npt.NDArray[Any]:
        """All numbers of a split."""
        return np.frombuffer(self.parts.get(split, b""), self.dtype)

    def splits(self) -> list[str]:
        """The splits that have rows."""
        return list(self.parts)
