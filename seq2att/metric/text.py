"""Metrics of texts: BLEU, chrF and TER by sacrebleu, exact matches, and edits of symbols."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from seq2att.metric import Metric, Score
from seq2att.registry import Range, register


class Sacrebleu(Metric):
    """A metric of sacrebleu; a subclass makes it, and names the attributes of its score that are details."""

    tasks = ("translate", "generate")
    details: ClassVar[dict[str, str]]

    def make(self) -> Any:
        """Make sacrebleu's metric."""
        raise NotImplementedError

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        metric = self.make()
        # in sacrebleu's form: the first reference of every row, the second of every row or None, and so on
        score = metric.corpus_score(predictions, list(itertools.zip_longest(*references)))
        details = {name: getattr(score, attribute) for name, attribute in self.details.items()}
        return Score(score.score, str(metric.get_signature()), details)


@register("metric", "bleu")
class Bleu(Sacrebleu):
    """BLEU of the corpus by sacrebleu (Papineni et al. 2002; Post 2018), 0 to 100.

    Args:
        lowercase: ignore case.
        tokenize: sacrebleu's tokenizer: 13a for most languages, zh for Chinese, char for Korean or Japanese.
    """

    details: ClassVar[dict[str, str]] = {
        "precisions": "precisions", "brevity_penalty": "bp", "length": "sys_len", "reference_length": "ref_len"
    }  # fmt: skip

    def __init__(
        self, *, lowercase: bool = False, tokenize: Literal["13a", "intl", "char", "zh", "none"] = "13a"
    ) -> None:
        self.lowercase = lowercase
        self.tokenize = tokenize

    def make(self) -> Any:
        from sacrebleu.metrics.bleu import BLEU

        # force: no warning about text that looks tokenized
        return BLEU(lowercase=self.lowercase, tokenize=self.tokenize, force=True)


@register("metric", "chrf")
class Chrf(Sacrebleu):
    """chrF of the corpus by sacrebleu (Popovic 2015), 0 to 100: an F-score of character n-grams.

    Args:
        lowercase: ignore case.
        word_order: longest word n-grams that count too; 0 is chrF, 2 is chrF++ (Popovic 2017).
    """

    details: ClassVar[dict[str, str]] = {
        "character_order": "char_order", "word_order": "word_order", "beta": "beta"
    }  # fmt: skip

    def __init__(self, *, lowercase: bool = False, word_order: Annotated[int, Range(0, 100)] = 0) -> None:
        self.lowercase = lowercase
        self.word_order = word_order

    def make(self) -> Any:
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(lowercase=self.lowercase, word_order=self.word_order)


@register("metric", "ter")
class Ter(Sacrebleu):
    """Translation edit rate by sacrebleu (Snover et al. 2006): edits and shifts per 100 reference words; at least 0.

    Less is better.

    Args:
        lowercase: ignore case; sacrebleu's own default does.
    """

    higher_is_better = False
    details: ClassVar[dict[str, str]] = {"edits": "num_edits", "reference_length": "ref_length"}

    def __init__(self, *, lowercase: bool = False) -> None:
        self.lowercase = lowercase

    def make(self) -> Any:
        from sacrebleu.metrics.ter import TER

        return TER(case_sensitive=not self.lowercase)


@register("metric", "exact")
class Exact(Metric):
    """Exact match: percentage of rows that equal one of their references, character by character, 0 to 100."""

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        right = sum(text in row for text, row in zip(predictions, references, strict=True))
        details = {"right": right, "rows": len(predictions)}
        return Score(100 * right / len(predictions), "exact|refs:any|unit:row|version:1", details)


@register("metric", "wer")
class Wer(Metric):
    """Word error rate of grapheme-to-phoneme work: percentage of rows that match no reference, 0 to 100.

    A row is one word there, and its symbols are separated by white space. Less is better.
    """

    tasks = ("translate", "generate")
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        wrong = sum(
            text.split() not in [answer.split() for answer in row]
            for text, row in zip(predictions, references, strict=True)
        )
        details = {"wrong": wrong, "rows": len(predictions)}
        return Score(100 * wrong / len(predictions), "wer|refs:any|unit:row|version:1", details)


@register("metric", "per")
class Per(Metric):
    """Phoneme error rate: edits per 100 symbols of the nearest reference; at least 0, less is better.

    Symbols are separated by white space. The nearest reference has the fewest edits, of several such it is the
    shortest. Edits and lengths are summed over all rows before dividing.
    """

    tasks = ("translate", "generate")
    higher_is_better = False

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        edits = symbols = 0
        for text, row in zip(predictions, references, strict=True):
            answers = [answer.split() for answer in row]
            distance, length = min((edit_distance(text.split(), answer), len(answer)) for answer in answers)
            edits += distance
            symbols += length
        details = {"edits": edits, "symbols": symbols, "rows": len(predictions)}
        return Score(100 * edits / max(symbols, 1), "per|refs:nearest|unit:white space|version:1", details)


def edit_distance(one: Sequence[str], two: Sequence[str]) -> int:
    """The least number of insertions, deletions and substitutions between two sequences (Levenshtein 1966).

    Keeps two rows of the table; what both sequences share at their ends is left out first.
    """
    start, stop = 0, 0
    shorter = min(len(one), len(two))
    while start < shorter and one[start] == two[start]:
        start += 1
    while stop < shorter - start and one[-1 - stop] == two[-1 - stop]:
        stop += 1
    one, two = one[start : len(one) - stop], two[start : len(two) - stop]
    above = list(range(len(two) + 1))  # distances from nothing to two[:column]
    for row, symbol in enumerate(one, 1):
        here = [row]
        for column, other in enumerate(two):
            here.append(min(above[column] + (symbol != other), above[column + 1] + 1, here[column] + 1))
        above = here
    return above[-1]
