"""`seq2att evaluate`: measure a trained model on test data; prints JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seq2att.cli.model import Commands, add_model, add_parser, add_quantize, add_split, load_options, plugins, positive
from seq2att.cli.text import put, standard_output

EXAMPLES = """examples:
  seq2att evaluate runs/reverse
  seq2att evaluate runs/reverse --split validation --beam 1
  seq2att evaluate runs/surname_origin --draw pictures
  seq2att evaluate runs/surname_origin --details > figures.json

--test takes what the recipe's `reader.test` takes: a file name, or for reader=parallel the name without its suffix.
With several, the result holds one block for each. A table of the classes goes to stderr. With --quantize the result
holds the metrics of the model as it is, those of the quantized one, and the change."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "evaluate", "measure a model on test data and print JSON", EXAMPLES)
    add_model(parser)
    parser.add_argument("--test", metavar="FILE", nargs="+", default=[], help="other test data than the recipe's")
    add_split(parser)
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; 1 is greedy")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="rows decoded together")
    draw = "draw the confusion matrix, the scatter of numbers, or examples of pictures, here"
    parser.add_argument("--draw", metavar="DIR", help=draw)
    parser.add_argument("--details", action="store_true", help="add the details of the metrics, as of each class")
    add_quantize(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the metrics."""
    from seq2att import api

    options: dict[str, Any] = {name: getattr(arguments, name) for name in ("split", "root", "beam")}
    options["plugins"] = plugins(arguments)
    options |= {"batch_size": arguments.batch_size} if arguments.batch_size else {}
    options |= load_options(arguments)
    files = arguments.test or [None]
    folders = {file: Path(arguments.draw or "") / ("" if len(files) == 1 else Path(str(file)).name) for file in files}
    drawn: dict[Any, dict[str, Any]] = {file: {"draw": folders[file]} if arguments.draw else {} for file in files}
    results = {file: api.evaluate(arguments.model, file=file, **drawn[file], **options) for file in files}
    for file, result in results.items():
        folder = folders[file]
        show_details(result, file or arguments.split, folder if arguments.draw else None, is_named=len(results) > 1)
    printed: Any = results if len(results) > 1 else next(iter(results.values()))
    text = json.dumps(printed if arguments.details else without_details(printed), ensure_ascii=False, indent=2)
    put(standard_output(), text.splitlines())


def show_details(result: Mapping[str, Any], data: str, folder: Path | None, is_named: bool) -> None:
    """Print the table of the classes, if there are any, and draw the details into the folder."""
    from seq2att import drawing

    result = result if "details" in result else next(iter(result.values()), {})  # of a quantized model: as it is
    details = result.get("details", {}).values() if isinstance(result, Mapping) else ()
    if table := drawing.details_table(details):
        print(f"{data}:\n{table}" if is_named else table, file=sys.stderr)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        count = result["rows"]
        drawn = drawing.draw_details(details, folder, f"{data}, {count:,} row{'s' * (count != 1)}")
        drawn += [file for file in [folder / drawing.EXAMPLES] if file.is_file()]
        print(f"drawn: {', '.join(map(str, drawn)) or 'nothing: these metrics have no details'}", file=sys.stderr)


def without_details(result: Any) -> Any:
    """The result without the details of metrics, also that of several files or of a quantized model."""
    if not isinstance(result, Mapping):
        return result
    return {name: without_details(value) for name, value in result.items() if name != "details" or "rows" in value}
