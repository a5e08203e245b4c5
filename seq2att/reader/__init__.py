"""Readers: where the rows of a data set come from, each row with its file and line.

A reader streams; it drops nothing and guesses nothing. What it cannot read stops the run with the file, the line and
what to do; a line that holds no row (blank, or skipped by a setting) is still handed on, so that it is counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.errors import UserError
from seq2att.files import find_file
from seq2att.reader.columns import Columns
from seq2att.registry import kind

SPLITS = ("train", "validation", "test")


class Row(NamedTuple):
    """One example, and where it stands."""

    values: tuple[Any, ...]  # (source, target), (source,) or (None, target) of one side, () where `skipped` says why
    file: str  # as the settings name it
    line: int  # from 1
    skipped: str = ""  # the reason why this line holds no row


@kind("reader")
class Reader:
    """Reads the splits of a data set; paths in its options are relative to `data.root`."""

    absent: frozenset[str] = frozenset()
    """The sides (`source`, `target`) that its rows do not have: nothing is missed there, nothing is dropped for it."""
    running: bool = False
    """Whether the rows are pieces of one text, in order: white space is text there, and no piece is dropped."""

    def splits(self) -> tuple[str, ...]:
        """Which of train, validation and test the settings name."""
        raise NotImplementedError

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """The rows of a split, one after the other; raises UserError with file, line and remedy."""
        raise NotImplementedError

    def fingerprint(self, split: str, root: Path | None) -> str:
        """A hash of the options and of the content of a split: equal hashes give equal rows."""
        raise NotImplementedError

    def check(self, root: Path | None) -> None:
        """Raise UserError when something that the settings name is not there; reads no data."""

    def use(self, split: str, name: str) -> None:
        """Read a split from elsewhere, as if the settings had named it; raises UserError where a split has no name."""
        raise UserError(f"this model's reader makes its own {split} split and cannot take {name!r}; leave it out")


def digest(reader: object, name: str, files: Iterable[Path]) -> str:
    """A hash of a reader's class and options, and of the bytes of files."""
    options = sorted((key, repr(value)) for key, value in vars(reader).items() if key not in ("names", "local"))
    total = hashlib.blake2b(repr((type(reader).__qualname__, name, options)).encode(), digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, hashlib.blake2b).digest())
    return total.hexdigest()


class FileReader(Reader):
    """A reader of files, a name for each split; a subclass writes `read`."""

    def __init__(self, train: str, validation: str | None, test: str | None) -> None:
        self.names = {split: name for split, name in zip(SPLITS, (train, validation, test), strict=True) if name}

    def splits(self) -> tuple[str, ...]:
        return tuple(self.names)

    def use(self, split: str, name: str) -> None:
        self.names[split] = name

    def files(self, split: str, root: Path | None) -> list[Path]:
        """The files that a split is read from; raises UserError when one is missing."""
        return [find_file(f"reader.{split}", self.names[split], root)]

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, self.names[split], self.files(split, root))

    def check(self, root: Path | None) -> None:
        problems = []
        for split in self.splits():
            try:
                self.files(split, root)
            except UserError as error:
                other = "" if split == "train" else f", or reader.{split}=null for a part of the training rows"
                problems.append(f"{error}{other}")
        if problems:
            raise UserError("\n".join(problems))


class TableReader(FileReader):
    """A reader of files with columns, some of which make the source and some the target; a subclass writes `read`."""

    def __init__(self, train: str, validation: str | None, test: str | None, columns: Columns) -> None:
        super().__init__(train, validation, test)
        self.columns, self.absent = columns, columns.absent


# The components stand below the base class that they are made from.
from seq2att.reader.hub import HuggingFace  # noqa: E402
from seq2att.reader.made import Given, PackageFile, Reverse  # noqa: E402
from seq2att.reader.plain import Document, Folder, Lines  # noqa: E402
from seq2att.reader.sentences import Conll, ConllU  # noqa: E402
from seq2att.reader.tables import Parquet  # noqa: E402
from seq2att.reader.text import Csv, Jsonl, Parallel, Tsv  # noqa: E402

__all__ = [
    "SPLITS",
    "Conll",
    "ConllU",
    "Csv",
    "Document",
    "FileReader",
    "Folder",
    "Given",
    "HuggingFace",
    "Jsonl",
    "Lines",
    "PackageFile",
    "Parallel",
    "Parquet",
    "Reader",
    "Reverse",
    "Row",
    "TableReader",
    "Tsv",
    "digest",
]
