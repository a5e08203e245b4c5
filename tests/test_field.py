"""Text fields: ids, special tokens, the embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from seq2att import registry
from seq2att.errors import UserError
from seq2att.field import TextEmbedding, TextField
from seq2att.tokenizer import CharTokenizer, SentencePieceTokenizer
from seq2att.types import BEGIN, END, PAD, SPECIALS, UNKNOWN

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
    assert field.unknown_rate(["ab", "ΩΩ", ""]) == 0.5
    assert field.unknown_rate([]) == 0.0


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
    with pytest.raises(UserError, match=r"field=text takes text, not int \(5\); name a column of text"):
        field.fit([5])
    with pytest.raises(UserError, match=r"takes text, not NoneType \(None\)"):
        field.encode(None)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UserError, match=r"remove='\(' is no regular expression .* mend it"):
        TextField(CharTokenizer, remove="(")  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"dropout=1\.0 is no probability below 1"):
        TextField(CharTokenizer, dropout=1.0)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="embedding_size=0 is no size; set 1 or more"):
        TextField(CharTokenizer, embedding_size=0)  # type: ignore[arg-type]
