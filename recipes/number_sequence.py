"""Windows of a sequence of numbers, and the number that comes next: 0.00 0.01 0.02 0.03 0.04 -> 0.05."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from seq2att.reader import Reader, Row, digest
from seq2att.registry import Range, register


@register("reader", "number_sequence")
class NumberSequence(Reader):
    """Numbers that count from 0 in steps of 1/100, so many in a window, and the next one.

    Args:
        rows: windows, each a step further.
        window: numbers of a window.
    """

    names_data = False

    def __init__(
        self, *, rows: Annotated[int, Range(1, 1_000_000)] = 100, window: Annotated[int, Range(1, 1000)] = 5
    ) -> None:
        self.rows, self.window = rows, window

    def splits(self) -> tuple[str, ...]:
        return ("train",)

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        for start in range(self.rows):
            window = [number / 100 for number in range(start, start + self.window + 1)]
            yield Row((window[:-1], window[-1]), "number-sequence", start + 1)

    def fingerprint(self, split: str, root: Path | None) -> str:
        return digest(self, split, [])
