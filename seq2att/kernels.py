"""What searching and inference do with numbers: in C++ where it can be compiled, the same in PyTorch elsewhere.

In C++ a row's result is computed from that row alone, in an order that no other row changes: a sentence has the same
answer to the last bit beside any neighbours. Everything here overwrites what its docstring says and has no gradients.
"""

from __future__ import annotations

import ctypes
import functools
from ctypes import Structure, c_int64, c_void_p
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from seq2att.recurrence import CellName
from seq2att.recurrence.forced import compiled
from seq2att.recurrence.native import CELLS, library
from seq2att.recurrence.product import product

LARGEST = 127  # of an int8, the same up and down
EXACT = (1 << 24) // LARGEST**2  # inputs whose products with int8 add up exactly in float32
ADD, SQUASH = 1, 2


class MatrixC(Structure):
    """`Matrix` of inference.h."""

    _fields_: ClassVar = [
        *((name, c_void_p) for name in ("packed", "scales", "bias")),
        *((name, c_int64) for name in ("outputs", "inputs")),
    ]


class RecurrenceC(Structure):
    """`Recurrence` of inference.h."""

    _fields_: ClassVar = [
        *((name, c_int64) for name in ("cell", "rows", "steps", "size", "backwards", "threads")),
        *((name, c_void_p) for name in ("lengths", "weight", "new_bias", "gates", "hidden", "memory")),
        ("hidden_row", c_int64),
        ("outputs", c_void_p),
    ]


class LookC(Structure):
    """`Look` of inference.h, whose first fields are `Looking` of attend.h."""

    _fields_: ClassVar = [
        *((name, c_int64) for name in ("score", "source", "width", "size")),
        *((name, c_void_p) for name in ("energy", "keys", "values", "holes")),
        *((name, c_int64) for name in ("rows", "threads")),
        *((name, c_void_p) for name in ("which", "query")),
        ("query_row", c_int64),
        ("context", c_void_p),
        ("context_row", c_int64),
        ("weights", c_void_p),
    ]


class Functions(NamedTuple):
    """The compiled functions for numbers of one type."""

    product: Any
    recur: Any
    look: Any
    log_softmax: Any
    best: Any
    packed_size: Any
    pack: Any


ARGUMENTS = {
    "product": (c_void_p, c_void_p, c_int64, c_int64, c_void_p, c_int64, c_int64, c_int64),
    "recur": (c_void_p,),
    "look": (c_void_p,),
    "log_softmax": (c_void_p, c_int64, c_int64, c_int64),
    "best": (c_void_p, c_void_p, c_int64, c_int64, c_int64, c_int64, c_void_p, c_void_p, c_int64),
}


def functions(dtype: torch.dtype) -> Functions | None:
    """The compiled functions for `dtype`, or None where there are none or SEQ2ATT_KERNEL wants others."""
    return loaded(dtype) if compiled() else None


@functools.cache
def loaded(dtype: torch.dtype) -> Functions | None:
    """The compiled functions for `dtype`."""
    suffix = {torch.float32: "f32", torch.float64: "f64"}.get(dtype)
    if suffix is None:
        return None
    shared = library()
    found = {name: getattr(shared, f"inference_{name}_{suffix}") for name in ARGUMENTS}
    for name, function in found.items():
        function.argtypes, function.restype = ARGUMENTS[name], None
    size, pack = packing(shared, suffix)
    return Functions(**found, packed_size=size, pack=pack)


def packing(library: ctypes.CDLL, suffix: str) -> tuple[Any, Any]:
    """How much room a packed matrix takes, and the function that packs it."""
    size, pack = getattr(library, f"packed_size_{suffix}"), getattr(library, f"pack_{suffix}")
    size.argtypes, size.restype = (c_int64, c_int64), c_int64
    pack.argtypes, pack.restype = (c_void_p, c_int64, c_int64, c_void_p), None
    return size, pack


def native(tensor: Tensor) -> Functions | None:
    """The compiled functions for such a tensor."""
    return functions(tensor.dtype) if tensor.device.type == "cpu" else None


