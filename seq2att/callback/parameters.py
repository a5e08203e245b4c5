"""The layers of a model and how many parameters each of them has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from seq2att.recurrence.layer import Layer
from seq2att.registry import register
from seq2att.trainer.callback import Callback
from seq2att.trainer.loop import Training

ONE_BIAS_IN_KERAS = ("lstm", "tanh", "relu")  # cells; its GRU has two, as PyTorch's (`reset_after=True`)


@register("callback", "parameters")
class Parameters(Callback):
    """A table of the layers before training: the shapes and number of their parameters, in all, and as Keras counts."""

    def on_start(self, training: Training) -> None:
        for line in table(training.model):
            training.say(line)


class Row(NamedTuple):
    """One layer with parameters of its own."""

    name: str
    kind: str
    shapes: str
    size: int


def table(model: nn.Module) -> Iterator[str]:
    """The table as lines: layers, then sums."""
    header, *layers = Row("layer", "kind", "shapes", 0), *rows(model)
    widths = [max(len(row[column]) for row in (header, *layers)) for column in (0, 1, 2)]  # type: ignore[arg-type]
    for row in (header, *layers):
        count = "parameters" if row is header else f"{row.size:,}"
        yield f"  {row.name:<{widths[0]}}  {row.kind:<{widths[1]}}  {row.shapes:<{widths[2]}}  {count:>10}"
    yield f"  {total(model)}"


def rows(model: nn.Module) -> Iterator[Row]:
    """Every module with parameters of its own; one that several share is counted once."""
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [one for one in module.parameters(recurse=False) if id(one) not in seen]
        seen.update(id(one) for one in own)
        if own:
            shapes = "  ".join("x".join(map(str, one.shape)) for one in own)
            yield Row(name or "model", type(module).__name__, shapes, sum(one.numel() for one in own))


def total(model: nn.Module) -> str:
    """All parameters, those that are trained, and how many Keras counts where it counts otherwise."""
    count = sum(one.numel() for one in model.parameters())
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    parts = [f"total: {count:,} parameters"]
    parts += [f"{trained:,} of them trained"] if trained != count else []
    keras = count - extra_biases(model)
    parts += [f"as Keras counts {keras:,} (one bias in an LSTM or RNN layer, PyTorch has two)"] * (keras != count)
    return "; ".join(parts)


def extra_biases(model: nn.Module) -> int:
    """The parameters in those second biases of recurrent layers that Keras' layers lack."""
    return sum(
        module.hidden_bias.numel()
        for module in model.modules()
        if isinstance(module, Layer) and module.cell in ONE_BIAS_IN_KERAS
    )
