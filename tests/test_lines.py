"""Text files as lines: every encoding, line end and compression is read alike, or named for what it is."""

import bz2
import gzip
import io
import lzma
import random
import shlex
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from seq2att.errors import UserError
from seq2att.files import describe_form, find_file, lines, read_lines
from seq2att.files.encoding import OtherEncodingError, plausible_encodings
from tests.refusals import refused

TEXTS = {  # a few sentences, and the encodings that they may come in
    "오늘은 날씨가 아주 좋습니다.\n나는 학교에 가고 싶지 않아요.\n서울에서 부산까지 기차로 갔다.\n": ["CP949"],
    "吾輩は猫である。名前はまだ無い。\n今日は天気がいいですね。駅はどこですか。\n": ["SHIFT_JIS", "EUC-JP"],
    "我们今天去图书馆看书。\n他说这个问题很难，但是大家都在努力学习。\n请问，火车站在哪里？\n": ["GB18030"],
    "我們今天去圖書館看書。\n他說這個問題很難，但是大家都在努力學習。\n": ["BIG5"],
    "Все счастливые семьи похожи друг на друга.\nГде находится ближайшая станция?\n": ["CP1251", "KOI8-R", "CP866"],
    "Zwei junge Mädchen gehen über die Straße.\nEin Mann hört schöne Musik. Grüße!\n": ["CP1252"],
    "Où est la gare ? Le garçon a mangé une pêche.\nElle préfère l'été à la forêt.\n": ["CP1252"],
    "Zażółć gęślą jaźń. Książka leży na stole.\nWszyscy ludzie rodzą się wolni i równi.\n": ["CP1250", "ISO-8859-2"],
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι.\nΠού είναι ο σταθμός;\n": ["CP1253"],
}
ENCODED = [(text, encoding) for text, encodings in TEXTS.items() for encoding in encodings]


def texts(path: Path) -> list[str]:
    """The lines of a file, whose numbers count from 1."""
    read = list(read_lines(path))
    assert [line.number for line in read] == list(range(1, len(read) + 1))
    return [line.text for line in read]


@pytest.mark.posix
@pytest.mark.parametrize(("text", "encoding"), ENCODED)
def test_an_encoding_is_named_on_the_whole_file_and_the_remedy_works(text: str, encoding: str, tmp_path: Path) -> None:
    file = tmp_path / "a b.tsv"  # a name that a shell must quote
    file.write_bytes(text.encode(encoding))
    with refused("E-encoding", f"{file}:1") as error:
        texts(file)
    command = error.value.remedy.split("`")[1]
    assert f"iconv -f {encoding} " in command
    assert "LATIN1" not in str(error.value)
    subprocess.run(command, shell=True, check=True)
    assert texts(tmp_path / "a b.utf8.tsv") == text.splitlines()


def test_a_file_is_examined_for_its_encoding_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 64)
    file = tmp_path / "a.txt"
    file.write_bytes(("오늘은 날씨가 아주 좋습니다.\n" * 20).encode("CP949"))
    problems: list[UserError] = []
    kept = list(read_lines(file, fault=lambda name, problem: problems.append(problem)))
    assert [problem.subject for problem in problems] == [f"{file}:{line.number}" for line in kept]
    assert [isinstance(problem, OtherEncodingError) for problem in problems] == [True] + [False] * 19


def test_text_in_no_encoding_gets_no_name() -> None:
    draw = random.Random(1)
    assert [plausible_encodings(draw.randbytes(400)) for _ in range(100)] == [{}] * 100


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_utf16_and_utf32_are_read_by_their_marks(text: str, encoding: str, tmp_path: Path) -> None:
    mark = "" if encoding in ("utf-16", "utf-32") else "\ufeff"
    (tmp_path / "a").write_bytes(f"{mark}{text}".encode(encoding))
    assert texts(tmp_path / "a") == text.splitlines()
    assert describe_form(tmp_path / "a") == encoding[:6].upper()


