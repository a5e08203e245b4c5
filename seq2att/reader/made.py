"""Readers that need no file of one's own: one inside an installed package, rows of a recipe, a toy made in place."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import re
from collections.abc import Iterator
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files import read_lines, shorten, whereabouts
from seq2att.reader import SPLITS, Reader, Row, digest
from seq2att.registry import register


@register("reader", "package")
class PackageFile(Reader):
    """A text file inside an installed package, a row a line; none of the package's code is run."""

    def __init__(
        self,
        *,
        package: str,
        path: str,
        pattern: str = r"(?P<source>[^\t]*)\t(?P<target>.*)",
        skip: str | None = None,
        remove: str | None = None,
        install: str | None = None,
    ) -> None:
        """Remember the names.

        `pattern` is a regular expression that every whole line matches, with the groups `source` and `target`, one of
        which may be left out; lines that match `skip` hold no row; matches of `remove` are deleted from the target
        (stress marks, say); `install` is what `pip install` is to be told when the package is missing.
        """
        self.package, self.path, self.install = package, path, install or package
        self.pattern = compile_pattern("pattern", pattern)
        self.skip = compile_pattern("skip", skip) if skip is not None else None
        self.remove = compile_pattern("remove", remove) if remove is not None else None
        self.absent = frozenset({"source", "target"} - set(self.pattern.groupindex))
        if len(self.absent) == 2:
            raise UserError(f"reader.pattern: {pattern!r} has no group (?P<source>...); name the source there")

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def file(self) -> Path:
        """Where the file lies; raises UserError when the package or the file is missing."""
        spec = importlib.util.find_spec(self.package) if self.package.isidentifier() else None
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        if not folders:
            raise UserError(f"reader.package: {self.package!r} is not installed; run `pip install '{self.install}'`")
        path = Path(folders[0]) / self.path
        if not path.is_file():
            raise UserError(f"reader.path: package {self.package!r} has no file {path}; {whereabouts(path, None)}")
        return path

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """A row for each line of the file that `skip` does not match."""
        file, name = self.file(), f"{self.package}/{self.path}"
        for number, text in read_lines(file):
            match = self.pattern.fullmatch(text)
            if self.skip is not None and self.skip.fullmatch(text):
                yield Row((), name, number, "line that reader.skip matches")
            elif match is None:
                raise UserError(
                    f"{file}:{number}: {shorten(text)} does not match reader.pattern; widen it, or set reader.skip"
                )
            else:
                source = None if "source" in self.absent else match["source"] or ""
                target = "" if "target" in self.absent else match["target"] or ""
                target = self.remove.sub("", target) if self.remove is not None else target
                yield Row((source,) if "target" in self.absent else (source, target), name, number)

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, self.path, [self.file()])

    def check(self, root: Path | None) -> None:
        self.file()


def compile_pattern(key: str, pattern: str) -> re.Pattern[str]:
    """The regular expression of an option."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"reader.{key}: {pattern!r} is no regular expression ({error}); mend it") from error


@register("reader", "given")
class Given(Reader):
    """Rows that stand in the recipe itself: texts, each with a source, a separator and a target.

    Where no text has the separator, or it is null, a text is a target without source: what a language model learns.
    """

    def __init__(
        self,
        *,
        train: list[str],
        validation: list[str] | None = None,
        test: list[str] | None = None,
        separator: str | None = "\t",
    ) -> None:
        if separator == "":
            raise UserError("reader.separator: nothing separates no sides; set a text, or null for rows without source")
        texts = zip(SPLITS, (train, validation, test), strict=True)
        self.texts = {split: list(rows) for split, rows in texts if rows is not None}
        apart = separator is not None and any(separator in text for rows in self.texts.values() for text in rows)
        self.separator = separator if apart else None
        self.absent = frozenset(() if apart else {"source"})

    def splits(self) -> tuple[str, ...]:
        return tuple(self.texts)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """A row for each text of the recipe."""
        for number, text in enumerate(self.texts[split], start=1):
            if self.separator is None:
                yield Row((None, text), f"reader.{split}", number)
                continue
            source, found, target = text.partition(self.separator)
            if not found:
                raise UserError(
                    f"reader.{split}: text {number} has no {self.separator!r} between source and target "
                    f"({shorten(text)}); write one, or set reader.separator"
                )
            yield Row((source, target), f"reader.{split}", number)

    def check(self, root: Path | None) -> None:
        for split in self.texts:
            for _ in self.read(split, root):
                pass

    def fingerprint(self, split: str, root: Path | None) -> str:
        rows = repr(("given", split, self.separator, self.texts[split]))
        return hashlib.blake2b(rows.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


@register("reader", "reverse")
class Reverse(Reader):
    """A toy made in place: letters, and the same letters reversed; no source occurs twice."""

    def __init__(self, *, rows: int = 2000, letters: int = 12, shortest: int = 3, longest: int = 10, seed: int = 1):
        self.sizes = {"train": rows, "validation": max(rows // 10, 1), "test": max(rows // 10, 1)}
        self.letters, self.shortest, self.longest, self.seed = letters, shortest, longest, seed
        if not 1 <= letters <= 26:
            raise UserError(f"reader.letters: {letters} is not from 1 to 26")
        if not 1 <= shortest <= longest:
            raise UserError(f"reader.shortest: {shortest} is not from 1 to reader.longest={longest}")
        total, possible = sum(self.sizes.values()), sum(letters**size for size in range(shortest, longest + 1))
        if rows < 1 or possible < 2 * total:  # beyond half, drawing new ones takes too long
            raise UserError(
                f"reader.rows: {rows} is not from 1 to about {possible * 5 // 12:,}, which {letters} letters in words "
                f"of {shortest} to {longest} allow; lower it, or raise reader.letters or reader.longest"
            )

    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """The words of a split, drawn anew and always the same."""
        draw = random.Random(self.seed)
        seen: set[str] = set()
        for name, size in self.sizes.items():  # every split is drawn, so that none repeats another
            for line in range(1, size + 1):
                source = self.draw(draw)
                while source in seen:
                    source = self.draw(draw)
                seen.add(source)
                if name == split:
                    yield Row((source, source[::-1]), f"reverse-{split}", line)

    def draw(self, draw: random.Random) -> str:
        """A word of random letters with spaces between them."""
        size = draw.randint(self.shortest, self.longest)
        return " ".join(chr(ord("a") + draw.randrange(self.letters)) for _ in range(size))

    def fingerprint(self, split: str, root: Path | None) -> str:
        return hashlib.blake2b(f"reverse {split} {sorted(vars(self).items())}".encode(), digest_size=16).hexdigest()
