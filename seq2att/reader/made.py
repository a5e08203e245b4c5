"""Readers without files of the user: a file in an installed package, rows of a recipe, a toy data set."""

from __future__ import annotations

import hashlib
import importlib.util
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from seq2att.errors import UserError
from seq2att.files import read_lines, shorten, whereabouts
from seq2att.files.description import describe_file
from seq2att.reader import SPLITS, Reader, Row, digest
from seq2att.registry import Range, Seed, register

Length = Annotated[int, Range(1, 1000)]
"""Letters of a made-up source."""


@register("reader", "package")
class PackageFile(Reader):
    """A text file inside an installed package, a row a line; no code of the package runs.

    Args:
        package: name of the module that holds the file.
        path: path of the file inside it.
        pattern: regular expression of a line, with the groups `source` and `target`, of which one may be missing.
        skip: regular expression of lines that hold no row; null for none.
        remove: regular expression of what is deleted from the target, such as stress marks; null for nothing.
        install: name of the distribution for `pip install`; null: that of the package.
    """

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
        self.package, self.path, self.install = package, path, install or package
        self.pattern = compile_pattern("pattern", pattern)
        self.skip = compile_pattern("skip", skip) if skip is not None else None
        self.remove = compile_pattern("remove", remove) if remove is not None else None
        self.absent = frozenset({"source", "target"} - set(self.pattern.groupindex))
        if len(self.absent) == 2:
            raise UserError("E-syntax", f"reader.pattern={pattern}", "has no group", "name one (?P<source>...)")

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def file(self) -> Path:
        """The path of the file; `E-package` or `E-file` where something is missing."""
        spec = importlib.util.find_spec(self.package) if self.package.isidentifier() else None
        folders = list(spec.submodule_search_locations or ()) if spec is not None else []
        if not folders:
            install = f"run `pip install '{self.install}'`"
            raise UserError("E-package", f"reader.package={self.package}", "is not installed", install)
        path = Path(folders[0]) / self.path
        if not path.is_file():
            raise UserError("E-file", f"reader.path={self.path}", f"there is no {path}", whereabouts(path, None))
        return path

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """Yield a row for each line that `skip` does not match."""
        file, name = self.file(), f"{self.package}/{self.path}"
        for number, text in read_lines(file, fault=self.fault):
            match = self.pattern.fullmatch(text)
            if self.skip is not None and self.skip.fullmatch(text):
                yield Row((), name, number, "line that reader.skip matches")
            elif match is None:
                problem, remedy = f"{shorten(text)} does not match reader.pattern", "widen it, or set reader.skip"
                self.fault("malformed-row", UserError("E-row", f"{file}:{number}", problem, remedy))
            else:
                source = None if "source" in self.absent else match["source"] or ""
                target = "" if "target" in self.absent else match["target"] or ""
                target = self.remove.sub("", target) if self.remove is not None else target
                yield Row((source,) if "target" in self.absent else (source, target), name, number)

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, self.path, [self.file()])

    def origin(self, split: str, root: Path | None) -> dict[str, Any]:
        return {"files": [describe_file(self.file(), root)]}

    def check(self, root: Path | None) -> None:
        self.file()


def compile_pattern(key: str, pattern: str) -> re.Pattern[str]:
    """Compile the regular expression of an option."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError("E-syntax", f"reader.{key}={pattern}", f"is not a regular expression ({error})") from error


@register("reader", "given")
class Given(Reader):
    """Rows written in the recipe itself: texts, each a source, a separator and a target.

    Where no text has the separator, a text is a target without source, for language models.

    Args:
        train: texts of the training split.
        validation: texts of the validation split; null for a part of the training rows.
        test: texts of the test split; null for none.
        separator: text between source and target; null for targets only.
    """

    names_data = False

    def __init__(
        self,
        *,
        train: list[str],
        validation: list[str] | None = None,
        test: list[str] | None = None,
        separator: str | None = "\t",
    ) -> None:
        if separator == "":
            raise UserError("E-choice", "reader.separator=''", "must not be empty", "set null for rows without source")
        texts = zip(SPLITS, (train, validation, test), strict=True)
        self.texts = {split: list(rows) for split, rows in texts if rows is not None}
        has_sources = separator is not None and any(separator in text for rows in self.texts.values() for text in rows)
        self.separator = separator if has_sources else None
        self.absent = frozenset(() if has_sources else {"source"})

    def splits(self) -> tuple[str, ...]:
        return tuple(self.texts)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """Yield a row for each text."""
        for number, text in enumerate(self.texts[split], start=1):
            if self.separator is None:
                yield Row((None, text), f"reader.{split}", number)
                continue
            source, separator, target = text.partition(self.separator)
            if not separator:
                problem = f"{shorten(text)} lacks {self.separator!r} between source and target"
                raise UserError("E-row", f"reader.{split}:{number}", problem, "write it, or set reader.separator")
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
    """A toy data set: letters, and the same letters reversed; no source occurs twice.

    Args:
        rows: training rows; validation and test have a tenth of them each.
        letters: letters of the alphabet.
        shortest: letters of the shortest source.
        longest: letters of the longest source, not below `shortest`.
        seed: seed of the random letters.
    """

    names_data = False

    def __init__(
        self,
        *,
        rows: Annotated[int, Range(1, 10_000_000)] = 2000,
        letters: Annotated[int, Range(1, 26)] = 12,
        shortest: Length = 3,
        longest: Length = 10,
        seed: Seed = 1,
    ) -> None:
        self.sizes = {"train": rows, "validation": max(rows // 10, 1), "test": max(rows // 10, 1)}
        self.letters, self.shortest, self.longest, self.seed = letters, shortest, longest, seed
        if shortest > longest:
            problem, remedy = f"must be at most reader.longest={longest}", f"set reader.shortest={longest}"
            raise UserError("E-size", f"reader.shortest={shortest}", problem, remedy)
        total, possible = sum(self.sizes.values()), sum(letters**size for size in range(shortest, longest + 1))
        if possible < 2 * total:  # beyond half, finding new ones takes too long
            problem = f"must be from 1 to about {possible * 5 // 12:,} with these letters and lengths"
            raise UserError("E-size", f"reader.rows={rows}", problem, "raise reader.letters or reader.longest")

    def splits(self) -> tuple[str, ...]:
        return tuple(self.sizes)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """Yield the rows of a split, always the same."""
        draw = random.Random(self.seed)
        seen: set[str] = set()
        for name, size in self.sizes.items():  # all splits are drawn, so that none repeats another
            for line in range(1, size + 1):
                source = self.draw(draw)
                while source in seen:
                    source = self.draw(draw)
                seen.add(source)
                if name == split:
                    yield Row((source, source[::-1]), f"reverse-{split}", line)

    def draw(self, draw: random.Random) -> str:
        """Random letters with spaces between them."""
        size = draw.randint(self.shortest, self.longest)
        return " ".join(chr(ord("a") + draw.randrange(self.letters)) for _ in range(size))

    def fingerprint(self, split: str, root: Path | None) -> str:
        return hashlib.blake2b(f"reverse {split} {sorted(vars(self).items())}".encode(), digest_size=16).hexdigest()
