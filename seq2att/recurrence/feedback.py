"""The loop of a decoder whose output or context feeds back, as one operation with a hand-written way back.

In the loop stands only what a step needs of the step before. Before it: the embedding's part of the lowest layer, for
all rows in one product. After it: the gradient of every matrix in one product over all rows. Rows that have ended take
no part. `run` is what `RecurrentDecoder` says in its equations; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from seq2att.recurrence import feedback_steps
from seq2att.recurrence.feedback_buffers import Engine, Fused
from seq2att.recurrence.feedback_plan import Kind, Plan, Tensors, build
from seq2att.recurrence.feedback_slopes import Kept, Outside, differentiate
from seq2att.recurrence.forced import compiled, forced
from seq2att.recurrence.native import loop as native_loop
from seq2att.recurrence.packing import Packing, pack
from seq2att.recurrence.product import linear, plain, traced
from seq2att.recurrence.reference import Weights
from seq2att.types import Memory

__all__ = ["Fused", "Kind", "Masks", "Matrices", "Said", "Start", "engine", "run", "unwatched"]


class Matrices(NamedTuple):
    """The parameters but for the attention's."""

    layers: Sequence[Weights]  # the lowest reads [embedding ; fed ; context]
    readout: Tensor | None  # [D, H + C], bahdanau: [D, H + C + E]


class Masks(NamedTuple):
    """Dropout, drawn before the loop: 0 or 1 / (1 - p); None: no dropout."""

    below: Sequence[Tensor | None]  # [B, T, H] or [B, 1, H] of each layer, what it reads; not of the lowest
    out: Tensor | None  # [B, T, D] or [B, 1, D]


class Start(NamedTuple):
    """What the first step finds, and what the last one leaves."""

    layers: tuple[Tensor, ...]  # (h,) or (h, c), each [B, L, H]
    fed: Tensor  # [B, D], or [B, 0]


class Said(NamedTuple):
    """What the loop said: 0 past the end of a row."""

    outputs: Tensor  # [B, T, D]
    weights: Tensor | None  # [B, T, S]
    state: Start  # after the last step of each row


def run(
    engine: Engine,
    kind: Kind,
    fused: Fused,
    matrices: Matrices,
    inputs: Tensor,
    memory: Memory,
    start: Start,
    masks: Masks,
    lengths: Tensor | None = None,
) -> Said:
    """Any number of steps over `inputs` `[B, T, E]`, of which row b has `lengths[b]`; None: all."""
    packing = pack(lengths, *inputs.shape[:2])
    keys, values = (None, None) if fused.score == "none" else (memory.keys, memory.values)
    tensors = Tensors(
        packing.take(inputs),
        start.fed if kind.feeding else None,
        keys,
        values,
        matrices.readout if kind.feeding else None,
        fused.query,
        fused.energy,
        start.layers,
        tuple(matrices.layers),
    )
    flat = tensors.flat()
    keep = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in flat)
    holes = None if values is None or bool(memory.mask.all()) else ~packing.sort(memory.mask)
    below, out_mask = [rows_of(packing, mask) for mask in masks.below], rows_of(packing, masks.out)
    plan = Plan(kind, fused.score, fused.scale, engine, packing, holes, below, out_mask if kind.feeding else None, keep)
    out, context, weights, fed, *layers = Feedback.apply(plan, *flat)  # type: ignore[no-untyped-call]
    if not kind.feeding:  # bahdanau: `out` is the top layer's h, and the readout needs not be in the loop
        assert matrices.readout is not None
        out = torch.tanh(linear(torch.cat([out, context, tensors.rows], 1), matrices.readout))  # [N, D]
        out = out if out_mask is None else out * out_mask
    state = Start(tuple(layers), fed if kind.feeding else start.fed)
    return Said(spread(packing, out), None if values is None else spread(packing, weights), state)


def engine(lengths: Tensor | None, *tensors: Tensor) -> Engine | None:
    """What runs a loop over `tensors`, whose dimension 0 is the batch; None: only plain torch does."""
    if traced() or not plain(*tensors) or not all(tensor.size(0) for tensor in tensors):
        return None
    if tensors[0].dtype not in (torch.float32, torch.float64) or len({tensor.dtype for tensor in tensors}) > 1:
        return None
    if lengths is not None and not bool(lengths.any()):
        return None
    if forced() == "torch":
        return None
    return native_loop if compiled() else feedback_steps


def unwatched(*modules: nn.Module) -> bool:
    """Whether these and the modules in them do what their classes say, and no hook sees or changes it."""
    if torch.nn.modules.module._has_any_global_hook():
        return False
    return all(not hooks(module) and "forward" not in vars(module) for part in modules for module in part.modules())


def hooks(module: nn.Module) -> bool:
    """Whether somebody asked to be called when this module runs."""
    return any((module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks))


def rows_of(packing: Packing, mask: Tensor | None) -> Tensor | None:
    """A mask `[B, T, F]` or `[B, 1, F]` of the packed rows: `[N, F]`."""
    return None if mask is None else packing.take(mask.expand(-1, packing.steps, -1))


def spread(packing: Packing, packed: Tensor) -> Tensor:
    """`packed` `[N, F]` as `[B, T, F]`, 0 past the end of a row; it has a gradient."""
    batch = len(packing.order)
    flat = packed.new_zeros(batch * packing.steps, packed.size(1)).index_copy(0, packing.index, packed)
    return flat.view(batch, packing.steps, packed.size(1))


class Feedback(torch.autograd.Function):
    """A loop: from `Tensors` to `out`, what the attention said, the state at the end."""

    @staticmethod
    def forward(ctx: Any, plan: Plan, *flat: Tensor | None) -> tuple[Tensor | None, ...]:
        """`out` (`top` where nothing is fed), `context` and `weights` of packed rows, the last `fed` and layers."""
        loop = build(plan, Tensors.of(plan.kind.cell, flat))
        first = [level.hidden.clone() for level in loop.levels] if plan.keep else []  # the loop goes on in the buffers
        first_fed = loop.fed.clone() if plan.keep and loop.fed is not None else None
        plan.engine.forward(loop)
        if plan.keep:
            ctx.plan, ctx.kept = plan, Kept(loop, first, first_fed)
            ctx.save_for_backward(*flat)
            ctx.set_materialize_grads(False)
        ends = [[level.hidden for level in loop.levels]]
        ends.append([level.memory for level in loop.levels if level.memory is not None])
        layers = [plan.packing.unsort(torch.stack(end, 1)) for end in ends if end]  # [B, L, H] each
        said = (loop.top if loop.out is None else loop.out, loop.context, loop.weights)
        seen = [None if tensor is None else tensor.detach() for tensor in said]  # or `ctx` would hold what holds it
        return (*seen, None if loop.fed is None else plan.packing.unsort(loop.fed), *layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *slopes: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of `Tensors`."""
        tensors = Tensors.of(ctx.plan.kind.cell, ctx.saved_tensors)  # refuses a second time unless the graph is kept
        kept: Kept = ctx.kept
        if torch._C._autograd._get_current_graph_task_keep_graph():  # may be gone once more: the gates must survive
            levels = [replace(level, gates=level.gates.clone()) for level in kept.loop.levels]
            kept = kept._replace(loop=replace(kept.loop, levels=levels))
        else:
            ctx.kept = None
        outside = Outside(slopes[0], slopes[1], slopes[2], slopes[3], slopes[4:])
        return None, *differentiate(ctx.plan, tensors, kept, outside)
