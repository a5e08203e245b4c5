"""The loop of a decoder whose output or context feeds back, as one operation with a hand-written backward pass.

The loop, in C++, does only what a step needs of the step before. Before it: the embedding's part of the lowest layer,
for all rows in one product. After it: the gradient of every matrix in one product over all rows. Rows that have ended
take no part. The reference is `RecurrentDecoder`, which writes the equations step by step; tests hold the two together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2att.recurrence.choice import keeps_graph, use_native
from seq2att.recurrence.layer_function import differentiable_once
from seq2att.recurrence.native import feedback as native_feedback
from seq2att.recurrence.native.feedback import Level, Loop, Score
from seq2att.recurrence.packing import Packing
from seq2att.recurrence.product import linear, matmul
from seq2att.recurrence.reference import STATES, CellName, Weights, gate_biases
from seq2att.types import Memory


class Fused(NamedTuple):
    """What a loop needs to compute an attention itself: the kind of its score, and its weights.

    none: a context of width 0; dot: scale * q . k; additive: v . tanh(W q + k). Then a masked softmax.
    """

    score: Score
    scale: float = 1.0  # of dot
    query: Tensor | None = None  # W [A, H] of additive
    energy: Tensor | None = None  # v [A] of additive


class LoopKind(NamedTuple):
    """The options of a loop."""

    cell: CellName
    query_first: bool  # bahdanau: the query is the state before the step
    feeding: bool  # of the output
    residual: bool


class LoopWeights(NamedTuple):
    """The decoder's parameters, without the attention's."""

    layers: Sequence[Weights]  # the lowest reads [embedding ; fed ; context]
    readout: Tensor | None  # [D, H + C], bahdanau: [D, H + C + E]


class LoopMasks(NamedTuple):
    """Dropout, drawn before the loop: 0 or 1 / (1 - p); None: no dropout."""

    below: Sequence[Tensor | None]  # [B, T, H] or [B, 1, H] on the input of each layer; None for the lowest
    out: Tensor | None  # [B, T, D] or [B, 1, D]


class LoopState(NamedTuple):
    """The state before the first step, or after the last one of each row."""

    layers: tuple[Tensor, ...]  # (h,) or (h, c), each [B, L, H]
    fed: Tensor  # [B, D], or [B, 0]


class LoopOutput(NamedTuple):
    """The results of a loop: 0 past the end of a row."""

    outputs: Tensor  # [B, T, D]
    weights: Tensor | None  # [B, T, S]
    state: LoopState


class LoopInputs(NamedTuple):
    """The tensors of a loop that have gradients, or None."""

    rows: Tensor  # [N, E]
    fed: Tensor | None  # [B, D]
    keys: Tensor | None  # [B, S, A]
    values: Tensor | None  # [B, S, C]
    readout: Tensor | None  # [D, H + C], bahdanau: [D, H + C + E]; None where nothing is fed, or the top itself
    query: Tensor | None  # [A, H]
    energy: Tensor | None  # [A]
    state: tuple[Tensor, ...]  # [B, L, H] each
    layers: tuple[Weights, ...]  # the lowest reads [embedding ; fed ; context]

    def flatten(self) -> list[Tensor | None]:
        """All tensors in one list."""
        single = [self.rows, self.fed, self.keys, self.values, self.readout, self.query, self.energy]
        return [*single, *self.state, *(tensor for weights in self.layers for tensor in weights)]

    @classmethod
    def unflatten(cls, cell: CellName, flat: Sequence[Any]) -> LoopInputs:
        """The opposite of `flatten`."""
        rows, fed, keys, values, readout, query, energy, *rest = flat
        states = STATES[cell]
        layers = tuple(Weights(*rest[first : first + 4]) for first in range(states, len(rest), 4))
        return cls(rows, fed, keys, values, readout, query, energy, tuple(rest[:states]), layers)

    def lowest_columns(self, query_first: bool) -> list[Tensor]:
        """The lowest layer's matrix for the embedding, the fed output and the context; any may have no columns."""
        fed = 0 if self.fed is None else self.fed.size(1)
        context = self.values.size(2) if query_first and self.values is not None else 0
        return list(self.layers[0].inputs.split([self.rows.size(1), fed, context], 1))

    def readout_columns(self, query_first: bool) -> list[Tensor | None]:
        """The readout for top, context and embedding; None for those that it does not read."""
        if self.readout is None:
            return [None, None, None]
        context = 0 if self.values is None else self.values.size(2)
        sizes = [self.state[0].size(2), context, self.rows.size(1) * query_first]
        return [columns if columns.size(1) else None for columns in self.readout.split(sizes, 1)]


