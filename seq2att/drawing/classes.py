"""How well classes are told apart: the confusion matrix drawn, and a table of the classes as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seq2att.drawing.figure import INK, NO_FONT, PALE, new_figure, save
from seq2att.drawing.grid import draw_grid
from seq2att.drawing.terminal import closed, cut, display_width, visible
from seq2att.errors import UserError

if TYPE_CHECKING:  # matplotlib costs a second: only those who draw pay it
    from matplotlib.axes import Axes

WRITTEN = 30  # with more classes the cells have no room for their counts
COLUMNS = ("precision", "recall", "f1")


def confusion_matrix(labels: Sequence[str], matrix: Any, path: Path, rows: str = "") -> None:
    """Draw how many rows of each right class (a row) are said to be of each class (a column), `matrix` `[C, C]`.

    A cell is as dark as its share of the right class, so that rare classes show; the number is the count of rows.
    `rows` says which they are, below the cells.
    """
    counts = np.asarray(matrix, np.float64)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"a confusion matrix of shape {counts.shape} does not fit {len(labels)} labels; give [C, C]")
    if not counts.size:
        raise UserError("there is no confusion to draw: there are no classes; evaluate some rows")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)  # [C, C]
    cell = min(0.62, max(0.16, 12 / len(labels)))  # inches
    side = cell * len(labels)
    figure = new_figure(side, side)
    figure.set_layout_engine("none")  # the cells keep their size, the tight box takes the labels in
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(labels) <= WRITTEN:
        write_counts(axes, counts, shares, cell)
    missing = draw_grid(axes, labels, labels, cell)
    axes.set_ylabel("right class", color=INK)
    axes.set_xlabel("predicted class", color=INK)
    axes.xaxis.set_label_position("top")
    notes = [rows, "darker: a greater share of the right class's rows", NO_FONT if missing else ""]
    note = "\n".join(filter(None, notes))
    plain: dict[str, Any] = {"fontsize": 7, "color": PALE, "parse_math": False}
    axes.annotate(note, (0, 0), (0, -10), "axes fraction", "offset points", va="top", **plain)
    save(figure, path)


def write_counts(axes: Axes, counts: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], cell: float) -> None:
    """Write the number of rows into every cell that has some."""
    longest = len(f"{counts.max():.0f}")
    size = min(10.0, 100 * cell / max(longest, 2))
    for row, column in np.argwhere(counts > 0):
        color = "white" if shares[row, column] > 0.55 else INK
        axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=size, color=color)


def class_table(classes: Mapping[str, Mapping[str, float]], width: int = 80) -> str:
    """The classes for the terminal, a line each: precision, recall and F1 (0 to 100), and the rows that have the class.

    `classes` is what the details of the metric `accuracy` hold. The text has no line end of its own.
    """
    if not classes:
        return ""
    names = [cut(visible(name), max(8, width - 40)) for name in classes]
    margin = max(5, *map(display_width, names))
    lines = [" " * margin + "".join(f"{title:>11}" for title in (*COLUMNS, "rows"))]
    for name, figures in zip(names, classes.values(), strict=True):
        shown = "".join(f"{figures[column]:>11.2f}" for column in COLUMNS)
        lines.append(closed(name) + " " * (margin - display_width(name)) + shown + f"{figures['support']:>11,.0f}")
    return "\n".join(lines)
