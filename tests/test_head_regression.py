"""Regression against PyTorch's own losses."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from seq2att import testing
from seq2att.attention import General
from seq2att.field import LabelField, NumberField, TextField, VectorField
from seq2att.head import Regression
from seq2att.tokenizer import CharTokenizer
from seq2att.types import Column, Encoding, length_mask
from tests.refusals import refused

LENGTHS = torch.tensor([3, 1, 2])
M = 4


def field(standardize: bool = False) -> NumberField:
    found = NumberField(standardize=standardize)
    found.fit([10, 20, 30])
    return found


def encoding(size: int = M) -> Encoding:
    torch.manual_seed(3)
    final = torch.randn(3, 1, size, dtype=torch.float64)
    return Encoding(torch.randn(3, 3, size, dtype=torch.float64), length_mask(LENGTHS, 3), (final,))


def head(target: Any = None, size: int = M, **options: Any) -> Regression:
    torch.manual_seed(1)
    return Regression(size, target or field(), General, **options).double().eval()  # type: ignore[arg-type]


def column(*numbers: float) -> Column:
    values = torch.tensor(numbers, dtype=torch.float64).reshape(-1, 1, 1)
    return Column(values, torch.ones(len(numbers), dtype=torch.long))


@pytest.mark.parametrize(
    ("kind", "function"),
    [("squared", functional.mse_loss), ("absolute", functional.l1_loss), ("huber", functional.huber_loss)],
)
def test_losses_are_those_of_torch(kind: str, function: Any) -> None:
    model = head(loss=kind)
    assert model.output is not None
    found = model.output(encoding().final[0][:, -1]).squeeze(1)
    target = column(0.3, -5, 2)
    loss = model.loss(encoding(), target)
    torch.testing.assert_close(loss.total, function(found, target.values.flatten(), reduction="sum"))
    torch.testing.assert_close(-model.score(encoding(), target).sum(), loss.total)
    assert loss.count == 3


def test_numbers_are_said_in_the_unit_of_the_data() -> None:
    target = field(standardize=True)
    model = head(target, pool=("attend",))
    found = model.predict(encoding())
    inside = model.outputs(encoding()).values
    expected = (inside * float(target.deviation[0]) + 20).tolist()
    assert [prediction.value for prediction in found] == pytest.approx(expected)
    assert [float(prediction.text) for prediction in found] == pytest.approx(expected, rel=1e-6)
    assert found[0].attention is not None
    assert found[0].attention.shape == (1, 3)
    assert found[0].tokens == (f"{expected[0]:.4g}",)


def test_a_row_without_a_number_is_left_out() -> None:
    target = column(1, 2, 3)._replace(lengths=torch.tensor([1, 0, 1]))
    model = head()
    assert model.loss(encoding(), target).count == 2
    assert model.score(encoding(), target)[1] == 0


def test_without_projection_the_state_is_the_number() -> None:
    model = head(size=1, projection=False)
    assert not list(model.parameters())
    assert [prediction.value for prediction in model.predict(encoding(1))] == pytest.approx(
        encoding(1).final[0].flatten().tolist()
    )


def test_half_precision_losses_are_computed_in_full() -> None:
    source = encoding()
    half = Encoding(source.outputs.half(), source.mask, (source.final[0].half(),))
    assert head().half().outputs(half).values.dtype == torch.float32


def test_settings_that_cannot_be() -> None:
    with refused("E-conflict", "head.projection=false"):
        head(pool=("last", "mean"), projection=False)
    targets = {"text": TextField(CharTokenizer), "label": LabelField(), "vector": vector(1)}  # type: ignore[arg-type]
    for name, target in [*targets.items(), ("vector", vector(2))]:
        with refused("E-conflict", f"target={name}"):
            head(target)


def vector(width: int) -> VectorField:
    found = VectorField()
    found.fit([[1] * width])
    return found


@pytest.mark.parametrize("source", ["vectors", "numbers"])
def test_sequences_of_numbers_have_a_number_too(source: str) -> None:
    changes = {"source": {"name": source}, "target": {"name": "number"}, "head": {"name": "regression"}}
    case = testing.make_case(changes)
    for law in testing.MODEL_LAWS:
        if law.__name__ in ("padding", "gradient", "loss", "empty", "bundle"):
            law(case)
