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
from seq2att.files import Fault, describe_form, find_files
from seq2att.files.description import describe_file
from seq2att.reader.columns import as_tuple, make_columns
from seq2att.registry import Inherited, kind

SPLITS = ("train", "validation", "test")


class Row(NamedTuple):
    """One example, and its place."""

    values: tuple[Any, ...]  # (source, target); (source,) or (None, target) with one side; () where `skipped` is set
    file: str  # its name in the settings
    line: int  # from 1
    skipped: str = ""  # why this line holds no row
    part: int = 0  # which of the names that the settings list for the split its file belongs to, from 0


class DataFiles(NamedTuple):
    """Files that are read together, such as both sides of parallel text; mostly one."""

    paths: tuple[Path, ...]
    name: str  # in reports
    part: int = 0  # which of the names that the settings list for the split it belongs to, from 0


def refuse(defect: str, error: UserError) -> None:
    """Raise the error about a line that cannot be read."""
    raise error


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
    fault: Fault = staticmethod(refuse)
    """Gets every line that cannot be read, with the class of its defect; where it returns, reading goes on without."""
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

    def origin(self, split: str, root: Path | None) -> dict[str, Any]:
        """What tells these data from others in the record of a run; by default their fingerprint."""
        return {"fingerprint": self.fingerprint(split, root)}

    def check(self, root: Path | None) -> None:
        """Raise `UserError` where something that the settings name is missing; reads no data."""

    def describe(self, split: str, root: Path | None) -> str:
        """What is read and how, in a few words; empty where it is one file like any other."""
        return ""

    def num_parts(self, split: str) -> int:
        """How many names the settings list for a split, each of which `data.weights` may weigh."""
        return 1

    def use(self, split: str, name: str) -> None:
        """Read a split from another file, as if the settings had named it."""
        raise UserError("E-argument", name, f"this reader takes no file for its {split} split", "leave it out")


def digest(reader: object, name: str, files: Iterable[Path]) -> str:
    """A hash of a reader's class and options, and of the content of files."""
    others = ("names", "local", "loaded", "fault")  # which change no row, or whose files are hashed
    options = sorted((key, repr(value)) for key, value in vars(reader).items() if key not in others)
    total = hashlib.blake2b(repr((type(reader).__qualname__, name, options)).encode(), digest_size=16)
    for file in files:
        with file.open("rb") as stream:
            total.update(hashlib.file_digest(stream, hashlib.blake2b).digest())
    return total.hexdigest()


class FileReader(Reader):
    """A reader of files, named for each split; a subclass writes `read_files`, or `read`.

    Args:
        train: file name of the training split; or a list, of which each may be a pattern such as `corpus/*.tsv`.
        validation: the same of the validation split; null for a part of the training rows.
        test: the same of the test split; null for a part of the training rows (`data.test_fraction`).
    """

    takes_files = True

    def __init__(
        self,
        *,
        train: tuple[str, ...],
        validation: tuple[str, ...] | None = None,
        test: tuple[str, ...] | None = None,
    ) -> None:
        names = {split: as_tuple(name) for split, name in zip(SPLITS, (train, validation, test), strict=True)}
        self.names = {split: name for split, name in names.items() if name}
        if not names["train"]:
            raise UserError("E-missing", "reader.train", "names no file", "name the training files")

    def splits(self) -> tuple[str, ...]:
        return tuple(self.names)

    def num_parts(self, split: str) -> int:
        return len(self.names[split])

    def use(self, split: str, name: str) -> None:
        self.names[split] = (name,)

    def find(self, key: str, name: str, root: Path | None) -> list[DataFiles]:
        """The files of one name in the settings, in the order in which they are read; `E-file` where there is none."""
        return [DataFiles((path,), label) for path, label in find_files(key, name, root)]

    def data_files(self, split: str, root: Path | None) -> list[DataFiles]:
        """All files of a split, in the order in which they are read; `E-conflict` where one is there twice."""
        names = enumerate(self.names[split])
        data_files = [
            data._replace(part=part) for part, name in names for data in self.find(f"reader.{split}", name, root)
        ]
        seen: dict[tuple[Path, ...], str] = {}
        for data in data_files:
            if data.paths in seen:
                problem = f"names {data.name} twice"
                raise UserError("E-conflict", f"reader.{split}", problem, "name it once; data.weights weighs it")
            seen[data.paths] = data.name
        return data_files

    def files(self, split: str, root: Path | None) -> list[Path]:
        """The paths of the files of a split; `E-file` where one is missing."""
        return [path for data in self.data_files(split, root) for path in data.paths]

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        for data in self.data_files(split, root):
            rows = self.read_files(data)
            yield from rows if data.part == 0 else (row._replace(part=data.part) for row in rows)

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        """Yield the rows of files that are read together. Errors name the file and the line."""
        raise NotImplementedError

    def describe(self, split: str, root: Path | None) -> str:
        files = self.data_files(split, root)
        forms: dict[str, str] = {}
        for path in (path for data in files for path in data.paths):
            if form := describe_form(path):
                forms.setdefault(form, path.name)
        many = f"{len(files):,} files, {files[0].name} to {files[-1].name}" if len(files) > 1 else ""
        return ", ".join([many] * bool(many) + [f"{form} as in {name}" for form, name in forms.items()])

    def fingerprint(self, split: str, root: Path | None) -> str:
        files = self.data_files(split, root)
        return digest(self, repr([(data.name, data.part) for data in files]), (p for data in files for p in data.paths))

    def origin(self, split: str, root: Path | None) -> dict[str, Any]:
        return {"files": [describe_file(file, root) for file in self.files(split, root)]}

    def check(self, root: Path | None) -> None:
        for split in self.splits():
            try:
                self.data_files(split, root)
            except UserError as error:
                if split == "train":
                    raise
                remedy = f"{error.remedy}, or reader.{split}=null for a part of the training rows"
                raise UserError(error.code, error.subject, error.problem, remedy) from error


class TableReader(FileReader):
    """A reader of files with columns, of which some are the source and some the target; a subclass writes `read_files`.

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
    "DataFiles",
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