@pytest.mark.parametrize("text", [*TEXTS, "plain ASCII\nlines\n"])
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE"])
def test_utf16_without_its_mark_is_named(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(text.encode(encoding))
    with refused("E-encoding", str(tmp_path / "a")) as error:
        texts(tmp_path / "a")
    assert encoding in error.value.problem


def test_broken_utf16_and_seven_bit_encodings_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("ab\ncd".encode("utf-16")[:-1])
    with refused("E-encoding", str(tmp_path / "a")):
        texts(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"\xff\xfe" + "a\ud800b".encode("utf-16-le", "surrogatepass"))
    with refused("E-encoding", str(tmp_path / "a")):
        texts(tmp_path / "a")
    (tmp_path / "a").write_bytes("猫である\n".encode("iso-2022-jp"))
    with refused("E-encoding") as error:
        texts(tmp_path / "a")
    assert "ISO-2022-JP" in error.value.remedy


def test_a_stray_byte_is_named_with_line_and_offset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 64)
    good = "fünf schöne Mädchen\n".encode()
    for mark in (b"", b"\xef\xbb\xbf"):
        (tmp_path / "a").write_bytes(mark + good * 10 + b"ab\xe9cd\n" + good)
        with refused("E-encoding", f"{tmp_path / 'a'}:11") as error:
            texts(tmp_path / "a")
        assert "byte 3 of the line (0xe9" in error.value.problem
        assert f"byte {len(mark) + len(good) * 10 + 3} of the file" in error.value.problem
        assert "iconv" not in error.value.remedy
    (tmp_path / "a").write_bytes((good * 10)[:-21])  # ends within the ü of the last line
    with refused("E-encoding", f"{tmp_path / 'a'}:10") as error:
        texts(tmp_path / "a")
    assert "ends within a character" in error.value.remedy


def test_binary_files_are_named(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    from pyarrow import parquet

    parquet.write_table(table, tmp_path / "parquet file")
    (tmp_path / "binary").write_bytes(random.Random(1).randbytes(3000))
    (tmp_path / "numbers").write_bytes(b"".join(number.to_bytes(4) for number in range(1000)))
    (tmp_path / "7z archive").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(40))
    for file in sorted(tmp_path.iterdir()):
        with pytest.raises(UserError, match=file.name if " " in file.name else "binary") as error:
            texts(file)
        assert error.value.code in ("E-file", "E-encoding")


