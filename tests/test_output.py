"""Output layers: the loss in one is torch's, gradients included."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from seq2att.errors import UserError
from seq2att.output import CrossEntropy, Linear


def numbers() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((6, 4), (9, 4), (9,))
    tensors = [torch.randn(shape, dtype=torch.float64, generator=generator, requires_grad=True) for shape in shapes]
    return (*tensors, torch.tensor([3, 8, 4, 4, 0, 1]))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs(smoothing: float) -> None:
    outputs, weight, bias, targets = numbers()
    ours = CrossEntropy.apply(outputs, weight, bias, targets, smoothing)
    logits = functional.linear(outputs, weight, bias)
    theirs = functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    inputs = (outputs, weight, bias)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, inputs), torch.autograd.grad(3 * theirs, inputs), rtol=1e-10, atol=1e-12
    )


def test_going_back_twice_is_refused_rather_than_wrong() -> None:
    *inputs, targets = numbers()
    loss = CrossEntropy.apply(*inputs, targets, 0.1)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_the_loss_without_smoothing_is_minus_the_log_probabilities() -> None:
    outputs, *_, targets = numbers()
    layer = Linear(4, 9, nn.Embedding(9, 5)).double()
    picked = layer.log_probs(outputs).gather(1, targets.unsqueeze(1)).sum()
    torch.testing.assert_close(layer.loss(outputs, targets, 0.0), -picked)


def test_nothing_costs_nothing() -> None:
    layer = Linear(4, 9, nn.Embedding(9, 5))
    assert layer.loss(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 0.1).item() == 0


def test_a_tied_layer_is_the_embedding() -> None:
    embedding = nn.Embedding(9, 4)
    assert Linear(4, 9, embedding, tie=True).weight is embedding.weight


def test_tying_needs_equal_sizes() -> None:
    with pytest.raises(UserError, match=r"they are 5 and 4; set decoder.readout=5 or target.embedding_size=4"):
        Linear(4, 9, nn.Embedding(9, 5), tie=True)
