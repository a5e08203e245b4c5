"""Text fields: ids, special tokens, the embedding."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seq2att import registry, testing
from seq2att.bundle import load, save
from seq2att.config import compose
from seq2att.data.batching import source_batch
from seq2att.data.corpus import Ragged
from seq2att.field import OneHotEmbedding, SpelledEmbedding, TextEmbedding, TextField
from seq2att.search import Greedy
from seq2att.tokenizer import CharTokenizer, SentencePieceTokenizer
from seq2att.types import BEGIN, END, PAD, SPECIALS, UNKNOWN
from tests.refusals import refused

TEXTS = ["banana", "한국어 문장", "null nan", 'a "b"\tc', "שלום"]


def text_field(tokenizer: str = "char", **options: Any) -> TextField:
    field: TextField = registry.build("field", {"field": {"name": "text", "tokenizer": {"name": tokenizer}, **options}})
    return field


@pytest.mark.parametrize("tokenizer", ["char", "byte", "word"])
def test_ids_come_back_as_text(tokenizer: str) -> None:
    field = text_field(tokenizer)
    field.fit(TEXTS)
    for text in TEXTS:
        ids = field.encode(text)
        assert ids.dtype == np.int32
        assert ids.min() >= len(SPECIALS)
        assert ids.max() < field.size
        assert field.decode(ids) == (" ".join(text.split()) if tokenizer == "word" else text)


@pytest.mark.parametrize("tokenizer", ["char", "sentencepiece"])
def test_batch_is_the_same_as_one_by_one(tokenizer: str) -> None:
    field = text_field(tokenizer)
    if isinstance(field.tokenizer, SentencePieceTokenizer):
        field.tokenizer.size = 26
    field.fit(TEXTS)
    values = [*TEXTS, "", "unseen Ω"]
    for one, many in zip(values, field.encode_batch(values), strict=True):
        np.testing.assert_array_equal(field.encode(one), many)
        assert many.dtype == np.int32


def test_empty_text_is_no_ids() -> None:
    field = text_field()
    field.fit(TEXTS)
    assert field.encode("").shape == (0,)
    assert field.encode("").dtype == np.int32
    assert field.decode([]) == ""


def test_specials() -> None:
    field = text_field()
    field.fit(["ab"])
    a, b = field.encode("ab")
    assert field.size == 6
    assert list(field.encode("aΩb")) == [a, UNKNOWN, b]
    assert field.decode([BEGIN, a, UNKNOWN, b, PAD, END, a]) == "a<unk>b"
    assert field.pieces([BEGIN, a, UNKNOWN, b, END, PAD]) == ("<s>", "a", "<unk>", "b", "</s>", "<pad>")
    assert field.decode(torch.tensor([a, b, END])) == "ab"  # type: ignore[arg-type]


def test_words_that_look_special_are_words() -> None:
    field = text_field("word")
    field.fit(["<s> </s> <pad>"])
    assert field.encode("<s> </s> <pad>").min() >= len(SPECIALS)
    assert field.decode(field.encode("<s> </s> <pad>")) == "<s> </s> <pad>"


def test_remove_and_normalize() -> None:
    field = text_field(remove=r"[\"']", normalize="nfkc")
    field.fit(["abcé\uac00"])
    assert field.decode(field.encode("\"a' b".replace(" ", ""))) == "ab"
    assert field.decode(field.encode("ｅ\u0301".replace("ｅ", "e"))) == "é"
    assert field.decode(field.encode("\u1100\u1161")) == "가"


def test_files_restore_the_field() -> None:
    field, other = text_field(), text_field()
    field.fit(TEXTS)
    other.restore(field.files())
    assert other.size == field.size
    np.testing.assert_array_equal(other.encode(TEXTS[1]), field.encode(TEXTS[1]))


def test_sharing_a_tokenizer_before_and_after_fitting() -> None:
    source, target = text_field(), text_field()
    target.share_tokenizer(source)
    source.fit(["ab", "bc"])
    assert target.tokenizer is source.tokenizer
    assert target.size == source.size == 7
    np.testing.assert_array_equal(source.encode("abc"), target.encode("abc"))
    late = text_field()
    late.fit(["zzz"])
    assert late.encode("z") == [4]
    late.share_tokenizer(source)
    np.testing.assert_array_equal(source.encode("abc"), late.encode("abc"))


def test_fitting_again_forgets_the_first_vocabulary() -> None:
    field = text_field()
    field.fit(["ab"])
    assert list(field.encode("b")) == [5]
    field.fit(["b"])
    assert list(field.encode("b")) == [4]


def test_embedding() -> None:
    field = text_field(embedding_size=256, dropout=0.5)
    field.fit(TEXTS)
    torch.manual_seed(1)
    embedding = field.embed()
    assert isinstance(embedding, TextEmbedding)
    assert embedding.output_size == 256
    assert embedding.weight.shape == (field.size, 256)
    assert embedding.weight[1:].std().item() == pytest.approx(1 / 16, rel=0.05)
    ids = torch.tensor([[4, 5, PAD], [6, PAD, PAD]])
    embedding.eval()
    vectors = embedding(ids)
    assert vectors.shape == (2, 3, 256)
    assert torch.equal(vectors[0, 1], embedding.weight[5])
    assert not vectors[ids == PAD].any()
    embedding.train()
    assert (embedding(ids)[ids != PAD] == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)
    embedding(ids).sum().backward()
    assert embedding.weight.grad is not None
    assert not embedding.weight.grad[PAD].any()
    assert embedding.weight.grad[4].any()


def test_values_that_are_no_text_are_refused() -> None:
    field = text_field()
    with refused("E-type", "5"):
        field.fit([5])
    with refused("E-type", "None"):
        field.encode(None)


def test_a_list_of_words_has_as_many_words() -> None:
    field = text_field("word")
    words = ["New York", "", " ", "a\tb", "c"]
    field.fit([words])
    assert field.clean(words) == field.text(words) == field.decode(field.encode(words)) == "New_York _ _ a_b c"
    assert len(field.encode(words)) == len(field.encode_batch([words])[0]) == len(words)
    assert field.clean([]) == ""
    with refused("E-type", "['a', None]"):
        field.encode(["a", None])


def test_settings_that_cannot_be() -> None:
    with refused("E-syntax", "field.remove"):
        TextField(CharTokenizer, remove="(")  # type: ignore[arg-type]


# ---- cleaning


def test_replacements_come_first_and_in_their_order() -> None:
    field = text_field("word", replace={"<br />": " ", "[^A-Za-z]+": " ", r"(\w)\1+": r"\1"}, remove="z")
    field.fit(["a"])
    assert field.clean("Hello,<br />big-WORLDzz 99!") == "Helo big WORLD "
    assert text_field(replace={"a": "b", "b": "c"}).clean("ab") == "cc"


def test_replacements_are_settings(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "defaults: [config, override reader: tsv, override source/tokenizer: word, _self_]\n"
        "source: {replace: {'[^A-Za-z]+': ' ', 'b.': x}, tokenizer: {stop_words: [the, a], pattern: '\\w+'}}\n"
        "reader: {train: t.tsv}\n"
    )
    config = compose(str(tmp_path / "x.yaml"), ["source.embedding=one_hot"])
    assert list(config["source"]["replace"].items()) == [("[^A-Za-z]+", " "), ("b.", "x")]
    assert registry.build("field", config, slot="source").clean("ab9c") == "axc"


def test_replacements_that_cannot_be() -> None:
    with refused("E-syntax", "field.replace"):
        text_field(replace={"[": " "})
    for wrong in (r"\1", r"\g<x>", "\\"):
        with refused("E-syntax", "field.replace"):
            text_field(replace={"a": wrong})


# ---- ways to read a piece


WORDS = {"name": "word", "pattern": "..?", "size": 24}  # pairs of letters, many of them unknown


def small(**options: Any) -> dict[str, dict[str, Any]]:
    return {"source": {"name": "text", "embedding_size": 3, "tokenizer": WORDS, **options}}


READERS_OF_TEXT = [
    {"embedding": "frozen"},
    {"embedding": "one_hot"},
    {"characters": 4, "character_length": 5},
    {"characters": 4, "character_length": 5, "embedding": "one_hot"},
]


@pytest.mark.parametrize("options", READERS_OF_TEXT, ids=str)
@pytest.mark.parametrize("law", testing.MODEL_LAWS, ids=lambda law: law.__name__)
def test_models_keep_the_laws_however_they_read(options: dict[str, Any], law: Any) -> None:
    law(testing.make_case(small(**options)))


def test_a_mutant_that_takes_unknown_words_for_one_breaks_a_law(monkeypatch: pytest.MonkeyPatch) -> None:
    class Confusing(SpelledEmbedding):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            unknown = (ids[..., 0] == UNKNOWN).nonzero()
            confused = ids.clone()
            confused[ids[..., 0] == UNKNOWN] = ids[tuple(unknown[0])]
            return super().forward(confused)

    monkeypatch.setattr("seq2att.field.text.SpelledEmbedding", Confusing)
    with pytest.raises(AssertionError, match="padding"):
        testing.MODEL_LAWS[2](testing.make_case(small(characters=4)))


def test_one_hot() -> None:
    field = text_field(embedding="one_hot")
    field.fit(["abc"])
    embedding = field.embed()
    assert isinstance(embedding, OneHotEmbedding)
    assert embedding.output_size == field.size == 7
    assert not list(embedding.parameters())
    assert not embedding.state_dict()
    ids = torch.tensor([[4, 6, UNKNOWN], [5, PAD, PAD]])
    expected = torch.eye(7)[ids]
    expected[ids == PAD] = 0
    assert torch.equal(embedding(ids), expected)
    assert embedding.double()(ids).dtype == torch.float64
    assert embedding(ids[:0]).shape == (0, 3, 7)


def test_frozen() -> None:
    field = text_field(embedding="frozen")
    field.fit(["abc"])
    assert [one.requires_grad for one in field.embed().parameters()] == [False]
    assert [one.requires_grad for one in text_field().embed().parameters()] == [True]


def test_ids_with_characters() -> None:
    field = text_field("word", characters=6, character_length=4)
    field.fit(["cab bed", "bed"])
    letters = {letter: number for number, letter in enumerate("abcde", 2)}
    a, b, c, d, e = (letters[letter] for letter in "abcde")
    found = field.encode("bed cabbed xa")
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, [[4, b, e, d, 0], [UNKNOWN, c, a, b, b], [UNKNOWN, 1, a, 0, 0]])
    np.testing.assert_array_equal(field.encode_batch(["", "bed cabbed xa"])[1], found)
    assert field.encode("").shape == (0, 5)
    assert field.decode(found) == "bed <unk> <unk>"
    assert field.decode([*found, END]) == "bed <unk> <unk>"  # type: ignore[list-item]
    assert field.pieces(found.tolist()) == ("bed", "<unk>", "<unk>")
    other = text_field("word", characters=6, character_length=4)
    other.restore(field.files())
    np.testing.assert_array_equal(other.encode("bed cabbed xa"), found)


def test_characters_of_sentencepieces_own_ids() -> None:
    field = text_field("sentencepiece", characters=3)
    assert isinstance(field.tokenizer, SentencePieceTokenizer)
    field.tokenizer.size = 26
    field.fit(TEXTS)
    for one, many in zip(TEXTS, field.encode_batch(TEXTS), strict=True):
        np.testing.assert_array_equal(field.encode(one), many)
        assert many.shape[1] == 21


def test_characters_are_composed_as_ma_and_hovy_say() -> None:
    field = text_field("word", characters=6, character_length=5, embedding_size=3)
    field.fit(["cab bed faces", "bed"])
    torch.manual_seed(1)
    embedding = field.embed().double()
    assert isinstance(embedding, SpelledEmbedding)
    assert embedding.output_size == 9
    texts = ["bed cab bed fad", "faces x", ""]
    column = Ragged.of(field.encode_batch(texts)).gather([0, 1, 2])
    found = embedding(column.values).detach().numpy()
    assert found.shape == (3, 4, 9)
    table = embedding.characters.weight.detach().numpy()  # [alphabet, H]
    weight, bias = (one.detach().numpy() for one in (embedding.weight, embedding.bias))
    weight = weight.reshape(6, 3, 30)
    for row, text in enumerate(texts):
        for place in range(4):
            words = text.split()
            expected = np.zeros(9)
            if place < len(words):
                letters = [field.spelling.index.get(letter, UNKNOWN) for letter in words[place]]
                given = np.concatenate([np.zeros((1, 30)), table[letters], np.zeros((1, 30))])
                units = [
                    [(weight[f] * given[i : i + 3]).sum() + bias[f] for f in range(6)] for i in range(len(letters))
                ]
                expected[3:] = np.max(units, 0)
                expected[:3] = embedding.words.weight[field.index.get(words[place], UNKNOWN)].detach().numpy()
            np.testing.assert_allclose(found[row, place], expected, atol=1e-12)


def test_no_rows_have_no_characters() -> None:
    field = text_field("word", characters=6, embedding_size=3)
    field.fit(["cab"])
    assert field.embed()(torch.zeros(0, 0, dtype=torch.long)).shape == (0, 0, 9)
    assert field.embed()(torch.zeros(2, 0, 21, dtype=torch.long)).shape == (2, 0, 9)
    assert not field.embed()(torch.zeros(2, 3, 21, dtype=torch.long)).any()


def test_a_model_says_words_for_words_with_characters() -> None:
    case = testing.make_case(small(characters=4))
    found = case.model.predict(source_batch(case.model.source, ["abba", "", "zz"]), Greedy(max_length=3))
    assert [one.source_tokens for one in found] == [("ab", "<unk>"), (), ("<unk>",)]
    assert case.model.predict(source_batch(case.model.source, []), Greedy()) == []


def test_ways_to_read_that_cannot_be(tmp_path: Path) -> None:
    with refused("E-conflict", "target.characters"):
        text_field(characters=5).check("target", None)
    text_field(characters=5).check("source", None)
    text_field().check("target", None)
    with refused("E-conflict", "field.embedding"):
        text_field(embedding="one_hot", vectors="x")


# ---- pretrained vectors


VECTORS = "the 0.5 1 -2\nThe 7 7 7\n. . . 1 2 3\nnot 1e-1 +2 3\ncat 4 5 6\ncat 9 9 9\n영화 1 1 1\n"


def warmed(folder: Path, content: str, **options: Any) -> tuple[str | None, TextField, Any]:
    (folder / "vectors.txt").write_text(content, "utf-8")
    field = text_field("word", embedding_size=3, vectors="vectors.txt", **options)
    field.fit(["the The CAT dog 영화 Not."])
    embedding = field.embed()
    return field.init_embedding(embedding, folder), field, embedding


@pytest.mark.parametrize("header", ["", "7 3\n"])
@pytest.mark.parametrize("options", [{}, {"embedding": "frozen"}, {"characters": 2}], ids=str)
def test_pretrained_vectors(header: str, options: dict[str, Any], tmp_path: Path) -> None:
    said, field, embedding = warmed(tmp_path, header + VECTORS, **options)
    assert said == f"vectors: 4 of 6 pieces found in {tmp_path / 'vectors.txt'}"
    table = getattr(embedding, "words", embedding).weight
    field.update_index()
    vector_of = {piece: table[number].tolist() for piece, number in field.index.items()}
    assert vector_of["the"] == [0.5, 1, -2]
    assert vector_of["The"] == [7, 7, 7]  # as it is written, before its lower-cased form
    assert vector_of["CAT"] == [4, 5, 6]  # the first of equal words
    assert vector_of["영화"] == [1, 1, 1]
    assert not table[PAD].any()
    assert table.requires_grad == (options.get("embedding") != "frozen")


def test_words_of_spaces_tabs_and_packed_files(tmp_path: Path) -> None:
    content = "the\t1\t2\t3 \n. . . 4 5 6\n\nCAT 7 8 9\n"
    (tmp_path / "v.vec.gz").write_bytes(gzip.compress(content.encode()))
    field = text_field("word", embedding_size=3, vectors="v.vec")
    field.fit(["the CAT"])
    embedding = field.embed()
    assert field.init_embedding(embedding, tmp_path) == f"vectors: 2 of 2 pieces found in {tmp_path / 'v.vec.gz'}"
    assert embedding.weight[field.encode("the CAT")].tolist() == [[1, 2, 3], [7, 8, 9]]


def test_what_is_not_found_is_as_long_as_what_is(tmp_path: Path) -> None:
    lines = [f"w{number} {' '.join(['3', '-3'] * 50)}" for number in range(5)]
    (tmp_path / "v").write_text("\n".join(lines))
    field = text_field("word", embedding_size=100, vectors="v")
    field.fit([" ".join(f"w{number}" for number in range(100))])
    torch.manual_seed(1)
    embedding = field.embed()
    field.init_embedding(embedding, tmp_path)
    assert embedding.weight[-90:].std().item() == pytest.approx(3, rel=0.05)


def test_a_bundle_needs_no_file_of_vectors(tmp_path: Path) -> None:
    case = testing.make_case(small(vectors="nowhere", embedding="frozen"))
    save(case.model, case.config, tmp_path, {})
    model, _ = load(tmp_path)
    assert torch.equal(model.embedding.weight, case.model.embedding.weight)
    assert not model.embedding.weight.requires_grad


def test_without_vectors_nothing_is_said(tmp_path: Path) -> None:
    field = text_field()
    field.fit(["a"])
    assert field.init_embedding(field.embed(), tmp_path) is None


@pytest.mark.parametrize(
    ("content", "code", "line", "names"),
    [
        ("the 1 2\ncat 1 2\n", "E-length", ":1", "source.embedding_size=2"),
        ("5 300\nthe 1 2 3\n", "E-length", ":1", "source.embedding_size=300"),
        ("the 1 2 3\ncat 1 2\n", "E-row", ":2", "'cat'"),
        ("the 1 2 3\ncat 1 2 3 4\n", "E-row", ":2", "'cat'"),
        ("the 1 2 3\ncat 1 x 3\n", "E-number", ":2", "'x' in the vector of 'cat'"),
        ("the 1 nan 3\n", "E-number", ":1", "'nan' in the vector of 'the'"),
        ("the 1 1e999 3\n", "E-number", ":1", "'1e999' in the vector of 'the'"),
        ("", "E-empty", "", ""),
        ("word\n", "E-length", ":1", "name another file"),
        ("no 1 2 3\n", "E-vocabulary", "", "source/tokenizer=word"),
    ],
)
def test_broken_files_of_vectors(content: str, code: str, line: str, names: str, tmp_path: Path) -> None:
    with refused(code, f"vectors.txt{line}") as error:
        warmed(tmp_path, content)
    assert names in str(error.value)


def test_a_cut_off_file_is_told(tmp_path: Path) -> None:
    said, _, _ = warmed(tmp_path, "400000 3\n" + VECTORS)
    assert str(said).endswith("vectors.txt (its first line states 400,000 vectors, there are 7)")


def test_missing_vectors_are_refused_before_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "glove.txt").write_text("the 1 2 3 4\n")
    field = text_field("word", vectors="globe.txt", embedding_size=3)
    with refused("E-file", "target.vectors=globe.txt"):
        field.check("target", tmp_path)
    with refused("E-length", "glove.txt:1"):
        text_field("word", vectors="glove.txt", embedding_size=3).check("source", tmp_path)
    text_field("word", vectors="glove.txt", embedding_size=4).check("source", tmp_path)


def test_whole_pieces_are_absent_from_a_batch_in_training() -> None:
    layer = TextEmbedding(200, 6, 0.0, piece_dropout=0.25, deviation=0.1)
    assert float(layer.weight.detach().std()) == pytest.approx(0.1, rel=0.1)
    ids = torch.arange(1, 200).repeat(2, 1)  # [2, 199]
    seen = layer(ids).detach()  # [2, 199, 6]
    gone = (seen == 0).all(2)  # [2, 199]
    assert bool((gone[0] == gone[1]).all())
    assert 0.1 < float(gone.float().mean()) < 0.4
    torch.testing.assert_close(seen[~gone], layer.weight.detach()[ids[~gone]] / 0.75)
    torch.testing.assert_close(layer.eval()(ids), layer.weight[ids])


def test_a_text_that_is_cut_into_letters_is_said_in_syllables() -> None:
    field = text_field(normalize="nfd")
    field.fit(["가각", "é"])
    ids = field.encode("가")
    assert len(ids) == 2
    assert field.decode(ids) == "가" == field.text("\u1100\u1161")
    assert field.decode(field.encode("é")) == "\u00e9"
    assert text_field().text("\u1100\u1161") == "\u1100\u1161"
