"""Fields of labels, numbers and vectors: ids, units, widths, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from seq2att.field import Field, LabelField, NumberField, NumbersField, VectorField, VectorsField
from tests.refusals import refused


def test_classes_are_sorted_and_counted() -> None:
    field = LabelField()
    field.fit(iter(["spam", " ham ", "ham", "한국"]))
    assert field.classes == ("ham", "spam", "한국")
    assert field.counts == (2, 1, 1)
    assert field.size == 3
    assert field.encode("spam").tolist() == [1]
    assert field.encode("spam").dtype == np.int32
    assert field.decode(field.encode("한국").tolist()) == "한국"
    assert field.pieces([0, -1]) == ("ham", "<unk>")
    assert json.loads(field.files()["classes.json"]) == {"ham": 2, "spam": 1, "한국": 1}


def test_classes_that_are_numbers_are_sorted_by_value() -> None:
    for values, expected in (
        ([10, 9, 10, 1], ("1", "9", "10")),
        (["10", "9", "-1"], ("-1", "9", "10")),
        ([True, False], ("False", "True")),
        ([np.int64(3), np.bool_(True)], ("3", "True")),
        (["10", "9", "x"], ("10", "9", "x")),
        (["nan", "2", "10"], ("10", "2", "nan")),
    ):
        field = LabelField()
        field.fit(values)
        assert field.classes == expected
        assert field.text(values[0]) in expected


def test_labels_that_training_does_not_have() -> None:
    field = LabelField()
    field.fit(["ham", "spam"])
    with refused("E-label", "'spma'"):
        field.encode("spma")
    counting = LabelField(unseen="count")
    counting.restore(field.files())
    assert counting.encode("spma").tolist() == [-1] == [counting.unknown_id]
    assert counting.text("spma") == "spma"


@pytest.mark.parametrize("value", ["", "  ", None, float("nan"), ["a"]])
def test_what_is_no_label(value: Any) -> None:
    with refused("E-label", repr(value)):
        LabelField().text(value)


def test_settings_of_a_label_and_no_label_at_all() -> None:
    with refused("E-empty", "field"):
        LabelField().fit([])


def test_vectors_of_labels() -> None:
    field = LabelField(embedding_size=5)
    field.fit(["a", "b"])
    embedding = field.embed()
    found = embedding(torch.tensor([[1], [-1], [0]]))
    assert found.shape == (3, 1, 5)
    assert torch.equal(found[0, 0], embedding.weight[1])
    assert not found[1].any()


NUMERIC: list[tuple[type[Field], Any, Any, list[list[float]]]] = [  # field, a value, the same as text, as [S, F]
    (NumberField, 1.5, " 1.5 ", [[1.5]]),
    (NumberField, 3, "3e0", [[3.0]]),
    (NumberField, np.float32(0.25), "0.25", [[0.25]]),
    (NumbersField, [1, 2.5, -3], "1 2.5\t-3", [[1.0], [2.5], [-3.0]]),
    (NumbersField, [], "", []),
    (VectorField, [1, 2.5], "1 2.5", [[1.0, 2.5]]),
    (VectorField, np.array([1, 2.5]), "1  2.5", [[1.0, 2.5]]),
    (VectorsField, [[1, 2], [3, 4.5]], "1 2; 3 4.5", [[1.0, 2.0], [3.0, 4.5]]),
    (VectorsField, np.array([[1, 2]]), "1 2", [[1.0, 2.0]]),
    (VectorsField, [], "  ", []),
]


@pytest.mark.parametrize(("kind", "value", "text", "expected"), NUMERIC)
def test_numbers_are_read_from_files_and_from_python(kind: Any, value: Any, text: str, expected: Any) -> None:
    field = kind()
    field.fit([expected if kind is VectorsField else value] if expected else [{NumbersField: [1]}.get(kind, [[1, 2]])])
    for given in (value, text):
        found = field.encode(given)
        assert found.dtype == np.float32
        assert found.shape == (len(expected), field.size)
        assert found.tolist() == expected


def test_what_is_said_is_in_the_unit_of_the_data() -> None:
    number = NumberField(standardize=True)
    data = np.random.default_rng(1).normal(1e6, 50, 9000)
    number.fit(iter(data.tolist()))
    np.testing.assert_allclose(number.mean, data.mean(), rtol=1e-14)
    np.testing.assert_allclose(number.deviation, data.std(), rtol=1e-9)
    encoded = np.concatenate([number.encode(value) for value in data])
    assert abs(encoded.mean()) < 1e-6
    assert encoded.std() == pytest.approx(1, rel=1e-6)
    assert number.decode(encoded[7]) == pytest.approx(data[7], rel=1e-9)
    assert number.text("1000000") == "1000000.0"
    again = NumberField(standardize=True)
    again.restore(number.files())
    assert (again.mean, again.deviation) == (number.mean, number.deviation)


def test_every_component_has_its_own_mean() -> None:
    field = VectorsField(standardize=True)
    data = np.random.default_rng(1).normal([5, -3], [2, 0.1], (40, 2))
    field.fit([data[:7].tolist(), [], data[7:].tolist()])
    np.testing.assert_allclose(field.mean, data.mean(0))
    np.testing.assert_allclose(field.deviation, data.std(0))
    np.testing.assert_allclose(field.decode(field.encode(data).tolist()), data, rtol=1e-6)
    constant = VectorField(standardize=True)
    constant.fit([[0.1, 1]] * 3 + [[0.1, 2]] * 3)
    assert constant.deviation.tolist() == [1, 0.5]
    assert constant.encode([0.1, 1]).tolist() == [[pytest.approx(0, abs=1e-6), -1]]


def test_what_an_encoder_reads() -> None:
    field = VectorsField()
    field.fit([[[1, 2, 3]]])
    plain = field.embed()
    assert plain.output_size == 3
    assert not list(plain.parameters())
    assert not plain.state_dict()
    values = torch.randn(2, 4, 3)
    assert torch.equal(plain(values), values)
    assert plain.double()(values).dtype == torch.float64
    projected = VectorsField(embedding_size=5)
    projected.restore(field.files())
    layer = projected.embed()
    assert layer.output_size == 5
    torch.testing.assert_close(layer(values), layer.projection(values))
    assert layer.double()(values).dtype == torch.float64


def test_how_items_are_called() -> None:
    numbers, vectors = NumbersField(standardize=True), VectorsField()
    numbers.fit([[1, 2, 3]])
    vectors.fit([[[1, 2], [3, 4]]])
    assert numbers.pieces(numbers.encode([1, 2.5]).tolist()) == ("1", "2.5")
    assert vectors.pieces([[1, 2], [3, 4]]) == ("1", "2")


REFUSED = [
    (NumberField(), "cat", "is not a number (as in 3.5)"),
    (NumberField(), None, "is not a number (as in 3.5); one input is 3.5"),
    (NumberField(), True, "is not a number"),
    (NumberField(), "1_000", "is not a number"),
    (NumberField(), "1,5", "is not a number"),
    (NumberField(), "nan", "is not a finite number"),
    (NumberField(), float("inf"), "is not a finite number"),
    (NumberField(), 1e300, "is not a finite number"),
    (NumbersField(), [1, float("nan"), 2], "is not a finite number (item 2, component 1)"),
    (NumbersField(), "1 x", "is not a sequence of numbers"),
    (NumbersField(), 5, "is not a sequence of numbers"),
    (NumbersField(), [[1, 2]], "is not a sequence of numbers"),
    (VectorField(), "", "is not a vector (as in 0.1 0.2 0.3)"),
    (VectorField(), "1,2", "is not a vector (as in 0.1 0.2 0.3); separate the numbers by spaces"),
    (VectorField(), [[1, 2]], "is not a vector"),
    (VectorField(), None, "is not a vector"),
    (VectorsField(), [[1, 2], [3]], "is not a sequence of vectors of one width"),
    (VectorsField(), "1 2; 3", "is not a sequence of vectors of one width"),
    (VectorsField(), [1, 2], "is not a sequence of vectors"),
    (VectorsField(), [[], []], "is not a sequence of vectors"),
    (VectorsField(), "1 2; 3 -inf", "is not a finite number (item 2, component 2)"),
    (VectorsField(), "x" * 100, "is not a sequence of vectors"),
]


@pytest.mark.parametrize(("field", "value", "problem"), REFUSED)
def test_what_is_no_number_is_refused(field: Any, value: Any, problem: str) -> None:
    with refused("E-number") as error:
        field.encode(value)
    assert error.value.problem.startswith(problem)
    assert len(error.value.subject) <= 60
    if "finite" not in problem and len(repr(value)) <= 60:
        assert error.value.subject == repr(value)


def test_widths_must_agree() -> None:
    field = VectorField()
    field.fit(["broken", [1, 2, 3], [4, 5]])  # what is broken is refused where its line is known
    assert field.size == 3
    with refused("E-number", "vector"):
        field.encode("1 2")
    with refused("E-empty", "field"):
        NumberField().fit(["a", "b"])
