"""Files: text is found with a helpful error and read line by line as strict UTF-8; what is written appears whole."""

from __future__ import annotations

import difflib
import glob
import re
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files.encoding import decode
from seq2att.files.lines import Fault, Line, describe_form, read_lines
from seq2att.files.opening import SUFFIXES, plain_name
from seq2att.files.writing import PARTIAL, open_atomic, remove_partial, unwritable, write_file, writing_to

SPACE = re.compile(r"\s+")

__all__ = [
    "PARTIAL",
    "SUFFIXES",
    "Fault",
    "Line",
    "decode",
    "describe_form",
    "find_file",
    "find_files",
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
    "writing_to",
]


def resolve(key: str, name: str, root: Path | None) -> Path:
    """The path of a file name in the settings: relative to `data.root`, or to the working directory."""
    try:
        return (root or Path()) / Path(name).expanduser()
    except RuntimeError:  # of Python, where it knows no such user
        problem = "no such home folder is known"
        raise UserError("E-file", f"{key}={name}", problem, "write the whole path, or './~...' for a name") from None


def find_file(key: str, name: str, root: Path | None) -> Path:
    """The file of that name, or its compressed form such as `.gz`; `E-file` names the files that are there."""
    path = resolve(key, name, root)
    compressed = [path.with_name(f"{path.name}{suffix}") for suffix in SUFFIXES] if path.name else []  # not of `.`
    for candidate in (path, *compressed):
        if candidate.is_file():
            return candidate
    if path.is_dir():
        raise UserError("E-file", f"{key}={name}", f"{path.resolve()} is a folder", "name a file in it")
    raise UserError("E-file", f"{key}={name}", f"there is no file {path.resolve()}", whereabouts(path, root))


def find_files(key: str, name: str, root: Path | None) -> list[tuple[Path, str]]:
    """The files of a name or of a pattern such as `corpus/*.tsv`, sorted, compressed ones too; each with its name.

    The name of a file is relative to `root`. `E-file` where there is none, `E-conflict` where a file is there twice,
    plain and compressed.
    """
    path = resolve(key, name, root)
    if path.is_file() or not glob.has_magic(name):
        return [(find_file(key, name, root), name)]
    matches = {match for suffix in ("", *SUFFIXES) for match in glob.glob(f"{path}{suffix}", recursive=True)}
    files = sorted(Path(match) for match in matches if Path(match).is_file())
    if not files:
        raise UserError("E-file", f"{key}={name}", "no file matches this pattern", whereabouts(path, root))
    plain: dict[str, Path] = {}
    for file in files:
        other = plain.setdefault(plain_name(str(file)), file)
        if other != file:
            problem = f"matches {other.name} and {file.name}, which would be read twice"
            raise UserError("E-conflict", f"{key}={name}", problem, "move one away, or write a narrower pattern")
    is_relative = root is not None and not Path(name).expanduser().is_absolute()
    return [(file, (file.relative_to(root) if root and is_relative else file).as_posix()) for file in files]


def whereabouts(path: Path, root: Path | None) -> str:
    """The remedy for a missing path: the names near it, and the setting to correct."""
    setting = f"data.root is {root}" if root is not None else "data.root is not set"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent.resolve()} either; {setting}, set data.root=DIR to where the data lies"
    names = sorted(entry.name for entry in path.parent.iterdir())
    if close := difflib.get_close_matches(path.name, names, 3):
        near = f"similar names there: {', '.join(close)}"
    else:
        near = f"the folder holds {', '.join(names[:8]) or 'nothing'}{', ...' if len(names) > 8 else ''}"
    return f"{near}; {setting}, correct the name or set data.root=DIR"


def shorten(text: str, size: int = 40) -> str:
    """A text in quotes, truncated where it is long."""
    return repr(text if len(text) <= size else text[: size - 3] + "...")


def one_word(text: str) -> str:
    """A word of a list as one word of a text: `_` for white space within it, and for nothing."""
    return SPACE.sub("_", text) or "_"
