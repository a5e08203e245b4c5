"""Models that classify, estimate and tag: what they answer, and what odd inputs give."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import seq2att
from seq2att import api
from seq2att.errors import UserError

CLASSES = """
defaults:
  - config
  - override head: classification
  - override target: label
  - override source/tokenizer: word
  - override attention: additive
  - override reader: given
  - _self_
reader:
  train: ["good film\\tpos", "bad film\\tneg", "very good\\tpos", "very bad\\tneg", "dull\\tneg", "fun\\tpos"]
  validation: ["good\\tpos", "bad\\tneg"]
source: {embedding_size: 8}
encoder: {size: 8}
head: {pool: [attend]}
optimizer: {learning_rate: 0.03}
trainer: {epochs: 12}
"""
NUMBERS = """
defaults:
  - config
  - override head: regression
  - override source: numbers
  - override target: number
  - override reader: given
  - _self_
reader:
  train: ["1 2 3\\t4", "2 3 4\\t5", "3 4 5\\t6", "4 5 6\\t7"]
  validation: ["5 6 7\\t8", "0 1 2\\t3"]
encoder: {size: 8}
trainer: {epochs: 2}
"""
TAGS = """
defaults:
  - config
  - override head: tagging
  - override target: tags
  - override source/tokenizer: word
  - override reader: given
  - _self_
reader:
  train: ["to new york\\tO B-city I-city", "to paris\\tO B-city"]
  validation: ["to rome\\tO B-place"]
source: {embedding_size: 8}
encoder: {size: 8}
trainer: {epochs: 2}
"""
Train = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Trains by a recipe that is written here."""

    def train(name: str, recipe: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        (folder / f"{name}.yaml").write_text(recipe)
        return seq2att.train(str(folder / f"{name}.yaml"), [f"run={folder / name}", "trainer.progress=false"])

    return train


@pytest.fixture(scope="module")
def classifier(trained: Train) -> api.Predictor:
    return seq2att.load(trained("classes", CLASSES))


@pytest.fixture(scope="module")
def estimator(trained: Train) -> api.Predictor:
    return seq2att.load(trained("numbers", NUMBERS))


@pytest.fixture(scope="module")
def tagger(trained: Train) -> api.Predictor:
    return seq2att.load(trained("tags", TAGS))


def test_a_class_has_its_probability_and_what_was_looked_at(classifier: api.Predictor) -> None:
    one = classifier.classify("very good")
    assert one.value == "pos"
    assert one.probabilities is not None
    assert list(one.probabilities) == ["pos", "neg"]
    assert sum(one.probabilities.values()) == pytest.approx(1)
    assert one.score == pytest.approx(math.log(one.probabilities["pos"]), abs=1e-5)
    assert one.source_tokens == ("very", "good")
    assert one.attention is not None
    assert one.attention.shape == (1, 2)
    torch.testing.assert_close(one.attention.sum(), torch.tensor(1.0))
    assert classifier.classify("very good", attention=False).attention is None


def test_an_empty_text_belongs_to_no_class_and_unknown_words_are_named(classifier: api.Predictor) -> None:
    said: list[str] = []
    classifier.say = said.append
    empty, unknown, good = classifier.classify(["", "quux zork", "good"])
    assert (empty.value, empty.probabilities) == ("", None)
    assert unknown.source_tokens == ("<unk>", "<unk>")
    assert unknown.probabilities is not None
    assert good.value == "pos"
    assert said == ["unknown to the model, read as <unk>: line 2 (2 pieces)"]


def test_answers_do_not_depend_on_their_neighbours(classifier: api.Predictor, tagger: api.Predictor) -> None:
    texts = ["good", "", "very bad film good", "bad"]
    for ask, words in ((classifier.classify, texts), (tagger.tag, ["to", "to new york to", "", "paris"])):
        together = ask(words)
        alone = [ask(text) for text in words]
        assert [one.value for one in together] == [one.value for one in alone]
        assert [one.score for one in together] == pytest.approx([one.score for one in alone], rel=1e-5)


def test_numbers_are_read_from_text_or_taken_as_they_are(estimator: api.Predictor) -> None:
    from_text, from_list = estimator.estimate(["1 2 3", [1, 2.0, 3]])
    assert isinstance(from_text.value, float)
    assert from_text.value == from_list.value
    assert estimator.estimate("1 2 3").value == pytest.approx(from_text.value, rel=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("1 nan 3", r"line 2: nan is not a finite number \(item 2, component 1\); mend the value"),
        ("1 two 3", r"line 2: .*two.*"),
        ([1.0, math.inf], r"line 2: inf is not a finite number"),
    ],
)
def test_what_is_no_number_is_refused_by_line(estimator: api.Predictor, wrong: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        estimator.estimate(["1 2", wrong])


def test_every_word_gets_a_tag(tagger: api.Predictor) -> None:
    one, empty = tagger.tag(["to new york", ""])
    assert one.source_tokens == ("to", "new", "york")
    assert one.value == " ".join(one.tokens)
    assert len(one.tokens) == len(one.token_scores) == 3
    assert (empty.value, empty.tokens) == ("", ())


def test_an_example_is_a_row_of_the_data(classifier: api.Predictor) -> None:
    found = api.example(classifier, 2, split="validation")
    assert (found.source, found.target) == ("bad", "neg")
    assert found.place.endswith(":2")
    with pytest.raises(UserError, match=r"row 3: the validation split has rows 1 to 2; name one of them"):
        api.example(classifier, 3, split="validation")


@pytest.mark.parametrize("verb", ["translate", "estimate", "tag", "generate"])
def test_a_model_is_asked_for_what_it_does(classifier: api.Predictor, verb: str) -> None:
    with pytest.raises(UserError, match=rf"{verb}: this model has head=classification, .*; use classify"):
        getattr(classifier, verb)("good")


def test_a_class_unseen_in_training_is_refused_or_counted(trained: Train, tmp_path: Path) -> None:
    wrong = CLASSES.replace('bad\\tneg"]', 'odd\\tmixed"]')
    with pytest.raises(UserError, match=r"reader.validation:2|:2: the target: .*'mixed'.*neg, pos"):
        trained("unseen", wrong)
    counted = trained("counted", f"{wrong}\ntarget: {{unseen: count}}\n")
    figures = api.evaluate(counted, split="validation")
    assert figures["accuracy"] <= 50
    assert figures["rows"] == 2


def test_tags_unseen_in_training_count_as_wrong(tagger: api.Predictor, trained: Train) -> None:
    figures = api.evaluate(trained("again", TAGS), split="validation")
    assert figures["tag_accuracy"] <= 50
    assert math.isfinite(figures["loss"])
