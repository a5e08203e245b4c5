"""The one path of the data: reader -> fields -> cache -> buckets -> batch."""

from seq2att.data.batching import BATCH_TOKENS, Buckets, batches, by_length, collate, source_batch
from seq2att.data.corpus import Corpus, Ragged
from seq2att.data.preparing import load_split, prepare
from seq2att.data.report import RowReport, write_account

__all__ = [
    "BATCH_TOKENS",
    "Buckets",
    "Corpus",
    "Ragged",
    "RowReport",
    "batches",
    "by_length",
    "collate",
    "load_split",
    "prepare",
    "source_batch",
    "write_account",
]
