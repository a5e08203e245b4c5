"""An empty picture, its colours and fonts, and how it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # matplotlib costs a second: only those who draw pay it
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry, FontProperties

INK, PALE, GRID = "#333333", "#8c959f", "#e6e8eb"
SERIES = ("#0969da", "#d1570b", "#1a7f37", "#8250df", "#bf3989", "#7d6608")


NO_FONT = "□ stands for what no installed font shows; for Korean install Noto Sans CJK or Nanum Gothic"


def new_figure(width: float, height: float) -> Figure:
    """An empty picture of this size in inches, which no global state of matplotlib knows."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a PNG, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150, bbox_inches="tight", pad_inches=0.15, facecolor="white")


def token_font(text: str) -> tuple[FontProperties, dict[int, str]]:
    """A font family that shows the text, and what to write for characters that no installed font has."""
    from matplotlib.font_manager import FontProperties, fontManager
    from matplotlib.ft2font import FT2Font

    missing = {ord(character) for character in text}
    families: list[str] = []
    for entry in by_preference(fontManager.ttflist):
        if not missing:
            break
        found = missing & FT2Font(entry.fname).get_charmap().keys()
        if found:
            families.append(entry.name)
            missing -= found
    return FontProperties(family=families or ["DejaVu Sans"]), dict.fromkeys(missing, "□")


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


def by_preference(entries: Sequence[FontEntry]) -> Iterator[FontEntry]:
    """One upright font of every family, the preferred families first, then the others by name."""
    families: dict[str, FontEntry] = {}
    for entry in sorted(entries, key=lambda entry: (abs(int(entry.weight) - 400), entry.fname)):
        if entry.style == "normal" and "LastResort" not in entry.fname:
            families.setdefault(entry.name, entry)
    order = {name: place for place, name in enumerate(PREFERRED)}
    for name in sorted(families, key=lambda name: (order.get(name, len(order)), name)):
        yield families[name]
