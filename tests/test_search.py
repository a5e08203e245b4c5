"""Searches against brute force, on generators small enough to enumerate."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2att.search import Beam, Greedy, Sample, Search
from seq2att.types import BEGIN, END, Encoding, Hypotheses, Memory, State, Step, length_mask
from tests.refusals import refused

VOCABULARY = 7  # 4 special tokens and 3 pieces
LIMIT = 3


class Table:
    """A generator whose next token depends on the row's own number and on all that was said."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.steps = 0

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        history = torch.zeros(encoding.mask.size(0), dtype=torch.long)
        return Memory((), encoding.outputs, encoding.mask), history

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        self.steps += 1
        history = state * VOCABULARY + tokens
        rows = memory.values[:, 0, 0].long()
        logits = torch.stack(
            [self.logits(int(row), int(h)) for row, h in zip(rows, history, strict=True)] or [torch.zeros(0)]
        )
        return Step(logits.view(-1, VOCABULARY).log_softmax(-1), None, history)

    def logits(self, row: int, history: int) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 10_007 + row * 101 + history)
        return 2 * torch.randn(VOCABULARY, dtype=torch.float64, generator=generator)

    def log_probability(self, row: int, tokens: tuple[int, ...]) -> float:
        history, total = 0, 0.0
        for last, token in zip((BEGIN, *tokens), tokens, strict=False):
            history = history * VOCABULARY + last
            total += float(self.logits(row, history).log_softmax(-1)[token])
        return total


def encoding(rows: int, length: int = 2) -> Encoding:
    outputs = torch.arange(rows, dtype=torch.float64).view(-1, 1, 1).expand(-1, length, 1)
    return Encoding(outputs, length_mask(torch.full((rows,), length), length), ())


def sequences(longest: int = LIMIT, shortest: int = 0) -> list[tuple[int, ...]]:
    """Everything that can be said: pieces and the unknown token, then the end."""
    pieces = [1, 4, 5, 6]
    return [(*said, END) for size in range(shortest, longest + 1) for said in itertools.product(pieces, repeat=size)]


def best(table: Table, row: int, penalty: float, number: int, shortest: int = 0) -> list[tuple[int, ...]]:
    def score(said: tuple[int, ...]) -> float:
        return table.log_probability(row, said) / len(said) ** penalty

    return sorted(sequences(shortest=shortest), key=score, reverse=True)[:number]


def said(found: Hypotheses, row: int, place: int = 0) -> tuple[int, ...]:
    return tuple(found.tokens[row, place, : int(found.lengths[row, place])].tolist())


@pytest.mark.parametrize("penalty", [0.0, 1.0])
@pytest.mark.parametrize("shortest", [0, 2])
def test_a_wide_beam_finds_the_best_of_all(penalty: float, shortest: int) -> None:
    table = Table()
    search = Beam(size=100, n_best=5, length_penalty=penalty, max_length=LIMIT, min_length=shortest)
    found = search(table, encoding(4))
    for row in range(4):
        expected = best(table, row, penalty, 5, shortest)
        assert [said(found, row, place) for place in range(5)] == expected
        for place, tokens in enumerate(expected):
            exact = table.log_probability(row, tokens)
            assert float(found.log_probs[row, place].sum()) == pytest.approx(exact, rel=1e-10)
            assert float(found.scores[row, place]) == pytest.approx(exact / len(tokens) ** penalty, rel=1e-10)


def test_greedy_takes_the_likeliest_token_each_time() -> None:
    table = Table(1)
    found = Greedy(max_length=LIMIT)(table, encoding(6))
    for row in range(6):
        tokens: tuple[int, ...] = ()
        while not tokens or tokens[-1] != END:
            allowed = [END] if len(tokens) == LIMIT else [1, END, 4, 5, 6]
            tokens += (max(allowed, key=lambda token: table.log_probability(row, (*tokens, token))),)
        assert said(found, row) == tokens


