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

from seq2att.errors import UserError, check_size
from seq2att.field import Field
from seq2att.registry import register
from seq2att.types import class_order

UNSEEN = -1  # the id of a label that training does not have
MAX_SHOWN = 20  # classes that an error names


@register("field", "label")
class LabelField(Field):
    """One of a few classes for each row: a text, a whole number or a truth value.

    The classes are those of training, sorted: by value if all are numbers.

    Args:
        unseen: what happens to a class that training does not have: `refuse` it, or `count` it as a wrong answer.
        embedding_size: size of the vector of a class, if the field is a source; at least 1.
    """

    is_sequence: ClassVar[bool] = False
    unknown_id: ClassVar[int] = UNSEEN
    embedding_options: ClassVar[frozenset[str]] = frozenset(("embedding_size",))

    def __init__(self, *, unseen: Literal["refuse", "count"] = "refuse", embedding_size: int = 64) -> None:
        check_size("field.embedding_size", embedding_size)
        self.unseen = unseen
        self.embedding_size = embedding_size
        self.set_classes({})

    def set_classes(self, counts: Mapping[str, int]) -> None:
        """Have these classes, in this order, with the number of training rows of each."""
        self.classes, self.counts = tuple(counts), tuple(counts.values())
        self.index = {name: number for number, name in enumerate(self.classes)}

    @property
    def size(self) -> int:  # type: ignore[override]  # follows the classes
        """The number of classes."""
        return len(self.classes)

    @property
    def refuses_unknown(self) -> bool:
        """Whether `encode` raises for a class that training does not have."""
        return self.unseen == "refuse"

    def fit(self, values: Iterable[Any]) -> None:
        """Collect the classes and the number of rows of each."""
        counts = Counter(map(self.text, values))
        if not counts:
            raise UserError(
                "E-empty", "field=label", "training has no label", "name the column of labels in the reader"
            )
        self.set_classes({name: counts[name] for name in class_order(counts)})

    def text(self, value: Any) -> str:
        """The name of a class: a text without white space around it, or how Python writes a number or truth value."""
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return str(value)
        problem = f"a label must be a text, a whole number or a truth value{self.known()}"
        raise UserError("E-label", repr(value), problem, "give the row a label, or leave it out")

    def known(self, name: str = "") -> str:
        """The part of an error that lists the classes, and the one nearest to a name."""
        more = f" and {self.size - MAX_SHOWN:,} more" if self.size > MAX_SHOWN else ""
        near = difflib.get_close_matches(name, self.classes, 1)
        listed = f"; known: {', '.join(self.classes[:MAX_SHOWN])}{more}" if self.classes else ""
        return listed + (f"; did you mean {near[0]!r}?" if near else "")

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The id of the class `[1]`; -1 for one that training does not have."""
        name = self.text(value)
        number = self.index.get(name, UNSEEN)
        if number == UNSEEN and self.refuses_unknown:
            remedy = "correct it, add such rows to training, or set target.unseen=count to count it as wrong"
            raise UserError("E-label", repr(name), f"training does not have this label{self.known(name)}", remedy)
        return np.array([number], np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The name of the class."""
        return self.pieces(ids)[0]

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The names of classes; `<unk>` for one that training does not have."""
        return tuple("<unk>" if number == UNSEEN else self.classes[number] for number in map(int, ids))

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The name of a class that training does not have."""
        name = self.text(value)
        return () if name in self.index else (name,)

    def embed(self) -> LabelEmbedding:
        """A new layer with a vector for every class."""
        return LabelEmbedding(self.size, self.embedding_size)

    def files(self) -> dict[str, bytes]:
        """The classes in their order, with the number of rows of each."""
        classes = dict(zip(self.classes, self.counts, strict=True))
        return {"classes.json": (json.dumps(classes, ensure_ascii=False, indent=1) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the classes that were written."""
        self.set_classes(json.loads(files["classes.json"]))


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
