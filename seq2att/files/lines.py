"""Lines of text files: UTF-8 or marked UTF-16 and UTF-32, compressed or not; the same lines for every reader."""

from __future__ import annotations

import codecs
import itertools
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from seq2att.errors import UserError
from seq2att.files.encoding import check_binary, marked_encoding, not_utf8
from seq2att.files.opening import BROKEN, ByteStream, open_content, read_fully

BLOCK = 1 << 20  # bytes read at once; line ends and encoding are those of the first block
LONGEST = 1 << 28  # bytes of a line


Fault = Callable[[str, UserError], None]
"""Gets the class of a defect and the error about it; raises the error, or returns to read on."""


class Line(NamedTuple):
    """One line of a text file."""

    number: int  # from 1
    text: str


class Form(NamedTuple):
    """How the text of a file is written."""

    encoding: str  # UTF-8, UTF-16 or UTF-32
    end: bytes  # of a line: a line feed, with or without a carriage return before it, or a carriage return alone


def read_lines(path: Path, ends: bool = False, fault: Fault | None = None) -> Iterator[Line]:
    r"""Yield the lines of a text file, unpacked where it is compressed; a byte-order mark at its start is left out.

    `\n` and `\r\n` end a line, or `\r` in a file that has no `\n`. With `ends` a line keeps its end.
    `fault` gets each line with bytes that are no text; where it returns, the line is yielded without them.
    """
    number = 0
    try:
        with open_content(path) as stream:
            head = first_block(stream)
            form = form_of(path, head)
            offset = 0
            undecodable = Undecodable(path, fault)
            for block in whole_lines(path, recoded(path, head, stream, form), form.end):
                texts = split_lines(path, block, form, ends, number, offset, undecodable)
                yield from map(Line, itertools.count(number + 1), texts)
                number += len(texts)
                offset += len(block)
    except BROKEN as error:
        raise broken(path, number, error) from error
    except OSError as error:
        if error.errno is None:  # of a library that unpacks
            raise broken(path, number, error) from error
        problem = f"cannot be read after line {number} ({error.strerror})"
        raise UserError("E-file", f"{path}", problem, "check the disk, or copy the file again") from error


def broken(path: Path, number: int, error: Exception) -> UserError:
    """The error about a compressed file that is truncated, damaged or encrypted."""
    return UserError("E-file", f"{path}", f"is broken after line {number} ({error})", "fetch or compress it again")


def describe_form(path: Path) -> str:
    """What is unusual about the encoding and the line ends of a file; empty where it is UTF-8 with line feeds."""
    try:
        with open_content(path) as stream:
            form = form_of(path, first_block(stream))
    except (UserError, OSError, *BROKEN):  # which reading it will say, with the line
        return ""
    parts = [form.encoding] * (form.encoding != "UTF-8") + ["line ends CR"] * (form.end == b"\r")
    return ", ".join(parts)


def first_block(stream: ByteStream) -> bytes:
    """The first block, which does not end between the two bytes of a line end."""
    block = read_fully(stream, BLOCK)
    return block + stream.read(1) if block.endswith(b"\r") else block


def form_of(path: Path, head: bytes) -> Form:
    """The form of a file that begins so; refuses one that is binary, or whose line ends are mostly CR beside LF."""
    encoding = marked_encoding(head) or "UTF-8"
    if encoding == "UTF-8":
        check_binary(path, head)
    else:
        head = head.decode(encoding, "replace").encode()
    feeds, returns = head.count(b"\n"), head.count(b"\r")
    alone = returns - head.count(b"\r\n")
    if feeds and alone > feeds:
        raise mixed(path, f"{alone:,} are CR alone and {feeds:,} are LF in its first {len(head):,} bytes")
    return Form(encoding, b"\r" if returns and not feeds else b"\n")


def mixed(path: Path, counts: str, line: int = 0) -> UserError:
    """The error about line ends of two kinds."""
    place = f"{path}:{line}" if line else f"{path}"
    new = shlex.quote(str(path.with_name(f"{path.stem}.lf{path.suffix}")))
    remedy = rf"convert it, `perl -pe 's/\r\n?/\n/g' {shlex.quote(str(path))} > {new}`, and name the new file"
    return UserError("E-row", place, f"its line ends are mixed: {counts}", remedy)


