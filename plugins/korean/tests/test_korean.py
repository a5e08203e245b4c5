"""The Korean tokenizer: laws, options, joining, versions."""

from __future__ import annotations

import importlib.metadata
import logging
import pickle
from pathlib import Path
from typing import Any

import pytest

from seq2att import UserError, registry
from seq2att.registry import load_plugin
from seq2att.testing import check
from seq2att.tokenizer import Tokenizer

TEXTS = [
    "영화가 정말 재미있었어요!",
    "아버지가 방에 들어가신다.",
    "이 영화를 두 번 봤는데 별로였다.",
    "배우들의 연기가 아름다웠다.",
]
UNSEEN = ["", "   ", "꿈을 꾸었다", "日本語 text", "a\udc80b", "굿굿 👩‍👩‍👧", "\0"]


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    pytest.importorskip("kiwipiepy")
    load_plugin(str(Path(__file__).parent.parent))  # also where it is not installed


def korean(**options: Any) -> Tokenizer:
    tokenizer: Tokenizer = registry.build("tokenizer", {"tokenizer": {"name": "korean", **options}})
    return tokenizer


def fitted(**options: Any) -> Tokenizer:
    tokenizer = korean(**options)
    tokenizer.fit(iter(TEXTS))
    return tokenizer


def test_laws() -> None:
    check("tokenizer", "korean")
    check("tokenizer", "korean", {"tags": True})


def test_morphemes() -> None:
    assert fitted().encode(TEXTS[0]) == ["영화", "가", "정말", "재미있", "었", "어요", "!"]
    tagged = ["영화/NNG", "가/JKS", "정말/MAG", "재미있/VA", "었/EP", "어요/EF", "!/SF"]
    assert fitted(tags=True).encode(TEXTS[0]) == tagged
    assert fitted(stems=True).encode(TEXTS[0]) == ["영화", "가", "정말", "재미있다", "!"]
    assert fitted(stems=True, only=["N", "V"], tags=True).encode(TEXTS[0]) == ["영화/NNG", "재미있다/VA"]


@pytest.mark.parametrize("tags", [False, True])
def test_sentences_come_back_joined(tags: bool) -> None:
    tokenizer = fitted(tags=tags)
    for text in TEXTS:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert fitted(stems=True).decode(["영화", "재미있다"]) == "영화 재미있다"


def test_anything_can_be_decoded() -> None:
    assert fitted().decode(["<unk>", "영화", "가", ""]) is not None
    assert fitted(tags=True).decode(["<unk>", "영화/NNG", "가/가", "/", "//SP"]) is not None
    assert fitted(tags=True).decode([]) == ""


@pytest.mark.parametrize("options", [{}, {"tags": True}, {"stems": True, "only": ["N", "V"]}])
def test_a_batch_is_cut_as_one_by_one_and_as_after_restoring(options: dict[str, Any]) -> None:
    tokenizer, other = fitted(**options), korean(**options)
    other.restore(tokenizer.files())
    sent = pickle.loads(pickle.dumps(tokenizer))  # to a helping process
    texts = [*TEXTS, *UNSEEN, *TEXTS]
    expected = [other.encode(text) for text in texts]
    for cutter in (tokenizer, tokenizer, other, sent):  # twice: what is remembered is used once
        assert cutter.encode_batch(texts) == expected
    assert other.pieces == tokenizer.pieces
    assert other.files() == tokenizer.files()


def test_a_vocabulary_has_its_size() -> None:
    tokenizer = fitted(size=7)
    assert len(tokenizer.pieces) == 3
    assert set(tokenizer.pieces) <= set(fitted().pieces)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"^tokenizer\.only=\['noun'\]: .*capitals"):
        korean(only=["noun"])
    with pytest.raises(UserError, match=r"^tokenizer\.size=4: must be at least 5"):
        korean(size=4)


def test_another_version_of_kiwi_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    files = fitted().files()
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "99.0")
    with caplog.at_level(logging.WARNING, "seq2att"):
        korean().restore(files)
    assert "this is 99.0, which may split texts differently; run pip install kiwipiepy==" in caplog.text


def test_missing_kiwi_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    tokenizer = fitted()
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(UserError, match=r"^tokenizer=korean: .*pip install kiwipiepy"):
        tokenizer.files()
