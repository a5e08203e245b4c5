"""Tags: values of every sort, unseen ones, the rules of spans."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seq2att.field import TagsField
from tests.refusals import refused


def tags_field(values: list[Any], **options: Any) -> TagsField:
    field = TagsField(**options)
    field.fit(values)
    return field


def test_tags_are_sorted_and_come_back() -> None:
    field = tags_field(["VERB NOUN", "DET  NOUN\tVERB"])
    assert field.names == ("DET", "NOUN", "VERB")
    assert field.size == 3
    ids = field.encode("NOUN DET VERB")
    assert ids.tolist() == [1, 0, 2]
    assert ids.dtype == np.int32
    assert field.decode(ids) == "NOUN DET VERB"
    assert field.pieces(ids) == ("NOUN", "DET", "VERB")
    assert field.encode("").shape == (0,)
    assert field.decode([]) == ""
    assert (field.is_sequence, field.has_values, field.is_aligned, field.unknown_id) == (True, True, True, -1)


def test_lists_and_numbers_are_tags_too() -> None:
    field = tags_field([["b", "a"], ("c",), np.array([3, 1])])
    assert field.names == ("1", "3", "a", "b", "c")
    assert field.encode([3, "a"]).tolist() == field.encode("3 a").tolist() == [1, 2]
    assert field.text([3, "a"]) == field.text(" 3  a\n") == "3 a"


def test_unseen_tags_count_or_are_refused() -> None:
    field = tags_field(["a b"])
    assert field.encode("a new b").tolist() == [0, -1, 1]
    assert field.decode([0, -1]) == "a <unk>"
    strict = tags_field(["a bc"], unseen="refuse")
    with refused("E-label", "'bd'"):
        strict.encode("a bd")


@pytest.mark.parametrize("values", [["O B-x"], ["O I-x"], [["é", "명사"]]])
def test_files_restore_the_field(values: list[Any]) -> None:
    field, other = tags_field(values), TagsField()
    other.restore(field.files())
    assert (other.names, other.regular, other.size) == (field.names, field.regular, field.size)
    np.testing.assert_array_equal(other.encode(values[0]), field.encode(values[0]))


def test_as_a_source_they_are_embedded() -> None:
    field = tags_field(["a b"], embedding_size=7)
    layer = field.embed()
    vectors = layer(torch.tensor([[0, 1], [-1, 0]]))
    assert vectors.shape == (2, 2, 7)
    assert not vectors[1, 0].any()
    torch.testing.assert_close(vectors[0, 0], vectors[1, 1])


def test_wrong_values_and_settings() -> None:
    field = tags_field(["a"])
    with refused("E-label", "5"):
        field.encode(5)
    with refused("E-label", "'a b'"):
        field.encode(["a b"])
    with refused("E-label", "nan"):
        field.encode([float("nan")])
    with refused("E-label", "''"):
        field.encode([""])
    with refused("E-empty", "field"):
        tags_field(["", []])


def rules(field: TagsField) -> dict[tuple[str, str], bool]:
    """Which tag may come after which; `-` is the edge."""
    follow = field.valid_transitions()
    assert follow is not None
    names = (*field.names, "-")
    return {(one, two): bool(follow[i, j]) for i, one in enumerate(names) for j, two in enumerate(names)}


def test_rules_of_bio() -> None:
    found = rules(tags_field(["B-x I-x O B-y I-y"]))
    forbidden = {pair for pair, allowed in found.items() if not allowed}
    assert forbidden == {(one, "I-x") for one in ("-", "O", "B-y", "I-y")} | {
        (one, "I-y") for one in ("-", "O", "B-x", "I-x")
    }


def test_rules_of_bioes() -> None:
    found = rules(tags_field(["B-x I-x E-x O S-x", "B-x E-x"]))
    allowed = {pair for pair, may in found.items() if may}
    begins, closed = {"B-x", "S-x", "O"}, {"O", "E-x", "S-x", "-"}
    inside = {(one, two) for one in ("B-x", "I-x") for two in ("I-x", "E-x")}
    assert allowed == inside | {(one, two) for one in closed for two in begins | {"-"}}


def test_types_with_hyphens_and_no_types() -> None:
    assert not rules(tags_field(["B-a-x I-a-x B-b-x I-b-x"]))["B-a-x", "I-b-x"]
    assert not rules(tags_field(["B I O"]))["O", "I"]


@pytest.mark.parametrize("values", [["NOUN VERB"], ["O"], ["B-x O X"], ["S E"], ["I-x b-x"], ["B_x I_x"]])
def test_other_tags_have_no_rules(values: list[str]) -> None:
    assert tags_field(values).valid_transitions() is None


def test_data_that_break_the_rules_have_none_to_keep() -> None:
    """IOB1: I-x begins a span. Spans there are, so they are measured; but anything may follow anything."""
    follow = tags_field(["I-x I-x O I-y B-y"]).valid_transitions()
    assert follow is not None
    assert follow.all()
    mostly = ["B-x I-x O"] * 200 + ["I-x O"]  # a mistake of the data
    assert not rules(tags_field(mostly))["O", "I-x"]
