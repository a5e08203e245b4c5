"""Encodings: text is UTF-8, or UTF-16 and UTF-32 by their marks; what is not gets a name only where that is plausible.

Each candidate is tried on the whole file. It is plausible where it decodes without an error or a control character, and
where as many of the characters that are not ASCII are frequent ones of its languages as in real text.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from seq2att.errors import UserError
from seq2att.files.opening import open_content, packing_of_file, plain_name, read_fully

MOST_EXAMINED = 1 << 26  # bytes of a file that are examined for its encoding
MOST_SCORED = 1 << 20  # characters whose frequency is counted
MARKS = {  # the longer ones first: that of UTF-16LE begins that of UTF-32LE
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
ESCAPES = {b"\x1b$B": "ISO-2022-JP", b"\x1b$@": "ISO-2022-JP", b"\x1b$)C": "ISO-2022-KR"}
FEWEST_VALID = 4  # valid characters for each wrong byte, in a file that is UTF-8 but for some bytes
BINARY = 0.05  # share of NUL bytes above which a file is no text
WORD = re.compile(r"[^\W\d_]*[^\W\d_\x00-\x7f][^\W\d_]*")  # a word with a letter that is not ASCII
IMPOSSIBLE = re.compile("[\x80-\x9f\ue000-\uf8ff\ufffe\uffff]")  # C1 controls, private use, no characters

KANA = "".join(map(chr, (*range(0x3041, 0x3097), *range(0x30A1, 0x30FD)))) + "。、「」・"
RUSSIAN = "оеаинтсрвлкмд"
WESTERN = "äöüßéèàçêôûîïâëùñáíóúãõåæøœÄÖÜÉÈÀÇÊÔÂÑÁÍÓÚÃÕÅÆØ¿¡«»€£°§’‘“”„–—… \u00a0"
CENTRAL = "ąćęłńóśźżáčďéěíňřšťúůýžőűöüăâîşţđäôľßĄĆĘŁŃÓŚŹŻÁČĎÉĚÍŇŘŠŤÚÝŽÖÜ«»’„“”–—…\u00a0"
GREEK = "αοιετσνηυρπκμλςίάόέ"
LATIN, OTHER = (0.5, 1.0), (0.0, 0.1)  # words of one alphabet


class Candidate(NamedTuple):
    """An encoding that a file may have."""

    name: str  # of iconv and of Python
    languages: str
    frequent: str  # characters of these languages that are not ASCII
    share: float  # of such characters that are at least these, in real text
    ascii: tuple[float, float] = (0.0, 1.0)  # share of ASCII letters in words with others, least and greatest


CANDIDATES = (
    Candidate(
        "CP949",
        "Korean",
        "이다는에의을를가고하지도은한로기서어나사자리아인니시대정라그해으수들게전만과부보일있없면것구주",
        0.25,
    ),
    Candidate("SHIFT_JIS", "Japanese", KANA, 0.3),
    Candidate("CP932", "Japanese", KANA, 0.3),
    Candidate("EUC-JP", "Japanese", KANA, 0.3),
    Candidate(
        "GB18030",
        "Chinese",
        "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过后作里，。",
        0.2,
    ),
    Candidate(
        "BIG5",
        "Chinese",
        "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過後作裡，。",
        0.2,
    ),
    Candidate("CP1251", "Russian and others", RUSSIAN, 0.6, OTHER),
    Candidate("KOI8-R", "Russian", RUSSIAN, 0.6, OTHER),
    Candidate("CP866", "Russian", RUSSIAN, 0.6, OTHER),
    Candidate("ISO-8859-5", "Russian", RUSSIAN, 0.6, OTHER),
    Candidate("CP1253", "Greek", GREEK, 0.7, OTHER),
    Candidate("ISO-8859-7", "Greek", GREEK, 0.7, OTHER),
    Candidate("CP1252", "German, French and others", WESTERN, 0.9, LATIN),
    Candidate("CP1250", "Polish, Czech and others", CENTRAL, 0.9, LATIN),
    Candidate("ISO-8859-2", "Polish, Czech and others", CENTRAL, 0.9, LATIN),
    Candidate("CP1254", "Turkish", "çğıöşüÇĞİÖŞÜâîû’“”–—…", 0.9, LATIN),
)


def marked_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 where the first bytes are its mark; else an empty text."""
    return next((name for mark, name in MARKS.items() if head.startswith(mark)), "")


