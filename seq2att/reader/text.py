"""Readers of text files: parallel files, tab-separated and comma-separated columns, JSON lines."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files import find_file, read_lines, shorten
from seq2att.reader import FileReader, Row, TableReader
from seq2att.reader.columns import Columns, dig, make_columns
from seq2att.registry import register, suggestion

LONGEST = 2**31 - 1  # characters of a value: what `csv` can count everywhere


@register("reader", "parallel")
class Parallel(FileReader):
    """Two text files side by side, line by line: `train.de` and `train.en`."""

    def __init__(
        self,
        *,
        train: str = "train",
        validation: str | None = "validation",
        test: str | None = None,
        source: str = "de",
        target: str | None = "en",
    ) -> None:
        super().__init__(train, validation, test)
        self.suffixes = [suffix for suffix in (source, target) if suffix is not None]
        self.absent = frozenset({"target"} if target is None else ())

    def files(self, split: str, root: Path | None) -> list[Path]:
        return [find_file(f"reader.{split}", f"{self.names[split]}.{suffix}", root) for suffix in self.suffixes]

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """Line n of both files as row n."""
        files = self.files(split, root)
        name = f"{self.names[split]}.{self.suffixes[0]}"
        streams = [read_lines(file) for file in files]
        one_sided = None  # the first line that is empty in one file only: there the files may have slipped
        for number, lines in enumerate(itertools.zip_longest(*streams), start=1):
            if None in lines:
                short = lines.index(None)
                more = sum(1 for _ in streams[1 - short])
                raise UserError(unequal(files, short, number, more, lines[1 - short].text, one_sided))
            texts = tuple(line.text for line in lines)
            if one_sided is None and any(texts) and not all(texts):
                one_sided = number
            yield Row(texts, name, number)


def unequal(files: Sequence[Path], short: int, number: int, more: int, text: str, one_sided: int | None) -> str:
    """What to say when one of two parallel files ends before the other."""
    slipped = f"; line {one_sided} is empty in one file only, look there first" if one_sided else ""
    return (
        f"{files[1 - short]} has {number + more:,} lines but {files[short]} has {number - 1:,}: "
        f"line {number} has no partner ({shorten(text)}){slipped}; repair the files so that line n translates line n"
    )


@register("reader", "tsv")
class Tsv(TableReader):
    """Text in columns split at tabs; quotes are ordinary characters.

    `source` and `target` name columns by their number from 1, or by the header; several are joined by `join`, and null
    says that there is no such side.
    """

    def __init__(
        self,
        *,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        source: tuple[str, ...] | None = ("1",),
        target: tuple[str, ...] | None = ("2",),
        join: str = "\t",
        header: bool = False,
    ) -> None:
        super().__init__(train, validation, test, make_columns(source, target, join))
        self.header = header

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """A row for each line of the file."""
        (file,) = self.files(split, root)
        records = ((number, text.split("\t") if text else []) for number, text in read_lines(file))
        return pick_columns(file, self.names[split], records, self.columns, self.header)


@register("reader", "csv")
class Csv(TableReader):
    """Comma-separated values as in RFC 4180; every value is text, nothing is taken for missing."""

    def __init__(
        self,
        *,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        source: tuple[str, ...] | None = ("source",),
        target: tuple[str, ...] | None = ("target",),
        join: str = "\t",
        header: bool = True,
        separator: str = ",",
    ) -> None:
        super().__init__(train, validation, test, make_columns(source, target, join))
        self.header = header
        if len(separator) != 1 or separator in '"\r\n':
            raise UserError(f"reader.separator: {separator!r} is not one character; give one, such as ',' or ';'")
        self.separator = separator

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """A row for each record of the file, which may go over several lines."""
        (file,) = self.files(split, root)
        return pick_columns(file, self.names[split], self.records(file), self.columns, self.header)

    def records(self, file: Path) -> Iterator[tuple[int, list[str]]]:
        """The records of a file, each with the line where it starts; raises UserError when quotes do not match."""
        records = csv.reader((f"{line.text}\n" for line in read_lines(file)), delimiter=self.separator, strict=True)
        while True:
            number = records.line_num + 1
            try:
                record = next_record(records)
            except csv.Error as error:
                raise UserError(
                    f"{file}:{number}: {error}; in a quoted value a quote is written twice, "
                    f"and a file whose quotes are ordinary characters is read with reader=tsv"
                ) from error
            if record is None:
                return
            yield number, record


def next_record(records: Iterator[list[str]]) -> list[str] | None:
    """The next record of a `csv.reader`, however long its values are; the limit of all other readers stays."""
    limit = csv.field_size_limit(LONGEST)
    try:
        return next(records, None)
    finally:
        csv.field_size_limit(limit)


def pick_columns(
    file: Path, name: str, records: Iterable[tuple[int, list[str]]], columns: Columns, header: bool
) -> Iterator[Row]:
    """The asked columns of every record; a column is a name of the header, or a number from 1."""
    records = iter(records)
    names = next(records, (0, []))[1] if header else []
    places = [column_place(file, column, names, header) for column in columns.names]
    for number, record in records:
        if not record and len(places) > 1:
            yield Row((), name, number, "blank line")
            continue
        record = record or [""]
        if len(record) <= max(places):
            column = columns.names[places.index(max(places))]
            raise UserError(
                f"{file}:{number}: has {len(record)} column{'s' * (len(record) != 1)}, but column {column!r} is asked; "
                f"correct the line, or reader.source and reader.target"
            )
        yield Row(columns.values([record[place] for place in places], f"{file}:{number}"), name, number)


def column_place(file: Path, column: str, names: Sequence[str], header: bool) -> int:
    """Where a column stands, from 0; raises UserError when the file has no such column."""
    if column in names:
        return names.index(column)
    if column.isdecimal() and int(column) > 0:
        return int(column) - 1
    if not header:
        raise UserError(f"reader: column {column!r} is no number from 1; give a number, or set reader.header=true")
    raise UserError(
        f"{file}: no column is called {column!r}; {suggestion(column, names)}; set reader.source, reader.target"
    )


@register("reader", "jsonl")
class Jsonl(TableReader):
    """One JSON object a line; `translation.de` names a key inside another."""

    def __init__(
        self,
        *,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        source: tuple[str, ...] | None = ("source",),
        target: tuple[str, ...] | None = ("target",),
        join: str = "\t",
    ) -> None:
        super().__init__(train, validation, test, make_columns(source, target, join))

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """A row for each object of the file."""
        (file,) = self.files(split, root)
        for number, text in read_lines(file):
            if not text.strip():
                yield Row((), self.names[split], number, "blank line")
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UserError(f"{file}:{number}: no JSON ({error}); write one object a line") from error
            if not isinstance(record, dict):
                raise UserError(f"{file}:{number}: {shorten(text)} is no JSON object; write {{...}} on every line")
            found = [dig(record, column, f"{file}:{number}") for column in self.columns.names]
            yield Row(self.columns.values(found, f"{file}:{number}"), self.names[split], number)
