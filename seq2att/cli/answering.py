"""`seq2att translate`, `classify`, `tag`, `estimate` and `generate`: lines in, answers out, in their order."""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2att.cli.boundary import print_error
from seq2att.cli.model import (
    Commands,
    add_model,
    add_output,
    add_parser,
    add_quantize,
    load,
    load_options,
    plugins,
    positive,
    reads_files,
)
from seq2att.cli.output import Output, written
from seq2att.cli.searching import add_search, search_options
from seq2att.cli.text import (
    Chunk,
    Input,
    check_output,
    chunks,
    opened,
    opened_names,
    put,
    standard_output,
    write_bytes,
)
from seq2att.cli.workers import Answer, Answering, share, split
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.api import Predictor
    from seq2att.types import Prediction

LIMITS = ("batch_size", "batch_tokens", "max_source_length", "too_long")  # options of every command
PIECE = 256  # lines that a worker gets together: several batches of similar lengths
PART = 1024  # lines that one process answers together


class Command(NamedTuple):
    """A command that answers lines: the method of the model that it calls, its help, and its own arguments."""

    name: str  # of the command, the method of `Predictor` and the task of the head
    help: str
    examples: str
    searches: bool = False  # takes the arguments of a search
    probabilities: bool = False  # takes --probabilities
    prompt: bool = False  # takes --prompt


COMMANDS = (
    Command(
        "translate",
        "translate lines of text",
        """examples:
  echo "a b c d" | seq2att translate runs/reverse
  seq2att translate runs/reverse input.txt -o output.txt --beam 5
  seq2att translate runs/reverse input.txt -o output.txt --devices 2 --quantize int8
  seq2att translate runs/reverse                      (reads lines from the terminal)

RUN is a run folder or a bundle. Line n of the output answers line n of the input; an empty line stays empty.
Killed before its output is whole, the same command goes on where it was, and ends with the same bytes.
With --n-best above 1, every answer is a line of its own: number of the input line, score, text, with tabs between.
With --devices N, N processes share the lines, each with its part of the threads or its own GPU.""",
        searches=True,
    ),
    Command(
        "classify",
        "predict the class of each line",
        """examples:
  echo "Virtanen" | seq2att classify runs/surname_origin
  seq2att classify runs/surname_origin surnames.txt -o labels.txt --probabilities

Line n of the output is the label of line n of the input; an empty line stays empty. With --probabilities every class
and its probability follow, likeliest first, with tabs between.""",
        probabilities=True,
    ),
    Command(
        "tag",
        "predict a tag for each word of each line",
        """examples:
  echo "flights from boston to denver" | seq2att tag runs/atis_slots
  seq2att tag runs/atis_slots sentences.txt -o tags.txt

Words stand between spaces; line n of the output has a tag for every word of line n of the input. A model that reads
videos tags each FILE: an animated picture, or a folder of pictures, which are its frames.""",
    ),
    Command(
        "estimate",
        "predict a number for each line, by a regression",
        """examples:
  echo "0.1 0.2 0.3 0.4 0.5" | seq2att estimate runs/number_sequence
  seq2att estimate runs/number_sequence windows.txt -o numbers.txt

Line n of the output is the number for line n of the input; an empty line stays empty.""",
    ),
    Command(
        "generate",
        "generate text from pictures, labels, vectors, or the beginning of a text",
        """examples:
  seq2att generate runs/shakespeare_char --prompt "ROMEO:" --sample --temperature 0.8 --max-length 300
  seq2att generate runs/surname_invent --prompt Irish --sample --n-best 10
  printf 'Irish\\nItalian\\n' | seq2att generate runs/surname_invent --sample

With pictures of your own:
  seq2att generate runs/shapes_caption picture.png other.jpg

A model that reads pictures describes each FILE, or each file whose name is a line of standard input. For a language
model a line, or the prompt, is the beginning of a text, and --max-length counts the tokens that it adds (200, unless
the run sets search.max_length). For other models a line is a label, or the numbers of a vector. With --n-best above 1,
every answer is a line of its own: number of the input line, score, text, with tabs between.

Without --beam and --sample the search is that of the model's recipe: surname_invent samples. --beam 1 takes the
likeliest token each time. A sample is the same every time; another --seed gives another one.""",
        searches=True,
        prompt=True,
    ),
)


