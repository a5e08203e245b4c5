"""Pictures: learning curves, and attention as a heat map in a file or in the terminal."""

from __future__ import annotations

import csv
import math
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError

if TYPE_CHECKING:  # matplotlib costs a second: only those who draw pay it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontEntry, FontProperties

INK, PALE, GRID = "#333333", "#8c959f", "#e6e8eb"
SERIES = ("#0969da", "#d1570b", "#1a7f37", "#8250df", "#bf3989", "#7d6608")
NO_METRIC = frozenset(  # columns of metrics.csv that the metrics' panel leaves out
    "epoch step train_loss loss perplexity learning_rate tokens_per_second seconds".split()
)


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

    `best` is the epoch to mark, by default that of the lowest validation loss. The metrics have percent in common;
    columns with missing values are drawn where they have some. `UserError` when there is nothing to draw.
    """
    table = read_table(csv_path)
    across = axis_of(table)
    metrics = [name for name in table.columns if name not in NO_METRIC and len(table.points(across, name)[0])]
    if not len(table.points(across, "loss")[0]) and not len(table.points(across, "train_loss")[0]):
        raise UserError(
            f"{csv_path}: there is no finite loss to draw; wait for the first validation (NaN: training diverged)"
        )
    mark = best_place(table, across, best)
    figure = new_figure(7.2, 5.6 if metrics else 3.4)
    panels = figure.subplots(2 if metrics else 1, 1, sharex=True, squeeze=False)[:, 0]
    losses = {"train_loss": ("training", PALE), "loss": ("validation", SERIES[0])}
    draw_lines(panels[0], table, across, losses, mark)
    panels[0].set_ylabel("loss")
    if metrics:
        named = {name: (name, SERIES[place % len(SERIES)]) for place, name in enumerate(metrics)}
        draw_lines(panels[1], table, across, named, mark)
        panels[1].set_ylabel("metrics")
    panels[-1].set_xlabel(across)
    number_axis(panels[-1], table, across)
    figure.align_ylabels()
    save(figure, png_path)


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


def attention_map(weights: Any, source_tokens: Sequence[str], target_tokens: Sequence[str], png_path: Path) -> None:
    """Draw attention weights `[T, S]` as a heat map: source tokens above, target tokens at the left.

    Dark means much; the scale ends at the greatest weight. Characters that no installed font can show appear as □.
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
    label_tokens(axes, [visible(token) for token in source_tokens], [visible(token) for token in target_tokens], cell)
    axes.set_xticks(np.arange(matrix.shape[1] + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(matrix.shape[0] + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=min(1.5, 4 * cell))
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    tall = min(max(height, 1.2), 3.0)
    bar = figure.add_axes((1 + 0.25 / width, (height - tall) / 2 / height, 0.12 / width, tall / height))
    figure.colorbar(image, cax=bar)
    bar.tick_params(labelsize=8, colors=INK, color=PALE, length=2)
    bar.set_ylabel("attention weight", fontsize=8, color=INK)
    bar.spines[:].set_visible(False)
    save(figure, png_path)


def label_tokens(axes: Axes, source: list[str], target: list[str], cell: float) -> None:
    """Write the tokens at the cells: the source above, slanted when a token is wider than its cell."""
    font, shown = token_font("".join(source + target))
    source = [cut(token.translate(shown), 20) for token in source]
    target = [cut(token.translate(shown), 20) for token in target]
    size = min(11.0, 40 * cell)
    slanted = max(map(display_width, source)) * size * 0.6 > 72 * cell * 0.95
    slant: dict[str, Any] = {"rotation": 45, "ha": "left", "rotation_mode": "anchor"} if slanted else {}
    axes.xaxis.tick_top()
    # parse_math: a token `$x$` is no formula
    options: dict[str, Any] = {"fontproperties": font, "fontsize": size, "color": INK, "parse_math": False}
    axes.set_xticks(range(len(source)), source, **options, **slant)
    axes.set_yticks(range(len(target)), target, **options)
    if shown:
        note = "□ stands for what no installed font shows; for Korean install Noto Sans CJK or Nanum Gothic"
        axes.annotate(note, (0, 0), (0, -10), "axes fraction", "offset points", va="top", fontsize=7, color=PALE)


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


SIGNS = {" ": "␣", "\t": "⇥", "\n": "⏎"}
SHADES = "·░▒▓█"
HEAT = (234, 53, 89, 125, 161, 203, 209, 215, 222, 230)  # of the 256 colours, from dark to bright


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


def visible(token: str) -> str:
    """The token with its spaces and control characters made visible, and something to carry a lone mark."""
    shown = "".join(map(visible_character, token))
    return f"◌{shown}" if shown and unicodedata.combining(shown[0]) else shown


def visible_character(character: str) -> str:
    """The character, or what to show for it: `<0>` for NUL."""
    if character in SIGNS:
        return SIGNS[character]
    return character if character.isprintable() or character in "\u200c\u200d" else f"<{ord(character):X}>"


def closed(text: str) -> str:
    """The text, with a left-to-right mark behind right-to-left letters, so that they do not turn their neighbours."""
    return f"{text}\u200e" if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text) else text


def pad(text: str, size: int) -> str:
    """The text in so many columns of a terminal, in the middle of all but the last, which stays empty."""
    room = size - 1 - display_width(text)
    return " " * (room // 2) + closed(text) + " " * (room - room // 2 + 1)


def cut(text: str, size: int) -> str:
    """The text in at most so many columns, with … where something is left out."""
    if display_width(text) <= size:
        return text
    kept = ""
    for character in text:
        if display_width(kept + character) > size - 1:
            break
        kept += character
    return f"{kept}…"


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(map(width_of, text))


def width_of(character: str) -> int:
    """How many columns a character takes: 2 for wide ones, 0 for marks on the one before."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":
        return 0  # the last range: vowels and finals of a Korean syllable written as letters
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
