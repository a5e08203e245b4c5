"""What the details of metrics show: confused classes, and numbers beside the true ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from seq2att.drawing.classes import class_table, confusion_matrix
from seq2att.drawing.points import scatter

CONFUSION, SCATTER = "confusion.png", "scatter.png"


def draw_details(details: Iterable[Mapping[str, Any]], folder: Path, rows: str = "") -> list[Path]:
    """Draw into a folder what the details of metrics hold: a confusion matrix, a scatter; gives what was drawn.

    `rows` says in the picture what was measured, as in `validation, 30 rows`.
    """
    merged = {name: value for one in details for name, value in one.items()}
    drawn = []
    if "confusion" in merged:
        confusion_matrix(merged["labels"], merged["confusion"], folder / CONFUSION, rows)
        drawn.append(folder / CONFUSION)
    if "points" in merged:
        true, predicted = zip(*merged["points"], strict=True)
        scatter(true, predicted, folder / SCATTER, rows)
        drawn.append(folder / SCATTER)
    return drawn


def details_table(details: Iterable[Mapping[str, Any]]) -> str:
    """The table of the classes that the details of a metric tell of, as text; empty where none does."""
    return next((class_table(one["classes"]) for one in details if "classes" in one), "")
