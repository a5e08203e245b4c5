"""Models that classify, estimate and tag: what they answer, and what odd inputs give."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import seq2att
from seq2att import api
from seq2att.errors import UserError
from seq2att.trainer import measure
from seq2att.types import Prediction
from tests import tiny


@pytest.fixture(scope="module")
def classifier(tiny_run: Callable[[str], Path]) -> api.Predictor:
    return seq2att.load(tiny_run("classes"))


@pytest.fixture(scope="module")
def estimator(tiny_run: Callable[[str], Path]) -> api.Predictor:
    return seq2att.load(tiny_run("numbers"))


@pytest.fixture(scope="module")
def tagger(tiny_run: Callable[[str], Path]) -> api.Predictor:
    return seq2att.load(tiny_run("tags"))


@pytest.fixture(scope="module")
def writer(tiny_run: Callable[[str], Path]) -> api.Predictor:
    return seq2att.load(tiny_run("texts"))


@pytest.fixture(scope="module")
def inventor(tiny_run: Callable[[str], Path]) -> api.Predictor:
    return seq2att.load(tiny_run("names"))


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
    assert said == ["unknown to the model, read as <unk>: line 2 (quux zork)"]


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


def test_a_class_unseen_in_training_is_refused_or_counted(tmp_path: Path) -> None:
    recipe = tmp_path / "odd.yaml"
    recipe.write_text(tiny.CLASSES.replace('bad\\tneg"]', 'odd\\tmixed"]'))
    with pytest.raises(UserError, match=r":2: the target: .*'mixed'.*neg, pos"):
        seq2att.train(str(recipe), [f"run={tmp_path / 'run'}"])
    counted = seq2att.train(str(recipe), [f"run={tmp_path / 'run'}", "target.unseen=count", "trainer.progress=false"])
    figures = api.evaluate(counted, split="validation")
    assert figures["accuracy"] <= 50
    assert figures["rows"] == 2


def test_tags_unseen_in_training_count_as_wrong(tiny_run: Callable[[str], Path]) -> None:
    figures = api.evaluate(tiny_run("tags"), split="validation")
    assert figures["tag_accuracy"] <= 50
    assert math.isfinite(figures["loss"])


def test_a_text_goes_on_from_its_beginning(writer: api.Predictor) -> None:
    one = writer.generate("ab")
    assert one.value.startswith("ab")
    nothing, other = writer.generate(["", "ba"], search={"max_length": 3})
    assert len(nothing.tokens) <= 4
    assert other.value.startswith("ba")
    assert len(other.tokens) <= 6
    several = writer.generate("a", n_best=3, search={"name": "sample", "seed": 2})
    assert len({one.value for one in (several, *several.others)}) >= 2
    assert all(one.value.startswith("a") for one in several.others)
    assert several.score >= several.others[0].score
    assert writer.generate("ab", beam=1).value == writer.generate(["b", "ab"], beam=1, batch_size=1)[1].value


def test_an_empty_folder_may_get_lost_on_the_way(tiny_run: Callable[[str], Path], tmp_path: Path) -> None:
    shutil.copytree(tiny_run("texts"), tmp_path / "copy")
    (tmp_path / "copy" / "source").rmdir()
    assert seq2att.load(tmp_path / "copy").generate("ab").value.startswith("ab")


def test_large_numbers_are_judged_with_all_their_digits() -> None:
    said = [Prediction(1600000003.25, 0.0), Prediction(0.061712492257356644, 0.0)]
    assert [one.text for one in said] == ["1600000003.25", "0.06171249"]
    found = measure(said, [("1600000003.0",), ("0.061712492257356644",)], ["mae"])
    assert found["mae"].value == pytest.approx(0.125)


def test_text_from_a_label(inventor: api.Predictor) -> None:
    one = inventor.generate("Irish")
    assert one.value
    assert inventor.generate(["Irish", "Italian"])[0].value == one.value
    with pytest.raises(UserError, match=r"line 2: .*'Elvish'.*Irish, Italian"):
        inventor.generate(["Irish", "Elvish"])


def test_a_baseline_counts_the_tokens_of_the_run(tiny_run: Callable[[str], Path]) -> None:
    counted = api.baseline(tiny_run("texts"), split="validation", order=3)
    figures = api.evaluate(tiny_run("texts"), split="validation")
    assert counted["tokens"] == 8
    assert counted["perplexity"] == pytest.approx(math.exp(counted["loss"]))
    assert set(counted) & set(figures) >= {"loss", "perplexity", "bits"}


def test_a_linear_baseline_is_judged_by_the_metrics_of_the_run(tiny_run: Callable[[str], Path]) -> None:
    found = api.baseline(tiny_run("classes"), split="validation", order=1)
    assert found["accuracy"] == 100
    assert found["rows"] == 2
    with pytest.raises(UserError, match=r"baseline: there is none for head=tagging with source=text; name a run of"):
        api.baseline(tiny_run("tags"))
    with pytest.raises(UserError, match=r"baseline: order=0 is no length of n-grams; give 1 or more"):
        api.baseline(tiny_run("texts"), order=0)
