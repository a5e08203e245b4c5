"""The field of texts with features: what is one token, what is cut, and how it comes back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2att import registry
from seq2att.data import prepare
from seq2att.field import FeaturesField, Field, TextField
from seq2att.model import make_fields
from seq2att.reader import Reader, Row
from seq2att.tokenizer import CharTokenizer
from seq2att.types import SPECIALS, UNKNOWN
from tests.refusals import refused

registry.load()
ROWS = ["walk\tV;PST", "go\tV;PRS;3;SG", "sing\tV;PST"]


def field(**options: Any) -> FeaturesField:
    slots = {"source": {"name": "features", "tokenizer": {"name": "char"}, **options}}
    made: FeaturesField = registry.build("field", slots, slot="source")
    return made


def test_features_are_one_token_each_and_told_from_equal_letters() -> None:
    made = field()
    made.fit([*ROWS, "V3\tV;3"])
    ids = made.encode("V3\tV;3").tolist()
    assert len(ids) == len(set(ids)) == 4
    assert made.pieces(ids) == ("V", "3", "V", "3")
    assert made.size == len(SPECIALS) + len(set("walkgosinV3")) + len({"V", "PST", "PRS", "3", "SG"})
    assert max(ids) < made.size


def test_a_value_comes_back_and_so_does_the_field() -> None:
    made, again = field(), field()
    made.fit(ROWS)
    again.restore(made.files())
    for row in ROWS:
        assert made.decode(made.encode(row)) == row
        assert again.encode(row).tolist() == made.encode(row).tolist()
    assert [ids.tolist() for ids in made.encode_batch(ROWS)] == [made.encode(row).tolist() for row in ROWS]


def test_a_new_feature_is_unknown_and_a_text_may_have_none() -> None:
    made = field()
    made.fit(ROWS)
    assert made.encode("go\tV;FUT").tolist()[-1] == UNKNOWN
    assert made.decode(made.encode("go")) == "go"
    assert made.encode("\tV").tolist() == made.encode("go\tV").tolist()[2:]


def test_columns_and_separators() -> None:
    made = field(separator=", *")
    made.fit(["a\tx y, z\tw"])
    assert made.features == ("w", "x y", "z")
    with refused("E-syntax", "field.separator"):
        field(separator="(")
    with refused("E-bundle", "features.json"):
        field().restore({})


# --- every field with every share ------------------------------------------------------------------------------

PICTURE = np.zeros((4, 4, 3), np.uint8)
SOURCES = ("frames", "image")  # what nothing writes
VALUES: dict[str, tuple[Any, Any]] = {
    "features": ("walk\tV;PST", "go\tV;PRS"),
    "frames": (np.stack([PICTURE, PICTURE]), PICTURE[None]),
    "image": (PICTURE, PICTURE),
    "label": ("ham", "spam"),
    "none": ("", ""),
    "number": (1.5, 2.0),
    "numbers": ([1.0, 2.0], [3.0]),
    "tags": ("O B", "B"),
    "text": ("a b", "c"),
    "vector": ([1.0, 2.0], [3.0, 4.0]),
    "vectors": ([[1.0, 2.0]], [[3.0, 4.0]]),
}


class Pairs(Reader):
    """Rows in memory."""

    def __init__(self, rows: list[tuple[Any, Any]]) -> None:
        self.rows = rows

    def splits(self) -> tuple[str, ...]:
        return ("train", "validation")

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        yield from (Row(values, "memory", line) for line, values in enumerate(self.rows, 1))

    def fingerprint(self, split: str, root: Path | None) -> str:
        return repr(self.rows)


def test_every_field_is_in_the_table() -> None:
    ours = [name for name, entry in registry.entries("field").items() if entry.target.__module__.startswith("seq2att.")]
    assert sorted(VALUES) == sorted(ours)


def rows_of(config: Mapping[str, Any], source: str, target: str) -> list[tuple[Any, Any]]:
    """Two rows; tags as a target are as many as the items of the source."""
    if target != "tags":
        return list(zip(VALUES[source], VALUES[target], strict=True))
    reading = make_fields({**config, "share": "nothing"})[0]
    reading.fit(VALUES[source])
    return [
        (value, " ".join("OB"[number % 2] for number in range(len(reading.encode(value))))) for value in VALUES[source]
    ]


@pytest.mark.parametrize("tokenizer", ["char", "byte"])  # a tokenizer that reads the texts, and one that does not
@pytest.mark.parametrize("share", ["nothing", "tokenizer", "embedding"])
@pytest.mark.parametrize("target", sorted(VALUES.keys() - set(SOURCES)))
@pytest.mark.parametrize("source", sorted(VALUES))
def test_any_fields_with_any_share_are_fitted_or_refused(
    source: str, target: str, share: str, tokenizer: str, tmp_path: Path
) -> None:
    def side(name: str) -> dict[str, Any]:
        return {"name": name, **({"tokenizer": {"name": tokenizer}} if name in ("text", "features") else {})}

    data = {"cache": str(tmp_path), "root": None, "test_fraction": 0.0}
    config = {"source": side(source), "target": side(target), "share": share, "data": data}
    reader = Pairs(rows_of(config, source, target))

    def prepared() -> tuple[Field, Field]:
        fields = make_fields(config)
        train = prepare(config, *fields, reader, lambda line: None)["train"]
        for name, one in zip(("source", "target"), fields, strict=True):
            assert train.unknown_rate(name, one.unknown_id) == 0.0 or not one.has_tokens
        return fields

    have_tokenizers = {source, target} <= {"text", "features"}
    if (share == "embedding" and "features" in (source, target)) or (share != "nothing" and not have_tokenizers):
        with refused("E-conflict", f"share={share}" if have_tokenizers else "share="):
            prepared()
    elif (source, target) == ("none", "tags"):
        with refused("E-empty", "reader.train"):  # there are no items to tag
            prepared()
    else:
        for _ in range(2):  # made, and from the cache
            for one, values in zip(prepared(), zip(*reader.rows, strict=True), strict=True):
                assert not isinstance(one, FeaturesField) or one.features == ("PRS", "PST", "V")
                for value in values if one.has_tokens else ():
                    assert one.decode(one.encode(value).tolist()) == one.text(value)


def test_a_field_that_fits_in_its_own_way_does_not_share(tmp_path: Path) -> None:
    class Own(TextField):
        def fit(self, values: Iterable[Any]) -> None:
            super().fit(values)

    data = {"cache": str(tmp_path), "root": None, "test_fraction": 0.0}
    config = {"share": "tokenizer", "data": data}
    fields = Own(CharTokenizer), TextField(CharTokenizer)
    for source, target in (fields, fields[::-1]):
        with refused("E-conflict", "share=tokenizer"):
            prepare(config, source, target, Pairs([("a", "b")]), lambda line: None)


@pytest.mark.parametrize("name", ["embedding", "embedding_size", "characters"])
def test_a_shared_embedding_is_made_alike_on_both_sides(name: str) -> None:
    value: dict[str, Any] = {"embedding": "one_hot", "embedding_size": 3, "characters": 2}
    one, two = TextField(CharTokenizer), TextField(CharTokenizer, **{name: value[name]})
    one.check_shared(two, "tokenizer")
    with refused("E-conflict", "share=embedding"):
        one.check_shared(two, "embedding")


def test_unknown_features_are_named() -> None:
    made = field()
    made.fit(ROWS)
    assert made.unknown_pieces("zoo\tV;FUT") == ("z", "FUT")
