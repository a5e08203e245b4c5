"""Readers of sentences with a tag for every word, a word a line: the CoNLL formats and CoNLL-U."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from seq2att.errors import UserError
from seq2att.files import one_word, read_lines
from seq2att.reader import DataFiles, FileReader, Row
from seq2att.registry import Inherited, Size, register, suggestion

NOT_A_WORD = re.compile(r"\d+[-.]\d+")  # the ID of a multiword token, or of an empty node
WORD = re.compile(r"[^ \t]+")  # other white space may be part of a word
HASH = re.compile(r"#(\s|$)")
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")


class Sentences(FileReader):
    """A word and its tag a line, a blank line after each sentence; words and tags are joined by one space.

    The line of a row is that of its first word. White space within a word or a tag becomes `_`, so that there are as
    many words as tags.
    """

    places: list[int]
    """The indices of the columns of the word and of its tag, from 0; without a tag there is no target."""

    def split(self, text: str) -> list[str]:
        """The columns of a line; none where the line is not a word."""
        raise NotImplementedError

    def is_comment(self, text: str, place: str) -> bool:
        """Whether a line at the head of a sentence is a comment; raises UserError where that is not clear."""
        return False

    def check_width(self, place: str, width: int, before: int) -> None:
        """Raise `E-column` where a line has a wrong number of columns; `before` is that of the line before, or 0."""
        raise NotImplementedError

    def read_files(self, data: DataFiles) -> Iterator[Row]:
        """Yield a row for each sentence; a `-DOCSTART-` line and a comment are yielded without values."""
        (file,), name = data.paths, data.name
        words: list[list[str]] = []
        first = width = 0
        is_broken = False  # whether a line of the sentence cannot be read, so that the rest of it is left out
        for number, text in read_lines(file, fault=self.fault):
            document = text.startswith("-DOCSTART-")
            if document or not text or text.isspace():
                if words:
                    yield make_row(words, name, first)
                words, is_broken = [], False
                if document:
                    yield Row((), name, number, "-DOCSTART- line")
                continue
            try:
                if not words and self.is_comment(text, f"{file}:{number}"):
                    yield Row((), name, number, "comment line")
                elif not is_broken and (columns := self.split(text)):
                    self.check_width(f"{file}:{number}", len(columns), width)
                    width = len(columns)
                    first = first if words else number
                    words.append([one_word(columns[place]) for place in self.places])
            except UserError as error:
                self.fault("malformed-row" if error.code == "E-row" else "missing-column", error)
                words, is_broken = [], True
        if words:
            yield make_row(words, name, first)


def make_row(words: list[list[str]], name: str, line: int) -> Row:
    """The row of a sentence."""
    return Row(tuple(" ".join(side) for side in zip(*words, strict=True)), name, line)


@register("reader", "conll")
class Conll(Sentences):
    """Sentences in columns split at white space, a word a line (CoNLL-2000, CoNLL-2003).

    Args:
        words: number of the column of the words.
        tags: number of the column of the tags; null for no target.
        comments: what a line is that begins with `#` before the first word of a sentence: `skip` it, or read a `word`;
            `refuse` reads `#tag` as a word, but not `#` and white space.
    """

    def __init__(
        self,
        *,
        words: Size = 1,
        tags: Size | None = 2,
        comments: Literal["refuse", "skip", "word"] = "refuse",
        **options: Inherited,
    ) -> None:
        super().__init__(**options)
        self.comments = comments
        numbers = [words] if tags is None else [words, tags]
        self.places = [number - 1 for number in numbers]
        self.absent = frozenset({"target"} if tags is None else ())

    def split(self, text: str) -> list[str]:
        return WORD.findall(text)

    def is_comment(self, text: str, place: str) -> bool:
        if self.comments == "refuse" and HASH.match(text):
            problem = "begins with `#` before the first word of a sentence: a comment, or a word?"
            raise UserError("E-row", place, problem, "set reader.comments=skip or reader.comments=word")
        return self.comments == "skip" and text.startswith("#")

    def check_width(self, place: str, width: int, before: int) -> None:
        num_columns = f"has {width} column{'s' * (width != 1)}"
        if before and width != before:
            problem = f"{num_columns}, but the word before has {before}"
            remedy = "correct the line; a blank line ends a sentence, reader.comments=skip skips `#` lines before one"
            raise UserError("E-column", place, problem, remedy)
        if width <= (last := max(self.places)):
            remedy = "correct the line, or reader.words and reader.tags"
            raise UserError("E-column", place, f"{num_columns}, but column {last + 1} is needed", remedy)


@register("reader", "conllu")
class ConllU(Sentences):
    """Sentences of Universal Dependencies (CoNLL-U): the words, and a column such as `upos` as tags.

    Multiword tokens such as `1-2` and empty nodes such as `1.1` are left out: the words are the syntactic ones.

    Args:
        words: name of the column of the words.
        tags: name of the column of the tags; null for no target.
    """

    def __init__(self, *, words: str = "form", tags: str | None = "upos", **options: Inherited) -> None:
        super().__init__(**options)
        names = [words] if tags is None else [words, tags]
        for option, name in zip(("words", "tags"), names, strict=False):
            if name not in CONLLU:
                raise UserError("E-column", f"reader.{option}={name}", "no such column", suggestion(name, CONLLU))
        self.places = [CONLLU.index(name) for name in names]
        self.absent = frozenset({"target"} if tags is None else ())

    def split(self, text: str) -> list[str]:
        columns = [] if text.startswith("#") else text.split("\t")
        return [] if len(columns) == len(CONLLU) and NOT_A_WORD.fullmatch(columns[0]) else columns

    def check_width(self, place: str, width: int, before: int) -> None:
        if width != len(CONLLU):
            problem = f"has {width} column{'s' * (width != 1)}, but CoNLL-U has {len(CONLLU)}, split at tabs"
            raise UserError("E-column", place, problem, "correct the line, or read the file with reader=conll")
