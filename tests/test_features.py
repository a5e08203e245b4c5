"""The field of texts with features: what is one token, what is cut, and how it comes back."""

from __future__ import annotations

from typing import Any

import pytest

from seq2att import registry
from seq2att.errors import UserError
from seq2att.field import FeaturesField
from seq2att.types import SPECIALS, UNKNOWN

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
    with pytest.raises(UserError, match=r"field: separator='\(' is no regular expression .*; mend it"):
        field(separator="(")
    with pytest.raises(UserError, match=r"features\.json"):
        field().restore({})
