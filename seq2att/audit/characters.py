"""The characters of many texts at once: a class for each, and how many of each class a text has."""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

SCRIPTS = (
    "LATIN GREEK CYRILLIC ARMENIAN GEORGIAN HEBREW ARABIC DEVANAGARI BENGALI TAMIL TELUGU KANNADA MALAYALAM GUJARATI "
    "THAI KHMER MYANMAR TIBETAN ETHIOPIC HANGUL CJK"
).split()
KINDS = (
    "OTHER",
    *SCRIPTS,
    *"LETTER DIGIT QUESTION COMMA STOP UPPER MARK SPACE LINE NUL CONTROL WINDOWS ODD_SPACE".split(),
    *"BOM INVISIBLE JOINER DIRECTION REPLACEMENT SURROGATE PRIVATE".split(),
)
"""The classes: scripts of letters (UPPER: capital Latin ones), and what else is counted."""
NUMBER = {name: number for number, name in enumerate(KINDS)}
FIRST_ODD = NUMBER["NUL"]  # from here on the classes are defects
UNKNOWN = 255
NAMED = {
    **dict.fromkeys("?？;؟", "QUESTION"),
    **dict.fromkeys(",，、،", "COMMA"),
    **dict.fromkeys(".。!！", "STOP"),
    " ": "SPACE",
    "\u3000": "ODD_SPACE",
    **dict.fromkeys("\t\n\r", "LINE"),
    "\0": "NUL",
    **dict.fromkeys(map(chr, range(0x80, 0xA0)), "WINDOWS"),
    "\ufeff": "BOM",
    **dict.fromkeys("\u00ad\u200b\u2060\u2061\u2062\u2063\u180e", "INVISIBLE"),
    **dict.fromkeys("\u200c\u200d", "JOINER"),
    **dict.fromkeys("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "DIRECTION"),
    "\ufffd": "REPLACEMENT",
}
OF_CATEGORY = {
    "Cc": "CONTROL",
    "Zs": "ODD_SPACE",
    "Zl": "ODD_SPACE",
    "Zp": "ODD_SPACE",
    "Cs": "SURROGATE",
    "Co": "PRIVATE",
    "Cn": "PRIVATE",
    "Mn": "MARK",
    "Mc": "MARK",
    "Nd": "DIGIT",
}
JAMO = range(0x1100, 0x1200)  # parts of Hangul syllables, as NFD writes them
SAME_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK", "HALFWIDTH": "CJK", "FULLWIDTH": "LATIN", "BOPOMOFO": "CJK"}

Codes = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]


def kind_of(character: str) -> str:
    """The class of a character."""
    if character in NAMED:
        return NAMED[character]
    category = unicodedata.category(character)
    if ord(character) in JAMO:
        return "MARK"
    if category == "Lu" and character.isascii():
        return "UPPER"
    if category in ("Lu", "Ll", "Lt", "Lo"):
        script = unicodedata.name(character, "").partition(" ")[0]
        script = SAME_SCRIPT.get(script, script)
        return script if script in SCRIPTS else "LETTER"
    return OF_CATEGORY.get(category, "OTHER")


class Classes:
    """The class of every code point, looked up when it first occurs."""

    def __init__(self) -> None:
        self.table = np.full(0x110000, UNKNOWN, np.uint8)

    def of(self, codes: Codes) -> npt.NDArray[np.uint8]:
        """The classes of code points."""
        classes = self.table[codes]
        new = codes[classes == UNKNOWN]
        if len(new):
            for code in np.flatnonzero(np.bincount(new)).tolist():
                self.table[code] = NUMBER[kind_of(chr(code))]
            classes = self.table[codes]
        return classes


class Characters:
    """The characters of texts: code points and classes of all in one array, and the counts of each class."""

    def __init__(self, texts: Sequence[str], classes: Classes) -> None:
        self.texts = texts
        self.lengths: Numbers = np.fromiter(map(len, texts), np.int64, len(texts))
        self.offsets: Numbers = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.lengths)])
        joined = "".join(texts)
        self.is_ascii = joined.isascii()
        raw = joined.encode("latin-1") if self.is_ascii else joined.encode("utf-32-le", "surrogatepass")
        self.codes: Codes = np.frombuffer(raw, np.uint8 if self.is_ascii else np.uint32)
        self.classes = classes.of(self.codes)
        self.joined = joined

    @functools.cached_property
    def owner(self) -> Numbers:
        """The text of every character."""
        return np.repeat(np.arange(len(self.texts)), self.lengths)

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """How many characters of each class every text has `[texts, classes]`."""
        cells = self.owner * len(KINDS) + self.classes
        size = len(self.texts) * len(KINDS)
        return np.bincount(cells, minlength=size).reshape(-1, len(KINDS))

    def count(self, *kinds: str) -> Numbers:
        """How many characters of these classes every text has `[texts]`."""
        return np.asarray(self.counts[:, [NUMBER[kind] for kind in kinds]].sum(1))

    def with_kind(self, *kinds: str) -> Numbers:
        """The texts that have a character of these classes."""
        return np.flatnonzero(self.count(*kinds))

    def rows_at(self, positions: Sequence[int] | Numbers) -> Numbers:
        """The texts that hold these positions, which are sorted; each once, in order."""
        rows = np.searchsorted(self.offsets, np.asarray(positions, np.int64), "right") - 1
        return np.asarray(rows[np.diff(rows, prepend=-1) > 0])

    @functools.cached_property
    def spaces(self) -> npt.NDArray[np.bool_]:
        """Which characters are plain spaces."""
        return np.asarray(self.classes == NUMBER["SPACE"])

    @functools.cached_property
    def gaps(self) -> npt.NDArray[np.bool_]:
        """Which characters stand between words: spaces and line ends."""
        return np.asarray(self.spaces | (self.classes == NUMBER["LINE"]))

    @functools.cached_property
    def words(self) -> Numbers:
        """How many words every text has, between spaces and line ends `[texts]`."""
        starts = ~self.gaps
        starts[1:] &= self.gaps[:-1] | (self.owner[1:] != self.owner[:-1])
        return np.bincount(self.owner[starts], minlength=len(self.texts)).astype(np.int64)


def name_of(character: str) -> str:
    """A character as messages name it: `U+200B ZERO WIDTH SPACE`."""
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X}{f' {name}' if name else ''}"
