"""One recurrent layer in one direction: its parameters and their initialization."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2att.recurrence.dropout import draw
from seq2att.recurrence.layer_function import run
from seq2att.recurrence.reference import GATES, STATES, CellName, Run, Weights


class Layer(nn.Module):
    """Parameters of one layer in one direction, run over whole sequences.

    The input matrix starts uniform by Glorot & Bengio 2010, the recurrent matrix orthogonal gate by gate (Saxe et
    al. 2014), biases at 0 but the LSTM's forget gate at 1 (Jozefowicz et al. 2015). In training a number of the
    recurrent matrix is 0 for a whole sequence with the probability `weight_drop` (Merity et al. 2018).
    """

    def __init__(self, cell: CellName, input_size: int, size: int, weight_drop: float = 0.0) -> None:
        super().__init__()
        self.cell: CellName = cell
        self.size = size
        self.weight_drop = weight_drop
        width = GATES[cell] * size
        self.input_weight = nn.Parameter(torch.empty(width, input_size))
        self.hidden_weight = nn.Parameter(torch.empty(width, size))
        self.input_bias = nn.Parameter(torch.zeros(width))
        self.hidden_bias = nn.Parameter(torch.zeros(width))
        self.reset()

    def reset(self) -> None:
        """Initialize the parameters."""
        for gate in self.input_weight.detach().split(self.size):
            nn.init.xavier_uniform_(gate)
        for gate in self.hidden_weight.detach().split(self.size):
            nn.init.orthogonal_(gate)
        if self.cell == "lstm":
            nn.init.ones_(self.input_bias.detach()[self.size : 2 * self.size])

    def start(self, like: Tensor, rows: int) -> tuple[Tensor, ...]:
        """The zero state, `[rows, H]` each, of the type and device of `like`."""
        return (like.new_zeros(rows, self.size),) * STATES[self.cell]

    def draw(self) -> Tensor | None:
        """The mask of the recurrent matrix for one sequence `[G*H, H]`; None without weight drop."""
        if not self.training or self.weight_drop == 0:
            return None
        return draw(self.hidden_weight, tuple(self.hidden_weight.shape), self.weight_drop)

    def weights(self, hidden_mask: Tensor | None = None) -> Weights:
        """The parameters, with `hidden_mask` or one that is drawn now on the recurrent matrix."""
        mask = self.draw() if hidden_mask is None else hidden_mask
        hidden = self.hidden_weight if mask is None else self.hidden_weight * mask
        return Weights(self.input_weight, hidden, self.input_bias, self.hidden_bias)

    def forward(
        self,
        inputs: Tensor,
        state: tuple[Tensor, ...],
        lengths: Tensor | None = None,
        backwards: bool = False,
        hidden_mask: Tensor | None = None,
    ) -> Run:
        """Run over `inputs` `[B, T, I]` from `state`; `backwards` starts at each row's last real position.

        `hidden_mask` is from `draw`, for the sequence that these steps belong to; None: drawn now.
        """
        return run(self.cell, inputs, state, self.weights(hidden_mask), lengths, backwards)
