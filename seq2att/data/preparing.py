"""From a reader to corpora: rows on disk, fields fitted on the training rows, ids; every stage cached by content."""

from __future__ import annotations

import hashlib
import importlib.metadata
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from seq2att.config.options import DataOptions
from seq2att.data.cache import cache_folder, cached, code_of, make_key
from seq2att.data.corpus import Corpus
from seq2att.data.encoding import Limits, write_ids
from seq2att.data.reading import CHUNK, SIDES, RowReport, Rules, Table, write_tables
from seq2att.data.splitting import Shares
from seq2att.data.streams import runs
from seq2att.errors import UserError
from seq2att.field import Field, LabelField, TextField
from seq2att.files import shorten
from seq2att.reader import SPLITS, Reader

PART = 1 << 16  # numbers that are looked up at once
EMBEDDING_OPTIONS = (
    "embedding_size",
    "dropout",
    "piece_dropout",
    "deviation",
    "embedding",
    "vectors",
)  # of a field: they change no id


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
    work.check_taken()
    train = work.rows("train")
    if not len(train.table):
        raise UserError(f"{train.report.summary()}\nno row is left to train on; mend the file or the reader's settings")
    work.fit(train)
    corpora = {"train": work.corpus("train")}
    if not len(corpora["train"]):
        raise UserError(f"{corpora['train'].report.summary()}\nno row is left to train on; raise data.max_length")
    for split in ("validation", "test"):
        corpus = work.corpus(split) if work.has(split) else None
        if corpus is not None and len(corpus):
            corpora[split] = corpus
        elif split == "validation" or split in reader.splits():
            raise UserError(work.no_rows(split))
    for split, corpus in corpora.items():
        say(corpus.report.summary())
        if split != "train":
            work.compare(split, corpora["train"], corpus)
            work.compare_classes(split, corpus)
    return corpora


def load_split(
    config: Mapping[str, Any],
    source: Field,
    target: Field | None,
    reader: Reader,
    split: str,
    say: Callable[[str], None] = lambda _: None,
) -> Corpus:
    """One split, encoded with fields that are fitted already; says what was left out.

    Raises UserError when there is no such split.
    """
    work = Preparation(config, source, target, reader, lambda _: None)
    corpus = work.corpus(split) if work.has(split) else None
    if corpus is None or not len(corpus):
        raise UserError(work.no_rows(split))
    if corpus.report.dropped:
        say(corpus.report.summary())
    return corpus


class Rows(NamedTuple):
    """The rows of one split on disk."""

    table: Table
    report: RowReport
    key: str  # the hash of their content


