"""The layers of a model: their names, what they return, and how many parameters each of them has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeGuard

from torch import nn

from seq2att.field.embedding import SpelledEmbedding, TextEmbedding
from seq2att.head import Generator
from seq2att.head.pooling import Pool, PooledHead
from seq2att.head.transitions import Transitions
from seq2att.model import Model
from seq2att.output import Entries, Output
from seq2att.recurrence.layer import Layer
from seq2att.recurrence.reference import CellName
from seq2att.registry import register
from seq2att.trainer.callback import Callback
from seq2att.trainer.loop import Training

CELLS: dict[CellName, str] = {"lstm": "LSTM", "gru": "GRU", "tanh": "SimpleRNN", "relu": "SimpleRNN"}
"""How Keras calls the layer of a cell."""
ONE_BIAS_IN_KERAS = ("lstm", "tanh", "relu")  # cells; its GRU has two, as PyTorch's (`reset_after=True`)
SHAPES = "B rows, S positions of the source, T of the target"


@register("callback", "parameters")
class Parameters(Callback):
    """A table of the layers before training, as Keras' `summary`: output shapes, and parameters as both count them.

    Keras counts one bias in an LSTM or a SimpleRNN, where PyTorch and this toolkit have two; both have two in a GRU.
    """

    def on_start(self, training: Training) -> None:
        for line in table(training.model):
            training.say(line)


class Row(NamedTuple):
    """One layer."""

    name: str
    kind: str
    shape: str
    size: int
    keras: int


def table(model: nn.Module) -> Iterator[str]:
    """The table as lines: layers, then sums."""
    titles = Row("layer", "kind", "output shape", 0, 0)
    layers = list(rows(model))
    widths = [max(len(row[column]) for row in (titles, *layers)) for column in (0, 1, 2)]  # type: ignore[arg-type]
    differs = any(row.size != row.keras for row in layers)
    yield f"  output shapes: {SHAPES}"
    for row in (titles, *layers):
        counts = ("parameters", "in Keras") if row is titles else (f"{row.size:,}", f"{row.keras:,}")
        names = "  ".join(f"{row[column]:<{width}}" for column, width in enumerate(widths))
        in_keras = "" if not differs or (row.size == row.keras and row is not titles) else f"  {counts[1]:>10}"
        yield f"  {names}  {counts[0]:>10}{in_keras}"
    yield f"  {total(model)}"


def rows(model: nn.Module) -> Iterator[Row]:
    """Every module with parameters of its own, and poolings; parameters that several share are counted once."""
    seen: set[int] = set()
    for name, module in model.named_modules():
        own = [one for one in module.parameters(recurse=False) if id(one) not in seen]
        seen.update(id(one) for one in own)
        if own or isinstance(module, Pool):
            size = sum(one.numel() for one in own)
            keras = size - (extra_bias(module) if own else 0)
            yield Row(name or "model", kind_of(module), output_shape(model, name, module), size, keras)


def kind_of(module: nn.Module) -> str:
    """What a layer is usually called."""
    if isinstance(module, Layer):
        return CELLS[module.cell]
    if isinstance(module, Pool):
        return "+".join(module.kinds)
    if is_dense(module):
        return "Dense"
    names: dict[type, str] = {TextEmbedding: "Embedding", Transitions: "CRF"}
    names[SpelledEmbedding] = "Conv1D"
    return next((name for cls, name in names.items() if isinstance(module, cls)), type(module).__name__)


def is_dense(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Whether a layer multiplies by a matrix `weight` `[units, inputs]`, as the linear output layer does too."""
    weight = getattr(module, "weight", None)
    return isinstance(module, nn.Linear | Output | Entries) and isinstance(weight, nn.Parameter) and weight.dim() == 2


def output_shape(model: nn.Module, name: str, module: nn.Module) -> str:
    """What a layer returns, as `(B, S, 8)`; empty for a layer of a plugin."""
    units = num_units(module)
    return "" if units is None else f"({', '.join([*positions(model, name, module), f'{units}'])})"


def num_units(module: nn.Module) -> int | None:
    """The last dimension of what a layer returns; None where that is not known."""
    if isinstance(module, Layer):
        return module.size
    if is_dense(module):
        return int(module.weight.size(0))
    if isinstance(module, nn.Embedding):
        return module.embedding_dim
    if isinstance(module, SpelledEmbedding):
        return module.bias.size(0)
    if isinstance(module, TextEmbedding | Pool):
        return module.output_size
    return None


def positions(model: nn.Module, name: str, module: nn.Module) -> list[str]:
    """The dimensions before the last one, by the place of a layer in the model."""
    parts = name.split(".")
    head = model.head if isinstance(model, Model) else None
    if "key" in parts or parts[0] != "head":
        return ["B", "S"]
    if "bridge" in parts:
        return ["B", "layers"]
    if isinstance(head, Generator):
        return ["B", "T"]
    return ["B"] if isinstance(head, PooledHead) else ["B", "S"]


def total(model: nn.Module) -> str:
    """All parameters, those that are trained, and how many Keras counts where it counts otherwise."""
    count = sum(one.numel() for one in model.parameters())
    trained = sum(one.numel() for one in model.parameters() if one.requires_grad)
    parts = [f"total: {count:,} parameters"]
    parts += [f"{trained:,} of them trained"] if trained != count else []
    keras = count - sum(map(extra_bias, model.modules()))
    parts += [f"as Keras counts {keras:,} (one bias in an LSTM or SimpleRNN, two here)"] * (keras != count)
    return "; ".join(parts)


def extra_bias(module: nn.Module) -> int:
    """The parameters in the second bias of a recurrent layer that Keras' layer lacks."""
    return module.hidden_bias.numel() if isinstance(module, Layer) and module.cell in ONE_BIAS_IN_KERAS else 0
