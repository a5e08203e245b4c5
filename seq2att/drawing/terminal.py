"""Text in the columns of a terminal, whatever its script."""

from __future__ import annotations

import unicodedata

SIGNS = {" ": "␣", "\t": "⇥", "\n": "⏎"}


def visible(token: str) -> str:
    """The token with its spaces and control characters made visible, and something to carry a lone mark."""
    shown = "".join(map(visible_character, token))
    return f"◌{shown}" if shown and unicodedata.combining(shown[0]) else shown


def visible_character(character: str) -> str:
    """The character, or what to show for it: `<0>` for NUL."""
    if character in SIGNS:
        return SIGNS[character]
    return character if character.isprintable() or character in "\u200c\u200d" else f"<{ord(character):X}>"


def closed(text: str) -> str:
    """The text, with a left-to-right mark behind right-to-left letters, so that they do not turn their neighbours."""
    return f"{text}\u200e" if any(unicodedata.bidirectional(character) in ("R", "AL") for character in text) else text


def pad(text: str, size: int) -> str:
    """The text in so many columns of a terminal, in the middle of all but the last, which stays empty."""
    room = size - 1 - display_width(text)
    return " " * (room // 2) + closed(text) + " " * (room - room // 2 + 1)


def cut(text: str, size: int) -> str:
    """The text in at most so many columns, with … where something is left out."""
    if display_width(text) <= size:
        return text
    kept = ""
    for character in text:
        if display_width(kept + character) > size - 1:
            break
        kept += character
    return f"{kept}…"


def display_width(text: str) -> int:
    """How many columns of a terminal the text takes."""
    return sum(map(width_of, text))


def width_of(character: str) -> int:
    """How many columns a character takes: 2 for wide ones, 0 for marks on the one before."""
    if unicodedata.category(character) in ("Mn", "Me", "Cf") or "\u1160" <= character <= "\u11ff":
        return 0  # the last range: vowels and finals of a Korean syllable written as letters
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
