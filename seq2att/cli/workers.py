"""Several processes that share a stream of lines: each answers pieces of it, and the answers keep their order."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import NamedTuple

from seq2att.cli.text import Chunk
from seq2att.errors import UserError

AHEAD = 4  # pieces a worker that are read but not yet written, at most: what bounds the memory


class Answer(NamedTuple):
    """What is written for a piece, and what is to be said about it."""

    rows: int  # how many lines were asked
    lines: list[str]
    notes: list[str]


Answering = Callable[[Chunk], Answer]
Making = Callable[[int], Answering]
"""Makes, in worker `number` (from 0), what answers its pieces; it is pickled on its way there."""


def share(pieces: Iterable[Chunk], making: Making, count: int, write: Callable[[Answer], None]) -> None:
    """Answer all pieces by `count` processes and `write` the answers in the order of the pieces.

    Errors: `UserError` of a worker, and one that says how a worker ended that should not have.
    """
    with Workers(making, count, write) as workers:
        for piece in pieces:
            workers.deal(piece)
        workers.finish()


class Workers:
    """The processes, and for each a thread that waits for its answers."""

    def __init__(self, making: Making, count: int, write: Callable[[Answer], None]) -> None:
        self.write = write
        self.tasks: queue.SimpleQueue[tuple[int, Chunk] | None] = queue.SimpleQueue()
        self.room = threading.Semaphore(AHEAD * count)
        self.lock = threading.Lock()
        self.answers: dict[int, Answer | BaseException] = {}
        self.dealt = self.written = 0
        self.failure: BaseException | None = None
        context = multiprocessing.get_context("spawn")
        self.workers = []
        for number in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, making, number), daemon=True)
            process.start()
            theirs.close()  # so that its end is noticed
            self.workers.append((process, ours))
        self.threads = [threading.Thread(target=self.attend, args=(place,), daemon=True) for place in range(count)]
        for thread in self.threads:
            thread.start()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *error: object) -> None:
        """End all workers, at once where something went wrong."""
        for process, _ in self.workers:
            process.terminate()
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join()
        for process, connection in self.workers:
            process.join()
            connection.close()

    def deal(self, piece: Chunk) -> None:
        """Give the piece to the first worker that is free."""
        self.room.acquire()
        if self.failure is not None:
            raise self.failure
        self.tasks.put((self.dealt, piece))
        self.dealt += 1

    def finish(self) -> None:
        """Wait for all answers."""
        for _ in self.threads:
            self.tasks.put(None)
        for thread in self.threads:
            thread.join()
        if self.failure is not None:
            raise self.failure

    def attend(self, place: int) -> None:
        """Hand pieces to one worker and take its answers, until there is no piece left."""
        process, connection = self.workers[place]
        piece: Chunk | None = None
        number = -1
        try:
            told = connection.recv()  # that it is ready
            while not isinstance(told, BaseException) and (task := self.tasks.get()) is not None:
                number, piece = task
                connection.send(piece)
                told = connection.recv()
                if isinstance(told, Answer):
                    self.deliver(number, told)
        except (EOFError, OSError):
            process.join()
            told = UserError(ended(process.exitcode, place, len(self.workers), piece))
        if isinstance(told, BaseException):
            self.deliver(number, told)

    def deliver(self, number: int, answer: Answer | BaseException) -> None:
        """Write what is next in order; the first error in order ends everything."""
        with self.lock:
            self.answers[max(number, self.written)] = answer
            while self.failure is None and (found := self.answers.pop(self.written, None)) is not None:
                try:
                    if isinstance(found, BaseException):
                        raise found
                    self.write(found)
                except BaseException as error:  # of the worker, or of writing
                    self.failure = error
                self.written += 1
                self.room.release()
            if self.failure is not None:
                self.stop()

    def stop(self) -> None:
        """Let nobody wait any longer."""
        self.room.release()
        for process, _ in self.workers:
            process.terminate()
        for _ in self.threads:
            self.tasks.put(None)


def serve(connection: Connection, making: Making, number: int) -> None:
    """A worker: answers pieces until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides
    try:
        answer = making(number)
        connection.send("ready")
        while True:
            connection.send(answer(connection.recv()))
    except EOFError:
        return
    except UserError as error:
        connection.send(error)
    except Exception as error:
        traceback.print_exc()
        connection.send(UserError(f"worker {number + 1} failed: {type(error).__name__}: {error}; see above"))


def ended(code: int | None, place: int, count: int, piece: Chunk | None) -> str:
    """How a worker came to its end."""
    try:
        how = f"was killed by {signal.Signals(-(code or 0)).name}"
    except ValueError:
        how = f"ended with exit code {code}"
    where = f" at lines {piece.first} to {piece.first + len(piece.lines) - 1}" if piece else " before its first line"
    return (
        f"worker {place + 1} of {count} {how}{where}; if memory was short, give fewer --devices or a lower --batch-size"
    )


def split(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """The same lines in pieces of at most `size`."""
    for chunk in chunks:
        for start in range(0, len(chunk.lines), size):
            yield Chunk(chunk.lines[start : start + size], chunk.first + start)
