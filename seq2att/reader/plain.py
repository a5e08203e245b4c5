"""Readers of text without columns: a row a line, running text, a file for each class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from seq2att.errors import UserError
from seq2att.files import plain_name, read_lines, resolve, whereabouts
from seq2att.reader import DataFiles, FileReader, Row
from seq2att.registry import Inherited, Size, register


@register("reader", "lines")
class Lines(FileReader):
    """A text file, a row a line, without source, for language models."""

    absent = frozenset({"source"})

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        (file,) = data.paths
        for number, text in read_lines(file, fault=self.fault):
            blank = not text or text.isspace()
            yield Row(() if blank else (None, text), data.name, number, "blank line" if blank else "")


@register("reader", "document")
class Document(FileReader):
    """Running text in pieces, without source; the pieces joined are the file.

    Args:
        piece: characters of a piece; it ends at the next line end, which stays in it.
    """

    absent = frozenset({"source"})
    running = True

    def __init__(self, *, piece: Size = 2000, **options: Inherited) -> None:
        super().__init__(**options)
        self.piece = piece

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        (file,) = data.paths
        lines: list[str] = []
        first, size = 1, 0
        for number, text in read_lines(file, ends=True, fault=self.fault):
            lines.append(text)
            size += len(text)
            if size >= self.piece:
                yield Row((None, "".join(lines)), data.name, first)
                lines, first, size = [], number + 1, 0
        if size:
            yield Row((None, "".join(lines)), data.name, first)


@register("reader", "folder")
class Folder(FileReader):
    """A folder with a text file for each class: the file's name is the class, each line an example.

    Args:
        train: folder of the training split, or a list of folders.
        validation: the same of the validation split; null for a part of the training rows.
        test: the same of the test split; null for none.
        pattern: glob pattern of the files.
        source: `line` or `name` (of the class).
        target: the other one.
    """

    def __init__(
        self,
        *,
        train: tuple[str, ...] = (".",),
        pattern: str = "*.txt",
        source: Literal["line", "name"] = "line",
        target: Literal["line", "name"] = "name",
        **options: Inherited,
    ) -> None:
        super().__init__(train=train, **options)
        if source == target:
            raise UserError("E-conflict", f"reader.source={source}", "must differ from reader.target", "swap one")
        self.pattern, self.swap = pattern, source == "name"

    def find(self, key: str, name: str, root: Path | None) -> list[DataFiles]:
        """The files in the folders of the classes."""
        folder = resolve(key, name, root)
        if not folder.is_dir():
            problem, remedy = f"there is no folder {folder.resolve()}", whereabouts(folder, root)
            raise UserError("E-file", f"{key}={name}", problem, remedy)
        try:
            files = sorted(file for file in folder.glob(self.pattern) if file.is_file())
        except (ValueError, NotImplementedError) as error:
            raise UserError("E-syntax", f"reader.pattern={self.pattern}", f"{error}", "set one like *.txt") from error
        if not files:
            problem, remedy = f"no file of {folder.resolve()} matches", whereabouts(folder / self.pattern, root)
            raise UserError("E-file", f"reader.pattern={self.pattern}", problem, remedy)
        return [DataFiles((file,), file.name) for file in files]

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        (file,) = data.paths
        label = Path(plain_name(file.name)).stem
        for number, text in read_lines(file, fault=self.fault):
            if not text or text.isspace():
                yield Row((), data.name, number, "blank line")
            else:
                yield Row((label, text) if self.swap else (text, label), data.name, number)
