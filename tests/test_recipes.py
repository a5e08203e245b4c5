"""Every recipe learns: two steps on tiny data in the layout of the real ones, and the bundle says what training said.

A recipe `NAME.yaml` has a function `NAME` below, under `@tiny`: it writes what the recipe reads into a folder, and
gives the overrides that make it small. What a plugin of `recipes/` promises is tested at the end.
"""

from __future__ import annotations

import csv
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seq2att
from seq2att import api, registry
from seq2att.cli.listing import comment
from seq2att.config import compose, recipes
from seq2att.config.recipe import read_recipe
from seq2att.files.picture import read_picture
from seq2att.reader import Row
from seq2att.testing.components import callback_laws, reader_laws
from seq2att.types import Column
from tests.refusals import refused

ROOT = Path(__file__).resolve().parent.parent
ROWS = {"train": 40, "validation": 8, "test": 8}
TINY: dict[str, Callable[[Path], list[str]]] = {}
SHORT = ["trainer.epochs=2", "trainer.max_steps=2", "trainer.progress=false", "trainer.threads=1", "data.batch_size=8"]


@pytest.fixture(autouse=True)
def complete() -> None:
    """The registry holds all that is ours before a test copies it."""
    registry.load()


@pytest.fixture(autouse=True)
def forgotten(complete: None, own_registry: None) -> Iterator[None]:
    """Plugins leave with the test that they came in."""
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("seq2att_"):
            del sys.modules[name]


def tiny(write: Callable[[Path], list[str]]) -> Callable[[Path], list[str]]:
    """Note the tiny data of the recipe that the function is called after."""
    TINY[write.__name__] = write
    return write


# --- pieces of tiny data ---


def words(draw: random.Random, least: int = 3, most: int = 8, size: int = 4) -> str:
    """A few words of a few letters."""
    return " ".join(
        "".join(draw.choices("abcdefgh", k=draw.randint(2, size))) for _ in range(draw.randint(least, most))
    )


def lines(count: int, line: Callable[[random.Random], str], seed: int = 1) -> list[str]:
    """So many lines, always the same."""
    draw = random.Random(seed)
    return [line(draw) for _ in range(count)]


