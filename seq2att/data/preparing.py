"""From a reader to corpora: rows on disk, fields fitted on the training rows, ids; every stage cached by content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.config.options import DataOptions
from seq2att.data import checks
from seq2att.data.cache import cache_folder, cached, code_of, make_key
from seq2att.data.corpus import Corpus
from seq2att.data.encoding import Limits, fit_fields, write_ids
from seq2att.data.reading import CHUNK, SIDES, Rules, Table, write_tables
from seq2att.data.report import RowReport
from seq2att.data.splitting import Shares
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.reader import SPLITS, Reader

Log = Callable[[str], None]


def prepare(
    config: Mapping[str, Any], source: Field, target: Field | None, reader: Reader, say: Log
) -> dict[str, Corpus]:
    """The splits `train` and, if there are such, `validation` and `test`; fits both fields on the training rows.

    A split that the reader does not name is taken from the training rows, with all rows of a source together. What was
    made before from the same content and settings comes from the cache. Raises UserError with file, line and remedy.
    """
    work = Preparation(config, source, target, reader, say)
    work.check()
    train = work.rows("train")
    if not len(train.table):
        raise checks.no_row_left(train.report, "check the file and the reader's settings")
    work.fit(train)
    corpora = {"train": work.corpus("train")}
    if not len(corpora["train"]):
        raise checks.no_row_left(corpora["train"].report, "raise data.max_length")
    for split in ("validation", "test"):
        corpus = work.corpus(split) if work.has(split) else None
        if corpus is not None and len(corpus):
            corpora[split] = corpus
        elif split in reader.splits() or (split == "validation" and work.fraction(split)):
            raise work.no_rows(split)
    for split, corpus in corpora.items():
        say(corpus.report.summary())
        for line in work.remarks(split, corpora):
            say(line)
    return corpora


def load_split(
    config: Mapping[str, Any],
    source: Field,
    target: Field | None,
    reader: Reader,
    split: str,
    say: Log = lambda _: None,
) -> Corpus:
    """One split, encoded with fields that are already fitted; `say` gets a report of dropped rows.

    Raises UserError if there is no such split.
    """
    work = Preparation(config, source, target, reader, lambda _: None)
    corpus = work.corpus(split) if work.has(split) else None
    if corpus is None or not len(corpus):
        raise work.no_rows(split)
    if corpus.report.dropped:
        say(corpus.report.summary())
    return corpus


class Rows(NamedTuple):
    """The rows of one split on disk."""

    table: Table
    report: RowReport
    key: str  # the hash of their content


class Preparation:
    """The stages of preparing data: rows, fields, ids; each stage makes a folder of the cache."""

    def __init__(
        self, config: Mapping[str, Any], source: Field, target: Field | None, reader: Reader, say: Log
    ) -> None:
        self.data: dict[str, Any] = {**asdict(DataOptions()), **config["data"]}
        self.reader, self.say = reader, say
        self.fields = {side: field for side, field in zip(SIDES, (source, target), strict=True) if field is not None}
        self.options = {side: config.get(side, {}) for side in self.fields}
        self.share = config.get("share", "nothing")
        self.root = Path(self.data["root"]).expanduser() if self.data["root"] else None
        self.cache = cache_folder(self.data["cache"])
        self.read: dict[str, Rows] = {}
        self.fingerprints: dict[str, str] = {}
        checks.check_weights(self.data, reader)
        checks.check_options(self.data, reader.absent, self.fraction("validation"), self.fraction("test"))

    def fraction(self, split: str) -> float:
        """The part of the training rows that a split gets: 0 if the reader names the split."""
        return 0.0 if split in self.reader.splits() else float(self.data[f"{split}_fraction"])

    def has(self, split: str) -> bool:
        """Whether there is such a split, named or taken from the training rows."""
        return split in self.reader.splits() or (split in SPLITS and self.fraction(split) > 0)

    def shares(self, named: str) -> Shares:
        """What is taken from a split that the reader names, for splits that it does not name."""
        test, validation = self.fraction("test"), self.fraction("validation")
        if named != "train" or not (test or validation):
            return Shares(0, 0.0, 0.0)
        side = 1 if "source" in self.reader.absent else SIDES.index(self.data["split_by"])
        seed = int(self.data["split_seed"])
        how, of_rest = self.data["split"], self.data["validation_of"] == "rest"
        return Shares(seed, test, validation, how, side, bool(self.data["stratify"]), of_rest)

    def rules(self) -> Rules:
        """Which sides of a row must hold a value."""
        needed = [side for side in SIDES if side not in self.reader.absent]
        needed = [side for side in needed if side not in self.fields or self.fields[side].has_values]
        always = [
            side
            for side, field in self.fields.items()
            if side in needed and (not field.is_sequence or (side == "target" and field.is_aligned))
        ]
        missing = tuple(self.data["missing"])
        files = tuple(side for side in needed if side in self.fields and self.fields[side].names_files)
        root = str((self.root or Path()).absolute()) if files else ""
        return Rules(self.data["empty"], missing, tuple(needed), tuple(always), self.reader.running, files, root)

    def check(self) -> None:
        """Refuse splits that measure nothing, and fields that cannot do what they are set to, or not share it."""
        checks.check_dropped(self.fields)
        checks.check_frozen(self.fields, self.share == "embedding")
        checks.check_taken(self.data, self.fields["source"], self.reader, self.shares("train"))
        if self.share == "nothing":
            return
        source, target = self.fields["source"], self.fields.get("target", Field())
        source.check_shared(target, self.share)
        target.check_shared(source, self.share)

    def check_sides(self, rows: Rows) -> None:
        """Refuse rows that lack the side of a field."""
        for side, field in self.fields.items():
            if field.has_values and side not in rows.table.sides:
                verb = "predicts" if side == "target" else "reads"
                problem = f"names no {side}, which the model {verb}"
                raise UserError("E-column", "reader", problem, f"set reader.{side}")

    def rows(self, split: str) -> Rows:
        """Read a split, unless that was done before."""
        if split in self.read:
            return self.read[split]
        named = split if split in self.reader.splits() else "train"
        shares, rules = self.shares(named), self.rules()
        if named not in self.fingerprints:
            self.fingerprints[named] = self.reader.fingerprint(named, self.root)
        key = make_key(self.fingerprints[named], code_of(self.reader), named, rules, shares)

        def make(folder: Path) -> None:
            description = self.reader.describe(named, self.root)
            self.say(f"reading {named}{': ' * bool(description)}{description}")
            write_tables(self.reader, named, self.root, rules, shares, folder)

        folder = cached(self.cache, "rows", key, make) / split
        self.read[split] = Rows(Table(folder), RowReport.load(folder), f"{key}/{split}")
        return self.read[split]

    def fit(self, train: Rows) -> None:
        """Fit the fields on the training rows, or restore what was fitted on the same rows before."""
        self.check_sides(train)
        start, is_made = time.monotonic(), False
        is_shared = self.share != "nothing"
        key = make_key(train.key, is_shared, self.settings(), importlib.metadata.version("sentencepiece"))

        def make(folder: Path) -> None:
            """Fit the fields, and write what they learned."""
            nonlocal is_made
            is_made = True
            if any("tokenizer" in options for options in self.options.values()):
                self.say(f"making the vocabulary from the training rows ({len(train.table):,})")
            fit_fields(self.fields, train.table, is_shared)
            for side, field in self.fields.items():
                for name, content in field.files().items():
                    file = folder / side / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)

        folder = cached(self.cache, "fields", key, make)
        origin = f"made in {time.monotonic() - start:.0f} s" if is_made else "from the cache"
        for side, field in self.fields.items():
            parent = folder / side
            files = (file for file in sorted(parent.rglob("*")) if file.is_file())
            field.restore({file.relative_to(parent).as_posix(): file.read_bytes() for file in files})
            if field.has_values:
                name, tokenizer = self.options[side].get("name", "field"), self.options[side].get("tokenizer")
                size = f"{tokenizer['name']}, {field.size:,} ids" if tokenizer else f"{name}, size {field.size:,}"
                self.say(f"{side}: {size} ({origin})")

    def settings(self) -> list[Any]:
        """What the ids of a field depend on, apart from the rows: its options and its code."""
        options = [
            {
                name: list(value.items()) if isinstance(value, Mapping) else value  # replacements are made in order
                for name, value in self.options[side].items()
                if name not in field.embedding_options
            }
            for side, field in self.fields.items()
        ]
        code = [code_of(part) for field in self.fields.values() for part in (field, *vars(field).values())]
        return [options, code]

    def corpus(self, split: str) -> Corpus:
        """Encode a split, unless that was done before."""
        rows = self.rows(split)
        if len(rows.table):
            self.check_sides(rows)
        contents = [
            (side, name, hashlib.blake2b(content, digest_size=16).hexdigest())
            for side, field in self.fields.items()
            for name, content in sorted(field.files().items())
        ]
        data = self.data
        limits = Limits(data["max_length"], data["too_long"], data["empty"], data["keep"], self.reader.running)
        outside = [self.digest(side, rows.table) for side in self.fields if self.fields[side].names_files]
        key = make_key(rows.key, contents, self.settings(), limits, *outside)

        def make(folder: Path) -> None:
            if rows.report.read > CHUNK:
                self.say(f"encoding {len(rows.table):,} rows of {split}")
            write_ids(rows.table, rows.report, self.fields, limits, folder)

        return Corpus(rows.table, cached(self.cache, "ids", key, make))

    def digest(self, side: str, table: Table) -> str:
        """A hash of what the values of a side name outside of the table."""
        return self.fields[side].digest(itertools.chain.from_iterable(table.chunks(side)))

    def no_rows(self, split: str) -> UserError:
        """The error about a split that is missing or empty."""
        if split in self.reader.splits():
            return checks.no_row_left(self.rows(split).report, "name a file with rows")
        return checks.no_share(split, self.data)

    def remarks(self, split: str, corpora: Mapping[str, Corpus]) -> list[str]:
        """What a user should know about a split: unknown tokens, sources of training, a single class."""
        corpus = corpora[split]
        if split == "train":
            return checks.many_unknown(split, corpus, self.fields)
        lines = checks.unknown_rates(split, corpus, self.fields)
        shares, side = self.shares("train"), corpus.table.sides[0]
        is_taken = split not in self.reader.splits()
        if not (is_taken and shares.how == "random" and SIDES[shares.side] == side):  # then no source is in both
            lines += checks.seen_in_training(split, corpus, corpora["train"])
        return lines + checks.single_class(split, corpus, self.fields.get("target"), self.data, is_taken)
