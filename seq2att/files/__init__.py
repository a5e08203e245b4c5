"""Files: text is found with a helpful error and read line by line as strict UTF-8; what is written appears whole."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files.encoding import decode
from seq2att.files.lines import Line, describe_form, read_lines
from seq2att.files.opening import SUFFIXES, plain_name
from seq2att.files.writing import PARTIAL, open_atomic, remove_partial, unwritable, write_file

SPACE = re.compile(r"\s+")

__all__ = [
    "PARTIAL",
    "SUFFIXES",
    "Line",
    "decode",
    "describe_form",
    "find_file",
    "one_word",
    "open_atomic",
    "plain_name",
    "read_lines",
    "remove_partial",
    "resolve",
    "shorten",
    "unwritable",
    "whereabouts",
    "write_file",
]


def resolve(name: str, root: Path | None) -> Path:
    """The path of a file name in the settings: relative to `data.root`, or to the working directory."""
    return (root or Path()) / Path(name).expanduser()


def find_file(key: str, name: str, root: Path | None) -> Path:
    """The file of that name, or its compressed form such as `.gz`; `E-file` names the files that are there."""
    path = resolve(name, root)
    for candidate in (path, *(path.with_name(f"{path.name}{suffix}") for suffix in SUFFIXES)):
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


def shorten(text: str, size: int = 40) -> str:
    """A text in quotes, truncated where it is long."""
    return repr(text if len(text) <= size else text[: size - 3] + "...")


def one_word(text: str) -> str:
    """A word of a list as one word of a text: `_` for white space within it, and for nothing."""
    return SPACE.sub("_", text) or "_"
