"""Layers on top of each other, in one direction, with the state that decoding carries."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2att.recurrence.layer import Layer
from seq2att.recurrence.reference import STATES, CellName, Run


class Stack(nn.Module):
    """`layers` recurrent layers; dropout between them; with `residual` each but the first adds its input."""

    def __init__(
        self, cell: CellName, input_size: int, size: int, layers: int, dropout: float = 0.0, residual: bool = False
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(cell, input_size if level == 0 else size, size) for level in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.residual = residual
        self.states = STATES[cell]

    def forward(self, inputs: Tensor, state: tuple[Tensor, ...]) -> Run:
        """Run over `inputs` `[B, T, I]` from `state` (`[B, L, H]` each); the final state has the same shape."""
        finals = []
        for level, layer in enumerate(self.layers):
            start = tuple(part[:, level] for part in state)  # [B, H] each
            below = inputs if level == 0 else self.dropout(inputs)
            outputs, final = layer(below, start)
            inputs = outputs + inputs if self.residual and level > 0 else outputs
            finals.append(final)
        return Run(inputs, tuple(torch.stack(parts, 1) for parts in zip(*finals, strict=True)))
