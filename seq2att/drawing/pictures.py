"""Pictures and videos with what a model said of them: attention over the picture for each word, labels below frames."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.drawing.attention import draw_cell
from seq2att.drawing.figure import INK, NO_FONT, PALE, SERIES, new_figure, save, token_font, write_note
from seq2att.drawing.terminal import center, cut, visible

if TYPE_CHECKING:  # importing matplotlib takes a second: only a command that draws pays it
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES = "examples.png"
PANEL = 1.15  # inches of a side of a picture
PER_LINE = 10  # panels side by side
LETTERS = 16  # of a word above a panel
TITLE = 110  # of what is said of a picture
FRAME = 0.62  # inches of a side of a frame


class Seen(NamedTuple):
    """A picture or video, and what a model said of it."""

    picture: npt.NDArray[Any]  # [H, W] or [H, W, 3]; the frames of a video side by side
    answer: str
    words: tuple[str, ...] = ()  # of the answer, each of which has a map; or the label of each frame
    right: str = ""  # a right answer
    maps: npt.NDArray[np.float64] | None = None  # [T, rows, columns] attention of each word over the regions


def draw_pictures(seen: Sequence[Seen], path: Path) -> None:
    """Draw each picture with the answer and a right one above it, and the picture again for each word of the answer.

    There, a region has its colours as far as the word looks at it: the region of the greatest weight has them in full.
    """
    font, missing = token_font("".join(f"{one.answer}{one.right}{''.join(one.words)}" for one in seen))
    sizes = [panel_size(one.picture) for one in seen]
    lines = [-(-(1 + num_maps(one)) // PER_LINE) for one in seen]
    width = max(min(PER_LINE, 1 + num_maps(one)) * (size[0] + 0.12) for one, size in zip(seen, sizes, strict=True))
    heights = [count * (size[1] + 0.3) + 0.45 for count, size in zip(lines, sizes, strict=True)]
    figure = new_figure(width, sum(heights), "none")
    top = sum(heights)
    for one, size, height in zip(seen, sizes, heights, strict=True):
        draw_title(figure, one, top, {"fontproperties": font}, missing)
        for number in range(1 + num_maps(one)):
            row, column = divmod(number, PER_LINE)
            left, bottom = column * (size[0] + 0.12), top - 0.45 - row * (size[1] + 0.3) - size[1] - 0.12
            axes = add_panel(figure, left, bottom, size)
            shown = one.picture if number == 0 or one.maps is None else highlighted(one.picture, one.maps[number - 1])
            show_pixels(axes, shown)
            if number:
                word = cut(visible(one.words[number - 1]).translate(missing), LETTERS)
                axes.set_title(word, fontsize=8, color=INK, pad=2, fontproperties=font, parse_math=False)
        top -= height
    if missing:
        write_note(axes, NO_FONT)
    save(figure, path)


def num_maps(seen: Seen) -> int:
    """How many panels show attention."""
    return 0 if seen.maps is None else len(seen.maps)


def panel_size(picture: npt.NDArray[Any]) -> tuple[float, float]:
    """Width and height of a panel in inches, in the proportions of the picture."""
    height, width = picture.shape[:2]
    return (PANEL * min(width / height, 4.0), PANEL) if width >= height else (PANEL, PANEL * min(height / width, 4.0))


def draw_title(figure: Figure, seen: Seen, top: float, font: dict[str, Any], missing: dict[int, str]) -> None:
    """Write the answer, and below it a right one where it differs."""
    height = figure.get_figheight()
    answer, right = (cut(visible_words(text).translate(missing), TITLE) for text in (seen.answer, seen.right))
    is_wrong = bool(right) and answer != right
    options: dict[str, Any] = {"va": "top", "ha": "left", "parse_math": False, **font}
    figure.text(0, (top - 0.02) / height, answer or "(nothing)", fontsize=9, color=INK, **options)
    if is_wrong:
        figure.text(0, (top - 0.2) / height, f"right: {right}", fontsize=7.5, color=PALE, **options)


def visible_words(text: str) -> str:
    """A text on one line."""
    return " ".join(visible(word) for word in text.split())


def add_panel(figure: Figure, left: float, bottom: float, size: tuple[float, float]) -> Axes:
    """Axes at a place in inches."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    return figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height))


def show_pixels(axes: Axes, picture: npt.NDArray[Any]) -> None:
    """Draw a picture without ticks."""
    options: dict[str, Any] = {"cmap": "Greys"} if picture.ndim == 2 else {}
    axes.imshow(picture, aspect="auto", interpolation="nearest", **options)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_color(PALE)
    axes.spines[:].set_linewidth(0.6)


def highlighted(picture: npt.NDArray[Any], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The picture `[H, W, 3]` with its colours where the weights `[rows, columns]` are great, and dark elsewhere."""
    height, width = picture.shape[:2]
    light = weights / (weights.max() or 1.0)
    down = np.minimum(np.arange(height) * light.shape[0] // height, light.shape[0] - 1)
    across = np.minimum(np.arange(width) * light.shape[1] // width, light.shape[1] - 1)
    shares = light[down][:, across][:, :, None]  # [H, W, 1]
    pixels: npt.NDArray[np.float64] = picture / 255 * (0.2 + 0.8 * shares)
    return pixels


def region_text(maps: Any, words: Sequence[str], width: int = 80, color: bool = False) -> str:
    """The attention `[T, rows, columns]` of each word over the regions for the terminal, side by side."""
    maps = np.asarray(maps, np.float64)
    if not maps.size:
        return ""
    side = max(2 * maps.shape[2] + 2, 8)
    per_line = max(1, width // side)
    blocks = []
    for start in range(0, len(words), per_line):
        few, names = maps[start : start + per_line], words[start : start + per_line]
        lines = ["".join(center(cut(visible(name), side - 2), side) for name in names).rstrip()]
        for row in range(maps.shape[1]):
            cells = ["".join(draw_cell(value, 2, color) for value in one[row] / (one.max() or 1.0)) for one in few]
            lines.append("".join(cell + " " * (side - 2 * maps.shape[2]) for cell in cells).rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def draw_strips(seen: Sequence[Seen], path: Path) -> None:
    """Draw the frames of each video in a row, with the label of each below it, and the right one where they differ."""
    font, missing = token_font("".join(f"{' '.join(one.words)}{one.right}" for one in seen))
    counts = [max(1, len(one.words)) for one in seen]
    figure = new_figure(max(counts) * FRAME, len(seen) * (FRAME + 0.55), "none")
    height = figure.get_figheight()
    for place, (one, count) in enumerate(zip(seen, counts, strict=True)):
        bottom = height - (place + 1) * (FRAME + 0.55) + 0.5
        axes = add_panel(figure, 0, bottom, (count * FRAME, FRAME))
        show_pixels(axes, one.picture)
        side = one.picture.shape[1] / count
        for border in range(1, count):
            axes.axvline(border * side - 0.5, color=PALE, linewidth=0.6)
        right = one.right.split()
        for number, word in enumerate(one.words):
            truth = right[number] if number < len(right) else word
            options: dict[str, Any] = {"ha": "center", "va": "top", "fontproperties": font, "parse_math": False}
            middle, below = (number + 0.5) * side - 0.5, one.picture.shape[0] * 1.06
            label = cut(visible(word).translate(missing), 9)
            axes.text(middle, below, label, fontsize=7.5, color=INK if word == truth else SERIES[1], **options)
            if word != truth:
                label = cut(visible(truth).translate(missing), 9)
                axes.text(middle, below + one.picture.shape[0] * 0.3, label, fontsize=6.5, color=PALE, **options)
    save(figure, path)
