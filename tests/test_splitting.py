"""Splits as scikit-learn and Keras make them: the same rows, sizes that are exact."""

from __future__ import annotations

import math
import random
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from seq2att import registry
from seq2att.data import prepare
from seq2att.data.splitting import ORDER, Shares, at_end, classes_of, shuffled
from seq2att.model import make_fields
from tests.refusals import refused

SIZES = [(2, 0.5), (10, 0.3), (100, 0.07), (360, 0.2), (1001, 0.25)]
WRITTEN_DOWN = [0, 8, 9, 12, 15, 17, 23, 24, 27, 28]  # test of 30 rows, of which a third, by random_state=42


def rows_of(splits: np.ndarray) -> dict[str, list[int]]:
    """The rows of each split, in order."""
    return {name: np.flatnonzero(splits == number).tolist() for number, name in enumerate(ORDER)}


def keras_validation(rows: list[int], fraction: float) -> list[int]:
    """What `fit(validation_split=fraction)` of Keras takes: its last rows."""
    return rows[math.floor(len(rows) * (1 - fraction)) :]


@pytest.mark.parametrize("seed", [0, 42])
@pytest.mark.parametrize(("count", "fraction"), SIZES)
def test_a_shuffle_takes_the_rows_of_scikit_learn(count: int, fraction: float, seed: int) -> None:
    train, test = train_test_split(range(count), test_size=fraction, random_state=seed)
    found = rows_of(shuffled(count, None, Shares(seed, fraction, 0.0, "shuffle")))
    assert found == {"test": sorted(test), "validation": [], "train": sorted(train)}
    assert len(test) == math.ceil(fraction * count)
    only = rows_of(shuffled(count, None, Shares(seed, 0.0, fraction, "shuffle")))
    assert only == {"test": [], "validation": sorted(test), "train": sorted(train)}
    in_order = rows_of(at_end(count, Shares(seed, fraction, 0.0, "end")))
    train, test = train_test_split(range(count), test_size=fraction, shuffle=False)
    assert in_order == {"test": test, "validation": [], "train": train}


@pytest.mark.parametrize(("count", "fraction"), SIZES[1:])
def test_a_second_split_is_that_of_a_second_call(count: int, fraction: float) -> None:
    rest, test = train_test_split(range(count), test_size=fraction, random_state=42)
    train, validation = train_test_split(rest, test_size=math.ceil(0.2 * count), random_state=42)
    found = rows_of(shuffled(count, None, Shares(42, fraction, 0.2, "shuffle")))
    assert found == {"test": sorted(test), "validation": sorted(validation), "train": sorted(train)}
    last = keras_validation(rest, 0.2)
    found = rows_of(shuffled(count, None, Shares(42, fraction, 0.2, "shuffle", of_rest=True)))
    assert found["test"] == sorted(test)
    assert found["validation"] == sorted(last)
    rest, test = train_test_split(range(count), test_size=fraction, shuffle=False)
    found = rows_of(at_end(count, Shares(42, fraction, 0.2, "end", of_rest=True)))
    assert (found["test"], found["validation"]) == (test, keras_validation(rest, 0.2))


def test_without_scikit_learn_the_rows_are_those_that_are_written_down() -> None:
    assert rows_of(shuffled(30, None, Shares(42, 1 / 3, 0.0, "shuffle")))["test"] == WRITTEN_DOWN


@pytest.mark.parametrize("seed", range(4))
def test_a_stratified_shuffle_takes_the_rows_of_scikit_learn(seed: int) -> None:
    draw = random.Random(seed)
    targets = [draw.choice(["10", "9", "2"] if seed % 2 else ["no", "yes", "maybe", "Yes"]) for _ in range(150)]
    labels = [int(name) if seed % 2 else name for name in targets]
    shares = Shares(seed, 0.15, 0.25, "shuffle", stratify=True)
    rest, test, rest_labels, _ = train_test_split(
        range(150), labels, test_size=0.15, random_state=seed, stratify=labels
    )
    train, validation = train_test_split(rest, test_size=math.ceil(0.25 * 150), random_state=seed, stratify=rest_labels)
    classes = classes_of(("text", name) for name in targets)
    assert rows_of(shuffled(150, classes, shares)) == {
        "test": sorted(test),
        "validation": sorted(validation),
        "train": sorted(train),
    }
    of_rest = rows_of(shuffled(150, classes, shares._replace(of_rest=True)))
    assert of_rest["validation"] == sorted(keras_validation(rest, 0.25))


