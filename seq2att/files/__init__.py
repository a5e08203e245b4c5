"""Files: text is found with a helpful error and read line by line as strict UTF-8; what is written appears whole."""

from __future__ import annotations

import difflib
import errno
import gzip
import os
import re
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

from seq2att.errors import UserError

BYTE_ORDER_MARK = "\ufeff"
SPACE = re.compile(r"\s+")
PARTIAL = ".partial"  # ends the name of a file that is being written
NO_FOLDER_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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


# -- writing --


def write_file(path: Path, content: bytes | str) -> None:
    """Write a whole file, text as UTF-8: afterwards it holds the content, or what it held before."""
    with open_atomic(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file of this name when the block ends, and vanish if it raises.

    The bytes go to a temporary file in the same folder, which is made; this file is on the disk before it gets the
    name, so neither a killed process nor a power failure leaves a part. A device or a pipe is written to directly.

    Raises:
        UserError: `E-file` if the system refuses; the old file is as it was.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    try:
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}{PARTIAL}")
        try:
            with partial.open("xb") as stream:
                if path.exists():
                    shutil.copymode(path, partial)
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk, where the system can: Windows and some network folders cannot."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left of the files that they wrote; no other process may write in the folder."""
    for leftover in folder.glob(f".*.*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> UserError:
    """The error about a file that the system did not let us write."""
    if error.errno in FULL:
        remedy = "free space there, then give the same command again"
    elif error.errno == errno.EIO:
        remedy = "check the disk or the network, then give the same command again"
    else:
        remedy = "change the rights of the folder, or choose another"
    return UserError("E-file", f"{path}", f"cannot be written ({error.strerror or error})", remedy)
