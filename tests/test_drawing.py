"""Pictures: what they are made of, and that they are quiet about it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2att import drawing
from seq2att.drawing import attention_map, attention_text, curves
from seq2att.drawing.attention import HEAT
from seq2att.drawing.evaluation import class_table, confusion_matrix, scatter
from seq2att.drawing.figure import by_preference, token_font
from seq2att.drawing.learning import best_point, choose_axis, group_by_scale, parse_cell, read_table
from seq2att.drawing.terminal import cut, display_width, visible
from tests.refusals import refused

REVERSE = np.fliplr(np.eye(4))
PAINT = re.compile("\x1b\\[48;5;(\\d+)m( *)\x1b\\[0m")


def size_of(png: Path) -> tuple[int, int]:
    """Width and height that a PNG names in its header."""
    content = png.read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


def darkest_cells(png: Path, rows: int, columns: int) -> list[int]:
    """Which column of the heat map is darkest in every row: found by the colour of the strongest weight."""
    from matplotlib import colormaps
    from matplotlib.image import imread

    pixels = imread(png)[:, :, :3]
    strong = np.abs(pixels - np.array(colormaps["Blues"](1.0)[:3])).max(-1) < 0.02  # [H, W]
    strong[:, np.where(strong.any(0))[0].max() - 30 :] = False  # the colour bar is at the right
    down, right = np.where(strong)
    cell_height, cell_width = (np.ptp(down) + 1) / rows, (np.ptp(right) + 1) / columns
    row = ((down - down.min()) / cell_height).astype(int)
    column = ((right - right.min()) / cell_width).astype(int)
    return [int(np.median(column[row == number])) for number in range(rows)]


def test_the_map_shows_the_weights_where_they_are(tmp_path: Path) -> None:
    png = tmp_path / "new" / "map.png"
    attention_map(REVERSE, list("abcd"), list("dcba"), png)
    assert darkest_cells(png, 4, 4) == [3, 2, 1, 0]
    attention_map(np.eye(4)[[1, 0, 3, 2]], list("abcd"), list("badc"), png)
    assert darkest_cells(png, 4, 4) == [1, 0, 3, 2]


def test_vectors_are_drawn_below_the_weights_that_look_at_them(tmp_path: Path) -> None:
    from matplotlib.image import imread

    frames = np.zeros((6, 4))  # [F, S]
    frames[3:, 1] = 1.0  # the lower half of the second one is black
    attention_map([[0, 1, 0, 0]], list("abcd"), ["b"], tmp_path / "alone.png")
    attention_map([[0, 1, 0, 0]], list("abcd"), ["b"], tmp_path / "map.png", frames)
    assert size_of(tmp_path / "map.png")[1] > size_of(tmp_path / "alone.png")[1] + 300
    pixels = imread(tmp_path / "map.png")[:, :, :3]  # [H, W, 3]
    black = pixels.max(-1) < 0.05
    blue = np.abs(pixels - np.array([8, 48, 107]) / 255).max(-1) < 0.02
    blue[:, pixels.shape[1] // 2 :] = False  # the colour bar is at the right
    assert np.median(np.where(black)[1]) == pytest.approx(np.median(np.where(blue)[1]), abs=3)
    assert np.where(black)[0].min() > np.where(blue)[0].max() + 100


def test_the_map_grows_with_the_sentence(tmp_path: Path) -> None:
    sizes = []
    for length in (1, 6, 30):
        attention_map(np.eye(length), ["word"] * length, ["word"] * length, tmp_path / "map.png")
        sizes.append(size_of(tmp_path / "map.png"))
    assert sizes[0] < sizes[1] < sizes[2] < (2500, 2500)


@pytest.mark.parametrize(
    "token", ["한국어", "日本", "שלום", "$x$", "$", "\0", "\t", " ", "", "\u0301", "👩‍👩‍👧", "\U000eee00", "x" * 99]
)
def test_any_token_is_drawn_without_a_warning(token: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    attention_map([[0.5, 0.5]], [token, "a"], [token], tmp_path / "map.png")  # a warning is an error here
    assert size_of(tmp_path / "map.png")[0] < 1000
    assert "Glyph" not in capfd.readouterr().err


def test_fonts_cover_what_they_can_and_the_rest_becomes_a_box() -> None:
    font, shown = token_font("abc שלום \U000eee00")
    assert font.get_family()[0] == "DejaVu Sans"
    assert shown == {0xEEE00: "□"}  # no character, so in no font


def test_preferred_families_come_first() -> None:
    from matplotlib.font_manager import fontManager

    names = [entry.name for entry in by_preference(fontManager.ttflist)]
    assert names[0] == "DejaVu Sans"
    assert len(names) == len(set(names)) > 1


def test_pyplot_is_left_alone(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from seq2att.drawing import attention_map
assert "matplotlib" not in sys.modules
attention_map([[1.0]], ["a"], ["b"], Path({str(tmp_path / "map.png")!r}))
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with refused("E-empty", "attention"):
        attention_map(np.zeros((0, 2)), ["a", "b"], [], tmp_path / "map.png")
    with pytest.raises(
        ValueError, match=r"shape \(2, 3\) do not fit 3 target and 2 source tokens; give weights \[T, S\]"
    ):
        attention_map(np.zeros((2, 3)), ["a", "b"], ["a", "b", "c"], tmp_path / "map.png")
    (tmp_path / "m.csv").write_text("epoch,loss,bleu\n1,,\n")
    with refused("E-loss", "m.csv"):
        curves(tmp_path / "m.csv", tmp_path / "m.png")
    (tmp_path / "m.csv").write_text("")
    with refused("E-loss", "m.csv"):
        curves(tmp_path / "m.csv", tmp_path / "m.png")


def test_text_map_by_hand() -> None:
    weights = [[0.0, 0.04, 0.96], [0.25, 0.5, 0.25]]
    assert attention_text(weights, ["a", "bc", "한국"], ["x", "▁you"]) == "\n".join(
        [
            "     a  bc 한국",
            "   x ·  ·  ████",
            "▁you ░░ ▒▒ ░░░░",
        ]
    )


def test_text_map_in_colour_is_the_same_map() -> None:
    text = attention_text(REVERSE, list("abcd"), list("dcba"), color=True)
    for row, line in enumerate(text.splitlines()[1:]):
        shades = [int(match[1]) for match in PAINT.finditer(line)]
        assert shades.index(HEAT[-1]) == 3 - row
        assert shades.count(HEAT[0]) == 3
    assert "\x1b" not in attention_text(REVERSE, list("abcd"), list("dcba"))


@pytest.mark.parametrize("color", [False, True])
def test_a_narrow_terminal_gets_blocks_with_every_column_once(color: bool) -> None:
    source = [f"token{number}" for number in range(12)] + ["한국어의", "very" * 20]
    text = attention_text(np.full((3, 14), 1 / 14), source, ["a", "단어", "x" * 50], 40, color)
    assert max(display_width(PAINT.sub(r"\2", line)) for line in text.splitlines()) <= 40
    blocks = text.split("\n\n")
    assert len(blocks) > 2
    assert all(len(block.splitlines()) == 4 for block in blocks)
    heads = " ".join(block.splitlines()[0] for block in blocks).split()
    assert heads[:13] == source[:13]
    assert heads[13].endswith("…")


def test_columns_are_aligned_whatever_the_script() -> None:
    source = ["a", "한국어", "e\u0301tude", "שלום", "日本", "\u1112\u1161\u11ab"]
    lines = attention_text(np.full((2, 6), 0.5), source, ["나는", "x"]).splitlines()
    assert display_width(lines[1]) == display_width(lines[2]) == display_width(lines[0])
    assert "שלום\u200e" in lines[0]  # what stands beside it is not turned


def test_nothing_gives_nothing() -> None:
    assert attention_text(np.zeros((0, 0)), [], []) == ""
    assert attention_text(np.zeros((1, 2)), ["a", "b"], ["c"]).splitlines()[1] == "c ·  ·"


def test_widths_and_visible_characters() -> None:
    assert [display_width(text) for text in ("ab", "한", "e\u0301", "한", "")] == [2, 2, 1, 2, 0]
    assert visible(" \t\n\0") == "␣⇥⏎<0>"
    assert visible("\u0301") == "◌\u0301"
    assert visible("한글 ok") == "한글␣ok"
    assert [cut("한국어", size) for size in (6, 5, 4, 1)] == ["한국어", "한국…", "한…", "…"]


HEADER = "epoch,step,train_loss,loss,perplexity,bleu,learning_rate\n"


def test_curves_take_missing_values_and_lone_validations(tmp_path: Path) -> None:
    csv, png = tmp_path / "metrics.csv", tmp_path / "curves.png"
    csv.write_text(f"{HEADER}1,10,5.0,4.0,,nan,0.1\n2,20,,3.0,20,11.5,0.1\n3,30,3.5,,,12,\n", encoding="utf-8")
    table = read_table(csv)
    assert [list(axis) for axis in table.points("epoch", "loss")] == [[1, 2], [4, 3]]
    assert [list(axis) for axis in table.points("epoch", "bleu")] == [[2, 3], [11.5, 12]]
    assert [list(axis) for axis in table.points("epoch", "chrf")] == [[], []]
    curves(csv, png)
    tall = size_of(png)[1]
    curves(csv, png, best=3)
    csv.write_text(f"{HEADER}1,10,5.0,4.0,,,0.1\n")
    curves(csv, png)
    assert size_of(png)[1] < tall  # no metric, no second panel


def test_curves_run_over_steps_when_an_epoch_has_several_validations(tmp_path: Path) -> None:
    csv = tmp_path / "metrics.csv"
    csv.write_text(f"{HEADER}0,10,5,4,9,1,.1\n0,20,4,3,8,2,.1\n1,30,3,2,7,3,.1\n1,40,2,2.5,7,4,.1\n")
    table = read_table(csv)
    assert choose_axis(table) == "step"
    assert best_point(table, "step", None) == 30
    assert best_point(table, "step", 1) == 40
    assert best_point(table, "epoch", 1) == 1
    curves(csv, tmp_path / "curves.png")


def test_loss_and_accuracy_have_a_panel_each_with_training_and_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    panels: list[Any] = []
    monkeypatch.setattr("seq2att.drawing.learning.save", lambda figure, path: panels.extend(figure.axes))
    csv = tmp_path / "metrics.csv"
    csv.write_text(
        "epoch,step,train_loss,train_accuracy,loss,accuracy,f1_macro\n1,8,0.9,50,0.8,60,55\n2,16,0.5,80,0.6,70,70\n"
    )
    curves(csv, tmp_path / "curves.png")
    lines = [{line.get_label().split("  ")[0]: list(line.get_ydata()) for line in panel.lines} for panel in panels]
    assert [panel.get_ylabel() for panel in panels] == ["loss", "accuracy (%)", "f1_macro"]
    assert lines[0]["training"] == [0.9, 0.5]
    assert (lines[1]["training"], lines[1]["validation"]) == ([50, 80], [60, 70])
    assert lines[2]["f1_macro"] == [55, 70]


def test_numbers_of_cells() -> None:
    assert parse_cell("1.5") == 1.5
    assert all(np.isnan(parse_cell(text)) for text in ("", None, "oops"))


def test_confusion_matrices(tmp_path: Path) -> None:
    png = tmp_path / "deep" / "confusion.png"
    confusion_matrix(["neg", "$x$", "한국어"], [[5, 1, 0], [0, 0, 0], [2, 0, 123456]], png)
    few = size_of(png)
    many = [str(number) for number in range(31)]
    confusion_matrix(many, np.eye(31), png)
    assert size_of(png)[0] > few[0]
    confusion_matrix(["only"], [[3]], png)
    with pytest.raises(ValueError, match=r"a confusion matrix of shape \(1, 1\) does not fit 2 labels; give \[C, C\]"):
        confusion_matrix(["a", "b"], [[1]], png)
    with refused("E-empty", "confusion.png"):
        confusion_matrix([], np.zeros((0, 0)), png)


def test_pictures_say_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []

    def keep(figure: Any, path: Path) -> None:
        texts.extend(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))

    monkeypatch.setattr("seq2att.drawing.evaluation.save", keep)
    confusion = {"labels": ["a", "b"], "confusion": [[1, 0], [0, 1]]}
    drawing.draw_details([confusion], tmp_path, "validation, 2 rows")
    assert any(text.startswith("validation, 2 rows\ndarker:") for text in texts)
    del texts[:]
    drawing.draw_details([{"points": [(1.0, 2.0)]}], tmp_path, "$x$ test, 1 row")
    assert "$x$ test, 1 row" in texts


def test_a_table_of_classes_is_aligned() -> None:
    figures = {"precision": 99.5, "recall": 100.0, "f1": 0.0, "support": 12345}
    lines = class_table({"neg": figures, "한국어 입니다": figures, "x" * 90: figures}).splitlines()
    assert lines[0].split() == ["precision", "recall", "f1", "rows"]
    assert lines[1].split() == ["neg", "99.50", "100.00", "0.00", "12,345"]
    assert {display_width(line) for line in lines} == {display_width(lines[0])}
    assert len(lines[3]) <= 84
    assert class_table({}) == ""


def test_scatter(tmp_path: Path) -> None:
    png = tmp_path / "deep" / "scatter.png"
    scatter([1, 2, 3, float("nan")], [1.5, 2, 2, 1], png)
    assert size_of(png)[0] > 100
    scatter([2], [2], png)
    with pytest.raises(ValueError, match=r"true numbers of shape \(1,\) and predicted ones of shape \(2,\)"):
        scatter([1], [1, 2], png)
    with refused("E-number", "scatter.png"):
        scatter([1], [float("inf")], png)


def test_metrics_of_other_scales_have_panels_of_their_own(tmp_path: Path) -> None:
    text = "epoch,step,loss,mse,mae,pearson,exact\n1,10,0.5,0.002,0.02,0.5,40\n2,20,0.4,0.001,0.01,0.9,60\n"
    (tmp_path / "metrics.csv").write_text(text)
    table = read_table(tmp_path / "metrics.csv")
    assert group_by_scale(table, "epoch", ["mse", "mae", "pearson", "exact"]) == [
        ["mse", "mae"],
        ["pearson"],
        ["exact"],
    ]
    drawing.curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
