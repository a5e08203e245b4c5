"""Tags: one for each item of a source, as the words of a sentence have parts of speech."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from seq2att.errors import UserError
from seq2att.field.label import NamesField
from seq2att.files.untrusted import COPY, as_names, parse_json
from seq2att.registry import Inherited, register

BOUNDARY = ""  # stands before the first and after the last tag; no tag is written so
SPAN = re.compile(r"O|[BIES](-.+)?")  # a tag of a span: Begin, Inside, End, Single; Outside
TOLERANCE = 0.01  # share of the training spans that may break the rules, as errors of annotation

Pair = tuple[str, str]


@register("field", "tags")
class TagsField(NamesField):
    """A tag for each item of the source: a list, or a text with white space between the tags.

    The source of a target must have as many items: words, numbers or vectors.

    Args:
        unseen: what happens to a tag that training does not have: `refuse` it, or `count` it as a wrong answer.
    """

    is_aligned: ClassVar[bool] = True
    noun: ClassVar[str] = "tag"
    regular: bool = False
    """Whether training keeps the rules of spans."""

    def __init__(self, *, unseen: Literal["refuse", "count"] = "count", **options: Inherited) -> None:
        super().__init__(unseen=unseen, **options)

    def fit(self, values: Iterable[Any]) -> None:
        """Collect the tags, sorted, and whether their order keeps the rules of spans."""
        pairs: Counter[Pair] = Counter()
        for value in values:
            pairs.update(itertools.pairwise((BOUNDARY, *self.items(value), BOUNDARY)))
        self.set_names(sorted({tag for pair in pairs for tag in pair} - {BOUNDARY}))
        if not self.names:
            raise UserError("E-empty", "field=tags", "training has no tag", "name the column of tags in the reader")
        self.regular = is_valid_sequence(pairs, self.names)

    def items(self, value: Any) -> list[str]:
        """The tags of a value."""
        if isinstance(value, str):
            return value.split()
        if not isinstance(value, list | tuple | np.ndarray):
            problem = "is not a list of tags, or a text with white space between tags"
            raise UserError("E-label", repr(value), problem, "name the column of tags in the reader")
        return [format_tag(item) for item in value]

    def valid_transitions(self) -> npt.NDArray[np.bool_] | None:
        """Which tag may follow which by the rules of spans; all of them if training breaks the rules."""
        if not are_span_tags(self.names):
            return None
        names, has_ends = (*self.names, BOUNDARY), ends_span(self.names)
        return np.array(
            [[not self.regular or is_valid_transition(one, two, has_ends) for two in names] for one in names]
        )

    def files(self) -> dict[str, bytes]:
        """The tags in their order, and whether they keep the rules of spans."""
        content = {"tags": self.names, "regular": self.regular}
        return {"tags.json": (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the tags that were written."""
        content = parse_json(files["tags.json"], "tags.json")
        if not isinstance(content, dict) or not isinstance(content.get("regular"), bool):
            raise UserError("E-bundle", "tags.json", "must hold `tags` and `regular`", COPY)
        self.set_names(as_names(content.get("tags"), "tags.json"))
        self.regular = content["regular"]


def format_tag(item: Any) -> str:
    """One tag of a list, as text."""
    if isinstance(item, Integral):
        return str(item)
    if isinstance(item, str) and item and not any(map(str.isspace, item)):
        return item
    raise UserError("E-label", repr(item), "a tag must be a text without white space, or a whole number")


def are_span_tags(tags: Iterable[str]) -> bool:
    """Whether all tags are those of spans: `B-x`, `I-x`, `O` (BIO), or these with `E-x` and `S-x` (BIOES)."""
    tags = list(tags)
    return all(map(SPAN.fullmatch, tags)) and any(tag[0] in "BI" for tag in tags)


def ends_span(tags: Iterable[str]) -> bool:
    """Whether the scheme has tags of the last item of a span, so that every span must be ended."""
    return any(tag[0] in "ES" for tag in tags)


def is_valid_transition(one: str, two: str, has_ends: bool) -> bool:
    """Whether a tag may follow another: only an open span continues; in a scheme with end tags it must continue."""
    continues = two[:1] in ("I", "E") and one[:1] in ("B", "I") and one[1:] == two[1:]
    if two[:1] in ("I", "E") or (has_ends and one[:1] in ("B", "I")):
        return continues
    return True


def is_valid_sequence(pairs: Mapping[Pair, int], tags: Sequence[str]) -> bool:
    """Whether the counted neighbours in training keep the rules but for a few; those of IOB1 (`I-x` begins) do not."""
    if not are_span_tags(tags):
        return False
    has_ends = ends_span(tags)
    num_broken = sum(count for pair, count in pairs.items() if not is_valid_transition(*pair, has_ends))
    num_spans = sum(count for (_, two), count in pairs.items() if two[:1] in ("B", "S"))
    return num_broken <= TOLERANCE * num_spans


def length_mismatch(num_tags: int, num_items: int) -> str:
    """The error about a row that has not one tag for each item of its source."""
    return f"{num_tags:,} tag{'s' * (num_tags != 1)} for the {num_items:,} item{'s' * (num_items != 1)} of its source"
