"""What searching and inference do with numbers: in C++ where it can be compiled, the same in PyTorch elsewhere.

In C++ a row's result is computed from that row alone, in an order that no other row changes: a sentence has the same
answer to the last bit beside any neighbours. Everything here has no gradients, and overwrites the tensors that its
docstring names.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from seq2att.recurrence import CellName
from seq2att.recurrence.choice import is_compiled
from seq2att.recurrence.native import functions as native
from seq2att.recurrence.native.gate import Prepared, packed_size, with_contiguous_rows
from seq2att.recurrence.product import matmul
from seq2att.recurrence.reference import activate

LARGEST = 127  # of an int8, the same up and down
EXACT = (1 << 24) // LARGEST**2  # inputs whose products with int8 add up exactly in float32
TYPES = {torch.float32: "f32", torch.float64: "f64"}


def is_native(dtype: torch.dtype) -> bool:
    """Whether tensors of this type on the CPU are computed in C++."""
    return dtype in TYPES and is_compiled()


class Matrix:
    """`weight` `[M, K]` and `bias` `[M]`, prepared for many products `inputs @ weight.T + bias` with few rows.

    With `quantize` the weight is int8 with a scale for every output, and every row of the inputs becomes int8 by its
    own largest value; the sums are exact integers, the rest is in the type of the weight.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, quantize: bool = False) -> None:
        weight = weight.detach().contiguous()
        self.dtype = weight.dtype
        self.outputs, self.inputs = weight.shape
        self.bias = None if bias is None else bias.detach().clone()
        self.scales: Tensor | None = None
        if quantize:
            weight, scales = to_int8(weight)
            self.scales = scales.squeeze(1).contiguous()  # [M]
        self.weight = weight
        self.packed = self.pack() if weight.is_cpu and is_native(self.dtype) else None

    def pack(self) -> Prepared:
        """The weight in the order in which the compiled product reads it."""
        kind, struct, pack, source = TYPES[self.dtype], native.MATRIX, native.PACK, self.weight
        operands: dict[str, Any] = {"outputs": self.outputs, "inputs": self.inputs, "bias": self.bias}
        if self.scales is not None:
            kind, struct, pack, source = "i8", native.MATRIX_INT8, native.PACK_INT8, self.weight.to(torch.int8)
            operands["scales"] = self.scales
        room = packed_size(kind, self.outputs, self.inputs)
        self.weight = torch.empty(room, dtype=torch.uint8 if self.scales is not None else self.dtype)
        pack(weight=source, packed=self.weight)
        return struct.prepare(packed=self.weight, **operands)

    def __call__(self, inputs: Tensor, out: Tensor | None = None, add: bool = False, tanh: bool = False) -> Tensor:
        """The product `[N, M]` of `inputs` `[N, K]`; `add` adds it to `out` instead, `tanh` is taken at the end.

        It is computed in the type of the weight, whatever that of the inputs is.
        """
        if inputs.dtype is not self.dtype:
            inputs = inputs.to(self.dtype)
        if out is None:
            out = inputs.new_empty(inputs.size(0), self.outputs)
        if self.packed is None:
            return self.emulate(inputs, out, add, tanh)
        mode = native.ADD * add + native.TANH * tanh
        native.PACKED_PRODUCT(self.packed, mode=mode, x=with_contiguous_rows(inputs), y=out)
        return out

    def emulate(self, inputs: Tensor, out: Tensor, add: bool, tanh: bool) -> Tensor:
        """The same in PyTorch: the sums of an int8 product are the same integers."""
        if self.scales is None:
            result = matmul(inputs, self.weight)
        else:
            integers, scales = to_int8(inputs)
            result = integer_product(integers, self.weight).to(inputs.dtype) * scales * self.scales
        if add:
            result = result + out
        elif self.bias is not None:
            result = result + self.bias
        return out.copy_(result.tanh() if tanh else result)


