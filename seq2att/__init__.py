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
    from seq2att.attention import Attention
    from seq2att.config import compose
    from seq2att.decoder import Decoder
    from seq2att.encoder import Encoder
    from seq2att.errors import UserError
    from seq2att.field import Field
    from seq2att.head import Generator, Head
    from seq2att.metric import Metric
    from seq2att.output import Output
    from seq2att.reader import Reader
    from seq2att.registry import Factory, kind, register
    from seq2att.search import Search
    from seq2att.tokenizer import Tokenizer

__version__ = "0.1.0"

HOMES = {
    "Attention": "attention",
    "Decoder": "decoder",
    "Encoder": "encoder",
    "Factory": "registry",
    "Field": "field",
    "Generator": "head",
    "Head": "head",
    "Metric": "metric",
    "Output": "output",
    "Reader": "reader",
    "Search": "search",
    "Tokenizer": "tokenizer",
    "UserError": "errors",
    "compose": "config",
    "evaluate": "api",
    "kind": "registry",
    "load": "api",
    "register": "registry",
    "train": "api",
}

__all__ = [
    "Attention",
    "Decoder",
    "Encoder",
    "Factory",
    "Field",
    "Generator",
    "Head",
    "Metric",
    "Output",
    "Reader",
    "Search",
    "Tokenizer",
    "UserError",
    "__version__",
    "compose",
    "evaluate",
    "kind",
    "load",
    "register",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'seq2att' has no attribute {name!r}")
    return getattr(importlib.import_module(f"seq2att.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