def recoded(path: Path, head: bytes, stream: ByteStream, form: Form) -> Iterator[bytes]:
    """The blocks of a file as UTF-8, without a mark at the start."""
    if form.encoding == "UTF-8":
        yield head.removeprefix(codecs.BOM_UTF8)
        while block := stream.read(BLOCK):
            yield block
        return
    decoder = codecs.getincrementaldecoder(form.encoding)()
    block, size = head, 0
    while True:
        try:
            yield decoder.decode(block, final=not block).encode()
        except UnicodeError as error:  # of the decoder, or a lone surrogate
            problem = f"is not {form.encoding} after byte {size:,}, as its mark says ({error.reason})"  # type: ignore[attr-defined]
            raise UserError("E-encoding", f"{path}", problem, "fetch it again, or save it as UTF-8") from error
        if not block:
            return
        size += len(block)
        block = stream.read(BLOCK)


def whole_lines(path: Path, blocks: Iterator[bytes], end: bytes) -> Iterator[bytes]:
    """The same bytes in blocks that end where a line ends; the last one may have no end."""
    parts: list[bytes] = []
    size = 0
    for block in blocks:
        cut = block.rfind(end) + 1
        size += len(block)
        if cut:
            yield b"".join([*parts, block[:cut]])
            parts, size = [], len(block) - cut
        if size > LONGEST:
            problem = f"has a line of more than {LONGEST:,} bytes"
            raise UserError("E-length", f"{path}", problem, "check that it is text with a row a line")
        if cut < len(block):
            parts.append(block[cut:])
    if parts:
        yield b"".join(parts)


def split_lines(
    path: Path, block: bytes, form: Form, ends: bool, number: int, offset: int, undecodable: Undecodable
) -> list[str]:
    """The lines of a block; `number` lines and `offset` bytes are before it."""
    if form.end == b"\r" and b"\n" in block:
        line = number + block[: block.index(b"\n")].count(b"\r") + 1
        raise mixed(path, "CR before, LF here", line)
    try:
        text = block.decode()
    except UnicodeDecodeError:
        text = decode_lines(block, form.end, number, offset, undecodable)
    end = form.end.decode()
    lines = text.split(end)
    last = lines.pop()
    if ends:
        lines = [f"{line}{end}" for line in lines]
    elif "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    return [*lines, last] if last else lines


class Undecodable:
    """What happens with the lines of a file that are no text; the encoding of the file is examined once."""

    def __init__(self, path: Path, fault: Fault | None) -> None:
        self.path, self.fault, self.is_first = path, fault, True

    def __call__(self, line: int, index: int, byte: int, offset: int) -> None:
        """Report a line, by the index of its first wrong byte and the offset of that in the file, all from 0."""
        if self.is_first:
            mark = len(codecs.BOM_UTF8) if has_mark(self.path) else 0
            problem = not_utf8(self.path, line, index, offset + mark)
        else:
            position = f"byte {index + 1} of the line (0x{byte:02x})"
            problem = UserError("E-encoding", f"{self.path}:{line + 1}", f"{position} is not UTF-8", "correct the line")
        self.is_first = False
        if self.fault is None:
            raise problem
        self.fault("undecodable-bytes", problem)


def decode_lines(block: bytes, end: bytes, number: int, offset: int, undecodable: Undecodable) -> str:
    """The text of a block without the bytes that are not UTF-8; each line that has some is reported."""
    texts = []
    for line, raw in enumerate(block.split(end), number):
        try:
            texts.append(raw.decode())
        except UnicodeDecodeError as error:
            undecodable(line, error.start, raw[error.start], offset + error.start)
            texts.append(raw.decode(errors="ignore"))
        offset += len(raw) + len(end)
    return end.decode().join(texts)


def has_mark(path: Path) -> bool:
    """Whether the content of a file begins with the mark of UTF-8."""
    with open_content(path) as stream:
        return read_fully(stream, len(codecs.BOM_UTF8)) == codecs.BOM_UTF8
