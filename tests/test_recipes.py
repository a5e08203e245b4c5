"""Every recipe learns: two steps on tiny data in the layout of the real ones, and the bundle says what training said.

A recipe `NAME.yaml` has a function `NAME` below, under `@tiny`: it writes what the recipe reads into a folder, and gives
the overrides that make it small. What a plugin of `recipes/` promises is tested at the end.
"""

from __future__ import annotations

import csv
import json
import math
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import seq2att
from seq2att import api, registry
from seq2att.config import recipes
from seq2att.errors import UserError
from seq2att.testing.components import callback_laws, reader_laws

ROOT = Path(__file__).resolve().parent.parent
ROWS = {"train": 40, "validation": 8, "test": 8}
TINY: dict[str, Callable[[Path], list[str]]] = {}
SHORT = ["trainer.epochs=2", "trainer.max_steps=2", "trainer.progress=false", "trainer.threads=1", "data.batch_size=8"]


def tiny(write: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """Note the tiny data of the recipe that the function is called after."""
    TINY[write.__name__] = write
    return write


# --- pieces of tiny data ---


def words(draw: random.Random, least: int = 3, most: int = 8, size: int = 4) -> str:
    """A few words of a few letters."""
    return " ".join("".join(draw.choices("abcdefgh", k=draw.randint(2, size))) for _ in range(draw.randint(least, most)))


def lines(count: int, line: Callable[[random.Random], str], seed: int = 1) -> list[str]:
    """So many lines, always the same."""
    draw = random.Random(seed)
    return [line(draw) for _ in range(count)]


def write(path: Path, texts: Sequence[str]) -> None:
    """A text file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")


def splits(folder: Path, names: Sequence[str], line: Callable[[random.Random], str], header: Sequence[str] = ()) -> None:
    """Files of these names for training, validation and test; without validation where there are two."""
    parts = ROWS if len(names) == len(ROWS) else {"train": ROWS["train"], "test": ROWS["test"]}
    for seed, (name, count) in enumerate(zip(names, list(parts.values())[: len(names)], strict=True)):
        write(folder / name, [*header, *lines(count, line, seed)])


def at(folder: Path, *overrides: str) -> list[str]:
    """The overrides of data that lie in a folder."""
    return [f"data.root={folder}", *overrides]


def pronounced(draw: random.Random) -> str:
    """A word, a tab and its sounds."""
    word = words(draw, 1, 1, 6)
    return f"{word}\t{' '.join(word.upper())}"


# --- recipes that make their data ---


@tiny
def reverse(folder: Path) -> list[str]:
    return ["reader.rows=40"]


@tiny
def digits_caption(folder: Path) -> list[str]:
    return ["reader.longest=1", "reader.repeats=1", "encoder.size=8", "decoder.size=8", "trainer.limit_validation_batches=2"]


@tiny
def digits_frames(folder: Path) -> list[str]:
    return ["reader.longest=1", "reader.repeats=1", "encoder.size=8", "trainer.limit_validation_batches=2"]


@tiny
def surname_origin(folder: Path) -> list[str]:
    return ["reader.origins=[Algerian,Finnish]", "encoder.size=8"]


@tiny
def surname_invent(folder: Path) -> list[str]:
    return ["reader.origins=[Algerian,Finnish]", "decoder.size=8"]


@tiny
def number_sequence(folder: Path) -> list[str]:
    return ["reader.rows=40"]


@tiny
def next_character(folder: Path) -> list[str]:
    return ["decoder.size=8"]


@tiny
def vanishing(folder: Path) -> list[str]:
    return ["reader.rows=40", "reader.length=10", "encoder.size=8"]


# --- recipes that read files ---


@tiny
def pronounce(folder: Path) -> list[str]:
    write(folder / "spelled" / "words.txt", lines(60, lambda draw: pronounced(draw).replace("\t", " ")))
    return ["reader.package=spelled", "reader.path=words.txt", "encoder.size=8", "decoder.size=8"]


@tiny
def cmudict_g2p(folder: Path) -> list[str]:
    splits(folder, ["train.tsv", "dev.tsv", "test.tsv"], pronounced)
    return at(folder, "encoder.size=8", "decoder.size=8")


@tiny
def g2p(folder: Path) -> list[str]:
    splits(folder, ["xyz_train.tsv", "xyz_dev.tsv", "xyz_test.tsv"], pronounced)
    return at(folder, "data.language=xyz", "encoder.size=8", "decoder.size=8")


@tiny
def multi30k_de_en(folder: Path) -> list[str]:
    for language in ("de", "en"):
        splits(folder, [f"{name}.{language}" for name in ("train", "val", "test_2016_flickr")], words)
    sizes = ["source.tokenizer.size=20", "target.tokenizer.size=20", "encoder.size=8", "decoder.size=16"]
    return at(folder, *sizes, "source.embedding_size=8", "target.embedding_size=8", "decoder.readout=8")


@tiny
def multi30k_en_de(folder: Path) -> list[str]:
    return multi30k_de_en(folder)


# --- the test ---


def test_every_recipe_has_tiny_data() -> None:
    assert sorted(TINY) == sorted(recipes())


@pytest.mark.parametrize("name", sorted(recipes()))
def test_a_recipe_takes_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))  # where reader=package looks
    overrides = TINY[name](tmp_path)
    run = seq2att.train(name, [*SHORT, *overrides, f"run={tmp_path / 'runs' / 'run'}"])
    said = json.loads((run / "metrics.json").read_text("utf-8"))
    assert said["step"] == 2
    assert all(math.isfinite(value) for value in said["validation"].values()), said
    if not any(override.startswith("trainer.limit") for override in overrides):
        again = api.evaluate(run, split="validation", beam=1)
        assert again["loss"] == pytest.approx(said["validation"]["loss"], rel=1e-4)
