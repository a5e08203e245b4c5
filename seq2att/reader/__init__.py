"""Readers: where the rows of a data set come from, each row with its file and line.

A reader streams rows; it drops nothing and guesses nothing. What it cannot read is an error with the file and the line.
A line without a row (blank, or skipped by a setting) is yielded too, so that it is counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from seq2att.errors import UserError
from seq2att.files import find_file
from seq2att.reader.columns import make_columns
from seq2att.registry import Inherited, kind

SPLITS = ("train", "validation", "test")


class Row(NamedTuple):
    """One example, and its place."""

    values: tuple[Any, ...]  # (source, target); (source,) or (None, target) with one side; () where `skipped` is set
    file: str  # its name in the settings
    line: int  # from 1
    skipped: str = ""  # why this line holds no row


@kind("reader")
class Reader:
    """Reads the splits of a data set; paths in its options are relative to `data.root`.

    A subclass writes `splits`, `read` and `fingerprint`; `check` and `use` where they make sense.
    """

    absent: frozenset[str] = frozenset()
    """The sides (`source`, `target`) that its rows do not have."""
    names_data: ClassVar[bool] = True
    """Whether its options name data outside of the settings; False where rows are given there, or made."""
    takes_files: ClassVar[bool] = False
    """Whether `use` replaces all that is opened for a split, and its paths are relative to `data.root`."""
    running: bool = False
    """Whether the rows are pieces of one running text, in order: white space counts, and no piece is dropped."""

    def splits(self) -> tuple[str, ...]:
        """The names among train, validation and test that the settings give."""
        raise NotImplementedError

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """Yield the rows of a split in order; `root` is `data.root`. Errors name the file and the line."""
        raise NotImplementedError

    def fingerprint(self, split: str, root: Path | None) -> str:
        """A hash of the options and of the content of a split: equal hashes mean equal rows."""
        raise NotImplementedError

    def check(self, root: Path | None) -> None:
        """Raise `UserError` where something that the settings name is missing; reads no data."""

    def use(self, split: str, name: str) -> None:
        """Read a split from another file, as if the settings had named it."""
        raise UserError("E-argument", name, f"this reader takes no file for its {split} split", "leave it out")


def digest(reader: object, name: str, files: Iterable[Path]) -> str:
    """A hash of a reader's class and options, and of the content of files."""
    options = sorted((key, repr(value)) for key, value in vars(reader).items() if key not in ("names", "local"))
    total = hashlib.blake2b(repr((type(reader).__qualname__, name, options)).encode(), digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, hashlib.blake2b).digest())
    return total.hexdigest()


class FileReader(Reader):
    """A reader of files, named for each split; a subclass writes `read`.

    Args:
        train: file name of the training split.
        validation: file name of the validation split; null for a part of the training rows.
        test: file name of the test split; null for a part of the training rows (`data.test_fraction`).
    """

    takes_files = True

    def __init__(self, *, train: str, validation: str | None = None, test: str | None = None) -> None:
        self.names = {split: name for split, name in zip(SPLITS, (train, validation, test), strict=True) if name}

    def splits(self) -> tuple[str, ...]:
        return tuple(self.names)

    def use(self, split: str, name: str) -> None:
        self.names[split] = name

    def files(self, split: str, root: Path | None) -> list[Path]:
        """The files of a split; `E-file` where one is missing."""
        return [find_file(f"reader.{split}", self.names[split], root)]

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, self.names[split], self.files(split, root))

    def check(self, root: Path | None) -> None:
        for split in self.splits():
            try:
                self.files(split, root)
            except UserError as error:
                if split == "train":
                    raise
                remedy = f"{error.remedy}, or reader.{split}=null for a part of the training rows"
                raise UserError("E-file", error.subject, error.problem, remedy) from error


class TableReader(FileReader):
    """A reader of files with columns, of which some are the source and some the target; a subclass writes `read`.

    Args:
        source: columns of the source, by name or number; several are joined, null for no source.
        target: columns of the target, as for `source`.
        join: text between joined columns.
    """

    def __init__(
        self,
        *,
        source: tuple[str, ...] | None = ("source",),
        target: tuple[str, ...] | None = ("target",),
        join: str = "\t",
        **options: Inherited,
    ) -> None:
        super().__init__(**options)
        self.columns = make_columns(source, target, join)
        self.absent = self.columns.absent


# The components are below the base class that they subclass.
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
