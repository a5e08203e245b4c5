"""Readers of sentences with a tag for every word, a word a line: CoNLL's many forms, and CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files import one_word, read_lines
from seq2att.reader import FileReader, Row
from seq2att.registry import register, suggestion

NO_WORD = re.compile(r"\d+[-.]\d+")  # the ID of a range of words, or of an empty node
WORD = re.compile(r"[^ \t]+")  # other white space may be part of a word
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


class Sentences(FileReader):
    """A word and its tag a line, a blank line after each sentence; words and tags are joined by one space.

    A row stands where its first word stands. White space within a word or a tag becomes `_`, so that there are as many
    words as tags.
    """

    def __init__(self, train: str, validation: str | None, test: str | None, places: list[int]) -> None:
        super().__init__(train, validation, test)
        self.places = places  # of the word and of its tag, from 0
        self.absent = frozenset({"target"} if len(places) == 1 else ())

    def split(self, text: str) -> list[str]:
        """The columns of a line; none where it is no word of the sentence."""
        raise NotImplementedError

    def check_width(self, place: str, width: int, before: int) -> None:
        """Raise UserError when a line has a wrong number of columns; `before` is that of the first line, or 0."""
        raise NotImplementedError

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        """A row for each sentence; a `-DOCSTART-` line is handed on as one that holds none."""
        (file,) = self.files(split, root)
        name = self.names[split]
        words: list[list[str]] = []
        first = width = 0
        for number, text in read_lines(file):
            document = text.startswith("-DOCSTART-")
            if document or not text or text.isspace():
                if words:
                    yield self.row(words, name, first)
                words = []
                if document:
                    yield Row((), name, number, "-DOCSTART- line")
            elif columns := self.split(text):
                self.check_width(f"{file}:{number}", len(columns), width)
                width = len(columns)
                first = first if words else number
                words.append([one_word(columns[place]) for place in self.places])
        if words:
            yield self.row(words, name, first)

    def row(self, words: list[list[str]], name: str, line: int) -> Row:
        """A sentence as a row."""
        return Row(tuple(" ".join(side) for side in zip(*words, strict=True)), name, line)


@register("reader", "conll")
class Conll(Sentences):
    """Sentences in columns split at white space, a word a line: CoNLL-2000, CoNLL-2003 and their kin.

    `words` and `tags` are numbers of columns, from 1; without `tags` there is no target.
    """

    def __init__(
        self,
        *,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        words: int = 1,
        tags: int | None = 2,
    ) -> None:
        numbers = [words] if tags is None else [words, tags]
        for option, number in zip(("words", "tags"), numbers, strict=False):
            if number < 1:
                raise UserError(f"reader.{option}: {number} is no column; columns are counted from 1")
        super().__init__(train, validation, test, [number - 1 for number in numbers])

    def split(self, text: str) -> list[str]:
        return WORD.findall(text)

    def check_width(self, place: str, width: int, before: int) -> None:
        counted = f"{place}: has {width} column{'s' * (width != 1)}, but"
        if before and width != before:
            raise UserError(f"{counted} the word before has {before}; correct the line; a blank line ends a sentence")
        if width <= max(self.places):
            raise UserError(
                f"{counted} column {max(self.places) + 1} is asked; correct the line, or reader.words and reader.tags"
            )


@register("reader", "conllu")
class ConllU(Sentences):
    """Sentences of Universal Dependencies (CoNLL-U): their words, and a column such as `upos` as tags.

    A range such as `1-2`, which is written as one word, and an empty node such as `1.1` are left out: the words are
    those of the syntax. Comments are passed over.
    """

    def __init__(
        self,
        *,
        train: str,
        validation: str | None = None,
        test: str | None = None,
        words: str = "form",
        tags: str | None = "upos",
    ) -> None:
        names = [words] if tags is None else [words, tags]
        for option, name in zip(("words", "tags"), names, strict=False):
            if name not in CONLLU:
                raise UserError(f"reader.{option}: CoNLL-U has no column {name!r}; {suggestion(name, CONLLU)}")
        super().__init__(train, validation, test, [CONLLU.index(name) for name in names])

    def split(self, text: str) -> list[str]:
        columns = [] if text.startswith("#") else text.split("\t")
        return [] if len(columns) == len(CONLLU) and NO_WORD.fullmatch(columns[0]) else columns

    def check_width(self, place: str, width: int, before: int) -> None:
        if width != len(CONLLU):
            raise UserError(
                f"{place}: has {width} column{'s' * (width != 1)}, but CoNLL-U has {len(CONLLU)}, split at tabs; "
                f"correct the line, or read the file with reader=conll"
            )
