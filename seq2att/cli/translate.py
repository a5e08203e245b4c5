"""`seq2att translate`: lines in, lines out, in their order."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att.cli.model import add_model, add_quantize, how, load, plugins, positive
from seq2att.cli.text import Chunk, Write, chunks, opened, put, written
from seq2att.cli.workers import Answer, Answering, share, split
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.api import Predictor
    from seq2att.cli.train import Commands
    from seq2att.types import Prediction

EXAMPLES = """examples:
  echo "a b c d" | seq2att translate runs/reverse
  seq2att translate runs/reverse input.txt -o output.txt --beam 5
  seq2att translate runs/reverse input.txt -o output.txt --devices 2 --quantize int8
  seq2att translate runs/reverse                      (asks for one line after the other)

RUN is a run folder or a bundle. Line n of the output answers line n of the input; an empty line stays empty.
With --n-best above 1, every answer is a line of its own: number of the input line, score, text, with tabs between.
With --devices N the lines are shared by N processes, each with its part of the threads or its own GPU."""

PIECE = 256  # lines that a worker gets together: several batches of similar lengths
SAMPLING = {"temperature": float, "top_k": int, "top_p": float, "seed": int}
LENGTHS = {"min_length": int, "max_length": int, "length_penalty": float}
HELP = {
    "temperature": "below 1: safer, above 1: wilder",
    "top_k": "draw from the likeliest K tokens only",
    "top_p": "draw from the likeliest tokens that hold this probability",
    "seed": "which sample",
    "min_length": "fewest tokens of an answer",
    "max_length": "most tokens of an answer",
    "length_penalty": "0: by probability, 1: by the mean over tokens",
}


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "translate",
        help="translate a file, standard input, or what you type",
        description="Translate lines of text.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_model(parser)
    parser.add_argument("file", metavar="FILE", nargs="?", help="a text file; else standard input")
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; else standard output")
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; 1 is greedy")
    parser.add_argument("--n-best", type=positive, metavar="N", default=1, help="answers for each line")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="lines decoded together")
    for name, kind in LENGTHS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=HELP[name])
    parser.add_argument("--sample", action="store_true", help="draw answers at random")
    for name, kind in SAMPLING.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar="X", help=f"with --sample: {HELP[name]}")
    parser.add_argument("--too-long", choices=("refuse", "cut"), help="what to do with lines beyond data.max_length")
    parser.add_argument("--device", metavar="DEVICE", help="cpu, which is the default, or cuda")
    parser.add_argument("--devices", type=positive, metavar="N", default=1, help="processes that share the lines")
    add_quantize(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Translate a file, standard input, or what is typed."""
    options = options_of(arguments)
    if arguments.file and arguments.output and Path(arguments.file).resolve() == Path(arguments.output).resolve():
        raise UserError(f"-o {arguments.output}: that is the file to translate; write to another one")
    asked = arguments.file is None and arguments.output is None and sys.stdin.isatty()
    if arguments.devices > 1 and not asked:
        making = Translator(arguments.model, plugins(arguments), how(arguments), options, arguments.devices)
        with opened(arguments.file) as source, written(arguments.output) as write:
            report = Report(write, arguments.file)
            size = max(PIECE, 4 * (arguments.batch_size or 0))
            share(split(chunks(source), size), making, arguments.devices, report.add)
            report.end()
        return
    predictor = load(arguments)
    if asked:
        converse(predictor, options)
        return
    with opened(arguments.file) as source, written(arguments.output) as write:
        report = Report(write, arguments.file)
        for chunk in chunks(source):
            report.add(translated(predictor, options, chunk))
        report.end()


def options_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The arguments as `Predictor.translate` takes them."""
    given = {name: getattr(arguments, name) for name in (*LENGTHS, *SAMPLING) if getattr(arguments, name) is not None}
    for name in SAMPLING:
        if name in given and not arguments.sample:
            raise UserError(f"--{name.replace('_', '-')} needs --sample")
    if arguments.sample and arguments.beam:
        raise UserError("--sample and --beam exclude each other; leave one out")
    search = {**({"name": "sample"} if arguments.sample else {}), **given}
    options = {"beam": arguments.beam, "n_best": arguments.n_best, "search": search or None}
    options |= {"too_long": arguments.too_long}
    return options | ({"batch_size": arguments.batch_size} if arguments.batch_size else {})


@dataclass(frozen=True)
class Translator:
    """What each of the workers does."""

    model: str
    plugins: list[str]
    how: dict[str, Any]  # options of loading
    options: dict[str, Any]
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
            found = translated(predictor, self.options, piece)
            said, notes[:] = list(notes), []
            return found._replace(notes=said)

        return answer


def translated(predictor: Predictor, options: dict[str, Any], chunk: Chunk) -> Answer:
    """What is written for a piece of the input."""
    found = predictor.translate(chunk.lines, first_line=chunk.first, attention=False, **options)
    lines = [line for index, one in enumerate(found) for line in answers(one, chunk.first + index, options)]
    return Answer(len(found), lines, [])


class Report:
    """Writes answers; for a file, stderr says how far it is."""

    def __init__(self, write: Write, file: str | None) -> None:
        self.write, self.file = write, file
        self.started, self.done = time.monotonic(), 0
        self.live = file is not None and sys.stderr.isatty()

    def add(self, answer: Answer) -> None:
        """Write some answers."""
        for note in answer.notes:
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


def answers(prediction: Prediction, number: int, options: dict[str, Any]) -> Sequence[str]:
    """What is written for one line: the text, or every one of its best answers."""
    if options["n_best"] == 1:
        return [prediction.text]
    return [f"{number}\t{one.score:.4f}\t{one.text}" for one in (prediction, *prediction.others)]


def converse(predictor: Any, options: dict[str, Any]) -> None:
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
            (prediction,) = predictor.translate([text], first_line=number, **options)
            put(sys.stdout.buffer, answers(prediction, number, options))
        except UserError as error:
            print(f"seq2att: error: {error}", file=sys.stderr)
