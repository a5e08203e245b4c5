"""Counted n-grams against brute force: relative frequencies, add-k, and the equations of Chen and Goodman (1998)."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from seq2att.baselines import ngram
from seq2att.types import BEGIN, END, PAD
from tests.refusals import refused

Words = tuple[int, ...]
SIZE = 12


def texts(rows: int, seed: int) -> list[list[int]]:
    """Texts with something to learn in them: each token is likely to be near the one before."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(rows):
        text = [4]
        for _ in range(int(random.integers(0, 9))):
            text.append(4 + (text[-1] - 4 + int(random.integers(0, 3))) % (SIZE - 5))
        found.append(text if random.random() < 0.9 else [])
    return found


class Dictionaries:
    """The same model, an n-gram at a time."""

    def __init__(self, order: int, rows: list[list[int]], ends: bool) -> None:
        whole = [(BEGIN, *row, *([END] if ends else [])) for row in rows]
        self.order, self.counts = order, [Counter[Words]() for _ in range(order + 1)]
        for length in range(1, order + 1):
            raw = Counter(row[place : place + length] for row in whole for place in range(len(row) - length + 1))
            before: dict[Words, set[int]] = defaultdict(set)
            for row in whole:
                for place in range(1, len(row) - length + 1):
                    before[row[place : place + length]].add(row[place - 1])
            for words, count in raw.items():
                if words == (BEGIN,):
                    continue
                seen = count if length == order or words[0] == BEGIN else len(before[words])
                self.counts[length][words] = seen

    def discount(self, length: int, count: int) -> float:
        n = Counter(self.counts[length].values())
        if not (n[1] and n[2] and n[3]):
            return (0.0, 0.5, 1.0, 1.5)[min(count, 3)]
        y = n[1] / (n[1] + 2 * n[2])
        all_of_them = [0.0, 1 - 2 * y * n[2] / n[1], 2 - 3 * y * n[3] / n[2], 3 - 4 * y * n[4] / n[3]]
        if any(not 0 <= value <= number for number, value in enumerate(all_of_them)):
            all_of_them = [0.0, 0.5, 1.0, 1.5]
        return all_of_them[min(count, 3)]

    def probability(self, context: Words, word: int) -> float:
        context = context[len(context) - min(len(context), self.order - 1) :]
        below = self.probability(context[1:], word) if context else 1 / (SIZE - 2)
        length = len(context) + 1
        follow = {words: count for words, count in self.counts[length].items() if words[:-1] == context}
        total = sum(follow.values())
        if not total:
            return below
        count = follow.get((*context, word), 0)
        rest = sum(self.discount(length, other) for other in follow.values()) / total
        return (count - self.discount(length, count)) / total + rest * below


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_it_is_the_sum_that_the_paper_writes(order: int, ends: bool) -> None:
    train, test = texts(60, 1), [*texts(8, 2), [11, 10, 4], []]  # 11 was never seen
    plain = Dictionaries(order, train, ends)
    expected = []
    for text in test:
        whole = [*text, *([END] if ends else [])]
        expected += [math.log(plain.probability((BEGIN, *whole[:place]), word)) for place, word in enumerate(whole)]
    found = ngram.NGram(order, SIZE, ends).fit(train).factors(test)
    np.testing.assert_allclose(np.log(found.kneser_ney), expected, rtol=1e-10)
    np.testing.assert_allclose(found.back_off[0], 1 / (SIZE - 2))


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("order", [1, 2, 4])
def test_counts_and_their_estimates_are_those_of_going_through_the_text(order: int, ends: bool) -> None:
    train, test, k = texts(40, 1), [*texts(8, 2), [11, 10, 4], []], 0.25
    whole = [(BEGIN, *row, *([END] if ends else [])) for row in train]
    grams = [row[i:j] for row in whole for i in range(len(row)) for j in range(max(i, 1), len(row) + 1)]
    counts, found = Counter(grams), ngram.NGram(order, SIZE, ends, k).fit(train).factors(test)
    place = 0
    for text in test:
        seen = (BEGIN, *text, *([END] if ends else []))
        for at in range(1, len(seen)):
            history = seen[max(0, at - order + 1) : at]
            count = counts[(*history, seen[at])]
            total = sum(counts[(*history, word)] for word in range(SIZE) if word != BEGIN)
            assert (found.counts[place], found.totals[place], found.lengths[place]) == (count, total, len(history))
            assert found.unsmoothed[place] == (count / total if total else 0)
            assert found.add_k[place] == pytest.approx((count + k) / (total + k * (SIZE - 2)), rel=1e-14)
            back = [
                length for length in range(len(history) + 2) if not length or counts[seen[at + 1 - length : at + 1]]
            ]
            assert found.longest[place] == max(back)
            place += 1
    assert place == len(found.tokens)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("rows", [2, 60])
