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

from seq2att.errors import InputError, UserError, check_size
from seq2att.field import Field
from seq2att.registry import register
from seq2att.types import class_order

UNSEEN = -1  # the id of a label that training does not have
SHOWN = 20  # classes that an error names


@register("field", "label")
class LabelField(Field):
    """One of the classes that training has: a text, a whole number or a truth value for each row.

    Classes are sorted, by value where all are numbers. A class that training does not have is refused, or with
    `unseen=count` always a wrong answer. `embedding_size` is that of a source.
    """

    is_sequence: ClassVar[bool] = False
    unknown_id: ClassVar[int] = UNSEEN

    def __init__(self, *, unseen: Literal["refuse", "count"] = "refuse", embedding_size: int = 64) -> None:
        check_size("field=label: embedding_size", embedding_size)
        self.unseen = unseen
        self.embedding_size = embedding_size
        self.classes: tuple[str, ...] = ()
        self.counts: tuple[int, ...] = ()  # rows of training that have each class
        self.index: dict[str, int] = {}

    @property
    def size(self) -> int:  # type: ignore[override]  # follows the classes
        """The number of classes."""
        return len(self.classes)

    def fit(self, values: Iterable[Any]) -> None:
        """Note the classes and how often each comes."""
        counts = Counter(map(self.text, values))
        if not counts:
            raise UserError("field=label: training has no label; name the column of the labels in the reader")
        self.learn({name: counts[name] for name in class_order(counts)})

    def learn(self, counts: Mapping[str, int]) -> None:
        """Have these classes, in this order."""
        self.classes, self.counts = tuple(counts), tuple(counts.values())
        self.index = {name: number for number, name in enumerate(self.classes)}

    def text(self, value: Any) -> str:
        """The name of a class: a text without white space around it, or how a number or truth value is written."""
        value = value.item() if isinstance(value, np.generic) else value
        if isinstance(value, str) and value.strip():
            return value.strip()
        if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
            return str(value)
        given = "an empty label" if isinstance(value, str) else f"{value!r} is no label"
        raise InputError(
            f"field=label takes a text, a whole number or a truth value, not {value!r}; "
            f"give the row a label or leave it out",
            f"{given}{self.known()}; give one of them",
        )

    def known(self, name: str = "") -> str:
        """The part of an error that says which classes there are, and the one nearest to a name."""
        rest = f" and {self.size - SHOWN:,} more" if self.size > SHOWN else ""
        near = difflib.get_close_matches(name, self.classes, 1)
        return f"; known: {', '.join(self.classes[:SHOWN])}{rest}" + (f"; did you mean {near[0]!r}?" if near else "")

    def encode(self, value: Any) -> npt.NDArray[np.int32]:
        """The number of the class `[1]`; -1 when training does not have it."""
        name = self.text(value)
        number = self.index.get(name, UNSEEN)
        if number == UNSEEN and self.unseen == "refuse":
            message = f"the label {name!r} does not occur in training{self.known(name)}; "
            raise InputError(
                f"{message}mend it, add such rows to training, or set target.unseen=count to count it as wrong",
                f"{message}give one of them",
            )
        return np.array([number], np.int32)

    def decode(self, ids: Sequence[int]) -> str:
        """The name of the class."""
        return self.pieces(ids)[0]

    def pieces(self, ids: Sequence[int]) -> tuple[str, ...]:
        """The names of classes; one that training does not have is `<unk>`."""
        return tuple("<unk>" if number == UNSEEN else self.classes[number] for number in map(int, ids))

    def unknown_pieces(self, value: Any) -> tuple[str, ...]:
        """The name of a class that training does not have."""
        return (self.text(value),) if self.text(value) not in self.index else ()

    def embed(self) -> LabelEmbedding:
        """A new table of vectors."""
        return LabelEmbedding(self.size, self.embedding_size)

    def files(self) -> dict[str, bytes]:
        """The classes in their order, with the rows of each."""
        classes = dict(zip(self.classes, self.counts, strict=True))
        return {"classes.json": (json.dumps(classes, ensure_ascii=False, indent=1) + "\n").encode()}

    def restore(self, files: Mapping[str, bytes]) -> None:
        """Have the classes that were written."""
        self.learn(json.loads(files["classes.json"]))


class LabelEmbedding(nn.Module):
    """A vector for every class; zeros for one that training does not have."""

    def __init__(self, size: int, output_size: int) -> None:
        super().__init__()
        self.output_size = output_size
        self.weight = nn.Parameter(torch.empty(size, output_size))  # [V, E]
        nn.init.normal_(self.weight, std=output_size**-0.5)  # vectors of length 1, whatever their size

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of classes `[B, 1]`: `[B, 1, E]`."""
        vectors = nn.functional.embedding(ids.clamp(min=0), self.weight)  # [B, 1, E]
        return vectors * (ids >= 0).unsqueeze(2)