# --- line ends ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [7, 1 << 20])
@pytest.mark.parametrize("last", ["", "the last line without an end"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_line_end_gives_the_same_lines(
    end: str, last: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK", block)
    rows = ["one", "", "zwei\u2028\x85\x0b", " drei ", "네 번째", ""]
    for number, mark in enumerate(("", "\ufeff")):
        content = mark + end.join([*rows, last])
        (tmp_path / f"{number}").write_bytes(content.encode())
        assert texts(tmp_path / f"{number}") == [*rows, *[last] * bool(last)]
        kept = "".join(line.text for line in read_lines(tmp_path / f"{number}", ends=True))
        assert kept == content.removeprefix(mark)
    assert describe_form(tmp_path / "0") == ("line ends CR" if end == "\r" else "")


def test_mixed_line_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"a\nb\r\nc\rd\n")  # a lone CR among line feeds is a character
    assert texts(file) == ["a", "b", "c\rd"]
    file.write_bytes(b"a\rb\rc\rd\n")
    with refused("E-row", str(file)) as error:
        texts(file)
    assert "3 are CR alone and 1 are LF" in error.value.problem
    monkeypatch.setattr(lines, "BLOCK", 8)
    file.write_bytes(b"a\rb\rc\rd\re\rf\ng\r")
    with refused("E-row", f"{file}:6"):
        texts(file)


def test_a_line_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST", 1000)
    monkeypatch.setattr(lines, "BLOCK", 64)
    (tmp_path / "a").write_bytes(b"a\n" + b"b" * 900 + b"\n")
    assert list(map(len, texts(tmp_path / "a"))) == [1, 900]
    (tmp_path / "a").write_bytes(b"a\n" + b"b" * 2000)
    with refused("E-length", str(tmp_path / "a")):
        texts(tmp_path / "a")


# --- compression ----------------------------------------------------------------------------------------------------


def zstd(content: bytes) -> bytes:
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, "zstd") as stream:
        stream.write(content)
    return packed.getvalue().to_pybytes()


def zipped(*contents: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/", b"")
        archive.writestr("__MACOSX/._part0", b"of macOS")
        for number, content in enumerate(contents):
            archive.writestr(f"folder/part{number}.txt", content)
    return packed.getvalue()


PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstd,
    ".zip": zipped,
}
CONTENT = "".join(f"line {number} 가나다\n" for number in range(2000)).encode()


@pytest.mark.parametrize("name", [*PACK, ".txt"])
@pytest.mark.parametrize("suffix", PACK)
def test_compression_is_seen_whatever_the_name_is(suffix: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / f"a{name}"
    file.write_bytes(PACK[suffix](CONTENT))
    assert texts(file) == CONTENT.decode().splitlines()
    file.write_bytes(CONTENT)  # downloaded by a client that unpacks and keeps the name
    assert texts(file) == CONTENT.decode().splitlines()


@pytest.mark.parametrize("suffix", PACK)
def test_a_file_is_found_in_its_compressed_form(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"train.de{suffix}").write_bytes(PACK[suffix](CONTENT))
    assert find_file("reader.train", "train.de", tmp_path) == tmp_path / f"train.de{suffix}"


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_parts_that_are_joined_are_read_to_the_end(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(PACK[suffix](b"a\nb") + PACK[suffix](b"c\nd\n"))
    assert texts(tmp_path / "a") == ["a", "bc", "d"]


@pytest.mark.parametrize("suffix", PACK)
def test_a_broken_file_is_one_line_with_the_line_number(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "BLOCK", 4096)
    draw = random.Random(1)
    rows = [f"{draw.randbytes(30).hex()}\n" for _ in range(3000)]
    whole = PACK[suffix]("".join(rows).encode())
    file = tmp_path / "a"
    for content in (whole[: len(whole) // 2], whole[:-1], whole[: len(whole) // 2] + bytes(64) + whole[:-20]):
        file.write_bytes(content)
        with refused("E-file", str(file)) as error:
            for number, text in read_lines(file):
                assert text == rows[number - 1].removesuffix("\n")
        assert "broken after line" in error.value.problem


def test_what_cannot_be_read_is_named_with_the_command_that_unpacks_it(tmp_path: Path) -> None:
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
    cases = [
        (zipped(b"a\n", b"b\n"), "zip archive of 2 files", "unzip"),
        (tar.getvalue(), "tar archive", "tar -xf"),
        (gzip.compress(tar.getvalue()), "tar archive", "tar -xf"),
        (lzma.compress(tar.getvalue()), "tar archive", "tar -xf"),
        (gzip.compress(gzip.compress(b"a\n")), "compressed twice", "unpack it once"),
    ]
    file = tmp_path / "a b"
    for content, problem, remedy in cases:
        file.write_bytes(content)
        with refused("E-file", str(file)) as error:
            texts(file)
        assert problem in error.value.problem
        assert remedy in error.value.remedy
        assert "xf" not in remedy or shlex.quote(str(file)) in error.value.remedy
    workbook = io.BytesIO()
    with zipfile.ZipFile(workbook, "w") as archive:
        archive.writestr("[Content_Types].xml", b"")
        archive.writestr("xl/workbook.xml", b"")
    file.write_bytes(workbook.getvalue())
    with refused("E-file", str(file)) as error:
        texts(file)
    assert "CSV" in error.value.remedy


def test_a_compressed_file_in_another_encoding_is_converted_with_one_command(tmp_path: Path) -> None:
    text, encoding = ENCODED[0]
    (tmp_path / "a.tsv").write_bytes(gzip.compress(text.encode(encoding)))
    with refused("E-encoding", "a.tsv:1") as error:
        texts(tmp_path / "a.tsv")
    assert f"gzip -dc {tmp_path / 'a.tsv'} | iconv -f CP949 -t UTF-8 > " in error.value.remedy
