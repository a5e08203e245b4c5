"""Encoders: from the embedded source to one output for every position, and final states.

A plugin subclasses `Encoder`, sets `output_size`, and returns an `Encoding` from `forward`.
"""

from __future__ import annotations

from typing import Annotated, Literal, cast

import torch
from torch import Tensor, nn

from seq2att.recurrence import CellName, Dropout, Layer
from seq2att.registry import Inherited, Range, Rate, Size, kind, register
from seq2att.types import Encoding, length_mask


@kind("encoder")
class Encoder(nn.Module):
    """Encodes an embedded source `[B, S, E]`.

    A subclass sets `output_size` in its constructor, to which the program gives `input_size` (E), and writes `forward`.
    What stands on padding must not change what is returned for real positions.
    """

    output_size: int
    """M, the size of the outputs and of the final states."""

    def __init__(self, input_size: int) -> None:
        super().__init__()

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        """Encode `inputs` `[B, S, E]`, of which row b has `lengths[b]` real positions.

        Returns:
            `Encoding(outputs [B, S, M], mask [B, S], final)`. `final` is a tuple of states `[B, L, M]`, the last one of
            every layer, from which the decoder starts; `()` where there are none.
        """
        raise NotImplementedError


@register("encoder", "none")
class NoEncoder(Encoder):
    """The embedded source itself, without recurrence and without final states."""

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size)
        self.output_size = input_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        return Encoding(inputs, length_mask(lengths, inputs.size(1)), ())


class RecurrentEncoder(Encoder):
    """A stack of recurrent layers, in one or both directions.

    Args:
        size: units of a layer in each direction.
        layers: number of layers.
        bidirectional: read in both directions; the outputs of both stand side by side, so M = 2 * size.
        dropout: dropout on the outputs of every layer, the last one included.
        input_dropout: dropout on the input of the first layer.
        residual: every layer but the first adds its input to its output (He et al. 2016).
        locked: use one dropout mask at all positions of a sequence (Gal & Ghahramani 2016).
        weight_drop: dropout on the recurrent weights, one mask for a batch (Merity et al. 2018).
    """

    interchangeable = True
    """The options of a recipe for one of them hold for the others: `encoder=gru` keeps the size of its `lstm`."""
    cell: CellName

    def __init__(
        self,
        input_size: int,
        *,
        size: Size = 256,
        layers: Annotated[int, Range(1, 100)] = 1,
        bidirectional: bool = True,
        dropout: Rate = 0.0,
        input_dropout: Rate = 0.0,
        residual: bool = False,
        locked: bool = False,
        weight_drop: Rate = 0.0,
    ) -> None:
        super().__init__(input_size)
        self.output_size = size * (2 if bidirectional else 1)
        widths = [input_size] + [self.output_size] * (layers - 1)
        self.forwards = nn.ModuleList(Layer(self.cell, width, size, weight_drop) for width in widths)
        self.backwards = nn.ModuleList(Layer(self.cell, width, size, weight_drop) for width in widths if bidirectional)
        self.input_dropout = Dropout(input_dropout, locked)
        self.dropout = Dropout(dropout, locked)
        self.residual = residual

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        needed = lengths if inputs.is_cuda or bool((lengths < inputs.size(1)).any()) else None
        inputs = self.input_dropout(inputs)  # [B, S, E]
        finals = []
        for level in range(len(self.forwards)):
            outputs, final = self.read(level, inputs, needed)
            if self.residual and level > 0:
                outputs = outputs + inputs
            inputs = self.dropout(outputs)  # [B, S, M]
            finals.append(final)
        final = tuple(torch.stack(parts, 1) for parts in zip(*finals, strict=True))  # [B, L, M] each
        return Encoding(inputs, length_mask(lengths, inputs.size(1)), final)

    def read(self, level: int, inputs: Tensor, lengths: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run a layer in its directions: outputs `[B, S, M]` and final states `[B, M]`, side by side."""
        runs = []
        for layers, backwards in ((self.forwards, False), (self.backwards, True)):
            if len(layers):
                layer = cast(Layer, layers[level])
                runs.append(layer(inputs, layer.start(inputs, inputs.size(0)), lengths, backwards=backwards))
        if len(runs) == 1:
            return runs[0].outputs, runs[0].final
        finals = zip(*(run.final for run in runs), strict=True)
        return torch.cat([run.outputs for run in runs], 2), tuple(torch.cat(parts, 1) for parts in finals)


@register("encoder", "lstm")
class LSTMEncoder(RecurrentEncoder):
    """LSTM: long short-term memory (Hochreiter & Schmidhuber 1997)."""

    cell = "lstm"


@register("encoder", "gru")
class GRUEncoder(RecurrentEncoder):
    """GRU: gated recurrent units (Cho et al. 2014)."""

    cell = "gru"


@register("encoder", "rnn")
class RNNEncoder(RecurrentEncoder):
    """RNN: simple recurrence h' = f(W x + U h + b) (Elman 1990).

    Args:
        nonlinearity: the activation f.
    """

    cell = "tanh"

    def __init__(
        self,
        input_size: int,
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        **options: Inherited,
    ) -> None:
        super().__init__(input_size, **options)
        for layer in (*self.forwards, *self.backwards):
            cast(Layer, layer).cell = nonlinearity
