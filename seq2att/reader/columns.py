"""Columns: those of a table that make the source and the target of a row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from seq2att.errors import UserError
from seq2att.registry import suggestion

Names = Sequence[str] | None
"""The columns of a side; None where there is no such side."""


class Columns(NamedTuple):
    """The columns of both sides; a side without columns is absent."""

    source: tuple[str, ...]
    target: tuple[str, ...]
    join: str  # stands between the columns of a side

    @property
    def names(self) -> tuple[str, ...]:
        """All columns, the source's first."""
        return self.source + self.target

    @property
    def absent(self) -> frozenset[str]:
        """The side without columns, if there is one."""
        return frozenset(side for side in ("source", "target") if not getattr(self, side))

    def values(self, cells: Sequence[Any], place: str) -> tuple[Any, ...]:
        """The values of a row from the cells of its columns: (source, target), (source,), or (None, target)."""
        size = len(self.source)
        source = self.side(cells[:size], place) if self.source else None
        return (source, self.side(cells[size:], place)) if self.target else (source,)

    def side(self, cells: Sequence[Any], place: str) -> Any:
        """One cell as it is; several joined as one text, empty where all of them are."""
        if len(cells) == 1:
            return cells[0]
        parts = [format_cell(value, place) for value in cells]
        return self.join.join(parts) if any(parts) else ""


def missing_column(place: str, column: str, names: Iterable[str], hint: str = "") -> UserError:
    """The error about a column that is not in a table, with an example that names columns of it, or with a hint."""
    names = list(names)
    plain = [name for name in names if name.isidentifier()]
    example = f", as in reader.source={plain[0]} reader.target={plain[-1]}" if len(plain) > 1 else ""
    remedy = f"{suggestion(column, names)}; {hint or f'set reader.source and reader.target{example}'}"
    return UserError("E-column", place, f"no column is called {column!r}", remedy)


def make_columns(source: Names, target: Names, join: str) -> Columns:
    """Make the columns that the options name; `E-missing` where both sides are null."""
    columns = Columns(as_tuple(source), as_tuple(target), join)
    if not columns.names:
        raise UserError("E-missing", "reader.source and reader.target", "are both null", "name the columns of one")
    return columns


def as_tuple(names: Names) -> tuple[str, ...]:
    """Names as a tuple; a text is one name, None is none."""
    return () if names is None else (names,) if isinstance(names, str) else tuple(names)


def format_cell(value: Any, place: str) -> str:
    """A cell as a part of a text; `E-type` where it is a list or an object."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, str | int | float):
        return str(value)
    problem = f"a {type(value).__name__} cannot be joined with other columns ({str(value)[:40]})"
    raise UserError("E-type", place, problem, "name one column of this side, or columns of text and numbers")


def dig(record: dict[str, Any], column: str, place: str) -> Any:
    """The value of a key, or of `outer.inner`; `E-column` where it is missing."""
    if column in record:
        return record[column]
    value: Any = record
    for key in column.split("."):
        if not isinstance(value, dict) or key not in value:
            names = value if isinstance(value, dict) else record
            raise missing_column(place, column, names)
        value = value[key]
    return value
