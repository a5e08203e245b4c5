"""Counted n-grams against the equations of Chen and Goodman (1998), written out with dictionaries."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from seq2att_baselines import ngram

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
    found, _ = ngram.NGram(order, SIZE, ends).fit(train).log_probs(test)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("rows", [2, 60])
def test_probabilities_sum_to_one(order: int, rows: int) -> None:
    model = ngram.NGram(order, SIZE).fit(texts(rows, 3))
    for context in ([], [4], [4, 5], [5, 5, 6], [11, 11], [4, 11, 4]):
        found = model.distribution(context)
        assert found.sum() == pytest.approx(1, rel=1e-12)
        assert found[[PAD, BEGIN]].tolist() == [0, 0]
        assert (np.delete(found, [PAD, BEGIN]) > 0).all()


def test_its_figures_are_those_of_a_language_model() -> None:
    train, test = texts(60, 1), texts(8, 2)
    found = ngram.evaluate(train, test, 3, size=SIZE)
    log_probs, _ = ngram.NGram(3, SIZE).fit(train).log_probs(test)
    assert found["tokens"] == sum(map(len, test)) + len(test)
    assert found["loss"] == pytest.approx(-log_probs.mean())
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["bits"] == pytest.approx(found["loss"] / math.log(2))
    assert ngram.evaluate(train, test, 3)["loss"] < found["loss"]  # fewer ids to choose from


def test_sparsity_is_told() -> None:
    """Of one token all were seen, of two and three together fewer; the beginning of a text counts as a token before."""
    _, seen = ngram.NGram(3, SIZE, ends=False).fit([[4, 5, 6]]).log_probs([[4, 5], [6, 4, 6]])
    assert seen == [1.0, pytest.approx(2 / 5), pytest.approx(1 / 3)]
    found = ngram.evaluate([[4, 5], [6]], [[4], [5, 6]], 3, ends=False)  # texts that go on
    assert found["seen"] == [1.0, 1.0, 1.0]
    assert found["tokens"] == 3
    assert ngram.evaluate([[4, 5]], [[5]], 7)["seen"][-1] != found["seen"][-1]
    assert math.isnan(ngram.evaluate([[4, 5]], [], 2)["loss"])


def test_longer_contexts_help_where_there_is_something_to_learn() -> None:
    figures = [ngram.evaluate(texts(400, 4), texts(100, 5), order, size=SIZE)["loss"] for order in (1, 2, 3)]
    assert figures[1] < figures[0] - 0.3
    assert figures[2] < figures[1] + 0.05


def test_what_it_cannot_do() -> None:
    with refused("E-size", "order=0"):
        ngram.NGram(0, SIZE)
    with refused("E-empty", "train"):
        ngram.evaluate([], [[4]])
    with refused("E-size", "size=8"):
        ngram.evaluate([[4]], [[11]], size=8)
