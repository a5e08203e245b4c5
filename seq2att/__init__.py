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

HOMES = {
    "Attended": "types",
    "Attention": "attention",
    "BEGIN": "types",
    "Batch": "types",
    "Callback": "callback",
    "Column": "types",
    "Decoded": "types",
    "Decoder": "decoder",
    "END": "types",
    "Encoder": "encoder",
    "Encoding": "types",
    "Factory": "registry",
    "Field": "field",
    "FileReader": "reader",
    "Generates": "search",
    "Generator": "head",
    "Head": "head",
    "Hypotheses": "types",
    "Loss": "types",
    "Memory": "types",
    "Metric": "metric",
    "Output": "output",
    "PAD": "types",
    "Prediction": "types",
    "Reader": "reader",
    "Row": "reader",
    "Score": "metric",
    "Search": "search",
    "State": "types",
    "Step": "types",
    "Tokenizer": "tokenizer",
    "UNKNOWN": "types",
    "UserError": "errors",
    "compose": "config",
    "evaluate": "api",
    "kind": "registry",
    "length_mask": "types",
    "load": "api",
    "masked_softmax": "attention",
    "register": "registry",
    "select": "types",
    "train": "api",
}

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
