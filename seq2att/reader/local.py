"""Local files that hold the same data as a set on the hub, in any form that a reader takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2att.errors import UserError
from seq2att.reader import FileReader
from seq2att.reader.columns import Columns
from seq2att.reader.plain import Lines
from seq2att.reader.tables import Parquet
from seq2att.reader.text import Csv, Jsonl, Parallel, Tsv

FORMS = {"tsv": "tsv", "csv": "csv", "jsonl": "jsonl", "json": "jsonl", "parquet": "parquet", "txt": "lines"}


def rename(columns: Columns, names: Mapping[str, str]) -> Columns:
    """The columns as the files call them: by default the last part of `translation.de`."""
    sides = [tuple(names.get(name, name.rpartition(".")[2]) for name in side) for side in columns[:2]]
    return Columns(sides[0], sides[1], columns.join)


def local_reader(files: Mapping[str, str], columns: Columns, form: str | None) -> FileReader:
    """The reader of these files, a name for each split; their suffix tells the form, unless it is given."""
    form = form or form_of(files)
    names: dict[str, Any] = {"train": files["train"], "validation": files.get("validation"), "test": files.get("test")}
    if form == "parallel":
        return parallel_reader(names, columns)
    if form == "lines":
        if columns.source:
            raise UserError(
                f"reader.files: {files['train']!r} holds one text a line, but source and target are named; "
                f"set reader.form=tsv where its columns are split at tabs, or reader.source=null"
            )
        return Lines(**names)
    sides: dict[str, Any] = {"source": columns.source or None, "target": columns.target or None, "join": columns.join}
    if form == "jsonl":
        return Jsonl(**names, **sides)
    if form == "parquet":
        return Parquet(**names, **sides)
    header = not all(name.isdecimal() for name in columns.names)
    return (Csv if form == "csv" else Tsv)(**names, **sides, header=header)


def parallel_reader(names: Mapping[str, Any], columns: Columns) -> Parallel:
    """Parallel text: a file for each side."""
    if len(columns.source) != 1 or len(columns.target) > 1:
        raise UserError(
            f"reader.files: {names['train']!r} is taken for parallel text, which has one column for each side, not "
            f"source={list(columns.source)} and target={list(columns.target)}; set reader.form=tsv, csv, jsonl or lines"
        )
    return Parallel(**names, source=columns.source[0], target=columns.target[0] if columns.target else None)


def form_of(files: Mapping[str, str]) -> str:
    """What the suffixes of the files tell; raises UserError when they tell different things."""
    forms = {FORMS.get(Path(name.removesuffix(".gz")).suffix.lower()[1:], "parallel") for name in files.values()}
    if len(forms) > 1:
        raise UserError(
            f"reader.files: {', '.join(files.values())} are of several forms ({', '.join(sorted(forms))}); "
            f"set reader.form to the one that all of them have"
        )
    return forms.pop()
