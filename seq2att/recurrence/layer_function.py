"""The recurrence of one layer: the choice of its tier, and the autograd function around the C++ kernel.

One product makes the input's part of all gates, and one each the gradients of the matrices; only the steps themselves
are the kernel's. Real positions alone are computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.recurrence import reference
from seq2att.recurrence.choice import VARIABLE, is_traced, keeps_graph, use_native
from seq2att.recurrence.native.functions import CELLS, LAYER
from seq2att.recurrence.packing import Packing
from seq2att.recurrence.product import matmul
from seq2att.recurrence.reference import STATES, CellName, Run, Weights, gate_biases, reverse


def run(
    cell: CellName,
    inputs: Tensor,
    state: tuple[Tensor, ...],
    weights: Weights,
    lengths: Tensor | None = None,
    backwards: bool = False,
) -> Run:
    """The recurrence over `inputs` `[B, T, I]` from `state` (`[B, H]` each); rows end after `lengths` `[B]`, if given.

    `backwards` starts at each row's last real position.
    """
    if can_run_native(inputs, state, weights, lengths):
        packing = Packing.of(lengths, inputs.size(0), inputs.size(1))
        if packing.sizes:
            return run_native(LayerSettings(cell, packing, backwards), inputs, state, weights)
    if not backwards:
        return reference.run(cell, inputs, state, weights, lengths)
    outputs, final = reference.run(cell, reverse(inputs, lengths), state, weights, lengths)
    return Run(reverse(outputs, lengths), final)


def can_run_native(inputs: Tensor, state: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None) -> bool:
    """Whether the C++ kernel runs this: not one step so small that its preparations take longer than torch's cell.

    Measured on one core of a Zen 5, forward and backward, torch's time over that of C++: LSTM 16x256 0.7, 64x256 1.0,
    64x512 1.1, 320x512 1.1, and 1.8 forward only; GRU 320x512 1.8.
    """
    if is_traced() or inputs.numel() == 0:
        return False
    if lengths is None and inputs.size(1) == 1 and (inputs.size(0) < 128 or weights.hidden.numel() < 1 << 18):
        return False
    return use_native(inputs, *state, *weights)


class LayerSettings(NamedTuple):
    """What a run of a layer depends on besides its tensors."""

    cell: CellName
    packing: Packing
    backwards: bool


def run_native(settings: LayerSettings, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights) -> Run:
    """`run` by the C++ kernel; at least one position is real."""
    tensors = (inputs, *state, *weights)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        outputs, *final = LayerFunction.apply(settings, *tensors)  # type: ignore[no-untyped-call]
        return Run(outputs, tuple(final))
    return forward(settings, inputs, state, weights, keep=False)[0]


class LayerFunction(torch.autograd.Function):
    """`run_native` as a function of inputs, state and weights."""

    @staticmethod
    def forward(ctx: Any, settings: LayerSettings, inputs: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
        """`inputs`, the states and the weights to outputs and final states."""
        states = STATES[settings.cell]
        weights = Weights(*others[states:])
        result, saved = forward(settings, inputs, others[:states], weights, keep=True)
        ctx.settings = settings
        ctx.save_for_backward(weights.inputs, weights.hidden, *saved)
        ctx.set_materialize_grads(False)
        return (result.outputs, *result.final)

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of inputs, states and weights."""
        with torch.no_grad():
            gradients = backward(ctx.settings, ctx.saved_tensors, d_results, ctx.needs_input_grad[1:])
        return (None, *differentiable_once(gradients))


def forward(
    settings: LayerSettings, inputs: Tensor, state: tuple[Tensor, ...], weights: Weights, keep: bool
) -> tuple[Run, tuple[Tensor | None, ...]]:
    """The run, and with `keep` what `backward` needs.

    That is the packed inputs, gates, first h, and `[N, H]` each: h after each step; of an LSTM c before and tanh c
    after it; of a GRU h before it and U_n h + d_n.
    """
    cell, packing, _ = settings
    bias, new_bias = gate_biases(cell, weights)
    rows = packing.pack(inputs)  # [N, I]
    gates = matmul(rows, weights.inputs, bias)  # [N, G*H]
    final = [packing.sort(part) for part in state]  # first the start
    first = final[0].clone() if keep else None
    outputs = gates.new_empty(gates.size(0), weights.hidden.size(1))
    previous, extra = (torch.empty_like(outputs) if keep and cell in ("lstm", "gru") else None for _ in range(2))
    call_kernel(settings, False, weights.hidden, new_bias, gates, final, outputs, previous, extra)
    result = Run(packing.unpack(outputs), tuple(packing.unsort(part) for part in final))
    return result, (rows, gates, first, outputs, previous, extra) if keep else ()


