"""Lines in, lines out: what the commands that answer have in common."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2att.cli.model import add_model, add_quantize, how, load, plugins, positive
from seq2att.cli.text import Chunk, Write, check_output, chunks, opened, put, written
from seq2att.cli.workers import Answer, Answering, share, split
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.api import Predictor
    from seq2att.cli.train import Commands
    from seq2att.types import Prediction

PIECE = 256  # lines that a worker gets together: several batches of similar lengths


class Task(NamedTuple):
    """What a command asks a model, and what it writes of an answer."""

    verb: str  # the method of the predictor
    options: dict[str, Any]  # of that method
    scores: bool = False  # with the log-probability of an answer, or the probability of every class


def add_command(commands: Commands, name: str, does: str, description: str, epilog: str) -> argparse.ArgumentParser:
    """A command that answers lines, with the arguments that all of them have."""
    parser = commands.add_parser(
        name,
        help=does,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_model(parser)
    parser.add_argument("file", metavar="FILE", nargs="?", help="a text file; else standard input")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; else standard output")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="lines answered together")
    parser.add_argument("--too-long", choices=("refuse", "cut"), help="what to do with lines beyond data.max_length")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, which is the default, or cuda")
    parser.add_argument("--devices", type=positive, metavar="N", default=1, help="processes that share the lines")
    add_quantize(parser)
    return parser


def given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of these arguments that the predictor takes."""
    named = {name: getattr(arguments, name) for name in ("batch_size", "too_long")}
    return {name: value for name, value in named.items() if value is not None}


def answer(arguments: argparse.Namespace, task: Task) -> None:
    """Answer a file, standard input, or what is typed."""
    check_output(arguments.output, task.verb, arguments.file)
    asked = arguments.file is None and arguments.output is None and sys.stdin.isatty()
    if arguments.devices > 1 and not asked:
        making = Answerer(arguments.model, plugins(arguments), how(arguments), task, arguments.devices)
        with opened(arguments.file) as source, written(arguments.output) as write:
            report = Report(write, arguments.file)
            size = max(PIECE, 4 * (arguments.batch_size or 0))
            share(split(chunks(source), size), making, arguments.devices, report.add)
            report.end()
        return
    predictor = load(arguments)
    if asked:
        converse(predictor, task)
        return
    with opened(arguments.file) as source, written(arguments.output) as write:
        report = Report(write, arguments.file)
        for chunk in chunks(source):
            report.add(answered(predictor, task, chunk))
        report.end()


@dataclass(frozen=True)
class Answerer:
    """What each of the workers does."""

    model: str
    plugins: list[str]
    how: dict[str, Any]  # options of loading
    task: Task
    count: int

    def __call__(self, number: int) -> Answering:
        """Load the model in worker `number`."""
        import torch

        from seq2att import api

        notes: list[str] = []
        how = dict(self.how)
        if how.get("device") == "cuda":
            how["device"] = f"cuda:{number}"
            if number >= (there := torch.cuda.device_count()):
                raise UserError(
                    f"--devices {self.count}: there are {there} GPUs; give as many at most, or --device cpu"
                )
        torch.set_num_threads(max(1, torch.get_num_threads() // self.count))
        predictor = api.load(self.model, plugins=self.plugins, say=notes.append, **how)

        def answer(piece: Chunk) -> Answer:
            found = answered(predictor, self.task, piece)
            warnings, notes[:] = list(notes), []
            return found._replace(warnings=warnings)

        return answer


def answered(predictor: Predictor, task: Task, chunk: Chunk) -> Answer:
    """What is written for a piece of the input."""
    ask = getattr(predictor, task.verb)
    found = ask(chunk.lines, first_line=chunk.first, attention=False, **task.options)
    lines = [line for index, one in enumerate(found) for line in written_as(one, chunk.first + index, task)]
    return Answer(len(found), lines, [])


class Report:
    """Writes answers; for a file, stderr says how far it is."""

    def __init__(self, write: Write, file: str | None) -> None:
        self.write, self.file = write, file
        self.started, self.done = time.monotonic(), 0
        self.live = file is not None and sys.stderr.isatty()

    def add(self, answer: Answer) -> None:
        """Write some answers."""
        for note in answer.warnings:
            print(f"seq2att: {note}", file=sys.stderr)
        self.write(answer.lines)
        self.done += answer.rows
        if self.live:
            print(f"\r{progress(self.done, self.started)}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Say how it went."""
        if self.file is not None:
            print(f"{chr(13) if self.live else ''}{progress(self.done, self.started)}", file=sys.stderr)


def progress(done: int, started: float) -> str:
    """How many lines in which time."""
    seconds = max(time.monotonic() - started, 1e-9)
    return f"{done:,} lines in {seconds:.1f} s, {done / seconds:,.0f} lines/s"


def written_as(prediction: Prediction, number: int, task: Task) -> Sequence[str]:
    """What is written for one line: the answer, with the probability of every class, or every one of the best."""
    if task.scores and prediction.probabilities is not None:
        classes = [f"{label}\t{probability:.4f}" for label, probability in prediction.probabilities.items()]
        return ["\t".join([prediction.text, *classes])]
    if task.options.get("n_best", 1) == 1:
        return [prediction.text]
    return [f"{number}\t{one.score:.4f}\t{one.text}" for one in (prediction, *prediction.others)]


def converse(predictor: Predictor, task: Task) -> None:
    """Answer what is typed, line by line, until the end of input (Ctrl-D)."""
    print("Type a line; Ctrl-D ends.", file=sys.stderr)
    number = 0
    while True:
        number += 1
        try:
            text = input("> ")
        except EOFError:
            print(file=sys.stderr)
            return
        try:
            (prediction,) = getattr(predictor, task.verb)([text], first_line=number, **task.options)
            put(sys.stdout.buffer, written_as(prediction, number, task))
        except UserError as error:
            print(f"seq2att: error: {error}", file=sys.stderr)
