"""Readers of text files: parallel files, tab-separated and comma-separated columns, JSON lines."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files import Fault, Line, find_files, plain_name, read_lines, shorten
from seq2att.reader import DataFiles, FileReader, Row, TableReader
from seq2att.reader.columns import dig, missing_column
from seq2att.registry import Inherited, register

MOST_REPLAYED = 100_000  # lines that an open quote has swallowed
JSON_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]')  # strings, an open one to the end of its line, and brackets
SEPARATORS = {  # what separates columns: the options that read it
    "\t": "reader=tsv reader.header=true",
    ";": "reader=csv reader.separator=';'",
    "|": "reader=csv reader.separator='|'",
    ",": "reader=csv",
}
FIELD_LIMIT = 2**31 - 1  # characters of a value: the largest that `csv` takes on every platform


@register("reader", "parallel")
class Parallel(FileReader):
    """Parallel text files, aligned line by line, such as `train.de` and `train.en`.

    Args:
        train: name without suffix of the training files; or a list, of which each may be a pattern such as `corpus/*`.
        validation: the same of the validation files; null for a part of the training rows.
        test: the same of the test files; null for none.
        source: suffix of the source files.
        target: suffix of the target files; null for no target.
    """

    def __init__(
        self,
        *,
        train: tuple[str, ...] = ("train",),
        validation: tuple[str, ...] | None = ("validation",),
        source: str = "de",
        target: str | None = "en",
        **options: Inherited,
    ) -> None:
        super().__init__(train=train, validation=validation, **options)
        self.suffixes = [suffix for suffix in (source, target) if suffix is not None]
        self.absent = frozenset({"target"} if target is None else ())

    def find(self, key: str, name: str, root: Path | None) -> list[DataFiles]:
        sides = [find_files(key, f"{name}.{suffix}", root) for suffix in self.suffixes]
        stems = [
            {plain_name(label).removesuffix(f".{suffix}"): path for path, label in side}
            for suffix, side in zip(self.suffixes, sides, strict=True)
        ]
        for one, suffix, other, missing in zip(stems, self.suffixes, stems[::-1], self.suffixes[::-1], strict=True):
            if alone := sorted(one.keys() - other.keys()):
                problem = f"{alone[0]}.{suffix} has no partner {alone[0]}.{missing} ({len(alone):,} such files)"
                raise UserError("E-file", f"{key}={name}", problem, "add it, or write a narrower pattern")
        paths = [(tuple(side[stem] for side in stems), f"{stem}.{self.suffixes[0]}") for stem in stems[0]]
        return [DataFiles(both, label) for both, label in paths]

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        """Yield line n of both files as row n."""
        files, name = data.paths, data.name
        streams = [read_lines(file, fault=self.fault) for file in files]
        one_sided = None  # the first line that is empty in one file only: the files may be misaligned there
        for number, lines in enumerate(itertools.zip_longest(*streams), start=1):
            if None in lines:
                self.fault("unequal-lines", unequal(files, streams, lines, one_sided))
                return
            texts = tuple(line.text for line in lines)
            if one_sided is None and any(texts) and not all(texts):
                one_sided = number
            yield Row(texts, name, number)


def unequal(
    files: Sequence[Path], streams: Sequence[Iterator[Line]], lines: Sequence[Line | None], one_sided: int | None
) -> UserError:
    """The error about files of which one has ended before these lines."""
    short = lines.index(None)
    line = lines[1 - short]
    assert line is not None
    total = line.number + sum(1 for _ in streams[1 - short])
    counts = f"has {total:,} lines, but {files[short]} has {line.number - 1:,}"
    problem = f"{counts}: line {line.number} has no partner ({shorten(line.text)})"
    hint = f"; line {one_sided} is empty in one file only, look there first" if one_sided else ""
    return UserError("E-length", f"{files[1 - short]}:{line.number}", problem, f"align the files line by line{hint}")


@register("reader", "tsv")
class Tsv(TableReader):
    """Tab-separated columns; quotes are ordinary characters.

    Args:
        header: whether the first line holds the names of the columns.
    """

    def __init__(
        self,
        *,
        source: tuple[str, ...] | None = ("1",),
        target: tuple[str, ...] | None = ("2",),
        header: bool = False,
        **options: Inherited,
    ) -> None:
        super().__init__(source=source, target=target, **options)
        self.header = header

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        """Yield a row for each line."""
        (file,) = data.paths
        return pick_columns(file, data.name, self.records(file), self)

    def records(self, file: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield the columns of each line, with its number."""
        return ((number, text.split("\t") if text else []) for number, text in read_lines(file, fault=self.fault))


