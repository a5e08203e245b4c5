"""The buffers of a loop, made for its parameters and its batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.recurrence.feedback_buffers import Engine, Level, Loop, Score
from seq2att.recurrence.function import biases
from seq2att.recurrence.packing import Packing
from seq2att.recurrence.product import product
from seq2att.recurrence.reference import STATES, CellName, Weights


class Kind(NamedTuple):
    """What kind of loop it is."""

    cell: CellName
    query_first: bool  # bahdanau
    feeding: bool  # of the output
    residual: bool


class Plan(NamedTuple):
    """A loop but for the tensors that have gradients."""

    kind: Kind
    score: Score
    scale: float  # of dot
    engine: Engine
    packing: Packing
    holes: Tensor | None  # [B, S] as in `Loop`
    masks: Sequence[Tensor | None]  # [N, H] of every layer, the first is None
    out_mask: Tensor | None  # [N, D]
    keep: bool


class Tensors(NamedTuple):
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

    def flat(self) -> list[Tensor | None]:
        """All in one list."""
        single = [self.rows, self.fed, self.keys, self.values, self.readout, self.query, self.energy]
        return [*single, *self.state, *(part for layer in self.layers for part in layer)]

    @classmethod
    def of(cls, cell: CellName, flat: Sequence[Tensor | None]) -> Tensors:
        """The opposite of `flat`."""
        rows, fed, keys, values, readout, query, energy, *rest = flat
        parts = [part for part in rest if part is not None]
        states = STATES[cell]
        layers = tuple(Weights(*parts[first : first + 4]) for first in range(states, len(parts), 4))
        assert rows is not None
        return cls(rows, fed, keys, values, readout, query, energy, tuple(parts[:states]), layers)

    def columns(self, query_first: bool) -> tuple[list[Tensor], list[Tensor]]:
        """The lowest layer's matrix for the embedding, fed output and context; the readout for top, context, embedding.

        Parts of no width are parts all the same.
        """
        embedding = self.rows.size(1)
        fed = 0 if self.fed is None else self.fed.size(1)
        context = 0 if self.values is None else self.values.size(2)
        lowest = self.layers[0].inputs.split([embedding, fed, context * query_first], 1)
        if self.readout is None:
            return list(lowest), []
        size = self.state[0].size(2)
        return list(lowest), list(self.readout.split([size, context, embedding * query_first], 1))


def build(plan: Plan, tensors: Tensors) -> Loop:
    """The loop before its first step."""
    kind, packing, rows = plan.kind, plan.packing, tensors.rows
    count = rows.size(0)
    (embedding, *feeds), readout = tensors.columns(kind.query_first)
    levels = [build_level(plan, tensors, number, embedding) for number in range(len(tensors.layers))]
    top = torch.empty_like(levels[-1].outputs) if kind.residual and len(levels) > 1 else levels[-1].outputs
    said = out = keys = values = query = weights = context = None
    if tensors.fed is not None:
        said = rows.new_zeros(count, tensors.fed.size(1))
        if readout and readout[2].size(1):
            said = product(rows, readout[2])
        out = said if plan.out_mask is None else torch.empty_like(said)
    if tensors.keys is not None and tensors.values is not None:
        keys, values = packing.sort(tensors.keys), packing.sort(tensors.values)
        keys = keys if plan.scale == 1 else keys * plan.scale
        weights, context = rows.new_empty(count, keys.size(1)), rows.new_empty(count, values.size(2))
        if plan.keep and tensors.energy is not None:
            query = rows.new_empty(count, keys.size(2))
    return Loop(
        *(kind.cell, kind.query_first, kind.residual, plan.keep, packing.sizes, levels),
        fed_weight=whole(feeds[0]),
        context_weight=whole(feeds[1]),
        top=top,
        readout_top=whole(readout[0]) if readout else None,
        readout_context=whole(readout[1]) if readout else None,
        said=said,
        out=out,
        out_mask=plan.out_mask,
        fed=None if tensors.fed is None else packing.sort(tensors.fed),
        score=plan.score,
        keys=keys,
        values=values,
        holes=plan.holes,
        query_weight=None if tensors.query is None else tensors.query.contiguous(),
        energy=None if tensors.energy is None else tensors.energy.contiguous(),
        query=query,
        weights=weights,
        context=context,
    )


def build_level(plan: Plan, tensors: Tensors, number: int, embedding: Tensor) -> Level:
    """A layer before the first step; `embedding` `[G*H, E]` is the lowest one's matrix for the embedding."""
    cell, keep = plan.kind.cell, plan.keep
    weights, count = tensors.layers[number], tensors.rows.size(0)
    size = weights.hidden.size(1)
    bias, new_bias = biases(cell, weights)
    gates = bias.expand(count, -1).contiguous() if number else product(tensors.rows, embedding, bias)
    kept = keep and cell in ("lstm", "gru")
    state = [plan.packing.sort(part[:, number]) for part in tensors.state]  # [B, H] each
    return Level(
        hidden_weight=weights.hidden.contiguous(),
        below_weight=weights.inputs.contiguous() if number else None,
        new_bias=None if new_bias is None else new_bias.contiguous(),
        gates=gates,
        outputs=gates.new_empty(count, size),
        previous=gates.new_empty(count, size) if kept else None,
        extra=gates.new_empty(count, size) if kept else None,
        below=gates.new_empty(count, size) if number and keep else None,
        mask=plan.masks[number],
        hidden=state[0],
        memory=state[1] if cell == "lstm" else None,
    )


def whole(matrix: Tensor) -> Tensor | None:
    """The columns `[M, K]` in one piece; None if there are none."""
    return matrix.contiguous() if matrix.size(1) else None