@pytest.mark.parametrize("seed", range(5))
def test_a_beam_of_one_is_greedy(seed: int) -> None:
    table = Table(seed)
    greedy, beam = Greedy(max_length=8)(table, encoding(9)), Beam(size=1, max_length=8)(table, encoding(9))
    assert torch.equal(greedy.tokens, beam.tokens)
    torch.testing.assert_close(greedy.log_probs, beam.log_probs)


@pytest.mark.parametrize("search", [Greedy(), Beam(size=4, n_best=3), Sample(n_best=2)])
def test_without_a_limit_a_row_may_say_twice_its_source_and_32(search: Search) -> None:
    class Chatty(Table):
        def logits(self, row: int, history: int) -> Tensor:
            return torch.tensor([0.0, 0, 0, -1e9, 1, 0, 0], dtype=torch.float64)

    found = search(Chatty(), encoding(2, length=3))
    assert found.lengths.unique().tolist() == [2 * 3 + 32 + 1]
    assert (found.tokens[..., -1] == END).all()


def test_finished_sentences_are_not_asked_again() -> None:
    class Counting(Table):
        asked = 0

        def logits(self, row: int, history: int) -> Tensor:
            self.asked += 1
            end = 50.0 if row < 3 else -50.0
            return torch.tensor([0.0, 0, 0, end, 1, 0, 0], dtype=torch.float64)

    table = Counting()
    Greedy(max_length=10)(table, encoding(4))
    assert table.asked == 4 + 10


def test_samples_follow_the_distribution() -> None:
    table = Table(3)
    found = Sample(n_best=4000, max_length=1, seed=7)(table, encoding(1))
    counts = Counter(said(found, 0, place)[0] for place in range(4000))
    probabilities = table.logits(0, BEGIN).softmax(-1)
    probabilities[[0, BEGIN]] = 0
    probabilities /= probabilities.sum()
    for token in (1, END, 4, 5, 6):
        expected = float(probabilities[token])
        error = 4 * math.sqrt(expected * (1 - expected) / 4000)
        assert counts[token] / 4000 == pytest.approx(expected, abs=error)


def test_top_k_and_top_p_keep_the_likeliest() -> None:
    table = Table(3)
    order = [int(t) for t in table.logits(0, BEGIN).argsort(descending=True) if t not in (0, BEGIN)]
    by_k = Sample(n_best=300, max_length=1, top_k=2)(table, encoding(1))
    assert {said(by_k, 0, place)[0] for place in range(300)} == set(order[:2])
    by_p = Sample(n_best=300, max_length=1, top_p=0.01)(table, encoding(1))
    assert {said(by_p, 0, place)[0] for place in range(300)} == {order[0]}
    cold = Sample(n_best=300, max_length=1, temperature=0.01)(table, encoding(1))
    assert {said(cold, 0, place)[0] for place in range(300)} == {order[0]}


def test_a_sample_depends_on_its_row_and_seed_only() -> None:
    table, rows = Table(), torch.tensor([5, 2, 9])
    whole = Sample(seed=3, max_length=9)(table, encoding(10), torch.arange(10))
    some = Sample(seed=3, max_length=9)(table, Encoding(*(t[rows] for t in encoding(10)[:2]), ()), rows)
    for place, row in enumerate(rows.tolist()):
        assert said(some, place) == said(whole, row)
    other = Sample(seed=4, max_length=9)(table, encoding(10), torch.arange(10))
    assert any(said(other, row) != said(whole, row) for row in range(10))


def test_a_beam_too_small_for_its_answers_is_refused() -> None:
    with refused("E-conflict", "search.n_best=4"):
        Beam(size=3, n_best=4)