class Matrix:
    """`weight` `[M, K]` and `bias` `[M]`, prepared for many products `inputs @ weight.T + bias` with few rows.

    With `quantize` the weight is int8 with a scale for every output, and every row of the inputs becomes int8 by its
    own largest value; the sums are exact integers, the rest is in the type of the weight.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None, quantize: bool = False) -> None:
        weight = weight.detach().contiguous()
        self.outputs, self.inputs = weight.shape
        self.bias = None if bias is None else bias.detach().clone()
        self.scales: Tensor | None = None
        if quantize:
            weight, self.scales = quantized(weight)
            self.scales = self.scales.squeeze(1).contiguous()  # [M]
        self.functions = native(self.scales if quantize else weight)  # type: ignore[arg-type]
        self.weight = weight
        if self.functions is not None:
            self.weight = self.packed(weight, self.functions)
            self.struct = MatrixC(address(self.weight), address(self.scales), address(self.bias), *weight.shape)
            self.address = ctypes.addressof(self.struct)

    def packed(self, weight: Tensor, known: Functions) -> Tensor:
        """The weight in the order in which the compiled product reads it."""
        size, pack = known.packed_size, known.pack
        kind = weight.dtype
        if self.scales is not None:
            weight, kind = weight.to(torch.int8), torch.uint8
            size, pack = packing(library(), "i8")
        memory = torch.empty(size(self.outputs, self.inputs), dtype=kind)
        pack(weight.data_ptr(), self.outputs, self.inputs, memory.data_ptr())
        return memory

    def __call__(self, inputs: Tensor, out: Tensor | None = None, add: bool = False, squash: bool = False) -> Tensor:
        """The product `[N, M]` of `inputs` `[N, K]`; `add` adds it to `out` instead, `squash` is a tanh at the end."""
        rows = inputs.size(0)
        if out is None:
            out = inputs.new_empty(rows, self.outputs)
        if self.functions is None:
            return self.emulated(inputs, out, add, squash)
        if inputs.stride(1) != 1:
            inputs = inputs.contiguous()
        self.functions.product(
            *(self.address, inputs.data_ptr(), inputs.stride(0), rows, out.data_ptr(), out.stride(0)),
            *(ADD * add + SQUASH * squash, torch.get_num_threads()),
        )
        return out

    def emulated(self, inputs: Tensor, out: Tensor, add: bool, squash: bool) -> Tensor:
        """The same in PyTorch: the sums of an int8 product are the same integers."""
        if self.scales is None:
            found = product(inputs, self.weight)
        else:
            whole, scales = quantized(inputs)
            found = whole_product(whole, self.weight).to(inputs.dtype) * scales * self.scales
        if add:
            found = found + out
        elif self.bias is not None:
            found = found + self.bias
        return out.copy_(found.tanh_() if squash else found)


def quantized(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Whole numbers of at most `LARGEST`, and the scales `[N, 1]` by which they are nearly the rows `[N, K]`."""
    top = rows.abs().amax(1, keepdim=True)  # [N, 1]
    inverse = torch.where(top > 0, LARGEST / top, 0.0)
    return (rows * inverse).round_().clamp_(-LARGEST, LARGEST), top / LARGEST


def whole_product(inputs: Tensor, weight: Tensor) -> Tensor:
    """The exact product `[N, M]` of whole numbers `[N, K]` and `[M, K]` of at most `LARGEST`."""
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
    outputs: Tensor | None = None,
) -> None:
    """Run one layer over `gates` `[B, T, G*H]` (`W x` and biases), of which row b has `lengths[b]`, not increasing.

    `state` (`[B, H]` each) becomes the last state and `outputs` `[B, T, H]` the states of the real positions; `gates`
    are overwritten. `new_bias` `[H]` is the GRU's, inside its reset gate; `backwards` starts at a row's last position.
    """
    if weight.functions is None:
        return recur_emulated(cell, weight, new_bias, gates, state, lengths, backwards, outputs)
    hidden, memory = state[0], state[1] if len(state) > 1 else None
    run = RecurrenceC(
        *(CELLS[cell], gates.size(0), gates.size(1), weight.inputs, backwards, torch.get_num_threads()),
        *(address(lengths), weight.address, address(new_bias), address(gates), address(hidden), address(memory)),
        *(hidden.stride(0), address(outputs)),
    )
    weight.functions.recur(ctypes.addressof(run))


def recur_emulated(
    cell: CellName,
    weight: Matrix,
    new_bias: Tensor | None,
    gates: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    backwards: bool,
    outputs: Tensor | None,
) -> None:
    """`recur` in PyTorch."""
    rows = torch.arange(gates.size(0), device=gates.device)
    ends = torch.full_like(rows, gates.size(1)) if lengths is None else lengths
    for step in range(gates.size(1)):
        live = int((ends > step).sum())
        places = ends[:live] - 1 - step if backwards else torch.full_like(rows[:live], step)
        before = tuple(part[:live] for part in state)
        through = weight(before[0])  # [live, G*H]
        after = cell_step(cell, gates[rows[:live], places], through, new_bias, before)
        for part, new in zip(state, after, strict=True):
            part[:live] = new
        if outputs is not None:
            outputs[rows[:live], places] = after[0]


