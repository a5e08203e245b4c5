"""Text, as the pieces of a tokenizer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.registry import Factory, register
from seq2att.tokenizer import Tokenizer
from seq2att.types import END, PAD, SPECIALS, UNKNOWN

NORMAL_FORMS: dict[str, Literal["NFC", "NFD", "NFKC", "NFKD"]] = {
    "nfc": "NFC",
    "nfd": "NFD",
    "nfkc": "NFKC",
    "nfkd": "NFKD",
}


@register("field", "text")
class TextField(Field):
    """A text, as the pieces of a tokenizer.

    `remove` is a regular expression whose matches are deleted before anything else; `normalize` is a Unicode
    normal form (`nfd` cuts Hangul syllables into letters and accents off theirs); `dropout` is that of the embedding.
    """

    def __init__(
        self,
        tokenizer: Factory[Tokenizer],
        *,
        embedding_size: int = 256,
        dropout: float = 0.0,
        remove: str = "",
        normalize: Literal["none", "nfc", "nfd", "nfkc", "nfkd"] = "none",
    ) -> None:
        if embedding_size < 1:
            raise UserError(f"field: embedding_size={embedding_size} is no size; set 1 or more")
        if not 0 <= dropout < 1:
            raise UserError(f"field: dropout={dropout} is no probability below 1; set 0 or more and less than 1")
        try:
            self.remove = re.compile(remove) if remove else None
        except re.error as error:
            raise UserError(f"field: remove={remove!r} is no regular expression ({error}); mend it") from error
        self.tokenizer = tokenizer()
        self.embedding_size = embedding_size
        self.dropout = dropout
        self.normalize = normalize
        self.index: dict[str, int] = {}
        self.indexed: tuple[str, ...] = ()

    @property
    def size(self) -> int:  # type: ignore[override]  # follows a tokenizer that another field may fit
        """The size of the vocabulary, special tokens included."""
        return len(SPECIALS) + len(self.tokenizer.pieces)

    def share_tokenizer(self, other: TextField) -> None:
        """Use the tokenizer object of the other field from now on; it may be fitted before or after."""
        self.tokenizer = other.tokenizer

    def clean(self, value: Any) -> str:
        """The text that the tokenizer sees."""
        if not isinstance(value, str):
            raise UserError(
                f"field=text takes text, not {type(value).__name__} ({value!r}); name a column of text in the reader"
            )
        text = self.remove.sub("", value) if self.remove else value
        return text if self.normalize == "none" else unicodedata.normalize(NORMAL_FORMS[self.normalize], text)

    def fit(self, values: Iterable[Any]) -> None:
        """Fit the tokenizer."""
        self.tokenizer.fit(map(self.clean, values))

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The ids of the pieces `[S]`, without begin and end."""
        return self.numbers(self.tokenizer.encode(self.clean(value)))

    def encode_batch(self, values: Sequence[Any]) -> list[npt.NDArray[np.int32]]:
        """The ids of every text, in order."""
        texts = [self.clean(value) for value in values]
        ids = self.tokenizer.encode_ids(texts)
        if ids is not None:
            return [np.array(row, np.int32) for row in ids]
        return [self.numbers(pieces) for pieces in self.tokenizer.encode_batch(texts)]

    def numbers(self, pieces: Sequence[str]) -> npt.NDArray[np.int32]:
        """The ids of pieces `[S]`."""
        if self.indexed is not self.tokenizer.pieces:  # fitted, restored or shared since
            self.indexed = self.tokenizer.pieces
            self.index = {piece: number for number, piece in enumerate(self.indexed, len(SPECIALS))}
        return np.array([self.index.get(piece, UNKNOWN) for piece in pieces], np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The text before the end token; an unknown piece is written `<unk>`."""
        pieces = []
        for number in map(int, ids):
            if number == END:
                break
            if number == UNKNOWN or number >= len(SPECIALS):
                pieces.append(self.piece(number))
        return self.tokenizer.decode(pieces)

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The piece of every id, special tokens by their names."""
        return tuple(self.piece(number) for number in map(int, ids))

    def piece(self, number: int) -> str:
        """The piece of one id."""
        return SPECIALS[number] if number < len(SPECIALS) else self.tokenizer.pieces[number - len(SPECIALS)]

    def unknown_rate(self, texts: Iterable[str]) -> float:
        """The share of the texts' pieces that the vocabulary does not know, 0 to 1; 0 of no text."""
        unknown = total = 0
        for text in texts:
            ids = self.encode(text)
            unknown += int((ids == UNKNOWN).sum())
            total += len(ids)
        return unknown / total if total else 0.0

    def embed(self) -> TextEmbedding:
        """A new table of embeddings."""
        return TextEmbedding(self.size, self.embedding_size, self.dropout)

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer."""
        return self.tokenizer.files()

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Restore the tokenizer."""
        self.tokenizer.restore(files)


class TextEmbedding(nn.Module):
    """A vector for every token; that of padding is zero and stays zero."""

    def __init__(self, size: int, output_size: int, dropout: float) -> None:
        super().__init__()
        self.output_size = output_size
        self.weight = nn.Parameter(torch.empty(size, output_size))  # [V, E]
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.weight, std=output_size**-0.5)  # vectors of length 1, whatever their size
        with torch.no_grad():
            self.weight[PAD].zero_()

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of ids `[B, S]`: `[B, S, E]`."""
        vectors: Tensor = self.dropout(nn.functional.embedding(ids, self.weight, padding_idx=PAD))  # [B, S, E]
        return vectors
