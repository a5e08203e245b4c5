"""Linear-chain CRF: against all paths enumerated, in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from seq2att.head.transitions import Chain, best_path, log_partition, log_probability, marginals, path_score

LENGTHS = (4, 1, 0, 3, 2)
K = 3


def random_chain(scale: float = 1.0, size: int = K) -> Chain:
    shapes = ((size,), (size, size), (size,))
    return Chain(*(torch.randn(shape, dtype=torch.float64).mul(scale).requires_grad_() for shape in shapes))


def emissions_of(scale: float = 1.0, size: int = K) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    lengths = torch.tensor(LENGTHS)
    return torch.randn(len(LENGTHS), max(LENGTHS), size, dtype=torch.float64).mul(scale).requires_grad_(), lengths


def score_of(emissions: Tensor, path: tuple[int, ...], chain: Chain) -> Tensor:
    """The score of one path, by its definition."""
    if not path:
        return emissions.new_zeros(())
    total = chain.start[path[0]] + chain.end[path[-1]]
    for step, tag in enumerate(path):
        total = total + emissions[step, tag]
    for one, two in itertools.pairwise(path):
        total = total + chain.pairs[one, two]
    return total


def all_paths(length: int, size: int = K) -> list[tuple[int, ...]]:
    return list(itertools.product(range(size), repeat=length))


def enumerated_log_partition(emissions: Tensor, chain: Chain) -> Tensor:
    rows = []
    for row, length in enumerate(LENGTHS):
        rows.append(torch.stack([score_of(emissions[row], path, chain) for path in all_paths(length)]).logsumexp(0))
    return torch.stack(rows)


@pytest.mark.parametrize("scale", [1.0, 30.0, 200.0])
def test_log_partition_and_its_gradients_equal_the_sum_over_all_paths(scale: float) -> None:
    emissions, lengths = emissions_of(scale)
    chain = random_chain(min(scale, 30.0))
    actual, expected = log_partition(emissions, lengths, chain), enumerated_log_partition(emissions, chain)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    assert actual[2] == 0  # no items
    factors = torch.tensor([1.0, -2.0, 5.0, 0.5, 3.0], dtype=torch.float64)
    inputs = (emissions, *chain)
    ours = torch.autograd.grad((actual * factors).sum(), inputs)
    theirs = torch.autograd.grad((expected * factors).sum(), inputs)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_path_score() -> None:
    emissions, lengths = emissions_of()
    chain = random_chain()
    tags = torch.tensor([[0, 2, 1, 1], [2, 0, 0, 0], [1, 1, 1, 1], [1, 0, 2, 2], [2, 2, 0, 1]])
    actual = path_score(emissions, lengths, tags, chain)
    for row, length in enumerate(LENGTHS):
        expected = score_of(emissions[row], tuple(tags[row, :length].tolist()), chain)
        torch.testing.assert_close(actual[row], expected, rtol=1e-12, atol=1e-12)


def test_probabilities_of_all_paths_sum_to_1() -> None:
    emissions, lengths = emissions_of()
    chain = random_chain()
    paths = torch.tensor(all_paths(4))
    count = len(paths)
    actual = log_probability(emissions[:1].expand(count, -1, -1), lengths[:1].expand(count), paths, chain)
    assert actual.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_an_unknown_tag_sums_over_all_tags() -> None:
    emissions, lengths = emissions_of()
    chain = random_chain()
    tags = torch.tensor([[0, -1, 1, -1], [-1, 9, 9, 9], [-1, 0, 0, 0], [1, 0, 2, -1], [-1, -1, 0, 0]])
    actual = log_probability(emissions, lengths, tags, chain)
    for row, length in enumerate(LENGTHS):
        known = tags[row, :length].tolist()
        fitting = [p for p in all_paths(length) if all(tag in (-1, t) for tag, t in zip(known, p, strict=True))]
        total = torch.stack([score_of(emissions[row], path, chain) for path in fitting]).logsumexp(0)
        torch.testing.assert_close(
            actual[row], total - enumerated_log_partition(emissions, chain)[row], rtol=1e-10, atol=1e-10
        )
    assert actual[1].item() == pytest.approx(0, abs=1e-12)  # every path fits
    gradients = torch.autograd.grad(actual.sum(), (emissions, *chain))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


def test_marginals_equal_the_sum_over_all_paths() -> None:
    emissions, lengths = emissions_of(2.0)
    chain = random_chain(2.0)
    actual = marginals(emissions, lengths, chain)
    expected = torch.zeros_like(actual)
    for row, length in enumerate(LENGTHS):
        scores = {path: score_of(emissions[row], path, chain).item() for path in all_paths(length)}
        total = math.log(sum(map(math.exp, scores.values())))
        for path, score in scores.items():
            for step, tag in enumerate(path):
                expected[row, step, tag] += math.exp(score - total)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_best_path_has_the_highest_score() -> None:
    emissions, lengths = emissions_of()
    chain = random_chain()
    actual = best_path(emissions, lengths, chain)
    for row, length in enumerate(LENGTHS):
        best = max(all_paths(length), key=lambda path: score_of(emissions[row], path, chain).item())
        assert tuple(actual[row, :length].tolist()) == best


def test_best_path_keeps_the_constraints() -> None:
    emissions, lengths = emissions_of()
    chain = random_chain()
    follow = torch.ones(K + 1, K + 1, dtype=torch.bool)
    follow[0, 1] = follow[2, 2] = follow[-1, 0] = follow[1, -1] = False
    actual = best_path(emissions, lengths, chain.constrain(follow))
    for row, length in enumerate(LENGTHS):
        bounded = [(path, (K, *path, K)) for path in all_paths(length) if path]
        allowed = [p for p, steps in bounded if all(follow[one, two] for one, two in itertools.pairwise(steps))]
        best = max(allowed or [()], key=lambda path: score_of(emissions[row], path, chain).item())
        assert tuple(actual[row, :length].tolist()) == best


def test_best_path_breaks_the_fewest_constraints_where_all_paths_break_some() -> None:
    emissions = torch.zeros(1, 3, 2, dtype=torch.float64)
    follow = torch.tensor([[True, True, False], [False, False, False], [True, True, True]])  # no tag may be last
    chain = Chain(torch.zeros(2).double(), torch.zeros(2, 2).double(), torch.tensor([0.0, 5.0]).double())
    assert best_path(emissions, torch.tensor([3]), chain.constrain(follow)).tolist() == [[0, 0, 1]]


def test_padding_changes_nothing_and_empty_input_works() -> None:
    emissions, lengths = emissions_of()
    chain = random_chain()
    changed = emissions.detach().clone()
    for row, length in enumerate(LENGTHS):
        changed[row, length:] = 50
    torch.testing.assert_close(log_partition(changed, lengths, chain), log_partition(emissions, lengths, chain))
    empty = torch.zeros(2, 0, K, dtype=torch.float64, requires_grad=True)
    zero_lengths = torch.zeros(2, dtype=torch.long)
    actual = log_probability(empty, zero_lengths, torch.zeros(2, 0, dtype=torch.long), chain)
    assert actual.tolist() == [0, 0]
    actual.sum().backward()
    assert chain.pairs.grad is not None
    assert not chain.pairs.grad.any()
    assert best_path(empty, zero_lengths, chain).shape == (2, 0)
    assert marginals(empty, zero_lengths, chain).shape == (2, 0, K)
    assert log_partition(torch.zeros(0, 3, K).double(), torch.zeros(0, dtype=torch.long), chain).shape == (0,)


def test_log_partition_of_a_long_row_is_exact() -> None:
    """All paths have the same score, so that the sum is known."""
    steps, size = 2000, 50
    chain = Chain(*(torch.zeros(shape).double() for shape in ((size,), (size, size), (size,))))
    emissions = torch.full((1, steps, size), 90.0)
    actual = log_partition(emissions.double(), torch.tensor([steps]), chain).item()
    assert actual == pytest.approx(steps * (90 + math.log(size)), rel=1e-12)


def test_second_derivatives_are_refused() -> None:
    emissions, lengths = emissions_of()
    total = log_partition(emissions, lengths, random_chain()).sum()
    with pytest.raises(RuntimeError, match="can be differentiated once only"):
        torch.autograd.grad(total, emissions, create_graph=True)