def cell_step(
    cell: CellName, inputs: Tensor, through: Tensor, new_bias: Tensor | None, state: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The state after one step from `W x` and biases `[N, G*H]` and `U h` `[N, G*H]`."""
    if cell == "lstm":
        into, forget, new, out = (inputs + through).chunk(4, 1)
        memory = forget.sigmoid() * state[1] + into.sigmoid() * new.tanh()
        return out.sigmoid() * memory.tanh(), memory
    if cell == "gru":
        assert new_bias is not None
        (reset, update, new), inner = inputs.chunk(3, 1), through.chunk(3, 1)
        fresh = (new + (reset + inner[0]).sigmoid() * (inner[2] + new_bias)).tanh()
        return (fresh + (update + inner[1]).sigmoid() * (state[0] - fresh),)
    return ((inputs + through).tanh() if cell == "tanh" else (inputs + through).relu(),)


class Seen(NamedTuple):
    """What queries look at: the memory of B sentences."""

    keys: Tensor  # [B, S, A]
    values: Tensor  # [B, S, C]
    holes: Tensor  # [B, S] bool, True where there is nothing
    energy: Tensor | None  # [A] of an additive score; None: the score is the inner product


def look(query: Tensor, seen: Seen, which: Tensor, out: Tensor) -> Tensor:
    """Weights `[N, S]` of queries `[N, A]` over the memories `which` `[N]`; their contexts go into `out` `[N, C]`."""
    known = native(query)
    if known is None:
        return look_emulated(query, seen, which, out)
    rows, source = which.size(0), seen.holes.size(1)
    weights = query.new_empty(rows, source)
    score = 1 if seen.energy is None else 2
    run = LookC(
        *(score, source, seen.keys.size(2), seen.values.size(2)),
        *(address(tensor) for tensor in (seen.energy, seen.keys, seen.values, seen.holes)),
        *(rows, torch.get_num_threads(), which.data_ptr(), query.data_ptr(), query.stride(0)),
        *(out.data_ptr(), out.stride(0), weights.data_ptr()),
    )
    known.look(ctypes.addressof(run))
    return weights


def look_emulated(query: Tensor, seen: Seen, which: Tensor, out: Tensor) -> Tensor:
    """`look` in PyTorch."""
    keys, holes = seen.keys[which], seen.holes[which]  # [N, S, A], [N, S]
    if seen.energy is None:
        scores = (keys @ query.unsqueeze(2)).squeeze(2)
    else:
        scores = torch.tanh(keys + query.unsqueeze(1)) @ seen.energy  # [N, S]
    weights = scores.masked_fill(holes, torch.finfo(scores.dtype).min).softmax(1) * ~holes
    out.copy_((weights.unsqueeze(1) @ seen.values[which]).squeeze(1))
    return weights


def log_softmax(values: Tensor) -> Tensor:
    """The logarithm of the softmax of every row of `values` `[N, V]`, which it overwrites."""
    known = native(values)
    if known is None:
        return torch.log_softmax(values, 1)
    known.log_softmax(values.data_ptr(), *values.shape, torch.get_num_threads())
    return values


def best(values: Tensor, starts: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest of each sentence's `starts[b, k] + values[b * K + k, v]`, and their places `k * V + v`.

    `values` `[b * K, V]`, `starts` `[b, K]`: `[b, count]` each, largest first; the place of -inf means nothing.
    """
    batch, width = starts.shape
    known, values, starts = native(values), values.contiguous(), starts.contiguous()
    if known is None:
        return (starts.unsqueeze(2) + values.view(batch, width, -1)).flatten(1).topk(count, -1)
    found, places = values.new_empty(batch, count), starts.new_empty(batch, count, dtype=torch.long)
    known.best(
        *(values.data_ptr(), starts.data_ptr(), batch, width, values.size(1), count),
        *(found.data_ptr(), places.data_ptr(), torch.get_num_threads()),
    )
    return found, places


def address(tensor: Tensor | None) -> int | None:
    """Where the numbers lie."""
    return None if tensor is None else tensor.data_ptr()
