"""Checks of the characters of texts: what nobody sees, what was damaged, what was left over by another program."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Callable

import numpy as np

from seq2att.audit.characters import FIRST_ODD, NUMBER, SCRIPTS, Characters, name_of
from seq2att.audit.context import Block, Check, Column, Context
from seq2att.audit.findings import shown

OF_KIND = {
    "NUL": "nul-character",
    "CONTROL": "control-character",
    "WINDOWS": "windows-character",
    "ODD_SPACE": "odd-space",
    "BOM": "byte-order-mark",
    "INVISIBLE": "invisible-character",
    "JOINER": "invisible-character",
    "DIRECTION": "direction-mark",
    "REPLACEMENT": "replacement-character",
    "SURROGATE": "lone-surrogate",
    "PRIVATE": "private-character",
}
"""The defect that a class of characters is."""
JOINING = ("ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "TELUGU", "KANNADA", "MALAYALAM", "GUJARATI", "LETTER", "OTHER")
"""Scripts, and symbols such as emoji, in which joiners are spelling."""
ENTITY = re.compile(r"&(?:[A-Za-z]{2,8}|#\d{2,6}|#[xX][0-9A-Fa-f]{2,6});")
TAG = re.compile(
    r"</?(?:a|b|i|u|p|em|br|hr|tt|td|tr|th|li|ul|ol|h[1-6]|div|img|pre|sub|sup|span|font|code|table|strong|center)"
    r"(?:\s[^<>]{0,200})?/?>",
    re.IGNORECASE,
)
ESCAPE = re.compile(r"\\(?:[nrt\"'](?![A-Za-z]{2})|u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2})")
GARBLED = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
                     "\u2013\u2014\u2018-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122]+")  # fmt: skip
LEFT_OVER: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("html-entity", "&", ENTITY),
    ("html-tag", "<", TAG),
    ("backslash-escape", "\\", ESCAPE),
)
LOOK_ALIKE = re.compile(
    "[A-Za-z](?:[\u0370-\u03ff\u0400-\u04ff]*[A-Za-z])*[аеорсухіјѕԁАВЕКМНОРСТУХІЈЅορνΑΒΕΖΗΙΚΜΝΟΡΤΥΧ]"
    "|[аеорсухіјѕԁАВЕКМНОРСТУХІЈЅορνΑΒΕΖΗΙΚΜΝΟΡΤΥΧ][A-Za-z]|[\u0400-\u04ff][A-Za-z]"
)
LONG_WORD = 200
MOST_OF_SIDE = 0.95  # share of the rows in one script from which others are wrong
LEAST_LETTERS = 3  # of a row whose script is judged


class OddCharacters(Check):
    """Characters and remains of markup, by classes and patterns."""

    def see(self, block: Block) -> None:
        """Examine the texts of a block."""
        for side in self.context.of_kind("text", "tags", "label"):
            characters = block.characters(side.name)
            self.odd(block, side.name, characters)
            if side.kind != "text":
                continue
            if not self.context.running:
                self.spaces(block, side.name, characters)
            for name, sign, pattern in LEFT_OVER:
                if sign in characters.joined:
                    self.match(block, side.name, characters, name, pattern)
            if not characters.is_ascii:
                self.garbled(block, side.name, characters)
                self.look_alike(block, side.name, characters)
            self.long_words(block, side.name, characters)

    def add(self, name: str, block: Block, side: str, rows: list[int], detail: Callable[[int], str]) -> None:
        """Add rows of a block."""
        numbers = block.numbers[rows].tolist()
        row_of = dict(zip(numbers, rows, strict=True))
        self.findings.add(name, block.split, numbers, lambda number: detail(row_of[number]), side)

    def odd(self, block: Block, side: str, characters: Characters) -> None:
        """Characters whose class is a defect."""
        if characters.is_ascii and characters.codes.size and characters.classes.max() < FIRST_ODD:
            return
        for kind, name in OF_KIND.items():
            positions = np.flatnonzero(characters.classes == NUMBER[kind])
            if not len(positions) or (kind == "ODD_SPACE" and block.context.sides[side].normalize.startswith("nfk")):
                continue
            rows = characters.rows_at(positions)
            if kind == "JOINER":
                rows = rows[characters.count(*JOINING)[rows] == 0]
            first = {
                int(row): int(p) for p, row in zip(positions[::-1], characters.owner[positions[::-1]], strict=True)
            }

            def detail(row: int, first: dict[int, int] = first) -> str:
                position = first[row]
                character = characters.joined[position]
                return f"{name_of(character)} at character {position - int(characters.offsets[row]) + 1}"

            self.add(name, block, side, rows.tolist(), detail)

    def spaces(self, block: Block, side: str, characters: Characters) -> None:
        """Spaces at either end, or several in a row."""
        spaces, owner = characters.spaces, characters.owner
        if not len(spaces):
            return
        same = owner[1:] == owner[:-1]
        doubled = np.flatnonzero(spaces[:-1] & spaces[1:] & same)
        full = np.flatnonzero(characters.lengths)
        ends = np.concatenate([characters.offsets[full], characters.offsets[full + 1] - 1])
        is_odd = np.zeros(len(block), bool)
        is_odd[owner[doubled]] = True
        is_odd[owner[ends[spaces[ends]]]] = True
        is_odd &= characters.count("SPACE") < characters.lengths
        self.add("extra-space", block, side, np.flatnonzero(is_odd).tolist(), lambda row: shown(characters.texts[row]))

    def match(self, block: Block, side: str, characters: Characters, name: str, pattern: re.Pattern[str]) -> None:
        """Rows in which a pattern occurs."""
        details: dict[int, str] = {}
        for match in pattern.finditer(characters.joined):
            row = int(np.searchsorted(characters.offsets, match.start(), "right")) - 1
            if match.end() <= characters.offsets[row + 1] and is_left_over(name, match[0]):
                details.setdefault(row, match[0])
        self.add(name, block, side, list(details), lambda row: shown(details[row]))

    def garbled(self, block: Block, side: str, characters: Characters) -> None:
        """Rows in which UTF-8 was read as Latin-1 or Windows-1252."""
        details: dict[int, str] = {}
        for match in GARBLED.finditer(characters.joined):
            row = int(np.searchsorted(characters.offsets, match.start(), "right")) - 1
            if row not in details and (fixed := ungarble(match[0])):
                details[row] = f"{shown(match[0])} for {shown(fixed)}"
        self.add("mojibake", block, side, list(details), details.__getitem__)

    def look_alike(self, block: Block, side: str, characters: Characters) -> None:
        """Words with letters of two scripts that look alike."""
        latin = characters.count("LATIN", "UPPER") > 0
        rows = np.flatnonzero(latin & (characters.count("CYRILLIC", "GREEK") > 0)).tolist()
        details = {}
        for row in rows:
            for word in characters.texts[row].split():
                if LOOK_ALIKE.search(word):
                    odd = next(c for c in word if not c.isascii() and c.isalpha())
                    details[row] = f"{shown(word)} has {name_of(odd)}"
                    break
        self.add("look-alike-letter", block, side, list(details), details.__getitem__)

    def long_words(self, block: Block, side: str, characters: Characters) -> None:
        """Rows with a very long word."""
        starts = np.append(characters.gaps, True)
        starts[characters.offsets] = True
        bounds = np.flatnonzero(starts)
        rows = characters.rows_at(bounds[:-1][np.diff(bounds) > LONG_WORD + 1])
        scripts = characters.count("CJK", "THAI", "KHMER", "MYANMAR", "TIBETAN")  # these have no spaces
        rows = rows[scripts[rows] == 0]
        self.add(
            "long-word", block, side, rows.tolist(), lambda row: shown(max(characters.texts[row].split(), key=len))
        )


def is_left_over(name: str, text: str) -> bool:
    """Whether a match is one: an entity that HTML knows."""
    return name != "html-entity" or html.unescape(text) != text


def ungarble(text: str) -> str:
    """The text that was meant, where a text is UTF-8 read as another encoding; else an empty one."""
    for encoding in ("cp1252", "latin-1"):
        try:
            return text.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
    return ""


class NormalForms(Check):
    """The same letters composed in some rows and decomposed in others."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.composed: dict[str, set[str]] = {}  # of each side, the composed letters that occur
        self.decomposed: dict[tuple[str, str], dict[str, list[int]]] = {}  # (split, side) -> letter -> rows

    def applies(self) -> bool:
        return any(side.normalize == "none" for side in self.context.of_kind("text"))

    def see(self, block: Block) -> None:
        """Count the scripts of the characters of a block."""
        for side in self.context.of_kind("text"):
            characters = block.characters(side.name)
            if side.normalize != "none" or characters.is_ascii:
                continue
            letters = map(chr, np.flatnonzero(np.bincount(characters.codes)[0x80:]) + 0x80)
            self.composed.setdefault(side.name, set()).update(filter(unicodedata.decomposition, letters))
            rows = self.decomposed.setdefault((block.split, side.name), {})
            for row in characters.with_kind("MARK").tolist():
                text = characters.texts[row]
                if not unicodedata.is_normalized("NFC", text):
                    for letter in set(unicodedata.normalize("NFC", text)) - set(text):
                        rows.setdefault(letter, []).append(int(block.numbers[row]))

    def finish(self) -> None:
        for (split, side), rows in self.decomposed.items():
            for letter in sorted(set(rows) & self.composed.get(side, set())):
                detail = f"{letter} as {len(unicodedata.normalize('NFD', letter))} characters, elsewhere as one"
                self.findings.add("mixed-normal-forms", split, rows[letter], detail, side)


