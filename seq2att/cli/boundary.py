"""Where a command meets its process: its streams, and the exit code and the one line that every failure ends in."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from seq2att.errors import UserError, is_out_of_memory, system_remedy
from seq2att.registry.plugin import describe_error, failed_plugin

FAULT, USER_ERROR, INTERRUPTED, PIPE_CLOSED, TERMINATED = 1, 2, 130, 141, 143  # as of argparse and of a shell
TRACEBACK = "SEQ2ATT_TRACEBACK"  # environment variable; 1 prints the traceback of what has no better message


class Terminated(BaseException):
    """SIGTERM, in a command that has work to keep."""


class Diagnostics(io.TextIOWrapper):
    """Standard error: a message that nobody can read any more, or no disk can hold, stops no work."""

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed."""
        with suppress(OSError):
            super().flush()


class Printed(io.TextIOWrapper):
    """Standard output, whose errors name it."""

    def write(self, text: str) -> int:
        """Write the text."""
        with naming("standard output"):
            return super().write(text)

    def flush(self) -> None:
        """Flush what was written."""
        with naming("standard output"):
            super().flush()


@contextmanager
def naming(stream: str) -> Iterator[None]:
    """An error of the system in the block has the name of the stream."""
    try:
        yield
    except OSError as error:
        error.filename = stream
        raise


def prepare_streams() -> None:
    """Print in UTF-8, whatever the locale or the code page of Windows is; give closed streams the null device."""
    fill_descriptors()
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed, as in a service
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
        elif name == "stderr" and type(stream) is io.TextIOWrapper and stream is sys.__stderr__:
            sys.stderr = Diagnostics(stream.buffer, "utf-8", "backslashreplace", line_buffering=True)
        elif name == "stdout" and type(stream) is io.TextIOWrapper and stream is sys.__stdout__:
            buffering = (stream.line_buffering, stream.write_through)
            sys.stdout = Printed(stream.buffer, "utf-8", "backslashreplace", None, *buffering)
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def fill_descriptors() -> None:
    """Open the null device where standard input, output or error is closed.

    Else the next file that is opened gets its number, and a library that prints there writes into the file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != number:
                os.dup2(opened, number)
                os.close(opened)


def guarded(command: Callable[[], int | None]) -> int:
    """Run a command and give its exit code; whatever it raises is one line on standard error."""
    try:
        status = command()
        sys.stdout.flush()  # here, as Python says at its exit what fails there in its own words
        return status or 0
    except SystemExit:  # of argparse, after its own message
        finish_output()
        raise
    except BrokenPipeError:  # whoever read our output has seen enough, as `head` does
        finish_output()
        return PIPE_CLOSED
    except Exception as error:
        finish_output()
        return report(error)
    except KeyboardInterrupt as error:
        finish_output()
        print_line("interrupted", error)
        return INTERRUPTED
    except Terminated as error:
        finish_output()
        print_line("terminated", error)
        return TERMINATED


def report(error: Exception) -> int:
    """Print an error as one line, and give the exit code."""
    shown = error if isinstance(error, UserError) else explained(error)
    if os.environ.get(TRACEBACK) == "1" and shown is not error:
        traceback.print_exception(error)
    print_line(f"error [{shown.code}]: {shown}", error)
    return FAULT if shown.code == "E-internal" else USER_ERROR


def print_line(text: str, error: BaseException | None = None) -> None:
    """Print a line on standard error, with the notes of an exception: what is kept, and how to go on."""
    line = "; ".join([text, *getattr(error, "__notes__", ())])
    with suppress(OSError, ValueError):
        print(f"seq2att: {' '.join(line.split(chr(10)))}", file=sys.stderr)


def print_error(error: UserError) -> None:
    """Print an error of the user with its code on standard error."""
    print_line(f"error [{error.code}]: {error}", error)


def explained(error: Exception) -> UserError:
    """An exception that is none of ours: of memory, the system, text that cannot be written, or a fault of seq2att."""
    if is_out_of_memory(error):
        reason = (str(error) or type(error).__name__).splitlines()[0]
        remedy = "free memory, give less text at a time, or use a smaller model"
        return UserError("E-memory", "memory", f"ran out ({reason})", remedy)
    if isinstance(error, OSError):
        subject = str(error.filename or "a file or a stream")
        problem = f"{error.strerror or error}".strip().lower() or type(error).__name__
        return UserError("E-file", subject, problem, system_remedy(error))
    if isinstance(error, UnicodeError):
        return UserError("E-encoding", "a name or a text", f"is not UTF-8 ({error})", "give it in UTF-8")
    if place := failed_plugin(error):
        remedy = f"correct the plugin; {TRACEBACK}=1 prints the whole traceback"
        return UserError("E-plugin", place, describe_error(error), remedy)
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "seq2att"
    problem = f"{type(error).__name__}: {error}".removesuffix(": ")
    remedy = f"this is a fault of seq2att or of a plugin: set {TRACEBACK}=1 to see where it comes from"
    return UserError("E-internal", place, problem, remedy)


def finish_output() -> None:
    """Write what is left of the output, or let Python write it nowhere when it exits."""
    with suppress(ValueError):  # of a stream that is closed or has no descriptor
        try:
            sys.stdout.flush()
        except OSError:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises `Terminated` inside the block, so that what is done can be kept."""

    def terminate(number: int, frame: FrameType | None) -> Any:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