class Preparation:
    """The stages of one preparation: rows, fields, ids; what each makes is a folder of the cache."""

    def __init__(
        self, config: Mapping[str, Any], source: Field, target: Field | None, reader: Reader, say: Callable[[str], None]
    ) -> None:
        self.data: dict[str, Any] = {**asdict(DataOptions()), **config["data"]}
        self.reader, self.say = reader, say
        self.fields = {side: field for side, field in zip(SIDES, (source, target), strict=True) if field is not None}
        self.options = {side: config.get(side, {}) for side in self.fields}
        self.share = config.get("share", "nothing")
        self.seed = int(self.data["split_seed"])
        self.root = Path(self.data["root"]).expanduser() if self.data["root"] else None
        self.cache = cache_folder(self.data["cache"])
        self.read: dict[str, Rows] = {}
        self.fingerprints: dict[str, str] = {}
        if self.data["max_length"] is not None and self.data["max_length"] < 1:
            raise UserError(
                f"data.max_length={self.data['max_length']} leaves nothing of a row; set 1 or more, or null"
            )
        if not self.fraction("validation") + self.fraction("test") < 1:
            raise UserError(
                f"data.validation_fraction={self.data['validation_fraction']} and data.test_fraction="
                f"{self.data['test_fraction']} leave nothing to train on; their sum is to be below 1"
            )
        check_division(self.data, reader.absent)

    def fraction(self, split: str) -> float:
        """The part of the training rows that a split gets: 0 when the reader names the split."""
        return 0.0 if split in self.reader.splits() else float(self.data[f"{split}_fraction"])

    def has(self, split: str) -> bool:
        """Whether there is such a split, named or taken from the training rows."""
        return split in self.reader.splits() or (split in SPLITS and self.fraction(split) > 0)

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
            self.say(f"reading {named}")
            write_tables(self.reader, named, self.root, rules, shares, folder)

        folder = cached(self.cache, "rows", key, make) / split
        self.read[split] = Rows(Table(folder), RowReport.load(folder), f"{key}/{split}")
        return self.read[split]

    def shares(self, named: str) -> Shares:
        """What is taken from the rows of a split that the reader names, for other splits."""
        test, validation = self.fraction("test"), self.fraction("validation")
        if named != "train" or not (test or validation):
            return Shares(0, 0.0, 0.0)
        side = 1 if "source" in self.reader.absent else SIDES.index(self.data["split_by"])
        return Shares(self.seed, test, validation, self.data["split"], side, bool(self.data["stratify"]))

    def rules(self) -> Rules:
        """What a row must hold to teach anything."""
        useless = {side for side, field in self.fields.items() if not field.has_values} | self.reader.absent
        needed = tuple(side for side in SIDES if side not in useless)
        always = tuple(
            side
            for side, field in self.fields.items()
            if side in needed and (not field.is_sequence or (side == "target" and field.is_aligned))
        )
        return Rules(self.data["empty"], tuple(self.data["missing"]), needed, always, self.reader.running)

    def check_taken(self) -> None:
        """Raise UserError where the splits that are taken from the training rows could not measure anything."""
        shares, source = self.shares("train"), self.fields["source"]
        if not (shares.test or shares.validation) or shares.how != "random":
            return
        if self.reader.running or (runs(self.data) and not self.data["row_ends"]):
            raise UserError(
                "data.split=random tears the rows apart, which are one running text in order; "
                "set data.split=end, or reader.validation and reader.test"
            )
        if isinstance(source, LabelField) and source.unseen == "refuse" and SIDES[shares.side] == "source":
            raise UserError(
                "data.split_by=source keeps all rows of a label in one split, and training would not have the labels "
                "of the others; set data.split_by=target"
            )

    def check_sides(self, rows: Rows) -> None:
        """Refuse rows that lack what a field asks for."""
        for side, field in self.fields.items():
            if field.has_values and side not in rows.table.sides:
                verb = "learns" if side == "target" else "reads"
                raise UserError(f"reader: its rows have no {side}, which the model {verb}; set reader.{side}")

    def fit(self, train: Rows) -> None:
        """Fit the fields on the training rows, or restore what was fitted on the same rows before."""
        self.check_sides(train)
        began, made = time.monotonic(), False
        if self.share != "nothing":
            self.share_tokenizer()
        key = make_key(train.key, self.share != "nothing", self.settings(), library_versions())

        def make(folder: Path) -> None:
            nonlocal made
            made = True
            if any("tokenizer" in options for options in self.options.values()):
                self.say(f"making the vocabulary from {len(train.table):,} rows")
            self.fit_fields(train.table)
            for side, field in self.fields.items():
                for name, content in field.files().items():
                    file = folder / side / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(content)

        folder = cached(self.cache, "fields", key, make)
        for side, field in self.fields.items():
            parent = folder / side
            files = (file for file in sorted(parent.rglob("*")) if file.is_file())
            field.restore({file.relative_to(parent).as_posix(): file.read_bytes() for file in files})
            name, tokenizer = self.options[side].get("name", "field"), self.options[side].get("tokenizer")
            size = f"{tokenizer['name']}, {field.size:,} ids" if tokenizer else f"{name}, size {field.size:,}"
            source = f"made in {time.monotonic() - began:.0f} s" if made else "from the cache"
            if field.has_values:
                self.say(f"{side}: {size} ({source})")

    def share_tokenizer(self) -> None:
        """Give both sides one tokenizer."""
        source, target = self.fields["source"], self.fields.get("target")
        if not (isinstance(source, TextField) and isinstance(target, TextField)):
            raise UserError(f"share={self.share}: a tokenizer is shared by two sides of text; set share=nothing")
        target.share_tokenizer(source)

    def fit_fields(self, table: Table) -> None:
        """Fit both fields, each on its side; with a shared tokenizer, it on both."""
        if self.share == "nothing":
            for side, field in self.fields.items():
                fit_field(field, table, side)
            return
        columns = {side: itertools.chain.from_iterable(table.chunks(side)) for side in self.fields}
        source, target = self.fields["source"], self.fields["target"]
        assert isinstance(source, TextField) and isinstance(target, TextField)  # share_tokenizer has looked
        source.tokenizer.fit(
            itertools.chain(map(source.clean, columns["source"]), map(target.clean, columns["target"]))
        )

    def settings(self) -> list[Any]:
        """What a field's ids depend on, beside the rows: its options and its code."""
        options = [
            {key: in_order(value) for key, value in plain.items() if key not in EMBEDDING_OPTIONS}
            for plain in self.options.values()
        ]
        code = [code_of(part) for field in self.fields.values() for part in (field, *vars(field).values())]
        return [options, code]

    def corpus(self, split: str) -> Corpus:
        """Encode a split, unless that was done before."""
        rows = self.rows(split)
        if len(rows.table):
            self.check_sides(rows)
        contents = [
            (side, name, digest(content))
            for side, field in self.fields.items()
            for name, content in sorted(field.files().items())
        ]
        data = self.data
        limits = Limits(data["max_length"], data["too_long"], data["empty"], data["keep"], self.reader.running)
        key = make_key(rows.key, contents, self.settings(), limits)

        def make(folder: Path) -> None:
            if rows.report.read > CHUNK:
                self.say(f"encoding {len(rows.table):,} rows of {split}")
            write_ids(rows.table, rows.report, self.fields, limits, folder)

        return Corpus(rows.table, cached(self.cache, "ids", key, make))

    def no_rows(self, split: str) -> str:
        """What to say when a split is missing or empty."""
        if split in self.reader.splits():
            report = self.rows(split).report
            summary = f"{report.summary()}\n" if report.dropped else ""
            return f"{summary}reader.{split}: there is no row in it; name a file with rows"
        fraction = self.data.get(f"{split}_fraction")
        together = " (rows with the same source stay together)" if fraction else ""
        single = ", or data.stratify=false, which takes a class's only row too" if self.data["stratify"] else ""
        return (
            f"there is no row for {split}: the reader names none, and data.{split}_fraction={fraction} of the training "
            f"rows gives none{together}; set reader.{split}, or a larger data.{split}_fraction{single}"
        )

    def compare(self, split: str, train: Corpus, corpus: Corpus) -> None:
        """Say how much of a split the vocabulary does not know, and how much of it was seen in training."""
        rates = [
            f"{corpus.unknown_rate(side, field.unknown_id):.2%} of the {side}{' tokens' if field.is_sequence else 's'}"
            for side, field in self.fields.items()
            if field.has_values and np.issubdtype(getattr(corpus, side).values.dtype, np.integer)
        ]
        if rates:
            self.say(f"{split}: {' and '.join(rates)} are unknown")
        shares, side = self.shares("train"), corpus.table.sides[0]
        if split not in self.reader.splits() and shares.how == "random" and SIDES[shares.side] == side:
            return  # taken from the training rows, all rows of a source together
        sources = np.unique(corpus.table.hashes)
        seen = held(sources, train.table.hashes)
        if seen:
            self.say(f"{split}: {seen:,} of its {len(sources):,} distinct {side}s are in train too")

    def compare_classes(self, split: str, corpus: Corpus) -> None:
        """Warn when all rows of a split have one class, and training has several."""
        field = self.fields.get("target")
        if not isinstance(field, LabelField) or corpus.target is None or field.size < 2:
            return
        found = np.unique(corpus.target.values)
        if len(found) > 1:
            return
        if split in self.reader.splits():
            remedy = f"give reader.{split} rows of the others"
        else:
            stratify = "" if self.data["stratify"] else "data.stratify=true, or "
            remedy = f"set {stratify}a larger data.{split}_fraction"
        rows = f"all {len(corpus):,} rows have" if len(corpus) > 1 else "its only row has"
        name = shorten(field.decode(found.tolist()))
        self.say(f"{split}: {rows} the class {name}, training has {field.size:,} classes; {remedy}")


