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
from seq2att.errors import InputError, UserError
from seq2att.field import LabelField
from seq2att.trainer import measure
from seq2att.trainer.evaluation import references
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


@pytest.mark.parametrize(
    ("value", "allowed"),
    [(-1, "0 or more tokens"), (True, "a whole number or null"), ("9", "a whole number or null"), (2.5, "a whole")],
)
def test_lengths_of_a_search_are_checked(
    writer: api.Predictor, inventor: api.Predictor, value: object, allowed: str
) -> None:
    for model in (writer, inventor):
        with pytest.raises(UserError, match=rf"^search\.max_length={value!r}: allowed is {allowed}"):
            model.generate(["Irish"], search={"max_length": value})
    assert writer.generate("ab", search={"max_length": 0}).value == "ab"


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
    ("name", "pair", "message"),
    [
        (
            "classes",
            ("good", "mixed"),
            "pair 8: the target: the label 'mixed' does not occur in training; known: neg, pos; give one of them$",
        ),
        ("classes", ("good", ""), "pair 8: the target: an empty label; known: neg, pos; give one of them$"),
        ("classes", ("good",), r"pair 8: \('good',\) is no \(source, target\); give both"),
        ("classes", ("good", None), r"pair 8: \('good', None\) is no \(source, target\); give both"),
        ("classes", (None, "pos"), r"pair 8: \(None, 'pos'\) is no \(source, target\); give both"),
        ("numbers", ("1 two", "4"), "pair 8: the source: '1 two' is not a sequence of numbers"),
        ("numbers", ("1 2", "four"), "pair 8: the target: 'four' is not a number"),
        ("tags", ("to paris", "O"), "pair 8: 1 tag for the 2 items of its source; give each item one tag"),
        (
            "tags",
            ("to new rome", "X B-place X"),
            "pair 8: training does not have 'X', 'B-place', so that the model gives it no probability; mend the target",
        ),
    ],
)
def test_a_pair_that_cannot_be_scored_is_named(
    tiny_run: Callable[[str], Path], name: str, pair: tuple[object, object], message: str
) -> None:
    model = seq2att.load(tiny_run(name))
    with pytest.raises(UserError, match=f"^{message}"):
        model.score([SCORED[name][0], pair], first_pair=7)


def test_a_label_that_only_counts_is_not_scored_either(tmp_path: Path) -> None:
    recipe = tmp_path / "counts.yaml"
    recipe.write_text(tiny.CLASSES)
    options = [f"run={tmp_path / 'run'}", "target.unseen=count", "trainer.epochs=1", "trainer.progress=false"]
    model = seq2att.load(seq2att.train(str(recipe), options))
    with pytest.raises(UserError, match=r"^pair 2: training does not have 'mixed', so that the model gives it no"):
        model.score([("good", "pos"), ("good", "mixed")])


# -- what a run measures --

WORDS = tiny.TAGS.replace("B-city I-city", "PROPN PROPN").replace("B-city", "PROPN").replace("B-place", "PROPN")


def test_tags_without_spans_are_not_measured_by_spans(tmp_path: Path) -> None:
    recipe = tmp_path / "words.yaml"
    recipe.write_text(WORDS)
    options = [f"run={tmp_path / 'run'}", "trainer.epochs=1", "trainer.progress=false"]
    run = seq2att.train(str(recipe), options)
    assert set(json.loads((run / "metrics.json").read_text())["validation"]) == {"loss", "tag_accuracy"}
    message = r"^trainer\.best=span_f1: no figure of a validation.*; known: loss, tag_accuracy"
    with pytest.raises(UserError, match=message):
        seq2att.train(str(recipe), [*options, "overwrite=true", "trainer.best=span_f1"])


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
    message = rf"^target={target}: head=generation says a text token by token; set target=text, or another head$"
    with pytest.raises(UserError, match=message):
        seq2att.train(str(recipe), [f"run={tmp_path / 'run'}", "reader.train=[]"])
    assert not (tmp_path / "run").exists()


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

KNOWN = "known: attention, batch_size, beam, first_line, n_best, search, too_long"
SEARCHED = r'; options of a search go into it, as in search=\{"name": "sample", "seed": 3\}'


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"bem": 5}, rf"there is no option 'bem'; {KNOWN}; did you mean 'beam'\?{SEARCHED}"),
        ({"nbest": 3}, rf"there is no option 'nbest'; {KNOWN}; did you mean 'n_best'\?{SEARCHED}"),
        ({"beam_size": 5}, rf"there is no option 'beam_size'; {KNOWN}; did you mean 'beam'\?{SEARCHED}"),
        ({"quux": 5}, rf"there is no option 'quux'; {KNOWN}{SEARCHED}"),
        ({"temperature": 0.5}, r'.*; write search=\{"name": "sample", "temperature": 0\.5\}; ' + KNOWN),
        ({"seed": 3}, r'seed is an option of the search; write search=\{"name": "sample", "seed": 3\}; ' + KNOWN),
        ({"size": 3}, r'size is an option of the search; write search=\{"name": "beam", "size": 3\}; ' + KNOWN),
        ({"max_length": 3}, r'max_length is an option of the search; write search=\{"max_length": 3\}; ' + KNOWN),
        ({"max_length": "x" * 50}, r'.*; write search=\{"max_length": \.\.\.\}; ' + KNOWN),
        ({"sample": True}, f'sample is a search; write search="sample"; {KNOWN}'),
        ({"beam": 0}, "beam=0: allowed is a whole number of at least 1"),
        ({"n_best": True}, "n_best=True: allowed is a whole number of at least 1"),
        ({"batch_size": None}, "batch_size=None: allowed is a whole number of at least 1"),
        ({"too_long": "cutt"}, "too_long='cutt': allowed is 'refuse', 'cut', or None for that of training"),
    ],
)
def test_an_option_that_no_verb_has_is_refused(
    writer: api.Predictor, inventor: api.Predictor, option: dict[str, Any], message: str
) -> None:
    for model in (writer, inventor):
        with pytest.raises(UserError, match=f"^generate: {message}$"):
            model.generate(["Irish"], **option)


