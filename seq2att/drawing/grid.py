"""Cells with a name for every row and column: what heat maps have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2att.drawing.figure import INK, token_font
from seq2att.drawing.terminal import cut, display_width, visible

if TYPE_CHECKING:  # matplotlib costs a second: only those who draw pay it
    from matplotlib.axes import Axes

LONGEST = 24  # characters of a name
LARGEST = 11.0  # points


def draw_grid(axes: Axes, above: Sequence[str], left: Sequence[str], cell: float) -> bool:
    """White lines between cells of `cell` inches, and the names; gives whether a font lacks some of their characters.

    The names above are slanted when one is wider than its cell.
    """
    font, missing = token_font("".join(map(visible, [*above, *left])))
    columns, rows = ([cut(visible(name).translate(missing), LONGEST) for name in names] for names in (above, left))
    size = min(LARGEST, 40 * cell)
    slanted = max(map(display_width, columns)) * size * 0.6 > 72 * cell * 0.95
    slant: dict[str, Any] = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if slanted else {}
    axes.xaxis.tick_top()
    # parse_math: a name `$x$` is no formula
    options: dict[str, Any] = {"fontproperties": font, "fontsize": size, "color": INK, "parse_math": False}
    axes.set_xticks(range(len(columns)), columns, **options, **slant)
    axes.set_yticks(range(len(rows)), rows, **options)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=min(1.5, 4 * cell))
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return bool(missing)
