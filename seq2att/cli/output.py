"""Where answers go: to a stream as they come, or part by part to a file, with which a killed command goes on.

Until all answers are there, the file `OUT` keeps its old content. Beside it lie `OUT.partial`, the answers so far, and
`OUT.partial.json`, their journal: of which command and which lines they are. The journal is renewed after the answers
are on the disk, so it always describes a beginning of `OUT.partial`; what follows that is answered again.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from seq2att.cli.boundary import terminable
from seq2att.cli.text import Chunk, put, standard_output, stream_of, to_bytes, write_bytes
from seq2att.errors import UserError
from seq2att.files import writing_to
from seq2att.files.untrusted import parse_json, read_regular
from seq2att.files.writing import sync_folder

COMMIT = 1.0  # seconds between two renewals of the journal, at least
MAX_JOURNAL = 1 << 20
BLOCK = 1 << 20
MODEL, CUT = "model", "cut to"  # keys of what identifies a command
ANEW = "give --no-resume to start anew, or another --output"


class Output:
    """Answers that go to a stream as they come."""

    def __init__(self, stream: BinaryIO | None = None) -> None:
        self.stream = stream  # None: standard output, looked up when there is an answer

    def remaining(self, pieces: Iterable[Chunk]) -> Iterator[Chunk]:
        """The lines that are not answered yet."""
        return iter(pieces)

    def add(self, piece: Chunk, lines: Sequence[str]) -> None:
        """Write the answers to a piece."""
        put(self.stream or standard_output(), lines)


class Journal(NamedTuple):
    """What is known of the answers so far."""

    command: Mapping[str, Any]
    inputs: int = 0  # lines, or pairs, that are answered
    answers: int = 0  # lines
    size: int = 0  # bytes
    input_digest: str = hashlib.sha256().hexdigest()
    output_digest: str = hashlib.sha256().hexdigest()


class Progress(NamedTuple):
    """How far the answers are."""

    inputs: int  # lines, or pairs, that are answered
    answers: int  # lines
    size: int  # bytes
    read: Any  # SHA-256 of the answered lines
    written: Any  # SHA-256 of the answers


class FileOutput(Output):
    """Answers that become a file when all are there.

    Args:
        target: the file.
        command: what identifies the command: with equal values, equal lines have equal answers.
        resume: go on after the answers of an earlier command; False removes them.
    """

    def __init__(self, target: Path, command: Mapping[str, Any], resume: bool) -> None:
        self.target = target
        names = (target.with_name(f"{target.name}.partial{end}") for end in ("", ".json", ".json.new"))
        self.partial, self.journal, self.next_journal = names
        self.committed = Journal(json.loads(json.dumps(command)))
        # One value, so that a signal finds all of it before or all of it after an answer.
        self.progress = Progress(0, 0, 0, hashlib.sha256(), hashlib.sha256())
        self.is_at_end = True  # of the lines that are answered already
        self.last_commit = time.monotonic()
        with writing_to(target):
            self.file = io.FileIO(
                os.open(self.partial, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666), "r+"
            )
        try:
            lock(self.file, self.partial)
            if resume and os.fstat(self.file.fileno()).st_size:
                self.resume()
            if not self.progress.size:
                with writing_to(target):
                    self.commit()  # first: what lies there without a journal is of somebody else
            self.file.truncate(self.progress.size)
            self.file.seek(self.progress.size)
        except BaseException:
            self.file.close()
            raise

    def resume(self) -> None:
        """Take the state of the journal; refuse what has none, is of another command or was changed."""
        if not os.path.lexists(self.journal):
            raise UserError("E-file", f"{self.partial}", "is there, without its journal", f"remove it, or {ANEW}")
        state = parse_journal(self.journal)
        if changed := differences(state.command, self.committed.command):
            problem = f"holds {state.answers:,} answers of another command ({'; '.join(changed)})"
            raise UserError("E-file", f"{self.partial}", problem, f"give that command again, or {ANEW}")
        digest = hashlib.sha256()
        for block in blocks(self.file, state.size):
            digest.update(block)
        if digest.hexdigest() != state.output_digest:
            raise UserError("E-file", f"{self.partial}", "was changed since its journal was written", ANEW)
        self.progress = Progress(state.inputs, state.answers, state.size, self.progress.read, digest)
        self.committed = state._replace(command=self.committed.command)
        self.is_at_end = not state.inputs
        if state.inputs:
            print(f"seq2att: continuing {self.target} after line {state.inputs:,}", file=sys.stderr)

    def remaining(self, pieces: Iterable[Chunk]) -> Iterator[Chunk]:
        """The lines that are not answered yet; `E-file` unless those before them are the ones that were answered."""
        left = self.progress.inputs
        for piece in pieces:
            if left:
                answered = piece.lines[:left]
                self.progress.read.update(item_bytes(answered))
                left -= len(answered)
                piece = Chunk(piece.lines[len(answered) :], piece.first + len(answered))
                if not left:
                    self.check_inputs()
            if piece.lines:
                yield piece
        if left:
            self.check_inputs()

    def check_inputs(self) -> None:
        """Raise `E-file` unless the lines up to here are those that were answered."""
        if self.progress.read.hexdigest() != self.committed.input_digest:
            problem = f"holds answers to other lines than the first {self.committed.inputs:,} of this input"
            raise UserError("E-file", f"{self.partial}", problem, f"give the input of before, or {ANEW}")
        self.is_at_end = True

    def add(self, piece: Chunk, lines: Sequence[str]) -> None:
        """Write the answers to a piece; now and then the journal, too."""
        data = to_bytes(lines)
        write_bytes(self.file, data, self.target)
        inputs, answers, size, read, written = self.progress
        read, written = read.copy(), written.copy()
        read.update(item_bytes(piece.lines))
        written.update(data)
        self.progress = Progress(inputs + len(piece.lines), answers + len(lines), size + len(data), read, written)
        if time.monotonic() >= self.last_commit + COMMIT:
            with writing_to(self.target):
                self.commit()

    def commit(self) -> None:
        """Put the answers on the disk, then the journal."""
        os.fsync(self.file.fileno())
        inputs, answers, size, read, written = self.progress
        journal = Journal(self.committed.command, inputs, answers, size, read.hexdigest(), written.hexdigest())
        with self.next_journal.open("w", encoding="utf-8") as file:
            file.write(json.dumps(journal._asdict(), indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(self.next_journal, self.journal)
        sync_folder(self.journal.parent)
        self.committed = journal
        self.last_commit = time.monotonic()

    def keep(self, error: BaseException) -> None:
        """After an error, keep the answers so far, and note how to go on; without answers, leave nothing."""
        if not self.is_at_end:  # of another input: as it was before
            return
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is closed
            self.file.truncate(self.progress.size)
            self.commit()
        if (inputs := self.committed.inputs) and self.partial.exists():
            error.add_note(f"{inputs:,} lines are done in {self.partial}: the same command continues after them")
        else:
            self.remove()

    def finish(self) -> None:
        """Make the answers the file, after a last look at their number."""
        self.commit()
        lines = sum(block.count(b"\n") for block in blocks(self.file, os.fstat(self.file.fileno()).st_size))
        if lines != self.progress.answers:
            problem = f"has {lines:,} lines, but {self.progress.answers:,} were written"
            raise UserError("E-file", f"{self.partial}", problem, f"check the disk, then {ANEW}")
        self.file.close()
        if self.target.exists():
            shutil.copymode(self.target, self.partial)
        os.replace(self.partial, self.target)
        self.journal.unlink(missing_ok=True)
        sync_folder(self.target.parent)

    def remove(self) -> None:
        """Remove the partial file and its journal."""
        self.file.close()
        with contextlib.suppress(OSError):
            for path in (self.partial, self.journal, self.next_journal):
                path.unlink(missing_ok=True)


@contextlib.contextmanager
def written(arguments: argparse.Namespace, options: Mapping[str, Any]) -> Iterator[Output]:
    """The output of a command: its `--output`, or standard output.

    Args:
        arguments: of the command, among them `output`, `resume` and those of the model.
        options: everything else that its answers depend on.
    """
    file = arguments.output
    path = None if file in (None, "-") else Path(os.path.realpath(file) if os.path.islink(file) else file)
    is_whole = path is not None and (path.is_file() or not path.exists())
    if arguments.resume and not is_whole:
        raise UserError("E-argument", "--resume", "needs a file of answers", "give -o FILE")
    if path is not None and is_whole:
        output = FileOutput(path, fingerprint(arguments, options), arguments.resume is not False)
        try:
            with terminable():
                yield output
                with writing_to(path):
                    output.finish()
        except BaseException as error:
            output.keep(error)
            raise
        finally:
            output.file.close()
        return
    with terminable(), contextlib.nullcontext() if path is None else stream_of(path, "ab") as stream:
        yield Output(stream)  # a device or a pipe


def fingerprint(arguments: argparse.Namespace, options: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a command; the size of its batches and the number of its processes change no answer."""
    import seq2att
    from seq2att.bundle import open_bundle

    reader = open_bundle(Path(arguments.model))
    data = reader.saved.values.get("data") or {}
    longest = getattr(arguments, "max_source_length", None) or data.get("max_length")
    is_cut = (getattr(arguments, "too_long", None) or data.get("too_long")) == "cut"
    named = {name: getattr(arguments, name, None) for name in ("command", "quantize", "device")}
    return {
        **named,
        **options,
        **({CUT: longest} if is_cut else {}),
        MODEL: reader.digest(),
        "plugins": arguments.plugins,
        "version": seq2att.__version__,
        "kernel": os.environ.get("SEQ2ATT_KERNEL"),
    }


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What another command has otherwise. To cut lines that were refused until now changes no earlier answer."""
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    if CUT not in before:
        names = [name for name in names if name != CUT]
    return [name if name == MODEL else f"{name}={before.get(name)}, now {now.get(name)}" for name in names]


def parse_journal(path: Path) -> Journal:
    """The journal in a file."""
    values = parse_json(read_regular(path, MAX_JOURNAL), f"{path}")
    types = {name: type(value) for name, value in values.items()} if isinstance(values, dict) else {}
    if types != {name: type(value) for name, value in Journal({})._asdict().items()}:
        raise UserError("E-file", f"{path}", "is no journal of answers", f"remove it, or {ANEW}")
    return Journal(**values)


def item_bytes(items: Sequence[Any]) -> bytes:
    """Lines, or pairs, as they count in a digest."""
    lines = (item if isinstance(item, str) else "\t".join(item) for item in items)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")


def blocks(file: io.FileIO, size: int) -> Iterator[bytes]:
    """The first bytes of a file."""
    file.seek(0)
    while size and (block := file.read(min(size, BLOCK))):
        size -= len(block)
        yield block


def lock(file: io.FileIO, path: Path) -> None:
    """Keep other commands out of the partial file, until it is closed."""
    from seq2att.trainer.lock import is_same, take

    if take(file.fileno()) is None or not is_same(file.fileno(), path):
        raise UserError("E-file", f"{path}", "another command is writing it", "wait for it, or give another --output")
