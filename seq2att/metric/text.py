"""Metrics of texts: by sacrebleu, by equality, by edits."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from seq2att.errors import UserError
from seq2att.metric import Metric, Score
from seq2att.registry import register


def streams(references: Sequence[Sequence[str]]) -> list[tuple[Any, ...]]:
    """The right answers as sacrebleu wants them: the first of every row, the second of every row, ... or None."""
    return list(itertools.zip_longest(*references))


@register("metric", "bleu")
class Bleu(Metric):
    """BLEU of the corpus by sacrebleu (Papineni et al. 2002; Post 2018), 0 to 100.

    `tokenize` is sacrebleu's tokenizer: 13a for most languages, zh for Chinese, char for Korean or Japanese.
    """

    verbs: ClassVar[tuple[str, ...]] = ("translate", "generate")

    def __init__(
        self, *, lowercase: bool = False, tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    ) -> None:
        self.lowercase = lowercase
        self.tokenize = tokenize

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The score by sacrebleu, with the precisions and lengths that it is made of."""
        from sacrebleu.metrics.bleu import BLEU

        # force: no warning about text that looks tokenized
        metric = BLEU(lowercase=self.lowercase, tokenize=self.tokenize, force=True)
        score = metric.corpus_score(predictions, streams(references))
        details = {
            "precisions": score.precisions,
            "brevity_penalty": score.bp,
            "length": score.sys_len,
            "reference_length": score.ref_len,
        }
        return Score(score.score, str(metric.get_signature()), details)


@register("metric", "chrf")
class Chrf(Metric):
    """chrF of the corpus by sacrebleu (Popovic 2015), 0 to 100: an F-score of character n-grams.

    `word_order=2` makes it chrF++ (Popovic 2017).
    """

    verbs: ClassVar[tuple[str, ...]] = ("translate", "generate")

    def __init__(self, *, lowercase: bool = False, word_order: int = 0) -> None:
        if word_order < 0:
            raise UserError(f"metric=chrf: word_order={word_order} is no length of n-grams; set 0 (chrF) or 2 (chrF++)")
        self.lowercase = lowercase
        self.word_order = word_order

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The score by sacrebleu."""
        from sacrebleu.metrics.chrf import CHRF

        metric = CHRF(lowercase=self.lowercase, word_order=self.word_order)
        score = metric.corpus_score(predictions, streams(references))
        details = {"character_order": score.char_order, "word_order": score.word_order, "beta": score.beta}
        return Score(score.score, str(metric.get_signature()), details)


@register("metric", "ter")
class Ter(Metric):
    """Translation edit rate by sacrebleu (Snover et al. 2006), in percent: edits and shifts per reference word.

    Case counts unless `lowercase`, as for the other metrics (sacrebleu's own default ignores it).
    """

    verbs: ClassVar[tuple[str, ...]] = ("translate", "generate")
    higher_is_better = False

    def __init__(self, *, lowercase: bool = False) -> None:
        self.lowercase = lowercase

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The score by sacrebleu."""
        from sacrebleu.metrics.ter import TER

        metric = TER(case_sensitive=not self.lowercase)
        score = metric.corpus_score(predictions, streams(references))
        details = {"edits": score.num_edits, "reference_length": score.ref_length}
        return Score(score.score, str(metric.get_signature()), details)


@register("metric", "exact")
class Exact(Metric):
    """Percent of rows that equal one of their right answers, character by character."""

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The share of rows whose prediction is one of the right answers."""
        right = sum(text in row for text, row in zip(predictions, references, strict=True))
        details = {"right": right, "rows": len(predictions)}
        return Score(100 * right / len(predictions), "exact|refs:any|unit:row|version:1", details)


@register("metric", "wer")
class Wer(Metric):
    """Percent of rows whose symbols equal those of no right answer: the word error rate of grapheme-to-phoneme work.

    A row is one word there, its symbols stand between white space.
    """

    verbs: ClassVar[tuple[str, ...]] = ("translate", "generate")
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The share of rows whose prediction has other tokens than every right answer."""
        wrong = sum(
            text.split() not in [answer.split() for answer in row]
            for text, row in zip(predictions, references, strict=True)
        )
        details = {"wrong": wrong, "rows": len(predictions)}
        return Score(100 * wrong / len(predictions), "wer|refs:any|unit:row|version:1", details)


@register("metric", "per")
class Per(Metric):
    """Phoneme error rate, in percent: edits of symbols between white space, per symbol of the nearest right answer.

    The nearest right answer of a row is the one with the fewest edits, of several such the shortest. Edits and
    lengths are summed over all rows before dividing.
    """

    verbs: ClassVar[tuple[str, ...]] = ("translate", "generate")
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The edits to the nearest right answers, by the number of their tokens."""
        edits = symbols = 0
        for text, row in zip(predictions, references, strict=True):
            prediction = text.split()
            answers = [answer.split() for answer in row]
            nearest = min((edit_distance(prediction, answer), len(answer)) for answer in answers)
            edits += nearest[0]
            symbols += nearest[1]
        details = {"edits": edits, "symbols": symbols, "rows": len(predictions)}
        return Score(100 * edits / max(symbols, 1), "per|refs:nearest|unit:white space|version:1", details)


def edit_distance(one: Sequence[str], two: Sequence[str]) -> int:
    """The least number of insertions, deletions and substitutions that turn one sequence into the other.

    Levenshtein (1966), two rows of the table at a time; what both have in common at their ends is left out first.
    """
    start, stop = 0, 0
    least = min(len(one), len(two))
    while start < least and one[start] == two[start]:
        start += 1
    while stop < least - start and one[-1 - stop] == two[-1 - stop]:
        stop += 1
    one, two = one[start : len(one) - stop], two[start : len(two) - stop]
    above = list(range(len(two) + 1))  # distances from nothing to two[:column]
    for row, symbol in enumerate(one, 1):
        here = [row]
        for column, other in enumerate(two):
            here.append(min(above[column] + (symbol != other), above[column + 1] + 1, here[column] + 1))
        above = here
    return above[-1]
