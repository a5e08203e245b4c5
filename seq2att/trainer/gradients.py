"""Gradients of a sum over parts and processes, and how they become those of a mean."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

SCALE = 1024.0  # near the tokens of a batch, so that half-precision gradients stay in range; dividing by it is exact


def nothing_of(parameters: Iterable[Tensor]) -> Tensor:
    """A zero whose gradient at every one of the parameters is zero."""
    return sum((parameter.sum() * 0.0 for parameter in parameters if parameter.requires_grad), torch.tensor(0.0))


def reached(loss: Tensor) -> set[int]:
    """The `id`s of the parameters that a loss has a gradient for."""
    found, waiting, seen = set(), [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [before for before, _ in node.next_functions]
    return found


def rescale(gradients: list[Tensor], scale: float, tokens: Tensor, clip: float) -> Tensor:
    """Multiply the gradients by `scale / tokens`, or by less where their norm would then exceed `clip` (0: no limit).

    Gives that part of the factor which clips them. One pass to measure and one to multiply, without waiting for the
    device.
    """
    shortened = torch.tensor(1.0)
    if not gradients:
        return shortened
    factor = scale / tokens.clamp(min=1).to(gradients[0].dtype)
    if clip > 0:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))) * factor
        shortened = (clip / (norm + 1e-6)).clamp(max=1.0)
        factor = factor * shortened
    torch._foreach_mul_(gradients, factor)
    return shortened
