"""The recurrence of one layer with a backward pass of our own: one product for all inputs, one for each matrix.

Only real positions are computed, row by row as long as it is. What happens step by step is an engine's work: in
Python (`steps.py`) or in C++ (`native`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.recurrence.engine import Engine, Pass
from seq2att.recurrence.packing import Packing
from seq2att.recurrence.product import product
from seq2att.recurrence.reference import STATES, CellName, Run, Weights


class Setting(NamedTuple):
    """What a run is, beside its tensors."""

    cell: CellName
    packing: Packing
    backwards: bool
    engine: Engine


def recur(setting: Setting, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights) -> Run:
    """The recurrence over `inputs` `[B, T, I]` from `state` (`[B, H]` each); at least one position is real."""
    tensors = (inputs, *state, *weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        outputs, *final = Recurrence.apply(setting, *tensors)  # type: ignore[no-untyped-call]
        return Run(outputs, tuple(final))
    return forward(setting, inputs, state, weights, keep=False)[0]


class Recurrence(torch.autograd.Function):
    """`recur` as a function of inputs, state and weights."""

    @staticmethod
    def forward(ctx: Any, setting: Setting, inputs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """`inputs`, the states and the weights to outputs and final states."""
        states = STATES[setting.cell]
        weights = Weights(*others[states:])
        run, kept = forward(setting, inputs, others[:states], weights, keep=True)
        ctx.setting = setting
        ctx.save_for_backward(weights.inputs, weights.hidden, *kept)
        ctx.set_materialize_grads(False)
        return (run.outputs, *run.final)

    @staticmethod
    def backward(ctx: Any, *given: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of inputs, states and weights; they refuse to be differentiated."""
        with torch.no_grad():
            found = backward(ctx.setting, ctx.saved_tensors, given, ctx.needs_input_grad[1:])
        return (None, *(refusing(part) if torch.is_grad_enabled() else part for part in found))


class Refusal(torch.autograd.Function):
    """The same numbers; asking for their gradient is an error instead of a silent nothing."""

    @staticmethod
    def forward(ctx: Any, numbers: Tensor) -> Tensor:
        """`numbers` as they are."""
        return numbers.clone()

    @staticmethod
    def backward(ctx: Any, *given: Tensor) -> Tensor:
        """Always an error."""
        raise UserError("the fast recurrence has no second derivatives; set SEQ2ATT_KERNEL=torch to have them")


def refusing(gradient: Tensor | None) -> Tensor | None:
    """A gradient that cannot be differentiated."""
    return None if gradient is None else Refusal.apply(gradient.requires_grad_())  # type: ignore[no-untyped-call]


def forward(
    setting: Setting, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights, keep: bool
) -> tuple[Run, tuple[Tensor, ...]]:
    """The run, and what its way back needs: packed inputs, gates, first state, states, and the engine's.

    The states `[N, H]` are those after each step; of a GRU those before it, which its engine keeps.
    """
    cell, packing, backwards, engine = setting
    bias, new_bias = biases(cell, weights)
    rows = packing.take(inputs)  # [N, I]
    gates = product(rows, weights.inputs, bias)  # [N, G*H]
    start = tuple(packing.sort(part) for part in state)
    over = Pass(cell, gates, weights.hidden, new_bias, packing.sizes, backwards)
    outputs, final, saved = engine.forward(over, start, keep)
    run = Run(packing.spread(outputs), tuple(packing.unsort(part) for part in final))
    if not keep:
        return run, ()
    return run, (rows, gates, start[0], saved[0] if cell == "gru" else outputs, *saved)


def backward(
    setting: Setting, kept: tuple[Tensor, ...], given: tuple[Tensor | None, ...], needed: tuple[bool, ...]
) -> list[Tensor | None]:
    """The gradients of inputs, states and weights that are `needed`, from those of outputs and final states."""
    cell, packing, backwards, engine = setting
    input_weight, hidden_weight, inputs, gates, start, states, *saved = kept
    if asked_again():
        gates = gates.clone()  # the engine overwrites it
    d_outputs = torch.zeros_like(states) if given[0] is None else packing.take(given[0])  # [N, H]
    d_final = tuple(torch.zeros_like(start) if part is None else packing.sort(part) for part in given[1:])
    over = Pass(cell, gates, hidden_weight, None, packing.sizes, backwards)
    d_gates, d_through, d_state = engine.backward(over, tuple(saved), d_outputs, d_final)
    for_inputs, *for_states, for_input, for_hidden, for_bias, for_hidden_bias = needed
    previous = None
    if for_hidden:
        previous = states if cell == "gru" else history(packing, start, states, backwards)  # [N, H]
    d_bias = d_gates.sum(0) if for_bias or for_hidden_bias else None  # [G*H]
    d_hidden_bias = None
    if for_hidden_bias and d_bias is not None:
        d_hidden_bias = d_through.sum(0) if cell == "gru" else d_bias.clone()
    return [
        packing.spread(product(d_gates, input_weight.t())) if for_inputs else None,
        *(packing.unsort(part) if wanted else None for part, wanted in zip(d_state, for_states, strict=True)),
        product(d_gates.t(), inputs.t()) if for_input else None,
        product(d_through.t(), previous.t()) if previous is not None else None,
        d_bias if for_bias else None,
        d_hidden_bias,
    ]


def asked_again() -> bool:
    """Whether the graph stays after the gradients that are computed now, so that they may be computed once more."""
    keeps = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", None)  # not in every PyTorch
    return keeps is None or bool(keeps())


def biases(cell: CellName, weights: Weights) -> tuple[Tensor, Tensor | None]:
    """What every gate has added to it before the loop `[G*H]`; of a GRU also what joins U_n h inside it `[H]`."""
    if cell != "gru":
        return weights.input_bias + weights.hidden_bias, None
    size = weights.hidden.size(1)
    outside = weights.hidden_bias.clone()
    outside[2 * size :] = 0
    return weights.input_bias + outside, weights.hidden_bias[2 * size :]


def history(packing: Packing, start: Tensor, outputs: Tensor, backwards: bool) -> Tensor:
    """The state before each packed position: `[N, H]`, of `start` `[B, H]` in order and `outputs` `[N, H]`."""
    place = packing.previous_index(backwards) - len(start)  # [N], negative where it is the start
    before = outputs.index_select(0, place.clamp(min=0))
    first = (place < 0).nonzero().squeeze(1)
    return before.index_copy_(0, first, start.index_select(0, place[first] + len(start)))
