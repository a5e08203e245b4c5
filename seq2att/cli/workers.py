"""Several processes that share a stream of lines: each answers pieces of it, and the answers keep their order."""

from __future__ import annotations

import contextlib
import functools
import itertools
import multiprocessing
import os
import pickle
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple

from seq2att.cli.boundary import Terminated
from seq2att.cli.text import Chunk
from seq2att.errors import UserError

PENDING = 4  # pieces of a worker that are read but not written yet, at most: this bounds the memory


class Answer(NamedTuple):
    """What is written for a piece, and the warnings about it."""

    rows: int  # number of input lines
    lines: list[str]
    warnings: list[str]


Answering = Callable[[Chunk], Answer]
MakeAnswering = Callable[[int], Answering]
"""Makes, in worker `number` (from 0), the function that answers its pieces; it is pickled on its way there."""


Write = Callable[[Chunk, Answer], None]
"""Writes the answer to a piece."""


class Job(NamedTuple):
    """A piece that a worker answers."""

    piece: Chunk
    worker: str  # its name in messages
    future: Future[Answer]

    def result(self) -> Answer:
        """Wait for the answer; `UserError` where the process of the worker ended."""
        try:
            return self.future.result()
        except BrokenProcessPool as error:
            first, last = self.piece.first, self.piece.first + len(self.piece.lines) - 1
            where = f"at lines {first} to {last}" if self.piece.lines else "before its first line"
            remedy = "if memory was short, give fewer --devices or a lower --batch-size"
            raise UserError("E-process", self.worker, f"its process ended {where}", remedy) from error


class Writer(threading.Thread):
    """Writes answers in the order of their pieces, as soon as they are there; keeps the first error."""

    def __init__(self, write: Write, num_pending: int) -> None:
        super().__init__(daemon=True)
        self.write = write
        self.jobs: queue.Queue[Job | None] = queue.Queue(num_pending)
        self.failure: BaseException | None = None

    def run(self) -> None:
        """Write until there is no job left; after an error jobs are only taken away."""
        while (job := self.jobs.get()) is not None:
            if self.failure is None:
                try:
                    self.write(job.piece, job.result())
                except BaseException as error:  # of the worker, or of writing
                    self.failure = error


def share(pieces: Iterable[Chunk], make_answering: MakeAnswering, count: int, write: Write) -> None:
    """Answer all pieces by `count` processes and `write` the answers in the order of the pieces.

    Raises:
        UserError: the first error of a worker in the order of the pieces; one names a worker whose process ended.
    """
    pickled, context = pickle.dumps(make_answering), multiprocessing.get_context("spawn")
    # An executor for each worker, so that a worker has a number, and with it a GPU.
    workers = [ProcessPoolExecutor(1, context, initializer=prepare_worker) for _ in range(count)]
    writer = Writer(write, PENDING * count)
    writer.start()
    try:
        with contextlib.suppress(BrokenProcessPool):  # the writer finds out at the piece where it happened
            loading = [Chunk([], 1)] * count  # each worker loads the model at once, and without lines an error shows
            for number, piece in enumerate(itertools.chain(loading, pieces)):
                if writer.failure is not None:
                    break
                place = number % count
                future = workers[place].submit(answer_piece, pickled, place, piece)
                writer.jobs.put(Job(piece, f"worker {place + 1} of {count}", future))
    except (KeyboardInterrupt, Terminated) as error:
        writer.failure = error
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        writer.jobs.put(None)
        writer.join()
        for worker in workers:
            worker.shutdown(cancel_futures=True)
    if writer.failure is not None:
        raise writer.failure


def prepare_worker() -> None:
    """End the process of a worker silently at Ctrl-C, and when the process that it works for was killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    threading.Thread(target=follow_parent, daemon=True).start()


def follow_parent() -> None:
    """End with the process that started this one."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def answer_piece(make_answering: bytes, number: int, piece: Chunk) -> Answer:
    """Answer a piece in worker `number`."""
    return loaded(make_answering, number)(piece)


@functools.lru_cache(maxsize=1)
def loaded(make_answering: bytes, number: int) -> Answering:
    """Make what answers, once in the life of a worker."""
    answering: Answering = pickle.loads(make_answering)(number)
    return answering


def split(chunks: Iterable[Chunk], size: int) -> Iterator[Chunk]:
    """The same lines in pieces of at most `size`."""
    for chunk in chunks:
        for start in range(0, len(chunk.lines), size):
            yield Chunk(chunk.lines[start : start + size], chunk.first + start)
