"""Pretrained word vectors, in the text format of word2vec and GloVe."""

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

ABSENT, LOWER, EXACT = 0, 1, 2  # how well a piece matches a word of the file


class PieceVectors(NamedTuple):
    """The vectors of some pieces."""

    vectors: npt.NDArray[np.float32]  # [pieces, F]
    is_found: npt.NDArray[np.bool_]  # [pieces] whether the file has a vector of it
    note: str  # what is odd about the file


class VectorFile:
    """A text file with a word and its vector on each line; the first line may hold their number and size.

    One space or tab separates the parts of a line; `*.gz` is unpacked. `key` is the setting that names the file.
    """

    def __init__(self, key: str, name: str, root: Path | None, width: int) -> None:
        self.path = find_file(key, name, root)
        self.width = width
        first = next(self.lines(), None)
        if first is None:
            raise UserError("E-empty", str(self.path), "the file is empty", "name one with a word and vector a line")
        parts = first.text.split(" ")
        self.num_stated = int(parts[0]) if len(parts) == 2 and all(map(str.isdecimal, parts)) else None
        size = int(parts[1]) if self.num_stated is not None else len(parts) - 1
        if size != width:
            option = f"{key.split('.')[0]}.embedding_size"
            problem = f"its vectors have {size} numbers, but {option}={width}"
            remedy = f"set {option}={size}, or name another file" if size else "name another file"
            raise UserError("E-length", f"{self.path}:{first.number}", problem, remedy)

    def lines(self) -> Iterator[Line]:
        """The lines that are not blank, their parts separated by spaces."""
        for number, text in read_lines(self.path):
            text = text.replace("\t", " ").rstrip()
            if text:
                yield Line(number, text)

    def read(self, pieces: Sequence[str]) -> PieceVectors:
        """The vector of each piece or, if it has none, of its lower-cased form; of equal words, the first counts."""
        result = PieceVectors(np.zeros((len(pieces), self.width), np.float32), np.zeros(len(pieces), bool), "")
        match = np.full(len(pieces), ABSENT)
        exact = {piece: number for number, piece in enumerate(pieces)}
        lowered: dict[str, list[int]] = {}
        for number, piece in enumerate(pieces):
            if piece.lower() != piece:
                lowered.setdefault(piece.lower(), []).append(number)
        count = 0
        for line in itertools.islice(self.lines(), int(self.num_stated is not None), None):
            count += 1
            word, numbers = self.split(line)
            candidates = [(exact[word], EXACT)] if word in exact else []
            candidates += [(number, LOWER) for number in lowered.get(word, ())]
            for number, quality in candidates:
                if match[number] < quality:
                    result.vectors[number], match[number] = self.vector(line, word, numbers), quality
        if self.num_stated not in (None, count):
            note = f" (its first line states {self.num_stated:,} vectors, there are {count:,})"
            result = result._replace(note=note)
        return result._replace(is_found=match > ABSENT)

    def split(self, line: Line) -> tuple[str, str]:
        """The word of a line and its numbers; raises UserError if these are too few or too many."""
        num_spaces = line.text.count(" ")
        if num_spaces == self.width:
            word, _, numbers = line.text.partition(" ")
            return word, numbers
        word, *parts = line.text.rsplit(" ", self.width)  # some words of GloVe contain spaces
        if num_spaces < self.width or is_finite(word.rpartition(" ")[2]):
            problem = f"{num_spaces} numbers follow {shorten(line.text.partition(' ')[0])}, expected {self.width}"
            raise UserError("E-row", f"{self.path}:{line.number}", problem, "correct or delete the line")
        return word, " ".join(parts)

    def vector(self, line: Line, word: str, numbers: str) -> list[float]:
        """The numbers `[F]`; raises UserError with the first that is not finite."""
        parts = numbers.split(" ")
        for part in parts:
            if not is_finite(part):
                problem = f"{shorten(part)} in the vector of {shorten(word)} is not a finite number"
                raise UserError("E-number", f"{self.path}:{line.number}", problem, "correct or delete the line")
        return list(map(float, parts))


def is_finite(text: str) -> bool:
    """Whether a text is a finite number."""
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
