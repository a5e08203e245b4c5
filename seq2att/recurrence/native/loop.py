"""The C++ loop of a decoder with feedback, over the same buffers as the Python one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from seq2att.recurrence.native.functions import CELLS, FEEDBACK, SCORES

if TYPE_CHECKING:
    from seq2att.recurrence.feedback_buffers import Level, LevelSlopes, Loop, Slopes

GRADIENTS = ("top", "weights", "out", "fed", "context", "scores", "query", "energy", "keys")


def forward(loop: Loop) -> None:
    """Fill the loop's buffers."""
    FEEDBACK(
        **buffers(loop),
        back=False,
        levels=[level_buffers(level) for level in loop.levels],
        **dict.fromkeys(f"d_{name}" for name in GRADIENTS),
    )


def backward(loop: Loop, slopes: Slopes) -> None:
    """Fill the gradients; the gates become theirs."""
    FEEDBACK(
        **buffers(loop),
        back=True,
        levels=[level_buffers(level, slope) for level, slope in zip(loop.levels, slopes.levels, strict=True)],
        **{f"d_{name}": getattr(slopes, name) for name in GRADIENTS},
    )


def buffers(loop: Loop) -> dict[str, Any]:
    """The arguments that both directions have in common."""
    return {
        "cell": CELLS[loop.cell],
        "query_first": loop.query_first,
        "residual": loop.residual,
        "score": SCORES[loop.score] if loop.values is not None else 0,
        "sizes": torch.tensor(loop.sizes),
        "fed_weight": loop.fed_weight,
        "context_weight": loop.context_weight,
        "readout_top": loop.readout_top,
        "readout_context": loop.readout_context,
        "out_mask": loop.out_mask,
        "keys": loop.keys,
        "values": loop.values,
        "query_weight": loop.query_weight,
        "energy": loop.energy,
        "padding": loop.holes,
        "top": loop.top,
        "said": loop.said,
        "out": loop.out,
        "fed": loop.fed,
        "query": loop.query,
        "weights": loop.weights,
        "context": loop.context,
    }


def level_buffers(level: Level, slope: LevelSlopes | None = None) -> dict[str, Any]:
    """The arguments of a layer; with `slope` those of the way back."""
    hidden, memory = (level.hidden, level.memory) if slope is None else (slope.hidden, slope.memory)
    return {
        "hidden_weight": level.hidden_weight,
        "below_weight": level.below_weight,
        "new_bias": level.new_bias,
        "mask": level.mask,
        "gates": level.gates,
        "outputs": level.outputs,
        "previous": level.previous,
        "extra": level.extra,
        "below": level.below,
        "hidden": hidden,
        "memory": memory,
        "through": None if slope is None else slope.through,
    }