@register("reader", "csv")
class Csv(TableReader):
    """Comma-separated values (RFC 4180); every value is text, and none is taken for missing.

    Args:
        header: whether the first line holds the names of the columns.
        separator: one character between columns.
    """

    def __init__(self, *, header: bool = True, separator: str = ",", **options: Inherited) -> None:
        super().__init__(**options)
        self.header = header
        if len(separator) != 1 or separator in '"\r\n':
            raise UserError("E-choice", f"reader.separator={separator!r}", "must be one character, such as ',' or ';'")
        self.separator = separator

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        """Yield a row for each record, which may span lines."""
        (file,) = data.paths
        return pick_columns(file, data.name, self.records(file), self)

    def records(self, file: Path) -> Iterator[tuple[int, list[str]]]:
        """Yield the records of a file, each with the line where it starts; `E-row` where quotes do not match."""
        lines = Replay(read_lines(file, fault=self.fault))
        records = csv.reader(lines, delimiter=self.separator, strict=True)
        while True:
            lines.taken.clear()
            try:
                record = next_record(records)
            except csv.Error as error:
                place = f"{file}:{lines.taken[0].number}"
                remedy = "write a quote in a quoted value twice, or read the file with reader=tsv"
                self.fault("broken-quotes", UserError("E-row", place, f"{error}", remedy))
                lines.replay()
                continue
            if record is None:
                return
            yield lines.taken[0].number, record


