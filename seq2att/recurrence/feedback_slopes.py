"""The way back of a decoder's loop: what goes into it, and every product that can wait until after it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.recurrence.feedback_buffers import Level, LevelSlopes, Loop, Slopes
from seq2att.recurrence.feedback_plan import Plan, Tensors
from seq2att.recurrence.function import history
from seq2att.recurrence.product import product
from seq2att.recurrence.reference import Weights


class Kept(NamedTuple):
    """What a loop leaves for its way back, all in packing order."""

    loop: Loop
    first: list[Tensor]  # [B, H] of each layer: h before the first step
    fed: Tensor | None  # [B, D] what the first step is fed with


class Outside(NamedTuple):
    """The gradients that come from outside, or None."""

    out: Tensor | None  # [N, D], or [N, H] of `top`
    context: Tensor | None  # [N, C]
    weights: Tensor | None  # [N, S]
    fed: Tensor | None  # [B, D]
    state: tuple[Tensor | None, ...]  # [B, L, H] each


def differentiate(plan: Plan, tensors: Tensors, kept: Kept, outside: Outside) -> list[Tensor | None]:
    """The gradients of `tensors`, in the order of `Tensors.flat`; the loop's gates are lost."""
    loop, packing = kept.loop, plan.packing
    slopes = enter(plan, loop, outside)
    plan.engine.backward(loop, slopes)
    before = [
        history(packing, first, level.outputs, False) for first, level in zip(kept.first, loop.levels, strict=True)
    ]
    asked = before[-1] if loop.query_first else loop.top  # [N, H] what the attention was asked with
    (embedding, *_), readout = tensors.columns(loop.query_first)
    rows = product(loop.levels[0].gates, embedding.t())
    if readout and readout[2].size(1) and slopes.out is not None:
        rows += product(slopes.out, readout[2].t())
    feeds = [tensors.rows]
    if kept.fed is not None and loop.out is not None:
        feeds.append(history(packing, kept.fed, loop.out, False))
    if loop.context_weight is not None and loop.context is not None:
        feeds.append(loop.context)
    layers: list[Tensor] = []
    for level, slope, hidden in zip(loop.levels, slopes.levels, before, strict=True):
        read = torch.cat(feeds, 1) if level.below is None else level.below
        layers += level_slopes(level, slope, read, hidden)
    ends = [
        [slope.hidden for slope in slopes.levels],
        [slope.memory for slope in slopes.levels if slope.memory is not None],
    ]
    state = [packing.unsort(torch.stack(end, 1)) for end in ends if end]  # [B, L, H] each
    return [
        rows,
        None if slopes.fed is None else packing.unsort(slopes.fed),
        *attention_slopes(plan, loop, slopes, asked),
        readout_slopes(tensors, loop, slopes),
        None if slopes.query is None else product(slopes.query.t(), asked.t()),
        None if slopes.energy is None else slopes.energy.sum(0),
        *state,
        *layers,
    ]


def enter(plan: Plan, loop: Loop, outside: Outside) -> Slopes:
    """The gradients from outside, and room for the others."""

    def known(slope: Tensor | None, like: Tensor) -> Tensor:
        if slope is None:
            return torch.zeros_like(like, memory_format=torch.contiguous_format)
        return slope.clone(memory_format=torch.contiguous_format)

    def last(slope: Tensor | None, number: int, like: Tensor) -> Tensor:
        return torch.zeros_like(like) if slope is None else plan.packing.sort(slope[:, number])

    levels = [
        LevelSlopes(
            torch.empty_like(level.gates) if loop.cell == "gru" else level.gates,
            last(outside.state[0], number, level.hidden),
            None if level.memory is None else last(outside.state[1], number, level.memory),
        )
        for number, level in enumerate(loop.levels)
    ]
    fed = None
    if loop.fed is not None:
        fed = torch.zeros_like(loop.fed) if outside.fed is None else plan.packing.sort(outside.fed)
    keys = loop.keys if loop.score == "additive" else None
    return Slopes(
        levels,
        top=known(outside.out, loop.top) if loop.out is None else None,
        out=None if loop.out is None else known(outside.out, loop.out),
        fed=fed,
        context=None if loop.context is None else known(outside.context, loop.context),
        weights=None if outside.weights is None else outside.weights.contiguous(),
        scores=None if loop.weights is None else torch.empty_like(loop.weights),
        query=None if loop.query is None else torch.empty_like(loop.query),
        energy=None if loop.query is None else torch.empty_like(loop.query),
        keys=None if keys is None else torch.zeros_like(keys),
    )


def level_slopes(level: Level, slope: LevelSlopes, read: Tensor, hidden: Tensor) -> Weights:
    """The gradients of a layer's parameters, that read `read` `[N, I]` and was at `hidden` `[N, H]`."""
    bias = level.gates.sum(0)
    return Weights(
        product(level.gates.t(), read.t()),
        product(slope.through.t(), hidden.t()),
        bias,
        bias.clone() if slope.through is level.gates else slope.through.sum(0),
    )


def attention_slopes(plan: Plan, loop: Loop, slopes: Slopes, asked: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of keys and values `[B, S, ...]`."""
    if loop.weights is None or slopes.context is None or slopes.scores is None:
        return None, None
    if loop.weights.size(1) == 0 and loop.keys is not None and loop.values is not None:
        return loop.keys, loop.values  # of no position
    spread = plan.packing.spread
    values = torch.bmm(spread(loop.weights).mT, spread(slopes.context))  # [B, S, C]
    if slopes.keys is not None:
        return plan.packing.unsort(slopes.keys), values
    keys = torch.bmm(spread(slopes.scores).mT, spread(asked))  # [B, S, A]
    return keys if plan.scale == 1 else keys * plan.scale, values


def readout_slopes(tensors: Tensors, loop: Loop, slopes: Slopes) -> Tensor | None:
    """The gradient of the readout."""
    if tensors.readout is None or slopes.out is None:
        return None
    mixed = [loop.top] if loop.context is None else [loop.top, loop.context]
    if loop.query_first:
        mixed.append(tensors.rows)
    return product(slopes.out.t(), torch.cat(mixed, 1).t())
