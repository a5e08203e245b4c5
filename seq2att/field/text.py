"""Text, as the pieces of a tokenizer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from seq2att.errors import InputError, UserError, check_probability, check_size
from seq2att.field import Field
from seq2att.field.embedding import OneHotEmbedding, SpelledEmbedding, TextEmbedding
from seq2att.field.pretrained import VectorFile
from seq2att.files import one_word
from seq2att.registry import Factory, register
from seq2att.tokenizer import Tokenizer
from seq2att.types import END, SPECIALS, UNKNOWN

NORMAL_FORMS: dict[str, Literal["NFC", "NFD", "NFKC", "NFKD"]] = {
    "nfc": "NFC",
    "nfd": "NFD",
    "nfkc": "NFKC",
    "nfkd": "NFKD",
}


@register("field", "text")
class TextField(Field):
    """A text, as the pieces of a tokenizer.

    A list of words is a text with a space between them; `_` is written for white space within a word and for an empty
    one, so that there are as many words as the list has.

    First of all, `replace` puts the second text of each pair in the place of what the first, a regular expression,
    finds, in their order; then matches of `remove` are deleted; `normalize` is a Unicode normal form (`nfd` cuts
    Hangul syllables into letters and accents off theirs; what is said is composed again).

    A piece is read as a vector of `embedding_size`, with `dropout`: `embedding=trained` learns it, `frozen` keeps it as
    it starts, and `one_hot` has a dimension for each piece instead. `piece_dropout` leaves whole pieces out of a batch.
    A vector starts random (with `deviation`; null: with length 1), or with `vectors=FILE`, a text
    file of word2vec or GloVe, as it stands there. `characters` is the size of another vector beside it, composed from
    the first `character_length` characters of the piece (Ma & Hovy 2016): of use in a source of words.
    """

    def __init__(
        self,
        tokenizer: Factory[Tokenizer],
        *,
        embedding_size: int = 256,
        dropout: float = 0.0,
        piece_dropout: float = 0.0,
        deviation: float | None = None,
        embedding: Literal["trained", "frozen", "one_hot"] = "trained",
        vectors: str | None = None,
        characters: int = 0,
        character_length: int = 20,
        replace: dict[str, str] | None = None,
        remove: str = "",
        normalize: Literal["none", "nfc", "nfd", "nfkc", "nfkd"] = "none",
    ) -> None:
        check_size("field: embedding_size", embedding_size)
        for name, value in (("dropout", dropout), ("piece_dropout", piece_dropout)):
            check_probability(f"field: {name}", value)
        if deviation is not None and deviation < 0:
            raise UserError(f"field: deviation={deviation} is below 0; set 0 or more, or null for vectors of length 1")
        if characters < 0 or character_length < 1:
            raise UserError(
                f"field: characters={characters} and character_length={character_length} are no sizes; "
                f"set characters=0 (none) or more, and character_length=1 or more"
            )
        if vectors is not None and embedding == "one_hot":
            raise UserError(
                "field: embedding=one_hot has no vectors to read; set embedding=trained or frozen, or vectors=null"
            )
        self.replace = [checked_replacement(pattern, by) for pattern, by in (replace or {}).items()]
        self.remove = checked_pattern("remove", remove) if remove else None
        self.tokenizer = tokenizer()
        self.embedding_size, self.embedding, self.vectors = embedding_size, embedding, vectors
        self.characters, self.character_length = characters, character_length
        self.dropout, self.piece_dropout, self.deviation = dropout, piece_dropout, deviation
        self.normalize = normalize
        self.index: dict[str, int] = {}
        self.indexed: tuple[str, ...] = ()
        self.spelling = Spelling((), character_length)

    @property
    def size(self) -> int:  # type: ignore[override]  # follows a tokenizer that another field may fit
        """The size of the vocabulary, special tokens included."""
        return len(SPECIALS) + len(self.tokenizer.pieces)

    def share_tokenizer(self, other: TextField) -> None:
        """Use the tokenizer object of the other field from now on; it may be fitted before or after."""
        self.tokenizer = other.tokenizer

    def clean(self, value: Any) -> str:
        """The text that the tokenizer sees."""
        text = written(value)
        for pattern, by in self.replace:
            text = pattern.sub(by, text)
        if self.remove:
            text = self.remove.sub("", text)
        return text if self.normalize == "none" else unicodedata.normalize(NORMAL_FORMS[self.normalize], text)

    def fit(self, values: Iterable[Any]) -> None:
        """Fit the tokenizer."""
        self.tokenizer.fit(map(self.clean, values))

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The ids of the pieces `[S]`, without begin and end; with characters `[S, 1 + character_length]`."""
        return self.numbers(self.tokenizer.encode(self.clean(value)))

    def encode_batch(self, values: Sequence[Any]) -> list[npt.NDArray[np.int32]]:
        """The ids of every text, in order."""
        texts = [self.clean(value) for value in values]
        ids = None if self.characters else self.tokenizer.encode_ids(texts)
        if ids is not None:
            return [np.array(row, np.int32) for row in ids]
        return [self.numbers(pieces) for pieces in self.tokenizer.encode_batch(texts)]

    def numbers(self, pieces: Sequence[str]) -> npt.NDArray[np.int32]:
        """The ids of pieces `[S]`; with characters, theirs follow each: `[S, 1 + character_length]`."""
        self.look_up()
        ids = np.array([self.index.get(piece, UNKNOWN) for piece in pieces], np.int32)
        return np.column_stack([ids, self.spelling.rows(pieces, ids)]) if self.characters else ids

    def look_up(self) -> None:
        """Have the numbers of the tokenizer's pieces at hand, unless they are."""
        if self.indexed is not self.tokenizer.pieces:  # fitted, restored or shared since
            self.indexed = self.tokenizer.pieces
            self.index = {piece: number for number, piece in enumerate(self.indexed, len(SPECIALS))}
            self.spelling = Spelling(self.indexed if self.characters else (), self.character_length)

    def decode(self, ids: Sequence[int]) -> str:
        """The text before the end token; an unknown piece is written `<unk>`."""
        pieces = []
        for number in self.narrow(ids):
            if number == END:
                break
            if number == UNKNOWN or number >= len(SPECIALS):
                pieces.append(self.piece(number))
        return self.composed(self.tokenizer.decode(pieces))

    def text(self, value: Any) -> str:
        """A text as it was read, composed as `decode` composes it."""
        return self.composed(written(value) if isinstance(value, list | tuple) else str(value))

    def composed(self, text: str) -> str:
        """The text, its letters put together again (NFC) where they are cut to be read."""
        return unicodedata.normalize("NFC", text) if self.normalize in ("nfd", "nfkd") else text

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The piece of every id, special tokens by their names."""
        return tuple(self.piece(number) for number in self.narrow(ids))

    def narrow(self, ids: Sequence[Any]) -> Iterator[int]:
        """The ids of pieces, without those of characters beside them."""
        if not self.characters:
            return map(int, ids)
        return (int(number[0]) if np.ndim(number) else int(number) for number in ids)

    def piece(self, number: int) -> str:
        """The piece of one id."""
        return SPECIALS[number] if number < len(SPECIALS) else self.tokenizer.pieces[number - len(SPECIALS)]

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The pieces of a text that the vocabulary does not hold, each once, in order."""
        self.look_up()
        pieces = self.tokenizer.encode(self.clean(value))
        return tuple(dict.fromkeys(piece for piece in pieces if piece not in self.index))

    def unknown_rate(self, texts: Iterable[str]) -> float:
        """The share of the texts' pieces that the vocabulary does not know, 0 to 1; 0 of no text."""
        unknown = total = 0
        for text in texts:
            ids = self.encode(text).reshape(-1, self.width)[:, 0]
            unknown += int((ids == UNKNOWN).sum())
            total += len(ids)
        return unknown / total if total else 0.0

    def embed(self) -> TextEmbedding | OneHotEmbedding | SpelledEmbedding:
        """A new layer from ids, with or without characters, to vectors."""
        frozen = self.embedding == "frozen"
        words: TextEmbedding | OneHotEmbedding
        if self.embedding == "one_hot":
            words = OneHotEmbedding(self.size, self.dropout)
        else:
            words = TextEmbedding(
                self.size, self.embedding_size, self.dropout, frozen, self.piece_dropout, self.deviation
            )
        if not self.characters:
            return words
        self.look_up()
        return SpelledEmbedding(words, self.spelling.size, self.characters, self.dropout)

    def check(self, side: str, root: Path | None) -> None:
        """Refuse characters of a target, which no model says, and pretrained vectors that are missing or too wide."""
        if side == "target" and self.characters:
            raise UserError(
                f"target.characters={self.characters}: a target is said piece by piece, and read without characters; "
                f"set target.characters=0 (source.characters is for the source)"
            )
        if self.vectors is not None:
            VectorFile(f"{side}.vectors", self.vectors, root, self.embedding_size)

    def init_embedding(self, embedding: nn.Module, root: Path | None) -> str | None:
        """Put pretrained vectors into a new layer; the others are made as long as those. Says how many were found."""
        words = embedding.words if isinstance(embedding, SpelledEmbedding) else embedding
        if self.vectors is None or not isinstance(words, TextEmbedding):
            return None
        file = VectorFile("source.vectors", self.vectors, root, self.embedding_size)
        pieces = self.tokenizer.pieces
        found = file.read(pieces)
        count = int(found.there.sum())
        if not count:
            raise UserError(
                f"{file.path}: none of the {len(pieces):,} pieces of the vocabulary is in it; name the vectors of this "
                f"language's words, and take source/tokenizer=word (or target's)"
            )
        known = torch.from_numpy(np.flatnonzero(found.there)) + len(SPECIALS)  # [count]
        vectors = torch.from_numpy(found.vectors[found.there]).to(words.weight)  # [count, E]
        with torch.no_grad():
            words.weight.mul_(vectors.square().mean().sqrt() * self.embedding_size**0.5)  # as long as those
            words.weight[known] = vectors
        return f"vectors: {count:,} of {len(pieces):,} pieces found in {file.path}{found.note}"

    @property
    def width(self) -> int:
        """How many numbers stand for a piece."""
        return 1 + self.character_length if self.characters else 1

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer."""
        return self.tokenizer.files()

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Restore the tokenizer."""
        self.tokenizer.restore(files)


