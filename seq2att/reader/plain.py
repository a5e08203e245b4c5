"""Readers of text without columns: a row a line, running text, a file for each class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from seq2att.errors import UserError
from seq2att.files import read_lines, resolve, whereabouts
from seq2att.reader import FileReader, Row, digest
from seq2att.registry import register


@register("reader", "lines")
class Lines(FileReader):
    """A text file, a row a line, without source: what a language model learns."""

    absent = frozenset({"source"})

    def __init__(self, *, train: str, validation: str | None = None, test: str | None = None) -> None:
        super().__init__(train, validation, test)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        (file,) = self.files(split, root)
        for number, text in read_lines(file):
            blank = not text or text.isspace()
            yield Row(() if blank else (None, text), self.names[split], number, "blank line" if blank else "")


@register("reader", "document")
class Document(FileReader):
    """Running text in pieces, without source: joined, they are the file again.

    A piece ends where a line ends, and has at least `piece` characters; line ends stay in it.
    """

    absent = frozenset({"source"})
    running = True

    def __init__(
        self, *, train: str, validation: str | None = None, test: str | None = None, piece: int = 2000
    ) -> None:
        super().__init__(train, validation, test)
        if piece < 1:
            raise UserError(f"reader.piece: {piece} is no number of characters; set 1 or more")
        self.piece = piece

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        (file,) = self.files(split, root)
        lines: list[str] = []
        first, size = 1, 0
        for number, text in read_lines(file, ends=True):
            lines.append(text)
            size += len(text)
            if size >= self.piece:
                yield Row((None, "".join(lines)), self.names[split], first)
                lines, first, size = [], number + 1, 0
        if size:
            yield Row((None, "".join(lines)), self.names[split], first)


@register("reader", "folder")
class Folder(FileReader):
    """A text file for each class: its name is the class, each line an example of it.

    A split is a folder, with the files that match `pattern`; `source=name target=line` swaps the sides.
    """

    def __init__(
        self,
        *,
        train: str = ".",
        validation: str | None = None,
        test: str | None = None,
        pattern: str = "*.txt",
        source: Literal["line", "name"] = "line",
        target: Literal["line", "name"] = "name",
    ) -> None:
        super().__init__(train, validation, test)
        if source == target:
            raise UserError(f"reader.source and reader.target are both {source!r}; one is line, the other name")
        self.pattern, self.swap = pattern, source == "name"

    def files(self, split: str, root: Path | None) -> list[Path]:
        folder = resolve(self.names[split], root)
        if not folder.is_dir():
            raise UserError(f"reader.{split}: there is no folder {folder.resolve()}; {whereabouts(folder, root)}")
        try:
            found = sorted(file for file in folder.glob(self.pattern) if file.is_file())
        except (ValueError, NotImplementedError) as error:
            raise UserError(f"reader.pattern: {self.pattern!r} is no pattern ({error}); set one like *.txt") from error
        if not found:
            here = whereabouts(folder / self.pattern, root)
            raise UserError(f"reader.pattern: no file of {folder.resolve()} matches {self.pattern!r}; {here}")
        return found

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        for file in self.files(split, root):
            label = file.name.removesuffix(".gz")
            label = label.removesuffix(Path(label).suffix)
            for number, text in read_lines(file):
                if not text or text.isspace():
                    yield Row((), file.name, number, "blank line")
                else:
                    yield Row((label, text) if self.swap else (text, label), file.name, number)

    def fingerprint(self, split: str, root: Path | None) -> str:
        files = self.files(split, root)
        names = "/".join(file.name for file in files)  # they are the classes
        return digest(self, f"{self.names[split]}/{names}", files)