class Script(Check):
    """Rows in another script than nearly all of their side."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.scripts: dict[str, Column] = {side.name: Column(np.int8) for side in context.of_kind("text")}

    def applies(self) -> bool:
        return not self.context.running

    def see(self, block: Block) -> None:
        indices = [NUMBER[script] for script in SCRIPTS]
        for side, column in self.scripts.items():
            counts = block.characters(side).counts
            letters = counts[:, indices]  # [rows, scripts]
            letters[:, 0] += counts[:, NUMBER["UPPER"]]
            main = letters.argmax(1)
            is_clear = letters.max(1) >= np.maximum(LEAST_LETTERS, 0.7 * letters.sum(1))
            column.add(block.split, np.where(is_clear, main, -1))

    def finish(self) -> None:
        for side, column in self.scripts.items():
            total = np.bincount(column.of("train") + 1, minlength=len(SCRIPTS) + 1)[1:]
            if not total.sum() or total.max() < MOST_OF_SIDE * total.sum():
                continue
            main = int(total.argmax())
            for split in column.splits():
                scripts = column.of(split)
                wrong = np.flatnonzero((scripts >= 0) & (scripts != main))
                name, share = SCRIPTS[main].title(), total.max() / total.sum()
                self.context.add("wrong-script", split, wrong, f"not {name}, as {share:.1%} of training are", side)
