"""The path of the data: nothing is lost, everything is counted, the same content gives the same batches."""

import itertools
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

import seq2att.field
import seq2att.reader  # registers the readers that the tests name
from seq2att import registry
from seq2att.data import Buckets, Corpus, Ragged, RowReport, batches, cache, collate, load_split, prepare, source_batch
from seq2att.data.batching import sort_stably
from seq2att.data.cache import cached, make_key
from seq2att.data.checks import PART, count_common
from seq2att.data.reading import CHUNK
from seq2att.data.report import Places
from seq2att.errors import UserError
from seq2att.field import Field, TextField
from seq2att.model import make_fields
from seq2att.reader import Reader
from seq2att.types import Batch
from tests.refusals import refused

Pairs = list[tuple[str, str]]


class Bench:
    """A folder with data and a cache, and what prepares them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []

    def write(self, name: str, pairs: Pairs) -> None:
        (self.folder / name).write_text("".join(f"{source}\t{target}\n" for source, target in pairs), "utf-8")

    def config(self, reader: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        data = {
            "root": str(self.folder),
            "cache": str(self.folder / "cache"),
            "batch_size": 4,
            "batch_by": "sentences",
            "bucket": 100,
            "max_length": None,
            "too_long": "refuse",
            "empty": "drop",
            "validation_fraction": 0.05,
            "test_fraction": 0.05,
            "split_seed": 1,
        }
        text = {"name": "text", "tokenizer": {"name": "char"}}
        named = {"name": "tsv", "train": "train.tsv", "validation": "valid.tsv", "test": "test.tsv"}
        outer = {key: options.pop(key) for key in ("share", "seed") if key in options}
        return {
            "seed": 1,
            "share": "nothing",
            "source": text,
            "target": text,
            "reader": {**named, **(reader or {})},
            "data": {**data, **options},
            **outer,
        }

    def prepare(self, config: Mapping[str, Any]) -> dict[str, Corpus]:
        self.fields = make_fields(config)
        return prepare(config, *self.fields, registry.build("reader", config), self.said.append)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.write("train.tsv", [(f"{a}{b}", f"{b}{a}") for a in "abcdefgh" for b in "abcd"])
    bench.write("valid.tsv", [("ax", "xa"), ("ab", "ba")])
    bench.write("test.tsv", [("dd", "dd"), ("dd", "d'd'"), ("dd", "dd"), ("cc", "cc")])
    return bench


def texts(corpus: Corpus, bench: Bench) -> Pairs:
    """What the ids of a corpus say."""
    rows = np.arange(len(corpus))
    assert corpus.target is not None
    both = zip(decoded(corpus.source, bench.fields[0]), decoded(corpus.target, bench.fields[1]), strict=True)
    pairs = list(both)
    assert len(pairs) == len(rows)
    return pairs


def decoded(side: Ragged, field: Field) -> list[str]:
    return [field.decode(side.values[a:b].tolist()) for a, b in zip(side.offsets, side.offsets[1:], strict=False)]


# --- what is read is what is learned ---------------------------------------------------------------------------


def test_every_row_arrives_duplicates_included(bench: Bench) -> None:
    pairs = [("ab", "x"), ("ab", "x"), ("cd", "y"), ("ab", "z"), ("  lead", "null"), ('"', "한국")]
    bench.write("train.tsv", pairs)
    corpora = bench.prepare(bench.config())
    assert list(corpora) == ["train", "validation", "test"]
    assert texts(corpora["train"], bench) == pairs
    assert corpora["train"].values("source", [3, 0]) == ["ab", "ab"]
    assert corpora["train"].values("target", [3, 0]) == ["z", "x"]
    report = corpora["train"].report
    assert (report.read, report.kept, listed(report.dropped)) == (6, 6, {})
    assert corpora["train"].place(4) == "train.tsv:5"


def test_many_chunks_keep_order_places_and_texts(bench: Bench) -> None:
    pairs = [(f"s{number}", f"t{number % 7}") for number in range(2 * CHUNK + 5)]
    bench.write("train.tsv", pairs)
    train = bench.prepare(bench.config())["train"]
    assert texts(train, bench) == pairs
    for row in (0, CHUNK - 1, CHUNK, 2 * CHUNK + 4):
        assert train.values("source", [row]) == [f"s{row}"]
        assert train.place(row) == f"train.tsv:{row + 1}"


def test_all_right_answers_of_a_source_are_grouped(bench: Bench) -> None:
    test = bench.prepare(bench.config())["test"]
    assert test.references([0, 2, 3]) == [("dd", "d'd'"), ("dd", "d'd'"), ("cc",)]  # distinct, in order
    assert test.unique().tolist() == [0, 3]
    assert len(test) == 4  # a group is one question but four examples


def test_values_that_other_tools_lose_survive(bench: Bench) -> None:
    pairs = [("null", "nan"), ("NA", "None"), ("x\x00y", "a\u2028b\x85"), ("العربية", "\ufeffmark"), ("'", '"')]
    with (bench.folder / "train.jsonl").open("w") as file:
        file.writelines(json.dumps({"source": source, "target": target}) + "\n" for source, target in pairs)
    reader = {"name": "jsonl", "train": "train.jsonl", "validation": "train.jsonl", "test": None}
    corpora = bench.prepare(bench.config(reader, test_fraction=0.0))
    assert texts(corpora["train"], bench) == pairs
    assert corpora["validation"].references(range(5)) == [(target,) for _, target in pairs]


# --- the report -----------------------------------------------------------------------------------------------


def test_empty_training_rows_are_counted_with_their_lines(bench: Bench) -> None:
    bench.write("train.tsv", [("a", "b"), ("", "b"), ("a", " "), ("c", "d"), ("", "")])
    report = bench.prepare(bench.config())["train"].report
    assert listed(report.dropped) == {"empty source": ["train.tsv:2", "train.tsv:5"], "empty target": ["train.tsv:3"]}
    assert (report.read, report.kept) == (5, 2)
    assert "train: read 5 rows, kept 2\n  dropped 2, empty source: train.tsv:2, train.tsv:5" in "\n".join(bench.said)
    with refused("E-empty", "train.tsv:2"):
        bench.prepare(bench.config(empty="refuse"))


def test_rows_of_which_no_token_is_left_are_empty(bench: Bench) -> None:
    bench.write("train.tsv", [("ab", "b"), ("12", "b"), ("c", "d")])
    config = bench.config()
    config["source"] = {**config["source"], "remove": "[0-9]"}
    assert listed(bench.prepare(config)["train"].report.dropped) == {"empty source": ["train.tsv:2"]}
    config["data"]["empty"] = "refuse"
    with refused("E-empty", "train.tsv:2"):
        bench.prepare(config)


def test_evaluation_rows_are_never_dropped(bench: Bench) -> None:
    pairs = [("", "b"), ("ab", ""), ("abcdefgh", "abcdefgh"), ("", "")]
    bench.write("test.tsv", pairs)
    test = bench.prepare(bench.config(max_length=4, too_long="drop"))["test"]
    assert texts(test, bench) == pairs
    assert listed(test.report.dropped) == {}
    assert listed(test.report.noted) == {
        "empty source": ["test.tsv:1", "test.tsv:4"],
        "empty target": ["test.tsv:2"],
        "longer than data.max_length=4": ["test.tsv:3"],
    }
    assert test.source.gather([0, 3]).values.shape == (2, 0)


def test_blank_lines_are_counted(bench: Bench) -> None:
    with (bench.folder / "test.tsv").open("a") as file:
        file.write("\n\n")
    report = bench.prepare(bench.config())["test"].report
    assert listed(report.dropped) == {"blank line": ["test.tsv:5", "test.tsv:6"]}
    assert (report.read, report.kept) == (6, 4)


def test_too_long_is_refused_dropped_or_cut(bench: Bench) -> None:
    bench.write("train.tsv", [("ab", "ab"), ("abcdef", "ab"), ("abc", "abcdefg")])
    with refused("E-length", "train.tsv:2") as error:
        bench.prepare(bench.config(max_length=3))
    assert str(error.value) == (
        "train.tsv:2: the source has 6 tokens, but data.max_length=3; set data.too_long=drop or cut, or raise "
        "data.max_length"
    )
    dropped = bench.prepare(bench.config(max_length=3, too_long="drop"))["train"]
    assert texts(dropped, bench) == [("ab", "ab")]
    assert listed(dropped.report.dropped) == {"longer than data.max_length=3": ["train.tsv:2", "train.tsv:3"]}
    assert (dropped.place(0), dropped.values("source", [0])) == ("train.tsv:1", ["ab"])
    cut = bench.prepare(bench.config(max_length=3, too_long="cut"))["train"]
    assert texts(cut, bench) == [("ab", "ab"), ("abc", "ab"), ("abc", "abc")]
    assert listed(cut.report.cut) == {"longer than data.max_length=3": ["train.tsv:2", "train.tsv:3"]}
    assert cut.report.kept == 3
    assert len(bench.prepare(bench.config(max_length=7))["train"]) == 3  # at the limit is within it


def test_rows_after_a_dropped_one_keep_their_text_and_place(bench: Bench) -> None:
    bench.write("train.tsv", [("a", "A"), ("bbbbb", "B"), ("c", "C"), ("c", "D")])
    train = bench.prepare(bench.config(max_length=3, too_long="drop"))["train"]
    assert train.values("source", [0, 1, 2]) == ["a", "c", "c"]
    assert [train.place(row) for row in range(3)] == ["train.tsv:1", "train.tsv:3", "train.tsv:4"]
    assert train.references([1]) == [("C", "D")]
    assert train.unique().tolist() == [0, 1]


def listed(reasons: dict[str, Places]) -> dict[str, list[str]]:
    """The places of every reason."""
    return {reason: list(places) for reason, places in reasons.items()}


def test_a_report_abbreviates_long_lists() -> None:
    report = RowReport("train")
    report.files["a.tsv"], report.kept = 30_000, 29_975
    for line in range(25):
        report.count(report.dropped, "empty target", "a.tsv", line)
    first, second = report.summary().splitlines()
    assert first == "train: read 30,000 rows, kept 29,975"
    assert second == "  dropped 25, empty target: a.tsv:0, a.tsv:1, a.tsv:2 and 22 more"


def test_a_vocabulary_is_named_where_there_is_one(bench: Bench) -> None:
    bench.write("train.tsv", [(f"{number}", f"{number}") for number in range(9)])
    config = bench.config({"validation": "train.tsv", "test": None}, test_fraction=0.0)
    bench.prepare(config)
    assert "making the vocabulary from the training rows (9)" in bench.said
    numbers = {"source": {"name": "numbers"}, "target": {"name": "number"}}
    config |= numbers
    del bench.said[:]
    fields = [registry.build("field", config, slot=side) for side in numbers]
    prepare(config, *fields, registry.build("reader", config), bench.said.append)
    assert [line for line in bench.said if re.fullmatch(r"source: numbers, size 1 \(made in \d+ s\)", line)]
    assert not [line for line in bench.said if "vocabulary" in line]


# --- splits ----------------------------------------------------------------------------------------------------


def many(bench: Bench, order: Callable[[Pairs], Pairs] = list) -> Pairs:
    pairs = [(f"s{number % 200}", f"t{number}") for number in range(600)]
    bench.write("train.tsv", order(pairs))
    return pairs


def sources(corpus: Corpus) -> set[str]:
    return set(corpus.values("source", range(len(corpus))))


def test_splits_that_nobody_names_come_from_train_group_by_group(bench: Bench) -> None:
    many(bench)
    config = bench.config({"validation": None, "test": None}, validation_fraction=0.2, test_fraction=0.1)
    corpora = bench.prepare(config)
    parts = [sources(corpora[split]) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 200  # no source on two sides
    assert sum(map(len, corpora.values())) == 600
    assert 20 <= len(parts[1]) <= 60
    assert 8 <= len(parts[2]) <= 35
    report = corpora["train"].report
    assert report.read == 600 == report.kept + sum(report.moved.values())
    assert report.moved == {split: len(corpora[split]) for split in ("validation", "test")}
    assert all(len(answers) == 3 for answers in corpora["test"].references(range(len(corpora["test"]))))


def test_the_split_depends_on_its_own_seed_and_the_source_only(bench: Bench) -> None:
    config = bench.config({"validation": None, "test": None})
    many(bench)
    before = sources(bench.prepare(config)["test"])
    many(bench, order=lambda pairs: [*pairs[::-1], ("another", "row")])
    assert sources(bench.prepare(config)["test"]) - {"another"} == before
    assert sources(bench.prepare({**config, "seed": 2})["test"]) - {"another"} == before
    data = {**config["data"], "split_seed": 2}
    assert sources(bench.prepare({**config, "data": data})["test"]) - {"another"} != before


def test_nothing_is_taken_for_a_split_that_is_named(bench: Bench) -> None:
    many(bench)
    corpora = bench.prepare(bench.config({"validation": None}, validation_fraction=0.2))
    assert set(corpora["train"].report.moved) == {"validation"}
    assert len(corpora["train"]) + len(corpora["validation"]) == 600
    assert len(corpora["test"]) == 4
    assert set(bench.prepare(bench.config({"test": None}, test_fraction=0.0))) == {"train", "validation"}


def test_sources_that_are_in_train_too_are_told(bench: Bench) -> None:
    bench.prepare(bench.config())
    assert "test: 2 of its 2 distinct sources are in train too" in bench.said
    assert "validation: 1 of its 2 distinct sources are in train too" in bench.said


def test_unknown_tokens_are_told(bench: Bench) -> None:
    validation = bench.prepare(bench.config())["validation"]
    assert validation.unknown_rate("source") == 0.25  # the x of ax, ab
    assert "validation: 25.00% of the source tokens and 25.00% of the target tokens are unknown" in bench.said


def test_no_unknown_token_is_not_told(bench: Bench) -> None:
    bench.write("valid.tsv", [("ab", "ba")])
    bench.write("test.tsv", [("cd", "dc")])
    bench.prepare(bench.config())
    assert not [line for line in bench.said if "unknown" in line]


def test_a_training_split_with_many_unknown_tokens_is_a_warning_with_the_commonest(bench: Bench) -> None:
    bench.write("train.tsv", [("the cat", f"t{number}") for number in range(20)] + [("the dog", "t"), ("a dog", "t")])
    text = {"name": "text", "tokenizer": {"name": "word", "size": 6}}  # the, cat
    bench.prepare({**bench.config(), "source": text})
    (line,) = [line for line in bench.said if line.startswith("warning: train:")]
    assert line == (
        "warning: train: 6.8% of the source tokens are unknown to the vocabulary; "
        "the commonest: 'dog' (in 2 rows), 'a' (in 1 rows)"
    )
    bench.said.clear()
    bench.prepare({**bench.config(), "source": {"name": "text", "tokenizer": {"name": "word", "size": 7}}})
    assert not [line for line in bench.said if line.startswith("warning: train:")]


def test_load_split_gives_what_prepare_gave(bench: Bench) -> None:
    many(bench)
    for reader in ({}, {"validation": None, "test": None}):
        config = bench.config(reader)
        prepared = bench.prepare(config)["test"]
        loaded = load_split(config, *bench.fields, registry.build("reader", config), "test")
        assert texts(loaded, bench) == texts(prepared, bench)
    bench.write("other.tsv", [("s1", "t1"), ("", "")])
    config = bench.config({"test": "other.tsv"})
    other = load_split(config, *bench.fields, registry.build("reader", config), "test")
    assert texts(other, bench) == [("s1", "t1"), ("", "")]


def taken(bench: Bench, **options: Any) -> dict[str, Corpus]:
    """What is taken from the training rows for the other splits."""
    return bench.prepare(bench.config({"validation": None, "test": None}, **options))


def rows_of(corpora: Mapping[str, Corpus], bench: Bench) -> dict[str, list[int]]:
    """The line of every row, for each split."""
    return {
        split: [int(corpus.place(row).split(":")[1]) for row in range(len(corpus))] for split, corpus in corpora.items()
    }


def test_a_split_at_the_end_takes_the_last_rows_unshuffled(bench: Bench) -> None:
    bench.write(
        "train.tsv", [(f"s{number}", "t") for number in range(9)] + [("", "t"), ("s1", "u")]
    )  # 10 hold something
    corpora = taken(bench, split="end", validation_fraction=0.2, test_fraction=0.25)
    assert rows_of(corpora, bench) == {"train": [1, 2, 3, 4, 5], "validation": [6, 7], "test": [8, 9, 11]}
    assert corpora["train"].report.moved == {"validation": 2, "test": 3}
    assert listed(corpora["train"].report.dropped) == {"empty source": ["train.tsv:10"]}
    assert "test: 1 of its 3 distinct sources are in train too" in bench.said
    corpora = taken(bench, split="end", validation_fraction=0.1, test_fraction=0.3)  # 0.3 * 10 is a little more than 3
    assert [len(corpus) for corpus in corpora.values()] == [6, 1, 3]


def test_rows_with_an_equal_target_stay_together_on_request(bench: Bench) -> None:
    bench.write("train.tsv", [(f"s{number % 150}", f"t{number % 200}") for number in range(600)])
    corpora = taken(bench, split_by="target", validation_fraction=0.2, test_fraction=0.1)
    targets = [set(corpus.values("target", range(len(corpus)))) for corpus in corpora.values()]
    assert sum(map(len, targets)) == len(set.union(*targets)) == 200
    assert all(len(found) > 5 for found in targets)
    assert any(line.startswith("test:") and line.endswith("distinct sources are in train too") for line in bench.said)


@pytest.mark.parametrize("copies", [1, 2])
def test_a_stratified_split_takes_the_fraction_of_each_class(bench: Bench, copies: int) -> None:
    sizes = {"a": 100, "b": 60, "c": 7, "d": 1}
    pairs = [(f"{name}{number}", name) for name, size in sizes.items() for number in range(size)] * copies
    bench.write("train.tsv", pairs)
    corpora = taken(bench, stratify=True, validation_fraction=0.1, test_fraction=0.2)
    found = {split: corpus.values("target", range(len(corpus))) for split, corpus in corpora.items()}
    for split, share in (("validation", 0.1), ("test", 0.2)):
        for name, size in sizes.items():
            assert abs(found[split].count(name) - share * size * copies) < 2 * copies  # one row, or one group
    total = sum(sizes.values())
    assert [len(found[split]) for split in found] == pytest.approx(
        [0.7 * total * copies, 17 * copies, 34 * copies], abs=2
    )
    parts = [sources(corpus) for corpus in corpora.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == total  # copies of a source stay together
    bench.write("train.tsv", pairs[::-1])
    assert sources(taken(bench, stratify=True, validation_fraction=0.1, test_fraction=0.2)["test"]) == parts[2]
    other = taken(bench, stratify=True, validation_fraction=0.1, test_fraction=0.2, split_seed=2)
    assert sources(other["test"]) != parts[2]


def test_a_stratified_split_is_exact(bench: Bench) -> None:
    bench.write("train.tsv", [(f"s{number}", f"t{number % 20}") for number in range(97)])
    corpora = taken(bench, stratify=True, validation_fraction=0.1, test_fraction=0.2)
    assert [len(corpus) for corpus in corpora.values()] == [68, 10, 19]


def test_a_stratified_split_leaves_something_of_each_class_to_train_on(bench: Bench) -> None:
    pairs = [(f"s{number}", f"t{number}") for number in range(30)]
    pairs += [(f"u{number}", "common") for number in range(60)]
    pairs += [("both", "common"), ("both", "beside")]  # a group of two classes, one of which has no other row
    for seed in (1, 2, 3):
        bench.write("train.tsv", pairs)
        corpora = taken(bench, stratify=True, validation_fraction=0.3, test_fraction=0.3, split_seed=seed)
        learned = set(corpora["train"].values("target", range(len(corpora["train"]))))
        assert learned == {target for _, target in pairs}
        assert all(len(corpus) > 10 for corpus in corpora.values())
    bench.write("train.tsv", pairs[:30])
    with refused("E-split", "data.validation_fraction"):
        taken(bench, stratify=True)


@pytest.mark.parametrize(
    ("reader", "options"), [({}, {"split": "end"}), ({}, {"split_by": "target"}), ({"target": None}, {})]
)
def test_settings_of_splits_that_exclude_each_other(
    bench: Bench, reader: dict[str, Any], options: dict[str, Any]
) -> None:
    with refused("E-conflict", "data.stratify"):
        bench.prepare(bench.config(reader, stratify=True, **options))


def test_a_label_as_source_is_split_by_targets(bench: Bench) -> None:
    bench.write("train.tsv", [("no" if number % 3 else "yes", f"t{number}") for number in range(90)])
    config = bench.config({"validation": None, "test": None}, validation_fraction=0.2)
    with refused("E-split", "data.split_by=source"):
        bench.prepare({**config, "source": {"name": "label"}})
    config["data"]["split_by"] = "target"
    assert len(bench.prepare({**config, "source": {"name": "label"}})["validation"]) > 5


@pytest.mark.parametrize("document", [True, False])
def test_a_running_text_is_not_torn_apart(bench: Bench, document: bool) -> None:
    (bench.folder / "a.txt").write_text("".join(f"line {number}\n" for number in range(40)))
    reader = {"name": "document", "train": "a.txt", "piece": 1} if document else {"name": "lines", "train": "a.txt"}
    config = {**bench.config(batching="stream", row_ends=document, validation_fraction=0.2), "reader": reader}
    config["source"] = {"name": "none"}
    with refused("E-split", "data.split=random"):
        bench.prepare(config)
    config["data"]["split"] = "end"
    assert len(bench.prepare(config)["validation"]) == 8
    named = {**reader, "validation": "a.txt", "test": "a.txt"}
    assert len(bench.prepare({**config, "reader": named, "data": {**config["data"], "split": "random"}})) == 3


@pytest.mark.parametrize(
    ("reader", "options", "validation", "said"),
    [
        (
            {"validation": None},
            {"split": "end", "validation_fraction": 0.25},
            4,
            "warning: validation: all 4 rows have the class 'ham', training has 2 classes; "
            "set data.stratify=true, or a larger data.validation_fraction",
        ),
        (
            {},
            {},
            1,
            "warning: validation: its only row has the class 'spam', training has 2 classes; "
            "give reader.validation rows of the other classes",
        ),
        ({"validation": None}, {"stratify": True, "validation_fraction": 0.25}, 4, None),
    ],
)
def test_a_split_of_a_single_class_is_told(
    bench: Bench, reader: dict[str, Any], options: dict[str, Any], validation: int, said: str | None
) -> None:
    bench.write("train.tsv", [(f"s{number}", "spam" if number < 8 else "ham") for number in range(16)])
    bench.write("valid.tsv", [("s", "spam")])
    config = {**bench.config(reader, **options), "target": {"name": "label"}}
    bench.write("test.tsv", [("s", "spam"), ("t", "ham")])
    assert len(bench.prepare(config)["validation"]) == validation
    assert [line for line in bench.said if "class" in line] == ([] if said is None else [said])


# --- what is missing -------------------------------------------------------------------------------------------


def test_texts_that_stand_for_nothing_are_missing(bench: Bench) -> None:
    pairs = [("a", "b"), ("NA", "b"), ("c", " - "), ("NAN", "d"), ("", "e")]
    bench.write("train.tsv", pairs)
    bench.write("test.tsv", [("NA", "b"), ("a", "b")])
    corpora = bench.prepare(bench.config(missing=["NA", "-"]))
    assert texts(corpora["train"], bench) == [("a", "b"), ("NAN", "d")]
    assert listed(corpora["train"].report.dropped) == {
        "missing source": ["train.tsv:2"],
        "missing target": ["train.tsv:3"],
        "empty source": ["train.tsv:5"],
    }
    assert corpora["test"].values("source", [0, 1]) == ["", "a"]  # a row of the test is never dropped
    assert listed(corpora["test"].report.noted) == {"missing source": ["test.tsv:1"]}
    assert len(bench.prepare(bench.config())["train"]) == 4
    with refused("E-empty", "train.tsv:2"):
        bench.prepare(bench.config(missing=["NA"], empty="refuse"))


@pytest.mark.parametrize(("target", "right"), [("label", "spam"), ("number", "1.5"), ("tags", "N")])
def test_rows_without_a_label_measure_nothing_in_any_split(bench: Bench, target: str, right: str) -> None:
    bench.write("test.tsv", [("a", right), ("b", ""), ("c", "NA"), ("", right if target != "tags" else ""), ("d", " ")])
    for name in ("train.tsv", "valid.tsv"):
        bench.write(name, [("a", right), ("b", right)])
    config = bench.config(missing=["NA"])
    config |= {"source": {"name": "text", "tokenizer": {"name": "word"}}, "target": {"name": target}}
    report = bench.prepare(config)["test"].report
    lost = ["test.tsv:2", "test.tsv:5"] if target != "tags" else ["test.tsv:2", "test.tsv:4", "test.tsv:5"]
    assert listed(report.dropped) == {"empty target": lost, "missing target": ["test.tsv:3"]}
    assert listed(report.noted) == ({"empty source": ["test.tsv:4"]} if target != "tags" else {})
    assert (report.read, report.kept) == (5, 4 - len(lost))
    assert f"dropped {len(lost)}, empty target: test.tsv:2" in "\n".join(bench.said)
    said: list[str] = []
    load_split(config, *bench.fields, registry.build("reader", config), "test", said.append)
    assert said == [report.summary()]
    with refused("E-empty", "test.tsv:2"):
        bench.prepare({**config, "data": {**config["data"], "empty": "refuse"}})
    bench.write("test.tsv", [("a", ""), ("b", "")])
    with refused("E-empty", "reader.test"):
        bench.prepare(config)


def test_lists_of_words_are_texts(bench: Bench) -> None:
    rows = [(["a", "New York", ""], ["N", "N", "X"]), ([], []), (["b"], ["X"]), (None, None)]
    for name, lines in (("train", rows), ("valid", rows[:1]), ("test", [(["b", " "], ["X", "N"])])):
        texts = (json.dumps({"source": source, "target": target}) + "\n" for source, target in lines)
        (bench.folder / f"{name}.jsonl").write_text("".join(texts))
    reader = {"name": "jsonl", "train": "train.jsonl", "validation": "valid.jsonl", "test": "test.jsonl"}
    words = {"name": "text", "tokenizer": {"name": "word"}}
    corpora = bench.prepare({**bench.config(reader), "source": words, "target": {"name": "tags"}})
    train, field = corpora["train"], bench.fields[0]
    assert listed(train.report.dropped) == {"empty source": ["train.jsonl:2", "train.jsonl:4"]}
    assert decoded(train.source, field) == ["a New_York _", "b"]
    assert decoded(corpora["test"].source, field) == ["b _"]
    assert field.text(train.values("source", [0])[0]) == "a New_York _"
    config = {**bench.config({**reader, "validation": "train.jsonl"}), "source": words, "target": words}
    validation = bench.prepare(config)["validation"]  # an empty text is kept there, null as well as no word
    assert decoded(validation.source, bench.fields[0]) == ["a New_York _", "", "b", ""]


def test_nothing_in_a_table_is_empty(bench: Bench) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    nan = float("nan")
    table = {"text": ["a", None, "b", "c", "d"], "number": [1.0, 2.0, nan, None, 0.1]}
    parquet.write_table(pa.table(table), bench.folder / "x.parquet")
    reader = {"name": "parquet", "train": "x.parquet", "source": ["text"], "target": ["number"]}
    config = bench.config({**reader, "validation": "x.parquet", "test": None}, test_fraction=0.0)
    fields = [registry.build("field", config, slot="source"), Floats()]
    corpora = prepare(config, *fields, registry.build("reader", config), bench.said.append)
    report = corpora["train"].report
    assert listed(report.dropped) == {
        "empty source": ["x.parquet:2"],
        "empty target": ["x.parquet:3", "x.parquet:4"],
    }
    assert corpora["train"].values("target", [0, 1]) == [1.0, 0.1]
    assert corpora["validation"].values("target", range(3)) == [1.0, 2.0, 0.1]  # of no number no model is right
    report = corpora["validation"].report
    assert (report.read, report.kept) == (5, 3)
    assert (listed(report.noted), listed(report.dropped)) == (
        {"empty source": ["x.parquet:2"]},
        {"empty target": ["x.parquet:3", "x.parquet:4"]},
    )
    assert corpora["train"].target is not None
    batch = collate(corpora["train"], [1, 0])
    assert batch.target is not None
    assert batch.target.values.dtype == torch.float32
    assert batch.target.values.tolist() == [[[pytest.approx(0.1)]], [[1.0]]]


# --- sides of other kinds --------------------------------------------------------------------------------------


class Floats(Field):
    """A number for each row."""

    is_sequence = False
    size = 1

    def fit(self, values: Iterable[Any]) -> None:
        self.fitted = [self.encode(value) for value in values]

    def encode(self, value: Any) -> Any:
        if not np.isfinite(value):
            raise UserError("E-number", str(value), "is not a number to learn from")
        return np.array([[value]], np.float32)

    def files(self) -> dict[str, bytes]:
        return {}

    def restore(self, files: Mapping[str, bytes]) -> None:
        pass


class Items(Floats):
    """A list of numbers, or of words as ids with two more numbers each."""

    is_sequence = True

    def encode(self, value: Any) -> Any:
        if isinstance(value, str):
            return np.array([[len(word), 1, 1] for word in value.split()], np.int32).reshape(-1, 3)
        return np.array(value, np.float32).reshape(len(value), len(value[0]) if value else 2)


class Tags(Items):
    """A label for each item of the source."""

    is_aligned = True
    unknown_id = -1

    def encode(self, value: Any) -> Any:
        return np.array([-1 if tag == "?" else len(tag) for tag in value.split()], np.int32)


class Nothing(Floats):
    """No value at all."""

    is_sequence, has_values, size = True, False, 0

    def encode(self, value: Any) -> Any:
        return np.zeros(0, np.int32)


def test_rows_without_source_are_grouped_and_split_by_their_target(bench: Bench) -> None:
    bench.write("train.tsv", [("", f"t{number % 100}") for number in range(300)])
    config = bench.config({"source": None, "validation": None, "test": None}, validation_fraction=0.2)
    fields = [Nothing(), registry.build("field", config, slot="target")]
    corpora = prepare(config, *fields, registry.build("reader", config), bench.said.append)
    parts = [set(corpus.values("target", range(len(corpus)))) for corpus in corpora.values()]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 100
    train = corpora["train"]
    assert train.values("source", [0, 1]) == [None, None]
    assert train.references([0]) == [(train.values("target", [0])[0],)]
    assert len(train.unique()) == len(parts[0])
    assert listed(train.report.dropped) == {}
    batch = collate(train, [2, 0])
    assert batch.source.values.shape == (2, 0)
    assert batch.source.lengths.tolist() == [0, 0]
    with refused("E-column", "reader"):
        bench.prepare(config)
    unused = bench.config({"validation": "train.tsv", "test": None}, test_fraction=0.0)  # a column that nobody reads
    corpora = prepare(unused, *fields, registry.build("reader", unused), bench.said.append)
    assert (len(corpora["train"]), listed(corpora["train"].report.dropped)) == (300, {})


def test_no_piece_of_a_document_is_dropped(bench: Bench) -> None:
    text = "a b\n\n \n\nc d\n" * 5
    (bench.folder / "a.txt").write_text(text)
    reader = {"name": "document", "train": "a.txt", "piece": 1}
    config = bench.config(split="end", validation_fraction=0.2, test_fraction=0.2)
    config = {**config, "reader": reader, "target": {"name": "text", "tokenizer": {"name": "word"}}}
    fields = [Nothing(), registry.build("field", config, slot="target")]
    corpora = prepare(config, *fields, registry.build("reader", config), bench.said.append)
    values = [corpus.values("target", range(len(corpus))) for corpus in corpora.values()]
    assert "".join(itertools.chain.from_iterable(values)) == text
    assert [len(corpus) for corpus in corpora.values()] == [15, 5, 5]
    assert listed(corpora["train"].report.dropped) == {}


def test_lists_of_numbers_are_read_and_empty_ones_dropped(bench: Bench) -> None:
    rows = [([[1, 2.5], [3, 4]], 1), ([], 2), ([[5, 6]], 3.5), ([[7, 8]] * 3, 4)]
    lines = (json.dumps({"source": source, "target": target}) + "\n" for source, target in rows)
    (bench.folder / "a.jsonl").write_text("".join(lines))
    reader = {"name": "jsonl", "train": "a.jsonl", "validation": "a.jsonl", "test": None}
    config = bench.config(reader, test_fraction=0.0, max_length=2, too_long="drop")
    corpora = prepare(config, Items(), Floats(), registry.build("reader", config), bench.said.append)
    train = corpora["train"]
    assert listed(train.report.dropped) == {
        "empty source": ["a.jsonl:2"],
        "longer than data.max_length=2": ["a.jsonl:4"],
    }
    assert train.values("source", [1]) == [[[5.0, 6.0]]]
    assert collate(train, [0, 1]).source.values.tolist() == [[[1, 2.5], [3, 4]], [[5, 6], [0, 0]]]
    assert not [line for line in bench.said if "are unknown" in line]  # of numbers none is unknown
    (bench.folder / "a.jsonl").write_text('{"source": [[1.0]], "target": 1}\n{"source": [[1.0]], "target": 1e999}\n')
    with refused("E-number", "a.jsonl:2"):
        prepare(config, Items(), Floats(), registry.build("reader", config), bench.said.append)


def test_arrays_of_a_plugin_are_lists(bench: Bench) -> None:
    class Arrays(Reader):
        def splits(self) -> tuple[str, ...]:
            return ("train", "validation")

        def read(self, split: str, root: Path | None) -> Iterator[seq2att.reader.Row]:
            yield seq2att.reader.Row((np.ones((2, 2), np.float32), np.int64(4)), "made", 1)
            yield seq2att.reader.Row((np.zeros((0, 2)), np.float64("nan")), "made", 2)

        def fingerprint(self, split: str, root: Path | None) -> str:
            return split

    config = bench.config(test_fraction=0.0)
    train = prepare(config, Items(), Floats(), Arrays(), bench.said.append)["train"]
    assert (train.values("source", [0]), train.values("target", [0])) == ([[[1.0] * 2] * 2], [4])
    assert listed(train.report.dropped) == {"empty source": ["made:2"]}


def test_an_aligned_target_has_one_item_for_each_of_its_source(bench: Bench) -> None:
    reader = {"validation": "train.tsv", "test": None}
    config = bench.config(reader, test_fraction=0.0, max_length=2, too_long="cut", keep="end")
    text = {"name": "text", "tokenizer": {"name": "word"}}
    bench.write("train.tsv", [("a b c", "X YY ZZZ"), ("", ""), ("d", "?")])
    fields = [registry.build("field", {"source": text}, slot="source"), Tags()]
    corpora = prepare(config, *fields, registry.build("reader", config), bench.said.append)
    train = corpora["train"]
    assert train.target is not None
    assert decoded(train.source, fields[0]) == ["b c", "d"]  # both are cut, both keep the end
    assert train.target.gather([0, 1]).values.tolist() == [[2, 3], [-1, 0]]
    assert train.unknown_rate("target", -1) == pytest.approx(1 / 3)
    assert "validation: 33.33% of the target tokens are unknown" in bench.said
    letters = {"name": "text", "tokenizer": {"name": "char"}}
    bench.write("train.tsv", [("a", "X"), ("d e", "X")])
    for source, items in (
        (fields[0], 2),
        (registry.build("field", {"letters": letters}, slot="letters"), 3),
        (Items(), 2),
    ):
        with refused("E-length", "train.tsv:2") as error:
            prepare(config, source, Tags(), registry.build("reader", config), bench.said.append)
        assert error.value.problem == f"1 tag for the {items} items of its source"


def test_the_first_of_wide_ids_is_the_token(bench: Bench) -> None:
    bench.write("train.tsv", [("a bb c", "X"), ("d", "Y")])
    config = bench.config({"validation": "train.tsv", "test": None}, test_fraction=0.0)
    target = registry.build("field", config, slot="target")
    train = prepare(config, Items(), target, registry.build("reader", config), bench.said.append)["train"]
    assert train.unknown_rate("source") == 0.75  # the words of one letter; the other columns are all 1
    assert collate(train, [0]).source.values.dtype == torch.int64
    assert collate(train, [0]).source.values.tolist() == [[[1, 1, 1], [2, 1, 1], [1, 1, 1]]]


def test_one_value_for_a_row_is_not_counted_nor_cut(bench: Bench) -> None:
    bench.write("train.tsv", [("abc", "1"), ("d", "2")])

    class Whole(Floats):
        def encode(self, value: Any) -> Any:
            return np.array([int(value)] * 2, np.int32)

    config = bench.config({"validation": "train.tsv", "test": None}, test_fraction=0.0, max_length=1, too_long="cut")
    source = registry.build("field", config, slot="source")
    for keep in ("start", "end"):
        config["data"]["keep"] = keep
        train = prepare(config, source, Whole(), registry.build("reader", config), bench.said.append)["train"]
        assert train.target is not None
        assert (train.source.lengths.tolist(), train.target.lengths.tolist()) == ([1, 1], [2, 2])


# --- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reader", "options", "code", "subject"),
    [
        ({"train": "empty.tsv"}, {}, "E-empty", "reader.train"),
        ({"train": "blank.tsv"}, {}, "E-empty", "reader.train"),
        ({}, {"max_length": 1, "too_long": "drop"}, "E-empty", "reader.train"),
        ({"validation": "empty.tsv"}, {}, "E-empty", "reader.validation"),
        ({"test": "empty.tsv"}, {}, "E-empty", "reader.test"),
        ({"validation": None}, {"validation_fraction": 1e-9}, "E-split", "data.validation_fraction=1e-09"),
        (
            {"validation": None, "test": None},
            {"validation_fraction": 0.5, "test_fraction": 0.5},
            "E-split",
            "data.test_fraction=0.5",
        ),
        ({"target": None}, {}, "E-column", "reader"),
    ],
)
def test_mistakes_are_told(
    bench: Bench, reader: dict[str, Any], options: dict[str, Any], code: str, subject: str
) -> None:
    (bench.folder / "empty.tsv").touch()
    (bench.folder / "blank.tsv").write_text("\tx\n")
    with refused(code, subject) as error:
        bench.prepare(bench.config(reader, **options))
    if reader.get("train") == "blank.tsv":
        assert error.value.problem == "no row is left of 1 (dropped: 1 empty source, as blank.tsv:1)"


def test_a_missing_file_is_told(bench: Bench) -> None:
    with refused("E-file", "reader.train=gone.tsv"):
        bench.prepare(bench.config({"train": "gone.tsv"}))


def test_values_that_are_no_text_are_told_with_their_place(bench: Bench) -> None:
    reader = {"name": "jsonl", "train": "train.jsonl", "validation": None, "test": None}
    file = bench.folder / "train.jsonl"
    good = '{"source": "a", "target": "b"}\n'
    file.write_text(good + '{"source": "a", "target": 7}\n')
    with refused("E-type", "train.jsonl:2"):
        bench.prepare(bench.config(reader))
    file.write_text(good + '{"source": "a\\ud800", "target": "b"}\n')
    with refused("E-type", "train.jsonl:2"):
        bench.prepare(bench.config(reader))
    file.write_text('{"source": 1, "target": "b"}\n')
    with refused("E-type", "train.jsonl:1"):
        bench.prepare(bench.config(reader, validation_fraction=0.0, test_fraction=0.0))


def test_a_null_is_an_empty_text(bench: Bench) -> None:
    reader = {"name": "jsonl", "train": "train.jsonl", "validation": "train.jsonl", "test": None}
    (bench.folder / "train.jsonl").write_text(
        '{"source": null, "target": "b"}\n{"source": "null", "target": "bull"}\n{"source": "nu", "target": null}\n'
    )
    corpora = bench.prepare(bench.config(reader, test_fraction=0.0))
    assert texts(corpora["train"], bench) == [("null", "bull")]
    assert listed(corpora["train"].report.dropped) == {
        "empty source": ["train.jsonl:1"],
        "empty target": ["train.jsonl:3"],
    }
    assert texts(corpora["validation"], bench) == [("", "b"), ("null", "bull"), ("nu", "")]


# --- fields ----------------------------------------------------------------------------------------------------


def test_fields_are_fitted_on_training_rows_only(bench: Bench) -> None:
    bench.prepare(bench.config())
    assert set(bench.fields[0].tokenizer.pieces) == set("abcdefgh")  # no x of the validation rows
    assert set(bench.fields[1].tokenizer.pieces) == set("abcdefgh")


def test_a_shared_tokenizer_knows_both_sides(bench: Bench) -> None:
    bench.write("train.tsv", [("ab", "cd"), ("ba", "de")])
    for _ in range(2):  # made, and from the cache
        corpora = bench.prepare(bench.config(share="tokenizer"))
        source, target = bench.fields
        assert source.tokenizer is target.tokenizer
        assert set(source.tokenizer.pieces) == set("abcde")
        assert texts(corpora["train"], bench) == [("ab", "cd"), ("ba", "de")]
    assert set((bench.prepare(bench.config()), bench.fields[0].tokenizer.pieces)[1]) == set("ab")


def test_only_texts_share_a_tokenizer(bench: Bench) -> None:
    class Other(Field):
        pass

    config = bench.config(share="tokenizer")
    source = registry.build("field", config, slot="source")
    with refused("E-conflict", "share"):
        prepare(config, source, Other(), registry.build("reader", config), bench.said.append)


# --- the cache -------------------------------------------------------------------------------------------------


def test_the_second_time_nothing_is_read_fitted_or_encoded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    config = bench.config()
    first = texts(bench.prepare(config)["train"], bench)

    def never(*_: object) -> None:
        raise AssertionError("this was done before")

    monkeypatch.setattr(seq2att.reader.Tsv, "read", never)
    monkeypatch.setattr(TextField, "fit", never)
    monkeypatch.setattr(TextField, "encode_batch", never)
    again = bench.prepare(config)
    assert texts(again["train"], bench) == first
    assert again["train"].report.read == 32
    assert isinstance(again["train"].source.values.base, np.memmap)
    config["source"] = {**config["source"], "embedding_size": 8, "dropout": 0.5}  # changes no id
    bench.prepare(config)
    with pytest.raises(AssertionError, match="done before"):
        bench.prepare(bench.config(max_length=5))
    with pytest.raises(AssertionError, match="done before"):
        bench.prepare({**config, "target": {**config["target"], "normalize": "nfc"}})


def test_changed_content_is_read_anew(bench: Bench) -> None:
    bench.prepare(bench.config())
    bench.write("train.tsv", [("xy", "yx")])
    assert texts(bench.prepare(bench.config())["train"], bench) == [("xy", "yx")]
    bench.write("train.tsv", [("xy", "yz")])  # same size, same second
    assert texts(bench.prepare(bench.config())["train"], bench) == [("xy", "yz")]


def test_a_damaged_cache_is_made_anew(bench: Bench) -> None:
    before = texts(bench.prepare(bench.config())["train"], bench)
    files = [file for file in (bench.folder / "cache").rglob("*.*") if file.is_file() and file.name != "sizes.json"]
    assert len(files) > 20
    for file in files:  # as after a loss of power
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert texts(bench.prepare(bench.config())["train"], bench) == before


def test_no_file_of_the_cache_is_a_pickle(bench: Bench) -> None:
    bench.prepare(bench.config())
    suffixes = set()
    for file in (bench.folder / "cache").rglob("*"):
        if file.is_file():
            suffixes.add(file.suffix)
            assert not file.read_bytes().startswith(b"\x80")
    assert suffixes >= {".json", ".bin", ".arrow"}
    assert not suffixes & {".pkl", ".pickle", ".pt"}


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise UserError("E-data", "rows", "cannot be read")

    with pytest.raises(UserError):
        cached(tmp_path, "rows", "key", fail)
    assert list((tmp_path / "rows").iterdir()) == []
    folder = cached(tmp_path, "rows", "key", lambda folder: (folder / "whole").touch())
    assert (folder / "whole").is_file()
    cached(tmp_path, "rows", "key", fail)  # is not called


def test_two_that_make_the_same_folder_both_get_it(tmp_path: Path) -> None:
    barrier = threading.Barrier(2)
    found: list[str] = []

    def make(folder: Path) -> None:
        (folder / "by").write_text(threading.current_thread().name)
        barrier.wait(300)  # both are inside, neither has finished

    def work() -> None:
        found.append((cached(tmp_path, "rows", "key", make) / "by").read_text())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2
    assert found[0] == found[1]
    assert [entry.name for entry in (tmp_path / "rows").iterdir()] == ["key"]


def test_an_unwritable_cache_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with refused("E-file", "data.cache"):
        cached(tmp_path / "file", "rows", "key", lambda _: None)


def test_what_was_used_longest_ago_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def entry(number: int, name: str = "ids") -> Path:
        return cached(tmp_path, name, make_key(number), lambda folder: (folder / "x").write_bytes(bytes(1000)))

    def age(folder: Path, days: float) -> None:
        os.utime(folder / "sizes.json", (time.time() - days * 24 * 3600,) * 2)

    monkeypatch.setattr(cache, "MAX_BYTES", 2500)
    mine = tmp_path / "mine" / "set"  # of the user, in a folder that is a cache by mistake
    mine.mkdir(parents=True)
    (mine / "sizes.json").write_text('{"x": 1000}')
    age(mine, 99)
    oldest, old, used, recent = entry(1), entry(2, "rows"), entry(3), entry(4)
    assert all(folder.is_dir() for folder in (oldest, old, used, recent))  # too much, but all of it is new
    for folder, days in ((oldest, 10), (old, 9), (used, 11), (recent, 6)):
        age(folder, days)
    assert entry(3) == used  # again, so it is not old any more; nothing is made, so nothing is looked at
    assert oldest.is_dir()
    entry(5)
    assert [folder.is_dir() for folder in (oldest, old, used, recent)] == [False, False, True, True]
    assert not list(tmp_path.glob("*/.unfinished*"))
    assert mine.is_dir()
    age(recent, 8)
    monkeypatch.setattr(cache, "MAX_BYTES", 5000)
    entry(6)
    assert recent.is_dir()  # there is room


def test_keys_tell_values_apart() -> None:
    keys = {make_key(*parts) for parts in ((1, 2), (12,), ("1", 2), ([1], 2), ({"a": None},), ({"a": "None"},))}
    assert len(keys) == 6
    assert make_key({"a": 1, "b": 2}) == make_key({"b": 2, "a": 1})


# --- ragged rows and batches -----------------------------------------------------------------------------------


def test_gather_is_padding() -> None:
    random = np.random.default_rng(0)
    rows = [random.integers(4, 99, size).astype(np.int32) for size in (3, 0, 7, 1, 7)]
    ragged = Ragged.of(rows)
    assert ragged.lengths.tolist() == [3, 0, 7, 1, 7]
    for chosen in ([2, 0, 1], [4, 4], [1], []):
        column = ragged.gather(chosen)
        longest = max((len(rows[row]) for row in chosen), default=0)
        assert column.values.shape == (len(chosen), longest)
        assert column.values.dtype == column.lengths.dtype == torch.int64
        for values, length, row in zip(column.values, column.lengths, chosen, strict=True):
            assert values.tolist() == rows[row].tolist() + [0] * (longest - len(rows[row]))
            assert length == len(rows[row])


def test_sources_are_found_among_many() -> None:
    random = np.random.default_rng(2)
    for few, many in ((5, 100), (100, 5), (0, 3), (3, 0), (50, 3 * PART + 7)):
        numbers, others = (
            random.integers(0, 500, few).astype(np.uint64),
            random.integers(0, 500, many).astype(np.uint64),
        )
        others[: many // 2] = 1 << 63  # beyond all of the few
        assert count_common(np.unique(numbers), others) == len(set(numbers.tolist()) & set(others.tolist()))


@pytest.mark.parametrize("largest", [3, 70_000])
def test_sorting_is_numpys_lexsort(largest: int) -> None:
    keys = np.random.default_rng(3).integers(0, largest, (2, 500))
    rows = np.random.default_rng(4).permutation(500)
    assert sort_stably(rows, *keys).tolist() == rows[np.lexsort(keys[:, rows])].tolist()
    assert sort_stably(rows[:0], *keys[:, :0]).tolist() == []


def test_gather_of_vectors() -> None:
    rows = [np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((1, 3), np.float32)]
    column = Ragged.of(rows).gather([1, 0])
    assert column.values.shape == (2, 2, 3)
    assert column.values.dtype == torch.float32
    assert column.values[0, 1].tolist() == [0, 0, 0]
    assert column.values[1].tolist() == rows[0].tolist()


def lengths(rows: int, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    source = random.integers(0, 30, rows)
    return source, np.maximum(source + random.integers(-3, 4, rows), 0)


SIZES = [0, 1, 2, 7, 64, 65, 100, 129, 1000, 1001, 1017]


@pytest.mark.parametrize("rows", SIZES)
@pytest.mark.parametrize(
    ("batch_size", "batch_by"), [(8, "sentences"), (64, "sentences"), (8, "tokens"), (200, "tokens")]
)
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_row_comes_exactly_once(
    rows: int, batch_size: int, batch_by: Literal["sentences", "tokens"], shuffle: bool
) -> None:
    source, target = lengths(rows)
    buckets = Buckets(source, target, batch_size=batch_size, batch_by=batch_by, bucket=5, shuffle=shuffle)
    for epoch in range(3):
        buckets.set_epoch(epoch)
        found = list(buckets)
        assert sorted(np.concatenate([np.zeros(0, int), *found]).tolist()) == list(range(rows))
        assert len(found) == len(buckets)  # in every epoch: Lightning asks once
        for batch in found:
            size = len(batch) if batch_by == "sentences" else len(batch) * max(source[batch].max(), target[batch].max())
            assert len(batch) > 0
            assert size <= batch_size or len(batch) == 1


@pytest.mark.parametrize("rows", [1, 5, 10, 11, 48, 132, 260, 1001, 4437])
@pytest.mark.parametrize("batch_size", [1, 10, 64])
@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_has_the_fewest_batches_and_they_are_of_near_equal_size(
    rows: int, batch_size: int, shuffle: bool
) -> None:
    sizes = [len(batch) for batch in Buckets(*lengths(rows), batch_size=batch_size, shuffle=shuffle)]
    assert len(sizes) == -(-rows // batch_size)
    assert min(sizes) >= min(rows, batch_size / 2)
    assert np.mean(sizes) > 0.9 * max(sizes) or len(sizes) < 20


@pytest.mark.parametrize("rows", [130, 260, 1001, 4437])
@pytest.mark.parametrize("limit", [100, 400, 1000])
def test_few_batches_of_tokens_are_less_than_half_full(rows: int, limit: int) -> None:
    source, target = lengths(rows)
    found = list(Buckets(source, target, batch_size=limit, batch_by="tokens"))
    full = [len(batch) * max(source[batch].max(), target[batch].max()) >= limit / 2 for batch in found]
    ideal = np.maximum(source, target).sum() / limit
    assert sum(full) >= 0.9 * len(full) - 1
    assert len(found) <= 1.35 * ideal + 4  # padding, and short rows that fit into no batch


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        buckets = Buckets(*lengths(500), batch_size=16, seed=seed)
        torch.rand(3)  # what else is drawn is nothing to it
        list(buckets)
        buckets.set_epoch(epoch)
        return [batch.tolist() for batch in buckets]

    assert order(1, 0) == order(1, 0)
    orders = [order(1, 0), order(1, 1), order(2, 0)]
    as_sets = [{frozenset(batch) for batch in found} for found in orders]
    for one in range(3):
        for two in range(one):
            assert orders[one] != orders[two]
            assert len(as_sets[one] & as_sets[two]) < 5  # not the same batches in another order


def test_rows_of_different_lengths_meet_others_in_every_epoch() -> None:
    buckets = Buckets(np.arange(400), np.arange(400), batch_size=10)
    before = {frozenset(batch.tolist()) for batch in buckets}
    buckets.set_epoch(1)
    assert not before & {frozenset(batch.tolist()) for batch in buckets}


def test_batches_hold_rows_of_similar_length() -> None:
    source, target = lengths(5000)

    def padding(found: Iterator[Any]) -> float:
        cells, real = 0, 0
        for batch in found:
            cells += len(batch) * int(target[batch].max())
            real += int(target[batch].sum())
        return 1 - real / cells

    mixed = np.random.default_rng(1).permutation(5000).reshape(-1, 50)
    assert padding(iter(Buckets(source, target, batch_size=50))) < 0.06 < 0.3 < padding(iter(mixed))


def test_without_shuffling_batches_go_from_short_to_long() -> None:
    source, target = lengths(300)
    rows = np.concatenate(list(Buckets(source, target, batch_size=16, shuffle=False)))
    pairs = list(zip(target[rows].tolist(), source[rows].tolist(), strict=True))
    assert pairs == sorted(pairs)


def test_a_loader_gives_batches_and_leaves_the_seed_alone(bench: Bench) -> None:
    config = bench.config()
    train = bench.prepare(config)["train"]
    loader = batches(train, config["data"], seed=1, shuffle=True)
    assert len(loader) == 8
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    seen = []
    for batch in loader:
        assert isinstance(batch, Batch)
        assert batch.target is not None
        assert not batch.continues.any()
        for row, values, length in zip(batch.rows.tolist(), *batch.source, strict=True):
            assert bench.fields[0].decode(values[:length].tolist()) == train.values("source", [row])[0]
            seen.append(row)
    assert sorted(seen) == list(range(32))
    assert torch.equal(torch.rand(1), expected)
    assert isinstance(loader.sampler, Buckets)


def test_collate_fetches_both_sides_in_the_order_of_the_rows(bench: Bench) -> None:
    train = bench.prepare(bench.config())["train"]
    batch = collate(train, [5, 2])
    assert batch.rows.tolist() == [5, 2]
    assert batch.target is not None
    for column, field, expected in ((batch.source, bench.fields[0], "bb"), (batch.target, bench.fields[1], "bb")):
        assert field.decode(column.values[0].tolist()) == expected


def test_a_source_batch_takes_anything(bench: Bench) -> None:
    bench.prepare(bench.config())
    batch = source_batch(bench.fields[0], ["abc", "", "h"])
    assert batch.target is None
    assert batch.source.lengths.tolist() == [3, 0, 1]
    assert batch.source.values.shape == (3, 3)
    assert batch.rows.tolist() == [0, 1, 2]
    assert source_batch(bench.fields[0], []).source.values.shape == (0, 0)
    assert source_batch(bench.fields[0], [""]).source.values.shape == (1, 0)


def test_a_reader_of_ones_own_needs_three_methods(bench: Bench) -> None:
    class Ones(Reader):
        def splits(self) -> tuple[str, ...]:
            return ("train", "validation", "test")

        def read(self, split: str, root: Path | None) -> Iterator[seq2att.reader.Row]:
            yield seq2att.reader.Row((split, "one"), "made", 1)

        def fingerprint(self, split: str, root: Path | None) -> str:
            return split

    config = bench.config()
    fields = [registry.build("field", config, slot=slot) for slot in ("source", "target")]
    corpora = prepare(config, fields[0], fields[1], Ones(), bench.said.append)
    assert corpora["test"].values("source", [0]) == ["test"]


def test_random_vectors_are_not_frozen(bench: Bench) -> None:
    (bench.folder / "vectors.txt").write_text("a 1 0\nb 0 1\n")
    frozen = {"name": "text", "tokenizer": {"name": "word"}, "embedding": "frozen", "embedding_size": 2}
    config = bench.config()
    with refused("E-conflict", "target.embedding=frozen"):
        bench.prepare({**config, "target": frozen})
    pretrained = {**frozen, "vectors": "vectors.txt"}
    bench.prepare({**config, "source": pretrained, "target": frozen, "share": "embedding"})
    bench.prepare({**config, "target": pretrained})


def test_dropped_words_are_counted(bench: Bench) -> None:
    bench.write("train.tsv", [("a a a b", "1"), ("b x", "1"), ("y", "1")])
    bench.write("valid.tsv", [("a z a", "1"), ("z", "1")])
    bench.write("test.tsv", [("a", "1")])
    tokenizer = {"name": "word", "size": 3 + 2, "specials": 3, "unknown": "drop"}
    config = {**bench.config(), "source": {"name": "text", "tokenizer": tokenizer}, "target": {"name": "label"}}
    for _ in range(2):  # made, and from the cache
        corpora = bench.prepare(config)
        train, validation = corpora["train"], corpora["validation"]
        assert train.report.left_out == {"source": (2, 7)}
        assert validation.report.left_out == {"source": (2, 4)}
        assert (train.report.kept, list(train.report.dropped), len(validation)) == (2, ["empty source"], 2)
        assert train.source.lengths.tolist() == [4, 1]
        assert train.report.to_json()["tokens_left_out"] == {"source": {"left_out": 2, "of": 7}}
        assert any("left out 2 of 7 tokens of the source" in line for line in bench.said)
    with refused("E-conflict", "source.tokenizer.unknown=drop"):
        bench.prepare({**config, "target": {"name": "tags"}})
