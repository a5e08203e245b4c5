"""Labels: one of a few classes for each row."""

from __future__ import annotations

import difflib
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.files.untrusted import COPY, parse_json
from seq2att.registry import Size, register
from seq2att.types import class_order

UNSEEN = -1  # the id of a label that training does not have
MAX_SHOWN = 20  # classes that an error names


class NamesField(Field):
    """Items that are names of a fixed set, such as labels or tags; a subclass writes `fit` and `items`.

    Args:
        unseen: what happens to a class or tag unseen in training: `refuse` it, or `count` it as a wrong answer.
        embedding_size: size of the vector of a class or tag, if the field is a source.
    """

    has_tokens: ClassVar[bool] = False
    unknown_id: ClassVar[int] = UNSEEN
    embedding_options: ClassVar[frozenset[str]] = frozenset(("embedding_size",))
    noun: ClassVar[str]  # what a name is, for messages

    def __init__(self, *, unseen: Literal["refuse", "count"] = "refuse", embedding_size: Size = 64) -> None:
        self.unseen = unseen
        self.embedding_size = embedding_size
        self.set_names(())

    def set_names(self, names: Iterable[str]) -> None:
        """Have these names, in the order of their ids."""
        self.names = tuple(names)
        self.index = {name: number for number, name in enumerate(self.names)}

    def items(self, value: Any) -> list[str]:
        """The names in a value."""
        raise NotImplementedError

    @property
    def size(self) -> int:  # type: ignore[override]  # follows the names
        """The number of different names."""
        return len(self.names)

    @property
    def refuses_unknown(self) -> bool:
        """Whether `encode` raises for a name that training does not have."""
        return self.unseen == "refuse"

    def known(self, name: str = "") -> str:
        """The part of an error that lists the names, and the one nearest to a name."""
        more = f" and {self.size - MAX_SHOWN:,} more" if self.size > MAX_SHOWN else ""
        near = difflib.get_close_matches(name, self.names, 1)
        listed = f"; known: {', '.join(self.names[:MAX_SHOWN])}{more}" if self.names else ""
        return listed + (f"; did you mean {near[0]!r}?" if near else "")

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The ids of the names `[S]`; -1 for one that training does not have."""
        items = self.items(value)
        ids = [self.index.get(name, UNSEEN) for name in items]
        if self.refuses_unknown and UNSEEN in ids:
            name = items[ids.index(UNSEEN)]
            problem = f"training does not have this {self.noun}{self.known(name)}"
            remedy = "correct it, add such rows to training, or set target.unseen=count to count it as wrong"
            raise UserError("E-label", repr(name), problem, remedy)
        return np.array(ids, np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The names, separated by one space."""
        return " ".join(self.pieces(ids))

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The name of every id; `<unk>` for one that training does not have."""
        return tuple("<unk>" if number == UNSEEN else self.names[number] for number in map(int, ids))

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The names in a value that training does not have, each once, in order."""
        return tuple(dict.fromkeys(name for name in self.items(value) if name not in self.index))

    def text(self, value: Any) -> str:
        """The names in a value of the data, separated by one space."""
        return " ".join(self.items(value))

    def embed(self) -> LabelEmbedding:
        """A new layer with a vector for every name."""
        return LabelEmbedding(self.size, self.embedding_size)


@register("field", "label")
class LabelField(NamesField):
    """One of a few classes for each row: a text, a whole number or a truth value.

    The classes are those of training, sorted: by value if all are numbers.
    """

    is_sequence: ClassVar[bool] = False
    noun: ClassVar[str] = "label"
    counts: tuple[int, ...] = ()
    """The number of training rows of each class."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their ids."""
        return self.names

    def set_classes(self, counts: Mapping[str, int]) -> None:
        """Have these classes, in this order, with the number of training rows of each."""
        self.set_names(counts)
        self.counts = tuple(counts.values())

    def fit(self, values: Iterable[Any]) -> None:
        """Collect the classes and the number of rows of each."""
        counts = Counter(map(self.text, values))
        if not counts:
            remedy = "name the column of labels in the reader"
            raise UserError("E-empty", "field=label", "training has no label", remedy)
        self.set_classes({name: counts[name] for name in class_order(counts)})

    def items(self, value: Any) -> list[str]:
        """The name of a class: a text without white space around it, or how Python writes a number or truth value."""
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, str) and value.strip():
            return [value.strip()]
        if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return [str(value)]
        problem = f"a label must be a text, a whole number or a truth value{self.known()}"
        raise UserError("E-label", repr(value), problem, "give the row a label, or leave it out")

    def files(self) -> dict[str, bytes]:
        """The classes in their order, with the number of rows of each."""
        classes = dict(zip(self.classes, self.counts, strict=True))
        return {"classes.json": (json.dumps(classes, ensure_ascii=False, indent=1) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the classes that were written."""
        counts = parse_json(files["classes.json"], "classes.json")
        if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
            raise UserError("E-bundle", "classes.json", "must map each class to its number of rows", COPY)
        self.set_classes(counts)


class LabelEmbedding(nn.Module):
    """A vector for every class; zeros for one that training does not have."""

    def __init__(self, size: int, output_size: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.weight = nn.Parameter(torch.empty(size, output_size))  # [V, E]
        nn.init.normal_(self.weight, std=output_size**-0.5)  # vectors of length about 1, whatever their size

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of classes `[B, 1]`: `[B, 1, E]`."""
        vectors = nn.functional.embedding(ids.clamp(min=0), self.weight)  # [B, 1, E]
        return vectors * (ids >= 0).unsqueeze(2)
