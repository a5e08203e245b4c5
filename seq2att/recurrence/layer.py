"""One recurrent layer in one direction: its parameters, and how they start."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2att.recurrence.reference import GATES, STATES, CellName, Run, Weights, reverse, run


class Layer(nn.Module):
    """Parameters of one layer in one direction, run over whole sequences.

    The input matrix starts uniform by Glorot & Bengio 2010, the recurrent matrix orthogonal gate by gate (Saxe et
    al. 2014), biases at 0 but the LSTM's forget gate at 1 (Jozefowicz et al. 2015).
    """

    def __init__(self, cell: CellName, input_size: int, size: int) -> None:
        super().__init__()
        self.cell: CellName = cell
        self.size = size
        width = GATES[cell] * size
        self.input_weight = nn.Parameter(torch.empty(width, input_size))
        self.hidden_weight = nn.Parameter(torch.empty(width, size))
        self.input_bias = nn.Parameter(torch.zeros(width))
        self.hidden_bias = nn.Parameter(torch.zeros(width))
        self.reset()

    def reset(self) -> None:
        """Draw the parameters anew."""
        for gate in self.input_weight.detach().split(self.size):
            nn.init.xavier_uniform_(gate)
        for gate in self.hidden_weight.detach().split(self.size):
            nn.init.orthogonal_(gate)
        if self.cell == "lstm":
            nn.init.ones_(self.input_bias.detach()[self.size : 2 * self.size])

    def start(self, like: Tensor, rows: int) -> tuple[Tensor, ...]:
        """The zero state, `[rows, H]` each, of the type and device of `like`."""
        return (like.new_zeros(rows, self.size),) * STATES[self.cell]

    def forward(
        self, inputs: Tensor, state: tuple[Tensor, ...], lengths: Tensor | None = None, backwards: bool = False
    ) -> Run:
        """Run over `inputs` `[B, T, I]` from `state`; `backwards` starts at each row's last real position."""
        weights = Weights(self.input_weight, self.hidden_weight, self.input_bias, self.hidden_bias)
        if not backwards:
            return run(self.cell, inputs, state, weights, lengths)
        outputs, final = run(self.cell, reverse(inputs, lengths), state, weights, lengths)
        return Run(reverse(outputs, lengths), final)
