"""Models that classify, estimate and tag: what they answer, and what odd inputs give."""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seq2att
from seq2att import api
from seq2att.api.data import corpus_of
from seq2att.errors import UserError
from seq2att.field import LabelField
from seq2att.trainer import measure
from seq2att.trainer.evaluation import references
from seq2att.types import Prediction
from tests import tiny
from tests.refusals import refused


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
    assert said == ["not in the vocabulary, read as <unk>: line 2 (quux zork)"]


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
        ("1 nan 3", r"line 2: nan: is not a finite number \(item 2, component 1\)"),
        ("1 two 3", r"line 2: .*two.*"),
        ([1.0, math.inf], r"line 2: inf: is not a finite number"),
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
    with refused("E-range", "row=3"):
        api.example(classifier, 3, split="validation")


@pytest.mark.parametrize("verb", ["translate", "estimate", "tag", "generate"])
def test_a_model_is_asked_for_what_it_does(classifier: api.Predictor, verb: str) -> None:
    with refused("E-task", verb):
        getattr(classifier, verb)("good")


def test_a_class_unseen_in_training_is_refused_or_counted(tmp_path: Path) -> None:
    recipe = tmp_path / "odd.yaml"
    recipe.write_text(tiny.CLASSES.replace('bad\\tneg"]', 'odd\\tmixed"]'))
    with refused("E-label", "reader.validation:2"):
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


@pytest.mark.parametrize(("value", "code"), [(-1, "E-size"), (True, "E-type"), ("9", "E-type"), (2.5, "E-type")])
def test_lengths_of_a_search_are_checked(
    writer: api.Predictor, inventor: api.Predictor, value: object, code: str
) -> None:
    for model in (writer, inventor):
        with refused(code, "search.max_length="):
            model.generate(["Irish"], search={"max_length": value})
    assert writer.generate("ab", search={"max_length": 0}).value == "ab"


def test_a_language_model_keeps_to_the_length_of_its_run(writer: api.Predictor) -> None:
    config = {**writer.config, "search": {**writer.config["search"], "max_length": 2, "min_length": 2}}
    short = api.Predictor(writer.model, config, writer.say)
    assert len(short.generate("ab").tokens) == 2 + 2 + 1  # with the end symbol
    assert len(short.generate("ab", search={"max_length": 3, "min_length": 3}).tokens) == 2 + 3 + 1


SCORED = {
    "classes": [("very good", "pos"), ("good", "neg")],
    "numbers": [("1 2 3", "4"), ("2 3 4", 5.0)],
    "tags": [("to paris", "O B-city"), ("to new york", ["O", "B-city", "I-city"])],
    "texts": [(None, "ab"), ("", "baba")],
    "names": [("Irish", "abc"), ("Italian", "cb")],
}


@pytest.mark.parametrize(
    ("name", "tokens"),
    [("classes", [1, 1]), ("numbers", [1, 1]), ("tags", [2, 3]), ("texts", [3, 5]), ("names", [4, 3])],
)
def test_a_score_counts_what_it_is_the_sum_of(tiny_run: Callable[[str], Path], name: str, tokens: list[int]) -> None:
    model = seq2att.load(tiny_run(name))
    found = model.score(SCORED[name])
    assert [one.tokens for one in found] == tokens
    assert all(math.isfinite(one.score) for one in found)
    for one in found:
        if name in ("texts", "names"):
            assert one.perplexity == pytest.approx(math.exp(-one.score / one.tokens))
        else:
            assert one.perplexity is None


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("classes", ("pos",)),
        ("numbers", ("4",)),
        ("tags", ("O", "B-city")),
        ("texts", ("a", "b", "</s>")),
        ("names", ("a", "b", "c", "</s>")),
    ],
)
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_score_is_the_sum_of_its_factors(
    tiny_run: Callable[[str], Path], name: str, pieces: tuple[str, ...], quantize: str | None
) -> None:
    model = seq2att.load(tiny_run(name), quantize=quantize)
    for one, whole in zip(model.score(SCORED[name], tokens=True), model.score(SCORED[name]), strict=True):
        assert one.score == pytest.approx(whole.score, rel=1e-5)
        assert math.fsum(one.token_scores) == one.score
        assert len(one.pieces) == len(one.token_scores) == one.tokens
        assert (whole.pieces, whole.token_scores) == ((), ())
    assert model.score(SCORED[name], tokens=True)[0].pieces == pieces
    if name == "texts":
        assert model.score(["ab"]) == model.score([(None, "ab")])


