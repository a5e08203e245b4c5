"""Attention as a heat map, in a file or in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seq2att.drawing.figure import INK, NO_FONT, PALE, new_figure, save
from seq2att.drawing.grid import draw_grid
from seq2att.drawing.terminal import closed, cut, display_width, pad, visible
from seq2att.errors import UserError

if TYPE_CHECKING:  # matplotlib costs a second: only those who draw pay it
    from matplotlib.figure import Figure

SHADES = "·░▒▓█"
HEAT = (234, 53, 89, 125, 161, 203, 209, 215, 222, 230)  # of the 256 colours, from dark to bright


def attention_map(
    weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str], png_path: Path, frames: Any = None
) -> None:
    """Draw attention weights `[T, S]` as a heat map: source tokens above, target tokens at the left.

    Dark means much; the scale ends at the greatest weight. Characters that no installed font can show appear as □.
    `frames` `[S, F]` are what the source is, where it is no text: drawn below as a picture, a column for each of them.
    """
    matrix = checked(weights, source_tokens, target_tokens)
    if not matrix.size:
        raise UserError("there is no attention to draw: the source or the answer is empty; give a text with a token")
    cell = min(0.42, max(0.16, 14 / max(matrix.shape)))  # inches
    height, width = cell * matrix.shape[0], cell * matrix.shape[1]
    figure = new_figure(width, height)
    figure.set_layout_engine("none")  # the cells keep their size, labels grow outwards, the tight box takes them in
    axes = figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=float(matrix.max()) or 1.0, aspect="auto")
    below = 0.0 if frames is None else draw_frames(figure, np.asarray(frames, np.float64), cell)
    if draw_grid(axes, source_tokens, target_tokens, cell):
        place = (0, -10 - 72 * below)  # points
        axes.annotate(NO_FONT, (0, 0), place, "axes fraction", "offset points", va="top", fontsize=7, color=PALE)
    tall = min(max(height, 1.2), 3.0)
    bar = figure.add_axes((1 + 0.25 / width, (height - tall) / 2 / height, 0.12 / width, tall / height))
    figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=8, colors=INK, color=PALE, length=2)
    bar.set_ylabel("attention weight", fontsize=8, color=INK)
    bar.spines[:].set_visible(False)
    save(figure, png_path)


def draw_frames(figure: Figure, frames: npt.NDArray[np.float64], cell: float) -> float:
    """The frames `[S, F]` in columns of `cell` inches under a map, the first number on top; gives their height."""
    gap, height = 0.5 * cell, float(min(cell * frames.shape[1], 3.0))
    inches: float = figure.get_figheight()
    strip = figure.add_axes((0, -(gap + height) / inches, 1, height / inches))
    strip.imshow(frames.T, cmap="Greys", aspect="auto")
    strip.set_xticks([])
    strip.set_yticks([])
    strip.spines[:].set_color(PALE)
    return gap + height


def attention_text(
    weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str], width: int = 80, color: bool = False
) -> str:
    """Attention weights `[T, S]` for the terminal: source tokens above, target tokens at the left.

    Full or bright means the greatest weight of all. What is wider than `width` columns goes on in a block below.
    The text has no line end of its own; it is empty where there is nothing to show.
    """
    matrix = checked(weights, source_tokens, target_tokens)
    if not matrix.size:
        return ""
    strengths = matrix / (matrix.max() or 1.0)  # [T, S]
    limit = max(4, width // 4)
    labels = [cut(visible(token), limit) for token in target_tokens]
    margin = max(map(display_width, labels)) + 1
    heads = [cut(visible(token), limit) for token in source_tokens]
    sizes = [max(2, display_width(head)) + 1 for head in heads]
    blocks = []
    for columns in split_columns(sizes, width - margin):
        lines = [" " * margin + "".join(pad(heads[column], sizes[column]) for column in columns).rstrip()]
        for label, row in zip(labels, strengths, strict=True):
            cells = "".join(draw_cell(row[column], sizes[column], color) for column in columns)
            lines.append(" " * (margin - 1 - display_width(label)) + closed(label) + " " + cells.rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def split_columns(sizes: Sequence[int], width: int) -> list[list[int]]:
    """The columns in blocks that are no wider than this; a block has at least one column."""
    blocks: list[list[int]] = [[]]
    for column, size in enumerate(sizes):
        if blocks[-1] and sum(sizes[other] for other in blocks[-1]) + size > width:
            blocks.append([])
        blocks[-1].append(column)
    return blocks


def draw_cell(strength: float, size: int, color: bool) -> str:
    """One weight, 0 to 1, in so many columns: a painted field, or shade characters and a space."""
    if color:
        paint = HEAT[min(int(strength * len(HEAT)), len(HEAT) - 1)]
        return f"\x1b[48;5;{paint}m{' ' * size}\x1b[0m"
    if strength <= 0.05:
        return SHADES[0].center(size - 1) + " "
    return SHADES[math.ceil(strength * 4 - 0.2)] * (size - 1) + " "


def checked(weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str]) -> npt.NDArray[np.float64]:
    """The weights as an array `[T, S]`, with as many rows and columns as there are tokens."""
    matrix = np.asarray(weights, np.float64)
    if matrix.shape != (len(target_tokens), len(source_tokens)):
        raise ValueError(
            f"attention weights of shape {matrix.shape} do not fit {len(target_tokens)} target and "
            f"{len(source_tokens)} source tokens; give weights [T, S]"
        )
    return np.nan_to_num(matrix)
