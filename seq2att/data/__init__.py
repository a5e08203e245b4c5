"""The one path of the data: reader -> fields -> cache -> buckets -> batch."""

from seq2att.data.batching import Buckets, batches, collate, source_batch
from seq2att.data.corpus import Corpus, Ragged
from seq2att.data.preparing import load_split, prepare
from seq2att.data.reading import RowReport

__all__ = ["Buckets", "Corpus", "Ragged", "RowReport", "batches", "collate", "load_split", "prepare", "source_batch"]
