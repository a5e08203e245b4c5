"""Lines of text in and out: UTF-8, ended by a line feed (a carriage return before it is dropped), never lost."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from seq2att.errors import UserError
from seq2att.files import decode, writing_to

CHUNK_BYTES = 1 << 17  # read, and so answered, together
LONGEST_LINE = 1 << 26  # bytes


class Input(NamedTuple):
    """A stream of lines, and its name in messages."""

    stream: BinaryIO
    name: str


class Chunk(NamedTuple):
    """Some lines, or pairs of lines, that follow each other."""

    lines: list[Any]
    first: int  # the number of the first one


def standard_output() -> BinaryIO:
    """Standard output, for bytes; UserError where it is closed."""
    if sys.__stdout__ is None:
        raise UserError("E-file", "standard output", "is closed", "redirect it, or give -o FILE")
    return sys.stdout.buffer


@contextlib.contextmanager
def opened(file: str | None) -> Iterator[Input]:
    """A file for reading, or standard input (None or `-`)."""
    if file in (None, "-"):
        yield Input(sys.stdin.buffer, "standard input")
        return
    with stream_of(Path(str(file)), "rb") as stream:
        yield Input(stream, str(file))


def opened_names(names: Sequence[str]) -> Input:
    """Names of files, as the lines of a stream."""
    if strange := next((name for name in names if not name.strip() or set(name) & set("\r\n")), None):
        raise UserError("E-argument", f"{strange!r}", "is no name of a file, or one with line ends", "rename the file")
    content = "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape")
    return Input(io.BytesIO(content), "FILE")


def check_output(output: str | None, *inputs: str | None) -> None:
    """Refuse to write into a file that is read."""
    if output in (None, "-"):
        return
    files = {Path(one).resolve() for one in inputs if one not in (None, "-")}
    if files & {Path(f"{output}{end}").resolve() for end in ("", ".partial", ".partial.json")}:
        raise UserError("E-argument", f"--output={output}", "is an input of this command", "write to another file")


def stream_of(file: Path, mode: Literal["rb", "ab"]) -> BinaryIO:
    """The file opened; UserError says why it cannot be."""
    try:
        return file.open(mode, buffering=-1 if mode == "rb" else 0)  # 0: closing it has nothing left that can fail
    except OSError as error:
        what = "read" if mode == "rb" else "written"
        raise UserError("E-file", f"{file}", f"cannot be {what} ({error.strerror})", "check the path") from error


def put(stream: BinaryIO, lines: Sequence[str]) -> None:
    """Write lines at once."""
    write_bytes(stream, to_bytes(lines))


def write_bytes(stream: BinaryIO, data: bytes, target: Path | None = None) -> None:
    """Write all bytes at once; `E-file` about the target, or the stream, where the system refuses."""
    view = memoryview(data)
    with writing_to(target or Path("standard output" if stream is sys.stdout.buffer else stream.name)):
        while view:
            view = view[stream.write(view) :]  # the system may take a part
        stream.flush()


def to_bytes(lines: Sequence[str]) -> bytes:
    """Lines as they are written; a line end within a line becomes a space, so that there are as many as were given."""
    flat = (line.replace("\r\n", " ").replace("\n", " ").replace("\r", " ") for line in lines)
    return "".join(f"{line}\n" for line in flat).encode("utf-8", "replace")


def chunks(source: Input) -> Iterator[Chunk]:
    """The lines as they come: what a pipe holds is answered at once, a file goes by in large pieces."""
    begun: list[bytes] = []  # the parts of the line that has not ended
    number = 1
    while data := source.stream.read1(CHUNK_BYTES):  # type: ignore[attr-defined]
        *complete, rest = data.split(b"\n")
        if complete:
            complete[0] = b"".join([*begun, complete[0]])
            yield Chunk([decode_line(line, source.name, number + index) for index, line in enumerate(complete)], number)
            number += len(complete)
            begun = []
        begun.append(rest)
        if len(begun) * CHUNK_BYTES > LONGEST_LINE and sum(map(len, begun)) > LONGEST_LINE:
            problem = f"is longer than {LONGEST_LINE:,} bytes"
            raise UserError("E-length", f"{source.name}:{number}", problem, "check whether it is a text of lines")
    if any(begun):
        yield Chunk([decode_line(b"".join(begun), source.name, number)], number)


def lines(source: Input) -> Iterator[str]:
    """The lines one by one."""
    for chunk in chunks(source):
        yield from chunk.lines


def decode_line(line: bytes, name: str, number: int) -> str:
    """A line as text, without a carriage return at its end and a byte order mark at the start of the file."""
    return decode(line, f"{name}:{number}").removesuffix("\r").removeprefix("\ufeff" if number == 1 else "")


def typed(place: str) -> Callable[[str], str]:
    """The type of a text on the command line: UTF-8 in any locale; `E-encoding` where its bytes are not."""

    def convert(text: str) -> str:
        """The bytes that were typed, as text."""
        try:
            raw = os.fsencode(text)  # the bytes that were typed, of which Python makes lone surrogates in part
        except UnicodeEncodeError:
            raw = text.encode("utf-8", "surrogatepass")
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            problem = f"byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8"
            raise UserError("E-encoding", place, problem, "give a text in UTF-8") from error

    return convert


def to_json(value: Any, indent: int | None = None) -> str:
    """A value as JSON; null for a number that is infinite or not a number."""
    return json.dumps(finite(value), ensure_ascii=False, indent=indent)


def finite(value: Any) -> Any:
    """A value as JSON has it: null for a number that is infinite or not a number."""
    if isinstance(value, Mapping):
        return {name: finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