def test_a_factor_is_the_probability_of_a_step(inventor: api.Predictor) -> None:
    """Of every beginning the next tokens sum to 1, and so a search finds the same factors."""
    one = inventor.generate("Irish")
    (scored,) = inventor.score([("Irish", one.text)], tokens=True)
    assert scored.pieces == one.tokens
    assert scored.token_scores == pytest.approx(one.token_scores, rel=1e-5)


@pytest.mark.parametrize(
    ("name", "pair", "place"),
    [
        ("classes", ("good", "mixed"), "pair 8: the target"),
        ("classes", ("good", ""), "pair 8: the target"),
        ("classes", ("good",), "pair 8"),
        ("classes", ("good", None), "pair 8"),
        ("classes", (None, "pos"), "pair 8"),
        ("numbers", ("1 two", "4"), "pair 8: the source"),
        ("numbers", ("1 2", "four"), "pair 8: the target"),
        ("tags", ("to paris", "O"), "pair 8"),
        ("tags", ("to new rome", "X B-place X"), "pair 8"),
    ],
)
def test_a_pair_that_cannot_be_scored_is_named(
    tiny_run: Callable[[str], Path], name: str, pair: tuple[object, object], place: str
) -> None:
    model = seq2att.load(tiny_run(name))
    with pytest.raises(UserError, match=f"^{place}: "):
        model.score([SCORED[name][0], pair], first_pair=7)


def test_a_label_that_only_counts_is_not_scored_either(tmp_path: Path) -> None:
    recipe = tmp_path / "counts.yaml"
    recipe.write_text(tiny.CLASSES)
    options = [f"run={tmp_path / 'run'}", "target.unseen=count", "trainer.epochs=1", "trainer.progress=false"]
    model = seq2att.load(seq2att.train(str(recipe), options))
    with refused("E-label", "pair 2"):
        model.score([("good", "pos"), ("good", "mixed")])


# -- what a run measures --

WORDS = tiny.TAGS.replace("B-city I-city", "PROPN PROPN").replace("B-city", "PROPN").replace("B-place", "PROPN")


def test_tags_without_spans_are_not_measured_by_spans(tmp_path: Path) -> None:
    recipe = tmp_path / "words.yaml"
    recipe.write_text(WORDS)
    options = [f"run={tmp_path / 'run'}", "trainer.epochs=1", "trainer.progress=false"]
    run = seq2att.train(str(recipe), options)
    assert set(json.loads((run / "metrics.json").read_text())["validation"]) == {"loss", "tag_accuracy"}
    with refused("E-metric", "trainer.best=span_f1"):
        seq2att.train(str(recipe), [*options, "overwrite=true", "trainer.best=span_f1"])
    with refused("E-metric", "metrics=[span_f1]"):
        seq2att.train(str(recipe), [*options, "overwrite=true", "metrics=[span_f1]"])


@pytest.mark.parametrize("keep", ["start", "end"])
def test_tags_are_judged_where_their_row_was_not_cut(tmp_path: Path, keep: str) -> None:
    recipe = tmp_path / "cut.yaml"
    recipe.write_text(tiny.TAGS.replace('["to rome\\tO B-place"]', '["to new york\\tO X B-city", "to\\tO", "a\\tY"]'))
    options = [f"run={tmp_path / 'run'}", "data.max_length=2", "data.too_long=cut", f"data.keep={keep}"]
    run = seq2att.train(str(recipe), [*options, "trainer.epochs=1", "trainer.progress=false"])
    model = seq2att.load(run)
    corpus = corpus_of(model.model, model.config, "validation")
    right = references(model.model, corpus, np.arange(3), model.config["data"])
    assert right == [("O X" if keep == "start" else "X B-city",), ("O",), ("Y",)]
    details = api.evaluate(run, split="validation")["details"]["tag_accuracy"]
    assert details["tags"] == 4
    assert details["classes"].get("B-city", {"support": 0})["support"] == (keep == "end")


