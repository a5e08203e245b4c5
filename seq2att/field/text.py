"""Text, as the pieces of a tokenizer."""

from __future__ import annotations

import collections
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from seq2att.errors import UserError
from seq2att.field import Field, no_tokenizer
from seq2att.field.embedding import OneHotEmbedding, SpelledEmbedding, TextEmbedding
from seq2att.field.pretrained import VectorFile
from seq2att.files import one_word
from seq2att.registry import Count, Factory, NonNegative, Range, Rate, Size, register
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
    r"""A text, as the pieces of a tokenizer.

    A list of words is read as a text with one space between them; `_` replaces white space within a word and an empty
    word, so that the text has as many words as the list. Before the tokenizer, `replace`, `remove` and `normalize` are
    applied, in this order. A subclass that learns more than the tokenizer overrides `texts`, not `fit`.

    Args:
        embedding_size: size of the vector of a piece.
        dropout: probability of zeroing a component of a vector in training.
        piece_dropout: probability of zeroing the whole vector of a piece, in all of a batch.
        deviation: standard deviation of the initial vectors; null for vectors of length about 1.
        embedding: `trained`, `frozen` as `vectors` has them, or `one_hot` (one dimension for each piece).
        vectors: file of pretrained vectors in the text format of word2vec or GloVe, or null.
        characters: size of a second vector, from the characters of a piece (Ma & Hovy 2016); 0: none. Source only.
        character_length: number of a piece's characters that are read for it.
        replace: regular expressions and what replaces their matches (`\1` is the first group), applied in order.
        remove: regular expression whose matches are deleted.
        normalize: Unicode normal form; `nfd` splits Hangul syllables and accents, and output is composed again.
    """

    embedding_options: ClassVar[frozenset[str]] = frozenset(
        ("embedding_size", "dropout", "piece_dropout", "deviation", "embedding", "vectors")
    )

    def __init__(
        self,
        tokenizer: Factory[Tokenizer],
        *,
        embedding_size: Size = 256,
        dropout: Rate = 0.0,
        piece_dropout: Rate = 0.0,
        deviation: NonNegative | None = None,
        embedding: Literal["trained", "frozen", "one_hot"] = "trained",
        vectors: str | None = None,
        characters: Count = 0,
        character_length: Annotated[int, Range(1, 1000)] = 20,
        replace: dict[str, str] | None = None,
        remove: str = "",
        normalize: Literal["none", "nfc", "nfd", "nfkc", "nfkd"] = "none",
    ) -> None:
        if vectors is not None and embedding == "one_hot":
            remedy = "set vectors=null, or embedding=trained or frozen"
            raise UserError("E-conflict", "field.embedding=one_hot", "cannot use pretrained vectors", remedy)
        self.replace = [compile_replacement(pattern, by) for pattern, by in (replace or {}).items()]
        self.remove = compile_pattern("remove", remove) if remove else None
        self.tokenizer = tokenizer()
        self.embedding_size, self.embedding, self.vectors = embedding_size, embedding, vectors
        self.characters, self.character_length = characters, character_length
        self.dropout, self.piece_dropout, self.deviation = dropout, piece_dropout, deviation
        self.normalize = normalize
        self.index: dict[str, int] = {}
        self.indexed: tuple[str, ...] = ()  # the pieces that `index` is made from
        self.spelling = Spelling((), character_length)
        self.num_encoded = self.num_dropped = 0  # pieces so far, where unknown ones are dropped

    @property
    def num_pieces(self) -> int:
        """The number of special tokens and pieces of the tokenizer."""
        return len(SPECIALS) + len(self.tokenizer.pieces)

    @property
    def size(self) -> int:  # type: ignore[override]  # follows a tokenizer that another field may fit
        """The size of the vocabulary, special tokens included."""
        return self.num_pieces

    @property
    def drops_unknown(self) -> bool:
        """Whether pieces that the vocabulary does not have are left out."""
        return self.tokenizer.drops_unknown

    def check(self, side: str, root: Path | None) -> None:
        """Refuse characters of a target, and pretrained vectors that are missing or of another size."""
        if side == "target" and self.characters:
            problem = "a target is predicted piece by piece and cannot be read with characters"
            raise UserError("E-conflict", f"target.characters={self.characters}", problem, "set target.characters=0")
        if self.vectors is not None:
            VectorFile(f"{side}.vectors", self.vectors, root, self.embedding_size)

    def check_shared(self, other: Field, share: str) -> None:
        """Refuse a field without a tokenizer, one that does not learn by `texts`, and unequal embeddings."""
        if not isinstance(other, TextField):
            raise no_tokenizer(share)
        if type(self).fit is not TextField.fit:
            problem = f"{type(self).__name__} has a `fit` of its own, which does not share a tokenizer"
            raise UserError("E-conflict", f"share={share}", problem, "override `texts` instead, or set share=nothing")
        if share == "embedding":
            for name in ("embedding", "embedding_size", "characters"):
                one, two = getattr(self, name), getattr(other, name)
                if one != two:
                    problem = f"both sides need the same {name}, but they have {one} and {two}"
                    raise UserError("E-conflict", "share=embedding", problem, "set it for source and target")

    def share_tokenizer(self, other: Field) -> None:
        """Use the tokenizer object of the other field from now on; it may be fitted before or after."""
        if not isinstance(other, TextField):
            raise no_tokenizer("tokenizer")
        self.tokenizer = other.tokenizer

    def clean(self, value: Any) -> str:
        """The text that the tokenizer sees."""
        text = join_words(value)
        for pattern, by in self.replace:
            text = pattern.sub(by, text)
        if self.remove:
            text = self.remove.sub("", text)
        return text if self.normalize == "none" else unicodedata.normalize(NORMAL_FORMS[self.normalize], text)

    def texts(self, values: Iterable[Any]) -> Iterator[str]:
        """The texts that the tokenizer learns from."""
        return map(self.clean, values)

    def fit(self, values: Iterable[Any]) -> None:
        """Fit the tokenizer."""
        self.fit_tokenizer(self.texts(values))

    def fit_shared(self, values: Iterable[Any], other: Field, other_values: Iterable[Any]) -> None:
        """Fit the tokenizer on the values of both sides."""
        if not isinstance(other, TextField):
            raise no_tokenizer("tokenizer")
        self.fit_tokenizer(itertools.chain(self.texts(values), other.texts(other_values)))

    def fit_tokenizer(self, texts: Iterator[str]) -> None:
        """Fit the tokenizer, then read the texts that it leaves unread: `texts` may learn from them."""
        self.tokenizer.fit(texts)
        collections.deque(texts, maxlen=0)

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The ids of the pieces `[S]`, without begin and end; with characters `[S, 1 + character_length]`.

        Pieces that the vocabulary does not have are `<unk>`, or left out where the tokenizer drops them.
        """
        return self.encode_batch([value])[0]

    def encode_batch(self, values: Sequence[Any]) -> list[npt.NDArray[np.int32]]:
        """The ids of every text, in order."""
        return self.encode_texts([self.clean(value) for value in values])

    def encode_texts(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """The ids of cleaned texts, looked up together; with characters, those of a piece follow its id."""
        rows = None if self.characters else self.tokenizer.encode_ids(texts)
        if rows is not None:
            return split_rows(np.fromiter(itertools.chain.from_iterable(rows), np.int32), rows)
        self.update_index()
        pieces = self.tokenizer.encode_batch(texts)
        flat = list(itertools.chain.from_iterable(pieces))
        ids = np.fromiter(map(self.index.get, flat, itertools.repeat(UNKNOWN)), np.int32, len(flat))
        result = split_rows(np.column_stack([ids, self.spelling.rows(flat, ids)]) if self.characters else ids, pieces)
        return self.without_unknown(result) if self.drops_unknown else result

    def without_unknown(self, rows: Sequence[npt.NDArray[np.int32]]) -> list[npt.NDArray[np.int32]]:
        """The rows without unknown pieces, which are counted."""
        kept = [ids[(ids[:, 0] if self.characters else ids) != UNKNOWN] for ids in rows]
        total = sum(map(len, rows))
        self.num_encoded += total
        self.num_dropped += total - sum(map(len, kept))
        return kept

    def update_index(self) -> None:
        """Index the tokenizer's pieces, unless that was done since it was fitted, restored or shared."""
        if self.indexed is not self.tokenizer.pieces:
            self.indexed = self.tokenizer.pieces
            self.index = {piece: number for number, piece in enumerate(self.indexed, len(SPECIALS))}
            self.spelling = Spelling(self.indexed if self.characters else (), self.character_length)

    def decode(self, ids: Sequence[int]) -> str:
        """The text before the end token; an unknown piece is written `<unk>`."""
        known = itertools.takewhile(lambda number: number != END, self.piece_ids(ids))
        pieces = [self.piece(number) for number in known if number == UNKNOWN or number >= len(SPECIALS)]
        return self.compose(self.tokenizer.decode(pieces))

    def text(self, value: Any) -> str:
        """A text of the data, composed as `decode` composes it."""
        return self.compose(join_words(value) if isinstance(value, list | tuple) else str(value))

    def compose(self, text: str) -> str:
        """The text in the composed form NFC, where `normalize` splits letters."""
        return unicodedata.normalize("NFC", text) if self.normalize in ("nfd", "nfkd") else text

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The piece of every id, special tokens by their names."""
        return tuple(self.piece(number) for number in self.piece_ids(ids))

    def piece_ids(self, ids: Sequence[Any]) -> Iterator[int]:
        """The ids of pieces, without those of their characters."""
        if not self.characters:
            return map(int, ids)
        return (int(number[0]) if np.ndim(number) else int(number) for number in ids)

    def piece(self, number: int) -> str:
        """The piece of an id."""
        return SPECIALS[number] if number < len(SPECIALS) else self.tokenizer.pieces[number - len(SPECIALS)]

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The pieces of a text that the vocabulary does not hold, each once, in order."""
        self.update_index()
        pieces = self.tokenizer.encode(self.clean(value))
        return tuple(dict.fromkeys(piece for piece in pieces if piece not in self.index))

    def embed(self) -> TextEmbedding | OneHotEmbedding | SpelledEmbedding:
        """A new layer from ids, with or without characters, to vectors."""
        words: TextEmbedding | OneHotEmbedding
        if self.embedding == "one_hot":
            words = OneHotEmbedding(self.size, self.dropout)
        else:
            is_frozen = self.embedding == "frozen"
            words = TextEmbedding(
                self.size, self.embedding_size, self.dropout, is_frozen, self.piece_dropout, self.deviation
            )
        if not self.characters:
            return words
        self.update_index()
        return SpelledEmbedding(words, self.spelling.size, self.characters, self.dropout)

    def init_embedding(self, embedding: nn.Module, root: Path | None) -> str | None:
        """Copy pretrained vectors into a new layer, and scale the others to the same mean square."""
        words = embedding.words if isinstance(embedding, SpelledEmbedding) else embedding
        if self.vectors is None or not isinstance(words, TextEmbedding):
            return None
        file = VectorFile("source.vectors", self.vectors, root, self.embedding_size)
        pieces = self.tokenizer.pieces
        pretrained = file.read(pieces)
        count = int(pretrained.is_found.sum())
        if not count:
            problem = f"has none of the {len(pieces):,} pieces of the vocabulary"
            remedy = "name vectors of this language's words, with source/tokenizer=word (or target/tokenizer=word)"
            raise UserError("E-vocabulary", str(file.path), problem, remedy)
        ids = torch.from_numpy(np.flatnonzero(pretrained.is_found)) + len(SPECIALS)  # [count]
        vectors = torch.from_numpy(pretrained.vectors[pretrained.is_found]).to(words.weight)  # [count, E]
        with torch.no_grad():
            words.weight.mul_(vectors.square().mean().sqrt() * self.embedding_size**0.5)
            words.weight[ids] = vectors
        return f"vectors: {count:,} of {len(pieces):,} pieces found in {file.path}{pretrained.note}"

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer."""
        return self.tokenizer.files()

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Restore the tokenizer."""
        self.tokenizer.restore(files)


