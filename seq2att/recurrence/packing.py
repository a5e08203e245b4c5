"""Rows of different lengths without their padding: step after step, of each step only the rows that are still alive."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.types import length_mask


class Packing(NamedTuple):
    """Where the N real positions of a batch `[B, T]` lie: all of the first step, longest row first, then the second."""

    order: Tensor  # [B] the rows, longest first; equally long ones as they came
    sizes: list[int]  # of each step, as far as the longest row goes: how many rows are alive, the first of `order`
    index: Tensor  # type: ignore[assignment]  # [N] the place of each packed position in the flattened [B * T]
    steps: int  # T

    def take(self, values: Tensor) -> Tensor:
        """The real positions `[N, F]` of `values` `[B, T, F]`."""
        return values.reshape(-1, values.size(2)).index_select(0, self.index)

    def spread(self, packed: Tensor) -> Tensor:
        """`packed` `[N, F]` as `[B, T, F]`, 0 on padding."""
        shape = (self.order.size(0), self.steps, packed.size(1))
        whole = len(packed) == shape[0] * shape[1]
        padded = packed.new_empty(shape) if whole else packed.new_zeros(shape)  # no view: it may be changed in place
        padded.view(-1, packed.size(1)).index_copy_(0, self.index, packed)
        return padded

    def sort(self, state: Tensor) -> Tensor:
        """The rows of `state` `[B, H]`, longest first."""
        return state.index_select(0, self.order)

    def unsort(self, state: Tensor) -> Tensor:
        """The rows of `state` `[B, H]` as they came, after `sort`."""
        return torch.empty_like(state).index_copy_(0, self.order, state)

    def previous_index(self, backwards: bool) -> Tensor:
        """Where each packed position's previous state lies in the sorted first states, then the packed ones: `[N]`.

        The previous position is the one before it; `backwards` the one after it.
        """
        live = torch.tensor(self.sizes, dtype=torch.long, device=self.index.device)  # [T]
        step = torch.repeat_interleave(live)  # [N]
        first = live.cumsum(0) - live  # [T] of each step, its first packed position
        row = torch.arange(len(step), device=live.device) - first[step]  # [N]
        known = torch.cat([first, first.new_zeros(1)])
        alive = torch.cat([live, live.new_zeros(1)])  # a step after the last, without rows
        before = step + 1 if backwards else (step - 1).clamp(min=0)
        starts = row >= alive[before] if backwards else step == 0
        return torch.where(starts, row, len(self.order) + known[before] + row)


def pack(lengths: Tensor | None, rows: int, steps: int) -> Packing:
    """How `rows` of these `lengths` `[B]`, in `steps` positions, are packed; None: all are real."""
    if lengths is None:
        order = torch.arange(rows)
        index = torch.arange(rows * steps).view(rows, steps).t().flatten()  # [T * B]
        return Packing(order, [rows] * steps if rows else [], index, steps)
    ordered, order = lengths.clamp(max=steps).sort(descending=True, stable=True)
    alive = length_mask(ordered, int(ordered[0]) if rows else 0).t()  # [T', B]
    place = order * steps + torch.arange(alive.size(0), device=order.device).unsqueeze(1)  # [T', B]
    return Packing(order, alive.sum(1).tolist(), place[alive], steps)
