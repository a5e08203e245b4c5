"""Checks of data settings and remarks about splits: what cannot work is refused, what looks wrong gets a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from seq2att.data.corpus import Corpus
from seq2att.data.numbers import release
from seq2att.data.reading import SIDES
from seq2att.data.report import RowReport
from seq2att.data.splitting import Shares
from seq2att.data.streams import is_stream
from seq2att.errors import UserError
from seq2att.field import Field, TextField
from seq2att.files import shorten
from seq2att.reader import Reader

MANY_UNKNOWN = 0.05  # share of unknown training tokens above which a warning names them
MAX_ROWS = 20_000  # rows with unknown tokens that are searched for them
MAX_PIECES = 8  # unknown pieces that a warning names
PART = 1 << 16  # numbers that are looked up together


def check_weights(data: Mapping[str, Any], reader: Reader) -> None:
    """Refuse weights that are not one for each name of the training split, or that running text cannot have."""
    weights, names = data["weights"], reader.num_parts("train")
    if weights is None:
        return
    if len(weights) != names or names < 2:
        problem = f"has {len(weights)} number{'s' * (len(weights) != 1)}, and reader.train lists {names}"
        remedy = "list at least two names in reader.train, and a weight for each"
        raise UserError("E-conflict", f"data.weights={weights}", problem, remedy)
    if is_stream(data):
        problem = "draws rows, and data.batching=stream reads all of them in order"
        raise UserError("E-conflict", f"data.weights={weights}", problem, "set one of them")


def check_options(data: Mapping[str, Any], absent: frozenset[str], validation: float, test: float) -> None:
    """Refuse data settings that exclude each other; `validation` and `test` are taken from the training rows."""
    is_of_rest = data["validation_of"] == "rest"
    if not (max(validation, test) if is_of_rest else validation + test) < 1:
        key = f"data.validation_fraction={data['validation_fraction']} and data.test_fraction={data['test_fraction']}"
        remedy = "set fractions below 1" if is_of_rest else "set fractions whose sum is below 1"
        raise UserError("E-split", key, "leave nothing to train on", remedy)
    excluded = [("stratify", "split", "end"), ("stratify", "split_by", "target")]
    if not test and data["split"] == "shuffle":  # the validation is then the last rows, and nothing else is taken
        excluded.append(("stratify", "validation_of", "rest"))
    for option, other, value in excluded:
        if data[option] and data[other] == value:
            raise UserError(
                "E-conflict", f"data.{option}=true", f"cannot go with data.{other}={value}", "set one of them"
            )
    if data["split_by"] == "target" and data["split"] != "random":
        problem = f"keeps rows together in data.split=random, not in {data['split']}"
        raise UserError("E-conflict", "data.split_by=target", problem, "set data.split=random or data.split_by=source")
    for option, is_set in (("stratify", data["stratify"]), ("split_by", data["split_by"] == "target")):
        if is_set and "target" in absent:
            remedy = f"set reader.target, or leave data.{option} out"
            raise UserError(
                "E-conflict", f"data.{option}={data[option]}", "needs targets, and the rows have none", remedy
            )


def check_taken(data: Mapping[str, Any], source: Field, reader: Reader, shares: Shares) -> None:
    """Refuse random and shuffled splits that could not measure anything."""
    if not (shares.test or shares.validation) or shares.how == "end":
        return
    if reader.running or (is_stream(data) and not data["row_ends"]):
        problem = "would tear apart the rows, which are one running text"
        raise UserError(
            "E-split", f"data.split={shares.how}", problem, "set data.split=end, or reader.validation and reader.test"
        )
    is_by_source = shares.how == "random" and SIDES[shares.side] == "source"
    if is_by_source and source.refuses_unknown and not source.is_sequence:
        problem = "would keep all rows of a source label in one split, so training would lack the other labels"
        raise UserError("E-split", "data.split_by=source", problem, "set data.split_by=target")


def check_dropped(fields: Mapping[str, Field]) -> None:
    """Refuse to drop items of a source that has a tag for each of them."""
    source, target = fields["source"], fields.get("target")
    if target is not None and target.is_aligned and isinstance(source, TextField) and source.drops_unknown:
        problem = "drops words, and the target has a tag for each word"
        raise UserError("E-conflict", "source.tokenizer.unknown=drop", problem, "set source.tokenizer.unknown=keep")


def check_frozen(fields: Mapping[str, Field], is_shared: bool) -> None:
    """Refuse vectors that stay as they are drawn: `embedding=frozen` is for pretrained ones."""
    has_vectors = {side: getattr(field, "vectors", None) is not None for side, field in fields.items()}
    for side, field in fields.items():
        is_pretrained = has_vectors[side] or (is_shared and any(has_vectors.values()))
        if isinstance(field, TextField) and field.embedding == "frozen" and not is_pretrained:
            problem = f"keeps random vectors, because no {side}.vectors names pretrained ones"
            remedy = f"set {side}.vectors=FILE, or {side}.embedding=trained"
            raise UserError("E-conflict", f"{side}.embedding=frozen", problem, remedy)


def no_row_left(report: RowReport, remedy: str) -> UserError:
    """The error about a split that the reader names and that has no row; says what was dropped."""
    dropped = ", ".join(
        f"{len(places):,} {reason}, as {next(iter(places))}" for reason, places in report.dropped.items()
    )
    gone = "; ".join(
        [f"dropped: {dropped}"] * bool(dropped)
        + [f"{count:,} are the {split}" for split, count in report.moved.items()]
    )
    problem = f"no row is left of {report.read:,} ({gone})" if gone else "has no row"
    if report.moved:
        remedy = "set " + " and ".join(f"a smaller data.{split}_fraction" for split in report.moved)
        return UserError("E-split", f"reader.{report.split}", problem, remedy)
    return UserError("E-empty", f"reader.{report.split}", problem, remedy)


def no_share(split: str, data: Mapping[str, Any]) -> UserError:
    """The error about a split that gets none of the training rows."""
    key = f"{split}_fraction"
    if key not in data:
        return UserError("E-split", f"reader.{split}", "the reader names no such split", "name it in the reader")
    together = " (rows with the same source stay together)" if data[key] and data["split"] == "random" else ""
    problem = f"takes no training row for {split}, which the reader does not name{together}"
    single = ", or data.stratify=false" if data["stratify"] else ""
    return UserError("E-split", f"data.{key}={data[key]}", problem, f"set reader.{split}, or a larger fraction{single}")


def vocabularies(corpus: Corpus, fields: Mapping[str, Field]) -> Iterator[tuple[str, Field, float]]:
    """The sides with ids, their fields, and the share of ids that are unknown."""
    for side, field in fields.items():
        values = getattr(corpus, side).values
        if field.has_values and values.dtype.kind == "i":
            yield side, field, corpus.unknown_rate(side, field.unknown_id)


def unknown_rates(split: str, corpus: Corpus, fields: Mapping[str, Field]) -> list[str]:
    """How many tokens of a split the vocabulary does not have, if there are any."""
    rates = [
        f"{rate:.2%} of the {side}{' tokens' if field.is_sequence else 's'}"
        for side, field, rate in vocabularies(corpus, fields)
        if f"{rate:.2%}" != "0.00%"
    ]
    return [f"{split}: {' and '.join(rates)} are unknown"] if rates else []


def many_unknown(split: str, corpus: Corpus, fields: Mapping[str, Field]) -> list[str]:
    """A warning for each side with more unknown tokens than `MANY_UNKNOWN`, with its commonest unknown pieces."""
    lines = []
    for side, field, rate in vocabularies(corpus, fields):
        if rate <= MANY_UNKNOWN:
            continue
        rows = corpus.rows_with_unknown(side, field.unknown_id, MAX_ROWS)
        values = corpus.values(side, rows)
        counts = Counter(piece for value in values for piece in field.unknown_pieces(value))
        pieces = ", ".join(f"{shorten(piece)} (in {count:,} rows)" for piece, count in counts.most_common(MAX_PIECES))
        commonest = f"; the commonest: {pieces}" if pieces else ""
        lines.append(f"warning: {split}: {rate:.1%} of the {side} tokens are unknown to the vocabulary{commonest}")
    return lines


def seen_in_training(split: str, corpus: Corpus, train: Corpus) -> list[str]:
    """How many sources of a split are in the training rows too, if there are any."""
    sources = np.unique(corpus.table.hashes)
    count = count_common(sources, train.table.hashes)
    side = corpus.table.sides[0]
    return [f"{split}: {count:,} of its {len(sources):,} distinct {side}s are in train too"] if count else []


def single_class(split: str, corpus: Corpus, field: Field | None, data: Mapping[str, Any], is_taken: bool) -> list[str]:
    """A warning if all rows of a split have one class, and training has several."""
    classes = getattr(field, "classes", ())
    if field is None or corpus.target is None or len(classes) < 2:
        return []
    ids = np.unique(corpus.target.values)
    if len(ids) > 1:
        return []
    stratify = "" if data["stratify"] else "data.stratify=true, or "
    remedy = (
        f"set {stratify}a larger data.{split}_fraction"
        if is_taken
        else f"give reader.{split} rows of the other classes"
    )
    rows = f"all {len(corpus):,} rows have" if len(corpus) > 1 else "its only row has"
    name = shorten(field.decode(ids.tolist()))
    return [f"warning: {split}: {rows} the class {name}, training has {len(classes):,} classes; {remedy}"]


def count_common(few: npt.NDArray[np.uint64], many: npt.NDArray[np.uint64]) -> int:
    """How many of a few sorted, distinct numbers are among many, which are read once, a part at a time."""
    is_found = np.zeros(len(few), bool)
    for start in range(0, len(many) if len(few) else 0, PART):
        part = many[start : start + PART]
        positions = np.minimum(np.searchsorted(few, part), len(few) - 1)
        is_found[positions[few[positions] == part]] = True
        release(many)
    return int(is_found.sum())
