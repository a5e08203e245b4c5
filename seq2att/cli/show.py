"""`seq2att show`: the attention of a model for one input."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att.cli.model import Commands, add_model, add_parser, add_split, load, positive
from seq2att.cli.text import put, standard_output, typed, write_bytes
from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.api import Predictor
    from seq2att.types import Prediction

SEARCHING = ("translate", "generate")  # tasks
EXAMPLES = """examples:
  seq2att show runs/reverse "a b c d"
  seq2att show runs/reverse "a b c d" -o attention.png
  seq2att show runs/reverse --row 3 -o attention.png
  seq2att show runs/surname_origin "Virtanen"

With a picture of your own:
  seq2att show runs/shapes_caption picture.png -o attention.png

The text may be the name of a picture, for a model that reads pictures. --row takes an example from the run's own
data. A classifier has attention with head.pool=attend."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "show", "answer one input and show its attention", EXAMPLES)
    add_model(parser)
    add_input(parser)
    parser.add_argument("-o", "--output", metavar="FILE.png", help="draw the map into this file, too")
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; 1 is greedy")
    parser.set_defaults(run=run)


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add the one input: a text, or a row of the run's data."""
    parser.add_argument(
        "text", type=typed("TEXT"), metavar="TEXT", nargs="?", help="what to answer, or the name of a picture"
    )
    parser.add_argument("--row", type=positive, metavar="N", help="answer row N of the run's data in place of a text")
    add_split(parser, "with --row: ")


def check_input(arguments: argparse.Namespace) -> None:
    """Refuse two inputs, and an empty one."""
    if arguments.text is not None and arguments.row is not None:
        raise UserError("E-argument", "TEXT and --row", "exclude each other", "give one of them")
    if arguments.text is not None and not arguments.text.strip():
        raise UserError("E-empty", "TEXT", "is empty", "give a sentence in quotes")


def input_of(arguments: argparse.Namespace, predictor: Predictor) -> tuple[Any, list[str], str]:
    """The input, lines to print above the answer, and the right answer: of a row its place and its target."""
    if arguments.row is None:
        if arguments.text is None and predictor.model.source.has_values:
            problem = f"{arguments.command} needs an input"
            raise UserError("E-missing", "TEXT", problem, "give a sentence in quotes, or --row N")
        return arguments.text or "", [], ""
    from seq2att import api

    example = api.example(predictor, arguments.row, split=arguments.split, root=arguments.root)
    return example.source, [f"{example.place}: {example.target}"], example.target


def search_options(arguments: argparse.Namespace, predictor: Predictor) -> dict[str, Any]:
    """The size of the beam, where it is given; refuses one for a model that does not search."""
    if arguments.beam and predictor.task not in SEARCHING:
        raise UserError("E-task", f"--beam={arguments.beam}", f"{predictor.task} has no search", "leave it out")
    return {"beam": arguments.beam} if arguments.beam else {}


def run(arguments: argparse.Namespace) -> None:
    """Print the answer and its attention, and draw it with --output."""
    check_input(arguments)
    if arguments.output and not arguments.output.lower().endswith(".png"):
        raise UserError("E-argument", f"--output={arguments.output}", "must end in .png")
    predictor = load(arguments)
    search, searches = search_options(arguments, predictor), predictor.task in SEARCHING
    source, header, right = input_of(arguments, predictor)
    (prediction,) = getattr(predictor, predictor.task)([source], **search)
    put(standard_output(), [*header, prediction.text, *detail_lines(prediction, predictor.task)])
    if prediction.attention is not None:
        draw(predictor, prediction, source, arguments.output)
    elif arguments.output and draw_strip(predictor, prediction, source, right, Path(arguments.output)):
        print(f"drawn into {arguments.output}", file=sys.stderr)
    elif searches or arguments.output:
        remedy = "with an attention, as in attention=general" if searches else "with head.pool=attend"
        raise UserError("E-task", f"{arguments.model}", "this model has no attention", f"train one {remedy}")


def detail_lines(prediction: Prediction, task: str) -> list[str]:
    """What is printed below the answer: the probability of every class, or each word with its tag."""
    if prediction.probabilities is not None:
        return [f"  {label}  {probability:.4f}" for label, probability in prediction.probabilities.items()]
    if task != "tag":
        return []
    width = max(map(len, prediction.source_tokens), default=0)
    pairs = zip(prediction.source_tokens, prediction.tokens, strict=True)
    return [f"  {word:{width}}  {tag}" for word, tag in pairs]


def source_array(predictor: Predictor, source: Any) -> Any:
    """The source as the model read it, cut as the settings say."""
    array = predictor.model.source.encode(source)
    length = predictor.config["data"].get("max_length") or len(array)
    return array[-length:] if predictor.config["data"].get("keep") == "end" else array[:length]


def draw(predictor: Predictor, prediction: Prediction, source: Any, output: str | None) -> None:
    """Print the attention, and draw it into a file: over the regions of a picture, or above the items of the source."""
    from seq2att import drawing
    from seq2att.trainer.examples import attention_maps

    array = source_array(predictor, source)
    picture, words = predictor.model.source.picture(array), prediction.tokens or (prediction.text,)
    maps = attention_maps(predictor.model, prediction, len(array))
    color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    width = shutil.get_terminal_size((100, 24)).columns
    attention = (prediction.attention, prediction.source_tokens, words)
    if maps is None:
        text = drawing.attention_text(*attention, width=width, color=color).rstrip()
    else:
        text = drawing.region_text(maps, words, width, color)
    write_bytes(standard_output(), f"\n{text}\n".encode())
    if output and maps is not None and picture is not None and picture.ndim == 3:
        drawing.draw_pictures([drawing.Seen(picture, prediction.text, words, "", maps)], Path(output))
    elif output:
        drawing.attention_map(*attention, Path(output), picture)
    if output:
        print(f"drawn into {output}", file=sys.stderr)


def draw_strip(predictor: Predictor, prediction: Prediction, source: Any, right: str, output: Path) -> bool:
    """Draw the items of a picture with their tags into a file; False where the source is no picture."""
    from seq2att import drawing

    picture = predictor.model.source.picture(source_array(predictor, source))
    if picture is None or predictor.task != "tag":
        return False
    drawing.draw_strips([drawing.Seen(picture, prediction.text, prediction.tokens, right)], output)
    return True
