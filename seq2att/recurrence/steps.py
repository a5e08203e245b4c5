"""The loop of one layer in Python: of every step, the operations that no other step can share.

Everything that can wait is outside: the input's part of the gates comes before, the gradients of the matrices after.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2att.recurrence.engine import Pass
from seq2att.recurrence.product import Prepared

sigmoid_backward = torch.ops.aten.sigmoid_backward
tanh_backward = torch.ops.aten.tanh_backward


class Engine:
    """Runs a layer's loops in place, step by step, on the rows that are alive."""

    name = "python"

    def forward(
        self, over: Pass, state: tuple[Tensor, ...], keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Outputs `[N, H]`, the final state, and, if `keep`, what `backward` needs: see the protocol."""
        cell, gates, hidden_weight, new_bias, sizes, backwards = over
        final = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
        outputs = gates.new_empty(gates.size(0), hidden_weight.size(1))
        gated = cell in ("lstm", "gru")
        saved = (torch.empty_like(outputs), torch.empty_like(outputs)) if keep and gated else ()
        matrix = Prepared(hidden_weight, sizes[0])
        for rows, n in spans(sizes, backwards):
            hidden, kept = final[0][:n], tuple(part[rows] for part in saved)
            if cell == "gru":
                assert new_bias is not None
                gru(gates[rows], matrix(hidden), new_bias, hidden, kept, outputs[rows])
            elif cell == "lstm":
                lstm(matrix.add_to(gates[rows], hidden), final[1][:n], kept, outputs[rows])
            else:
                summed = matrix.add_to(gates[rows], hidden)
                outputs[rows] = summed.tanh_() if cell == "tanh" else summed.relu_()
            hidden.copy_(outputs[rows])
        return outputs, final, saved if gated else (outputs,)

    def backward(
        self, over: Pass, saved: tuple[Tensor, ...], d_outputs: Tensor, d_final: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Gradients of the gates' two parts `[N, G*H]` and of the first state, written over the gates."""
        cell, gates, hidden_weight, _, sizes, backwards = over
        d_state = tuple(part.clone(memory_format=torch.contiguous_format) for part in d_final)
        through = torch.empty_like(gates) if cell == "gru" else gates
        matrix = Prepared(hidden_weight.t(), sizes[0])
        for rows, n in spans(sizes, not backwards):
            d_hidden = d_state[0][:n].add_(d_outputs[rows])
            if cell == "gru":
                gru_back(gates[rows], through[rows], d_hidden, saved[0][rows], saved[1][rows])
                matrix.add_to(d_hidden, through[rows])
                continue
            if cell == "lstm":
                lstm_back(gates[rows], d_hidden, d_state[1][:n], saved[0][rows], saved[1][rows])
            elif cell == "tanh":
                tanh_backward.grad_input(d_hidden, gates[rows], grad_input=gates[rows])
            else:
                torch.mul(d_hidden, gates[rows] > 0, out=gates[rows])
            d_hidden.copy_(matrix(gates[rows]))
        return gates, through, d_state


def spans(sizes: list[int], backwards: bool) -> list[tuple[slice, int]]:
    """The packed rows of every step and their number, in the order of the loop."""
    found, last = [], 0
    for size in sizes:
        found.append((slice(last, last + size), size))
        last += size
    return found[::-1] if backwards else found


def lstm(gates: Tensor, memory: Tensor, kept: tuple[Tensor, ...], outputs: Tensor) -> None:
    """One step of n rows; `gates` `[n, 4H]`, `memory` and `outputs` `[n, H]`; `kept`: c before, tanh of c after."""
    size = memory.size(1)
    gates[:, : 2 * size].sigmoid_()
    opened, forget = gates[:, :size], gates[:, size : 2 * size]
    new, out = gates[:, 2 * size : 3 * size].tanh_(), gates[:, 3 * size :].sigmoid_()
    if kept:
        kept[0].copy_(memory)
    memory.mul_(forget).addcmul_(opened, new)
    squashed = torch.tanh(memory, out=kept[1]) if kept else torch.tanh(memory)
    torch.mul(out, squashed, out=outputs)


def lstm_back(gates: Tensor, d_hidden: Tensor, d_memory: Tensor, memory: Tensor, squashed: Tensor) -> None:
    """The gates become their gradients, and `d_memory` goes one step back; `memory` is c before the step."""
    opened, forget, new, out = gates.chunk(4, 1)
    d_memory.add_(tanh_backward(d_hidden * out, squashed))
    d_opened, d_new, d_forget = d_memory * new, d_memory * opened, d_memory * memory
    d_memory.mul_(forget)
    sigmoid_backward.grad_input(d_opened, opened, grad_input=opened)
    sigmoid_backward.grad_input(d_forget, forget, grad_input=forget)
    tanh_backward.grad_input(d_new, new, grad_input=new)
    sigmoid_backward.grad_input(d_hidden * squashed, out, grad_input=out)


def gru(
    gates: Tensor, through: Tensor, new_bias: Tensor, hidden: Tensor, kept: tuple[Tensor, ...], outputs: Tensor
) -> None:
    """One step of n rows; `through` `[n, 3H]` is U h; `kept`: h before, U_n h + d_n."""
    size = hidden.size(1)
    opened = gates[:, : 2 * size].add_(through[:, : 2 * size]).sigmoid_()
    inner = torch.add(through[:, 2 * size :], new_bias, out=kept[1] if kept else None)
    if kept:
        kept[0].copy_(hidden)
    new = gates[:, 2 * size :].addcmul_(opened[:, :size], inner).tanh_()
    torch.lerp(new, hidden, opened[:, size:], out=outputs)


def gru_back(gates: Tensor, through: Tensor, d_hidden: Tensor, hidden: Tensor, inner: Tensor) -> None:
    """The gates and `through` become their gradients; `d_hidden` becomes the part of h's that does not pass U."""
    size = hidden.size(1)
    reset, update, new = gates.chunk(3, 1)
    d_reset, d_update, d_inner = through.chunk(3, 1)
    tanh_backward.grad_input(d_hidden * (1 - update), new, grad_input=d_inner)  # of the new gate before its tanh
    sigmoid_backward.grad_input(d_inner * inner, reset, grad_input=d_reset)
    sigmoid_backward.grad_input(d_hidden * (hidden - new), update, grad_input=d_update)
    d_hidden.mul_(update)
    new.copy_(d_inner)
    d_inner.mul_(reset)
    gates[:, : 2 * size] = through[:, : 2 * size]
