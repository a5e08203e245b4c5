"""`seq2att evaluate`: the figures of a trained model on test data, as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att.cli.model import add_model, add_quantize, how, plugins, positive
from seq2att.cli.text import put

if TYPE_CHECKING:
    from seq2att.cli.train import Commands

EXAMPLES = """examples:
  seq2att evaluate runs/reverse
  seq2att evaluate runs/reverse --split validation --beam 1
  seq2att evaluate runs/surname_origin --draw pictures
  seq2att evaluate runs/surname_origin --details > figures.json

--test takes what the recipe's `reader.test` takes: a file name, or for reader=parallel the name without its suffix.
With several, the result holds one block for each. With --quantize the figures of the model as it is, those of the
quantized one and the change between them stand side by side."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on test data (JSON)",
        description="Measure a trained model on test data; prints JSON, and a table of the classes beside it (stderr).",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_model(parser)
    parser.add_argument("--test", metavar="FILE", nargs="+", default=[], help="other test data than the recipe's")
    parser.add_argument(
        "--split", choices=("train", "validation", "test"), default="test", help="which part of the data"
    )
    parser.add_argument("--root", metavar="DIR", help="where relative paths start (data.root)")
    parser.add_argument("--beam", type=positive, metavar="N", help="beam size; 1 is greedy")
    parser.add_argument("--batch-size", type=positive, metavar="N", help="rows decoded together")
    parser.add_argument("--draw", metavar="DIR", help="draw into this folder: confused classes, numbers and true ones")
    parser.add_argument(
        "--details", action="store_true", help="all that the metrics know: confused classes, numbers beside true ones"
    )
    add_quantize(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Print the figures."""
    from seq2att import api

    options = {"split": arguments.split, "root": arguments.root, "beam": arguments.beam, "plugins": plugins(arguments)}
    options |= {"batch_size": arguments.batch_size} if arguments.batch_size else {}
    options |= how(arguments)
    found = {file: api.evaluate(arguments.model, file=file, **options) for file in arguments.test or [None]}
    for file, figures in found.items():
        folder = Path(arguments.draw or "") / ("" if len(found) == 1 else Path(str(file)).name)
        tell(figures, file or arguments.split, folder if arguments.draw else None, name=len(found) > 1)
    printed: Any = found if len(found) > 1 else next(iter(found.values()))
    text = json.dumps(printed if arguments.details else brief(printed), ensure_ascii=False, indent=2)
    put(sys.stdout.buffer, text.splitlines())


def tell(figures: Mapping[str, Any], data: str, folder: Path | None, name: bool) -> None:
    """Print the table of the classes, if there are such, and draw what the figures tell where a folder is asked."""
    from seq2att import drawing

    figures = figures if "details" in figures else next(iter(figures.values()), {})  # of a quantized model: as it is
    details = figures.get("details", {}).values() if isinstance(figures, Mapping) else ()
    if table := drawing.details_table(details):
        print(f"{data}:\n{table}" if name else table, file=sys.stderr)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        count = figures["rows"]
        drawn = drawing.draw_details(details, folder, f"{data}, {count:,} row{'s' * (count != 1)}")
        print(f"drawn: {', '.join(map(str, drawn)) or 'nothing, for these metrics tell no more'}", file=sys.stderr)


def brief(figures: Any) -> Any:
    """The figures without the details of metrics, also those of several files or of a quantized model."""
    if not isinstance(figures, Mapping):
        return figures
    kept = {name: value for name, value in figures.items() if name != "details" or "rows" in value}
    return {name: brief(value) for name, value in kept.items()}
