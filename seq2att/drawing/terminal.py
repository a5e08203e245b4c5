"""Text in the columns of a terminal, in any script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

SYMBOLS = {" ": "␣", "\t": "⇥", "\n": "⏎"}


def visible(token: str) -> str:
    """The token with visible spaces and control characters, and a base for a combining mark at its start."""
    shown = "".join(map(visible_character, token))
    return f"◌{shown}" if shown and unicodedata.combining(shown[0]) else shown


def visible_character(character: str) -> str:
    """The character, or what to show for it: `<0>` for NUL."""
    if character in SYMBOLS:
        return SYMBOLS[character]
    return character if character.isprintable() or character in "\u200c\u200d" else f"<{ord(character):X}>"


def isolate(text: str) -> str:
    """The text, with a left-to-right mark after right-to-left letters, so that they do not reorder what follows."""
    return f"{text}\u200e" if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text) else text


def center(text: str, size: int) -> str:
    """The text in the middle of `size` columns, of which the last stays empty."""
    room = size - 1 - display_width(text)
    return " " * (room // 2) + isolate(text) + " " * (room - room // 2 + 1)


def table(rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> list[str]:
    """Rows as lines with aligned columns, two spaces between them; those in `left` begin at the left, others end."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = []
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            room = " " * (width - display_width(cell))
            cells.append(isolate(cell) + room if number in left else room + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def cut(text: str, size: int) -> str:
    """The text in at most `size` columns, with … where something is left out."""
    if display_width(text) <= size:
        return text
    start = ""
    for character in text:
        if display_width(start + character) > size - 1:
            break
        start += character
    return f"{start}…"


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(map(character_width, text))


def character_width(character: str) -> int:
    """How many columns a character takes: 2 if wide, 0 if it combines with the one before."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":
        return 0  # the last range: vowels and finals of a Korean syllable written as letters
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
