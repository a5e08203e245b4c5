"""Predicted numbers against the true ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seq2att.drawing.figure import GRID, INK, PALE, SERIES, new_figure, save
from seq2att.errors import UserError


def scatter(true: Sequence[float], predicted: Sequence[float], path: Path, rows: str = "") -> None:
    """Draw a point for every row, the true number across and the predicted one up; on the line they are equal.

    `rows` says which rows they are, above the points.
    """
    x, y = np.asarray(true, np.float64), np.asarray(predicted, np.float64)  # [N] each
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"true numbers of shape {x.shape} and predicted ones of shape {y.shape}; give [N] of both")
    there = np.isfinite(x) & np.isfinite(y)
    x, y = x[there], y[there]
    if not len(x):
        raise UserError("there is no finite number to draw; evaluate some rows (NaN: training diverged)")
    figure = new_figure(4.6, 4.6)
    axes = figure.subplots()
    low, high = min(x.min(), y.min()), max(x.max(), y.max())
    room = 0.05 * (high - low) or 0.5
    ends = (low - room, high + room)
    axes.plot(ends, ends, color=PALE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    few = min(1.0, max(0.12, 60 / len(x)))  # many points shine through each other
    axes.scatter(x, y, s=14, color=SERIES[0], alpha=few, linewidths=0, zorder=2)
    axes.set(xlim=ends, ylim=ends, aspect="equal")
    axes.set_xlabel("true", color=INK)
    axes.set_ylabel("predicted", color=INK)
    axes.set_title(rows, loc="left", fontsize=9, color=INK, parse_math=False)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(colors=INK, labelsize=9, color=PALE)
    save(figure, path)