class SavedTensors(NamedTuple):
    """What a loop leaves for its backward pass, all in packing order."""

    loop: Loop
    hidden: list[Tensor]  # [B, H] of each layer: h before the first step
    fed: Tensor | None  # [B, D] what the first step is fed with


def can_run(lengths: Tensor | None, *tensors: Tensor) -> bool:
    """Whether the loop runs over `tensors`, whose dimension 0 is the batch; else the steps are taken one by one."""
    if not use_native(*tensors) or not all(tensor.size(0) for tensor in tensors):
        return False
    return lengths is None or bool(lengths.any())


def run(
    kind: LoopKind,
    fused: Fused,
    loop_weights: LoopWeights,
    inputs: Tensor,
    memory: Memory,
    start: LoopState,
    masks: LoopMasks,
    lengths: Tensor | None = None,
) -> LoopOutput:
    """Any number of steps over `inputs` `[B, T, E]`, of which row b has `lengths[b]`; None: all."""
    packing = Packing.of(lengths, *inputs.shape[:2])
    keys, values = (None, None) if fused.score == "none" else (memory.keys, memory.values)
    readout = loop_weights.readout
    tensors = LoopInputs(
        rows=packing.pack(inputs),
        fed=start.fed if kind.feeding else None,
        keys=keys,
        values=values,
        readout=readout if kind.feeding else None,
        query=fused.query,
        energy=fused.energy,
        state=start.layers,
        layers=tuple(loop_weights.layers),
    )
    flat = tensors.flatten()
    keep = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in flat)
    packed_masks = LoopMasks([pack_mask(packing, mask) for mask in masks.below], pack_mask(packing, masks.out))
    with torch.no_grad():
        loop = build_loop(kind, fused, tensors, packing, memory.mask, packed_masks, keep)
    settings = (loop, packing, fused.scale, keep)
    out, context, weights, fed, *layers = LoopFunction.apply(*settings, *flat)  # type: ignore[no-untyped-call]
    if not kind.feeding:  # bahdanau: `out` is the top layer's h, and the readout need not be in the loop
        assert readout is not None
        out = torch.tanh(linear(torch.cat([out, context, tensors.rows], 1), readout))  # [N, D]
        out = out if packed_masks.out is None else out * packed_masks.out
    state = LoopState(tuple(layers), fed if kind.feeding else start.fed)
    return LoopOutput(packing.unpack(out), None if values is None else packing.unpack(weights), state)


def pack_mask(packing: Packing, mask: Tensor | None) -> Tensor | None:
    """A mask `[B, T, F]` or `[B, 1, F]` of the packed rows: `[N, F]`."""
    return None if mask is None else packing.pack(mask.expand(-1, packing.steps, -1))