@pytest.mark.parametrize("target", ["tags", "label", "number", "numbers", "vector", "vectors", "none"])
def test_a_generator_says_tokens_only(target: str, tmp_path: Path) -> None:
    recipe = tmp_path / "odd.yaml"
    text = tiny.NAMES.replace("target/tokenizer: char", f"target: {target}")
    recipe.write_text(text.replace("target: {embedding_size: 8}\n", ""))
    with refused("E-conflict", f"target={target}"):
        seq2att.train(str(recipe), [f"run={tmp_path / 'run'}", "reader.train=[]"])
    assert not (tmp_path / "run").exists()


def test_a_side_without_files_needs_no_folder_and_may_have_an_empty_one(
    tiny_run: Callable[[str], Path], tmp_path: Path
) -> None:
    shutil.copytree(tiny_run("texts"), tmp_path / "copy")
    assert not (tmp_path / "copy" / "source").exists()
    without = seq2att.load(tmp_path / "copy").generate("ab").value
    (tmp_path / "copy" / "source").mkdir()  # which saving made at first
    assert seq2att.load(tmp_path / "copy").generate("ab").value == without
    assert without.startswith("ab")


def test_large_numbers_are_judged_with_all_their_digits() -> None:
    said = [Prediction(1600000003.25, 0.0), Prediction(0.061712492257356644, 0.0)]
    assert [one.text for one in said] == ["1600000003.25", "0.06171249"]
    found = measure(said, [("1600000003.0",), ("0.061712492257356644",)], ["mae"])
    assert found["mae"].value == pytest.approx(0.125)


def test_text_from_a_label(inventor: api.Predictor) -> None:
    one = inventor.generate("Irish")
    assert one.value
    assert inventor.generate(["Irish", "Italian"])[0].value == one.value
    with refused("E-label", "line 2"):
        inventor.generate(["Irish", "Elvish"])


def test_words_in_lists_are_read_and_rows_without_a_label_are_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = [("good", "pos"), ("bad", "neg"), ("very good", "pos"), ("very bad", "neg")]
    rows = [json.dumps({"words": text.split(), "label": label}) for text, label in texts]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    (tmp_path / "test.jsonl").write_text("\n".join([*rows, json.dumps({"words": ["dull"], "label": None})]))
    recipe, _, rest = tiny.CLASSES.partition("reader:\n  train:")
    recipe = recipe.replace("reader: given", "reader: jsonl") + "source:" + rest.partition("source:")[2]
    (tmp_path / "words.yaml").write_text(recipe)
    files = [f"reader.{split}={tmp_path / name}" for split, name in (("train", "train.jsonl"), ("test", "test.jsonl"))]
    columns = ["reader.source=words", "reader.target=label", f"reader.validation={tmp_path / 'train.jsonl'}"]
    run = seq2att.train(str(tmp_path / "words.yaml"), [*files, *columns, f"run={tmp_path / 'run'}", "callbacks=[show]"])
    assert "  row 3: very good -> pos" in capfd.readouterr().out
    assert api.evaluate(run)["rows"] == 4
    assert "dropped 1, empty target: test.jsonl:5" in capfd.readouterr().err.replace(str(tmp_path), "").replace("/", "")


# -- how a model is asked --

OPTIONS = "attention, batch_size, batch_tokens, beam, first_line, max_source_length, n_best, search, too_long"


@pytest.mark.parametrize(
    ("option", "code", "remedy"),
    [
        ({"bem": 5}, "E-option", "did you mean 'beam'?"),
        ({"nbest": 3}, "E-option", "did you mean 'n_best'?"),
        ({"beam_size": 5}, "E-option", "did you mean 'beam'?"),
        ({"quux": 5}, "E-option", f"known: {OPTIONS}"),
        ({"temperature": 0.5}, "E-option", '{"name": "sample", "temperature": ...}'),
        ({"size": 3}, "E-option", '{"name": "beam", "size": ...}'),
        ({"max_length": "x" * 50}, "E-option", '{"max_length": ...}'),
        ({"sample": True}, "E-option", 'write search="sample"'),
        ({"beam": 0}, "E-size", ""),
        ({"n_best": True}, "E-type", ""),
        ({"batch_size": None}, "E-type", ""),
        ({"too_long": "cutt"}, "E-choice", ""),
    ],
)
def test_an_option_that_no_method_has_is_refused(
    writer: api.Predictor, inventor: api.Predictor, option: dict[str, Any], code: str, remedy: str
) -> None:
    for model in (writer, inventor):
        with refused(code, f"generate: {next(iter(option))}=") as caught:
            model.generate(["Irish"], **option)
        assert remedy in caught.value.remedy