def to_int8(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Integers of at most `LARGEST`, and the scales `[N, 1]` by which they are nearly the rows `[N, K]`."""
    top = rows.abs().amax(1, keepdim=True) if rows.size(1) else rows.new_zeros(rows.size(0), 1)  # [N, 1]
    inverse = torch.where(top > 0, LARGEST / top, 0.0)
    return (rows * inverse).round_().clamp_(-LARGEST, LARGEST), top / LARGEST


def integer_product(inputs: Tensor, weight: Tensor) -> Tensor:
    """The exact product `[N, M]` of integers `[N, K]` and `[M, K]` of at most `LARGEST`."""
    total = inputs.new_zeros(inputs.size(0), weight.size(0), dtype=torch.int32)
    for start in range(0, inputs.size(1), EXACT):
        total += torch.mm(inputs[:, start : start + EXACT], weight[:, start : start + EXACT].t()).int()
    return total


def recur(
    cell: CellName,
    weight: Matrix,
    new_bias: Tensor | None,
    gates: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None = None,
    backwards: bool = False,
    states: Tensor | None = None,
) -> None:
    """Run one layer over `gates` `[B, T, G*H]` (`W x` and biases), of which row b has `lengths[b]`, not increasing.

    `state` (`[B, H]` each) becomes the last state and `states` `[B, T, H]` those of the real positions; `gates` are
    overwritten. `new_bias` `[H]` is the GRU's, inside its reset gate; `backwards` starts at a row's last position.
    """
    if weight.packed is None:
        return emulate_recur(cell, weight, new_bias, gates, state, lengths, backwards, states)
    native.RECURRENCE(
        weight.packed,
        cell=native.CELLS[cell],
        backwards=backwards,
        lengths=lengths,
        new_bias=new_bias,
        gates=gates,
        hidden=state[0],
        memory=state[1] if len(state) > 1 else None,
        states=states,
    )


def emulate_recur(
    cell: CellName,
    weight: Matrix,
    new_bias: Tensor | None,
    gates: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    backwards: bool,
    states: Tensor | None,
) -> None:
    """`recur` in PyTorch."""
    rows = torch.arange(gates.size(0), device=gates.device)
    ends = torch.full_like(rows, gates.size(1)) if lengths is None else lengths
    for step in range(gates.size(1)):
        live = int((ends > step).sum())
        places = ends[:live] - 1 - step if backwards else torch.full_like(rows[:live], step)
        before = tuple(part[:live] for part in state)
        through = weight(before[0])  # [live, G*H]
        _, after = activate(cell, gates[rows[:live], places], through, new_bias, before)
        for part, new in zip(state, after, strict=True):
            part[:live] = new
        if states is not None:
            states[rows[:live], places] = after[0]


class AttentionMemory:
    """What queries attend to: the memory of B sentences.

    Args:
        keys: `[B, S, A]`.
        values: `[B, S, C]`.
        padding_mask: `[B, S]` bool, True where there is nothing.
        energy: `[A]` of an additive score; None: the score is the inner product.
    """

    def __init__(self, keys: Tensor, values: Tensor, padding_mask: Tensor, energy: Tensor | None) -> None:
        self.keys, self.values, self.padding_mask, self.energy = keys, values, padding_mask, energy
        self.reuses_weights = False
        self.weights = keys.new_empty(0)  # the room that is reused
        self.packed: Prepared | None = None
        if keys.is_cpu and is_native(keys.dtype):
            self.packed = native.MEMORY.prepare(
                score=native.SCORES["dot" if energy is None else "additive"],
                energy=energy,
                keys=keys.contiguous(),
                values=values.contiguous(),
                padding=padding_mask.contiguous(),
            )

    def room(self, rows: int) -> Tensor:
        """Room for the weights `[rows, S]`: new, or with `reuses_weights` that of the calls before.

        Long-lived small tensors between large short-lived ones would break the memory into pieces too small for these.
        """
        size = rows * self.padding_mask.size(1)
        if not self.reuses_weights:
            return self.keys.new_empty(rows, self.padding_mask.size(1))
        if self.weights.numel() < size:
            self.weights = self.keys.new_empty(size)
        return self.weights[:size].view(rows, -1)


def attend(query: Tensor, memory: AttentionMemory, which: Tensor, out: Tensor) -> Tensor:
    """Weights `[N, S]` of queries `[N, A]` over the memories `which` `[N]`; their contexts go into `out` `[N, C]`."""
    if memory.packed is None:
        return emulate_attend(query, memory, which, out)
    weights = memory.room(query.size(0))
    native.ATTEND(memory.packed, which=which, query=with_contiguous_rows(query), context=out, weights=weights)
    return weights


def emulate_attend(query: Tensor, memory: AttentionMemory, which: Tensor, out: Tensor) -> Tensor:
    """`attend` in PyTorch."""
    keys, padding_mask = memory.keys[which], memory.padding_mask[which]  # [N, S, A], [N, S]
    if memory.energy is None:
        scores = (keys @ query.unsqueeze(2)).squeeze(2)
    else:
        scores = torch.tanh(keys + query.unsqueeze(1)) @ memory.energy  # [N, S]
    weights = scores.masked_fill(padding_mask, torch.finfo(scores.dtype).min).softmax(1) * ~padding_mask
    out.copy_((weights.unsqueeze(1) @ memory.values[which]).squeeze(1))
    return weights


def log_softmax(values: Tensor) -> Tensor:
    """The logarithm of the softmax of every row of `values` `[N, V]`, which may be overwritten."""
    if not (values.is_cpu and is_native(values.dtype) and values.is_contiguous()):
        return torch.log_softmax(values, 1)
    native.LOG_SOFTMAX(values=values)
    return values


def best(values: Tensor, starts: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each sentence's `starts[b, k] + values[b * K + k, v]`, and their places `k * V + v`.

    `values` `[b * K, V]`, `starts` `[b, K]`: `[b, count]` each, largest first; the place of -inf means nothing.
    """
    batch, width = starts.shape
    values, starts = values.contiguous(), starts.to(values.dtype).contiguous()
    if not (values.is_cpu and is_native(values.dtype)):
        return (starts.unsqueeze(2) + values.view(batch, width, -1)).flatten(1).topk(count, -1)
    largest, places = values.new_empty(batch, count), starts.new_empty(batch, count, dtype=torch.long)
    native.BEST(values=values, starts=starts, found=largest, index=places)
    return largest, places