def write(path: Path, texts: Sequence[str]) -> None:
    """A text file, its folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{text}\n" for text in texts), "utf-8")


def splits(
    folder: Path, names: Sequence[str], line: Callable[[random.Random], str], header: Sequence[str] = ()
) -> None:
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
    return [
        "reader.longest=1",
        "reader.repeats=1",
        "encoder.size=8",
        "decoder.size=8",
    ]


@tiny
def digits_frames(folder: Path) -> list[str]:
    return ["reader.longest=1", "reader.repeats=1", "encoder.size=8"]


@tiny
def shapes_caption(folder: Path) -> list[str]:
    rows = ["reader.train=20", "reader.validation=8", "reader.test=4"]
    return [*rows, "source.height=8", "source.width=8", "encoder.channels=[4,8]", "encoder.pools=1", "decoder.size=8"]


@tiny
def moving_shapes(folder: Path) -> list[str]:
    rows = ["reader.train=20", "reader.validation=8", "reader.test=4", "reader.longest=8"]
    return [*rows, "source.height=8", "source.width=8", "source.channels=[4]", "encoder.size=8"]


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


# --- recipes of classification ---


def judged(draw: random.Random) -> tuple[str, int]:
    """A text, and whether it is good."""
    good = draw.randrange(2)
    return f"{words(draw)} {'good' if good else 'bad'} {words(draw)}", good


def imdb_tables(folder: Path) -> list[str]:
    """Two tables with the columns label and text."""

    def line(draw: random.Random) -> str:
        text, good = judged(draw)
        return f"{good}\t{text}"

    splits(folder, ["train.tsv", "test.tsv"], line, header=["label\ttext"])
    return at(folder, "encoder.size=8", "source.embedding_size=8")


@tiny
def imdb_lstm_small(folder: Path) -> list[str]:
    return imdb_tables(folder)


@tiny
def imdb_rnn(folder: Path) -> list[str]:
    return imdb_tables(folder)


@tiny
def imdb_lstm(folder: Path) -> list[str]:
    return imdb_tables(folder)


@tiny
def imdb_lstm_stacked(folder: Path) -> list[str]:
    return imdb_tables(folder)


@tiny
def imdb_gru_stacked(folder: Path) -> list[str]:
    return imdb_tables(folder)


@tiny
def imdb(folder: Path) -> list[str]:
    return [*imdb_tables(folder), "attention.size=8"]


@tiny
def imdb_csv(folder: Path) -> list[str]:
    def line(draw: random.Random) -> str:
        text, good = judged(draw)
        return f'"{text}, <br />",{"positive" if good else "negative"}'

    write(folder / "reviews.csv", ["review,sentiment", *lines(60, line)])
    return at(folder, "reader.train=reviews.csv", "encoder.size=8")


@tiny
def clothing_reviews(folder: Path) -> list[str]:
    def line(draw: random.Random) -> str:
        text, good = judged(draw)
        return f"{draw.randrange(99)},{text},{good}"

    rows = ["Clothing ID,Review Text,Recommended IND", "7,,1", *lines(60, line)]
    write(folder / "Womens Clothing E-Commerce Reviews.csv", rows)
    return at(folder, "encoder.size=8", "source.embedding_size=8")


@tiny
def sms_spam(folder: Path) -> list[str]:
    def line(draw: random.Random) -> str:
        text, good = judged(draw)
        return f"{'ham' if good else 'spam'}\t{text}"

    write(folder / "SMSSpamCollection.tsv", ["label\ttext", *lines(60, line)])
    return at(folder, "encoder.size=8", "source.embedding_size=8")


def korean(draw: random.Random) -> str:
    """A few words in Hangul."""
    return " ".join("".join(draw.choices("가나다라마바사아자차카타파하", k=draw.randint(1, 3))) for _ in range(4))


@tiny
def nsmc_pieces(folder: Path) -> list[str]:
    def line(draw: random.Random) -> str:
        return f"{draw.randrange(10**6)}\t{korean(draw)}\t{draw.randrange(2)}"

    splits(folder, ["ratings_train.txt", "ratings_test.txt"], line, header=["id\tdocument\tlabel"])
    return at(folder, "encoder.size=8", "source.embedding_size=8", "source.tokenizer.size=20")


@tiny
def nsmc(folder: Path) -> list[str]:
    pytest.importorskip("kiwipiepy")
    overrides = [one for one in nsmc_pieces(folder) if "tokenizer" not in one]
    return [*overrides, f"plugins=[{ROOT / 'plugins' / 'korean'}]", "source.tokenizer.min_count=1"]


# --- recipes of tagging ---


@tiny
def atis_slots(folder: Path) -> list[str]:
    def line(draw: random.Random) -> str:
        source = words(draw).split()
        tags = ["B-x" if word[0] == "a" else "O" for word in source]
        return f"{' '.join(source)}\t{' '.join(tags)}\tflight"

    splits(folder, ["train.tsv", "dev.tsv", "test.tsv"], line)
    return at(folder, "encoder.size=8", "source.embedding_size=8")


@tiny
def conll_chunking(folder: Path) -> list[str]:
    def sentence(draw: random.Random) -> str:
        rows = [f"{word} NN {'B-NP' if word[0] == 'a' else 'O'}\n" for word in words(draw).split()]
        return "".join(rows)

    splits(folder, ["train.txt", "test.txt"], sentence)
    return at(folder, "encoder.size=8", "source.embedding_size=8", "source.characters=8")


@tiny
def ud_korean_pos(folder: Path) -> list[str]:
    def sentence(draw: random.Random) -> str:
        rows = [
            f"{place}\t{word}\t_\t{draw.choice(['NOUN', 'VERB'])}" for place, word in enumerate(korean(draw).split(), 1)
        ]
        return "# text\n" + "".join(f"{row}\t_\t_\t0\troot\t_\t_\n" for row in rows)

    splits(folder, [f"ko_gsd-ud-{part}.conllu" for part in ("train", "dev", "test")], sentence)
    return at(folder, "encoder.size=8", "source.embedding_size=8", "source.characters=8")


# --- language models ---


@tiny
def ptb_lstm(folder: Path) -> list[str]:
    splits(folder, [f"ptb.{part}.txt" for part in ("train", "valid", "test")], words)
    return at(folder, "decoder.size=8", "target.embedding_size=8", "data.steps=5", "data.batch_size=1")


@tiny
def ptb_lstm_medium(folder: Path) -> list[str]:
    return ptb_lstm(folder)


@tiny
def shakespeare_char(folder: Path) -> list[str]:
    write(folder / "input.txt", lines(400, words))
    return at(folder, "decoder.size=8", "target.embedding_size=8", "data.steps=5", "data.batch_size=1")


# --- recipes from text to text ---


@tiny
def inflection(folder: Path) -> list[str]:
    def line(draw: random.Random) -> str:
        lemma = words(draw, 1, 1, 6)
        return f"{lemma}\tV;PST\t{lemma}ed"

    splits(folder, ["xyz.trn.tsv", "xyz.dev.tsv", "xyz.tst.tsv"], line)
    return at(folder, "data.language=xyz", "encoder.size=8", "decoder.size=8")


def tatoeba(folder: Path, name: str) -> list[str]:
    """English sentences beside others."""
    write(folder / name, lines(80, lambda draw: f"{words(draw)}\t{korean(draw)} {words(draw)}"))
    sizes = ["source.tokenizer.size=40", "target.tokenizer.size=40", "encoder.size=8", "decoder.size=16"]
    embeddings = ["source.embedding_size=8", "target.embedding_size=8", "decoder.readout=8"]
    return at(folder, *sizes, *embeddings, "attention.size=8")


@tiny
def english_french(folder: Path) -> list[str]:
    return [*tatoeba(folder, "eng-fra.tsv"), "data.validation_fraction=0.1"]


@tiny
def korean_english(folder: Path) -> list[str]:
    return tatoeba(folder, "eng-kor.tsv")


# --- the test ---


@pytest.mark.parametrize("name", sorted(recipes()))
def test_every_recipe_says_where_its_data_come_from(name: str) -> None:
    line = comment(recipes()[name])
    sentence, data = line.split(" Data: ")
    assert sentence[0].isupper()
    assert sentence[-1] in ".?"
    assert data[-1] == "."
    readers = [layer.choices["reader"] for layer in read_recipe(name).layers if "reader" in layer.choices]
    assert ("network" in data) == (readers[-1] == "huggingface")


def test_a_recipe_names_the_package_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tmp_path / "mine.yaml"
    for package, needs in {"seq2att_none_such": True, "json": False, "seq2att_none_such.part": True}.items():
        recipe.write_text(f"defaults: [reverse]\nrequires: {{{package}: pip install it}}\n")
        if needs:
            with refused("E-package", f"requires={package}") as caught:
                compose(str(recipe), ["encoder=none_such"])  # the package is checked first
            assert caught.value.remedy == "pip install it"
        else:
            assert "requires" not in compose(str(recipe))
    recipe.write_text("requires: [a]\n")
    with refused("E-recipe", "requires"):
        compose(str(recipe))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with refused("E-package", "nsmc.yaml: requires=seq2att_korean") as caught:
        compose("nsmc")
    assert "plugins=[plugins/korean]" in caught.value.remedy


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
    again = api.evaluate(run, split="validation", beam=1)
    assert again["loss"] == pytest.approx(said["validation"]["loss"], rel=1e-4)


@pytest.mark.parametrize("name", sorted(TINY))
def test_another_cell_and_another_attention_are_a_word_away(name: str) -> None:
    plugins = [f"plugins=[{ROOT / 'plugins' / 'korean'}]"] * (name == "nsmc")
    base = compose(name, plugins)
    fixed = ("none", "cnn")  # a cell has no pixels
    slots = [
        slot for slot in ("encoder", "decoder", "attention") if base.get(slot, {}).get("name", "none") not in fixed
    ]
    assert slots
    other = {slot: "dot" if slot == "attention" else "rnn" if base[slot]["name"] == "gru" else "gru" for slot in slots}
    found = compose(name, [*plugins, *(f"{slot}={chosen}" for slot, chosen in other.items())])
    assert {slot: found[slot]["name"] for slot in slots} == other
    for slot in slots:
        same = (found[slot].keys() & base[slot].keys()) - {"name"}
        assert slot == "attention" or "size" in same
        assert {key: found[slot][key] for key in same} == {key: base[slot][key] for key in same}


# --- the plugins of recipes/ ---


@pytest.fixture
def plugins(forgotten: None) -> None:
    """The plugins of recipes/ are registered in this test."""
    registry.load(
        str(ROOT / "recipes" / f"{name}.py") for name in ("adding", "digits", "number_sequence", "shapes", "surnames")
    )


def rows_of(name: str, split: str = "train", **options: Any) -> list[Row]:
    """What a reader gives."""
    return list(registry.build("reader", {"reader": {"name": name, **options}}).read(split, None))


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits", {"gap": 2, "shift": 1}),
        ("digits", {"target": "tags", "longest": 2, "gap": 3}),
        ("shapes", {"test": 5}),
        ("shapes", {"language": "ko", "train": 3}),
        ("moving_shapes", {"train": 3, "longest": 8}),
        ("surnames", {}),
        ("number_sequence", {}),
        ("adding", {"rows": 20, "length": 7}),
    ],
)
def test_readers_keep_the_laws(name: str, options: dict[str, Any]) -> None:
    reader_laws(name, options, ())


@pytest.mark.usefixtures("plugins")
def test_the_callback_keeps_the_laws() -> None:
    callback_laws("distance", {}, ())


def pixels_of(png: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """The grey pixels `[H, W]` of a picture, as bytes that follow each other."""
    return np.asarray(read_picture(png))[:, :, 0]


@pytest.mark.usefixtures("plugins")
def test_digits_are_those_of_the_images() -> None:
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.round(255 * (1 - found.images / 16)).astype(np.uint8)
    known = {image.tobytes(): str(digit) for image, digit in zip(images, found.target, strict=True)}
    rows = [row for split in ("train", "validation", "test") for row in rows_of("digits", split, target="tags")]
    pictures = [pixels_of(row.values[0]) for row in rows]
    assert {pixels.shape for pixels in pictures} == {(8, 8), (8, 16), (8, 24), (8, 32)}
    for row, pixels in zip(rows, pictures, strict=True):
        digits = [known[part.tobytes()] for part in np.split(pixels, pixels.shape[1] // 8, 1)]
        assert row.values[1].split() == [digit for digit in digits for _ in range(8)]


@pytest.mark.usefixtures("plugins")
def test_no_image_of_digits_is_in_two_splits_whatever_the_seed() -> None:
    images = {
        split: {str(row.values[0]) for seed in (1, 2) for row in rows_of("digits", split, longest=1, seed=seed)}
        for split in ("train", "validation", "test")
    }
    assert {split: len(found) for split, found in images.items()} == {"train": 1257, "validation": 180, "test": 360}
    assert not images["train"] & images["test"]
    assert not images["validation"] & (images["train"] | images["test"])


@pytest.mark.usefixtures("plugins")
def test_digits_are_said_in_a_language() -> None:
    korean, english = (rows_of("digits", "test", longest=2, language=language) for language in ("ko", "en"))
    said = {a.values[1]: b.values[1] for a, b in zip(english, korean, strict=True)}
    assert said["three"] == "삼"
    assert all(said[pair] == " ".join(said[word] for word in pair.split()) for pair in said)


@pytest.mark.usefixtures("plugins")
def test_gaps_and_shifts_keep_the_tags_beside_their_columns() -> None:
    plain, moved = (rows_of("digits", target="tags", longest=2, gap=gap, shift=gap // 3) for gap in (0, 3))
    assert len(plain) == len(moved)
    longer = 0
    for row in moved:
        columns, tags = 255 - pixels_of(row.values[0]).T, row.values[1].split()
        assert len(columns) == len(tags)
        assert all(not column.any() for column, tag in zip(columns, tags, strict=True) if tag == "-")
        assert sum(tag != "-" for tag in tags) % 8 == 0
        longer += len(columns) % 8 > 0
    assert longer > len(moved) / 2


@pytest.mark.usefixtures("plugins")
def test_strips_of_so_many_digits_are_asked_for_by_number() -> None:
    reader = registry.build("reader", {"reader": {"name": "digits"}})
    reader.use("test", "3")
    assert {len(row.values[1].split()) for row in reader.read("test", None)} == {3}
    with refused("E-size", "test=other.tsv"):
        reader.use("test", "other.tsv")


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("name", "options", "code", "subject"),
    [
        ("digits", {"shortest": 5}, "E-size", "reader.shortest=5"),
        ("digits", {"gap": -1}, "E-size", "reader.gap=-1"),
        ("digits", {"repeats": 0}, "E-size", "reader.repeats=0"),
        ("digits", {"shift": 9}, "E-size", "reader.shift=9"),
        ("moving_shapes", {"shortest": 17}, "E-size", "reader.shortest=17"),
        ("moving_shapes", {"side": 13}, "E-size", "reader.side=13"),
        ("surnames", {"origins": ["Finish"]}, "E-choice", "reader.origins=Finish"),
        ("number_sequence", {"window": 0}, "E-size", "reader.window=0"),
        ("adding", {"length": 1}, "E-size", "reader.length=1"),
        ("adding", {"rows": 0}, "E-size", "reader.rows=0"),
    ],
)
def test_wrong_options_of_readers_are_named(name: str, options: dict[str, Any], code: str, subject: str) -> None:
    with refused(code, subject):
        registry.build("reader", {"reader": {"name": name, **options}})


@pytest.mark.usefixtures("plugins")
def test_errors_come_before_data_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with refused("E-choice", "reader.language=klingon"):
        registry.build("reader", {"reader": {"name": "digits", "language": "klingon"}}).check(None)
    with refused("E-size", "callback.distance.rows=0"):
        registry.build_listed("callback", {"callback": {"distance": {"rows": 0}}}, "distance")
    for name, package in (("digits", "scikit-learn"), ("surnames", "Faker")):
        reader = registry.build("reader", {"reader": {"name": name}})
        monkeypatch.setattr(sys.modules[type(reader).__module__], "find_spec", lambda _: None)
        with refused("E-package", f"reader={name}") as error:
            reader.check(None)
        assert package in error.value.problem
        assert "pip install 'seq2att[recipes]'" in error.value.remedy


@pytest.mark.usefixtures("plugins")
def test_options_of_our_plugins_have_their_lines() -> None:
    for kind in ("reader", "callback"):
        for entry in registry.entries(kind).values():
            if "recipes" in entry.location:
                assert all(option.doc for option in entry.options.values()), entry.name


@pytest.mark.usefixtures("plugins")
def test_surnames_of_several_origins_are_counted_or_kept() -> None:
    skipped, kept = rows_of("surnames"), rows_of("surnames", shared="keep", source="origin")
    assert len(skipped) == len(kept)  # a line is a line
    names = [row.values[0] for row in skipped if not row.skipped]
    assert len(names) == len(set(names)) > 10000
    several = {row.line for row in skipped if row.skipped == "surname of several origins" and "German" in row.file}
    assert several
    found = [row for row in kept if row.file == "surnames/German" and row.line in several]
    assert all(row.values[0] == "German" and row.values[1] not in names for row in found)
    assert len({row.values[0] for row in kept if not row.skipped}) == 16


@pytest.mark.usefixtures("plugins")
def test_the_sum_of_the_two_marked_numbers_is_asked_for() -> None:
    for row in rows_of("adding", "validation", length=9, rows=300):
        steps = np.array(row.values[0])  # [9, 2]
        assert steps[:4, 1].sum() == steps[4:, 1].sum() == 1  # a mark in each half
        assert row.values[1] == pytest.approx(float(steps[:, 0] @ steps[:, 1]), abs=1e-9)
    sums = [row.values[1] for row in rows_of("adding", length=9)]
    assert float(np.mean((np.array(sums) - 1) ** 2)) == pytest.approx(1 / 6, rel=0.1)  # who always says 1


def test_the_distance_of_a_gradient(tmp_path: Path) -> None:
    """The table and the pictures of two runs: one value for each step, those of the gradient by hand."""
    short = [*SHORT, *vanishing(tmp_path), "trainer.precision=64"]
    for cell in ("rnn", "lstm"):
        sizes = [f"encoder={cell}", "encoder.size=8", "encoder.bidirectional=false"]
        seq2att.train("vanishing", [*short, *sizes, f"run={tmp_path / 'runs' / cell}"])
    for name in ("distance.png", "distance-before.png", "lstm/distance.png"):
        assert (tmp_path / "runs" / name).stat().st_size > 1000
    with (tmp_path / "runs" / "lstm" / "distance.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["distance"]) for row in rows] == [(s, str(d)) for s in ("0", "2") for d in range(10)]
    predictor = seq2att.load(tmp_path / "runs" / "lstm")
    model, sources, targets = predictor.model.double(), [], []
    for row in rows_of("adding", "validation", rows=40, length=10):
        sources.append(torch.from_numpy(model.source.encode(row.values[0])).double())
        targets.append(torch.from_numpy(model.target.encode(row.values[1])).double())
    total = torch.zeros(10, dtype=torch.float64)
    for source, target in zip(sources, targets, strict=True):  # a row by itself
        steps = source[None].requires_grad_()
        one = torch.tensor([len(source)])
        loss = model.head.loss(model.encoder(steps, one), Column(target[None], torch.tensor([1]))).total
        total += torch.autograd.grad(loss, steps)[0][0].norm(dim=1).flip(0)
    found = [float(row["gradient_norm"]) for row in rows if row["step"] == "2"]
    assert found == pytest.approx((total / len(sources)).tolist(), rel=1e-4)
