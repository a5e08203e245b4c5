"""Helping processes: other processors cut and number the texts of a large table while this one does too.

A helper is a new Python that gets the fields as they are pickled, so it inherits no thread, lock or device (which a
copy of this process would), and no script is run a second time. What a helper cannot do, for whatever reason, is done
here: results and errors are the same with and without helpers.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.data.reading import Table
from seq2att.field import Field

ALONE = 2  # chunks that are done before it is known whether help is worth it
WORTH = 5.0  # seconds of work for each helper: it takes one or two to begin
MOST = 8  # helpers; each takes some 200 MB
AHEAD = 2  # chunks for each process that may wait for their turn
START = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); import {module} as m; m.serve()"

Arrays = list[npt.NDArray[Any]]
Sides = dict[str, Arrays]
Here = Callable[[int], Sides]


class Flat(NamedTuple):
    """Arrays as two: what goes through a pipe."""

    values: npt.NDArray[Any]
    lengths: npt.NDArray[np.int64]

    @classmethod
    def of(cls, arrays: Arrays) -> Flat:
        """The arrays of one side, of which there is at least one."""
        return cls(np.concatenate(arrays), np.array([len(array) for array in arrays]))

    def arrays(self) -> Arrays:
        """The arrays again."""
        bounds = [0, *np.cumsum(self.lengths).tolist()]
        return [self.values[start:end] for start, end in itertools.pairwise(bounds)]


def encode_chunks(table: Table, fields: Mapping[str, Field], here: Here) -> Iterator[Sides]:
    """The ids of every chunk of a table, in order; `here` encodes a chunk in this process.

    Helpers begin when the second chunk (the first one loads libraries) tells that it is worth it.
    """
    count, helpers = len(table.batches), 0
    for number in range(min(count, ALONE)):
        began = time.monotonic()
        yield here(number)
        helpers = min(int((time.monotonic() - began) * (count - ALONE) / WORTH), processors() - 1, MOST)
    rest = range(ALONE, count)
    order = pickled(fields) if rest and helpers > 0 else None
    if order is None:
        yield from map(here, rest)
        return
    with Crew(order, table.folder, here, rest, helpers) as crew:
        yield from map(crew.take, rest)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pickled(fields: Mapping[str, Field]) -> bytes | None:
    """The fields for another process, or None when one of them holds what stays in this one."""
    try:
        return pickle.dumps(dict(fields))
    except Exception:  # whatever a plugin's object raises
        return None


class Crew:
    """Helpers, each in the hands of a thread, and the chunks that they have done and nobody has taken."""

    def __init__(self, fields: bytes, folder: Path, here: Here, chunks: range, helpers: int) -> None:
        self.fields, self.folder, self.here = fields, folder, here
        self.end, self.next, self.wanted = chunks.stop, chunks.start, chunks.start
        self.ahead = AHEAD * (helpers + 1)
        self.done: dict[int, Sides | None] = {}  # None: to be done here, when its turn has come
        self.change = threading.Condition()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.threads = [threading.Thread(target=self.lead, daemon=True) for _ in range(helpers)]

    def __enter__(self) -> Crew:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self.change:
            self.end = 0
            self.change.notify_all()
        for process in self.processes:  # one that has just been started may still be importing
            process.kill()
        for thread in self.threads:
            thread.join()

    def claim(self, wait: bool) -> int | None:
        """A chunk that nobody works on yet; None when there is none (not `wait`: none that is due)."""
        with self.change:
            while self.next < self.end and self.next >= self.wanted + self.ahead and wait:
                self.change.wait()
            if self.next >= min(self.end, self.wanted + self.ahead):
                return None
            self.next += 1
            return self.next - 1

    def deliver(self, number: int, sides: Sides | None) -> None:
        """A chunk is done, or will not be."""
        with self.change:
            self.done[number] = sides
            self.change.notify_all()

    def take(self, number: int) -> Sides:
        """The ids of one chunk; while they are not there, this process works on others. Errors: those of `here`."""
        with self.change:
            self.wanted = number
            self.change.notify_all()
        while number not in self.done:
            mine = self.claim(wait=False)
            if mine is None:
                with self.change:
                    self.change.wait_for(lambda: number in self.done)
            else:
                self.deliver(mine, self.attempt(mine))
        sides = self.done.pop(number)
        return self.here(number) if sides is None else sides

    def attempt(self, number: int) -> Sides | None:
        """The ids of a chunk, or None where there is an error: that of an earlier chunk comes first."""
        try:
            return self.here(number)
        except Exception:
            return None

    def lead(self) -> None:
        """Start a helper and give it chunks until there are no more."""
        command = [sys.executable, "-c", START.format(module=__name__)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        number: int | None = None
        with (
            contextlib.suppress(Exception),  # a helper that fails is no helper
            subprocess.Popen(  # in a session of its own: Ctrl-C is not for it
                command, stdin=pipe, stdout=pipe, env=environment, start_new_session=True
            ) as process,
        ):
            self.processes.append(process)
            assert process.stdin is not None and process.stdout is not None
            try:
                begin(process.stdin, self.folder, self.fields)
                while pickle.load(process.stdout) and (number := self.claim(wait=True)) is not None:
                    send(process.stdin, number)
                    found: dict[str, Flat] | None = pickle.load(process.stdout)
                    sides = None if found is None else {side: flat.arrays() for side, flat in found.items()}
                    self.deliver(number, sides)
                    number = None
            finally:
                process.kill()
        if number is not None:  # it ended before its time
            self.deliver(number, None)


def begin(stream: IO[bytes], folder: Path, fields: bytes) -> None:
    """What a helper is told first."""
    send(stream, sys.path)
    send(stream, folder)
    stream.write(fields)
    stream.flush()


def send(stream: IO[bytes], value: Any) -> None:
    """Write a value for the other process."""
    pickle.dump(value, stream)
    stream.flush()


def serve() -> None:
    """What a helper does: say that it is ready, take a number of a chunk, give its ids; until nobody asks any more."""
    get, give = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a plugin prints does not end in the answers
    folder: Path = pickle.load(get)
    try:
        fields: dict[str, Field] = pickle.load(get)
        table = Table(folder)
    except Exception:
        return send(give, False)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            send(give, True)
            send(give, answer(table, fields, pickle.load(get)))


def answer(table: Table, fields: Mapping[str, Field], number: int) -> dict[str, Flat] | None:
    """The ids of a chunk, or None where there is an error, which the process that asked will meet itself."""
    try:
        return {side: Flat.of(field.encode_batch(table.chunk(side, number))) for side, field in fields.items()}
    except Exception:
        return None
