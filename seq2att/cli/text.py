"""Lines of text in and out: UTF-8, ended by a line feed (a carriage return before it is dropped), never lost."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

from seq2att.errors import UserError
from seq2att.files import decode

CHUNK_BYTES = 1 << 17  # read, and so answered, together


class Input(NamedTuple):
    """A stream of lines, and its name in messages."""

    stream: BinaryIO
    name: str


class Chunk(NamedTuple):
    """Some lines that follow each other."""

    lines: list[str]
    first: int  # the number of the first one


class Write(Protocol):
    """Writes lines at once."""

    def __call__(self, lines: Sequence[str]) -> None:
        """Write the lines, each with a line feed."""


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


def check_output(output: str | None, *inputs: str | None) -> None:
    """Refuse to write into a file that is read."""
    if output not in (None, "-") and any(one and Path(one).resolve() == Path(str(output)).resolve() for one in inputs):
        raise UserError("E-argument", f"--output={output}", "is an input of this command", "write to another file")


@contextlib.contextmanager
def written(file: str | None) -> Iterator[Write]:
    """A writer of lines into a file, or to standard output (None or `-`).

    The earlier content of the file stays until the first lines are written: an error before them loses nothing.
    """
    if file in (None, "-"):
        yield lambda lines: put(standard_output(), lines)
        return
    with stream_of(Path(str(file)), "ab") as stream:
        is_untouched = True

        def write(lines: Sequence[str]) -> None:
            nonlocal is_untouched
            if is_untouched:
                with contextlib.suppress(OSError):  # a pipe or a device has no end
                    stream.truncate(0)
            is_untouched = False
            put(stream, lines)

        yield write
        if is_untouched:
            write([])


def stream_of(file: Path, mode: Literal["rb", "ab"]) -> BinaryIO:
    """The file opened; UserError says why it cannot be."""
    try:
        return file.open(mode)
    except OSError as error:
        what = "read" if mode == "rb" else "written"
        raise UserError("E-file", f"{file}", f"cannot be {what} ({error.strerror})", "check the path") from error


def put(stream: BinaryIO, lines: Sequence[str]) -> None:
    """Write lines; a line end within a line becomes a space, so that there are as many lines as were given."""
    flat = (line.replace("\r\n", " ").replace("\n", " ").replace("\r", " ") for line in lines)
    stream.write("".join(f"{line}\n" for line in flat).encode("utf-8", "replace"))
    stream.flush()


def chunks(source: Input) -> Iterator[Chunk]:
    """The lines as they come: what a pipe holds is answered at once, a file goes by in large pieces."""
    rest, number = b"", 1
    while data := source.stream.read1(CHUNK_BYTES):  # type: ignore[attr-defined]
        *complete, rest = (rest + data).split(b"\n")
        if complete:
            yield Chunk([decode_line(line, source.name, number + index) for index, line in enumerate(complete)], number)
            number += len(complete)
    if rest:
        yield Chunk([decode_line(rest, source.name, number)], number)


def lines(source: Input) -> Iterator[str]:
    """The lines one by one."""
    for chunk in chunks(source):
        yield from chunk.lines


def decode_line(line: bytes, name: str, number: int) -> str:
    """A line as text, without a carriage return at its end and a byte order mark at the start of the file."""
    return decode(line, f"{name}:{number}").removesuffix("\r").removeprefix("\ufeff" if number == 1 else "")