class Spelling:
    """The characters of pieces as numbers: 0 is padding, 1 is what the pieces of the vocabulary do not have."""

    def __init__(self, pieces: Sequence[str], length: int) -> None:
        self.index = {letter: number for number, letter in enumerate(sorted(set().union(*pieces)), UNKNOWN + 1)}
        self.size = UNKNOWN + 1 + len(self.index)
        self.table = np.zeros((len(SPECIALS) + len(pieces), length), np.int32)  # [V, C]
        for number, piece in enumerate(pieces, len(SPECIALS)):
            self.spell(piece, self.table[number])

    def spell(self, piece: str, row: npt.NDArray[np.int32]) -> None:
        """Write the numbers of the first characters of a piece into a row of zeros `[C]`."""
        numbers = [self.index.get(letter, UNKNOWN) for letter in piece[: len(row)]]
        row[: len(numbers)] = numbers

    def rows(self, pieces: Sequence[str], ids: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The numbers of the first characters of pieces that have these ids: `[S, C]`."""
        rows = self.table[ids]
        for place in np.flatnonzero(ids == UNKNOWN).tolist():
            self.spell(pieces[place], rows[place])
        return rows


def written(value: Any) -> str:
    """A value as a text; a list of words is joined by spaces, and has as many words afterwards."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return " ".join(map(one_word, value))
    problem = f"field=text takes text, not {type(value).__name__} ({repr(value)[:60]})"
    raise InputError(
        f"{problem}; name a column of text, or of lists of words, in the reader",
        f"{problem}; give a text, or a list of words",
    )


def checked_pattern(option: str, pattern: str) -> re.Pattern[str]:
    """The regular expression of an option, made ready."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"field: {option}={pattern!r} is no regular expression ({error}); mend it") from error


def checked_replacement(pattern: str, by: str) -> tuple[re.Pattern[str], str]:
    """A regular expression and what takes the place of its matches, which may name its groups."""
    ready = checked_pattern("replace", pattern)
    try:
        ready.sub(by, "")
    except (re.error, IndexError) as error:
        raise UserError(
            f"field: replace={{{pattern!r}: {by!r}}}: the second is no replacement ({error}); "
            f"write \\1 for the first group, \\\\ for a backslash"
        ) from error
    return ready, by
