"""Parts that commands share: their parsers, the arguments of a trained model, and how it is loaded."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from seq2att.api import Predictor

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_parser(commands: Commands, name: str, help: str, examples: str) -> argparse.ArgumentParser:
    """A command whose help begins with one sentence and ends with examples."""
    return commands.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the run folder."""
    parser.add_argument("model", metavar="RUN", help="a run folder or a bundle")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add `--output` and `--resume`."""
    parser.add_argument("-o", "--output", metavar="FILE", help="where to write; else standard output")
    resume = "go on after the answers that a killed command has left in OUT.partial, as is done without it"
    parser.add_argument("--resume", action=argparse.BooleanOptionalAction, help=f"{resume}; --no-resume starts anew")


def add_quantize(parser: argparse.ArgumentParser) -> None:
    """Add `--quantize`."""
    parser.add_argument("--quantize", metavar="TYPE", help="round the weights to int8, for speed on a CPU")


def add_split(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add `--split` and `--root`, which choose rows of a run's data."""
    splits = ("train", "validation", "test")
    parser.add_argument("--split", choices=splits, default="test", help=f"{note}which part of the data")
    parser.add_argument("--root", metavar="DIR", help=f"{note}where relative paths start (data.root)")
    parser.add_argument("--trust-data", action="store_true", help=f"{note}open the data that a bundle of others names")


def load(arguments: argparse.Namespace) -> Predictor:
    """Load the model and its plugins as the arguments say."""
    from seq2att import api

    return api.load(arguments.model, plugins=plugins(arguments), **load_options(arguments))


def load_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of loading among the arguments: `device`, `quantize` and `trust_data`."""
    options = {name: getattr(arguments, name, None) for name in ("device", "quantize", "trust_data")}
    return {name: value for name, value in options.items() if value not in (None, False)}


def plugins(arguments: argparse.Namespace) -> list[str]:
    """The plugins that `plugins=[...]` among the arguments names."""
    if not arguments.plugins:
        return []
    from seq2att.config import named_plugins

    return named_plugins(arguments.plugins)


def reads_files(arguments: argparse.Namespace) -> bool:
    """Whether the inputs of the model are names of files, as those of pictures are."""
    from seq2att import registry
    from seq2att.bundle import open_bundle

    registry.load(plugins(arguments))
    source = (open_bundle(Path(arguments.model)).saved.values.get("source") or {}).get("name")
    entry = registry.entries("field").get(str(source))
    return bool(getattr(entry and entry.target, "names_files", False))


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)
