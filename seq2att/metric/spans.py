"""Metrics of tags: of each tag by itself, and of the spans that they mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from seq2att.metric import Metric, Score
from seq2att.metric.classes import class_scores, percent, precision_recall_f1
from seq2att.registry import register

NO_TYPE = "_"  # the type of a span whose tags name none, such as B and I alone


@register("metric", "tag_accuracy")
class TagAccuracy(Metric):
    """Tag accuracy: percentage of tags that are right, 0 to 100; a missing or surplus tag is wrong.

    Of several references, the one with the fewest mistakes counts. The details hold precision, recall, F1 and support
    of each tag.
    """

    tasks = ("tag", "translate", "generate")

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        correct, predicted, true, total = Counter[str](), Counter[str](), Counter[str](), 0
        for text, row in zip(predictions, references, strict=True):
            tags = text.split()
            nearest = min((answer.split() for answer in row), key=lambda answer: num_mistakes(tags, answer))
            total += max(len(tags), len(nearest))
            predicted.update(tags)
            true.update(nearest)
            correct.update(one for one, other in zip(tags, nearest, strict=False) if one == other)
        classes = class_scores(correct, predicted, true, sorted(predicted | true))
        details = {"right": correct.total(), "tags": total, "classes": classes}
        return Score(percent(correct.total(), total), "tag_accuracy|refs:nearest|unit:tag|version:1", details)


class Span(NamedTuple):
    """Neighbouring items that tags mark as one thing."""

    kind: str
    first: int
    last: int


@register("metric", "span_f1")
class SpanF1(Metric):
    """Span F1: F1 of the spans that tags mark (slots, names, chunks), 0 to 100; both ends and the type must be right.

    The rules are those of conlleval (Tjong Kim Sang & Buchholz 2000), as in seqeval's default mode: a span begins
    with `B-x` or `S-x`, and with `I-x` or `E-x` after another type or outside, so IOB1 is read as well. Of several
    references, the nearest counts. The details hold precision, recall, F1 and support of all spans and of each type.
    """

    tasks = ("tag", "translate", "generate")

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """Precision, recall and F1 of the spans."""
        correct, predicted, true = Counter[str](), Counter[str](), Counter[str]()
        for text, row in zip(predictions, references, strict=True):
            candidates = set(find_spans(text.split()))
            answers = [set(find_spans(answer.split())) for answer in row]
            nearest = min(answers, key=lambda answer: len(candidates ^ answer))
            predicted.update(span.kind for span in candidates)
            true.update(span.kind for span in nearest)
            correct.update(span.kind for span in candidates & nearest)
        total = precision_recall_f1(correct.total(), predicted.total(), true.total())
        classes = class_scores(correct, predicted, true, sorted(predicted | true))
        details: dict[str, Any] = {**total, "classes": classes}
        if not total["support"]:
            details["note"] = "the references have no span, so this is 0 whatever is predicted"
        return Score(total["f1"], "span_f1|refs:nearest|average:micro|rules:conlleval|version:1", details)


def num_mistakes(tags: Sequence[str], answer: Sequence[str]) -> int:
    """How many tags are wrong, missing or surplus."""
    return max(len(tags), len(answer)) - sum(one == other for one, other in zip(tags, answer, strict=False))


def find_spans(tags: Sequence[str]) -> Iterator[Span]:
    """The spans that the tags of one row mark, in order."""
    previous, kind, first = "O", "", 0  # letter and type of the previous tag, start of the open span
    for place, tag in enumerate([*tags, "O"]):
        letter, new_kind = tag[0], tag[1:].split("-", 1)[-1] or NO_TYPE
        is_other = kind != new_kind
        if previous not in "O." and (is_other or previous in "ES" or (previous in "BI" and letter in "BSO")):
            yield Span(kind, first, place - 1)
        if letter in "BS" or (previous in "ESO" and letter in "IE") or (letter not in "O." and is_other):
            first = place
        previous, kind = letter, new_kind
