"""The reference: the recurrence in plain torch, which the C++ kernels must equal.

Equations (`x` input, `h` state, `s` the logistic function, `*` elementwise):

    tanh, relu   h' = f(W x + b + U h + d)
    lstm         i, f, g, o = W x + b + U h + d;  c' = s(f) * c + s(i) * tanh(g);  h' = s(o) * tanh(c')
                 Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000
    gru          r, z = s(W x + b + U h + d);  n = tanh(W x + b + r * (U h + d));  h' = (1 - z) * n + z * h
                 Cho et al. 2014, the reset gate after the matrix product
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from seq2att.types import length_mask

CellName = Literal["tanh", "relu", "lstm", "gru"]
GATES: dict[CellName, int] = {"tanh": 1, "relu": 1, "lstm": 4, "gru": 3}
STATES: dict[CellName, int] = {"tanh": 1, "relu": 1, "lstm": 2, "gru": 1}
SATURATED = 1e4  # the logistic function of it is exactly 1, of minus it 0, in every precision


class Weights(NamedTuple):
    """The parameters of one layer in one direction; G gates of H units each."""

    inputs: Tensor  # [G*H, I]
    hidden: Tensor  # [G*H, H]
    input_bias: Tensor  # [G*H]
    hidden_bias: Tensor  # [G*H]


class Run(NamedTuple):
    """A layer's states at every step, and after the last real one."""

    outputs: Tensor  # [B, T, H], 0 on padding
    final: tuple[Tensor, ...]  # (h,) or (h, c), each [B, H]


def run(cell: CellName, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None) -> Run:
    """The recurrence over `inputs` `[B, T, I]` from `state` (`[B, H]` each); rows end after `lengths` `[B]`, if given.

    A padded sequence is run whole: torch trains through packed ones in time quadratic in their length (on a CPU).
    """
    if inputs.numel() == 0 or inputs.size(1) == 0:
        return Run(inputs.new_zeros(*inputs.shape[:2], weights.hidden.size(1)), state)
    if inputs.size(1) == 1 and lengths is None:
        final = step(cell, inputs.squeeze(1), state, weights)
        return Run(final[0].unsqueeze(1), final)
    if lengths is None or bool((lengths == inputs.size(1)).all()):
        return sequence(cell, inputs, state, weights)
    mask = length_mask(lengths, inputs.size(1))  # [B, T]
    if cell == "lstm":
        inputs, weights = mark_padding(inputs, mask, weights)
    outputs, final = sequence(cell, inputs, state, weights)
    hidden = last_state(outputs, lengths, state[0])
    return Run(outputs * mask.unsqueeze(2), (hidden, *final[1:]))


def sequence(cell: CellName, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights) -> Run:
    """The recurrence over every position, padding or not, by torch's own kernels (oneDNN, cuDNN)."""
    first = tuple(part.unsqueeze(0) for part in state)  # [1, B, H] each
    settings = (list(weights), True, 1, 0.0, torch.is_grad_enabled(), False, True)
    if cell == "lstm":
        outputs, hidden, memory = torch.lstm(inputs, first, *settings)
        return Run(outputs, (hidden.squeeze(0), memory.squeeze(0)))
    function = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu, "gru": torch.gru}[cell]
    outputs, hidden = function(inputs, first[0], *settings)
    return Run(outputs, (hidden.squeeze(0),))


