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
from seq2att.field.label import LabelEmbedding
from seq2att.registry import register, suggestion

UNSEEN = -1  # the id of a tag that training does not have
SHOWN = 20  # tags that an error names
BOUNDARY = ""  # stands for what is before the first and after the last tag; no tag is written so
SPAN = re.compile(r"O|[BIES](-.+)?")  # a tag of a span: Begin, Inside, End, Single; Outside
TOLERATED = 0.01  # the share of spans that may begin or end against the rules in training, as mistakes of the data

Pair = tuple[str, str]


@register("field", "tags")
class TagsField(Field):
    """A tag for each item of the source: a list, or a text with the tags between white space.

    As a target the source must have as many items: words, vectors. A tag that training does not have counts as a
    wrong answer, or with `unseen=refuse` is an error. `embedding_size` is that of a source.
    """

    is_aligned: ClassVar[bool] = True
    has_tokens: ClassVar[bool] = False
    unknown_id: ClassVar[int] = UNSEEN

    def __init__(self, *, unseen: Literal["refuse", "count"] = "count", embedding_size: int = 64) -> None:
        check_size("field=tags: embedding_size", embedding_size)
        self.unseen = unseen
        self.embedding_size = embedding_size
        self.tags: tuple[str, ...] = ()
        self.regular = False  # whether training keeps the rules that tags of spans have
        self.index: dict[str, int] = {}

    @property
    def size(self) -> int:  # type: ignore[override]  # follows the tags
        """The number of different tags."""
        return len(self.tags)

    def fit(self, values: Iterable[Any]) -> None:
        """Note the tags, sorted, and whether their order keeps the rules of spans."""
        pairs: Counter[Pair] = Counter()
        for value in values:
            pairs.update(itertools.pairwise((BOUNDARY, *self.items(value), BOUNDARY)))
        tags = sorted({tag for pair in pairs for tag in pair} - {BOUNDARY})
        if not tags:
            raise UserError("field=tags: training has no tag; name the column of the tags in the reader")
        self.learn(tags, is_valid_sequence(pairs, tags))

    def learn(self, tags: Sequence[str], regular: bool) -> None:
        """Have these tags, in this order."""
        self.tags, self.regular = tuple(tags), regular
        self.index = {tag: number for number, tag in enumerate(self.tags)}

    def items(self, value: Any) -> list[str]:
        """The tags of a value."""
        if isinstance(value, str):
            return value.split()
        if not isinstance(value, list | tuple | np.ndarray):
            raise UserError(
                f"field=tags takes a list of tags, or a text with tags between white space, not {value!r}; "
                f"name the column of the tags in the reader"
            )
        return [format_tag(item) for item in value]

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The numbers of the tags `[S]`; -1 for one that training does not have."""
        items = self.items(value)
        numbers = np.array([self.index.get(tag, UNSEEN) for tag in items], np.int32)
        if self.unseen == "refuse" and (numbers == UNSEEN).any():
            tag = items[int(np.argmax(numbers == UNSEEN))]
            raise UserError(
                f"the tag {tag!r} does not occur in training; {suggestion(tag, self.tags[:SHOWN])}; mend it, "
                f"add such rows to training, or set target.unseen=count to count it as wrong"
            )
        return numbers

    def decode(self, ids: Sequence[int]) -> str:
        """The tags, separated by one space."""
        return " ".join(self.pieces(ids))

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The tag of every number; one that training does not have is `<unk>`."""
        return tuple("<unk>" if number == UNSEEN else self.tags[number] for number in map(int, ids))

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The tags of a value that training does not have, each once, in order."""
        return tuple(dict.fromkeys(tag for tag in self.items(value) if tag not in self.index))

    def text(self, value: Any) -> str:
        """The tags of a value as it was read, separated by one space."""
        return " ".join(self.items(value))

    def valid_transitions(self) -> npt.NDArray[np.bool_] | None:
        """Which tag may come after which, by the rules of spans; everything where training does not keep them."""
        if not are_span_tags(self.tags):
            return None
        names = (*self.tags, BOUNDARY)
        has_ends = ends_span(self.tags)
        return np.array(
            [[not self.regular or is_valid_transition(one, two, has_ends) for two in names] for one in names]
        )

    def embed(self) -> LabelEmbedding:
        """A new table of vectors."""
        return LabelEmbedding(self.size, self.embedding_size)

    def files(self) -> dict[str, bytes]:
        """The tags in their order, and whether they keep the rules."""
        content = {"tags": self.tags, "regular": self.regular}
        return {"tags.json": (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the tags that were written."""
        content = json.loads(files["tags.json"])
        self.learn(content["tags"], content["regular"])


def format_tag(item: Any) -> str:
    """One tag of a list, as text."""
    if isinstance(item, Integral):
        return str(item)
    if isinstance(item, str) and item and not any(map(str.isspace, item)):
        return item
    raise UserError(
        f"field=tags: {item!r} is no tag; a tag is a text without white space, or a whole number: mend the list"
    )


def are_span_tags(tags: Iterable[str]) -> bool:
    """Whether all tags are those of spans: `B-x`, `I-x`, `O` (BIO), or these with `E-x` and `S-x` (BIOES)."""
    tags = list(tags)
    return all(map(SPAN.fullmatch, tags)) and any(tag[0] in "BI" for tag in tags)


def ends_span(tags: Iterable[str]) -> bool:
    """Whether the scheme has tags for the last item of a span, so that each span must come to its end."""
    return any(tag[0] in "ES" for tag in tags)


def is_valid_transition(one: str, two: str, has_ends: bool) -> bool:
    """Whether a tag may come after another; with end tags in the scheme, every span must come to its end."""
    goes_on = two[:1] in ("I", "E") and one[:1] in ("B", "I") and one[1:] == two[1:]
    if two[:1] in ("I", "E") or (has_ends and one[:1] in ("B", "I")):
        return goes_on
    return True


def is_valid_sequence(pairs: Mapping[Pair, int], tags: Sequence[str]) -> bool:
    """Whether neighbours in training, counted, keep the rules but for a few: IOB1, where `I-x` begins, does not."""
    if not are_span_tags(tags):
        return False
    has_ends = ends_span(tags)
    broken = sum(count for pair, count in pairs.items() if not is_valid_transition(*pair, has_ends))
    begun = sum(count for (_, two), count in pairs.items() if two[:1] in ("B", "S"))
    return broken <= TOLERATED * begun


def length_mismatch(tags: int, items: int) -> str:
    """What to say of a row that has not one tag for each item of its source."""
    return f"{tags:,} tag{'s' * (tags != 1)} for the {items:,} item{'s' * (items != 1)} of its source"
