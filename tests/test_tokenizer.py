"""Tokenizers: round trips, vocabularies, refusals."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from seq2att import registry
from seq2att.errors import UserError
from seq2att.field import TextField
from seq2att.tokenizer import (
    ByteTokenizer,
    CharTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    WordTokenizer,
)
from seq2att.types import PAD, SPECIALS, UNKNOWN
from tests.refusals import refused

TEXTS = [
    "the cat sat on the mat",
    "a dog runs  in the park",
    " leading and trailing ",
    "한국어 문장 입니다",
    "שלום עולם",
    "null, nan, \"quoted\" 'too'",
    "<s> </s> <unk> <pad>",
    "a\tb\nc\r\nd\x0be\u2028f\x85g",
    "NUL \0 byte",
    "▁ literal ▁ and ▅ and \U000f0000 and \U000f00002581\U000f0000",
    "é e\u0301 👩‍👩‍👧 \ufeff",
] * 3
UNSEEN = ["日本語 text", "   ", "q", "", "ё", "▁▁", "\0", "x" * 9000]


def fitted(name: str, **options: Any) -> Tokenizer:
    tokenizer: Tokenizer = registry.find("tokenizer", name).target(**options)
    tokenizer.fit(iter(TEXTS))
    return tokenizer


LOSSLESS = [
    ("char", {}),
    ("byte", {}),
    ("sentencepiece", {"size": 84, "model": "unigram"}),
    ("sentencepiece", {"size": 84, "model": "bpe"}),
]


def test_every_tokenizer_is_registered() -> None:
    assert {"sentencepiece", "word", "char", "byte"} <= set(registry.entries("tokenizer"))


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
def test_decode_undoes_encode(name: str, options: dict[str, Any]) -> None:
    tokenizer = fitted(name, **options)
    for text in TEXTS + UNSEEN:
        assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
def test_training_texts_are_known_whole(name: str, options: dict[str, Any]) -> None:
    tokenizer = fitted(name, **options)
    known = set(tokenizer.pieces)
    assert len(known) == len(tokenizer.pieces)
    for text in TEXTS:
        assert set(tokenizer.encode(text)) <= known


@pytest.mark.parametrize(("name", "options"), [*LOSSLESS, ("word", {})])
def test_batch_is_the_same_as_one_by_one(name: str, options: dict[str, Any]) -> None:
    tokenizer = fitted(name, **options)
    texts = TEXTS + UNSEEN
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(text) for text in texts]


@pytest.mark.parametrize(("name", "options"), [*LOSSLESS, ("word", {})])
def test_files_restore_the_tokenizer(name: str, options: dict[str, Any]) -> None:
    tokenizer = fitted(name, **options)
    other: Tokenizer = registry.find("tokenizer", name).target(**options)
    other.restore(tokenizer.files())
    assert other.pieces == tokenizer.pieces
    assert other.encode_batch(TEXTS + UNSEEN) == tokenizer.encode_batch(TEXTS + UNSEEN)
    assert other.files() == tokenizer.files()


@pytest.mark.parametrize(("name", "options"), [*LOSSLESS, ("word", {"min_count": 2})])
def test_the_same_texts_give_the_same_files(name: str, options: dict[str, Any]) -> None:
    assert fitted(name, **options).files() == fitted(name, **options).files()


def test_word_joins_with_one_space() -> None:
    tokenizer = fitted("word", lower=True)
    assert tokenizer.encode(" The  CAT\tsat ") == ["the", "cat", "sat"]
    assert tokenizer.decode(["the", "cat", "sat"]) == "the cat sat"


def test_word_finds_words_by_a_pattern() -> None:
    tokenizer = WordTokenizer(pattern=r"[^\W\d_]+(?:'(\w+))?")  # the group is for the pattern, not for us
    assert tokenizer.encode("Don't say_it 3 times, 영화!") == ["Don't", "say", "it", "times", "영화"]
    assert WordTokenizer(pattern="a*").encode("baab") == ["aa"]  # nothing is no word


def test_stop_words_are_left_out_before_counting() -> None:
    tokenizer = WordTokenizer(size=6, lower=True, stop_words=("The", "a"))
    tokenizer.fit(["the cat and THE dog", "A cat", "a the a the"])
    assert tokenizer.pieces == ("cat", "and")
    assert tokenizer.encode("The bird and a cat") == ["bird", "and", "cat"]
    assert WordTokenizer(stop_words=("the",)).encode("The cat of the house") == ["The", "cat", "of", "house"]


def test_a_vocabulary_of_n_holds_the_n_most_frequent_with_the_specials() -> None:
    words = WordTokenizer(size=len(SPECIALS) + 2)
    words.fit(["a a a b b c"])
    assert words.pieces == ("a", "b")
    assert (PAD, UNKNOWN) == (0, 1)


def test_vocabulary_is_by_count_then_text_whatever_the_order() -> None:
    texts = ["b b b", "a a a", "c", "d d"]
    for seed in range(5):
        shuffled = random.Random(seed).sample(texts, len(texts))
        tokenizer = WordTokenizer(size=7)
        tokenizer.fit(shuffled)
        assert tokenizer.pieces == ("a", "b", "d")
    rare = WordTokenizer(min_count=2)
    rare.fit(texts)
    assert rare.pieces == ("a", "b", "d")


def test_pieces_are_json() -> None:
    tokenizer = fitted("char")
    (content,) = tokenizer.files().values()
    assert tuple(json.loads(content)) == tokenizer.pieces
    assert "\n" in tokenizer.pieces
    assert "\0" in tokenizer.pieces


def test_byte_knows_all_bytes_and_mends_broken_ones() -> None:
    tokenizer = ByteTokenizer()
    assert len(set(tokenizer.pieces)) == 256
    assert tokenizer.decode(["<0xEA>", "a"]) == "\ufffda"
    everything = "".join(chr(number) for number in (*range(0x800), 0x20AC, 0xD55C, 0xD800, 0x1F600))
    assert tokenizer.decode(tokenizer.encode(everything)) == everything


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_sentencepiece_size_counts_the_specials(model: str) -> None:
    tokenizer = fitted("sentencepiece", size=84, model=model)
    assert len(tokenizer.pieces) + len(SPECIALS) == 84


def test_sentencepiece_learns_from_long_lines_and_draws_the_same_sample() -> None:
    long = SentencePieceTokenizer(size=7)
    long.fit(["ab " * 9000])
    assert {"a", "b"} <= set("".join(long.pieces))
    lines = [f"line number {number} of many" for number in range(500)]
    one, two = (SentencePieceTokenizer(size=40, sample=200) for _ in "12")
    one.fit(lines)
    two.fit(lines)
    assert one.files() == two.files()


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_sentencepieces_own_ids_are_those_of_its_pieces(model: str) -> None:
    tokenizer = fitted("sentencepiece", size=84, model=model)
    index = {piece: number for number, piece in enumerate(tokenizer.pieces, len(SPECIALS))}
    texts = [*TEXTS, *UNSEEN, "日本q日", "<s>q</s>"]
    expected = [[index.get(piece, UNKNOWN) for piece in tokenizer.encode(text)] for text in texts]
    assert tokenizer.encode_ids(texts) == expected  # in threads
    assert [tokenizer.encode_ids([text]) for text in texts] == [[ids] for ids in expected]  # one by one
    assert UNKNOWN in expected[-2]
    assert fitted("word").encode_ids(texts) is None


def test_lone_surrogates_survive_sentencepiece() -> None:
    tokenizer = fitted("sentencepiece", size=84)
    assert tokenizer.decode(tokenizer.encode("a\udc80b")) == "a\udc80b"


@pytest.mark.parametrize("model", ["unigram", "bpe"])
def test_too_large_a_size_names_the_one_that_works(model: str) -> None:
    tokenizer = SentencePieceTokenizer(size=8000, model=model)  # type: ignore[arg-type]
    with refused("E-vocabulary", "tokenizer.size") as caught:
        tokenizer.fit(TEXTS)
    largest = int(re.findall(r"\d+", caught.value.remedy)[0])
    assert len(fitted("sentencepiece", size=largest, model=model).pieces) + len(SPECIALS) == largest
    with refused("E-vocabulary", f"tokenizer.size={largest + 1}"):
        fitted("sentencepiece", size=largest + 1, model=model)


def test_too_small_a_size_names_the_one_that_works() -> None:
    with refused("E-vocabulary", "tokenizer.size") as caught:
        fitted("sentencepiece", size=20)
    least = int(re.findall(r"\d+", caught.value.remedy)[0])
    assert len(fitted("sentencepiece", size=least).pieces) + len(SPECIALS) == least


@pytest.mark.parametrize("texts", [[], [""], ["", ""]])
@pytest.mark.parametrize("tokenizer", [SentencePieceTokenizer(), WordTokenizer(), CharTokenizer()])
def test_empty_training_set_is_refused(tokenizer: Tokenizer, texts: list[str]) -> None:
    with refused("E-vocabulary", "tokenizer"):
        tokenizer.fit(texts)


def test_settings_that_cannot_be() -> None:
    with refused("E-vocabulary", "tokenizer.min_count"):
        WordTokenizer(min_count=9).fit(["a a b"])


def test_a_pattern_and_stop_words_that_leave_nothing() -> None:
    with refused("E-syntax", "tokenizer.pattern"):
        WordTokenizer(pattern="(")
    with refused("E-vocabulary", "tokenizer.pattern"):
        WordTokenizer(pattern="x").fit(["a b"])
    with refused("E-vocabulary", "tokenizer.stop_words"):
        WordTokenizer(stop_words=("a", "b")).fit(["a b"])


def test_an_error_of_the_reader_comes_through() -> None:
    def broken() -> Iterator[str]:
        yield "abc abd"
        raise UserError("E-encoding", "train.de:3", "byte 0xff is not UTF-8")

    for tokenizer in (SentencePieceTokenizer(size=9), WordTokenizer()):
        with pytest.raises(UserError, match=r"^train\.de:3: byte 0xff"):
            tokenizer.fit(broken())


def test_training_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    fitted("sentencepiece", size=84)
    with refused("E-vocabulary", "tokenizer.size"):
        fitted("sentencepiece", size=9000)
    assert capfd.readouterr() == ("", "")


def keras_words(texts: list[str], num_words: int) -> list[list[int]]:
    """The ids of `Tokenizer(num_words=...)` of Keras without `oov_token`: from 1, unknown words are left out."""
    counts = Counter(word for text in texts for word in text.split())
    order = sorted(counts, key=lambda word: (-counts[word], word))  # Keras breaks ties by the first occurrence
    index = {word: number for number, word in enumerate(order, 1)}
    return [[index[word] for word in text.split() if index[word] < num_words] for text in texts]


def test_a_vocabulary_as_keras_makes_it() -> None:
    draw = random.Random(1)
    texts = [" ".join(f"w{int(draw.paretovariate(0.6)) % 90}" for _ in range(30)) for _ in range(40)]
    field = TextField(lambda: WordTokenizer(size=30, specials=1, unknown="drop"))
    field.fit(texts)
    assert len(field.tokenizer.pieces) == 29
    ours = [(ids - len(SPECIALS) + 1).tolist() for ids in field.encode_batch(texts)]
    assert ours == keras_words(texts, 30)
    assert ours == [(field.encode(text) - len(SPECIALS) + 1).tolist() for text in texts]


@pytest.mark.parametrize("specials", range(5))
def test_a_size_counts_so_many_special_tokens(specials: int) -> None:
    tokenizer = WordTokenizer(size=10, specials=specials)
    tokenizer.fit([" ".join(f"w{number}" for number in range(50))])
    assert len(tokenizer.pieces) == 10 - specials


def test_dropped_words_leave_their_characters_out_too() -> None:
    field = TextField(lambda: WordTokenizer(unknown="drop"), characters=4)
    field.fit(["a b"])
    assert field.encode("a x b yy").tolist() == field.encode("a b").tolist()
    assert field.decode(field.encode("a x b")) == "a b"
    assert field.unknown_pieces("a x b") == ("x",)
