"""The short audit of a training: a few thousand of its rows, once for the same rows and settings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seq2att.audit.checking import check_blocks, make_context
from seq2att.audit.context import Block, Context
from seq2att.audit.report import short_lines
from seq2att.audit.table import DEFECTS
from seq2att.data import Corpus
from seq2att.data.cache import cache_folder, cached, make_key
from seq2att.data.reading import CHUNK, Table
from seq2att.field import Field
from seq2att.reader import Reader

PIECE = 512  # rows that are taken together, so that pairs which are shifted show
PIECES = {"train": 6, "validation": 1, "test": 1}
CHARACTERS = 1 << 17  # of a piece of long texts, about
NEED_ALL = frozenset(
    "rare-class unseen-label absent-class different-classes sorted-classes too-many-classes unseen-tag".split()
)
"""Defects of the checks of a sample that only all rows can show."""
FILE = "lines.json"
MOST = 4  # lines


def sampled_remarks(
    config: Mapping[str, Any], fields: Mapping[str, Field], reader: Reader, corpora: Mapping[str, Corpus]
) -> list[str]:
    """A line for each error and warning in a sample of the rows; none where nothing is wrong."""
    settings = [config.get(name) for name in ("source", "target", "reader")]
    data = {name: config["data"].get(name) for name in ("missing", "max_length", "too_long")}
    tables = {split: corpus.table for split, corpus in corpora.items()}
    rows = [f"{table.folder.parent.name}/{split}" for split, table in tables.items()]
    key = make_key(settings, data, rows, [tuple(one) for one in DEFECTS.values()])

    def make(folder: Path) -> None:
        lines = examine(make_context(config, fields, reader), tables)
        (folder / FILE).write_text(json.dumps(lines, ensure_ascii=False), "utf-8")

    folder = cached(cache_folder(config["data"].get("cache")), "audit", key, make)
    lines: list[str] = json.loads((folder / FILE).read_text("utf-8"))
    if len(lines) > MOST:
        lines = [*lines[: MOST - 1], f"{len(lines) - MOST + 1} more kinds of defects"]
    hint = f"`seq2att data {shlex.quote(str(config['run']))}` looks at all rows; with `--write DIR` it cleans them"
    return [*lines, hint] if lines else []


def examine(context: Context, tables: Mapping[str, Table]) -> list[str]:
    """What a sample of the tables shows."""
    check_blocks(context, (block for split, table in tables.items() for block in sample(context, split, table)), True)
    return short_lines([one for one in context.findings.sorted(context.rows, True) if one.defect.name not in NEED_ALL])


def sample(context: Context, split: str, table: Table) -> Iterator[Block]:
    """Some pieces of a table, evenly spaced, or all of a small one."""
    pieces = PIECES[split]
    starts = np.unique(np.linspace(0, max(len(table) - PIECE, 0), pieces).astype(int) // PIECE * PIECE)
    places = context.findings.open(split)
    context.rows[split] = 0
    for start in starts.tolist():
        batch = table.batches[start // CHUNK].slice(start % CHUNK, PIECE)
        if not batch.num_rows:
            continue
        values = {side: batch.column(side).to_pylist() for side in context.sides if side in table.sides}
        size = fitting(list(values.values()))
        files = [table.files[number] for number in batch.column("file").slice(0, size).to_pylist()]
        first = places.extend(files, batch.column("line").slice(0, size).to_pylist())
        context.rows[split] += size
        columns = {side: column[:size] for side, column in values.items()}
        yield Block(context, split, np.arange(first, first + size), columns, start == 0)


def fitting(columns: Sequence[Sequence[Any]]) -> int:
    """How many rows of a piece have no more characters than a piece may have; at least one."""
    total = 0
    for row, values in enumerate(zip(*columns, strict=True)):
        total += sum(len(value) for value in values if isinstance(value, str))
        if total > CHARACTERS:
            return max(row, 1)
    return len(columns[0])
