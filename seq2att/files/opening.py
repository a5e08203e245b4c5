"""Compressed files: recognised by their first bytes, whatever they are called, and read as what they hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import shlex
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from seq2att.errors import UserError

MAGIC_BYTES = 262  # enough for every format below; that of tar ends there
TAR = slice(257, 262)
BROKEN = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError, NotImplementedError)
"""What the libraries raise about a broken or encrypted archive; and an OSError without a number."""


class ByteStream(Protocol):
    """What is read from."""

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""


class Packing(NamedTuple):
    """A way in which one file is compressed."""

    name: str
    magic: bytes
    suffix: str
    unpack: str  # the command that writes the content to standard output
    open: Callable[[BinaryIO], Any]


def open_zstd(stream: BinaryIO) -> Any:
    """The content of a zstd file; `E-package` where pyarrow was built without it."""
    import pyarrow as pa

    if not pa.Codec.is_available("zstd"):
        remedy = f"unpack it with `zstd -d {shlex.quote(stream.name)}`"
        raise UserError("E-package", stream.name, "needs zstd, which this build of pyarrow lacks", remedy)
    return pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd")


def open_zip(stream: BinaryIO) -> Any:
    """The only file of a zip archive; `E-file` where it holds several."""
    archive = zipfile.ZipFile(stream)
    names = [entry.filename for entry in archive.infolist() if is_content(entry)]
    if "[Content_Types].xml" in names:
        document = "is an Office document (Excel, Word), no text"
        raise UserError("E-file", stream.name, document, "save it as CSV UTF-8 there")
    if len(names) != 1:
        listed = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        problem = f"is a zip archive of {len(names)} files{f' ({listed})' if names else ''}, not of one"
        remedy = f"unpack it with `unzip {shlex.quote(stream.name)}` and name a file of it"
        raise UserError("E-file", stream.name, problem, remedy)
    return archive.open(names[0])


def is_content(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry of a zip archive is a file of the user, none that macOS adds."""
    hidden = entry.filename.startswith("__MACOSX/") or entry.filename.rpartition("/")[2].startswith(".")
    return not (entry.is_dir() or hidden)


PACKINGS = (
    Packing("gzip", b"\x1f\x8b", ".gz", "gzip -dc", lambda stream: gzip.GzipFile(fileobj=stream)),
    Packing("bzip2", b"BZh", ".bz2", "bzip2 -dc", bz2.BZ2File),
    Packing("xz", b"\xfd7zXZ\0", ".xz", "xz -dc", lzma.LZMAFile),
    Packing("zstd", b"\x28\xb5\x2f\xfd", ".zst", "zstd -dc", open_zstd),
    Packing("zip", b"PK\3\4", ".zip", "unzip -p", open_zip),
)
SUFFIXES = tuple(packing.suffix for packing in PACKINGS)

FOREIGN = {  # what is no text: its first bytes, what it is and what to do
    b"PAR1": ("a parquet file", "set reader=parquet"),
    b"7z\xbc\xaf\x27\x1c": ("a 7z archive", "unpack it with `7z x {}`"),
    b"Rar!\x1a\x07": ("a rar archive", "unpack it with `unrar x {}`"),
    b"\x04\x22\x4d\x18": ("an lz4 file", "unpack it with `lz4 -d {}`"),
    b"\x1f\x9d": ("a file of `compress`", "unpack it with `gzip -d {}`"),
    b"PK\5\6": ("a zip archive of no file", "name another file"),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": ("an Office document (Excel, Word)", "save it as CSV UTF-8 there"),
    b"%PDF-": ("a PDF document", "extract its text, as `pdftotext {}` does"),
    b"SQLite format 3\0": ("an SQLite database", "export the table as CSV"),
    b"ARROW1\0\0": ("an Arrow file", "write it as parquet, for reader=parquet"),
}


def plain_name(name: str) -> str:
    """A file name without the suffix of a compression."""
    return next((name.removesuffix(suffix) for suffix in SUFFIXES if name.endswith(suffix)), name)


def packing_of(head: bytes) -> Packing | None:
    """How a file with these first bytes is compressed; None where it is not."""
    return next((packing for packing in PACKINGS if head.startswith(packing.magic)), None)


def packing_of_file(path: Path) -> Packing | None:
    """How a file is compressed; None where it is not."""
    with path.open("rb") as stream:
        return packing_of(stream.read(MAGIC_BYTES))


@contextmanager
def open_content(path: Path) -> Iterator[ByteStream]:
    """The bytes that a file holds, unpacked where it is compressed; `E-file` where they are no text by their magic."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise UserError("E-file", f"{path}", f"cannot be read ({error.strerror})", "check the path") from error
    with file:
        head = file.read(MAGIC_BYTES)
        file.seek(0)
        packing = packing_of(head)
        if packing is None:
            if not head and path.name.endswith(SUFFIXES):
                raise UserError("E-file", f"{path}", "is empty, which no compressed file is", "fetch it again")
            check_text(path, head)
            yield file
            return
        with packing.open(file) as content:
            yield Unpacked(content, path)


class Unpacked:
    """The content of a compressed file, checked to be no archive itself."""

    def __init__(self, content: ByteStream, path: Path) -> None:
        self.content, self.path = content, path
        self.head = read_fully(content, MAGIC_BYTES)
        if packing := packing_of(self.head):
            remedy = "unpack it once"
            raise UserError("E-file", f"{path}", f"is compressed twice: it holds a {packing.name} file", remedy)
        check_text(path, self.head)

    def read(self, size: int, /) -> bytes:
        """Up to so many bytes; none at the end."""
        if self.head:
            head, self.head = self.head[:size], self.head[size:]
            return head
        return self.content.read(size)


def read_fully(stream: ByteStream, size: int) -> bytes:
    """So many bytes, or all that are left."""
    parts = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def check_text(path: Path, head: bytes) -> None:
    """Raise `E-file` where the first bytes are those of an archive of several files, or of what is no text."""
    kind, remedy = next((what for magic, what in FOREIGN.items() if head.startswith(magic)), ("", ""))
    if head[TAR] == b"ustar":
        kind, remedy = "a tar archive", "unpack it with `tar -xf {}` and name a file of it"
    if kind:
        raise UserError("E-file", f"{path}", f"is {kind}, no text", remedy.replace("{}", shlex.quote(str(path))))
