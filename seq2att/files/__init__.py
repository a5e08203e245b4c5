"""Files: text is found with a helpful error and read line by line as strict UTF-8; what is written appears whole."""

from __future__ import annotations

import difflib
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from seq2att.errors import UserError
from seq2att.files.writing import PARTIAL, open_atomic, remove_partial, unwritable, write_file

BYTE_ORDER_MARK = "\ufeff"
SPACE = re.compile(r"\s+")


class Line(NamedTuple):
    """One line of a text file."""

    number: int  # from 1
    text: str


def resolve(name: str, root: Path | None) -> Path:
    """The path of a file name in the settings: relative to `data.root`, or to the working directory."""
    return (root or Path()) / Path(name).expanduser()


def find_file(key: str, name: str, root: Path | None) -> Path:
    """The file of that name, or its compressed form `.gz`; `E-file` names the files that are there."""
    path = resolve(name, root)
    for candidate in (path, path.with_name(f"{path.name}.gz")):
        if candidate.is_file():
            return candidate
    raise UserError("E-file", f"{key}={name}", f"there is no file {path.resolve()}", whereabouts(path, root))


def whereabouts(path: Path, root: Path | None) -> str:
    """The remedy for a missing path: the names near it, and the setting to correct."""
    setting = f"data.root is {root}" if root is not None else "data.root is not set"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent.resolve()} either; {setting}, set data.root=DIR to where the data lies"
    names = sorted(entry.name for entry in path.parent.iterdir())
    if close := difflib.get_close_matches(path.name, names, 3):
        found = f"similar names there: {', '.join(close)}"
    else:
        found = f"the folder holds {', '.join(names[:8]) or 'nothing'}{', ...' if len(names) > 8 else ''}"
    return f"{found}; {setting}, correct the name or set data.root=DIR"


def read_lines(path: Path, ends: bool = False) -> Iterator[Line]:
    r"""Yield the lines of a UTF-8 file, unpacking `*.gz`; `\n` and `\r\n` end a line, a byte-order mark is left out.

    With `ends` a line keeps its end.
    """
    with cast(BinaryIO, gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")) as stream:
        number = 0
        try:
            for number, raw in enumerate(stream, start=1):
                text = decode(raw, f"{path}:{number}")
                if text.endswith("\n") and not ends:
                    text = text.removesuffix("\n").removesuffix("\r")
                yield Line(number, text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            problem = f"is broken after line {number} ({error})"
            raise UserError("E-file", f"{path}", problem, "compress it again") from error


def decode(raw: bytes, place: str) -> str:
    """The text of a line's bytes; `E-encoding` names the byte that is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        problem = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x}) is not UTF-8"
        raise UserError("E-encoding", place, problem, "convert it, as in `iconv -f LATIN1 -t UTF-8`") from error


def shorten(text: str, size: int = 40) -> str:
    """A text in quotes, truncated where it is long."""
    return repr(text if len(text) <= size else text[: size - 3] + "...")


def one_word(text: str) -> str:
    """A word of a list as one word of a text: `_` for white space within it, and for nothing."""
    return SPACE.sub("_", text) or "_"


__all__ = [
    "BYTE_ORDER_MARK",
    "PARTIAL",
    "Line",
    "decode",
    "find_file",
    "one_word",
    "open_atomic",
    "read_lines",
    "remove_partial",
    "resolve",
    "shorten",
    "unwritable",
    "whereabouts",
    "write_file",
]