class Spelling:
    """The characters of pieces as numbers: 0 is padding, 1 a character that no piece of the vocabulary has."""

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
        for position in np.flatnonzero(ids == UNKNOWN).tolist():
            self.spell(pieces[position], rows[position])
        return rows


def split_rows(flat: npt.NDArray[np.int32], rows: Iterable[Sequence[Any]]) -> list[npt.NDArray[np.int32]]:
    """The parts of a flat array that are as long as these rows."""
    bounds = itertools.accumulate(map(len, rows), initial=0)
    return [flat[start:end] for start, end in itertools.pairwise(bounds)]


def join_words(value: Any) -> str:
    """A value as a text; a list of words is joined by spaces, with as many words as the list."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple) and all(isinstance(word, str) for word in value):
        return " ".join(map(one_word, value))
    problem = f"must be a text or a list of words, not {type(value).__name__}"
    raise UserError("E-type", repr(value)[:60], problem, "name a column of text, or of lists of words, in the reader")


def compile_pattern(option: str, pattern: str) -> re.Pattern[str]:
    """The compiled regular expression of an option."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError("E-syntax", f"field.{option}={pattern!r}", f"is not a regular expression ({error})") from error


def compile_replacement(pattern: str, by: str) -> tuple[re.Pattern[str], str]:
    """A compiled regular expression and what replaces its matches, which may refer to its groups."""
    compiled = compile_pattern("replace", pattern)
    try:
        compiled.sub(by, "")
    except (re.error, IndexError) as error:
        problem = f"the replacement is malformed ({error})"
        remedy = "write \\1 for the first group and \\\\ for a backslash"
        raise UserError("E-syntax", f"field.replace={{{pattern!r}: {by!r}}}", problem, remedy) from error
    return compiled, by