class Request(NamedTuple):
    """How a command calls a model, and what it writes of a prediction."""

    method: str  # of the predictor
    options: dict[str, Any]  # of that method
    probabilities: bool = False  # write that of every class


def add(commands: Commands) -> None:
    """Add the commands to the parser."""
    for command in COMMANDS:
        parser = add_parser(commands, command.name, command.help, command.examples)
        add_model(parser)
        files = "a text file, or pictures for a model that reads them; else standard input"
        parser.add_argument("files", metavar="FILE", nargs="*", help=files)
        add_output(parser)
        parser.add_argument("--batch-size", type=positive, metavar="N", help="lines answered together")
        batch_tokens = "tokens answered together, 16384 by default: bounds the memory"
        parser.add_argument("--batch-tokens", type=positive, metavar="N", help=batch_tokens)
        longest = "most tokens of a line; by default data.max_length of the run, else 100000"
        parser.add_argument("--max-source-length", type=positive, metavar="N", help=longest)
        parser.add_argument("--too-long", choices=("refuse", "cut"), help="what to do with longer lines")
        parser.add_argument("--device", metavar="DEVICE", help="cpu, which is the default, or cuda")
        parser.add_argument("--devices", type=positive, metavar="N", default=1, help="processes that share the lines")
        add_quantize(parser)
        if command.searches:
            add_search(parser)
        if command.probabilities:
            parser.add_argument("--probabilities", action="store_true", help="write the probability of every class")
        if command.prompt:
            parser.add_argument("--prompt", metavar="TEXT", help="one input in place of a file; its line ends are kept")
        parser.set_defaults(run=functools.partial(run, command))


def run(command: Command, arguments: argparse.Namespace) -> None:
    """Answer a prompt, a file, standard input, or what is typed."""
    named = {name: getattr(arguments, name) for name in LIMITS}
    options = {name: value for name, value in named.items() if value is not None}
    if command.searches:
        options |= search_options(arguments)
    request = Request(command.name, options, command.probabilities and arguments.probabilities)
    if command.prompt and arguments.prompt is not None:
        answer_prompt(arguments, request)
    else:
        answer(arguments, request)


def answer_prompt(arguments: argparse.Namespace, request: Request) -> None:
    """Answer the text of `--prompt`; an answer may have several lines."""
    if arguments.files:
        raise UserError("E-argument", f"{arguments.files[0]} and --prompt", "exclude each other", "leave one out")
    prediction = getattr(load(arguments), request.method)(arguments.prompt, attention=False, **request.options)
    if arguments.n_best == 1:
        write_bytes(standard_output(), f"{prediction.text}\n".encode("utf-8", "replace"))
    else:
        put(standard_output(), output_lines(prediction, 1, request))


def answer(arguments: argparse.Namespace, request: Request) -> None:
    """Answer a file, standard input, or what is typed."""
    check_output(arguments.output, *arguments.files)
    is_typed = not arguments.files and arguments.output is None and sys.stdin.isatty()
    if arguments.devices > 1 and not is_typed:
        loading = plugins(arguments), load_options(arguments)
        make_answering = MakeAnswering(arguments.model, *loading, request, arguments.devices)
        with reported(arguments, request, PIECE, reads_files(arguments)) as (pieces, report):
            share(pieces, make_answering, arguments.devices, report.add)
        return
    predictor = load(arguments)
    if is_typed:
        converse(predictor, request)
        return
    with reported(arguments, request, PART, getattr(predictor, "reads_files", False)) as (pieces, report):
        for piece in pieces:
            report.add(piece, answer_chunk(predictor, request, piece))


@contextlib.contextmanager
def reported(
    arguments: argparse.Namespace, request: Request, size: int, are_names: bool
) -> Iterator[tuple[Iterator[Chunk], Report]]:
    """The inputs to answer, in pieces of at most `size` or some batches, and what writes their answers.

    `are_names`: the FILEs are the inputs, as pictures are, in place of holding them as lines.
    """
    ignored = LIMITS  # change no answer, but for lines that are cut, of which `written` takes care
    options = {name: value for name, value in request.options.items() if name not in ignored}
    options |= {"probabilities": request.probabilities, "n_best": request.options.get("n_best", 1)}
    with opened_input(arguments, are_names) as source, written(arguments, options) as output:
        report = Report(output, bool(arguments.files))
        yield output.remaining(split(chunks(source), max(size, 4 * (arguments.batch_size or 0)))), report
        report.end()


