"""Repairs of texts, by the defect that they undo."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable, Iterable

from seq2att.audit.text import ENTITY, ESCAPE, GARBLED, TAG, ungarble

WINDOWS = re.compile("[\x80-\x9f]")
ODD_SPACE = re.compile("[\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]")


def windows(match: re.Match[str]) -> str:
    """The sign of Windows-1252 that a control character stands for; nothing where there is none."""
    return match[0].encode("latin-1").decode("cp1252", "ignore")


def unescape(match: re.Match[str]) -> str:
    """The character that an escape stands for; a space for a line end or a tab."""
    sign = match[0][1]
    if sign in "ux":
        return chr(int(match[0][2:], 16))
    return " " if sign in "nrt" else sign


def deleting(pattern: str) -> Callable[[str], str]:
    """A function that deletes what a pattern matches."""
    compiled = re.compile(pattern)
    return lambda text: compiled.sub("", text)


REPAIRS: dict[str, Callable[[str], str]] = {
    "mojibake": lambda text: GARBLED.sub(lambda match: ungarble(match[0]) or match[0], text),
    "windows-character": lambda text: WINDOWS.sub(windows, text),
    "html-tag": lambda text: TAG.sub(" ", text),
    "html-entity": lambda text: ENTITY.sub(lambda match: html.unescape(match[0]), text),
    "backslash-escape": lambda text: ESCAPE.sub(unescape, text),
    "nul-character": deleting("\0"),
    "control-character": deleting("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]"),
    "byte-order-mark": deleting("\ufeff"),
    "invisible-character": deleting("[\u00ad\u180e\u200b-\u200d\u2060-\u2063]"),
    "direction-mark": deleting("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"),
    "private-character": lambda text: "".join(c for c in text if unicodedata.category(c) not in ("Co", "Cn")),
    "mixed-normal-forms": lambda text: unicodedata.normalize("NFC", text),
    "odd-space": lambda text: ODD_SPACE.sub(" ", text),
    "extra-space": lambda text: re.sub(" {2,}", " ", text).strip(" "),
}
"""What undoes a defect, in the order in which they are applied."""


def repair(text: str, defects: Iterable[str]) -> str:
    """A text without these defects."""
    chosen_defects = set(defects)
    for name, function in REPAIRS.items():
        if name in chosen_defects:
            text = function(text)
    return text
