"""N-gram language models: counts of tokens that follow each other, and the probabilities that follow from them.

Most n-grams of five words occur nowhere in the training text, so that relative frequencies are 0 for most texts. Add-k
smoothing gives every token of the vocabulary the same share. Interpolated Kneser-Ney smoothing backs off: every order
leaves some of its probability to the order below, by the modified discounts of Chen and Goodman (1998, equations 26 to
28).
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
ESTIMATES = ("unsmoothed", "add_k", "kneser_ney")
"""The estimates of a probability from counts."""
UNPREDICTED = (PAD, BEGIN)  # the ids that no model predicts
LONGEST = 1000
"""The greatest order. Each order holds numbers of its own for every token of training."""
FALLBACK = (0.5, 1.0, 1.5)  # discounts where too few n-grams are seen to estimate them


class Factors(NamedTuple):
    """The factors p(w | h) of texts, one for each predicted token w; h are the tokens before it that the order allows.

    Estimates of an unseen history: unsmoothed 0 (of 0 / 0), add-k 1 / V, Kneser-Ney that of a shorter history.
    """

    tokens: Ids  # [n] w
    lengths: Ids  # [n] tokens of h: the order minus 1, or less near the beginning of a text
    counts: Ids  # [n] c(h w), how often training has w after h
    totals: Ids  # [n] c(h), how often training has any token after h
    longest: Ids  # [n] tokens of the longest n-gram of training that ends with w, at most the order; 0: w is unseen
    unsmoothed: Numbers  # [n] c(h w) / c(h)
    add_k: Numbers  # [n] (c(h w) + k) / (c(h) + k V)
    back_off: Numbers  # [order + 1, n] by Kneser-Ney from the last 0, 1, 2 ... tokens of the n-gram; [0] is 1 / V

    @property
    def kneser_ney(self) -> Numbers:
        """The probabilities by Kneser-Ney `[n]`."""
        result: Numbers = self.back_off[-1]
        return result

    def select(self, places: Any) -> Factors:
        """Some of the factors, by a mask or their places."""
        parts: Any = (part[..., places] for part in self)
        return Factors(*parts)


class Order(NamedTuple):
    """What is known of the n-grams of one length k; each is a context, of length k - 1, and a token."""

    keys: Ids  # [n] sorted: the number of the context among those of length k - 1, times the size, plus the token
    seen: Ids  # [n + 1] how often each was seen; the last is for what was never seen; 0 for what is never predicted
    seen_totals: Ids  # [contexts + 1] the sum of these of each context; the last is for what was never seen
    held: Numbers  # [n + 1] what the counts of Kneser-Ney keep after the discount
    totals: Numbers  # [contexts] the sum of the counts of Kneser-Ney; 0 where nothing follows
    rest: Numbers  # [contexts] the share that is left to the order below


class NGram:
    """N-grams over the ids below `size`, with relative frequencies, add-k and interpolated Kneser-Ney smoothing.

    Kneser-Ney: p(w | h) = (c(h w) - D(c(h w))) / c(h) + g(h) p(w | h'), h' being h without its first token, down to one
    token of the V = `size` - 2 that are predicted, all alike. c counts how often the highest order was seen, and of
    lower orders how many different tokens stood before; where that can be none, at the beginning of a text, again how
    often. With `ends` each text has its end symbol, which is predicted as any token.

    Args:
        order: tokens of the longest n-grams, 1 to 1000.
        size: ids of the vocabulary, special tokens included.
        ends: whether the end of a text counts as a token.
        add_k: what add-k smoothing adds to every count, above 0.
    """

    def __init__(self, order: int, size: int, ends: bool = True, add_k: float = 1.0) -> None:
        if not 0 < add_k < math.inf:
            raise UserError("E-range", f"add_k={add_k}", "must be above 0", "set 1, or less, such as 0.01")
        if check_size("order", order) > LONGEST:
            problem = f"must be 1 to {LONGEST} (tokens of the longest n-grams)"
            raise UserError("E-size", f"order={order}", problem)
        self.order, self.size, self.ends, self.add_k = order, size, ends, add_k
        self.orders: list[Order] = []
        self.num_texts = self.num_tokens = 0

    @property
    def num_predicted(self) -> int:
        """V, the number of ids that are predicted."""
        return self.size - len(UNPREDICTED)

    def flat(self, texts: Iterable[npt.ArrayLike], ends: bool, begins: bool = True) -> tuple[Ids, Ids]:
        """All texts in one sequence `[n]`, each after a BEGIN, and where the text of each token begins `[n]`."""
        before, after = [BEGIN] * begins, [END] * ends
        parts = [np.concatenate([before, np.asarray(text, np.int64), after]).astype(np.int64) for text in texts]
        lengths = np.array([len(part) for part in parts], np.int64)
        tokens = np.concatenate([np.zeros(0, np.int64), *parts])
        if len(tokens) and int(tokens.max()) >= self.size:
            problem = f"is too small for ids up to {tokens.max()}"
            raise UserError("E-size", f"size={self.size}", problem, "give the size of the target field")
        return tokens, np.repeat(np.cumsum(lengths) - lengths, lengths)

    def fit(self, texts: Iterable[npt.ArrayLike]) -> NGram:
        """Count the n-grams of the texts."""
        tokens, starts = self.flat(texts, self.ends)
        if not len(tokens):
            raise UserError("E-empty", "train", "has no text to count n-grams in", "name a training split with rows")
        self.num_texts = int((tokens == BEGIN).sum())
        self.num_tokens = len(tokens) - self.num_texts
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
        """The counts of one order, and those of Kneser-Ney without their discounts: of a lower order from `above`."""
        is_predicted = ~np.isin(counted.keys % self.size, UNPREDICTED)  # a beginning is a context, and never predicted
        seen, context = counted.seen * is_predicted, counted.keys // self.size
        counts = seen
        if above is not None:
            followed = np.bincount(counted.numbers[above.last], minlength=len(seen))
            counts = np.where(counted.begins, seen, followed) * is_predicted
        held = counts - np.concatenate([[0.0], discounts(counts)])[np.minimum(counts, 3)]
        seen_totals, totals, kept = (np.bincount(context, part, contexts) for part in (seen, counts, held))
        rest = np.where(totals > 0, 1 - kept / np.maximum(totals, 1), 1.0)
        seen, seen_totals = np.append(seen, 0), np.append(seen_totals.astype(np.int64), 0)
        return Order(counted.keys, seen, seen_totals, np.append(held, 0.0), totals.astype(np.float64), rest)

    def factors(self, texts: Iterable[npt.ArrayLike], *, begins: bool = True) -> Factors:
        """The factors of every token of the texts, in order; with `begins` each text stands at a beginning."""
        tokens, starts = self.flat(texts, self.ends, begins)
        return self.walk(tokens, starts).select(~np.isin(tokens, UNPREDICTED))

    def distribution(self, context: Sequence[int], *, begins: bool = True) -> Factors:
        """The factors p(w | context) of every predicted id w; with `begins` the context begins a text."""
        predicted = np.setdiff1d(np.arange(self.size), UNPREDICTED)
        tokens, starts = self.flat(([*context, token] for token in predicted), False, begins)
        return self.walk(tokens, starts).select(np.append(starts[1:] != starts[:-1], True))

    def walk(self, tokens: Ids, starts: Ids) -> Factors:
        """The factors at every place of texts in one sequence, from the shortest n-grams to the longest."""
        inside = np.arange(len(tokens)) - starts
        numbers, zeros = np.zeros(len(tokens), np.int64), np.zeros((4, len(tokens)), np.int64)
        lengths, counts, totals, longest = zeros
        back_off = [np.full(len(tokens), 1 / self.num_predicted)]
        for length, order in enumerate(self.orders, 1):
            has_history = inside >= length - 1
            context = np.concatenate([[-1], numbers[:-1]]) if length > 1 else numbers
            context = np.where(has_history, context, -1)
            numbers = find(order.keys, np.where(context >= 0, context * self.size + tokens, -1))
            known = context >= 0
            lengths[has_history] = length - 1
            counts[has_history] = order.seen[numbers][has_history]  # -1 is the last
            totals[has_history] = order.seen_totals[context][has_history]
            longest[numbers >= 0] = length
            known[known] = order.totals[context[known]] > 0
            probability = back_off[-1].copy()
            share = order.held[numbers[known]] / order.totals[context[known]]
            probability[known] = share + order.rest[context[known]] * probability[known]
            back_off.append(probability)
        unsmoothed = counts / np.maximum(totals, 1)
        add_k = (counts + self.add_k) / (totals + self.add_k * self.num_predicted)
        return Factors(tokens, lengths, counts, totals, longest, unsmoothed, add_k, np.stack(back_off))


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
    add_k: float = 1.0,
) -> dict[str, Any]:
    """How well n-grams counted in training texts predict the test texts, by the figures of `head=language_model`.

    Texts are ids without begin and end. `size` is that of the vocabulary, special tokens included (None: the largest
    id and all below); `ends` whether the end of each text counts as a token, as with `data.row_ends`: without it each
    text goes on where the last one stopped. `estimates` holds the figures of each of `ESTIMATES`, with `zeros`, the
    share of the tokens whose probability is 0; `seen` is the share of the test's n-grams that training holds, from one
    token to `order` of them.
    """
    train, test = list(train), list(test)
    if not ends:
        train, test = ([np.concatenate(texts)] if texts else [] for texts in (train, test))
    if size is None:
        size = max((int(np.max(text)) for text in (*train, *test) if np.size(text)), default=END) + 1
    factors = NGram(order, max(size, END + 1), ends, add_k).fit(train).factors(test)
    # Of the n-grams of each length, those near the beginning of a text do not exist.
    possible = [factors.longest[factors.lengths >= length - 1] >= length for length in range(1, order + 1)]
    return {
        "tokens": len(factors.tokens),
        "estimates": {name: figures(getattr(factors, name)) for name in ESTIMATES},
        "seen": [float(found.mean()) if len(found) else math.nan for found in possible],
    }


def figures(probabilities: Numbers) -> dict[str, float]:
    """The loss of probabilities, mean and in nats, with what follows from it, and the share of them that are 0."""
    if not len(probabilities):
        return dict.fromkeys(("loss", "perplexity", "bits", "zeros"), math.nan)
    zeros = float((probabilities == 0).mean())
    loss = 0.0 - float(np.log(probabilities).mean()) if not zeros else math.inf
    return {
        "loss": loss,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits": loss / math.log(2),
        "zeros": zeros,
    }
