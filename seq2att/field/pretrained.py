"""Vectors of words that others have trained, in the text format of word2vec and GloVe."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError
from seq2att.files import Line, find_file, read_lines, shorten

ABSENT, LOWER, EXACT = 0, 1, 2  # how well a piece was found


class Found(NamedTuple):
    """The vectors of some pieces."""

    vectors: npt.NDArray[np.float32]  # [pieces, F]
    there: npt.NDArray[np.bool_]  # [pieces] of which the file has a vector
    note: str  # what is odd about the file


class VectorFile:
    """A text file with a word and its vector in each line; the first line may say how many, and how wide.

    The fields of a line are separated by one space or tab; `*.gz` is unpacked. `key` is the setting that names it.
    """

    def __init__(self, key: str, name: str, root: Path | None, width: int) -> None:
        self.path = find_file(key, name, root)
        self.width = width
        first = next(self.lines(), None)
        if first is None:
            raise UserError(f"{self.path}: the file is empty; name one with a word and its vector in each line")
        fields = first.text.split(" ")
        self.promised = int(fields[0]) if len(fields) == 2 and all(map(str.isdecimal, fields)) else None
        held = int(fields[1]) if self.promised is not None else len(fields) - 1
        if held != width:
            side = key.split(".")[0]
            remedy = f"set {side}.embedding_size={held}, or name another file" if held else "name another file"
            raise UserError(
                f"{self.path}:{first.number}: its vectors have {held} numbers, but {side}.embedding_size={width}; "
                f"{remedy}"
            )

    def lines(self) -> Iterator[Line]:
        """The lines that hold something, their fields separated by spaces."""
        for number, text in read_lines(self.path):
            text = text.replace("\t", " ").rstrip()
            if text:
                yield Line(number, text)

    def read(self, pieces: Sequence[str]) -> Found:
        """The vectors of pieces; where a piece has none, that of its lower-cased form. Of equal words, the first."""
        found = Found(np.zeros((len(pieces), self.width), np.float32), np.zeros(len(pieces), bool), "")
        grade = np.full(len(pieces), ABSENT)
        exact = {piece: number for number, piece in enumerate(pieces)}
        lowered: dict[str, list[int]] = {}
        for number, piece in enumerate(pieces):
            if piece.lower() != piece:
                lowered.setdefault(piece.lower(), []).append(number)
        count = 0
        for line in itertools.islice(self.lines(), int(self.promised is not None), None):
            count += 1
            word, numbers = self.cut(line)
            wanted = [(exact[word], EXACT)] if word in exact else []
            wanted += [(number, LOWER) for number in lowered.get(word, ())]
            for number, worth in wanted:
                if grade[number] < worth:
                    found.vectors[number], grade[number] = self.vector(line, word, numbers), worth
        if self.promised not in (None, count):
            note = f" (its first line promises {self.promised:,} vectors, there are {count:,})"
            found = found._replace(note=note)
        return found._replace(there=grade > ABSENT)

    def cut(self, line: Line) -> tuple[str, str]:
        """The word of a line and its numbers; `UserError` where these are too few or too many."""
        held = line.text.count(" ")
        if held == self.width:
            word, _, numbers = line.text.partition(" ")
            return word, numbers
        word, *fields = line.text.rsplit(" ", self.width)  # some words of GloVe have spaces in them
        if held < self.width or is_number(word.rpartition(" ")[2]):
            raise UserError(
                f"{self.path}:{line.number}: {held} numbers follow {shorten(line.text.partition(' ')[0])}, "
                f"but {self.width} are wanted; mend the line, or delete it"
            )
        return word, " ".join(fields)

    def vector(self, line: Line, word: str, numbers: str) -> list[float]:
        """The numbers `[F]`; `UserError` names the first that is none."""
        fields = numbers.split(" ")
        for field in fields:
            if not is_number(field):
                raise UserError(
                    f"{self.path}:{line.number}: {shorten(field)} in the vector of {shorten(word)} is no finite "
                    f"number; mend the line, or delete it"
                )
        return list(map(float, fields))


def is_number(text: str) -> bool:
    """Whether a text is a number that is neither infinite nor NaN."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