def test_options_of_methods_without_a_search(
    classifier: api.Predictor, estimator: api.Predictor, tagger: api.Predictor
) -> None:
    wrong: dict[str, Any] = {"probabilites": True}
    with refused("E-option", "classify: probabilites=True"):
        classifier.classify("good", **wrong)
    wrong = {"beam": 3}
    for task, ask in (("classify", classifier.classify), ("estimate", estimator.estimate), ("tag", tagger.tag)):
        with refused("E-option", f"{task}: beam=3"):
            ask("1 2", **wrong)
    wrong = {"batchsize": 3}
    with refused("E-option", "score: batchsize=3"):
        classifier.score([("good", "pos")], **wrong)


def test_a_search_may_be_given_by_its_name(writer: api.Predictor, inventor: api.Predictor) -> None:
    for model in (writer, inventor):
        named, spelled = (model.generate("Irish", search=one) for one in ("sample", {"name": "sample"}))
        assert named.value == spelled.value
        assert model.generate("Irish", search="greedy").value == model.generate("Irish", beam=1).value


@pytest.mark.parametrize(
    ("options", "code", "subject"),
    [
        ({"search": 5}, "E-type", "search=5"),
        ({"search": "sampel"}, "E-component", "search=sampel"),
        ({"search": {"name": 3}}, "E-type", "search={'name': 3}"),
        ({"search": "sample", "beam": 3}, "E-conflict", "beam=3 and search=sample"),
        ({"search": "greedy", "beam": 3}, "E-conflict", "beam=3 and search=greedy"),
        ({"search": {"temperature": 0.5}}, "E-option", "search.temperature"),
    ],
)
def test_a_wrong_search_is_refused(
    writer: api.Predictor, inventor: api.Predictor, options: dict[str, Any], code: str, subject: str
) -> None:
    for model in (writer, inventor):
        with refused(code, subject):
            model.generate(["Irish"], **options)


@pytest.mark.parametrize("label", ["Italien", "", None])
def test_a_label_to_generate_from_is_one_of_the_known(inventor: api.Predictor, label: Any) -> None:
    with refused("E-label", "line 2") as caught:
        inventor.generate(["Irish", label])
    assert caught.value.__suppress_context__  # one traceback is enough


@pytest.mark.parametrize(
    ("inputs", "place"),
    [
        ([1, 2, 3], "line 1"),
        (["1, 2, 3"], "line 1"),
        ("1 2 x", "line 1"),
        (5, "estimate: 5"),
        ({"a" * 50: 1}, r"estimate: \{'a+\.\.\."),
    ],
)
def test_one_input_of_numbers_is_a_text_or_a_list_in_a_list(estimator: api.Predictor, inputs: Any, place: str) -> None:
    with pytest.raises(UserError, match=f"^{place}: ") as caught:
        estimator.estimate(inputs)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with refused("E-argument", "score: 5"):
        estimator.score(5)  # type: ignore[arg-type]


def test_a_sentence_in_words_is_a_list_in_a_list(tagger: api.Predictor) -> None:
    (one,) = tagger.tag([["to", "new", "york"]])
    assert one == tagger.tag("to new york")._replace(score=one.score, token_scores=one.token_scores)
    assert len(tagger.tag(["to", "new", "york"])) == 3


def test_a_predictor_says_what_it_is(classifier: api.Predictor, writer: api.Predictor, reverse_run: Path) -> None:
    assert re.fullmatch(r"<seq2att\.Predictor: classify, lstm -> additive, [\d,]+ parameters>", repr(classifier))
    assert re.fullmatch(r"<seq2att\.Predictor: generate, lstm, \d{3} parameters>", repr(writer))
    whole = repr(seq2att.load(reverse_run, quantize="int8"))
    assert re.fullmatch(r"<seq2att\.Predictor: translate, gru -> additive -> gru, \d+,\d{3} parameters, int8>", whole)


def test_of_many_labels_some_are_named_and_the_nearest() -> None:
    field = LabelField()
    field.fit([f"class-{number:02}" for number in range(30)] + ["zebra"])
    with refused("E-label", "'zebr'") as one:
        field.encode("zebr")
    for error in (one.value, pickle.loads(pickle.dumps(one.value))):  # a worker sends it on
        assert error.at("line 3").problem.endswith("class-19 and 11 more; did you mean 'zebra'?")
