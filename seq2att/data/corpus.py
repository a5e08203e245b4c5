"""A split as a model sees it: flat token ids with offsets, and the texts that they were made from."""

from __future__ import annotations

import json
import math
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seq2att.data.numbers import ROW, NumberWriter, map_numbers, release
from seq2att.data.reading import Table
from seq2att.data.report import RowReport
from seq2att.types import UNKNOWN, Column

PART = 1 << 20  # tokens or rows that are looked at once
LARGE = 1 << 27  # bytes of values beyond which rows are read, not mapped

Numbers = npt.NDArray[np.int64]
Rows = Sequence[int] | Numbers


class Ragged:
    """Sequences of different lengths in one flat array: row r is `values[offsets[r] : offsets[r + 1]]`."""

    def __init__(self, values: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> None:
        self.values = np.asarray(values)  # [total] ids or [total, F] vectors; not a np.memmap, which is slow to index
        self.offsets = np.asarray(offsets)  # [rows + 1]
        self.file: int | None = None  # read where the values are many; a mapping would hold them all in time

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """The length of every row `[rows]`."""
        return np.diff(self.offsets)

    def small_lengths(self) -> npt.NDArray[Any]:
        """The length of every row in the smallest type, without the memory for larger ones."""
        result = np.zeros(len(self), np.uint16)
        for start in range(0, len(self), PART):
            lengths = np.diff(self.offsets[start : start + PART + 1])
            if lengths.max(initial=0) > np.iinfo(result.dtype).max:
                result = result.astype(np.int64)
            result[start : start + PART] = lengths
        release(self.offsets)
        return result

    def gather(self, rows: Rows) -> Column:
        """These rows, padded with zeros to the longest of them: one gather of all values."""
        rows = np.asarray(rows, np.int64)
        starts = self.offsets[rows]  # [B]
        lengths = self.offsets[rows + 1] - starts  # [B]
        steps = np.arange(lengths.max(initial=0))  # [S]
        is_value = steps < lengths[:, None]  # [B, S]
        if self.file is None:
            padded = self.values.take(starts[:, None] + steps, axis=0, mode="clip")  # [B, S] or [B, S, F]
            padded[~is_value] = 0
        else:
            padded = np.zeros((*is_value.shape, *self.values.shape[1:]), self.values.dtype)
            padded[is_value] = self.read(self.file, starts, lengths)
        wide = padded.astype({"i": np.int64, "u": np.uint8}.get(padded.dtype.kind, np.float32), copy=False)
        return Column(torch.from_numpy(wide), torch.from_numpy(lengths))

    def read(self, file: int, starts: Numbers, lengths: Numbers) -> npt.NDArray[Any]:
        """The values of rows that start there, one after the other `[total]` or `[total, F]`."""
        size = self.values.itemsize * math.prod(self.values.shape[1:])
        places = zip((starts * size).tolist(), (lengths * size).tolist(), strict=True)
        content = b"".join(os.pread(file, count, start) for start, count in places)
        return np.frombuffer(content, self.values.dtype).reshape(-1, *self.values.shape[1:])

    @classmethod
    def of(cls, arrays: Sequence[npt.NDArray[Any]]) -> Ragged:
        """Rows in memory."""
        offsets = np.concatenate([[0], np.cumsum([len(array) for array in arrays])]).astype(np.int64)
        return cls(np.concatenate(arrays) if arrays else np.zeros(0, np.int32), offsets)

    @classmethod
    def load(cls, folder: Path, side: str) -> Ragged:
        """Map the rows that a `RaggedWriter` wrote."""
        meta = json.loads((folder / f"{side}.json").read_text("utf-8"))
        shape, path = tuple(meta["shape"]), folder / f"{side}.bin"
        is_empty = 0 in shape  # an empty file cannot be mapped
        values = np.zeros(shape, meta["dtype"]) if is_empty else np.memmap(path, meta["dtype"], mode="r", shape=shape)
        ragged = cls(values, map_numbers(folder / f"{side}.offsets.bin", np.int64))
        if ragged.values.nbytes > LARGE and hasattr(os, "pread"):  # not on Windows
            ragged.file = os.open(path, os.O_RDONLY)
            weakref.finalize(ragged, os.close, ragged.file)
        return ragged


class RaggedWriter:
    """Writes the flat values of one side, a chunk at a time."""

    def __init__(self, folder: Path, side: str) -> None:
        self.folder, self.side = folder, side
        self.file = (folder / f"{side}.bin").open("wb")
        self.offsets = NumberWriter(folder / f"{side}.offsets.bin", np.int64)
        self.offsets.add(np.zeros(1))
        self.size = 0
        self.last = np.zeros(0, np.int32)  # the last chunk, for the type and width of the values

    def add(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        """Write more rows."""
        if arrays:
            self.offsets.add(self.size + np.cumsum([len(array) for array in arrays]))
            self.last = np.concatenate(arrays)
            self.size += len(self.last)
            self.file.write(np.ascontiguousarray(self.last).tobytes())

    def __enter__(self) -> RaggedWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()
        self.offsets.file.close()

    def finish(self) -> None:
        """Write the type and the shape."""
        meta = {"dtype": self.last.dtype.str, "shape": [self.size, *self.last.shape[1:]]}
        (self.folder / f"{self.side}.json").write_text(json.dumps(meta), "utf-8")


class Corpus:
    """One split: the ids of both sides, the texts, and the report of all rows that were read."""

    def __init__(self, table: Table, folder: Path) -> None:
        self.table = table
        self.report = RowReport.load(folder)
        self.source = Ragged.load(folder, "source")
        self.target = Ragged.load(folder, "target") if (folder / "target.json").is_file() else None
        self.table_rows = map_numbers(folder / "kept.bin", ROW)  # [rows] in the table
        self.part_sizes: list[int] = json.loads((folder / "parts.json").read_text("utf-8"))
        """How many rows each name that the settings list for the split has; the rows of a name follow each other."""

    def __len__(self) -> int:
        return len(self.table_rows)

    def values(self, side: str, rows: Rows) -> list[Any]:
        """The sources or targets of these rows, as they were read."""
        return [self.table.value(side, int(self.table_rows[row])) for row in rows]

    def references(self, rows: Rows) -> list[tuple[Any, ...]]:
        """The references of each row: the distinct targets of all rows of this split with the same source."""
        return [self.table.references(int(self.table_rows[row])) for row in rows]

    def unique(self) -> npt.NDArray[np.int64]:
        """The first row of every distinct source, in order: to score each source once."""
        _, first = np.unique(self.table.group[self.table_rows], return_index=True)
        return np.sort(first).astype(np.int64)

    def place(self, row: int) -> str:
        """The file and line of a row: `file:line`."""
        return self.table.place(int(self.table_rows[row]))

    def unknown(self, side: str, unknown_id: int = UNKNOWN) -> Iterator[npt.NDArray[np.int64]]:
        """The positions of the unknown tokens of a side, a part at a time; of ids with characters the first counts."""
        values = getattr(self, side).values
        ids = values if values.ndim == 1 else values[:, 0]
        for start in range(0, len(ids), PART):
            yield start + np.flatnonzero(ids[start : start + PART] == unknown_id)
            release(values)

    def unknown_rate(self, side: str, unknown_id: int = UNKNOWN) -> float:
        """The share of the tokens of a side that are unknown, 0 to 1."""
        return sum(map(len, self.unknown(side, unknown_id))) / max(len(getattr(self, side).values), 1)

    def rows_with_unknown(self, side: str, unknown_id: int = UNKNOWN, most: int | None = None) -> Rows:
        """The first rows, at most so many, that have an unknown token on a side, in order."""
        offsets, parts = getattr(self, side).offsets, [np.zeros(0, np.int64)]
        for positions in self.unknown(side, unknown_id):
            parts.append(np.unique(np.searchsorted(offsets, positions, "right") - 1))
            if most is not None and sum(map(len, parts)) > most:  # the last of one part may be the first of the next
                break
        return np.unique(np.concatenate(parts))[:most].astype(np.int64)
