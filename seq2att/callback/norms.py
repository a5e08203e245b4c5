"""How large the gradient of each layer is while a model learns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from seq2att.files import write_file
from seq2att.registry import register
from seq2att.trainer.callback import Callback
from seq2att.trainer.folder import NORMS, NORMS_CURVES
from seq2att.trainer.loop import Training

SMALLEST = 1e-12  # what a norm of 0 is drawn as


@register("callback", "gradient_norms")
class GradientNorms(Callback):
    """The norm of each layer's gradient every `trainer.log_every` steps: to the loggers, a table and a picture.

    It is the norm of the gradient of the mean loss of a target token, before clipping. The run folder gets
    `gradient_norms.csv` and `gradient_norms.png`.
    """

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.norms: list[list[float]] = []  # [steps, layers]
        self.layers: dict[str, list[nn.Parameter]] = {}

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "norms": self.norms}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.norms = state["steps"], state["norms"]

    def on_start(self, training: Training) -> None:
        self.layers = layers(training.model)

    def on_batch(self, training: Training) -> None:
        if training.num_parts or training.step % training.options["log_every"]:
            return
        norms = [norm(parameters) / training.stepper.clip_factor for parameters in self.layers.values()]
        self.steps.append(training.step)
        self.norms.append([float(value) for value in norms])
        named = zip(self.layers, self.norms[-1], strict=True)
        training.log({f"gradient_norm/{layer}": value for layer, value in named})

    def on_validation(self, training: Training) -> None:
        if training.processes.first and self.steps:  # now, so that an interrupted run has it
            write(list(self.layers), self.steps, self.norms, training.folder / NORMS)

    def on_end(self, training: Training) -> None:
        if training.processes.first and self.steps:
            columns = dict(zip(self.layers, zip(*self.norms, strict=True), strict=True))
            draw(self.steps, columns, training.folder / NORMS_CURVES)


def layers(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters that are trained, by the name of the layer that holds them; shared ones belong to the first."""
    named: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            named.setdefault(name.rpartition(".")[0] or name, []).append(parameter)
    return named


def norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The Euclidean norm of the gradients together, `[]`; 0 where there are none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    total: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)).float())
    return total


def write(names: Sequence[str], steps: Sequence[int], norms: Sequence[Sequence[float]], path: Path) -> None:
    """Write a table: a row for each logged step, a column for each layer."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["step", *names])
    writer.writerows([step, *(f"{value:.6g}" for value in row)] for step, row in zip(steps, norms, strict=True))
    write_file(path, text.getvalue())


def draw(steps: Sequence[int], columns: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw a line for each layer, on a logarithmic scale."""
    from matplotlib.ticker import MaxNLocator

    from seq2att.drawing.figure import SERIES, legend_outside, new_figure, save, style_axes

    figure = new_figure(7.2, max(3.4, 0.24 * len(columns)))
    axes = figure.subplots()
    marker = "o" if len(steps) == 1 else None  # one point makes no line
    for number, (layer, norms) in enumerate(columns.items()):
        style = ("-", "--", ":", "-.")[number // len(SERIES) % 4]
        color = SERIES[number % len(SERIES)]
        values = np.maximum(norms, SMALLEST)  # [steps]
        axes.plot(steps, values, color=color, linestyle=style, linewidth=1.4, marker=marker, label=layer)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("norm of the gradient")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axes(axes)
    legend_outside(axes, fontsize=8)
    save(figure, path)
