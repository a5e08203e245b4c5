"""Local files with the data of a set on the hub, in a format of another reader."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2att.errors import UserError
from seq2att.files import plain_name
from seq2att.reader import FileReader
from seq2att.reader.columns import Columns
from seq2att.reader.plain import Lines
from seq2att.reader.tables import Parquet
from seq2att.reader.text import Csv, Jsonl, Parallel, Tsv

FORMS = {"tsv": "tsv", "csv": "csv", "jsonl": "jsonl", "json": "jsonl", "parquet": "parquet", "txt": "lines"}


def rename(columns: Columns, names: Mapping[str, str]) -> Columns:
    """The columns by their names in the files: by default the last part of `translation.de`."""
    sides = [tuple(names.get(name, name.rpartition(".")[2]) for name in side) for side in columns[:2]]
    return Columns(sides[0], sides[1], columns.join)


def local_reader(files: Mapping[str, str], columns: Columns, form: str | None) -> FileReader:
    """Make the reader of these files, named for each split; `form` None: by their suffix."""
    form = form or form_of(files)
    names: dict[str, Any] = {"train": files["train"], "validation": files.get("validation"), "test": files.get("test")}
    subject = f"reader.files={files['train']}"
    if form == "parallel":
        if len(columns.source) != 1 or len(columns.target) > 1:
            problem = f"parallel text has one column a side, not {list(columns.source)} and {list(columns.target)}"
            raise UserError("E-conflict", subject, problem, "set reader.form=tsv, csv, jsonl or lines")
        return Parallel(**names, source=columns.source[0], target=columns.target[0] if columns.target else None)
    if form == "lines":
        if columns.source:
            remedy = "set reader.form=tsv for columns split at tabs, or reader.source=null"
            raise UserError("E-conflict", subject, "has one text a line, but source and target are named", remedy)
        return Lines(**names)
    sides: dict[str, Any] = {"source": columns.source or None, "target": columns.target or None, "join": columns.join}
    if form in ("jsonl", "parquet"):
        return (Jsonl if form == "jsonl" else Parquet)(**names, **sides)
    header = not all(name.isdecimal() for name in columns.names)
    return (Csv if form == "csv" else Tsv)(**names, **sides, header=header)


def form_of(files: Mapping[str, str]) -> str:
    """The form by the suffixes of the files; `E-conflict` where they differ."""
    forms = {FORMS.get(Path(plain_name(name)).suffix.lower()[1:], "parallel") for name in files.values()}
    if len(forms) > 1:
        problem = f"the suffixes stand for several forms ({', '.join(sorted(forms))})"
        raise UserError("E-conflict", f"reader.files={', '.join(files.values())}", problem, "set reader.form")
    return forms.pop()