@pytest.mark.parametrize("begins", [True, False])
def test_smoothed_probabilities_sum_to_one_after_seen_and_unseen_histories(order: int, rows: int, begins: bool) -> None:
    model = ngram.NGram(order, SIZE, begins, 0.5).fit(texts(rows, 3))
    for context in ([], [4], [4, 5], [5, 5, 6], [11, 11], [4, 11, 4]):
        found = model.distribution(context, begins=begins)
        assert sorted(found.tokens) == [number for number in range(SIZE) if number not in (PAD, BEGIN)]
        for estimate in (found.add_k, found.kneser_ney, *found.back_off):
            assert estimate.sum() == pytest.approx(1, rel=1e-12)
            assert (estimate > 0).all()
        is_seen = found.totals > 0
        assert len(set(is_seen)) == 1  # of a history, not of what follows it
        assert found.unsmoothed.sum() == pytest.approx(float(is_seen[0]), rel=1e-12)


def test_its_figures_are_those_of_a_language_model() -> None:
    train, test = texts(60, 1), texts(8, 2)
    found = ngram.evaluate(train, test, 3, size=SIZE)
    factors = ngram.NGram(3, SIZE).fit(train).factors(test)
    assert found["tokens"] == sum(map(len, test)) + len(test)
    for name in ngram.ESTIMATES:
        one, probabilities = found["estimates"][name], getattr(factors, name)
        assert one["zeros"] == pytest.approx((probabilities == 0).mean())
        if not one["zeros"]:
            assert one["loss"] == pytest.approx(-np.log(probabilities).mean())
            assert one["bits"] == pytest.approx(one["loss"] / math.log(2))
        assert one["perplexity"] == pytest.approx(math.exp(one["loss"]))
    assert found["estimates"]["unsmoothed"]["perplexity"] == math.inf
    fewer = ngram.evaluate(train, test, 3)  # ids to choose from
    assert fewer["estimates"]["kneser_ney"]["loss"] < found["estimates"]["kneser_ney"]["loss"]


def test_sparsity_is_told() -> None:
    """Of one token all were seen, of two and three together fewer; the beginning of a text counts as a token before."""
    found = ngram.evaluate([[4, 5], [6]], [[4], [5, 6]], 3, ends=False)  # texts that go on
    assert found["seen"] == [1.0, 1.0, 1.0]
    assert found["tokens"] == 3
    assert ngram.evaluate([[4, 5, 6]], [[4, 5, 6, 4, 6]], 3, ends=False)["seen"] == [1.0, 3 / 5, 2 / 4]
    assert math.isnan(ngram.evaluate([[4, 5]], [[5]], 7)["seen"][-1])
    assert math.isnan(ngram.evaluate([[4, 5]], [], 2)["estimates"]["add_k"]["loss"])


def test_longer_contexts_help_where_there_is_something_to_learn() -> None:
    train, test = texts(400, 4), texts(100, 5)
    found = [ngram.evaluate(train, test, order, size=SIZE)["estimates"]["kneser_ney"] for order in (1, 2, 3)]
    figures = [one["loss"] for one in found]
    assert figures[1] < figures[0] - 0.3
    assert figures[2] < figures[1] + 0.05


def test_what_it_cannot_do() -> None:
    with refused("E-size", "order=0"):
        ngram.NGram(0, SIZE)
    with refused("E-size", "order=1000000000"):  # each order takes time and memory
        ngram.NGram(1_000_000_000, SIZE)
    with refused("E-range", "add_k=0"):
        ngram.NGram(2, SIZE, add_k=0)
    with refused("E-empty", "train"):
        ngram.evaluate([], [[4]])
    with refused("E-size", "size=8"):
        ngram.evaluate([[4]], [[11]], size=8)
