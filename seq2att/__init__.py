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
    from seq2att.api import evaluate as evaluate
    from seq2att.api import load as load
    from seq2att.api import train as train
    from seq2att.api.baseline import baseline as baseline
    from seq2att.api.baseline import count_ngrams as count_ngrams
    from seq2att.api.reproduction import reproduce as reproduce
    from seq2att.attention import Attention as Attention
    from seq2att.attention import masked_softmax as masked_softmax
    from seq2att.callback import Callback as Callback
    from seq2att.config import compose as compose
    from seq2att.decoder import Decoder as Decoder
    from seq2att.encoder import Encoder as Encoder
    from seq2att.errors import UserError as UserError
    from seq2att.explanation import Explanation as Explanation
    from seq2att.field import Field as Field
    from seq2att.files import read_lines as read_lines
    from seq2att.head import Generator as Generator
    from seq2att.head import Head as Head
    from seq2att.metric import Metric as Metric
    from seq2att.metric import Score as Score
    from seq2att.output import Output as Output
    from seq2att.reader import DataFiles as DataFiles
    from seq2att.reader import FileReader as FileReader
    from seq2att.reader import Reader as Reader
    from seq2att.reader import Row as Row
    from seq2att.registry import Count as Count
    from seq2att.registry import Factory as Factory
    from seq2att.registry import Finite as Finite
    from seq2att.registry import Inherited as Inherited
    from seq2att.registry import NonNegative as NonNegative
    from seq2att.registry import Positive as Positive
    from seq2att.registry import Range as Range
    from seq2att.registry import Rate as Rate
    from seq2att.registry import Seed as Seed
    from seq2att.registry import Share as Share
    from seq2att.registry import Size as Size
    from seq2att.registry import kind as kind
    from seq2att.registry import register as register
    from seq2att.search import Generates as Generates
    from seq2att.search import Search as Search
    from seq2att.tokenizer import Tokenizer as Tokenizer
    from seq2att.types import BEGIN as BEGIN
    from seq2att.types import END as END
    from seq2att.types import PAD as PAD
    from seq2att.types import UNKNOWN as UNKNOWN
    from seq2att.types import Attended as Attended
    from seq2att.types import Batch as Batch
    from seq2att.types import CarriedState as CarriedState
    from seq2att.types import Column as Column
    from seq2att.types import Decoded as Decoded
    from seq2att.types import Encoding as Encoding
    from seq2att.types import Hypotheses as Hypotheses
    from seq2att.types import Loss as Loss
    from seq2att.types import Memory as Memory
    from seq2att.types import Prediction as Prediction
    from seq2att.types import State as State
    from seq2att.types import Step as Step
    from seq2att.types import length_mask as length_mask
    from seq2att.types import select as select
    from seq2att.types import tree_map as tree_map

__version__ = "0.1.0"

EXPORTS = {  # the names that each module gives to this package; type checkers read the imports above
    "api": "evaluate load train",
    "api.baseline": "baseline count_ngrams",
    "api.reproduction": "reproduce",
    "attention": "Attention masked_softmax",
    "callback": "Callback",
    "config": "compose",
    "decoder": "Decoder",
    "encoder": "Encoder",
    "errors": "UserError",
    "explanation": "Explanation",
    "field": "Field",
    "head": "Generator Head",
    "metric": "Metric Score",
    "output": "Output",
    "files": "read_lines",
    "reader": "DataFiles FileReader Reader Row",
    "registry": "Count Factory Finite Inherited NonNegative Positive Range Rate Seed Share Size kind register",
    "search": "Generates Search",
    "tokenizer": "Tokenizer",
    "types": "Attended BEGIN Batch CarriedState Column Decoded END Encoding Hypotheses "
    "Loss Memory PAD Prediction State Step UNKNOWN length_mask select tree_map",
}
HOMES = {name: module for module, names in EXPORTS.items() for name in names.split()}
__all__ = ["__version__", *HOMES]


def __getattr__(name: str) -> Any:
    if name not in HOMES:
        raise AttributeError(f"module 'seq2att' has no attribute {name!r}")
    return getattr(importlib.import_module(f"seq2att.{HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
