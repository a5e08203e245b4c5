"""The tokenizer that runs in Java; without konlpy or Java only what it refuses."""

from __future__ import annotations

import importlib.util
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from seq2att import UserError, registry
from seq2att.registry import load_plugin
from seq2att.testing import check
from seq2att.tokenizer import Tokenizer

HAS_JAVA = importlib.util.find_spec("konlpy") is not None and (shutil.which("java") or os.environ.get("JAVA_HOME"))
needs_java = pytest.mark.skipif(not HAS_JAVA, reason="konlpy or Java is not installed")
TEXT = "영화가 정말 재미있었어요ㅋㅋㅋㅋ"
SIGNALS = """
import os, signal
from seq2att.registry import load_plugin
load_plugin({plugin!r})
from seq2att_korean.okt import load_okt
caught = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: caught.append(number))
assert load_okt().pos("영화가") == [("영화", "Noun"), ("가", "Josa")]
for number in (signal.SIGINT, signal.SIGTERM):
    os.kill(os.getpid(), number)
print([int(number) for number in caught])
"""


@pytest.fixture(autouse=True, scope="module")
def plugin() -> None:
    load_plugin(str(Path(__file__).parent.parent))  # also where it is not installed


def okt(**options: Any) -> Tokenizer:
    tokenizer: Tokenizer = registry.build("tokenizer", {"tokenizer": {"name": "okt", **options}})
    return tokenizer


@needs_java
def test_laws() -> None:
    check("tokenizer", "okt")


@needs_java
@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({}, ["영화", "가", "정말", "재미있었어요", "ㅋㅋㅋㅋ"]),
        ({"stems": True}, ["영화", "가", "정말", "재미있다", "ㅋㅋㅋㅋ"]),
        ({"stems": True, "stop_words": ["가", "ㅋㅋㅋㅋ"]}, ["영화", "정말", "재미있다"]),
        ({"only": ["Noun", "Adjective"], "tags": True}, ["영화/Noun", "정말/Noun", "재미있었어요/Adjective"]),
    ],
)
def test_morphemes_are_those_of_konlpy(options: dict[str, Any], pieces: list[str]) -> None:
    from seq2att_korean.okt import load_okt

    tokenizer = okt(**options)
    assert tokenizer.encode(TEXT) == pieces
    if not options.keys() & {"stop_words", "only"}:
        assert pieces == load_okt().morphs(TEXT, stem=bool(options.get("stems")))
    tokenizer.fit([TEXT, "이것도 되나욬ㅋㅋ", "", "a\udc80b"])
    other = okt(**options)
    other.restore(tokenizer.files())
    sent = pickle.loads(pickle.dumps(tokenizer))  # to a helping process
    assert other.pieces == tokenizer.pieces
    cut = other.encode_batch([TEXT, "꿈"])
    assert [one.encode_batch([TEXT, "꿈"]) for one in (tokenizer, sent)] == [cut, cut]
    assert other.decode(pieces) == " ".join(piece.partition("/")[0] for piece in pieces)


@needs_java
def test_chats_are_normalized() -> None:
    assert okt(normalize=True).encode("이것도 되나욬ㅋㅋ") == ["이", "것", "도", "되나요", "ㅋㅋ"]


@needs_java
def test_java_leaves_signals_to_a_run_that_saves() -> None:
    script = SIGNALS.format(plugin=str(Path(__file__).parent.parent))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[-2:] == [str([int(signal.SIGINT), int(signal.SIGTERM)]), ""], done.stderr


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"^tokenizer\.only=\['noun'\]: .*Noun"):
        okt(only=["noun"])


def test_missing_java_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("konlpy") is None:
        with pytest.raises(UserError, match=r"^tokenizer=okt: .*pip install konlpy"):
            okt().encode(TEXT)
        return
    import jpype
    from seq2att_korean.okt import load_okt

    def missing() -> str:
        raise jpype.JVMNotFoundException("no JVM")

    monkeypatch.setattr(jpype, "isJVMStarted", lambda: False)
    monkeypatch.setattr(jpype, "getDefaultJVMPath", missing)
    load_okt.cache_clear()
    with pytest.raises(UserError, match=r"^tokenizer=okt: needs Java"):
        okt().encode(TEXT)
