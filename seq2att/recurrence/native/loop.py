"""The C++ loop of a decoder with feedback, over the same buffers as the Python one."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_int64, c_void_p
from typing import TYPE_CHECKING, ClassVar

import torch

from seq2att.recurrence.native.build import library
from seq2att.recurrence.native.engine import CELLS, SUFFIX, address

if TYPE_CHECKING:
    from seq2att.recurrence.feedback_buffers import Level, LevelSlopes, Loop, Score, Slopes

SCORES: dict[Score, int] = {"none": 0, "dot": 1, "additive": 2}


class LevelRun(Structure):
    """`Level` of feedback.h."""

    _fields_: ClassVar = [
        *((name, c_void_p) for name in ("hidden_weight", "below_weight", "new_bias", "mask", "gates", "outputs")),
        *((name, c_void_p) for name in ("previous", "extra", "below", "hidden", "memory", "through")),
    ]


class LoopRun(Structure):
    """`Loop` of feedback.h."""

    _fields_: ClassVar = [
        *((name, c_int64) for name in ("cell", "steps", "rows", "size", "layers", "fed_size", "query_first")),
        *((name, c_int64) for name in ("residual", "threads", "score", "source", "width", "context_size")),
        ("sizes", POINTER(c_int64)),
        ("levels", POINTER(LevelRun)),
        *((name, c_void_p) for name in ("fed_weight", "context_weight", "readout_top", "readout_context", "out_mask")),
        *((name, c_void_p) for name in ("keys", "values", "query_weight", "energy", "holes")),
        *((name, c_void_p) for name in ("top", "said", "out", "fed", "query", "weights", "context")),
        *((name, c_void_p) for name in ("d_top", "d_weights", "d_out", "d_fed", "d_context", "d_scores")),
        *((name, c_void_p) for name in ("d_query", "d_energy", "d_keys")),
    ]


def forward(loop: Loop) -> None:
    """Fill the loop's buffers."""
    run = described(loop)
    run.levels = (LevelRun * len(loop.levels))(*(level_run(level) for level in loop.levels))
    call("forward", loop, run)


def backward(loop: Loop, slopes: Slopes) -> None:
    """Fill the gradients; the gates become theirs."""
    run = described(loop)
    levels = [level_run(level, slope) for level, slope in zip(loop.levels, slopes.levels, strict=True)]
    run.levels = (LevelRun * len(levels))(*levels)
    run.d_top, run.d_weights, run.d_out = address(slopes.top), address(slopes.weights), address(slopes.out)
    run.d_fed, run.d_context, run.d_scores = address(slopes.fed), address(slopes.context), address(slopes.scores)
    run.d_query, run.d_energy, run.d_keys = address(slopes.query), address(slopes.energy), address(slopes.keys)
    call("backward", loop, run)


def call(way: str, loop: Loop, run: LoopRun) -> None:
    """Let the library run; its threads are PyTorch's number of them."""
    getattr(library(), f"feedback_{way}_{SUFFIX[loop.top.dtype]}")(ctypes.byref(run))


def described(loop: Loop) -> LoopRun:
    """The sizes of a loop, and where its buffers lie."""
    rows, size = loop.levels[0].hidden.shape
    keys, values = loop.keys, loop.values
    return LoopRun(
        *(CELLS[loop.cell], len(loop.sizes), rows, size, len(loop.levels)),
        *(0 if loop.fed is None else loop.fed.size(1), int(loop.query_first), int(loop.residual)),
        *(torch.get_num_threads(), SCORES[loop.score] if values is not None else 0),
        *(0 if values is None else values.size(1), 0 if keys is None else keys.size(2)),
        0 if values is None else values.size(2),
        (c_int64 * len(loop.sizes))(*loop.sizes),
        None,
        *(address(weight) for weight in (loop.fed_weight, loop.context_weight)),
        *(address(tensor) for tensor in (loop.readout_top, loop.readout_context, loop.out_mask, keys, values)),
        *(address(tensor) for tensor in (loop.query_weight, loop.energy, loop.holes)),
        *(address(tensor) for tensor in (loop.top, loop.said, loop.out, loop.fed)),
        *(address(tensor) for tensor in (loop.query, loop.weights, loop.context)),
    )


def level_run(level: Level, slope: LevelSlopes | None = None) -> LevelRun:
    """Where the buffers of a layer lie; with `slope` those of the way back."""
    hidden, memory = (level.hidden, level.memory) if slope is None else (slope.hidden, slope.memory)
    return LevelRun(
        *(address(tensor) for tensor in (level.hidden_weight, level.below_weight, level.new_bias, level.mask)),
        *(address(tensor) for tensor in (level.gates, level.outputs, level.previous, level.extra, level.below)),
        *(address(tensor) for tensor in (hidden, memory, None if slope is None else slope.through)),
    )
