"""Attention weights as a heat map, in a file or in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seq2att.drawing.figure import INK, NO_FONT, PALE, draw_grid, new_figure, save, write_note
from seq2att.drawing.terminal import center, cut, display_width, isolate, visible
from seq2att.errors import UserError

if TYPE_CHECKING:  # importing matplotlib takes a second: only a command that draws pays it
    from matplotlib.figure import Figure

SHADES = "·░▒▓█"
HEAT = (234, 53, 89, 125, 161, 203, 209, 215, 222, 230)  # of the 256 colours, from dark to bright


def attention_map(
    weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str], png_path: Path, picture: Any = None
) -> None:
    """Draw attention weights as a heat map: source tokens above, target tokens at the left.

    The darkest cell has the greatest weight. Characters that no installed font shows appear as □.

    Args:
        weights: `[T, S]`.
        source_tokens: S names.
        target_tokens: T names.
        png_path: the picture to write.
        picture: `[H, W]` or `[H, W, 3]`, the source where it is not text: drawn below the map, as wide as the map.
    """
    matrix = check_weights(weights, source_tokens, target_tokens)
    if not matrix.size:
        raise UserError("E-empty", "attention", "the source or the output has no token", "give a text with a token")
    cell = min(0.42, max(0.16, 14 / max(matrix.shape)))  # inches
    height, width = cell * matrix.shape[0], cell * matrix.shape[1]
    figure = new_figure(width, height, "none")  # cells keep their size, labels grow outwards
    axes = figure.add_axes((0, 0, 1, 1))
    image = axes.imshow(matrix, cmap="Blues", vmin=0, vmax=float(matrix.max()) or 1.0, aspect="auto")
    below = 0.0 if picture is None else draw_source(figure, np.asarray(picture), cell, width)
    if draw_grid(axes, source_tokens, target_tokens, cell):
        write_note(axes, NO_FONT, below)
    bar_height = min(max(height, 1.2), 3.0)
    bar = figure.add_axes((1 + 0.25 / width, (height - bar_height) / 2 / height, 0.12 / width, bar_height / height))
    figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=8, colors=INK, color=PALE, length=2)
    bar.set_ylabel("attention weight", fontsize=8, color=INK)
    bar.spines[:].set_visible(False)
    save(figure, png_path)


def draw_source(figure: Figure, picture: npt.NDArray[Any], cell: float, width: float) -> float:
    """Draw a picture `[H, W]` or `[H, W, 3]` under a map as wide as it is; return the height that it takes."""
    gap, height = 0.5 * cell, float(min(width * picture.shape[0] / picture.shape[1], 3.0))
    inches: float = figure.get_figheight()
    strip = figure.add_axes((0, -(gap + height) / inches, 1, height / inches))
    strip.imshow(picture, cmap="Greys", aspect="auto")  # the colours of three numbers a pixel are their own
    strip.set_xticks([])
    strip.set_yticks([])
    strip.spines[:].set_color(PALE)
    return gap + height


def attention_text(
    weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str], width: int = 80, color: bool = False
) -> str:
    """Attention weights `[T, S]` for the terminal: source tokens above, target tokens at the left.

    The fullest or brightest cell has the greatest weight. Columns beyond `width` continue in a block below. The text
    has no line feed at its end; it is empty where there is nothing to show.
    """
    matrix = check_weights(weights, source_tokens, target_tokens)
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
        lines = [" " * margin + "".join(center(heads[column], sizes[column]) for column in columns).rstrip()]
        for label, row in zip(labels, strengths, strict=True):
            cells = "".join(draw_cell(row[column], sizes[column], color) for column in columns)
            lines.append(" " * (margin - 1 - display_width(label)) + isolate(label) + " " + cells.rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def split_columns(sizes: Sequence[int], width: int) -> list[list[int]]:
    """The columns in blocks of at most `width`; a block has at least one column."""
    blocks: list[list[int]] = [[]]
    for column, size in enumerate(sizes):
        if blocks[-1] and sum(sizes[other] for other in blocks[-1]) + size > width:
            blocks.append([])
        blocks[-1].append(column)
    return blocks


def draw_cell(strength: float, size: int, color: bool) -> str:
    """One weight, 0 to 1, in `size` columns: a painted field, or shade characters and a space."""
    if color:
        paint = HEAT[min(int(strength * len(HEAT)), len(HEAT) - 1)]
        return f"\x1b[48;5;{paint}m{' ' * size}\x1b[0m"
    if strength <= 0.05:
        return SHADES[0].center(size - 1) + " "
    return SHADES[math.ceil(strength * 4 - 0.2)] * (size - 1) + " "


def check_weights(weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str]) -> npt.NDArray[np.float64]:
    """The weights as an array `[T, S]`, with as many rows and columns as there are tokens."""
    matrix = np.asarray(weights, np.float64)
    if matrix.shape != (len(target_tokens), len(source_tokens)):
        tokens = f"{len(target_tokens)} target and {len(source_tokens)} source tokens"
        raise ValueError(f"attention weights of shape {matrix.shape} do not fit {tokens}; give weights [T, S]")
    return np.nan_to_num(matrix)
