"""Dropout with one mask for a whole sequence, and masks that are drawn before the loop that uses them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout of `[B, T, F]`; `locked`: the same units at every step (Gal & Ghahramani 2016)."""

    def __init__(self, probability: float = 0.0, locked: bool = False) -> None:
        super().__init__(probability)
        self.locked = locked

    def draw(self, like: Tensor, shape: tuple[int, int, int]) -> Tensor | None:
        """A mask of `shape` `[B, T, F]`, 0 or 1 / (1 - p); locked: `[B, 1, F]`; None without dropout."""
        if not self.training or self.p == 0:
            return None
        return draw(like, (shape[0], 1, shape[2]) if self.locked else shape, self.p)

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs` `[B, T, F]` with units set to 0 and the others scaled by 1 / (1 - p)."""
        if not self.locked:
            return super().forward(inputs.contiguous())  # torch draws in the order of the memory
        mask = self.draw(inputs, (inputs.size(0), inputs.size(1), inputs.size(2)))
        return inputs if mask is None else inputs * mask


class Draws(NamedTuple):
    """The dropout masks of a stack for one sequence, which may be run step by step; None: no dropout."""

    below: tuple[Tensor | None, ...]  # on the input of each layer: [B, T, I], or [B, 1, I] when locked
    hidden: tuple[Tensor | None, ...]  # on the recurrent matrix of each layer: [G*H, H]

    def at(self, step: int) -> Draws:
        """The masks of one step of the sequence."""
        below = (mask if mask is None or mask.size(1) == 1 else mask[:, step : step + 1] for mask in self.below)
        return Draws(tuple(below), self.hidden)


def draw(like: Tensor, shape: tuple[int, ...], probability: float) -> Tensor:
    """A mask of `shape`: 0 with `probability` p, else 1 / (1 - p); of the type and device of `like`."""
    return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1 - probability).div_(1 - probability)
