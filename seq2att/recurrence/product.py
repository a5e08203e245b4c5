"""Matrix products, by the quickest of three libraries: our own in C++, oneDNN, MKL.

`torch.mm` is MKL, which leaves half of an AMD processor idle: on one core of a Zen 5, `[512, 512] @ [2048, 512].T`
takes 11.7 ms, and 5.2 ms by oneDNN, which torch carries too and offers in the private operator `_linear_pointwise`.
That operator costs 10 us more for each call, so small products stay with MKL; and it makes machine code for every new
shape, which takes 0.3 to 0.8 ms, so long matrices, whose lengths vary from batch to batch, are brought to a multiple of
32 rows. Our own product, where it can be compiled, has neither cost and is a tenth quicker than oneDNN.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from seq2att.recurrence.forced import compiled

SMALLEST = 1 << 20  # multiplications from which oneDNN makes up for the cost of its call, and our own for its packing,
FEWEST = 16  # which so many rows must share
FEW_ROWS = 4  # below it both libraries wait for the memory that holds the weight,
LARGE_WEIGHT = 1 << 21  # and MKL waits no longer than oneDNN up to so many numbers
GRAIN = 32  # long matrices have a multiple of so many rows;
LONG = 128  # shorter ones come in few lengths


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The matrix `inputs` `[N, K]` times `weight` `[M, K]` transposed, plus `bias` `[M]`: `[N, M]`, contiguous.

    Either matrix may be a transposed view. Gradients are for `linear`: what needs one here is multiplied by torch.
    """
    needed = torch.is_grad_enabled() and (inputs.requires_grad or weight.requires_grad)
    if needed or not quick(inputs, weight):
        return nn.functional.linear(inputs, weight, bias)
    if inputs.size(0) >= FEWEST and compiled():
        from seq2att.recurrence.native import product as multiply_compiled

        return multiply_compiled(inputs, weight, bias)
    if not preferred():
        return nn.functional.linear(inputs, weight, bias)
    if bias is None and turned(inputs) and turned(weight):
        return multiply_turned(inputs, weight)
    return multiply_rows(inputs, weight, bias)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of `inputs` `[..., K]`, `weight` `[M, K]` and `bias` `[M]`: `[..., M]`."""
    if not quick(inputs, weight):
        return nn.functional.linear(inputs, weight, bias)
    rows = inputs.reshape(-1, weight.size(1))  # [N, K]
    outputs: Tensor = Linear.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return outputs.view(*inputs.shape[:-1], weight.size(0))


class Linear(torch.autograd.Function):
    """`linear` of a matrix; its gradients are products too."""

    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`[N, K]`, `[M, K]`, `[M]` to `[N, M]`."""
        ctx.save_for_backward(inputs, weight)
        return product(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by `linear`, so that they have gradients themselves."""
        inputs, weight = ctx.saved_tensors
        (outputs,) = gradients  # [N, M]
        for_inputs, for_weight, for_bias = ctx.needs_input_grad
        return (
            linear(outputs, weight.t()) if for_inputs else None,
            linear(outputs.t(), inputs.t()) if for_weight else None,
            outputs.sum(0) if for_bias else None,
        )


def quick(inputs: Tensor, weight: Tensor) -> bool:
    """Whether another library than MKL multiplies `inputs` `[..., K]` and `weight` `[M, K]` sooner, and may."""
    if traced() or inputs.dtype != torch.float32 or weight.dtype != torch.float32:
        return False
    size = weight.numel()
    count = inputs.numel() * weight.size(0)
    if count < SMALLEST or (size < LARGE_WEIGHT and inputs.numel() < FEW_ROWS * weight.size(1)):
        return False
    return plain(inputs, weight) and (preferred() or compiled())


def traced() -> bool:
    """Whether a compiler or tracer records the call, so that sizes must not decide anything."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def plain(*tensors: Tensor) -> bool:
    """Whether these are ordinary tensors of a CPU and nobody watches the call: no autocast, compiler or transform."""
    return (
        all(type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu" for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not traced()
        and not torch._C._len_torch_dispatch_stack()
        and torch._C._functorch.peek_interpreter_stack() is None
        and torch.autograd.forward_ad._current_level < 0
    )


def turned(matrix: Tensor) -> bool:
    """Whether the matrix is the transposed view of one that lies row by row."""
    return matrix.stride(0) == 1 and matrix.stride(1) >= matrix.size(0)


def multiply_rows(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product, of a length that oneDNN knows: what is narrower, inputs or outputs, is copied for it."""
    rows, rest = inputs.size(0), inputs.size(0) % GRAIN
    if rest == 0 or rows < LONG:
        return multiply(inputs, weight, bias)
    if inputs.size(1) > weight.size(0):
        last = nn.functional.linear(inputs[-rest:], weight, bias)
        return torch.cat([multiply(inputs[:-rest], weight, bias), last])
    longer = inputs.new_empty(rows + GRAIN - rest, inputs.size(1))
    longer[:rows] = inputs
    longer[rows:] = 0
    return multiply(longer, weight, bias).resize_(rows, weight.size(0))  # no view, so that it may be changed in place


def multiply_turned(inputs: Tensor, weight: Tensor) -> Tensor:
    """The product of `[N, K]` and `[M, K]` that are turned views, as in a weight's gradient; K is the length."""
    length, rest = inputs.size(1), inputs.size(1) % GRAIN
    if rest and length >= LONG:
        found = multiply_turned(inputs[:, :-rest], weight[:, :-rest])
        return found.addmm_(inputs[:, -rest:], weight[:, -rest:].t())
    if weight.size(0) < inputs.size(0):
        return multiply(weight, inputs).t().contiguous()  # oneDNN copies its first matrix when turned: the smaller one
    return multiply(inputs, weight)


def multiply(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product by oneDNN."""
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # some columns of a wider matrix: for them oneDNN is 600 times slower
    outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return outputs


class Prepared:
    """A matrix `[M, K]` that many steps multiply with: reordered once for oneDNN where that pays.

    On every processor that is quicker than a plain matrix, which both libraries reorder in each call.
    """

    def __init__(self, weight: Tensor, rows: int) -> None:
        self.turned = weight.t()  # [K, M]
        self.least = SMALLEST // max(1, weight.numel())  # rows up to which MKL's call is the cheaper one
        self.packed: Tensor | None = None
        if rows > self.least and weight.dtype == torch.float32 and plain(weight) and reorders():
            self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, rows)

    def __call__(self, inputs: Tensor) -> Tensor:
        """`inputs` `[n, K]` times the matrix transposed: `[n, M]`."""
        if self.packed is None or inputs.size(0) <= self.least:
            return torch.mm(inputs, self.turned)
        return multiply(inputs, self.packed)

    def add_to(self, sums: Tensor, inputs: Tensor) -> Tensor:
        """`sums` `[n, M]`, with the product added to it."""
        if self.packed is None or inputs.size(0) <= self.least:
            return sums.addmm_(inputs, self.turned)
        return sums.add_(multiply(inputs, self.packed))


@functools.cache
def preferred() -> bool:
    """Whether this processor is one that MKL is slow on, and this torch has oneDNN's product."""
    return "AuthenticAMD" in processor() and works()


@functools.cache
def processor() -> str:
    """What Linux says of the first processor; nothing on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return ""


def works() -> bool:
    """Whether the private operator is there and multiplies: a turned weight, a bias, a gap between rows."""
    torch_says = torch.arange(12.0).view(3, 4)
    try:
        found = multiply(torch.eye(4)[:, :3], torch_says.t(), torch.ones(4))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return torch.equal(found, torch.eye(4)[:, :3] @ torch_says + 1)


@functools.cache
def reorders() -> bool:
    """Whether this torch reorders matrices for oneDNN, turned ones too, and multiplies with them."""
    weight = torch.arange(12.0).view(3, 4)
    try:
        found = multiply(torch.eye(3), torch.ops.mkldnn._reorder_linear_weight(weight.t(), 3))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return torch.equal(found, weight)
