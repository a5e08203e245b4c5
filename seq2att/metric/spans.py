"""Metrics of tags: of each by itself, and of the spans that they mark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NamedTuple

from seq2att.metric import Metric, Score
from seq2att.registry import register

NO_TYPE = "_"  # the type of a span whose tags name none, such as B and I alone


@register("metric", "tag_accuracy")
class TagAccuracy(Metric):
    """Percent of tags that are right; one that is missing or too many is wrong.

    Of several right answers the one with the fewest mistakes counts. The details hold precision, recall and F1 of each
    tag, and how often it is wanted (`support`).
    """

    verbs: ClassVar[tuple[str, ...]] = ("tag", "translate", "generate")

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The share of all rows' tags together."""
        said, wanted, right, total = Counter[str](), Counter[str](), Counter[str](), 0
        for text, row in zip(predictions, references, strict=True):
            tags = text.split()
            nearest = min((answer.split() for answer in row), key=lambda answer: mistakes(tags, answer))
            total += max(len(tags), len(nearest))
            said.update(tags)
            wanted.update(nearest)
            right.update(one for one, other in zip(tags, nearest, strict=False) if one == other)
        details = {"right": right.total(), "tags": total, "classes": table(right, said, wanted)}
        return Score(percent(right.total(), total), "tag_accuracy|refs:nearest|unit:tag|version:1", details)


class Span(NamedTuple):
    """Neighbouring items that tags mark as one thing."""

    kind: str
    first: int
    last: int


@register("metric", "span_f1")
class SpanF1(Metric):
    """F1 of the spans that tags mark (slots, names, chunks), in percent: right are those whose ends and type are.

    The rules are those of conlleval (Tjong Kim Sang & Buchholz 2000), as in seqeval's default mode: a span begins
    with `B-x` or `S-x`, with `I-x` or `E-x` after another type or outside, and so IOB1 is read as well. Of several
    right answers the nearest counts. The details hold precision and recall, and all of it for each type.
    """

    verbs: ClassVar[tuple[str, ...]] = ("tag", "translate", "generate")

    def measure(self, predictions: Sequence[str], references: Sequence[Sequence[str]]) -> Score:
        """The F1 over all rows' spans together."""
        said, wanted, right = Counter[str](), Counter[str](), Counter[str]()
        for text, row in zip(predictions, references, strict=True):
            found = set(spans(text.split()))
            answers = [set(spans(answer.split())) for answer in row]
            nearest = min(answers, key=lambda answer: len(found ^ answer))
            said.update(span.kind for span in found)
            wanted.update(span.kind for span in nearest)
            right.update(span.kind for span in found & nearest)
        total = figures(right.total(), said.total(), wanted.total())
        details: dict[str, Any] = {**total, "classes": table(right, said, wanted)}
        if not total["support"]:
            details["note"] = "the right answers have no span, so this is 0 whatever is said"
        return Score(total["f1"], "span_f1|refs:nearest|average:micro|rules:conlleval|version:1", details)


def mistakes(said: Sequence[str], wanted: Sequence[str]) -> int:
    """How many tags are wrong, missing or too many."""
    right = sum(one == other for one, other in zip(said, wanted, strict=False))
    return max(len(said), len(wanted)) - right


def percent(part: int, whole: int) -> float:
    """100 part / whole; 0 of nothing."""
    return 100 * part / whole if whole else 0.0


def figures(right: int, said: int, wanted: int) -> dict[str, float]:
    """Precision, recall and F1, in percent, and how many are wanted; 0 where a figure is not defined."""
    return {
        "precision": percent(right, said),
        "recall": percent(right, wanted),
        "f1": percent(2 * right, said + wanted),
        "support": wanted,
    }


def table(right: Counter[str], said: Counter[str], wanted: Counter[str]) -> dict[str, dict[str, float]]:
    """The figures of everything that is said or wanted, sorted."""
    return {name: figures(right[name], said[name], wanted[name]) for name in sorted(said.keys() | wanted.keys())}


def spans(tags: Sequence[str]) -> Iterator[Span]:
    """The spans that the tags of one row mark, in order."""
    before, kind, first = "O", "", 0  # the letter and the type of the tag before, where the open span began
    for place, tag in enumerate([*tags, "O"]):
        letter, its_kind = tag[0], tag[1:].split("-", 1)[-1] or NO_TYPE
        other = kind != its_kind
        if before not in "O." and (other or before in "ES" or (before in "BI" and letter in "BSO")):
            yield Span(kind, first, place - 1)
        if letter in "BS" or (before in "ESO" and letter in "IE") or (letter not in "O." and other):
            first = place
        before, kind = letter, its_kind