def step(cell: CellName, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
    """One step from `inputs` `[B, I]`: the new state."""
    if cell == "lstm":
        return torch.lstm_cell(inputs, state, *weights)
    function = {"tanh": torch.rnn_tanh_cell, "relu": torch.rnn_relu_cell, "gru": torch.gru_cell}[cell]
    return (function(inputs, state[0], *weights),)


def activate(
    cell: CellName, inputs: Tensor, through: Tensor, new_bias: Tensor | None, state: tuple[Tensor, ...]
) -> tuple[dict[str, Tensor], tuple[Tensor, ...]]:
    """The gates `[N, H]` by name and the new state, from `W x` and biases `[N, G*H]` and `U h` `[N, G*H]`.

    `new_bias` `[H]` is the d of a GRU's new gate, which stands inside its reset gate.
    """
    if cell == "lstm":
        into, forget, new, out = (inputs + through).chunk(4, 1)
        gates = {"input": into.sigmoid(), "forget": forget.sigmoid(), "cell": new.tanh(), "output": out.sigmoid()}
        memory = gates["forget"] * state[1] + gates["input"] * gates["cell"]
        return gates, (gates["output"] * memory.tanh(), memory)
    if cell == "gru":
        assert new_bias is not None
        (reset, update, new), inner = inputs.chunk(3, 1), through.chunk(3, 1)
        gates = {"reset": (reset + inner[0]).sigmoid(), "update": (update + inner[1]).sigmoid()}
        gates["new"] = (new + gates["reset"] * (inner[2] + new_bias)).tanh()
        return gates, (gates["new"] + gates["update"] * (state[0] - gates["new"]),)
    total = inputs + through
    return {}, (total.tanh() if cell == "tanh" else total.relu(),)


def gate_biases(cell: CellName, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """The bias of all gates `[G*H]` that is added before the loop; of a GRU also the one added to U_n h `[H]`."""
    if cell != "gru":
        return weights.input_bias + weights.hidden_bias, None
    size = weights.hidden.size(1)
    outside = weights.hidden_bias.clone()
    outside[2 * size :] = 0
    return weights.input_bias + outside, weights.hidden_bias[2 * size :]


class Activation(NamedTuple):
    """What one step of a layer computes."""

    gates: dict[str, Tensor]  # [B, H] each, by name; none of an RNN
    state: tuple[Tensor, ...]  # (h,) or (h, c), each [B, H]


def unroll(
    cell: CellName, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights, backwards: bool = False
) -> list[Activation]:
    """Every step of the recurrence over `inputs` `[B, T, I]` without padding, in the order of the positions."""
    bias, new_bias = gate_biases(cell, weights)
    projected = inputs @ weights.inputs.t() + bias  # [B, T, G*H]
    steps = []
    for part in reversed(projected.unbind(1)) if backwards else projected.unbind(1):
        gates, state = activate(cell, part, state[0] @ weights.hidden.t(), new_bias, state)
        steps.append(Activation(gates, state))
    return steps[::-1] if backwards else steps


def mark_padding(inputs: Tensor, mask: Tensor, weights: Weights) -> tuple[Tensor, Weights]:
    """Add an input that is 1 on padding, closes the input gate and opens the forget gate, so that `c` stays."""
    size = weights.hidden.size(1)
    gates = weights.inputs.new_zeros(4, size)  # input, forget, cell, output
    gates[0], gates[1] = -SATURATED, SATURATED
    padding = (~mask).unsqueeze(2).to(inputs.dtype)  # [B, T, 1]
    marked = torch.cat([inputs, padding], 2)  # [B, T, I + 1]
    return marked, weights._replace(inputs=torch.cat([weights.inputs, gates.view(-1, 1)], 1))


def last_state(outputs: Tensor, lengths: Tensor, start: Tensor) -> Tensor:
    """The output `[B, H]` at each row's last real position; `start` where a row has none."""
    rows = torch.arange(outputs.size(0), device=outputs.device)
    last = outputs[rows, (lengths - 1).clamp(min=0)]  # [B, H]
    return torch.where((lengths > 0).unsqueeze(1), last, start)


def reverse(values: Tensor, lengths: Tensor | None) -> Tensor:
    """The real positions of every row `[B, T, I]` in reverse order, padding left where it is; its own inverse."""
    if lengths is None or bool((lengths == values.size(1)).all()):
        return values.flip(1)
    batch, steps = values.shape[:2]
    position = torch.arange(steps, device=values.device).expand(batch, steps)  # [B, T]
    mirrored = lengths.unsqueeze(1) - 1 - position  # [B, T], negative on padding
    source = torch.where(mirrored >= 0, mirrored, position)
    source = source + steps * torch.arange(batch, device=values.device).unsqueeze(1)
    reversed_rows: Tensor = values.flatten(0, 1).index_select(0, source.flatten()).unflatten(0, (batch, steps))
    return reversed_rows
