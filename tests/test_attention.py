"""Attentions are their equations, position by position, in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from seq2att.attention import Additive, Attention, Dot, General, NoAttention, masked_softmax
from seq2att.types import Attended, Memory
from tests.refusals import refused

QUERY = torch.randn(2, 3, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
OUTPUTS = torch.randn(2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
MASK = torch.tensor([[True, True, True, True], [True, True, False, False]])


def attend(attention: Attention) -> Attended:
    found: Attended = attention(QUERY, Memory(attention.keys(OUTPUTS), OUTPUTS, MASK))
    return found


def check_against(attention: Attention, score: object) -> None:
    """Weights and context from a scalar score of one query and one position."""
    found = attend(attention)
    for row in range(2):
        real = int(MASK[row].sum())
        memory = OUTPUTS[row, :real].numpy()
        for step in range(3):
            scores = np.array([score(QUERY[row, step].numpy(), position) for position in memory])  # type: ignore[operator]
            weights = np.exp(scores) / np.exp(scores).sum()
            ours = found.weights[row, step].detach().numpy()  # type: ignore[index]
            np.testing.assert_allclose(ours[:real], weights, rtol=1e-10)
            np.testing.assert_array_equal(ours[real:], 0)
            np.testing.assert_allclose(found.context[row, step].detach().numpy(), weights @ memory, rtol=1e-9)


def test_dot_is_its_equation() -> None:
    check_against(Dot(6, 6), lambda query, position: query @ position)
    check_against(Dot(6, 6, scaled=True), lambda query, position: query @ position / np.sqrt(6))


def test_general_is_its_equation() -> None:
    attention = General(6, 6).double()
    matrix = attention.key.weight.detach().numpy()
    check_against(attention, lambda query, position: query @ matrix @ position)


def additive_score(attention: Additive) -> object:
    w, u, b, v = (
        tensor.detach().numpy()
        for tensor in (attention.query.weight, attention.key.weight, attention.key.bias, attention.energy.weight)
    )
    return lambda query, position: float(v[0] @ np.tanh(w @ query + u @ position + b))


def test_additive_is_its_equation() -> None:
    attention = Additive(6, 6, size=5).double()
    check_against(attention, additive_score(attention))


def test_additive_in_chunks_is_the_same_with_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    attention = Additive(6, 6, size=5).double()

    def gradients() -> list[Tensor]:
        attention.zero_grad()
        attend(attention).context.square().sum().backward()
        return [parameter.grad.clone() for parameter in attention.parameters() if parameter.grad is not None]

    whole = gradients()
    monkeypatch.setattr(Additive, "CHUNK", 1)
    check_against(attention, additive_score(attention))
    assert len(whole) == 4
    torch.testing.assert_close(gradients(), whole, rtol=1e-10, atol=1e-12)


def test_no_attention_is_a_context_of_width_0() -> None:
    found = attend(NoAttention(6, 6))
    assert found.context.shape == (2, 3, 0)
    assert found.weights is None


def test_a_softmax_over_nothing_is_zero_with_a_zero_gradient() -> None:
    scores = torch.randn(2, 3, 4, requires_grad=True)
    weights = masked_softmax(scores, torch.zeros(2, 4, dtype=torch.bool))
    weights.sum().backward()
    assert weights.abs().max() == 0
    assert scores.grad is not None
    assert scores.grad.abs().max() == 0


def test_very_low_scores_still_sum_to_1() -> None:
    weights = masked_softmax(torch.full((1, 1, 3), -1e30), torch.tensor([[True, True, False]]))
    torch.testing.assert_close(weights, torch.tensor([[[0.5, 0.5, 0.0]]]))


def test_dot_needs_equal_sizes() -> None:
    with refused("E-conflict", "attention=dot"):
        Dot(6, 8)


def test_a_plugin_without_score_is_told_what_to_write() -> None:
    with pytest.raises(NotImplementedError, match=r"Attention must define score\(query, keys\)"):
        attend(Attention(6, 6))
