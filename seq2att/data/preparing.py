"""From a reader to corpora: rows on disk, fields fitted on the training rows, ids; every stage cached by content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from seq2att.data.cache import cache_folder, cached, code_of, make_key
from seq2att.data.corpus import Corpus, RaggedWriter
from seq2att.data.reading import SIDES, Account, Shares, Table, write_tables
from seq2att.errors import UserError
from seq2att.field import Field, TextField
from seq2att.reader import SPLITS, Reader

EMBEDDING_OPTIONS = ("embedding_size", "dropout")  # of a field: they change no id


def prepare(
    config: Mapping[str, Any],
    source: Field,
    target: Field | None,
    reader: Reader,
    say: Callable[[str], None],
) -> dict[str, Corpus]:
    """The splits `train`, `validation` and, where there is one, `test`; fits both fields on the training rows.

    A split that the reader does not name is taken from the training rows, all rows of a source together. What was
    done before with the same content and settings is taken from the cache. Raises UserError with file, line and remedy.
    """
    work = Preparation(config, source, target, reader, say)
    table, _ = work.table("train")
    if not len(table):
        raise UserError(f"{work.account('train').report()}\nno row is left to learn from; look at the reader's settings")
    work.fit(table)
    corpora = {"train": work.corpus("train")}
    for split in ("validation", "test"):
        corpus = work.corpus(split) if split in reader.splits() or work.share(split) else None
        if corpus is not None and len(corpus):
            corpora[split] = corpus
        elif split == "validation" or split in reader.splits():
            raise UserError(work.no_rows(split))
    for corpus in corpora.values():
        say(corpus.account.report())
    for split in corpora.keys() - {"train"}:
        work.warn(split, table, corpora[split])
    return corpora


def load_split(config: Mapping[str, Any], source: Field, target: Field | None, reader: Reader, split: str) -> Corpus:
    """One split, encoded with fields that are fitted already; raises UserError when there is no such split."""
    work = Preparation(config, source, target, reader, lambda _: None)
    if split not in reader.splits() and not work.share(split):
        raise UserError(work.no_rows(split))
    return work.corpus(split)


class Preparation:
    """The stages of one preparation: tables of rows, fields, ids; each is a folder of the cache."""

    def __init__(
        self, config: Mapping[str, Any], source: Field, target: Field | None, reader: Reader, say: Callable[[str], None]
    ) -> None:
        self.data, self.reader, self.say = config["data"], reader, say
        self.fields = {side: field for side, field in zip(SIDES, (source, target), strict=True) if field is not None}
        self.options = [plain_options(config.get(side)) for side in self.fields]
        self.together = config.get("share", "nothing") != "nothing"
        self.seed = int(config["seed"])
        self.root = Path(self.data["root"]).expanduser() if self.data["root"] else None
        self.cache = cache_folder(self.data["cache"])
        if not 0 <= self.share("validation") + self.share("test") < 1:
            raise UserError("data.validation_fraction and data.test_fraction: together they leave nothing to train on")
        if self.together:
            self.share_tokenizer()

    def share(self, split: str) -> float:
        """The share of the training rows that a split gets: 0 when the reader names the split."""
        return 0.0 if split == "train" or split in self.reader.splits() else float(self.data[f"{split}_fraction"])

    def share_tokenizer(self) -> None:
        """Give both sides one tokenizer."""
        source, target = self.fields["source"], self.fields.get("target")
        if not (isinstance(source, TextField) and isinstance(target, TextField)):
            raise UserError("share: a tokenizer is shared by two fields of text; set share=nothing, or text on both sides")
        target.share_tokenizer(source)

    def table(self, split: str) -> tuple[Table, str]:
        """The rows of a split, and the hash of their content."""
        named = split if split in self.reader.splits() else "train"
        shares = Shares(0, 0.0, 0.0)
        if named == "train":
            shares = Shares(self.seed, self.share("test"), self.share("validation"))
            shares = shares if shares.test or shares.validation else Shares(0, 0.0, 0.0)
        drop_empty = self.data["empty"] == "drop"
        key = make_key(self.reader.fingerprint(named, self.root), code_of(self.reader), named, drop_empty, *shares)

        def make(folder: Path) -> None:
            write_tables(self.reader, named, self.root, drop_empty, shares, folder)

        folder = cached(self.cache, "rows", key, make)
        self.tables[split] = folder / split
        return Table(folder / split), f"{key}/{split}"
