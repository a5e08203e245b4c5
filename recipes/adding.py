"""The adding problem (Hochreiter and Schmidhuber 1997), and what it shows: how far back a gradient reaches.

Every step of a sequence holds a number from 0 to 1 and a mark. Two steps are marked, one in each half; their sum is to
be said at the end. A model that always predicts 1 has a mean squared error of 0.167.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch

from seq2att.callback import Callback
from seq2att.reader import SPLITS, Reader, Row, digest
from seq2att.registry import Range, Seed, Size, register
from seq2att.trainer.loop import Training

TABLE, PICTURE, BEFORE = "distance.csv", "distance.png", "distance-before.png"
SMALLEST = 1e-12  # what is drawn of a gradient that is 0
Curve = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]  # distances and norms [N]


@register("reader", "adding")
class Adding(Reader):
    """Sequences of a number and a mark; the target is the sum of the two marked numbers.

    Args:
        length: steps of a sequence.
        rows: sequences to train on; a tenth as many are for validation and test.
        seed: the seed of the numbers and marks.
    """

    names_data = False

    def __init__(
        self,
        *,
        length: Annotated[int, Range(2, 100_000)] = 100,
        rows: Annotated[int, Range(1, 1_000_000)] = 5000,
        seed: Seed = 1,
    ) -> None:
        self.length, self.seed = length, seed
        self.sizes = {"train": rows, "validation": max(rows // 10, 1), "test": max(rows // 10, 1)}

    def splits(self) -> tuple[str, ...]:
        return SPLITS

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        draw, half = np.random.default_rng([self.seed, SPLITS.index(split)]), self.length // 2
        for line in range(1, self.sizes[split] + 1):
            steps = np.zeros((self.length, 2))
            steps[:, 0] = draw.random(self.length).round(3)
            marked = [draw.integers(half), draw.integers(half, self.length)]
            steps[marked, 1] = 1.0
            yield Row((steps.tolist(), round(float(steps[marked, 0].sum()), 3)), f"adding-{split}", line)

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, split, [])


@register("callback", "distance")
class Distance(Callback):
    """How much the loss feels the input so many steps before the end: a table and a picture, before and after.

    Args:
        rows: rows of the validation split that are averaged.
    """

    def __init__(self, *, rows: Size = 500) -> None:
        self.rows = rows
        self.before: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {"before": self.before}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.before = state["before"]

    def on_start(self, training: Training) -> None:
        if not training.step:
            self.before = gradient_norms(training, self.rows).tolist()

    def on_end(self, training: Training) -> None:
        if training.processes.first:
            run = training.folder
            write(run, {0: np.array(self.before), training.step: gradient_norms(training, self.rows)})
            draw({"before training": read(run)[0], "after training": read(run)[-1]}, run / PICTURE)
            compare(run.parent)


def gradient_norms(training: Training, rows: int) -> npt.NDArray[np.float64]:
    """The norm of the gradient of a row's loss at its input, by the distance from its end, mean of some rows: `[S]`."""
    from seq2att.data import collate
    from seq2att.trainer.evaluation import moved

    corpus, model = training.corpora["validation"], training.model
    batch = moved(collate(corpus, np.arange(min(rows, len(corpus)))), training.device)
    assert batch.target is not None
    with torch.enable_grad():
        inputs = model.embedding(batch.source.values).detach().requires_grad_()  # [B, S, E]
        loss = model.head.loss(model.encoder(inputs, batch.source.lengths), batch.target)
        (gradient,) = torch.autograd.grad(loss.total, inputs)
    norms = gradient.double().norm(dim=-1).cpu().numpy()  # [B, S]
    lengths = batch.source.lengths.cpu().numpy()[:, None]  # [B, 1]
    distances = lengths - 1 - np.arange(norms.shape[1])  # [B, S], below 0 on padding
    real = distances >= 0
    sums = np.bincount(distances[real], norms[real])
    means: npt.NDArray[np.float64] = sums / np.bincount(distances[real])
    return means


def write(run: Path, norms: Mapping[int, npt.NDArray[np.float64]]) -> None:
    """Write the norms after some steps as the table of a run."""
    with (run / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "distance", "gradient_norm"])
        for step, values in norms.items():
            writer.writerows([step, distance, f"{value:.6g}"] for distance, value in enumerate(values))


def read(run: Path) -> list[Curve]:
    """The curves in the table of a run, the earliest first."""
    table = np.loadtxt(run / TABLE, delimiter=",", skiprows=1, ndmin=2)  # [N, 3]
    parts = [table[table[:, 0] == step] for step in np.unique(table[:, 0])]
    return [(part[:, 1].astype(np.int64), part[:, 2]) for part in parts]


def by_numbers(run: Path) -> list[tuple[bool, int, str]]:
    """What runs are sorted by: their names, numbers in them by their value."""
    parts = re.split(r"(\d+)", run.name)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def compare(folder: Path) -> None:
    """Draw the runs in a folder together, as they were before training and after it; nothing where there is but one."""
    runs = sorted((path.parent for path in folder.glob(f"*/{TABLE}")), key=by_numbers)
    if len(runs) > 1:
        parts = {run: run.name.split(",") for run in runs}  # encoder=lstm, reader.length=100, ...
        shared = set.intersection(*map(set, parts.values()))
        names = {run: ",".join(part for part in parts[run] if part not in shared) for run in runs}
        draw({name: read(run)[0] for run, name in names.items()}, folder / BEFORE)
        draw({name: read(run)[-1] for run, name in names.items()}, folder / PICTURE)


def draw(curves: Mapping[str, Curve], path: Path) -> None:
    """Draw the curves, each in units of its norm at the last step; those of one encoder share a color.

    So a small loss, whose gradients are all small, compares with a large one.
    """
    from seq2att.drawing.figure import new_figure, save

    figure = new_figure(7.2, 4.2)
    axes = figure.subplots()
    drawn: dict[str, int] = {}  # curves of every encoder so far
    for name, (distances, norms) in curves.items():
        encoder = name.partition(",")[0]
        drawn[encoder] = drawn.get(encoder, -1) + 1
        color, style = f"C{list(drawn).index(encoder)}", ("-", "--", "-.", ":")[drawn[encoder] % 4]
        relative = np.maximum(norms / max(norms[0], np.finfo(np.float64).tiny), SMALLEST)
        axes.plot(distances, relative, color=color, linestyle=style, linewidth=1.6, label=name)
    axes.set_yscale("log")
    axes.set_xlabel("steps before the end")
    axes.set_ylabel("gradient at the input (last step: 1)")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=9)
    save(figure, path)
