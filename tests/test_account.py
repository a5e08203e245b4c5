"""The account of rows: read = kept + moved + dropped, for every reader, split and rule; and groups of equal rows."""

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seq2att import registry
from seq2att.data import Buckets, batches, corpus, epochs, numbers, prepare, report, write_account
from seq2att.data.epochs import Part
from seq2att.data.report import Places, RowReport
from seq2att.model import make_fields
from seq2att.reader import Reader
from tests.refusals import refused

TEXTS = ["a", "b c", "d e f", "가 나", "", " ", "NA", "a b c d e f g h"]
FORMS = ["tsv", "csv", "jsonl", "parquet", "parallel", "conll", "conllu", "folder", "lines", "given"]
SPLITS: list[dict[str, Any]] = [
    {},
    {"split": "end"},
    {"split": "shuffle"},
    {"split": "shuffle", "validation_of": "rest"},
    {"split_by": "target"},
    {"stratify": True},
    {"test_fraction": 0.0},
    {"validation_fraction": 0.4, "test_fraction": 0.4},
]
RULES: list[dict[str, Any]] = [
    {},
    {"missing": ["NA"]},
    {"max_length": 3, "too_long": "drop"},
    {"max_length": 2, "too_long": "cut"},
]


def write_table(form: str, folder: Path, draw: random.Random, size: int) -> tuple[Reader, int]:
    """A table of random rows in several files, its reader, and how many rows it has as they were written."""
    rows = [(draw.choice(TEXTS), draw.choice(TEXTS)) for _ in range(size)]
    rows += [(f"good {number}", f"better {number % 9}") for number in range(30)]
    draw.shuffle(rows)
    parts = [rows[: len(rows) // 3], rows[len(rows) // 3 :]]
    options: dict[str, Any] = {"train": f"part-*.{form}"}
    count = len(rows)
    for number, part in enumerate(parts):
        file = folder / f"part-{number}.{form}"
        if form == "tsv":
            file.write_text("".join(f"{source}\t{target}\n" for source, target in part))
        elif form == "csv":
            options.update(source="1", target="2", header=False)
            file.write_text("".join(f'"{source}","{target}"\n' for source, target in part))
        elif form == "jsonl":
            blank = draw.randrange(3)
            count += blank
            records = [json.dumps({"source": source, "target": target or None}) for source, target in part]
            file.write_text("\n".join([*records, *[""] * blank]) + "\n" * bool(blank))
        elif form == "parquet":
            import pyarrow as pa
            from pyarrow import parquet

            sides = zip(*part, strict=True)
            parquet.write_table(pa.table(dict(zip(("source", "target"), map(list, sides), strict=True))), file)
        elif form == "parallel":
            options.update(train="part-*", validation=None)
            for side, suffix in enumerate(("de", "en")):
                (folder / f"part-{number}.{suffix}").write_text("".join(f"{row[side]}\n" for row in part))
        elif form in ("conll", "conllu"):
            sentences = [max(1, len(source.split())) for source, _ in part]
            word = "w{}\tX\n" if form == "conll" else "1\tw{}\t_\tX" + "\t_" * 6 + "\n"
            documents = draw.randrange(3) if form == "conll" else 0
            count += documents
            head = "-DOCSTART- X\n\n" * documents
            file.write_text(head + "".join(word.format(row) * words + "\n" for row, words in enumerate(sentences)))
        else:  # folder and lines: a row a line
            options["train"] = [f"part-{number}.lines" for number in range(2)] if form == "lines" else "."
            options |= {"pattern": "part-*"} if form == "folder" else {}
            file.write_text("".join(f"{source}\n" for source, _ in part))
    if form == "given":
        options = {"train": [f"{source}\t{target}" for source, target in rows]}
    return registry.build("reader", {"reader": {"name": form, **options}}), count


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("form", FORMS)
def test_read_is_kept_and_moved_and_dropped(form: str, seed: int, tmp_path: Path) -> None:
    draw = random.Random(f"{form} {seed}")
    reader, count = write_table(form, tmp_path, draw, 40)
    options = {"validation_fraction": 0.3, "test_fraction": 0.3, **draw.choice(SPLITS), **draw.choice(RULES)}
    if "target" in reader.absent or "source" in reader.absent:
        options = {key: value for key, value in options.items() if key not in ("split_by", "stratify")}
    if options.get("stratify") and options.get("split") == "end":
        del options["stratify"]
    text = {"name": "text", "tokenizer": {"name": "word"}}
    sides = {"source": {"name": "none"} if "source" in reader.absent else text, "target": text}
    config = {**sides, "data": {"root": str(tmp_path), "cache": str(tmp_path / "cache"), **options}}
    source, target = make_fields(config)
    corpora = prepare(config, source, target, reader, lambda _: None)
    train = corpora["train"].report
    assert train.read == count
    for split, rows in corpora.items():
        account = rows.report
        dropped = sum(map(len, account.dropped.values()))
        assert account.read == account.kept + sum(account.moved.values()) + dropped
        assert len(rows) == account.kept
        for each in account.per_file().values():
            assert each["read"] == sum(number for key, number in each.items() if key != "read")
            assert min(each.values()) >= 0
        if split in train.moved:
            assert account.read == train.moved[split]
        assert all(len(list(places)) == len(places) for places in account.dropped.values())
        assert sum(rows.part_sizes) == len(rows)
    write_account(tmp_path / "data.json", [rows.report for rows in corpora.values()])
    written = json.loads((tmp_path / "data.json").read_text())
    assert {split: each["read"] for split, each in written.items()} == {
        split: rows.report.read for split, rows in corpora.items()
    }


def test_places_are_ranges_and_their_number_is_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    places = Places()
    for line in (1, 2, 3, 7, 9, 10):
        places.add("a", line)
    places.add("b", 11)
    content = places.to_json()
    assert content["lines"] == {"a": "1-3, 7, 9-10", "b": "11"}
    assert (content["rows"], content["unlisted"]) == (7, 0)
    assert Places.from_json(content).to_json() == content
    assert list(places) == ["a:1", "a:2", "a:3", "a:7", "a:9", "a:10", "b:11"]
    assert places.summary() == "a:1, a:2, a:3 and 4 more"
    monkeypatch.setattr(report, "MOST_RANGES", 5)
    many = Places()
    for line in range(0, 1000, 2):
        many.add(f"file {line % 4}", line)
    assert (len(many), many.num_ranges, many.to_json()["unlisted"]) == (500, 5, 495)


def test_an_account_that_does_not_sum_up_is_not_written(tmp_path: Path) -> None:
    account = RowReport("train")
    account.files["a"], account.kept = 3, 2
    with pytest.raises(RuntimeError, match="do not sum up"):
        account.save(tmp_path)
    account.count(account.dropped, "blank line", "a", 2)
    account.save(tmp_path)
    assert RowReport.load(tmp_path).to_json() == account.to_json()


@pytest.mark.parametrize("size", [0, 1, 7, 500])
def test_groups_do_not_depend_on_how_many_hashes_are_sorted_at_once(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashes = np.random.default_rng(1).integers(0, 1 << 64, size // 2 + 1, np.uint64)
    hashes = np.random.default_rng(2).choice(hashes, size)
    hashes.tofile(tmp_path / "hashes.bin")
    _, group = np.unique(hashes, return_inverse=True)
    for grouped, scanned in ((1 << 22, 1 << 20), (16, 10), (3, 1)):
        monkeypatch.setattr(numbers, "GROUPED", grouped)
        monkeypatch.setattr(numbers, "SCANNED", scanned)
        numbers.write_groups(tmp_path)
        names = ("group", "members", "starts")
        found = {name: numbers.map_numbers(tmp_path / f"{name}.bin", numbers.ROW).tolist() for name in names}
        assert found["group"] == group.tolist()
        assert found["members"] == np.argsort(group, kind="stable").tolist()
        assert found["starts"] == [0, *np.cumsum(np.bincount(group)).tolist()]


@pytest.mark.parametrize("shape", [(), (3,)])
def test_many_values_are_read_as_they_are_mapped(
    shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = np.random.default_rng(1)
    arrays = [draw.integers(0, 100, (int(size), *shape)).astype(np.int32) for size in draw.integers(0, 9, 50)]
    with corpus.RaggedWriter(tmp_path, "source") as writer:
        writer.add(arrays[:20])
        writer.add(arrays[20:])
        writer.finish()
    mapped = corpus.Ragged.load(tmp_path, "source")
    monkeypatch.setattr(corpus, "LARGE", 0)
    read = corpus.Ragged.load(tmp_path, "source")
    assert (mapped.file, read.file is not None) == (None, hasattr(os, "pread"))
    for rows in ([], [3], [7, 7, 0, 49], list(range(50))):
        for one, two in zip(mapped.gather(rows), read.gather(rows), strict=True):
            assert one.dtype == two.dtype
            assert one.tolist() == two.tolist()
    assert read.small_lengths().tolist() == list(map(len, arrays))


# --- epochs: windows and weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_by", ["sentences", "tokens"])
@pytest.mark.parametrize("rows", [1, 49, 50, 51, 777, 2000])
def test_windows_have_every_row_once_in_as_many_batches_in_every_epoch(
    rows: int, batch_by: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(epochs, "WINDOW", 50)
    monkeypatch.setattr(epochs, "BLOCK", 7)
    lengths = np.random.default_rng(1).integers(1, 30, rows)
    buckets = Buckets(lengths, lengths, batch_size=8 if batch_by == "sentences" else 100, batch_by=batch_by)
    first, second = list(buckets), [buckets.set_epoch(1), *buckets][1:]
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(rows))
        assert len(epoch) == len(buckets)
    assert rows < 50 or [batch.tolist() for batch in first] != [batch.tolist() for batch in second]
    buckets.set_epoch(0)
    assert [batch.tolist() for batch in buckets] == [batch.tolist() for batch in first]


@pytest.mark.parametrize("window", [50, 1 << 22])
def test_weights_draw_all_rows_of_a_corpus_equally_often(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "WINDOW", window)
    monkeypatch.setattr(epochs, "BLOCK", 7)
    sizes, weights = (100, 30, 70), (1.0, 3.0, 0.5)
    lengths = np.random.default_rng(1).integers(1, 30, sum(sizes))
    parts = [Part(size, weight) for size, weight in zip(sizes, weights, strict=True)]
    buckets = Buckets(lengths, lengths, batch_size=8, parts=parts)
    counts = []
    for epoch in range(20):
        buckets.set_epoch(epoch)
        read = list(buckets)
        assert len(read) == len(buckets)
        counts.append(np.bincount(np.concatenate(read), minlength=sum(sizes)))
    starts = np.cumsum([0, *sizes])
    for number, weight in enumerate(weights):
        of_part = np.array(counts)[:, starts[number] : starts[number + 1]]  # [epochs, rows]
        assert np.abs(of_part.sum(1) - weight / sum(weights) * sum(sizes)).max() <= 1
        assert (of_part.max(1) - of_part.min(1)).max() <= 1
        assert of_part.sum(0).min() > 0  # in time every row comes
    assert (counts[0] != counts[1]).any()
    buckets.set_epoch(3)
    assert (np.bincount(np.concatenate(list(buckets)), minlength=sum(sizes)) == counts[3]).all()


def weighted(folder: Path, weights: Any, **data: Any) -> list[int]:
    """How often an epoch reads each row of two corpora."""
    (folder / "a.tsv").write_text("".join(f"a{number} x\ty\n" for number in range(20)))
    (folder / "b.tsv").write_text("b x\ty\n\nc x\ty\n")
    (folder / "valid.tsv").write_text("v\tw\n")
    names = ["a.tsv", "b.tsv"]
    text = {"name": "text", "tokenizer": {"name": "word"}}
    options = {"root": str(folder), "cache": str(folder / "cache"), "weights": weights, "test_fraction": 0.0, **data}
    config = {
        "source": text,
        "target": text,
        "reader": {"name": "tsv", "train": names, "validation": "valid.tsv"},
        "data": options,
    }
    corpora = prepare(config, *make_fields(config), registry.build("reader", config), lambda _: None)
    assert corpora["train"].part_sizes == [20, 2]
    settings = {"batch_size": 4, "batch_by": "sentences", "bucket": 100, **options}
    read = [batch.rows.tolist() for batch in batches(corpora["train"], settings, 1, True)]
    assert len([batch.rows for batch in batches(corpora["validation"], settings, 1, False)]) == 1
    return np.bincount(np.concatenate(read), minlength=22).tolist()


def test_weights_are_of_the_names_that_the_reader_lists(tmp_path: Path) -> None:
    assert weighted(tmp_path, None) == [1] * 22
    counts = weighted(tmp_path, [1, 1])
    assert (sum(counts[:20]), sum(counts[20:])) == (11, 11)
    for wrong in ([1], [1, 2, 3]):
        with refused("E-conflict", f"data.weights={wrong}"):
            weighted(tmp_path, wrong)
    with refused("E-conflict", "data.weights=[1, 2]"):
        weighted(tmp_path, [1, 2], batching="stream")