def test_the_ends_of_what_a_sample_takes() -> None:
    table = Table(3)
    plain = Sample(n_best=50, max_length=2)(table, encoding(2))
    unlimited = Sample(n_best=50, max_length=2, top_k=0, top_p=1)(table, encoding(2))
    assert torch.equal(plain.tokens, unlimited.tokens)
    cold = Sample(max_length=LIMIT, temperature=1e-300)(table, encoding(2))
    assert torch.equal(cold.tokens, Greedy(max_length=LIMIT)(table, encoding(2)).tokens)
    assert Sample(max_length=2, seed=2**32 - 1)(table, encoding(1), torch.tensor([10**9])).tokens.size(0) == 1


@pytest.mark.parametrize("search", [Greedy(), Beam(), Sample()])
def test_no_rows_give_no_hypotheses(search: Search) -> None:
    assert search(Table(), encoding(0)).tokens.size(0) == 0


@pytest.mark.parametrize("search", [Greedy(max_length=9), Beam(size=3, max_length=9), Sample(max_length=9)])
def test_the_host_waits_for_the_device_once_in_a_step(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    counting = False

    def spy(name: str) -> None:
        method = getattr(torch.Tensor, name)

        def called(self: Tensor, *arguments: Any) -> Any:
            if counting:
                waits.append(name)
            return method(self, *arguments)

        monkeypatch.setattr(torch.Tensor, name, called)

    for name in ("__bool__", "__int__", "__float__", "__index__", "item", "tolist", "nonzero", "cpu", "numpy"):
        spy(name)
    generator, steps = Table(), []

    class Stepping:
        """Counts what happens between two steps."""

        def start(self, encoding: Encoding) -> tuple[Memory, State]:
            return generator.start(encoding)

        def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
            nonlocal counting
            counting = False
            steps.append(len(waits))
            said = generator.step(tokens, memory, state)
            counting = True
            return said

    search(Stepping(), encoding(6))
    counting = False
    assert len(steps) > 3
    assert [after - before for before, after in itertools.pairwise(steps)] == [1] * (len(steps) - 1)


@pytest.mark.parametrize("search", [Greedy, Beam, Sample])
def test_without_attention_a_search_holds_no_weights(search: type[Search]) -> None:
    class Looking(Table):
        def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
            said = super().step(tokens, memory, state)
            return said._replace(weights=memory.values[:, :, 0] + state.unsqueeze(1))

    searching = search()
    searching.max_length = LIMIT
    seen = searching(Looking(), encoding(3))
    assert seen.weights is not None
    for row in range(3):  # each token with what its own step looked at
        history = [0, *itertools.accumulate((BEGIN, *said(seen, row)), lambda state, token: state * VOCABULARY + token)]
        expected = torch.tensor([float(row + state) for state in history[: int(seen.lengths[row, 0])]])
        torch.testing.assert_close(seen.weights[row, 0, : len(expected), 0].float(), expected)
    searching.attention = False
    blind = searching(Looking(), encoding(3))
    assert blind.weights is None
    assert torch.equal(blind.tokens, seen.tokens)
    assert torch.equal(blind.log_probs, seen.log_probs)


@pytest.mark.parametrize("search", [Greedy, Beam])
def test_a_model_that_knows_nothing_says_nothing(search: type[Search]) -> None:
    class Broken(Table):
        def logits(self, row: int, history: int) -> Tensor:
            return torch.full((VOCABULARY,), math.nan, dtype=torch.float64)

    searching = search()
    searching.max_length = LIMIT
    found = searching(Broken(), encoding(2))
    assert found.tokens.size(0) == 2


@pytest.mark.parametrize("search", [Greedy(), Beam(size=3), Sample()])
def test_scores_are_sums_in_float32_where_a_model_computes_in_half_precision(search: Search) -> None:
    class Half(Table):
        def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
            step = super().step(tokens, memory, state)
            return step._replace(log_probs=step.log_probs.bfloat16())

    whole = encoding(3)
    found = search(Half(), whole._replace(outputs=whole.outputs.bfloat16()))
    assert found.scores.dtype == found.log_probs.dtype == torch.float32
    assert bool((found.lengths > 0).all())
