"""Figures: colours, fonts, axes, grids of named cells, and how a picture is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2att.drawing.terminal import cut, display_width, visible
from seq2att.files import open_atomic

if TYPE_CHECKING:  # importing matplotlib takes a second: only a command that draws pays it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry, FontProperties

INK, PALE, GRID = "#333333", "#8c959f", "#e6e8eb"
SERIES = ("#0969da", "#d1570b", "#1a7f37", "#8250df", "#bf3989", "#7d6608")
MAX_NAME = 24  # columns of the name of a row or column
MAX_FONT = 11.0  # points
NO_FONT = "□ stands for what no installed font shows; for Korean install Noto Sans CJK or Nanum Gothic"
PREFERRED = (  # the first comes with matplotlib; then fonts for Korean, other East Asian scripts, everything
    "DejaVu Sans",
    "Noto Sans CJK KR",
    "Noto Sans KR",
    "NanumGothic",
    "Malgun Gothic",
    "Apple SD Gothic Neo",
    "AppleGothic",
    "Source Han Sans KR",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Hiragino Sans",
    "Yu Gothic",
    "Microsoft YaHei",
    "PingFang SC",
    "WenQuanYi Zen Hei",
    "Noto Sans",
    "Arial Unicode MS",
    "Unifont",
)


def new_figure(width: float, height: float, layout: Any = "constrained") -> Figure:
    """An empty figure of this size in inches, outside of matplotlib's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, or what the name ends in; create its folder."""
    kind = path.suffix.removeprefix(".") or "png"
    with open_atomic(path) as stream:
        figure.savefig(stream, format=kind, dpi=150, bbox_inches="tight", pad_inches=0.15, facecolor="white")


def style_axes(axes: Axes) -> None:
    """Pale lines, no frame above and at the right."""
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(PALE)
    axes.tick_params(which="both", colors=INK, labelsize=9, color=PALE)


def legend_outside(axes: Axes, title: str | None = None, fontsize: int = 9) -> None:
    """A legend at the right of the axes."""
    axes.legend(
        title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=fontsize,
        title_fontsize=fontsize, labelcolor=INK, alignment="left", handlelength=1.4,
    )  # fmt: skip


def write_note(axes: Axes, text: str, below: float = 0.0) -> None:
    """Write a small note under the axes, or `below` inches further down."""
    axes.annotate(
        text, (0, 0), (0, -10 - 72 * below), "axes fraction", "offset points",
        va="top", fontsize=7, color=PALE, parse_math=False,
    )  # fmt: skip


def draw_grid(axes: Axes, above: Sequence[str], left: Sequence[str], cell: float) -> bool:
    """Draw white lines between cells of `cell` inches, and the names of columns (`above`) and rows (`left`).

    The names above are slanted when one is wider than its cell. Returns whether a font lacks some characters.
    """
    font, missing = token_font("".join(map(visible, [*above, *left])))
    columns, rows = ([cut(visible(name).translate(missing), MAX_NAME) for name in names] for names in (above, left))
    size = min(MAX_FONT, 40 * cell)
    is_slanted = max(map(display_width, columns)) * size * 0.6 > 72 * cell * 0.95
    slant: dict[str, Any] = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if is_slanted else {}
    axes.xaxis.tick_top()
    # parse_math: a name `$x$` is not a formula
    options: dict[str, Any] = {"fontproperties": font, "fontsize": size, "color": INK, "parse_math": False}
    axes.set_xticks(range(len(columns)), columns, **options, **slant)
    axes.set_yticks(range(len(rows)), rows, **options)
    axes.set_xticks(np.arange(len(columns) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(rows) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=min(1.5, 4 * cell))
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    return bool(missing)


def token_font(text: str) -> tuple[FontProperties, dict[int, str]]:
    """A font family that shows the text, and a replacement for each character that no installed font has."""
    from matplotlib.font_manager import FontProperties, fontManager
    from matplotlib.ft2font import FT2Font

    missing = {ord(character) for character in text}
    families: list[str] = []
    for entry in by_preference(fontManager.ttflist):
        if not missing:
            break
        covered = missing & FT2Font(entry.fname).get_charmap().keys()
        if covered:
            families.append(entry.name)
            missing -= covered
    return FontProperties(family=families or ["DejaVu Sans"]), dict.fromkeys(missing, "□")


def by_preference(entries: Sequence[FontEntry]) -> Iterator[FontEntry]:
    """One upright font of every family, the preferred families first, then the others by name."""
    families: dict[str, FontEntry] = {}
    for entry in sorted(entries, key=lambda entry: (abs(int(entry.weight) - 400), entry.fname)):
        if entry.style == "normal" and "LastResort" not in entry.fname:
            families.setdefault(entry.name, entry)
    order = {name: place for place, name in enumerate(PREFERRED)}
    for name in sorted(families, key=lambda name: (order.get(name, len(order)), name)):
        yield families[name]
