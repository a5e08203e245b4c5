"""Text with features: a lemma and the features of its inflected form, a sentence and its domain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.field.text import TextField, compile_pattern
from seq2att.files.untrusted import as_names, parse_json
from seq2att.registry import Factory, Rate, Size, register
from seq2att.tokenizer import Tokenizer
from seq2att.types import UNKNOWN

COLUMN = "\t"


@register("field", "features")
class FeaturesField(TextField):
    """A text in several columns: the first is cut by the tokenizer, the others hold features, one token each.

    Tabs separate the columns, as in `walk<tab>V;PST`. Features have ids of their own, above those of the pieces, so a
    feature differs from an equal piece of the text.

    Args:
        embedding_size: size of the vector of a piece or feature.
        dropout: probability of zeroing a component of a vector in training.
        separator: regular expression of what separates the features of a column.
        normalize: Unicode normal form of the whole value; `none` leaves it as it is.
    """

    def __init__(
        self,
        tokenizer: Factory[Tokenizer],
        *,
        embedding_size: Size = 256,
        dropout: Rate = 0.0,
        separator: str = r"[;\s]+",
        normalize: Literal["none", "nfc", "nfd", "nfkc", "nfkd"] = "none",
    ) -> None:
        super().__init__(tokenizer, embedding_size=embedding_size, dropout=dropout, normalize=normalize)
        self.separator = compile_pattern("separator", separator)
        self.set_features(())

    def set_features(self, features: Iterable[str]) -> None:
        """Have these features, in the order of their ids."""
        self.features = tuple(features)
        self.feature_index = {feature: number for number, feature in enumerate(self.features)}

    @property
    def size(self) -> int:  # type: ignore[override]
        """The size of the vocabulary: special tokens, pieces, features."""
        return self.num_pieces + len(self.features)

    def check_shared(self, other: Field, share: str) -> None:
        """Refuse a shared embedding, because only one side would have the features of its ids."""
        super().check_shared(other, share)
        if share == "embedding":
            problem = "field=features has ids of its own, which the other side does not have"
            raise UserError("E-conflict", "share=embedding", problem, "set share=tokenizer or share=nothing")

    def columns(self, value: Any) -> tuple[str, list[str]]:
        """The text and the features of a value."""
        text, *rest = self.clean(value).split(COLUMN)
        return text, [feature for column in rest for feature in self.separator.split(column) if feature]

    def texts(self, values: Iterable[Any]) -> Iterator[str]:
        """The texts of values; once all are read, the features are known too."""
        seen: set[str] = set()
        for value in values:
            text, features = self.columns(value)
            seen.update(features)
            yield text
        self.set_features(sorted(seen))

    def encode_batch(self, values: Sequence[Any]) -> list[npt.NDArray[np.int32]]:
        """The ids of each text's pieces, then those of its features, in order: `[S]` each."""
        columns = [self.columns(value) for value in values]
        first = self.num_pieces
        ids = self.encode_texts([text for text, _ in columns])
        for row, (_, features) in enumerate(columns):
            numbers = [first + self.feature_index[one] if one in self.feature_index else UNKNOWN for one in features]
            ids[row] = np.concatenate([ids[row], np.array(numbers, np.int32)])
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """The text and, behind a tab, the features with `;` between them."""
        first = self.num_pieces
        text = super().decode([number for number in ids if number < first])
        features = [self.features[number - first] for number in ids if number >= first]
        return f"{text}{COLUMN}{';'.join(features)}" if features else text

    def piece(self, number: int) -> str:
        """The piece or the feature of an id."""
        first = self.num_pieces
        return super().piece(number) if number < first else self.features[number - first]

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The pieces and features of a value that the vocabulary does not hold, each once, in order."""
        text, features = self.columns(value)
        return super().unknown_pieces(text) + tuple(dict.fromkeys(f for f in features if f not in self.feature_index))

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer, and the features as JSON."""
        return {**super().files(), "features.json": json.dumps(self.features, indent=0).encode("ascii")}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Restore the tokenizer and the features."""
        if "features.json" not in files:
            raise UserError("E-bundle", "features.json", "is missing from the saved field", "copy the whole folder")
        super().restore(files)
        self.set_features(as_names(parse_json(files["features.json"], "features.json"), "features.json"))
