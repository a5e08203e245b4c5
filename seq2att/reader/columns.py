"""Columns: which of a table make each side of a row; several become one text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from seq2att.errors import UserError
from seq2att.registry import suggestion

Names = Sequence[str] | None
"""What an option says of a side: its columns, or null where there is no such side."""


class Columns(NamedTuple):
    """The columns of both sides; a side without columns is absent."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    join: str  # what stands between the columns of a side

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, the source's first."""
        return self.source + self.target

    @property
    def absent(self) -> frozenset[str]:
        """The side without columns, if there is one."""
        return frozenset(side for side in ("source", "target") if not getattr(self, side))

    def values(self, found: Sequence[Any], place: str) -> tuple[Any, ...]:
        """The values of a row from those of all its columns: (source, target), (source,), or (None, target)."""
        size = len(self.source)
        source = self.side(found[:size], place) if self.source else None
        return (source, self.side(found[size:], place)) if self.target else (source,)

    def side(self, found: Sequence[Any], place: str) -> Any:
        """One value as it is; several as one text, empty where all of them are."""
        if len(found) == 1:
            return found[0]
        parts = [written(value, place) for value in found]
        return self.join.join(parts) if any(parts) else ""


def make_columns(source: Names, target: Names, join: str) -> Columns:
    """The columns that options name; raises UserError when both sides are null."""
    columns = Columns(listed(source), listed(target), join)
    if not columns.names:
        raise UserError("reader.source and reader.target are both null; name the columns of one of them")
    return columns


def listed(names: Names) -> tuple[str, ...]:
    """The columns of a side; one text is one column, and null is none."""
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def nothing(value: Any) -> bool:
    """Whether a table holds no value there: null, or a float that is no number."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def written(value: Any, place: str) -> str:
    """A value as a part of a text; raises UserError for what has no plain written form."""
    if nothing(value):
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    raise UserError(
        f"{place}: a {type(value).__name__} cannot be joined with other columns ({str(value)[:40]}); "
        f"name one column in reader.source or reader.target, or columns of text and numbers"
    )


def dig(record: dict[str, Any], column: str, place: str) -> Any:
    """The value of a key, or of `outer.inner`; raises UserError when it is not there."""
    if column in record:
        return record[column]
    value: Any = record
    for key in column.split("."):
        if not isinstance(value, dict) or key not in value:
            names = value if isinstance(value, dict) else record
            raise UserError(f"{place}: no {column!r}; {suggestion(key, names)}; set reader.source and reader.target")
        value = value[key]
    return value