@pytest.mark.parametrize(("names", "test"), [("aabbc", 0.5), ("aabbccddee", 0.3)])
def test_classes_that_cannot_be_stratified_are_refused(names: str, test: float) -> None:
    with refused("E-split", "data.stratify=true"):
        shuffled(len(names), classes_of(zip(names)), Shares(1, test, 0.0, "shuffle", stratify=True))


def test_a_shuffle_holds_thirteen_bytes_a_row() -> None:
    count = 300_000
    tracemalloc.start()
    shuffled(count, None, Shares(42, 0.2, 0.0, "shuffle"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 14 * count


def made(folder: Path, lines: int, **data: Any) -> dict[str, Any]:
    """The corpora of a table of so many lines, of which every tenth is empty."""
    (folder / "rows.tsv").write_text("".join(f"s{n}\tt{n % 3}\n" if n % 10 else "\n" for n in range(1, lines + 1)))
    text = {"name": "text", "tokenizer": {"name": "word"}}
    config = {"source": text, "target": text, "data": {"root": str(folder), "cache": str(folder / "cache"), **data}}
    reader = registry.build("reader", {"reader": {"name": "tsv", "train": ["rows.tsv"]}})
    return prepare(config, *make_fields(config), reader, lambda _: None)


def test_the_rows_that_are_kept_are_divided_and_accounted_for(tmp_path: Path) -> None:
    options = {"split": "shuffle", "split_seed": 42, "test_fraction": 0.2, "validation_fraction": 0.25}
    corpora = made(tmp_path, 400, **options, validation_of="rest")
    kept = [f"s{n}" for n in range(1, 401) if n % 10]
    rest, test = train_test_split(kept, test_size=0.2, random_state=42)
    validation = keras_validation(rest, 0.25)
    found = {split: corpus.values("source", range(len(corpus))) for split, corpus in corpora.items()}
    assert {split: len(rows) for split, rows in found.items()} == {"train": 216, "validation": 72, "test": 72}
    assert {name: set(rows) for name, rows in found.items()} == {
        "train": set(rest) - set(validation),
        "validation": set(validation),
        "test": set(test),
    }
    report = corpora["train"].report
    assert (report.read, report.kept, report.moved) == (400, 216, {"test": 72, "validation": 72})
    again = made(tmp_path, 400, **options)  # another meaning of the same numbers: nothing of the other is reused
    assert len(again["validation"]) == 90
    assert set(again["test"].values("source", range(72))) == set(test)


@pytest.mark.parametrize(
    ("code", "subject", "options"),
    [
        ("E-split", "data.validation_fraction=1.0", {"validation_of": "rest", "validation_fraction": 1.0}),
        (
            "E-split",  # 36 rows of 40 are the test, and all of the others are rounded up to the validation
            "reader.train",
            {"split": "shuffle", "validation_of": "rest", "test_fraction": 0.9, "validation_fraction": 0.99},
        ),
        ("E-conflict", "data.split_by=target", {"split": "shuffle", "split_by": "target"}),
        ("E-conflict", "data.split_by=target", {"split": "end", "split_by": "target"}),
        (
            "E-conflict",
            "data.stratify=true",
            {"split": "shuffle", "stratify": True, "validation_of": "rest", "test_fraction": 0.0},
        ),
    ],
)
def test_splits_that_cannot_be(tmp_path: Path, code: str, subject: str, options: dict[str, Any]) -> None:
    with refused(code, subject):
        made(tmp_path, 40, **options)
