"""seq2att: train, inspect and ship recurrent sequence-to-sequence models with attention.

    import seq2att
    model = seq2att.load("runs/pronounce")
    print(model.translate("hello").text)

Importing this package loads nothing: every name below is fetched when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seq2att.api import evaluate, load, train
    from seq2att.attention import Attention, masked_softmax
    from seq2att.callback import Callback
    from seq2att.config import compose
    from seq2att.decoder import Decoder
    from seq2att.encoder import Encoder
    from seq2att.errors import UserError
    from seq2att.field import Field
    from seq2att.head import Generator, Head
    from seq2att.metric import Metric, Score
    from seq2att.output import Output
    from seq2att.reader import FileReader, Reader, Row
    from seq2att.registry import Factory, kind, register
    from seq2att.search import Generates, Search
    from seq2att.tokenizer import Tokenizer
    from seq2att.types import (
        BEGIN,
        END,
        PAD,
        UNKNOWN,
        Attended,
        Batch,
        Column,
        Decoded,
        Encoding,
        Hypotheses,
        Loss,
        Memory,
        Prediction,
        State,
        Step,
        length_mask,
        select,
    )

__version__ = "0.1.0"

EXPORTS = {  # the names that each module gives to this package
    "api": "evaluate load train",
    "attention": "Attention masked_softmax",
    "callback": "Callback",
    "config": "compose",
    "decoder": "Decoder",
    "encoder": "Encoder",
    "errors": "UserError",
    "field": "Field",
    "head": "Generator Head",
    "metric": "Metric Score",
    "output": "Output",
    "reader": "FileReader Reader Row",
    "registry": "Factory kind register",
    "search": "Generates Search",
    "tokenizer": "Tokenizer",
    "types": "Attended BEGIN Batch Column Decoded END Encoding Hypotheses "
    "Loss Memory PAD Prediction State Step UNKNOWN length_mask select",
}
HOMES = {name: module for module, names in EXPORTS.items() for name in names.split()}

__all__ = [
    "BEGIN",
    "END",
    "PAD",
    "UNKNOWN",
    "Attended",
    "Attention",
    "Batch",
    "Callback",
    "Column",
    "Decoded",
    "Decoder",
    "Encoder",
    "Encoding",
    "Factory",
    "Field",
    "FileReader",
    "Generates",
    "Generator",
    "Head",
    "Hypotheses",
    "Loss",
    "Memory",
    "Metric",
    "Output",
    "Prediction",
    "Reader",
    "Row",
    "Score",
    "Search",
    "State",
    "Step",
    "Tokenizer",
    "UserError",
    "__version__",
    "compose",
    "evaluate",
    "kind",
    "length_mask",
    "load",
    "masked_softmax",
    "register",
    "select",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'seq2att' has no attribute {name!r}")
    return getattr(importlib.import_module(f"seq2att.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
