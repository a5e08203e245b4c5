"""The reader of what Korpora fetches."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from seq2att import UserError, registry
from seq2att.reader import Reader
from seq2att.registry import load_plugin

HEAD = "id\tdocument\tlabel\n"
ROWS = {
    "train": [("1", '아 더빙.. "진짜" 짜증나네요', "0"), ("2", "흠...", "1"), ("3", "", "1"), ("4", "NaN", "0")],
    "test": [("5", "굳 ㅋ", "1")],
}


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load_plugin(str(Path(__file__).parent.parent))


@pytest.fixture
def korpora(tmp_path: Path) -> Path:
    """The folder of Korpora with the corpus."""
    (tmp_path / "nsmc").mkdir()
    for split, rows in ROWS.items():
        text = HEAD + "".join("\t".join(row) + "\n" for row in rows)
        (tmp_path / "nsmc" / f"ratings_{split}.txt").write_text(text, "utf-8")
    return tmp_path


def reader(**options: Any) -> Reader:
    made: Reader = registry.build("reader", {"reader": {"name": "korpora", **options}})
    return made


@pytest.mark.parametrize("by", ["root", "folder", "home"])
def test_the_rows_are_those_of_korpora(korpora: Path, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    root = korpora if by == "root" else None
    if by == "home":
        monkeypatch.setenv("HOME", str(korpora.parent))
        monkeypatch.setenv("USERPROFILE", str(korpora.parent))
        korpora.rename(korpora.parent / "Korpora")
    one = reader(folder=str(korpora)) if by == "folder" else reader()
    one.check(root)
    assert one.splits() == ("train", "test")
    for split, rows in ROWS.items():
        assert [row.values for row in one.read(split, root)] == [(text, label) for _, text, label in rows]
    assert one.fingerprint("train", root) != one.fingerprint("test", root)


def test_a_corpus_that_was_not_fetched_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^reader\.train=nsmc/ratings_train\.txt: .*korpora fetch --corpus nsmc"):
        reader().check(tmp_path)
