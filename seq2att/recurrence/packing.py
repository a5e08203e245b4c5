"""Rows of different lengths without their padding: step after step, of each step only the rows that are still alive."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.types import length_mask


class Packing(NamedTuple):
    """Where the N real positions of a batch `[B, T]` lie: all of the first step, longest row first, then the second."""

    order: Tensor  # [B] the rows, longest first; rows of equal length in their original order
    sizes: list[int]  # [T'] number of rows alive at each step, the first of `order`; no zeros
    index: Tensor  # type: ignore[assignment]  # [N] the place of each packed position in the flattened [B * T]
    steps: int  # T

    @classmethod
    def of(cls, lengths: Tensor | None, rows: int, steps: int) -> Packing:
        """The packing of `rows` rows of `lengths` `[B]` in `steps` positions; None: every position is real."""
        if lengths is None:
            order = torch.arange(rows)
            index = torch.arange(rows * steps).view(rows, steps).t().flatten()  # [T * B]
            return cls(order, [rows] * steps if rows else [], index, steps)
        ordered, order = lengths.clamp(max=steps).sort(descending=True, stable=True)
        alive = length_mask(ordered, int(ordered[0]) if rows else 0).t()  # [T', B]
        place = order * steps + torch.arange(alive.size(0), device=order.device).unsqueeze(1)  # [T', B]
        return cls(order, alive.sum(1).tolist(), place[alive], steps)

    def pack(self, values: Tensor) -> Tensor:
        """The real positions `[N, F]` of `values` `[B, T, F]`."""
        return values.reshape(-1, values.size(2)).index_select(0, self.index)

    def unpack(self, packed: Tensor) -> Tensor:
        """`packed` `[N, F]` as `[B, T, F]`, 0 on padding."""
        shape = (self.order.size(0), self.steps, packed.size(1))
        is_full = len(packed) == shape[0] * shape[1]
        padded = packed.new_empty(shape) if is_full else packed.new_zeros(shape)  # no view: may be changed in place
        padded.flatten(0, 1).index_copy_(0, self.index, packed)
        return padded

    def sort(self, state: Tensor) -> Tensor:
        """The rows of `state` `[B, ...]`, longest first."""
        return state.index_select(0, self.order)

    def unsort(self, state: Tensor) -> Tensor:
        """The rows of `state` `[B, ...]` in their original order, after `sort`."""
        return torch.empty_like(state).index_copy_(0, self.order, state)

    def previous(self, start: Tensor, states: Tensor, backwards: bool = False) -> Tensor:
        """The state before each packed position `[N, H]`, of the sorted `start` `[B, H]` and the packed `states`.

        The previous position is the one before it; with `backwards` the one after it.
        """
        alive = torch.tensor(self.sizes, dtype=torch.long, device=self.index.device)  # [T']
        step = torch.repeat_interleave(alive)  # [N]
        first = alive.cumsum(0) - alive  # [T'] the first packed position of each step
        row = torch.arange(len(step), device=alive.device) - first[step]  # [N]
        first, alive = torch.cat([first, first.new_zeros(1)]), torch.cat([alive, alive.new_zeros(1)])
        before = step + 1 if backwards else (step - 1).clamp(min=0)  # a step after the last has no rows
        is_start = row >= alive[before] if backwards else step == 0
        result = states.index_select(0, torch.where(is_start, 0, first[before] + row))
        starts = is_start.nonzero().squeeze(1)
        return result.index_copy_(0, starts, start.index_select(0, row[starts]))