def decode(raw: bytes, place: str) -> str:
    """The text of the bytes of a line or of a file; `E-encoding` names the byte that is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8"
        name = marked_encoding(raw) or next(iter(plausible_encodings(raw)), "ENCODING")
        raise UserError("E-encoding", place, problem, f"convert it, as in `iconv -f {name} -t UTF-8`") from error


class OtherEncodingError(UserError):
    """The error about a file that is text in another encoding as a whole."""


def not_utf8(path: Path, line: int, index: int, offset: int) -> UserError:
    """The error about a byte of a file, by its line, its index there and its offset in the file, all from 0."""
    with open_content(path) as stream:
        content = read_fully(stream, MOST_EXAMINED)
    bad = content[offset : offset + 1] or b"?"
    problem = f"byte {index + 1} of the line (0x{bad.hex()}, byte {offset + 1:,} of the file) is not UTF-8"
    is_whole = len(content) < MOST_EXAMINED
    decoded = content.decode("utf-8", "replace")
    wrong = decoded.count("\ufffd")
    if is_whole and offset >= len(content) - 3 and wrong == 1:
        remedy = "the file ends within a character: fetch it again"
    elif count_valid(decoded) >= FEWEST_VALID * wrong:
        remedy = f"the rest is UTF-8 ({wrong:,} such place{'s' * (wrong != 1)}): correct the line"
    else:
        encodings = plausible_encodings(content)
        kind = OtherEncodingError if encodings else UserError
        return kind("E-encoding", f"{path}:{line + 1}", problem, convert(path, encodings))
    return UserError("E-encoding", f"{path}:{line + 1}", problem, remedy)


def count_valid(text: str) -> int:
    """The characters of a text that are neither ASCII nor the one for wrong bytes."""
    return len(re.findall("[^\x00-\x7f\ufffd]", text))


def convert(path: Path, encodings: dict[str, str]) -> str:
    """The remedy for a file that has one of these encodings."""
    if not encodings:
        return "find out its encoding, and convert it to UTF-8, as in `iconv -f ENCODING -t UTF-8`"
    name, languages = next(iter(encodings.items()))
    others = "".join(f", or {other} ({spoken})" for other, spoken in list(encodings.items())[1:])
    source, plain = shlex.quote(str(path)), Path(plain_name(path.name))
    new = shlex.quote(str(path.with_name(f"{plain.stem}.utf8{plain.suffix}")))
    packing = packing_of_file(path)
    command = f"iconv -f {name} -t UTF-8 {source} > {new}"
    if packing is not None:
        command = f"{packing.unpack} {source} | iconv -f {name} -t UTF-8 > {new}"
    return f"it reads as {name} ({languages}){others}: convert it, `{command}`, and name the new file"


def plausible_encodings(content: bytes) -> dict[str, str]:
    """The encodings in which these bytes are text, with their languages; the most plausible one first."""
    lines = [line for line in content.splitlines() if not line.isascii()]
    scores: dict[str, float] = {}
    for candidate in CANDIDATES:
        try:
            text = b"\n".join(lines).decode(candidate.name)
        except UnicodeDecodeError:
            continue
        score = plausibility(text, candidate)
        if score >= 1 and not any(scores[name] == score for name in scores if like(name, candidate)):
            scores[candidate.name] = score
    best = max(scores.values(), default=0.0)
    names = sorted((name for name in scores if scores[name] > 0.9 * best), key=lambda name: -scores[name])
    languages = {candidate.name: candidate.languages for candidate in CANDIDATES}
    return {name: languages[name] for name in names[:2]}


def like(name: str, candidate: Candidate) -> bool:
    """Whether an encoding is of the same languages as a candidate, or both are of languages in Latin letters."""
    other = next(one for one in CANDIDATES if one.name == name)
    return other.languages == candidate.languages or other.ascii == candidate.ascii == LATIN


def plausibility(text: str, candidate: Candidate) -> float:
    """How frequent the characters are, against real text: at least 1 where it is plausible, at most about 3."""
    if IMPOSSIBLE.search(text):
        return 0.0
    characters = [character for character in text[:MOST_SCORED] if not character.isascii()]
    if not characters:
        return 0.0
    letters = "".join(WORD.findall(text[:MOST_SCORED]))
    least, greatest = candidate.ascii
    if not least <= sum(map(str.isascii, letters)) / max(len(letters), 1) <= greatest:
        return 0.0
    frequent = set(candidate.frequent)
    return sum(character in frequent for character in characters) / len(characters) / candidate.share


def check_binary(path: Path, head: bytes) -> None:
    """Raise `E-encoding` where the first bytes of a file are those of no text, or of text in an unmarked encoding."""
    if head.count(0) > BINARY * len(head) or (0 in head and not is_utf8(head)):
        for name in ("UTF-16LE", "UTF-16BE"):
            if is_text_in(name, head):
                raise UserError("E-encoding", f"{path}", f"is {name} without its mark", convert(path, {name: "any"}))
        problem = f"is binary, no text ({head.count(0):,} of its first {len(head):,} bytes are NUL)"
        raise UserError("E-encoding", f"{path}", problem, "name a file of text")
    for escape, name in ESCAPES.items():
        if escape in head:
            raise UserError("E-encoding", f"{path}", f"is {name}, not UTF-8", convert(path, {name: "by its escapes"}))


def is_utf8(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8; the last character may be incomplete."""
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start >= len(head) - 3
    return True


def is_text_in(name: str, head: bytes) -> bool:
    """Whether bytes are text in UTF-16: line ends or spaces, and no control characters."""
    try:
        text = head[: len(head) // 2 * 2].decode(name)
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:
            return False
        text = head[: error.start].decode(name)
    controls = sum(ord(character) < 32 and character not in "\t\r\n\f" for character in text)
    return not controls and not IMPOSSIBLE.search(text) and any(character in " \n\t\r" for character in text)
