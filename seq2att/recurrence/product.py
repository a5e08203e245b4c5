"""Matrix products, by the fastest of three libraries: our own in C++, oneDNN, MKL.

`torch.mm` is MKL, which leaves half of an AMD processor idle: on one core of a Zen 5, `[512, 512] @ [2048, 512].T`
takes 11.7 ms, and 5.2 ms by oneDNN, which torch carries too and offers in the private operator `_linear_pointwise`.
That operator costs 10 us more for each call, so small products stay with MKL; and it makes machine code for every new
shape, which takes 0.3 to 0.8 ms, so long matrices, whose lengths vary from batch to batch, are brought to a multiple of
32 rows. Our own product, where it can be compiled, has neither cost and is a tenth faster than oneDNN.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from seq2att.recurrence import native
from seq2att.recurrence.choice import are_plain, is_compiled, is_traced

MIN_WORK = 1 << 20  # multiplications from which oneDNN makes up for the cost of its call, and our own for its packing
MIN_ROWS = 16  # rows from which our own makes up for its packing
FEW_ROWS = 4  # with fewer both libraries wait for the memory that holds the weight,
LARGE_WEIGHT = 1 << 21  # and MKL waits no longer than oneDNN up to so many numbers
GRAIN = 32  # long matrices are cut or filled to a multiple of so many rows;
LONG = 128  # shorter ones come in few lengths


def matmul(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The matrix `inputs` `[N, K]` times `weight` `[M, K]` transposed, plus `bias` `[M]`: `[N, M]`, contiguous.

    Either matrix may be a transposed view. Where a gradient is needed, torch multiplies; `linear` is faster there.
    """
    needs_gradient = torch.is_grad_enabled() and (inputs.requires_grad or weight.requires_grad)
    if needs_gradient or not use_fast_path(inputs, weight, bias):
        return nn.functional.linear(inputs, weight, bias)
    if inputs.size(0) >= MIN_ROWS and is_compiled():
        return native.matmul(inputs, weight, bias)
    if not prefers_onednn():
        return nn.functional.linear(inputs, weight, bias)
    if bias is None and is_transposed(inputs) and is_transposed(weight):
        return onednn_transposed(inputs, weight)
    return onednn_rows(inputs, weight, bias)


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of `inputs` `[..., K]`, `weight` `[M, K]` and `bias` `[M]`: `[..., M]`."""
    if not use_fast_path(inputs, weight, bias):
        return nn.functional.linear(inputs, weight, bias)
    rows = inputs.reshape(-1, weight.size(1))  # [N, K]
    outputs: Tensor = LinearFunction.apply(rows, weight, bias)  # type: ignore[no-untyped-call]
    return outputs.view(*inputs.shape[:-1], weight.size(0))


class Dense(nn.Linear):
    """`torch.nn.Linear`, computed by `linear`."""

    def forward(self, input: Tensor) -> Tensor:
        return linear(input, self.weight, self.bias)


class LinearFunction(torch.autograd.Function):
    """`linear` of a matrix; its gradients are products too."""

    @staticmethod
    def forward(ctx: FunctionCtx, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """`[N, K]`, `[M, K]`, `[M]` to `[N, M]`."""
        ctx.save_for_backward(inputs, weight)
        return matmul(inputs, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients by `linear`, so that they have gradients themselves."""
        inputs, weight = ctx.saved_tensors
        (d_outputs,) = gradients  # [N, M]
        needs_inputs, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            linear(d_outputs, weight.t()) if needs_inputs else None,
            linear(d_outputs.t(), inputs.t()) if needs_weight else None,
            d_outputs.sum(0) if needs_bias else None,
        )


def use_fast_path(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether another library than MKL multiplies `inputs` `[..., K]` and `weight` `[M, K]` faster, and may."""
    tensors = (inputs, weight) if bias is None else (inputs, weight, bias)
    if is_traced() or any(tensor.dtype != torch.float32 for tensor in tensors):
        return False
    if inputs.numel() * weight.size(0) < MIN_WORK:
        return False
    if weight.numel() < LARGE_WEIGHT and inputs.numel() < FEW_ROWS * weight.size(1):
        return False
    return are_plain(*tensors) and (prefers_onednn() or is_compiled())


def is_transposed(matrix: Tensor) -> bool:
    """Whether the matrix is the transposed view of one that lies row by row."""
    return matrix.stride(0) == 1 and matrix.stride(1) >= matrix.size(0)


# oneDNN


def onednn_rows(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The product with a number of rows that oneDNN has met: the narrower of inputs and outputs is copied for it."""
    rows, rest = inputs.size(0), inputs.size(0) % GRAIN
    if rest == 0 or rows < LONG:
        return onednn_matmul(inputs, weight, bias)
    if inputs.size(1) > weight.size(0):
        last = nn.functional.linear(inputs[-rest:], weight, bias)
        return torch.cat([onednn_matmul(inputs[:-rest], weight, bias), last])
    longer = inputs.new_zeros(rows + GRAIN - rest, inputs.size(1))
    longer[:rows] = inputs
    return onednn_matmul(longer, weight, bias).resize_(rows, weight.size(0))  # no view: it may be changed in place


def onednn_transposed(inputs: Tensor, weight: Tensor) -> Tensor:
    """The product of transposed views `[N, K]` and `[M, K]`, as in a weight's gradient; K is the length."""
    length, rest = inputs.size(1), inputs.size(1) % GRAIN
    if rest and length >= LONG:
        outputs = onednn_transposed(inputs[:, :-rest], weight[:, :-rest])
        return outputs.addmm_(inputs[:, -rest:], weight[:, -rest:].t())
    if weight.size(0) < inputs.size(0):  # oneDNN copies its first matrix when transposed: the smaller one
        return onednn_matmul(weight, inputs).t().contiguous()
    return onednn_matmul(inputs, weight)


def onednn_matmul(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The product by oneDNN."""
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # some columns of a wider matrix: for them oneDNN is 600 times slower
    outputs: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return outputs


@functools.cache
def prefers_onednn() -> bool:
    """Whether MKL is slow on this processor, and this torch has oneDNN's product."""
    return "AuthenticAMD" in processor() and has_onednn()


@functools.cache
def processor() -> str:
    """What Linux knows of the first processor; empty on other systems."""
    try:
        return Path("/proc/cpuinfo").read_text(errors="replace").split("\n\n")[0]
    except OSError:
        return ""


def has_onednn() -> bool:
    """Whether the private operator is there and right with a transposed weight, a bias and a gap between rows."""
    inputs, weight = torch.eye(4)[:, :3], torch.arange(12.0).view(3, 4).t()
    try:
        outputs = onednn_matmul(inputs, weight, torch.ones(4))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return torch.equal(outputs, inputs @ weight.t() + 1)
