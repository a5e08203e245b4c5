"""What the details of metrics show: the confusion matrix, the scores of each class, predicted against true numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2att.drawing.figure import (
    INK,
    NO_FONT,
    PALE,
    SERIES,
    draw_grid,
    legend_outside,
    new_figure,
    save,
    style_axes,
    write_note,
)
from seq2att.drawing.terminal import cut, display_width, isolate, visible
from seq2att.errors import UserError

CONFUSION, SCATTER, SERIES_PLOT = "confusion.png", "scatter.png", "series.png"
MAX_COUNTED = 30  # classes; with more, the cells have no room for counts
COLUMNS = ("precision", "recall", "f1")


def draw_details(details: Iterable[Mapping[str, Any]], folder: Path, caption: str = "") -> list[Path]:
    """Draw the confusion matrix and the two scatters that details of metrics hold; return the files.

    `caption` names the rows in the picture, as in `validation, 30 rows`.
    """
    merged = {name: value for one in details for name, value in one.items()}
    files = []
    if "confusion" in merged:
        files.append(folder / CONFUSION)
        confusion_matrix(merged["labels"], merged["confusion"], files[-1], caption)
    if "points" in merged:
        files.append(folder / SCATTER)
        true, predicted = zip(*merged["points"], strict=True)
        scatter(true, predicted, files[-1], caption)
        files.append(folder / SERIES_PLOT)
        series(true, predicted, files[-1], caption)
    return files


def details_table(details: Iterable[Mapping[str, Any]]) -> str:
    """The table of the classes in details of metrics, as text; empty where there is none."""
    return next((class_table(one["classes"]) for one in details if "classes" in one), "")


def confusion_matrix(labels: Sequence[str], matrix: Any, path: Path, caption: str = "") -> None:
    """Draw the number of rows for each true class (a row) and predicted class (a column); `matrix` is `[C, C]`.

    A cell is as dark as its share of the true class, so that rare classes show; the number is the count of rows.
    """
    counts = np.asarray(matrix, np.float64)
    if counts.shape != (len(labels), len(labels)):
        raise ValueError(f"a confusion matrix of shape {counts.shape} does not fit {len(labels)} labels; give [C, C]")
    if not counts.size:
        raise UserError("E-empty", path.name, "there are no classes to draw", "evaluate some rows")
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)  # [C, C]
    cell = min(0.62, max(0.16, 12 / len(labels)))  # inches
    figure = new_figure(cell * len(labels), cell * len(labels), "none")  # cells keep their size, labels grow outwards
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    if len(labels) <= MAX_COUNTED:
        size = min(10.0, 100 * cell / max(len(f"{counts.max():.0f}"), 2))
        for row, column in np.argwhere(counts > 0):
            color = "white" if shares[row, column] > 0.55 else INK
            axes.text(column, row, f"{counts[row, column]:.0f}", ha="center", va="center", fontsize=size, color=color)
    has_missing = draw_grid(axes, labels, labels, cell)
    axes.set_ylabel("true class", color=INK)
    axes.set_xlabel("predicted class", color=INK)
    axes.xaxis.set_label_position("top")
    notes = [caption, "darker: a greater share of the true class", NO_FONT * has_missing]
    write_note(axes, "\n".join(filter(None, notes)))
    save(figure, path)


def class_table(classes: Mapping[str, Mapping[str, float]], width: int = 80) -> str:
    """The scores of the classes for the terminal, a line each: precision, recall and F1 (0 to 100), number of rows.

    `classes` is in the details of the metric `accuracy`. The text has no line feed at its end.
    """
    if not classes:
        return ""
    names = [cut(visible(name), max(8, width - 40)) for name in classes]
    margin = max(5, *map(display_width, names))
    lines = [" " * margin + "".join(f"{title:>11}" for title in (*COLUMNS, "rows"))]
    for name, scores in zip(names, classes.values(), strict=True):
        cells = "".join(f"{scores[column]:>11.2f}" for column in COLUMNS) + f"{scores['support']:>11,.0f}"
        lines.append(isolate(name) + " " * (margin - display_width(name)) + cells)
    return "\n".join(lines)


def series(true: Sequence[float], predicted: Sequence[float], path: Path, caption: str = "") -> None:
    """Draw the true and the predicted number of each row over its index `[N]`, in two colours."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(7.2, 3.6)
    axes = figure.subplots()
    size = min(24.0, max(6.0, 2400 / max(len(true), 1)))  # square points
    for label, numbers, color in (("true", true, SERIES[2]), ("predicted", predicted, SERIES[1])):
        values = np.asarray(numbers, np.float64)  # [N]
        index = np.flatnonzero(np.isfinite(values))
        axes.scatter(index, values[index], s=size, color=color, alpha=0.7, linewidths=0, label=label)
    axes.set_xlabel("index", color=INK)
    axes.set_ylabel("number", color=INK)
    axes.set_title(caption, loc="left", fontsize=9, color=INK, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axes(axes)
    legend_outside(axes)
    save(figure, path)


def scatter(true: Sequence[float], predicted: Sequence[float], path: Path, caption: str = "") -> None:
    """Draw a point for each row, the true number across and the predicted one up; on the line they are equal."""
    x, y = np.asarray(true, np.float64), np.asarray(predicted, np.float64)  # [N] each
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"true numbers of shape {x.shape} and predicted ones of shape {y.shape}; give [N] of both")
    is_finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[is_finite], y[is_finite]
    if not len(x):
        raise UserError("E-number", path.name, "there is no finite number to draw", "evaluate some rows")
    figure = new_figure(4.6, 4.6)
    axes = figure.subplots()
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    room = 0.05 * (high - low) or 0.5
    ends = (low - room, high + room)
    axes.plot(ends, ends, color=PALE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    alpha = min(1.0, max(0.12, 60 / len(x)))  # many points shine through each other
    axes.scatter(x, y, s=14, color=SERIES[0], alpha=alpha, linewidths=0, zorder=2)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel("true", color=INK)
    axes.set_ylabel("predicted", color=INK)
    axes.set_title(caption, loc="left", fontsize=9, color=INK, parse_math=False)
    style_axes(axes)
    save(figure, path)