def backward(
    settings: LayerSettings,
    saved_tensors: tuple[Tensor, ...],
    d_results: tuple[Tensor | None, ...],
    needed: tuple[bool, ...],
) -> list[Tensor | None]:
    """The gradients of inputs, states and weights that are `needed`, from those of outputs and final states."""
    cell, packing, backwards = settings
    input_weight, hidden_weight, rows, gates, first, outputs, previous, extra = saved_tensors
    d_gates = gates.clone() if keeps_graph() else gates  # the kernel overwrites it
    d_projected = torch.empty_like(gates) if cell == "gru" else d_gates  # of U h
    d_outputs = torch.zeros_like(outputs) if d_results[0] is None else packing.pack(d_results[0])  # [N, H]
    d_state = [torch.zeros_like(first) if part is None else packing.sort(part) for part in d_results[1:]]
    call_kernel(settings, True, hidden_weight, None, d_gates, d_state, d_outputs, previous, extra, d_projected)
    needs_inputs, *needs_states, needs_input_weight, needs_hidden_weight, needs_bias, needs_hidden_bias = needed
    d_hidden_weight = None
    if needs_hidden_weight:
        hidden = previous if cell == "gru" else packing.previous(first, outputs, backwards)  # [N, H] before each step
        d_hidden_weight = matmul(d_projected.t(), hidden.t())
    d_bias = d_gates.sum(0) if needs_bias or needs_hidden_bias else None  # [G*H]
    d_hidden_bias = d_bias
    if needs_hidden_bias and d_bias is not None:
        d_hidden_bias = d_projected.sum(0) if cell == "gru" else d_bias.clone()
    return [
        packing.unpack(matmul(d_gates, input_weight.t())) if needs_inputs else None,
        *(packing.unsort(part) if is_needed else None for part, is_needed in zip(d_state, needs_states, strict=True)),
        matmul(d_gates.t(), rows.t()) if needs_input_weight else None,
        d_hidden_weight,
        d_bias if needs_bias else None,
        d_hidden_bias if needs_hidden_bias else None,
    ]


def call_kernel(
    settings: LayerSettings,
    backward: bool,
    hidden_weight: Tensor,
    new_bias: Tensor | None,
    gates: Tensor,
    state: list[Tensor],
    outputs: Tensor,
    previous: Tensor | None,
    extra: Tensor | None,
    d_projected: Tensor | None = None,
) -> None:
    """Run the steps: activate `gates`, turn `state` from the first into the final one, fill the other buffers.

    In the backward pass `gates` become their gradients, `state` turns from the gradient of the final state into that of
    the first, and `outputs` holds the gradient of the outputs.
    """
    LAYER(
        cell=CELLS[settings.cell],
        backwards=settings.backwards,
        backward=backward,
        sizes=torch.tensor(settings.packing.sizes),
        weight=hidden_weight.contiguous(),
        new_bias=None if new_bias is None else new_bias.contiguous(),
        gates=gates,
        hidden=state[0],
        memory=state[1] if len(state) > 1 else None,
        outputs=outputs,
        previous=previous,
        extra=extra,
        d_projected=None if d_projected is gates else d_projected,
    )


class NoSecondDerivative(torch.autograd.Function):
    """The same numbers; asking for their gradient is an error instead of a silent nothing."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor) -> Tensor:
        """`gradient` as it is."""
        return gradient.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Always an error."""
        problem = "the C++ kernels have no second derivatives"
        raise UserError("E-kernel", "create_graph=True", problem, f"set {VARIABLE}=torch")


def differentiable_once(gradients: list[Tensor | None]) -> list[Tensor | None]:
    """The gradients, which refuse to be differentiated where the backward pass is recorded."""
    if not torch.is_grad_enabled():
        return gradients
    return [
        None if gradient is None else NoSecondDerivative.apply(gradient.requires_grad_())  # type: ignore[no-untyped-call]
        for gradient in gradients
    ]
