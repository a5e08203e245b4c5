"""Readers of tables: parquet files."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files import find_file, resolve
from seq2att.reader import Row, TableReader
from seq2att.reader.columns import dig, missing_column
from seq2att.registry import register, suggestion

CHUNK = 4096  # rows converted to Python values at once


@register("reader", "parquet")
class Parquet(TableReader):
    """Parquet files; a file name may be a pattern such as `train-*.parquet`."""

    def files(self, split: str, root: Path | None) -> list[Path]:
        name = self.names[split]
        files = sorted(glob.glob(str(resolve(name, root)))) if glob.has_magic(name) else []
        return [Path(file) for file in files] or [find_file(f"reader.{split}", name, root)]

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """Yield the rows of the files in order, numbered from 1 in each."""
        from pyarrow import ArrowException, parquet

        for file in self.files(split, root):
            try:
                table = parquet.ParquetFile(file)
                outer = outer_columns(str(file), self.columns.names, table.schema_arrow.names)
                batches = (batch.to_pylist() for batch in table.iter_batches(batch_size=CHUNK, columns=outer))
                for number, record in enumerate(itertools.chain.from_iterable(batches), start=1):
                    cells = [dig(record, column, f"{file}:{number}") for column in self.columns.names]
                    yield Row(self.columns.values(cells, f"{file}:{number}"), file.name, number)
            except (ArrowException, OSError) as error:
                problem = f"cannot be read as parquet ({first_line(error)})"
                raise UserError("E-file", f"{file}", problem, "write the file again") from error


def outer_columns(place: str, columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns of a table that hold these, such as `translation` for `translation.de`."""
    outer = [column if column in names else column.partition(".")[0] for column in columns]
    for column, name in zip(columns, outer, strict=True):
        if name not in names:
            raise missing_column(place, column, suggestion(name, names))
    return list(dict.fromkeys(outer))


def first_line(error: Exception) -> str:
    """The first line of another library's error."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