class Replay:
    """Lines for a `csv.reader`, which can go back to the second line of a record that it could not read."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self.lines = lines
        self.taken: list[Line] = []  # those of the record that is being read
        self.again: deque[Line] = deque()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.again.popleft() if self.again else next(self.lines)
        self.taken.append(line)
        return f"{line.text}\n"

    def replay(self) -> None:
        """Yield all lines of the record but the first again, unless there are very many."""
        if len(self.taken) <= MOST_REPLAYED:
            self.again.extendleft(reversed(self.taken[1:]))


def next_record(records: Iterator[list[str]]) -> list[str] | None:
    """The next record of a `csv.reader`, with values of any length; the limit of the module is restored."""
    limit = csv.field_size_limit(FIELD_LIMIT)
    try:
        return next(records, None)
    finally:
        csv.field_size_limit(limit)


def pick_columns(file: Path, name: str, records: Iterable[tuple[int, list[str]]], reader: Tsv | Csv) -> Iterator[Row]:
    """Yield the columns of every record; a column is a name of the header, or a number from 1.

    A record that is wider or narrower than the header, or than the first record, is refused: a separator inside a
    value, or one that is missing, would shift its columns.
    """
    records, columns, header = iter(records), reader.columns, reader.header
    names = next(records, (0, []))[1] if header else []
    hint = header_hint(names, columns.names)
    places = [column_index(file, column, names, header, hint) for column in columns.names]
    width = len(names)
    for number, record in records:
        if not record and len(places) > 1:
            yield Row((), name, number, "blank line")
            continue
        record = record or [""]
        width = width or len(record)
        num_columns = f"has {len(record)} column{'s' * (len(record) != 1)}"
        if len(record) <= max(places):
            column = columns.names[places.index(max(places))]
            remedy = "correct the line, or reader.source and reader.target"
            problem = f"{num_columns}, but column {column!r} is needed"
            reader.fault("missing-column", UserError("E-column", f"{file}:{number}", problem, remedy))
            continue
        if len(record) != width:
            remedy = "correct the line: a separator inside a value, or one that is missing, shifts its columns"
            problem = f"{num_columns}, but the file has {width}"
            reader.fault("extra-column", UserError("E-column", f"{file}:{number}", problem, remedy))
            continue
        yield Row(columns.values([record[place] for place in places], f"{file}:{number}"), name, number)


def header_hint(names: Sequence[str], asked: Sequence[str]) -> str:
    """What to set where the first line has none of the columns asked for: it is split wrongly, or it is no header."""
    if set(asked) & set(names):
        return ""
    if len(names) == 1:
        return next((f"set {options}" for separator, options in SEPARATORS.items() if separator in names[0]), "")
    remedy = "set reader.source and reader.target to these"
    return f"{remedy}, or to numbers with reader.header=false where the first line is a row"


def column_index(file: Path, column: str, names: Sequence[str], header: bool, hint: str) -> int:
    """The index of a column, from 0; `E-column` where the file has no such column."""
    if column in names:
        return names.index(column)
    if column.isdecimal() and int(column) > 0:
        return int(column) - 1
    if not header:
        raise UserError("E-column", f"column={column!r}", "must be a number from 1", "or set reader.header=true")
    raise missing_column(f"{file}", column, names, hint)


@register("reader", "jsonl")
class Jsonl(TableReader):
    """JSON Lines: one JSON object a line, or a file of one array of objects; `translation.de` is a key in another."""

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        """Yield a row for each object; one in an array has the line where it begins."""
        (file,) = data.paths
        for number, text in self.objects(file):
            if not text.strip():
                yield Row((), data.name, number, "blank line")
                continue
            try:
                record = json.loads(text)
            except (ValueError, RecursionError) as error:
                place, problem = f"{file}:{number}", f"is not JSON ({error})"
                self.fault("malformed-row", UserError("E-row", place, problem, "write one object a line"))
                continue
            if not isinstance(record, dict):
                problem = f"{shorten(text)} is not an object"
                self.fault("malformed-row", UserError("E-row", f"{file}:{number}", problem, "write {...}"))
                continue
            try:
                cells = [dig(record, column, f"{file}:{number}") for column in self.columns.names]
                yield Row(self.columns.values(cells, f"{file}:{number}"), data.name, number)
            except UserError as error:
                self.fault("missing-column", error)

    def objects(self, file: Path) -> Iterator[Line]:
        """The lines of a file, or the items of the array that it begins with."""
        lines = read_lines(file, fault=self.fault)
        head: list[Line] = []  # up to the first line that is not blank
        for line in lines:
            head.append(line)
            if line.text.strip():
                break
        remaining = itertools.chain(head, lines)
        is_array = bool(head) and head[-1].text.lstrip().startswith("[")
        return array_items(file, remaining, self.fault) if is_array else remaining


def array_items(file: Path, lines: Iterable[Line], fault: Fault) -> Iterator[Line]:
    """The text of each object or list in a JSON array, with the line where it begins; holds one of them at a time."""
    parts: list[str] = []  # the lines of an item that goes on
    depth = first = number = 0
    for number, text in lines:
        start = 0  # of what is in no item, or of the rest of one
        for token in JSON_TOKENS.finditer(text):
            opens, closes = token[0] in "[{", token[0] in "]}"
            depth += opens - closes
            if (opens and depth <= 2) or (closes and depth <= 0):
                check_between(file, number, text[start : token.start()], fault)
                start, first = token.start() if depth == 2 else token.end(), number
            elif closes and depth == 1:
                yield Line(first, "\n".join([*parts, text[start : token.end()]]))
                parts, start = [], token.end()
        if depth > 1:
            parts.append(text[start:])
        else:
            check_between(file, number, text[start:], fault)
    if depth:
        problem, remedy = "the array is not closed where the file ends", "fetch or write the file again"
        fault("malformed-row", UserError("E-row", f"{file}:{number}", problem, remedy))


def check_between(file: Path, number: int, text: str, fault: Fault) -> None:
    """Report what stands in an array beside its objects."""
    if text := text.strip(" \t\r,"):
        problem = f"{shorten(text)} in the array is not an object"
        fault("malformed-row", UserError("E-row", f"{file}:{number}", problem, "write {...}"))
