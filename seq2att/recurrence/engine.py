"""What every engine of a layer takes and gives: the loops of `steps` in Python, those of `native` in C++."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from seq2att.recurrence.reference import CellName


class Pass(NamedTuple):
    """One layer over one packed batch: of step t there are `sizes[t]` rows, the first of the state's."""

    cell: CellName
    gates: Tensor  # [N, G*H] the input's part and all biases (but `new_bias`); then activated; then their gradients
    hidden_weight: Tensor  # [G*H, H]
    new_bias: Tensor | None  # [H] GRU: what joins U_n h inside the reset gate
    sizes: list[int]
    backwards: bool  # from the last step to the first


class Engine(Protocol):
    """What runs the steps of a layer over packed rows."""

    name: str

    def forward(
        self, over: Pass, state: tuple[Tensor, ...], keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Outputs `[N, H]`, the final state `[B, H]` each, and what `backward` needs; overwrites the gates.

        It needs of an LSTM (c before, tanh c after), of a GRU (h before, U_n h + d_n), of the others (h after).
        """

    def backward(
        self, over: Pass, saved: tuple[Tensor, ...], d_outputs: Tensor, d_final: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Gradients of the gates' input part `[N, G*H]`, of `U h` `[N, G*H]`, and of the first state."""
