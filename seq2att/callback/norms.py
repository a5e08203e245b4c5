"""How large the gradient of each layer is while a model learns."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn

from seq2att.trainer.folder import NORMS, NORMS_CURVES
from seq2att.trainer.module import Training

LEAST = 1e-12  # what a norm of 0 is drawn as


class GradientNorms(Callback):
    """Notes the norm of every layer's gradient: that of the mean loss of a target token, before clipping."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.norms: list[list[float]] = []  # [steps, layers]
        self.layers: dict[str, list[nn.Parameter]] = {}

    def state_dict(self) -> dict[str, Any]:
        """What was noted, so that a resumed run goes on with it."""
        return {"steps": self.steps, "norms": self.norms}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with it."""
        self.steps, self.norms = state_dict["steps"], state_dict["norms"]

    def on_train_start(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Learn the layers of the model."""
        self.layers = layers(module.model)

    def on_train_batch_end(self, trainer: Trainer, module: Training, *_: Any) -> None:  # type: ignore[override]
        """Note the gradients of a step now and then; they stay until the next batch."""
        if module.parts or trainer.global_step % module.options["log_every"]:
            return
        norms = [norm(parameters) / module.shortened for parameters in self.layers.values()]
        self.steps.append(trainer.global_step)
        self.norms.append([float(value) for value in norms])
        named = zip(self.layers, self.norms[-1], strict=True)
        module.log_dict({f"gradient_norm/{layer}": value for layer, value in named})

    def on_validation_end(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Write the table, so that an interrupted run has it, too."""
        if trainer.is_global_zero and self.steps:
            write(list(self.layers), self.steps, self.norms, Path(module.config["run"]) / NORMS)

    def on_train_end(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Draw it."""
        if trainer.is_global_zero and self.steps:
            columns = dict(zip(self.layers, zip(*self.norms, strict=True), strict=True))
            draw(self.steps, columns, Path(module.config["run"]) / NORMS_CURVES)


def layers(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The parameters that are trained, by the name of the layer that holds them; shared ones belong to the first."""
    found: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            found.setdefault(name.rpartition(".")[0] or name, []).append(parameter)
    return found


def norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    """The Euclidean norm of the gradients together, `[]`; 0 where there are none."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if not gradients:
        return torch.zeros(())
    found: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)).float())
    return found


def write(names: Sequence[str], steps: Sequence[int], norms: Sequence[Sequence[float]], path: Path) -> None:
    """Write a table: a row for each step that was looked at, a column for each layer."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", *names])
        writer.writerows([step, *(f"{value:.6g}" for value in row)] for step, row in zip(steps, norms, strict=True))


def draw(steps: Sequence[int], columns: Mapping[str, Sequence[float]], path: Path) -> None:
    """Draw a line for each layer, on a logarithmic scale."""
    from matplotlib.ticker import MaxNLocator

    from seq2att.drawing.figure import SERIES, legend_outside, new_figure, save, style_axes

    figure = new_figure(7.2, max(3.4, 0.24 * len(columns)))
    axes = figure.subplots()
    marker = "o" if len(steps) == 1 else None  # one point makes no line
    for place, (layer, norms) in enumerate(columns.items()):
        style = ("-", "--", ":", "-.")[place // len(SERIES) % 4]
        color = SERIES[place % len(SERIES)]
        values = np.maximum(norms, LEAST)  # [steps]
        axes.plot(steps, values, color=color, linestyle=style, linewidth=1.4, marker=marker, label=layer)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("norm of the gradient")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    style_axes(axes)
    legend_outside(axes, fontsize=8)
    save(figure, path)
