"""N-gram language models, for comparison with neural ones.

Most n-grams of five words occur nowhere in the training text, so every order leaves some of its probability to the
order below: interpolated Kneser-Ney smoothing, with the modified discounts of Chen and
Goodman (1998, equations 26 to 28).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError, check_size
from seq2att.types import BEGIN, END, PAD

Ids = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.float64]
UNPREDICTED = (PAD, BEGIN)  # the ids that no model predicts
FALLBACK = (0.5, 1.0, 1.5)  # discounts where too few n-grams are seen to estimate them


class Order(NamedTuple):
    """What is known of the n-grams of one length k; each is a context, of length k - 1, and a token."""

    keys: Ids  # [n] sorted: the number of the context among those of length k - 1, times the size, plus the token
    held: Numbers  # [n + 1] what the counts keep after the discount; the last is for what was never seen
    totals: Numbers  # [contexts] the sum of the counts; 0 where nothing follows
    rest: Numbers  # [contexts] the share that is left to the order below


class NGram:
    """An interpolated, modified Kneser-Ney model over the ids below `size`.

    p(w | h) = (c(h w) - D(c(h w))) / c(h) + g(h) p(w | h'), h' being h without its first token, down to one token of
    `size` alike. c counts how often the highest order was seen, and of lower orders how many different tokens stood
    before; where that can be none, at the beginning of a text, again how often. With `ends` each text has its end
    symbol, which is predicted as any token.
    """

    def __init__(self, order: int, size: int, ends: bool = True) -> None:
        self.order, self.size, self.ends = check_size("order", order), size, ends
        self.orders: list[Order] = []

    def flat(self, texts: Iterable[npt.ArrayLike]) -> tuple[Ids, Ids]:
        """All texts in one sequence `[n]`, each after a BEGIN, and where the text of each token begins `[n]`."""
        end = [END] if self.ends else []
        parts = [np.concatenate([[BEGIN], np.asarray(text, np.int64), end]).astype(np.int64) for text in texts]
        lengths = np.array([len(part) for part in parts], np.int64)
        tokens = np.concatenate([np.zeros(0, np.int64), *parts])
        if len(tokens) and int(tokens.max()) >= self.size:
            problem = f"is too small for ids up to {tokens.max()}"
            raise UserError("E-size", f"size={self.size}", problem, "give the size of the target field")
        return tokens, np.repeat(np.cumsum(lengths) - lengths, lengths)

    def fit(self, texts: Iterable[npt.ArrayLike]) -> NGram:
        """Count the n-grams of the texts."""
        tokens, starts = self.flat(texts)
        if not len(tokens):
            raise UserError("E-empty", "train", "has no text to count n-grams in", "name a training split with rows")
        inside = np.arange(len(tokens)) - starts  # [n] how many tokens of the text stand before
        contexts = np.zeros(len(tokens), np.int64)  # the number of the k-gram that ends here; of none there is one
        tables: list[Counted] = []
        for length in range(1, self.order + 1):
            places = np.flatnonzero(inside >= length - 1)  # the ends of k-grams
            before = contexts[places - 1] if length > 1 else contexts[places]
            keys, first, number, count = np.unique(
                before * self.size + tokens[places], return_index=True, return_inverse=True, return_counts=True
            )
            contexts = np.full(len(tokens), -1)
            contexts[places] = number
            last = places[first]  # [n] where each is seen first
            tables.append(Counted(keys, count, inside[last] == length - 1, contexts, last))
        self.orders = []
        for level, counted in enumerate(tables):
            above = tables[level + 1] if level + 1 < len(tables) else None
            size = len(tables[level - 1].keys) if level else 1
            self.orders.append(self.discounted(counted, above, size))
        return self

    def discounted(self, counted: Counted, above: Counted | None, contexts: int) -> Order:
        """The counts of one order without their discounts; those of a lower order from the n-grams above."""
        counts = counted.seen
        if above is not None:
            followed = np.bincount(counted.numbers[above.last], minlength=len(counts))
            counts = np.where(counted.begins, counts, followed)
        token = counted.keys % self.size
        counts = np.where(np.isin(token, UNPREDICTED), 0, counts)  # a beginning is a context, and never predicted
        held = counts - np.concatenate([[0.0], discounts(counts)])[np.minimum(counts, 3)]
        context = counted.keys // self.size
        totals = np.bincount(context, counts, contexts).astype(np.float64)
        kept = np.bincount(context, held, contexts)
        rest = np.where(totals > 0, 1 - kept / np.maximum(totals, 1), 1.0)
        return Order(counted.keys, np.append(held, 0.0), totals, rest)

    def log_probs(self, texts: Iterable[npt.ArrayLike]) -> tuple[Numbers, list[float]]:
        """Log p of every token of the texts `[n]`, and of each order the share of their n-grams that was seen."""
        tokens, starts = self.flat(texts)
        inside = np.arange(len(tokens)) - starts
        is_predicted = inside > 0
        probability = np.full(len(tokens), 1 / (self.size - len(UNPREDICTED)))
        numbers, seen = np.zeros(len(tokens), np.int64), []
        for length, order in enumerate(self.orders, 1):
            context = np.concatenate([[-1], numbers[:-1]]) if length > 1 else numbers
            context = np.where(inside >= length - 1, context, -1)
            numbers = find(order.keys, np.where(context >= 0, context * self.size + tokens, -1))
            known = context >= 0
            known[known] = order.totals[context[known]] > 0
            share = order.held[numbers[known]] / order.totals[context[known]]
            probability[known] = share + order.rest[context[known]] * probability[known]
            possible = is_predicted & (inside >= length - 1)
            seen.append(float((numbers[possible] >= 0).mean()) if possible.any() else math.nan)
        return np.log(probability[is_predicted]), seen

    def distribution(self, context: Sequence[int]) -> Numbers:
        """p(w | context) of every id `[size]`, the context being the beginning of a text; 0 of PAD and BEGIN."""
        texts = [[*context, token] for token in range(self.size)]
        ends, self.ends = self.ends, False
        try:
            log_probs, _ = self.log_probs(texts)
        finally:
            self.ends = ends
        probabilities: Numbers = np.exp(log_probs.reshape(self.size, -1)[:, -1])
        probabilities[list(UNPREDICTED)] = 0.0
        return probabilities


class Counted(NamedTuple):
    """The n-grams of one length as they were seen."""

    keys: Ids  # [n], as in `Order`
    seen: Ids  # [n] how often each was seen
    begins: npt.NDArray[np.bool_]  # [n] whether it stands at the beginning of a text, behind BEGIN
    numbers: Ids  # [tokens] which one ends at each token; -1: none
    last: Ids  # [n] the place of its last token, where it was seen first


def discounts(counts: Ids) -> Numbers:
    """What is taken off counts of 1, of 2, and of 3 or more (Chen & Goodman 1998, equation 26)."""
    once, twice, thrice, often = (int((counts == number).sum()) for number in (1, 2, 3, 4))
    if not (once and twice and thrice):
        return np.array(FALLBACK)
    share = once / (once + 2 * twice)
    estimated = [1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * often / thrice]
    good = all(0 <= value <= number for number, value in enumerate(estimated, 1))
    return np.array(estimated if good else FALLBACK)


def find(keys: Ids, wanted: Ids) -> Ids:
    """The places of numbers among sorted keys; -1 where there is none."""
    places = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
    return np.where(keys[places] == wanted, places, -1) if len(keys) else np.full(len(wanted), -1)


def evaluate(
    train: Iterable[npt.ArrayLike],
    test: Iterable[npt.ArrayLike],
    order: int = 5,
    *,
    size: int | None = None,
    ends: bool = True,
) -> dict[str, Any]:
    """How well n-grams counted in training texts predict the test texts, by the figures of `head=language_model`.

    Texts are ids without begin and end. `size` is that of the vocabulary, special tokens included (None: the largest
    id and all below); `ends` whether the end of each text counts as a token, as with `data.row_ends`: without it each
    text goes on where the last one stopped. `seen` is the share of the test's n-grams that training holds, from one
    token to `order` of them.
    """
    train, test = list(train), list(test)
    if not ends:
        train, test = ([np.concatenate(texts)] if texts else [] for texts in (train, test))
    if size is None:
        size = max((int(np.max(text)) for text in (*train, *test) if np.size(text)), default=END) + 1
    log_probs, seen = NGram(order, max(size, END + 1), ends).fit(train).log_probs(test)
    loss = -float(log_probs.mean()) if len(log_probs) else math.nan
    return {
        "tokens": len(log_probs),
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits": loss / math.log(2),
        "seen": seen,
    }
