"""Learning curves, from the metrics.csv of a run."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.drawing.figure import GRID, INK, PALE, SERIES, new_figure, save
from seq2att.errors import UserError

if TYPE_CHECKING:  # matplotlib costs a second: only those who draw pay it
    from matplotlib.axes import Axes

NO_METRIC = frozenset(  # columns of metrics.csv that the metrics' panel leaves out
    "epoch step train_loss loss perplexity bits learning_rate tokens_per_second seconds".split()
)


SCALE = 15.0  # metrics whose largest values differ by more have panels of their own


class Table(NamedTuple):
    """The numbers of a CSV file by column; what is missing is NaN."""

    columns: dict[str, npt.NDArray[np.float64]]

    def points(self, across: str, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Where both columns have a value: `[N]` and `[N]`; none where a column is not there."""
        if across not in self.columns or name not in self.columns:
            return np.empty(0), np.empty(0)
        x, y = self.columns[across], self.columns[name]
        there = np.isfinite(x) & np.isfinite(y)
        return x[there], y[there]


def curves(csv_path: Path, png_path: Path, best: float | None = None) -> None:
    """Draw the training run that a metrics.csv tells of: the losses, and below them the metrics.

    `best` is the epoch to mark, by default that of the lowest validation loss. Metrics of one scale (percent, say)
    share a panel; columns with missing values are drawn where they have some. `UserError` when there is nothing to
    draw.
    """
    table = read_table(csv_path)
    across = axis_of(table)
    metrics = [name for name in table.columns if name not in NO_METRIC and len(table.points(across, name)[0])]
    if not len(table.points(across, "loss")[0]) and not len(table.points(across, "train_loss")[0]):
        raise UserError(
            f"{csv_path}: there is no finite loss to draw; wait for the first validation (NaN: training diverged)"
        )
    mark = best_place(table, across, best)
    scales = alike(table, across, metrics)
    figure = new_figure(7.2, 3.4 + 2.2 * len(scales))
    panels = figure.subplots(1 + len(scales), 1, sharex=True, squeeze=False)[:, 0]
    losses = {"train_loss": ("training", PALE), "loss": ("validation", SERIES[0])}
    draw_lines(panels[0], table, across, losses, mark)
    panels[0].set_ylabel("loss")
    for panel, names in zip(panels[1:], scales, strict=True):
        named = {name: (name, SERIES[place % len(SERIES)]) for place, name in enumerate(names)}
        draw_lines(panel, table, across, named, mark)
        panel.set_ylabel(names[0] if len(names) == 1 else "metrics")
    panels[-1].set_xlabel(across)
    number_axis(panels[-1], table, across)
    figure.align_ylabels()
    save(figure, png_path)


def alike(table: Table, across: str, metrics: Sequence[str]) -> list[list[str]]:
    """The metrics in groups of one scale, for on the axis of a much larger one a small one would be a flat line."""
    groups: list[list[str]] = []
    largest: list[float] = []  # of the first of each group
    for name in metrics:
        size = float(np.abs(table.points(across, name)[1]).max())
        for group, first in zip(groups, largest, strict=True):
            if size <= SCALE * first and first <= SCALE * size:
                group.append(name)
                break
        else:
            groups.append([name])
            largest.append(size)
    return groups


def read_table(path: Path) -> Table:
    """The numbers of a CSV file with a header."""
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    names = [name for name in (rows[0] if rows else {}) if name]
    return Table({name: np.array([number(row.get(name)) for row in rows], np.float64) for name in names})


def number(text: str | None) -> float:
    """The number that a cell holds, NaN when it holds none."""
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def axis_of(table: Table) -> str:
    """What the curves run over: epochs, or steps when an epoch has several validations."""
    epochs = table.points("epoch", "loss")[0]
    return "epoch" if len(epochs) and len(set(epochs)) == len(epochs) else "step"


def best_place(table: Table, across: str, best: float | None) -> float | None:
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
    """Lines of the named columns; the legend says their values at the best epoch, which is marked."""
    for name, (label, color) in lines.items():
        x, y = table.points(across, name)
        if not len(x):
            continue
        at = y[x == mark]  # [1], or nothing
        value = f"  {at[-1]:.4g}" if len(at) else ""
        marker = "o" if len(x) <= 2 else None  # one point makes no line
        panel.plot(x, y, color=color, linewidth=1.8, marker=marker, markersize=4, label=f"{label}{value}")
        if len(at) and name != "train_loss":
            panel.plot(x[x == mark][-1:], at[-1:], "o", color=color, markersize=6.5, markeredgecolor="white", zorder=4)
    if mark is not None:
        panel.axvline(mark, color=PALE, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
    title = None if mark is None else f"at {across} {mark:g} (best)"
    panel.legend(
        title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9, title_fontsize=9,
        labelcolor=INK, alignment="left", handlelength=1.4,
    )  # fmt: skip
    panel.grid(color=GRID, linewidth=0.8)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(PALE)
    panel.tick_params(colors=INK, labelsize=9, color=PALE)


def number_axis(panel: Axes, table: Table, across: str) -> None:
    """Whole numbers for the axis that the panels share, with room around a lone validation."""
    from matplotlib.ticker import MaxNLocator

    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    places = np.unique(np.concatenate([table.points(across, name)[0] for name in ("train_loss", "loss")]))
    if len(places) == 1:
        panel.set_xlim(places[0] - 1, places[0] + 1)
