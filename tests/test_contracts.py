"""A component that returns the wrong thing is told what its base class promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2att import contracts
from seq2att.types import Attended, Decoded, Encoding, Loss, Memory, Prediction
from tests.refusals import refused

B, S, M, T = 3, 5, 4, 2
OUTPUTS, MASK = torch.zeros(B, S, M), torch.ones(B, S, dtype=torch.bool)
INPUTS = torch.zeros(B, T, 7)


class Mine(torch.nn.Module):
    """Stands for a component of a plugin."""


def encoding(value: Any) -> Any:
    return contracts.check_encoding(Mine(), value, torch.zeros(B, S, 6), M)


def start(value: Any) -> Any:
    return contracts.check_start(Mine(), value, B)


def decoded(value: Any) -> Any:
    return contracts.check_decoded(Mine(), value, INPUTS)


def attended(value: Any) -> Any:
    return contracts.check_attended(Mine(), value, INPUTS)


def loss(value: Any) -> Any:
    return contracts.check_loss(Mine(), value)


def scores(value: Any) -> Any:
    return contracts.check_scores(Mine(), value, B)


def predictions(value: Any) -> Any:
    return contracts.check_predictions(Mine(), value, B)


MEMORY = Memory((), OUTPUTS, MASK)
RIGHT: list[tuple[Callable[[Any], Any], Any]] = [
    (encoding, Encoding(OUTPUTS, MASK, ())),
    (encoding, Encoding(OUTPUTS, MASK, (torch.zeros(B, 1, M),))),
    (start, (MEMORY, ())),
    (start, (MEMORY, {"state": [torch.zeros(B, 2)]})),
    (decoded, Decoded(torch.zeros(B, T, 9), None, ())),
    (attended, Attended(torch.zeros(B, T, 0), None, ())),
    (loss, Loss(torch.tensor(1.0), torch.tensor(3))),
    (scores, torch.zeros(B)),
    (predictions, [Prediction("a", 0.0)] * B),
]
WRONG: list[tuple[Callable[[Any], Any], Any, str]] = [
    (encoding, OUTPUTS, "must return an Encoding, got Tensor"),
    (encoding, (OUTPUTS, MASK), "must return an Encoding, got tuple"),
    (encoding, Encoding(OUTPUTS.transpose(0, 1), MASK, ()), "outputs [B, S, M] with B=3"),
    (encoding, Encoding(torch.zeros(B, S, M + 1), MASK, ()), "M=output_size=4, got a tensor of shape [3, 5, 5]"),
    (encoding, Encoding(OUTPUTS, MASK.float(), ()), "a bool mask of shape [3, 5], got a tensor"),
    (encoding, Encoding(OUTPUTS, MASK[:, 1:], ()), "a bool mask of shape [3, 5]"),
    (encoding, Encoding(OUTPUTS, MASK, OUTPUTS), "final as a tuple"),  # type: ignore[arg-type]
    (encoding, Encoding(OUTPUTS, MASK, (torch.zeros(1, B, M),)), "final states [B, L, M] with B=3"),
    (start, MEMORY, "start must return (Memory, state)"),
    (start, (MEMORY, torch.zeros(1, B, 2)), "dimension 0 is the batch (3)"),
    (start, (MEMORY, "nothing"), "a tree of tensors"),
    (decoded, (INPUTS, None), "must return a Decoded"),
    (decoded, Decoded(torch.zeros(T, B, 9), None, ()), "B, T = [3, 2]"),
    (attended, INPUTS, "must return an Attended"),
    (attended, Attended(torch.zeros(B, 9), None, ()), "a context [B, T, C]"),
    (loss, torch.tensor(1.0), "must return a Loss"),
    (loss, Loss(torch.zeros(B), torch.tensor(3)), "a scalar tensor as total"),
    (loss, Loss(torch.tensor(1.0), 3), "a scalar tensor as count, got int"),  # type: ignore[arg-type]
    (scores, torch.zeros(B, 1), "a tensor of shape [3], got a tensor of shape [3, 1]"),
    (predictions, Prediction("a", 0.0), "a list of Prediction"),
    (predictions, ["a"] * B, "a list of Prediction"),
    (predictions, [Prediction("a", 0.0)], "3 predictions, got 1"),
]


@pytest.mark.parametrize(("check", "value"), RIGHT)
def test_what_keeps_the_contract_is_returned(check: Callable[[Any], Any], value: Any) -> None:
    found = check(value)
    assert found is value or found == value


@pytest.mark.parametrize(("check", "value", "problem"), WRONG)
def test_what_breaks_the_contract_is_told(check: Callable[[Any], Any], value: Any, problem: str) -> None:
    with refused("E-contract", "=Mine") as caught:
        check(value)
    assert problem in str(caught.value)


def test_a_component_is_named_by_its_setting() -> None:
    from seq2att.attention import NoAttention

    assert contracts.setting_name("attention", NoAttention) == "attention=none"
    assert contracts.setting_name("encoder", Mine()) == "encoder=Mine"
    assert contracts.describe(Tensor()) == "a tensor of shape [0] and type float32"
