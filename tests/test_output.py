"""Output layers: the loss is torch's, gradients included, in one pass and with one large tensor."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from seq2att import output, testing
from seq2att.output import Adaptive, Linear, default_cutoffs, linear_loss
from seq2att.recurrence import native
from tests.refusals import refused


@pytest.fixture(params=["cpp", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to pass over the logits; torch's in blocks of two rows."""
    name: str = request.param
    if name == "cpp" and not native.is_available():
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("SEQ2ATT_KERNEL", name)
    assert output.is_compiled() == (name == "cpp")
    monkeypatch.setattr(output, "BLOCK", 20)
    return name


def numbers(rows: int = 6, size: int = 9, width: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((rows, width), (size, width), (size,))
    tensors = [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes]
    return (*tensors, torch.randint(size, (rows,), generator=generator))


def smoothed(log_probs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The formula of Szegedy et al. 2016, by torch."""
    right = log_probs.gather(1, targets.unsqueeze(1)).sum()
    return -(1 - smoothing) * right - smoothing * log_probs.mean(1).sum()


def linear(outputs: Tensor, weight: Tensor, bias: Tensor) -> Linear:
    layer = Linear(weight.size(1), weight.size(0), nn.Embedding(9, 5))
    layer.weight, layer.bias = nn.Parameter(weight.detach()), nn.Parameter(bias.detach())
    return layer


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_torchs(smoothing: float) -> None:
    outputs, weight, bias, targets = numbers()
    layer = linear(outputs, weight, bias)
    ours = layer.loss(outputs, targets, smoothing)
    logits = functional.linear(outputs, weight, bias)
    theirs = functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(3 * ours, (outputs, layer.weight, layer.bias)),
        torch.autograd.grad(3 * theirs, (outputs, weight, bias)),
        rtol=1e-10,
        atol=1e-12,
    )


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_target_counts_as_correct_where_it_is_the_first_of_the_likeliest(smoothing: float) -> None:
    outputs, weight, bias, targets = numbers(rows=200, size=40)
    layer = linear(outputs, weight, bias)
    loss, correct = layer.loss_and_correct(outputs, targets, smoothing)
    assert loss == layer.loss(outputs, targets, smoothing)
    assert 0 < correct == (functional.linear(outputs, weight, bias).argmax(1) == targets).sum()
    ties = linear(outputs, torch.zeros_like(weight), torch.zeros_like(bias))
    assert ties.loss_and_correct(outputs, targets, smoothing)[1] == (targets == 0).sum()


def test_a_layer_with_a_loss_of_its_own_is_asked_for_that() -> None:
    class Weighted(Linear):
        def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
            return 2 * super().loss(outputs, targets, smoothing)

    class Renamed(Linear):
        pass

    assert (Linear.counts_correct, Renamed.counts_correct) == (True, True)
    assert (Weighted.counts_correct, Adaptive.counts_correct) == (False, False)
    case = testing.make_case({})
    plain = case.model(case.batch)
    case.model.head.output.__class__ = Weighted
    heavy = case.model(case.batch)
    torch.testing.assert_close(heavy.total, 2 * plain.total)
    assert plain.correct is not None
    assert heavy.correct is None


@pytest.mark.usefixtures("way")
def test_any_wanted_distribution() -> None:
    outputs, weight, bias, _ = numbers()
    generator = torch.Generator().manual_seed(2)
    targets = torch.stack([torch.randperm(9, generator=generator)[:3] for _ in range(6)])
    weights = torch.rand(6, 3, generator=generator, dtype=torch.float64)
    weights[1] = 0  # only the uniform part
    ours, _ = linear_loss(outputs, weight, bias, targets, weights, 0.3)
    wanted = torch.full((6, 9), 0.3 / 9, dtype=torch.float64).scatter_add_(1, targets, weights)
    theirs = -(wanted * functional.linear(outputs, weight, bias).log_softmax(1)).sum()
    torch.testing.assert_close(ours, theirs)
    inputs = (outputs, weight, bias)
    torch.testing.assert_close(torch.autograd.grad(ours, inputs), torch.autograd.grad(theirs, inputs))


@pytest.mark.parametrize("size", [1, 3, 33, 2000])
def test_both_ways_give_the_same_numbers_however_large_the_logits(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.is_available():
        pytest.skip("no C++ compiler")
    logits = 30 * torch.randn(150, size, generator=torch.Generator().manual_seed(3))
    logits[0] += 1000
    logits[1] -= 1000
    targets = torch.arange(150).unsqueeze(1) % size
    weights = torch.full((150, 1), 0.9)
    results = []
    for kernel in ("cpp", "torch"):
        monkeypatch.setenv("SEQ2ATT_KERNEL", kernel)
        gradient = logits.clone()
        results.append((*output.cross_entropy(gradient, targets, weights, 0.1), gradient))
    (total, sums, correct, gradient), (other_total, other_sums, other_correct, other_gradient) = results
    assert correct == other_correct
    torch.testing.assert_close(total, other_total, rtol=1e-6, atol=1e-4)
    torch.testing.assert_close(gradient, other_gradient, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(sums, other_sums, rtol=1e-5, atol=1e-5)


def test_threads_share_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.is_available():
        pytest.skip("no C++ compiler")
    logits = torch.randn(130, 2000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    targets, weights = torch.arange(130).unsqueeze(1), torch.ones(130, 1, dtype=torch.float64)
    results = []
    for threads in (1, 3):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        gradient = logits.clone()
        results.append((*output.cross_entropy(gradient, targets, weights, 0.1), gradient))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("way")
def test_only_one_tensor_has_the_size_of_the_logits() -> None:
    outputs, weight, bias, targets = numbers(rows=50, size=80)
    kept: list[int] = []

    def count(tensor: Tensor) -> Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        linear(outputs, weight, bias).loss(outputs, targets, 0.1)
    assert [number for number in kept if number >= 50 * 80] == [50 * 80]


@pytest.mark.usefixtures("way")
def test_going_back_twice_is_the_same_and_a_gradient_of_the_gradient_is_refused() -> None:
    outputs, weight, bias, targets = numbers()
    loss = linear(outputs, weight, bias).loss(outputs, targets, 0.1)
    first, second = (torch.autograd.grad(loss, outputs, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    with pytest.raises(RuntimeError, match="once only"):
        torch.autograd.grad(loss, outputs, create_graph=True)


@pytest.mark.usefixtures("way")
def test_a_target_that_is_none_is_refused() -> None:
    outputs, weight, bias, targets = numbers()
    targets[2] = 9
    with pytest.raises((IndexError, RuntimeError), match="out of"):
        linear(outputs, weight, bias).loss(outputs, targets, 0.0)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_in_half_precision_only_the_products_are_rounded(dtype: torch.dtype) -> None:
    outputs, weight, bias, targets = numbers(rows=40, size=300, width=64, dtype=torch.float32)
    layer = linear(outputs, weight * 0.1, bias * 0.1)
    exact = layer.loss(outputs, targets, 0.1)
    wanted = torch.autograd.grad(exact, (outputs, layer.weight, layer.bias))
    with torch.autocast("cpu", dtype):
        loss = layer.loss(outputs.to(dtype), targets, 0.1)
    assert loss.dtype == torch.float32
    found = torch.autograd.grad(loss, (outputs, layer.weight, layer.bias))
    torch.testing.assert_close(loss, exact, rtol=2e-3, atol=0)
    for ours, theirs in zip(found, wanted, strict=True):
        assert float((ours - theirs).norm() / theirs.norm()) < 0.01


def test_what_needs_no_gradient_gets_none() -> None:
    outputs, weight, bias, targets = numbers()
    layer = linear(outputs, weight, bias)
    layer.weight.requires_grad_(False)
    layer.loss(outputs.detach(), targets, 0.1).backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None


def test_the_loss_without_smoothing_is_minus_the_log_probabilities() -> None:
    outputs, *_, targets = numbers()
    layer = Linear(4, 9, nn.Embedding(9, 5)).double()
    picked = layer.log_probs(outputs).gather(1, targets.unsqueeze(1)).sum()
    torch.testing.assert_close(layer.loss(outputs, targets, 0.0), -picked)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("layer", [Linear(4, 9, nn.Embedding(9, 5)), Adaptive(4, 9, nn.Embedding(9, 5))])
def test_nothing_costs_nothing(layer: Any) -> None:
    for smoothing in (0.0, 0.1):
        loss = layer.loss(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), smoothing)
        assert loss.item() == 0
        loss.backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())  # several devices wait for each


def test_a_tied_layer_is_the_embedding() -> None:
    embedding = nn.Embedding(9, 4)
    assert Linear(4, 9, embedding, tie=True).weight is embedding.weight


def test_tying_needs_equal_sizes() -> None:
    with refused("E-conflict", "output.tie=true") as info:
        Linear(4, 9, nn.Embedding(9, 5), tie=True)
    assert info.value.remedy == "set decoder.readout=5 or target.embedding_size=4"
    with refused("E-conflict", "output.tie=true"):
        Linear(4, 9, nn.Identity(), tie=True)


def adaptive(**options: Any) -> Adaptive:
    """A layer in which nothing is 0."""
    layer = Adaptive(64, 40, nn.Embedding(40, 5), **{"cutoffs": (6, 15), "shrink": 2, **options}).double()
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return layer


def test_the_adaptive_softmax_is_torchs() -> None:
    layer = adaptive()
    outputs, *_ = numbers(rows=50, width=64)
    theirs = nn.AdaptiveLogSoftmaxWithLoss(64, 40, [6, 15], div_value=2.0, head_bias=True).double()
    with torch.no_grad():
        theirs.head.weight.copy_(layer.top.weight)
        theirs.head.bias.copy_(layer.top.bias)
        for ours, sequence in zip(layer.tails, theirs.tail, strict=True):
            ours.bias.zero_()
            sequence[0].weight.copy_(ours.projection)
            sequence[1].weight.copy_(ours.weight)
    torch.testing.assert_close(layer.log_probs(outputs), theirs.log_prob(outputs), rtol=1e-10, atol=1e-10)
    targets = torch.arange(50) % 40
    torch.testing.assert_close(layer.loss(outputs, targets, 0.0), 50 * theirs(outputs, targets).loss)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("targets", [torch.arange(50) % 40, torch.full((50,), 3), torch.full((50,), 39)])
def test_the_adaptive_loss_is_that_of_its_log_probabilities(targets: Tensor, smoothing: float) -> None:
    layer = adaptive()
    outputs, *_ = numbers(rows=50, width=64)
    inputs = (outputs, *layer.parameters())
    log_probs = layer.log_probs(outputs)
    torch.testing.assert_close(log_probs.exp().sum(1), torch.ones(50, dtype=torch.float64))
    theirs = smoothed(log_probs, targets, smoothing)
    ours = layer.loss(outputs, targets, smoothing)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    found = torch.autograd.grad(ours, inputs)
    wanted = torch.autograd.grad(theirs, inputs, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other if other is not None else torch.zeros_like(one), rtol=1e-8, atol=1e-10)


def test_a_cluster_sees_only_the_rows_that_it_is_right_for(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    pass_over = output.cross_entropy

    def spy(logits: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        seen.append(len(logits))
        return pass_over(logits, *rest)

    monkeypatch.setattr(output, "cross_entropy", spy)
    targets = torch.tensor([5, 6, 14, 15, 39, 0, 39])
    adaptive().loss(torch.zeros(7, 64, dtype=torch.float64), targets, 0.0)
    assert seen == [7, 2, 3]


@pytest.mark.parametrize("cutoffs", [(15, 6), (0, 6), (6, 40), ()])
def test_cutoffs_outside_the_vocabulary_are_refused(cutoffs: tuple[int, ...]) -> None:
    with refused("E-range", f"output.cutoffs={list(cutoffs)}"):
        adaptive(cutoffs=cutoffs)


@pytest.mark.parametrize(("size", "cutoffs"), [(50_000, (2500, 12_500)), (201, (11, 51)), (11, (5,)), (6, (5,))])
def test_usual_clusters_grow(size: int, cutoffs: tuple[int, ...]) -> None:
    assert default_cutoffs(size) == cutoffs


def test_a_later_cluster_is_narrower_but_never_too_narrow() -> None:
    assert [len(tail.projection) for tail in adaptive(cutoffs=(6, 15, 20), shrink=3).tails] == [21, 16, 16]
