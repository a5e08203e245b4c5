"""The table of defects, read from `defects.toml`: what an audit can find, how serious it is, and what to do."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class Defect(NamedTuple):
    """One class of defects; see the head of `defects.toml`."""

    name: str
    severity: Severity
    meaning: str
    remedy: str
    tolerance: float = 0.0
    cleaning: Literal["drop", "repair", ""] = ""


def load_table() -> dict[str, Defect]:
    """The defects by name, in the order of the file."""
    entries = tomllib.loads((Path(__file__).parent / "defects.toml").read_text("utf-8"))
    return {name: Defect(name, **entry) for name, entry in entries.items()}


DEFECTS = load_table()