class LoopFunction(torch.autograd.Function):
    """A loop: from `LoopInputs` to its output, context, weights and final state."""

    @staticmethod
    def forward(
        ctx: Any, loop: Loop, packing: Packing, scale: float, keep: bool, *flat: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """`out` (`top` where nothing is fed), `context` and `weights` of packed rows, the last `fed` and layers."""
        if keep:  # the loop overwrites the first states
            fed = None if loop.fed is None else loop.fed.clone()
            ctx.saved = SavedTensors(loop, [level.hidden.clone() for level in loop.levels], fed)
            ctx.packing, ctx.scale = packing, scale
            ctx.save_for_backward(*flat)
            ctx.set_materialize_grads(False)
        native_feedback.call(loop, backward=False)
        results = (loop.top if loop.out is None else loop.out, loop.context, loop.weights)
        detached = [None if tensor is None else tensor.detach() for tensor in results]  # else `ctx` would hold itself
        fed = None if loop.fed is None else packing.unsort(loop.fed)
        return (*detached, fed, *stack_state(packing, loop))

    @staticmethod
    def backward(ctx: Any, *d_results: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of `LoopInputs`."""
        flat, saved = ctx.saved_tensors, ctx.saved  # the first refuses once the graph is freed
        with torch.no_grad():
            if keeps_graph():  # the loop overwrites the gates, which another backward pass may need
                levels = [replace(level, gates=level.gates.clone()) for level in saved.loop.levels]
                saved = saved._replace(loop=replace(saved.loop, levels=levels))
            else:
                ctx.saved = None
            tensors = LoopInputs.unflatten(saved.loop.cell, flat)
            gradients = backward(ctx.packing, ctx.scale, tensors, saved, d_results)
        return (*(None,) * 4, *differentiable_once(gradients))


def build_loop(
    kind: LoopKind, fused: Fused, tensors: LoopInputs, packing: Packing, mask: Tensor, masks: LoopMasks, keep: bool
) -> Loop:
    """The loop before its first step, from the memory's `mask` `[B, S]` and packed `masks`."""
    rows, out_mask = tensors.rows, masks.out if kind.feeding else None
    _, fed_weight, context_weight = tensors.lowest_columns(kind.query_first)
    readout_top, readout_context, readout_embedding = tensors.readout_columns(kind.query_first)
    layers = enumerate(masks.below)
    levels = [build_level(tensors, packing, kind, number, below, keep) for number, below in layers]
    readout = out = keys = values = query = weights = context = None
    if tensors.fed is not None:
        readout = rows.new_zeros(rows.size(0), tensors.fed.size(1))
        readout = readout if readout_embedding is None else matmul(rows, readout_embedding)
        out = readout if out_mask is None else torch.empty_like(readout)
    if tensors.keys is not None and tensors.values is not None:
        keys, values = packing.sort(tensors.keys), packing.sort(tensors.values)
        keys = keys if fused.scale == 1 else keys * fused.scale
        weights, context = (rows.new_empty(rows.size(0), size) for size in (keys.size(1), values.size(2)))
        if keep and tensors.energy is not None:
            query = rows.new_empty(rows.size(0), keys.size(2))
    return Loop(
        *(kind.cell, fused.score, kind.query_first, kind.residual, packing.sizes, levels),
        fed_weight=contiguous(fed_weight),
        context_weight=contiguous(context_weight),
        readout_top=contiguous(readout_top),
        readout_context=contiguous(readout_context),
        out_mask=out_mask,
        keys=keys,
        values=values,
        query_weight=contiguous(tensors.query),
        energy=contiguous(tensors.energy),
        padding=None if values is None or bool(mask.all()) else ~packing.sort(mask),
        top=torch.empty_like(levels[-1].outputs) if kind.residual and len(levels) > 1 else levels[-1].outputs,
        readout=readout,
        out=out,
        fed=None if tensors.fed is None else packing.sort(tensors.fed),
        query=query,
        weights=weights,
        context=context,
    )


def build_level(
    tensors: LoopInputs, packing: Packing, kind: LoopKind, number: int, mask: Tensor | None, keep: bool
) -> Level:
    """A layer before the first step; `mask` `[N, H]` is the dropout on its input."""
    cell, weights, count = kind.cell, tensors.layers[number], tensors.rows.size(0)
    bias, new_bias = gate_biases(cell, weights)
    embedding, *_ = tensors.lowest_columns(kind.query_first)
    gates = bias.expand(count, -1).contiguous() if number else matmul(tensors.rows, embedding, bias)
    hidden, *memory = (packing.sort(part[:, number]) for part in tensors.state)  # [B, H] each

    def buffer(is_needed: bool) -> Tensor | None:
        return gates.new_empty(count, hidden.size(1)) if is_needed and keep else None

    return Level(
        hidden_weight=weights.hidden.contiguous(),
        below_weight=weights.inputs.contiguous() if number else None,
        new_bias=contiguous(new_bias),
        mask=mask,
        gates=gates,
        outputs=gates.new_empty(count, hidden.size(1)),
        previous=buffer(cell in ("lstm", "gru")),
        extra=buffer(cell in ("lstm", "gru")),
        below=buffer(number > 0),
        hidden=hidden,
        memory=memory[0] if memory else None,
    )


def contiguous(matrix: Tensor | None) -> Tensor | None:
    """The matrix in one piece; None if there is none, or it has no columns."""
    return None if matrix is None or matrix.size(-1) == 0 else matrix.contiguous()


def stack_state(packing: Packing, loop: Loop) -> list[Tensor]:
    """The states of all layers in the original order, `[B, L, H]` each."""
    parts = [[level.hidden for level in loop.levels]]
    parts.append([level.memory for level in loop.levels if level.memory is not None])
    return [packing.unsort(torch.stack(part, 1)) for part in parts if part]


# The backward pass


def backward(
    packing: Packing, scale: float, tensors: LoopInputs, saved: SavedTensors, d_results: Sequence[Tensor | None]
) -> list[Tensor | None]:
    """The gradients of `tensors`, in the order of `LoopInputs.flatten`; the loop's gates are overwritten."""
    loop = build_gradients(packing, saved.loop, d_results)
    native_feedback.call(loop, backward=True)
    previous = [packing.previous(start, level.outputs) for start, level in zip(saved.hidden, loop.levels, strict=True)]
    queries = previous[-1] if loop.query_first else loop.top  # [N, H]
    embedding, *_ = tensors.lowest_columns(loop.query_first)
    *_, readout_embedding = tensors.readout_columns(loop.query_first)
    d_rows = matmul(loop.levels[0].gates, embedding.t())
    if readout_embedding is not None and loop.d_out is not None:
        d_rows += matmul(loop.d_out, readout_embedding.t())
    lowest_inputs = [tensors.rows]
    if saved.fed is not None and loop.out is not None:
        lowest_inputs.append(packing.previous(saved.fed, loop.out))
    if loop.context_weight is not None and loop.context is not None:
        lowest_inputs.append(loop.context)
    d_layers: list[Tensor] = []
    for level, hidden in zip(loop.levels, previous, strict=True):
        inputs = torch.cat(lowest_inputs, 1) if level.below is None else level.below
        d_layers += level_gradients(level, inputs, hidden)
    return [
        d_rows,
        None if loop.d_fed is None else packing.unsort(loop.d_fed),
        *memory_gradients(packing, scale, loop, queries),
        readout_gradient(tensors, loop),
        None if loop.d_query is None else matmul(loop.d_query.t(), queries.t()),
        None if loop.d_energy is None else loop.d_energy.sum(0),
        *stack_state(packing, loop),
        *d_layers,
    ]


def build_gradients(packing: Packing, loop: Loop, d_results: Sequence[Tensor | None]) -> Loop:
    """The loop with buffers for its gradients, which hold those that come from outside."""
    d_out, d_context, d_weights, d_fed, d_hidden, d_memory = (*d_results, None)[:6]

    def copy(gradient: Tensor | None, like: Tensor | None) -> Tensor | None:
        if gradient is None or like is None:
            return None if like is None else torch.zeros_like(like)
        return gradient.clone(memory_format=torch.contiguous_format)

    def sort(gradient: Tensor | None, like: Tensor) -> Tensor:
        return torch.zeros_like(like) if gradient is None else packing.sort(gradient)

    levels = []
    for number, level in enumerate(loop.levels):
        d_state = (None if gradient is None else gradient[:, number] for gradient in (d_hidden, d_memory))
        hidden, cell_state = (sort(gradient, level.hidden) for gradient in d_state)
        memory = None if level.memory is None else cell_state
        d_projected = torch.empty_like(level.gates) if loop.cell == "gru" else None
        levels.append(replace(level, hidden=hidden, memory=memory, d_projected=d_projected))
    return replace(
        loop,
        levels=levels,
        d_top=copy(d_out, loop.top) if loop.out is None else None,
        d_weights=None if d_weights is None else d_weights.contiguous(),
        d_out=copy(d_out, loop.out),
        d_fed=None if loop.fed is None else sort(d_fed, loop.fed),
        d_context=copy(d_context, loop.context),
        d_scores=None if loop.weights is None else torch.empty_like(loop.weights),
        d_query=None if loop.query is None else torch.empty_like(loop.query),
        d_energy=None if loop.query is None else torch.empty_like(loop.query),
        d_keys=torch.zeros_like(loop.keys) if loop.keys is not None and loop.score == "additive" else None,
    )


def level_gradients(level: Level, inputs: Tensor, hidden: Tensor) -> Weights:
    """The gradients of a layer's parameters from its inputs `[N, I]` and previous states `[N, H]`."""
    d_bias = level.gates.sum(0)
    d_projected = level.gates if level.d_projected is None else level.d_projected
    return Weights(
        matmul(level.gates.t(), inputs.t()),
        matmul(d_projected.t(), hidden.t()),
        d_bias,
        d_bias.clone() if level.d_projected is None else level.d_projected.sum(0),
    )


def memory_gradients(
    packing: Packing, scale: float, loop: Loop, queries: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of keys and values `[B, S, ...]`."""
    if loop.weights is None or loop.d_context is None or loop.d_scores is None:
        return None, None
    if loop.weights.size(1) == 0 and loop.keys is not None and loop.values is not None:
        return loop.keys, loop.values  # of no position
    d_values = torch.bmm(packing.unpack(loop.weights).mT, packing.unpack(loop.d_context))  # [B, S, C]
    if loop.d_keys is not None:
        return packing.unsort(loop.d_keys), d_values
    d_keys = torch.bmm(packing.unpack(loop.d_scores).mT, packing.unpack(queries))  # [B, S, A]
    return d_keys if scale == 1 else d_keys * scale, d_values


def readout_gradient(tensors: LoopInputs, loop: Loop) -> Tensor | None:
    """The gradient of the readout."""
    if tensors.readout is None or loop.d_out is None:
        return None
    inputs = [loop.top] if loop.context is None else [loop.top, loop.context]
    if loop.query_first:
        inputs.append(tensors.rows)
    return matmul(loop.d_out.t(), torch.cat(inputs, 1).t())
