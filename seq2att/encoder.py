"""Encoders: what reads the embedded source.

A plugin subclasses `Encoder`, sets `output_size`, and returns an `Encoding`.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from seq2att.errors import check_probability, check_size
from seq2att.recurrence import CellName, Dropout, Layer
from seq2att.registry import kind, register
from seq2att.types import Encoding, length_mask


@kind("encoder")
class Encoder(nn.Module):
    """Reads a source `[B, S, E]` and says what it found at every position and at the end."""

    output_size: int
    """M, the size of the outputs and of the final states."""
    bound: float | None = None
    """What no number of its outputs and final states exceeds, in training or not, without dropout; None: any may."""

    def __init__(self, input_size: int) -> None:
        super().__init__()

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        """Encode `inputs` `[B, S, E]`, of which row b has `lengths[b]` real positions."""
        raise NotImplementedError


@register("encoder", "none")
class NoEncoder(Encoder):
    """Hands the embedded source on as it is, without recurrence: the attention alone looks at it."""

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size)
        self.output_size = input_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        return Encoding(inputs, length_mask(lengths, inputs.size(1)), ())


class RecurrentEncoder(Encoder):
    """A stack of recurrent layers, each read in one or both directions.

    `size` is the number of units in one direction. `input_dropout` falls on what the first layer takes, `dropout` on
    what every layer gives, the last one included; with `residual` every layer but the first adds its input to its
    output. `locked` dropout is the same at every position (Gal & Ghahramani 2016); `weight_drop` is the probability
    with which a number of a recurrent matrix is 0 for a whole batch (Merity et al. 2018).
    """

    interchangeable = True
    """A recipe that tunes one of them tunes the others: `encoder=gru` keeps the size of its `lstm`."""
    cell: CellName

    def __init__(
        self,
        input_size: int,
        *,
        size: int = 256,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        residual: bool = False,
        locked: bool = False,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__(input_size)
        check_size("encoder.size", size)
        check_size("encoder.layers", layers)
        for name, share in (("dropout", dropout), ("input_dropout", input_dropout), ("weight_drop", weight_drop)):
            check_probability(f"encoder.{name}", share)
        self.output_size = size * (2 if bidirectional else 1)
        ours = type(self).forward is RecurrentEncoder.forward
        self.bound = 1.0 if ours and (layers == 1 or not residual) else None  # a state is a tanh, or a share of such
        widths = [input_size] + [self.output_size] * (layers - 1)
        self.forwards = nn.ModuleList(Layer(self.cell, width, size, weight_drop) for width in widths)
        self.backwards = nn.ModuleList(Layer(self.cell, width, size, weight_drop) for width in widths if bidirectional)
        self.input_dropout = Dropout(input_dropout, locked)
        self.dropout = Dropout(dropout, locked)
        self.residual = residual

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        known = lengths if inputs.is_cuda or bool((lengths < inputs.size(1)).any()) else None
        inputs = self.input_dropout(inputs)  # [B, S, E]
        finals = []
        for level in range(len(self.forwards)):
            outputs, final = self.read(level, inputs, known)
            if self.residual and level > 0:
                outputs = outputs + inputs
            inputs = self.dropout(outputs)  # [B, S, M]
            finals.append(final)
        final = tuple(torch.stack(parts, 1) for parts in zip(*finals, strict=True))  # [B, L, M] each
        return Encoding(inputs, length_mask(lengths, inputs.size(1)), final)

    def read(self, level: int, inputs: Tensor, lengths: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        """One layer in its directions, side by side: outputs `[B, S, M]` and final states `[B, M]`."""
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
    """Long short-term memory (Hochreiter & Schmidhuber 1997)."""

    cell = "lstm"


@register("encoder", "gru")
class GRUEncoder(RecurrentEncoder):
    """Gated recurrent units (Cho et al. 2014)."""

    cell = "gru"


@register("encoder", "rnn")
class RNNEncoder(RecurrentEncoder):
    """Simple recurrence (Elman 1990) with a tanh or relu."""

    cell = "tanh"

    def __init__(
        self,
        input_size: int,
        *,
        size: int = 256,
        layers: int = 1,
        bidirectional: bool = True,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        residual: bool = False,
        locked: bool = False,
        weight_drop: float = 0.0,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        super().__init__(
            input_size,
            size=size,
            layers=layers,
            bidirectional=bidirectional,
            dropout=dropout,
            input_dropout=input_dropout,
            residual=residual,
            locked=locked,
            weight_drop=weight_drop,
        )
        self.bound = self.bound if nonlinearity == "tanh" else None
        for layer in (*self.forwards, *self.backwards):
            cast(Layer, layer).cell = nonlinearity
