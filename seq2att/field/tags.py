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

from seq2att.errors import UserError, check_size
from seq2att.field import Field
from seq2att.field.label import MAX_SHOWN, UNSEEN, LabelEmbedding
from seq2att.registry import register, suggestion

BOUNDARY = ""  # stands before the first and after the last tag; no tag is written so
SPAN = re.compile(r"O|[BIES](-.+)?")  # a tag of a span: Begin, Inside, End, Single; Outside
TOLERANCE = 0.01  # share of the training spans that may break the rules, as errors of annotation

Pair = tuple[str, str]


@register("field", "tags")
class TagsField(Field):
    """A tag for each item of the source: a list, or a text with white space between the tags.

    The source of a target must have as many items: words, numbers or vectors.

    Args:
        unseen: what happens to a tag that training does not have: `refuse` it, or `count` it as a wrong answer.
        embedding_size: size of the vector of a tag, if the field is a source; at least 1.
    """

    is_aligned: ClassVar[bool] = True
    has_tokens: ClassVar[bool] = False
    unknown_id: ClassVar[int] = UNSEEN
    embedding_options: ClassVar[frozenset[str]] = frozenset(("embedding_size",))

    def __init__(self, *, unseen: Literal["refuse", "count"] = "count", embedding_size: int = 64) -> None:
        check_size("field.embedding_size", embedding_size)
        self.unseen = unseen
        self.embedding_size = embedding_size
        self.set_tags((), False)

    def set_tags(self, tags: Sequence[str], regular: bool) -> None:
        """Have these tags, in this order; `regular` if training keeps the rules of spans."""
        self.tags, self.regular = tuple(tags), regular
        self.index = {tag: number for number, tag in enumerate(self.tags)}

    @property
    def size(self) -> int:  # type: ignore[override]  # follows the tags
        """The number of different tags."""
        return len(self.tags)

    @property
    def refuses_unknown(self) -> bool:
        """Whether `encode` raises for a tag that training does not have."""
        return self.unseen == "refuse"

    def fit(self, values: Iterable[Any]) -> None:
        """Collect the tags, sorted, and whether their order keeps the rules of spans."""
        pairs: Counter[Pair] = Counter()
        for value in values:
            pairs.update(itertools.pairwise((BOUNDARY, *self.items(value), BOUNDARY)))
        tags = sorted({tag for pair in pairs for tag in pair} - {BOUNDARY})
        if not tags:
            raise UserError("E-empty", "field=tags", "training has no tag", "name the column of tags in the reader")
        self.set_tags(tags, is_valid_sequence(pairs, tags))

    def items(self, value: Any) -> list[str]:
        """The tags of a value."""
        if isinstance(value, str):
            return value.split()
        if not isinstance(value, list | tuple | np.ndarray):
            problem = "is not a list of tags, or a text with white space between tags"
            raise UserError("E-label", repr(value), problem, "name the column of tags in the reader")
        return [format_tag(item) for item in value]

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The ids of the tags `[S]`; -1 for one that training does not have."""
        items = self.items(value)
        numbers = np.array([self.index.get(tag, UNSEEN) for tag in items], np.int32)
        if self.refuses_unknown and (numbers == UNSEEN).any():
            tag = items[int(np.argmax(numbers == UNSEEN))]
            problem = f"training does not have this tag; {suggestion(tag, self.tags[:MAX_SHOWN])}"
            remedy = "correct it, add such rows to training, or set target.unseen=count to count it as wrong"
            raise UserError("E-label", repr(tag), problem, remedy)
        return numbers

    def decode(self, ids: Sequence[int]) -> str:
        """The tags, separated by one space."""
        return " ".join(self.pieces(ids))

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The tag of every id; `<unk>` for one that training does not have."""
        return tuple("<unk>" if number == UNSEEN else self.tags[number] for number in map(int, ids))

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The tags of a value that training does not have, each once, in order."""
        return tuple(dict.fromkeys(tag for tag in self.items(value) if tag not in self.index))

    def text(self, value: Any) -> str:
        """The tags of a value of the data, separated by one space."""
        return " ".join(self.items(value))

    def valid_transitions(self) -> npt.NDArray[np.bool_] | None:
        """Which tag may follow which by the rules of spans; all of them if training breaks the rules."""
        if not are_span_tags(self.tags):
            return None
        names = (*self.tags, BOUNDARY)
        has_ends = ends_span(self.tags)
        return np.array(
            [[not self.regular or is_valid_transition(one, two, has_ends) for two in names] for one in names]
        )

    def embed(self) -> LabelEmbedding:
        """A new layer with a vector for every tag."""
        return LabelEmbedding(self.size, self.embedding_size)

    def files(self) -> dict[str, bytes]:
        """The tags in their order, and whether they keep the rules of spans."""
        content = {"tags": self.tags, "regular": self.regular}
        return {"tags.json": (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the tags that were written."""
        content = json.loads(files["tags.json"])
        self.set_tags(content["tags"], content["regular"])


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
