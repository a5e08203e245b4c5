"""Lines of text in and out: UTF-8, ended by a line feed (a carriage return before it is dropped), never lost."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple, Protocol

from seq2att.errors import UserError

AT_ONCE = 1 << 17  # bytes that are read, and so translated, together


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


@contextlib.contextmanager
def opened(file: str | None) -> Iterator[Input]:
    """A file for reading, or standard input (None or `-`)."""
    if file in (None, "-"):
        yield Input(sys.stdin.buffer, "standard input")
        return
    with stream_of(Path(str(file)), "rb") as stream:
        yield Input(stream, str(file))


def check_output(output: str | None, verb: str, *inputs: str | None) -> None:
    """Refuse to write into a file that is to be read."""
    if output not in (None, "-") and any(one and Path(one).resolve() == Path(str(output)).resolve() for one in inputs):
        raise UserError(f"-o {output}: that is the file to {verb}; write to another one")


@contextlib.contextmanager
def written(file: str | None) -> Iterator[Write]:
    """A writer of lines into a file, or to standard output (None or `-`).

    What the file held before is lost only with the first lines that are written: a mistake before them leaves it.
    """
    if file in (None, "-"):
        yield lambda lines: put(sys.stdout.buffer, lines)
        return
    with stream_of(Path(str(file)), "ab") as stream:
        old = True

        def write(lines: Sequence[str]) -> None:
            nonlocal old
            if old:
                with contextlib.suppress(OSError):  # a pipe or a device has no end
                    stream.truncate(0)
            old = False
            put(stream, lines)

        yield write
        if old:
            write([])


def stream_of(file: Path, mode: Literal["rb", "ab"]) -> BinaryIO:
    """The file opened; UserError says why it cannot be."""
    try:
        return file.open(mode)
    except OSError as error:
        what = "read" if mode == "rb" else "written"
        raise UserError(f"{file}: cannot be {what} ({error.strerror}); check the path") from error


def put(stream: BinaryIO, lines: Sequence[str]) -> None:
    """Write lines; a line end within a line becomes a space, so that there are as many lines as were given."""
    flat = (line.replace("\r\n", " ").replace("\n", " ").replace("\r", " ") for line in lines)
    stream.write("".join(f"{line}\n" for line in flat).encode("utf-8", "replace"))
    stream.flush()


def chunks(source: Input) -> Iterator[Chunk]:
    """The lines as they come: what a pipe holds is answered at once, a file goes by in large pieces."""
    rest, number = b"", 1
    while data := source.stream.read1(AT_ONCE):  # type: ignore[attr-defined]
        *whole, rest = (rest + data).split(b"\n")
        if whole:
            yield Chunk([decode(line, source.name, number + index) for index, line in enumerate(whole)], number)
            number += len(whole)
    if rest:
        yield Chunk([decode(rest, source.name, number)], number)


def lines(source: Input) -> Iterator[str]:
    """The lines one by one."""
    for chunk in chunks(source):
        yield from chunk.lines


def decode(line: bytes, name: str, number: int) -> str:
    """A line as text, without a carriage return at its end and a byte order mark at the start of the file."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        wrong = f"{name}:{number}: byte {error.start + 1} (0x{line[error.start]:02x}) is no UTF-8"
        raise UserError(f"{wrong}; convert the text, as with `iconv -f latin1 -t utf-8`") from error
    return text.removesuffix("\r").removeprefix("\ufeff" if number == 1 else "")
