"""Text beside features: a lemma and what its form shall say, a sentence and its domain."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError
from seq2att.field.text import TextField, checked_pattern
from seq2att.registry import Factory, register
from seq2att.tokenizer import Tokenizer
from seq2att.types import UNKNOWN

COLUMN = "\t"


@register("field", "features")
class FeaturesField(TextField):
    """A text in several columns: the first is cut by the tokenizer, the others are features, each one token.

    Columns stand between tabs, as in `walk<tab>V;PST`; `separator` is a regular expression that stands between the
    features of a column. A feature is told from an equal piece of the text.
    """

    def __init__(
        self,
        tokenizer: Factory[Tokenizer],
        *,
        embedding_size: int = 256,
        dropout: float = 0.0,
        separator: str = r"[;\s]+",
        normalize: Literal["none", "nfc", "nfd", "nfkc", "nfkd"] = "none",
    ) -> None:
        super().__init__(tokenizer, embedding_size=embedding_size, dropout=dropout, normalize=normalize)
        self.separator = checked_pattern("separator", separator)
        self.features: tuple[str, ...] = ()
        self.feature_index: dict[str, int] = {}

    @property
    def size(self) -> int:  # type: ignore[override]
        """The size of the vocabulary: special tokens, pieces, features."""
        return super().size + len(self.features)

    def columns(self, value: Any) -> tuple[str, list[str]]:
        """The text, and its features."""
        text, *rest = self.clean(value).split(COLUMN)
        return text, [feature for column in rest for feature in self.separator.split(column) if feature]

    def fit(self, values: Iterable[Any]) -> None:
        """Fit the tokenizer on the texts, and note every feature."""
        seen: set[str] = set()

        def texts() -> Iterator[str]:
            for value in values:
                text, features = self.columns(value)
                seen.update(features)
                yield text

        self.tokenizer.fit(texts())
        self.learn(sorted(seen))

    def learn(self, features: Sequence[str]) -> None:
        """Take these features, whose ids follow those of the pieces."""
        self.features = tuple(features)
        first = super().size
        self.feature_index = {feature: number for number, feature in enumerate(self.features, first)}

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The ids of the text's pieces, then those of its features: `[S]`."""
        text, features = self.columns(value)
        ids = [self.feature_index.get(feature, UNKNOWN) for feature in features]
        return np.concatenate([self.numbers(self.tokenizer.encode(text)), np.array(ids, np.int32)])

    def encode_batch(self, values: Sequence[Any]) -> list[npt.NDArray[np.int32]]:
        """The ids of every value, in order."""
        return [self.encode(value) for value in values]

    def decode(self, ids: Sequence[int]) -> str:
        """The text, and behind a tab the features with `;` between them."""
        first = super().size
        text = super().decode([number for number in ids if number < first])
        features = [self.features[number - first] for number in ids if number >= first]
        return f"{text}{COLUMN}{';'.join(features)}" if features else text

    def piece(self, number: int) -> str:
        """The piece or the feature of one id."""
        first = super().size
        return super().piece(number) if number < first else self.features[number - first]

    def files(self) -> dict[str, bytes]:
        """The files of the tokenizer, and the features as JSON."""
        return {**super().files(), "features.json": json.dumps(self.features, indent=0).encode("ascii")}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Restore the tokenizer, and the features."""
        if "features.json" not in files:
            raise UserError("field=features: there is no features.json in the bundle; copy the whole folder again")
        super().restore(files)
        self.learn(json.loads(files["features.json"]))