def opened_input(arguments: argparse.Namespace, are_names: bool) -> contextlib.AbstractContextManager[Input]:
    """The lines of the file or of standard input; for a model that reads pictures, the names of the files."""
    files = arguments.files
    if files and files != ["-"] and are_names:
        return contextlib.nullcontext(opened_names(files))
    if len(files) > 1:
        problem = "this model reads lines of one text file"
        raise UserError("E-argument", " ".join(files[:2]), problem, "name one, or `cat` them into standard input")
    return opened(files[0] if files else None)


@dataclass(frozen=True)
class MakeAnswering:
    """Loads the model in a worker."""

    model: str
    plugins: list[str]
    options: dict[str, Any]  # of loading
    request: Request
    count: int

    def __call__(self, number: int) -> Answering:
        """Load the model in worker `number`."""
        import torch

        from seq2att import api

        warnings: list[str] = []
        options = dict(self.options)
        if options.get("device") == "cuda":
            options["device"] = f"cuda:{number}"
            if number >= (available := torch.cuda.device_count()):
                raise UserError("E-device", f"--devices={self.count}", f"must be at most {available}, the GPUs here")
        torch.set_num_threads(max(1, torch.get_num_threads() // self.count))
        predictor = api.load(self.model, plugins=self.plugins, say=warnings.append, **options)

        def answer(piece: Chunk) -> Answer:
            answer = answer_chunk(predictor, self.request, piece)._replace(warnings=list(warnings))
            warnings.clear()
            return answer

        return answer


def answer_chunk(predictor: Predictor, request: Request, chunk: Chunk) -> Answer:
    """Answer some lines."""
    method = getattr(predictor, request.method)
    predictions = method(chunk.lines, first_line=chunk.first, attention=False, **request.options)
    numbered = enumerate(predictions, chunk.first)
    lines = [line for number, prediction in numbered for line in output_lines(prediction, number, request)]
    return Answer(len(predictions), lines, [])


class Report:
    """Writes answers; for files, the progress goes to stderr."""

    def __init__(self, output: Output, has_files: bool) -> None:
        self.output, self.has_files = output, has_files
        self.started, self.done = time.monotonic(), 0
        self.live = has_files and sys.stderr.isatty()

    def add(self, piece: Chunk, answer: Answer) -> None:
        """Write some answers."""
        for note in answer.warnings:
            print(f"seq2att: {note}", file=sys.stderr)
        self.output.add(piece, answer.lines)
        self.done += answer.rows
        if self.live:
            print(f"\r{progress(self.done, self.started)}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Print the number of lines and the time."""
        if self.has_files:
            print(f"{chr(13) if self.live else ''}{progress(self.done, self.started)}", file=sys.stderr)


def progress(done: int, started: float) -> str:
    """The number of lines, the time and the rate."""
    seconds = max(time.monotonic() - started, 1e-9)
    return f"{done:,} lines in {seconds:.1f} s, {done / seconds:,.0f} lines/s"


def output_lines(prediction: Prediction, number: int, request: Request) -> list[str]:
    """The lines that are written for one input: the answer, with all probabilities, or each of the n best."""
    if request.probabilities and prediction.probabilities is not None:
        classes = [f"{label}\t{probability:.4f}" for label, probability in prediction.probabilities.items()]
        return ["\t".join([prediction.text, *classes])]
    if request.options.get("n_best", 1) == 1:
        return [prediction.text]
    return [f"{number}\t{one.score:.4f}\t{one.text}" for one in (prediction, *prediction.others)]


def converse(predictor: Predictor, request: Request) -> None:
    """Answer what is typed, line by line, until the end of input (Ctrl-D)."""
    print("Type a line; Ctrl-D ends.", file=sys.stderr)
    for number in itertools.count(1):
        try:
            text = input("> ")
        except EOFError:
            print(file=sys.stderr)
            return
        try:
            (prediction,) = getattr(predictor, request.method)([text], first_line=number, **request.options)
            put(standard_output(), output_lines(prediction, number, request))
        except UserError as error:
            print_error(error)