def check_division(data: Mapping[str, Any], absent: frozenset[str]) -> None:
    """Raise UserError when settings that divide the training rows exclude each other."""
    for key, value in (("split", "end"), ("split_by", "target")):
        if data["stratify"] and data[key] == value:
            why = "every class in both parts" if key == "split_by" else "rows by chance"
            raise UserError(f"data.stratify=true puts {why}, data.{key}={value} does not; leave one of them out")
    for key, asks in (("stratify", data["stratify"]), ("split_by=target", data["split_by"] == "target")):
        if asks and "target" in absent:
            raise UserError(f"data.{key} needs targets, and the rows have none; set reader.target, or leave it out")


def fit_field(field: Field, table: Table, side: str) -> None:
    """Fit a field on one side; what it refuses is told with file and line."""
    row = -1

    def values() -> Iterator[Any]:
        nonlocal row
        for row, value in enumerate(itertools.chain.from_iterable(table.chunks(side))):  # noqa: B007
            yield value
        row = -1  # read to the end: it is no single value

    try:
        field.fit(values())
    except UserError as error:
        if row < 0:
            raise
        raise UserError(f"{table.place(row)}: the {side}: {error}") from error


def held(few: npt.NDArray[np.uint64], many: npt.NDArray[np.uint64]) -> int:
    """How many of a few sorted, distinct numbers are among many: these are looked through once, a part at a time."""
    found = np.zeros(len(few), bool)
    for start in range(0, len(many) if len(few) else 0, PART):
        part = many[start : start + PART]
        places = np.minimum(np.searchsorted(few, part), len(few) - 1)
        found[places[few[places] == part]] = True
    return int(found.sum())


def in_order(value: Any) -> Any:
    """A value whose order counts in a key, that of a mapping too: replacements are made one after the other."""
    return list(value.items()) if isinstance(value, Mapping) else value


def digest(content: bytes) -> str:
    """A hash of the content of a file."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def library_versions() -> list[str]:
    """The versions of the libraries that a fitted tokenizer depends on."""
    return [importlib.metadata.version(name) for name in ("sentencepiece",)]
