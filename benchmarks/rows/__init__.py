"""The rows: each says what is compared, builds its contenders, and proves that they do the same work."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Sequence

import torch

from benchmarks.rows import classification, decoding, training
from benchmarks.settings import Settings
from benchmarks.timing import Row, conditions
from seq2att.errors import UserError

ROWS: dict[str, Callable[[Settings], Row]] = {**training.ROWS, **classification.ROWS, **decoding.ROWS}


def chosen(patterns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that any of the patterns fits, in the order of the names."""
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UserError(
                "E-choice", f"--rows {pattern}", "matches no row", f"known: {', '.join(names)}, and patterns ('*-gru')"
            )
    return [name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def work_once(name: str, contender_name: str, settings: Settings) -> None:
    """What a contender's memory is measured by: a short round and the longest one in this process."""
    torch.set_num_threads(settings.threads)
    row = ROWS[name](settings)
    (contender,) = (one for one in row.contenders if one.name == contender_name)
    order = sorted(range(len(row.work)), key=lambda place: row.work[place].tokens)
    with conditions(contender):
        run = contender.build()
        run(order[0])  # after it the optimizer holds its memory
        if len(order) > 1:
            run(order[-1])
