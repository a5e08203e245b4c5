"""A stack of recurrent layers in one direction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from seq2att.recurrence.dropout import Draws, Dropout
from seq2att.recurrence.layer import Layer
from seq2att.recurrence.reference import STATES, CellName, Run


class Stack(nn.Module):
    """`layers` recurrent layers; dropout between them; with `residual` each but the first adds its input.

    `locked` dropout is the same at every step (Gal & Ghahramani 2016); `weight_drop` is the probability with which a
    number of a recurrent matrix is 0 for a whole sequence (Merity et al. 2018).
    """

    def __init__(
        self,
        cell: CellName,
        input_size: int,
        size: int,
        layers: int,
        dropout: float = 0.0,
        residual: bool = False,
        locked: bool = False,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [input_size] + [size] * (layers - 1)
        self.layers = nn.ModuleList(Layer(cell, width, size, weight_drop) for width in widths)
        self.dropout = Dropout(dropout, locked)
        self.residual = residual
        self.states = STATES[cell]
        self.size = size

    def draw(self, inputs: Tensor) -> Draws:
        """The dropout masks of one sequence as long as `inputs` `[B, T, I]`."""
        shape = (inputs.size(0), inputs.size(1), self.size)
        below = [self.dropout.draw(inputs, shape) if level else None for level in range(len(self.layers))]
        return Draws(tuple(below), tuple(layer.draw() for layer in self.each()))

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None, draws: Draws | None = None
    ) -> Run:
        """Run over `inputs` `[B, T, I]` from `state` (`[B, L, H]` each); the final state has the same shape.

        Rows end after `lengths` `[B]`, if given. `draws` are the masks of these steps; None: drawn now.
        """
        draws = self.draw(inputs) if draws is None else draws
        finals = []
        for level, layer in enumerate(self.each()):
            start = tuple(part[:, level] for part in state)  # [B, H] each
            mask = draws.below[level]
            below = inputs if mask is None else inputs * mask
            outputs, final = layer(below, start, lengths, hidden_mask=draws.hidden[level])
            inputs = outputs + inputs if self.residual and level > 0 else outputs
            finals.append(final)
        return Run(inputs, tuple(torch.stack(parts, 1) for parts in zip(*finals, strict=True)))

    def each(self) -> Iterator[Layer]:
        """The layers, lowest first."""
        return (cast(Layer, layer) for layer in self.layers)
