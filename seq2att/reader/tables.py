"""Readers of tables: parquet files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from seq2att.errors import UserError
from seq2att.reader import DataFiles, Row, TableReader
from seq2att.reader.columns import dig, missing_column
from seq2att.registry import register

CHUNK = 4096  # rows converted to Python values at once


@register("reader", "parquet")
class Parquet(TableReader):
    """Parquet files."""

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        """Yield the rows of a file in order, numbered from 1."""
        from pyarrow import ArrowException, parquet

        (file,) = data.paths
        try:
            table = parquet.ParquetFile(file)
            outer = outer_columns(str(file), self.columns.names, table.schema_arrow.names)
            batches = (batch.to_pylist() for batch in table.iter_batches(batch_size=CHUNK, columns=outer))
            for number, record in enumerate(itertools.chain.from_iterable(batches), start=1):
                cells = [dig(record, column, f"{file}:{number}") for column in self.columns.names]
                yield Row(self.columns.values(cells, f"{file}:{number}"), data.name, number)
        except (ArrowException, OSError) as error:
            problem = f"cannot be read as parquet ({first_line(error)})"
            raise UserError("E-file", f"{file}", problem, "write the file again") from error


def outer_columns(place: str, columns: Sequence[str], names: Sequence[str]) -> list[str]:
    """The columns of a table that hold these, such as `translation` for `translation.de`."""
    outer = [column if column in names else column.partition(".")[0] for column in columns]
    for column, name in zip(columns, outer, strict=True):
        if name not in names:
            raise missing_column(place, column, names)
    return list(dict.fromkeys(outer))


def first_line(error: Exception) -> str:
    """The first line of another library's error."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
