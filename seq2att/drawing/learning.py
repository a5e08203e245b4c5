"""Learning curves, from the metrics.csv of a run."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.drawing.figure import PALE, SERIES, legend_outside, new_figure, save, style_axes
from seq2att.errors import UserError

if TYPE_CHECKING:  # importing matplotlib takes a second: only a command that draws pays it
    from matplotlib.axes import Axes

NO_METRIC = frozenset(  # columns of metrics.csv that the panels of the metrics leave out
    "epoch step loss perplexity bits learning_rate tokens_per_second seconds".split()
)
TRAIN = "train_"  # what a figure of the training rows begins with
SCALE = 15.0  # metrics whose largest values differ by more have panels of their own


class Table(NamedTuple):
    """The numbers of a CSV file by column; what is missing is NaN."""

    columns: dict[str, npt.NDArray[np.float64]]

    def points(self, across: str, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where both columns have a value: `[N]` and `[N]`; none where there is no such column."""
        if across not in self.columns or name not in self.columns:
            return np.empty(0), np.empty(0)
        x, y = self.columns[across], self.columns[name]
        is_finite = np.isfinite(x) & np.isfinite(y)
        return x[is_finite], y[is_finite]


def curves(csv_path: Path, png_path: Path, best: float | None = None) -> None:
    """Draw the training run of a metrics.csv: the loss, below it the accuracy, and then the metrics.

    A figure that is measured in training too has a panel with both lines. Other metrics of one scale (percent, for
    example) share a panel; missing values are left out.

    Args:
        csv_path: the table to read.
        png_path: the picture to write.
        best: the epoch to mark; by default that of the lowest validation loss.

    Raises:
        UserError: if there is no finite loss.
    """
    from matplotlib.ticker import MaxNLocator

    table = read_table(csv_path)
    across = choose_axis(table)
    paired = [name.removeprefix(TRAIN) for name in table.columns if name.startswith(TRAIN)]  # the loss first
    left_out = NO_METRIC | {*paired, *(TRAIN + name for name in paired)}
    metrics = [name for name in table.columns if name not in left_out and len(table.points(across, name)[0])]
    if not len(table.points(across, "loss")[0]) and not len(table.points(across, "train_loss")[0]):
        remedy = "wait for the first validation (NaN: it diverged)"
        raise UserError("E-loss", str(csv_path), "there is no finite loss to draw", remedy)
    mark = best_point(table, across, best)
    groups = group_by_scale(table, across, metrics)
    pairs = list(dict.fromkeys(["loss", *paired]))
    figure = new_figure(7.2, 1.2 + 2.2 * len([*pairs, *groups]))
    panels = figure.subplots(len(pairs) + len(groups), 1, sharex=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, pairs, strict=False):
        lines = {TRAIN + name: ("training", PALE), name: ("validation", SERIES[0])}
        draw_lines(panel, table, across, lines, mark)
        panel.set_ylabel(name.replace("_", " ") + (" (%)" if name != "loss" else ""))
    for panel, names in zip(panels[len(pairs) :], groups, strict=True):
        lines = {name: (name, SERIES[place % len(SERIES)]) for place, name in enumerate(names)}
        draw_lines(panel, table, across, lines, mark)
        panel.set_ylabel(names[0] if len(names) == 1 else "metrics")
    panels[-1].set_xlabel(across)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    places = np.unique(np.concatenate([table.points(across, name)[0] for name in ("train_loss", "loss")]))
    if len(places) == 1:  # room around a single validation
        panels[-1].set_xlim(places[0] - 1, places[0] + 1)
    figure.align_ylabels()
    save(figure, png_path)


def group_by_scale(table: Table, across: str, metrics: Sequence[str]) -> list[list[str]]:
    """The metrics in groups of one scale: on the axis of a much larger one, a small one would be a flat line."""
    groups: list[tuple[float, list[str]]] = []  # the largest value of the first one, names
    for name in metrics:
        size = float(np.abs(table.points(across, name)[1]).max())
        for first, group in groups:
            if size <= SCALE * first and first <= SCALE * size:
                group.append(name)
                break
        else:
            groups.append((size, [name]))
    return [group for _, group in groups]


def read_table(path: Path) -> Table:
    """The numbers of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = [name for name in (rows[0] if rows else {}) if name]
    return Table({name: np.array([parse_cell(row.get(name)) for row in rows], np.float64) for name in names})


def parse_cell(text: str | None) -> float:
    """The number in a cell, NaN where there is none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def choose_axis(table: Table) -> str:
    """The column that the curves run over: epochs, or steps when an epoch has several validations."""
    epochs = table.points("epoch", "loss")[0]
    return "epoch" if len(epochs) and len(set(epochs)) == len(epochs) else "step"


def best_point(table: Table, across: str, best: float | None) -> float | None:
    """Where on the axis the best epoch is."""
    if best is None:
        x, loss = table.points(across, "loss")
        return float(x[loss.argmin()]) if len(x) else None
    if across == "epoch":
        return best
    steps, epochs = table.points("step", "step")[0], table.columns.get("epoch", np.empty(0))
    same = [step for step, epoch in zip(steps, epochs, strict=False) if epoch == best]
    return same[-1] if same else None


def draw_lines(panel: Axes, table: Table, across: str, lines: dict[str, tuple[str, str]], mark: float | None) -> None:
    """Draw columns as lines of a label and a color; the legend has their values at the best epoch, which is marked."""
    for name, (label, color) in lines.items():
        x, y = table.points(across, name)
        if not len(x):
            continue
        best = y[x == mark][-1:]  # [1], or nothing
        value = f"  {best[0]:.4g}" if len(best) else ""
        marker = "o" if len(x) <= 2 else None  # one point makes no line
        panel.plot(x, y, color=color, linewidth=1.8, marker=marker, markersize=4, label=f"{label}{value}")
        if len(best) and not name.startswith(TRAIN):
            panel.plot(x[x == mark][-1:], best, "o", color=color, markersize=6.5, markeredgecolor="white", zorder=4)
    if mark is not None:
        panel.axvline(mark, color=PALE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    legend_outside(panel, None if mark is None else f"at {across} {mark:g} (best)")
    style_axes(panel)