def test_options_of_the_verbs_without_a_search(
    classifier: api.Predictor, estimator: api.Predictor, tagger: api.Predictor
) -> None:
    known = "known: attention, batch_size, first_line, too_long"
    wrong: dict[str, Any] = {"probabilites": True}
    with pytest.raises(
        UserError, match=rf"^classify: there is no option 'probabilites'; {known}; .*: read \.probabili"
    ):
        classifier.classify("good", **wrong)
    wrong = {"beam": 3}
    for verb, ask in (("classify", classifier.classify), ("estimate", estimator.estimate), ("tag", tagger.tag)):
        with pytest.raises(UserError, match=rf"^{verb}: there is no option 'beam'; {known}; leave it out$"):
            ask("1 2", **wrong)
    wrong = {"batchsize": 3}
    message = r"^score: there is no option 'batchsize'; known: batch_size, first_pair; did you mean 'batch_size'\?$"
    with pytest.raises(UserError, match=message):
        classifier.score([("good", "pos")], **wrong)


def test_a_search_may_be_given_by_its_name(writer: api.Predictor, inventor: api.Predictor) -> None:
    for model in (writer, inventor):
        named, spelled = (model.generate("Irish", search=one) for one in ("sample", {"name": "sample"}))
        assert named.value == spelled.value
        assert model.generate("Irish", search="greedy").value == model.generate("Irish", beam=1).value


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"search": 5},
            r'search=5 is no search; give its name, as in search="sample", or its options, as in search=\{',
        ),
        ({"search": "sampel"}, "search=sampel: no search has this name; .*; did you mean 'sample'"),
        ({"search": {"name": 3}}, "search.name=3 is no name of a search; known: beam, greedy, sample$"),
        ({"search": "sample", "beam": 3}, "beam=3 and search=sample exclude each other; leave one out$"),
        ({"search": "greedy", "beam": 3}, "beam=3 and search=greedy exclude each other; leave one out$"),
        (
            {"search": {"temperature": 0.5}},
            r"search\.temperature: search=beam has no option 'temperature', which is one of sample; "
            r'take search=\{"name": "sample", "temperature": 0\.5\} \(--sample\)$',
        ),
    ],
)
def test_what_is_no_search_is_refused(
    writer: api.Predictor, inventor: api.Predictor, options: dict[str, Any], message: str
) -> None:
    for model in (writer, inventor):
        with pytest.raises(UserError, match=f"^{message}"):
            model.generate(["Irish"], **options)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (
            ["Irish", "Italien"],
            "the label 'Italien' does not .*; known: Irish, Italian; did you mean 'Italian'.; give one",
        ),
        (["Irish", " "], "an empty label; known: Irish, Italian; give one of them$"),
        (["Irish", None], "None is no label; known: Irish, Italian; give one of them$"),
    ],
)
def test_a_label_to_generate_from_is_one_of_the_known(inventor: api.Predictor, labels: list[Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^line 2: {message}") as caught:
        inventor.generate(labels)
    assert caught.value.__suppress_context__  # one traceback, and it says all


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            [1, 2, 3],
            r"line 1: 1 is not a sequence of numbers .*; one input is \[1, 2, 3\], and a list of inputs \[\[1, 2",
        ),
        (["1, 2, 3"], r"line 1: '1, 2, 3' is not .*; write spaces between the numbers, not commas$"),
        ("1 2 x", r"line 1: '1 2 x' is not .*; mend the value$"),
        (5, r"estimate: 5 is neither a text nor a list of inputs; give one input in a list, as in \[x\]$"),
        ({"a" * 50: 1}, r"estimate: .{40}\.\.\. is neither a text nor a list of inputs"),
    ],
)
def test_how_one_input_of_numbers_is_given(estimator: api.Predictor, inputs: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}") as caught:
        estimator.estimate(inputs)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    with pytest.raises(UserError, match=r"^score: 5 is neither a text nor a list of inputs"):
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
    with pytest.raises(InputError, match=r"known: class-00, .* and 11 more; did you mean 'zebra'\?; mend") as one:
        field.encode("zebr")
    for error in (one.value, pickle.loads(pickle.dumps(one.value))):  # a worker sends it on
        assert error.asked.endswith("class-19 and 11 more; did you mean 'zebra'?; give one of them")


def test_tags_without_spans_are_not_judged_by_spans(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text(tiny.TAGS.replace("B-", "").replace("I-", "") + "metrics: [span_f1]\n")
    with pytest.raises(
        UserError, match=r"metrics: span_f1 does not judge .*head=tagging says; allowed is .*tag_accuracy"
    ):
        seq2att.train(str(tmp_path / "words.yaml"), [f"run={tmp_path / 'run'}", "trainer.progress=false"])
