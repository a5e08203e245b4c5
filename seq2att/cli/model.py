"""What the commands on a trained model have in common."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2att.api import Predictor


def add_model(parser: argparse.ArgumentParser) -> None:
    """The first argument of every such command."""
    parser.add_argument("model", metavar="RUN", help="a run folder or a bundle")


def add_quantize(parser: argparse.ArgumentParser) -> None:
    """The option of those commands that answer."""
    parser.add_argument("--quantize", metavar="TYPE", help="round the weights for speed on a CPU: int8")


def load(arguments: argparse.Namespace) -> Predictor:
    """The model, after its plugins, where and how the arguments say."""
    from seq2att import api

    return api.load(arguments.model, plugins=plugins(arguments), **how(arguments))


def how(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of loading that are given: `device` and `quantize`."""
    given = {name: getattr(arguments, name, None) for name in ("device", "quantize")}
    return {name: value for name, value in given.items() if value is not None}


def plugins(arguments: argparse.Namespace) -> list[str]:
    """The plugins that `plugins=[...]` among the arguments names."""
    if not arguments.plugins:
        return []
    from seq2att.config import named_plugins

    return named_plugins(arguments.plugins)


def positive(text: str) -> int:
    """A whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least 1")
    return int(text)
