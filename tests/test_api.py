"""The Python API on a small trained model: order, neighbours, empty texts, odd characters, searches, scores."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from pathlib import Path
from unittest.mock import ANY

import pytest
import torch

import seq2att
from seq2att import api
from seq2att.model import Model
from seq2att.search import Search
from seq2att.types import Batch, Prediction
from tests.refusals import refused

TEXTS = ["a b c", "", "d e f g h i j k", "a", "b a", "l k j i h g f e d c b a", "   ", "c c c c"]
SEARCHES = [
    {"name": "greedy"},
    {"name": "beam", "size": 4},
    {"name": "sample", "seed": 3},
]


@pytest.fixture(scope="module")
def model(reverse_run: Path) -> api.Predictor:
    predictor = seq2att.load(reverse_run)
    predictor.model.double()  # equal beside any neighbours, to the last text
    return predictor


def test_a_single_text_gives_a_single_answer(model: api.Predictor) -> None:
    one = model.translate("a b c")
    assert isinstance(one.text, str)
    assert one.source_tokens == ("a", "b", "c")
    assert one.tokens[-1] == "</s>"
    assert one.attention is not None
    assert one.attention.shape == (len(one.tokens), 3)
    torch.testing.assert_close(one.attention.sum(1), torch.ones(len(one.tokens), dtype=torch.float64))
    assert one.score == pytest.approx(sum(one.token_scores))
    assert model.translate(["a b c"])[0].text == one.text


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: search["name"])
def test_answers_come_in_order_whatever_the_batch_size(model: api.Predictor, search: dict[str, object]) -> None:
    whole = model.translate(TEXTS, search=search)
    assert len(whole) == len(TEXTS)
    assert whole[1].text == whole[6].text == ""
    for size in (1, 2, 3):
        again = model.translate(TEXTS, search=search, batch_size=size)
        assert [found.text for found in again] == [found.text for found in whole]
        assert [found.score for found in again] == pytest.approx([found.score for found in whole], rel=1e-9)


@pytest.mark.parametrize("search", SEARCHES[:2], ids=lambda search: str(search["name"]))
def test_an_answer_does_not_depend_on_its_neighbours(model: api.Predictor, search: dict[str, object]) -> None:
    together = model.translate(TEXTS, search=search)
    for text, found in zip(TEXTS, together, strict=True):
        alone = model.translate(text, search=search)
        assert alone.text == found.text
        assert alone.score == pytest.approx(found.score, rel=1e-9)


def test_n_best_gives_others_in_order(model: api.Predictor) -> None:
    found = model.translate("a b c d", beam=4, n_best=4)
    answers = [found, *found.others]
    assert len({answer.text for answer in answers}) == 4
    means = [answer.score / len(answer.tokens) for answer in answers]
    assert means == sorted(means, reverse=True)
    assert all(answer.source_tokens == found.source_tokens for answer in answers)


def test_a_beam_of_one_is_greedy(model: api.Predictor) -> None:
    greedy = [found.text for found in model.translate(TEXTS, search={"name": "greedy"})]
    assert [found.text for found in model.translate(TEXTS, beam=1)] == greedy


def test_a_score_is_that_of_the_answer(model: api.Predictor) -> None:
    answers = model.translate(["a b c", "d e"])
    pairs = [("a b c", answers[0].text), ("d e", answers[1].text)]
    found = model.score(pairs)
    assert [score.score for score in found] == pytest.approx([answer.score for answer in answers], rel=1e-5)
    assert [score.tokens for score in found] == [len(answer.tokens) for answer in answers]
    reversed_pairs = model.score(pairs[::-1])
    assert [score.score for score in reversed_pairs] == pytest.approx([score.score for score in found[::-1]], rel=1e-5)


def test_nothing_in_nothing_out(model: api.Predictor) -> None:
    assert model.translate([]) == []
    assert model.score([]) == []


def test_odd_characters_are_unknown_words_not_errors(model: api.Predictor) -> None:
    texts = ["null", "nan", '"a" b', "한국어 a", "\ufeffa", "שלום", "a\tb", "\x00"]
    found = model.translate(texts)
    assert len(found) == len(texts)
    assert all(isinstance(answer.text, str) for answer in found)


def test_a_text_that_is_too_long_is_refused_or_cut_and_named(reverse_run: Path) -> None:
    said: list[str] = []
    model = seq2att.load(reverse_run, say=said.append)
    model.config["data"]["max_length"] = 3
    with refused("E-length", "line 2 (5 tokens)"):
        model.translate(["a b c", "a b c d e"])
    assert said == []
    cut = model.translate(["a b c", "a b c d e"], too_long="cut")
    assert said == ["cut to data.max_length=3 tokens: line 2 (5 tokens)"]
    assert cut[1].text == cut[0].text


def test_unknown_pieces_are_named(reverse_run: Path) -> None:
    said: list[str] = []
    model = seq2att.load(reverse_run, say=said.append)
    model.translate(["a b", "a Q z", "c"], first_line=8)
    assert said == ["not in the vocabulary, read as <unk>: line 9 (Q z)"]
    model.score([("a b", "b a"), ("Q", "z a")])
    assert said[1:] == [f"not in the vocabulary, read as <unk>: line 2 ({piece})" for piece in "Qz"]
    model.explain("a b", target="z a")
    assert said[3:] == ["not in the vocabulary, read as <unk>: line 1 (z)"]


def test_an_unknown_search_option_is_named(model: api.Predictor) -> None:
    with refused("E-option", "search.sise"):
        model.translate("a", search={"name": "beam", "sise": 3})
    with refused("E-component", "search=beem"):
        model.translate("a", search={"name": "beem"})


def test_evaluation_reports_every_figure(reverse_run: Path) -> None:
    figures = api.evaluate(reverse_run, beam=2)
    assert figures["rows"] == figures["sources"] == 200
    assert 0 <= figures["exact"] <= 100
    assert figures["perplexity"] > 1
    assert "exact" in figures["signatures"]
    other = api.evaluate(reverse_run, split="validation", batch_size=7)
    assert other["loss"] != figures["loss"]


def test_an_int8_model_answers_as_one_of_its_own(reverse_run: Path) -> None:
    model = seq2att.load(reverse_run, quantize="int8")
    exact = seq2att.load(reverse_run)
    whole = model.translate(TEXTS, beam=4)
    for size in (1, 3):
        again = model.translate(TEXTS, beam=4, batch_size=size)
        assert [found.text for found in again] == [found.text for found in whole]
        assert [found.score for found in again] == pytest.approx([found.score for found in whole], rel=1e-3)
    pairs = [(text, found.text) for text, found in zip(TEXTS, whole, strict=True) if found.text]
    scores = [found.score for found in whole if found.text]
    assert [scored.score for scored in model.score(pairs)] == pytest.approx(scores, rel=1e-3)
    gaps = [abs(one.score - two.score) for one, two in zip(model.score(pairs), exact.score(pairs), strict=True)]
    assert 1e-5 < max(gaps) < 0.5
    assert seq2att.load(reverse_run).translate(TEXTS[0]).text == exact.translate(TEXTS[0]).text


def test_evaluation_of_int8_stands_beside_that_of_the_model(reverse_run: Path) -> None:
    both = api.evaluate(reverse_run, beam=1, quantize="int8")
    assert list(both) == ["float32", "int8", "change"]
    alone = api.evaluate(reverse_run, beam=1)
    assert both["float32"] == alone
    assert both["int8"]["rows"] == alone["rows"]
    assert set(both["change"]) == {"loss", "perplexity", "token_accuracy", "exact"}
    for name, change in both["change"].items():
        assert change == pytest.approx(both["int8"][name] - both["float32"][name])
    assert 0 < abs(both["change"]["loss"]) < 0.05


def test_what_cannot_be_quantized_is_refused(reverse_run: Path) -> None:
    with refused("E-choice", "quantize='int4'"):
        seq2att.load(reverse_run, quantize="int4")
    with refused("E-conflict", "quantize=int8"):
        seq2att.load(reverse_run, "cuda", quantize="int8")


def test_int8_without_a_compiler_is_slow_and_says_so(reverse_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = seq2att.load(reverse_run, quantize="int8").translate(TEXTS)
    said: list[str] = []
    monkeypatch.setenv("SEQ2ATT_KERNEL", "torch")
    model = seq2att.load(reverse_run, say=said.append, quantize="int8")
    assert said == ["quantize=int8 without the C++ kernels is slower than float32; install a C++ compiler"]
    scores = [found.score for found in model.translate(TEXTS)]
    assert scores == pytest.approx([found.score for found in compiled], rel=1e-2)


def test_a_predictor_follows_its_model_and_can_be_copied(reverse_run: Path) -> None:
    model = seq2att.load(reverse_run)
    before = model.translate("a b c d")
    assert model.ready() is model.ready()
    copied = copy.deepcopy(model)
    assert copied.translate("a b c d") == before._replace(attention=ANY)
    assert copied.ready() is not model.ready()
    with torch.no_grad():
        for parameter in model.model.head.parameters():
            parameter.zero_()
    assert model.translate("a b c d").token_scores[0] == pytest.approx(-math.log(model.model.target.size), rel=1e-4)
    for parameter in model.model.head.parameters():
        parameter.data.fill_(0.1)
    assert model.translate("a b c d").token_scores != before.token_scores
    copied.model.load_state_dict(seq2att.load(reverse_run).model.state_dict())
    assert copied.translate("a b c d") == before._replace(attention=ANY)


def test_a_model_that_nobody_holds_is_not_compared(reverse_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    monkeypatch.setattr("seq2att.api.predictor.weights_version", lambda model: compared.append(model) or ())
    model = seq2att.load(reverse_run)
    model.translate("a b c d")
    model.score([("a b", "b a")])
    assert compared == []
    assert model.model is model.model
    model.translate("a b c d")
    assert compared == [model.model]


def test_long_texts_are_answered_few_at_a_time(reverse_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = seq2att.load(reverse_run)
    texts = [*TEXTS, " ".join("abcdefghij" * 4), " ".join("jihgfedcba" * 4)]
    whole = [found.text for found in model.translate(texts, search={"name": "greedy", "max_length": 50})]
    sizes: list[tuple[int, ...]] = []
    predict = Model.predict

    def spy(self: Model, batch: Batch, search: Search) -> list[Prediction]:
        sizes.append(tuple(batch.source.values.shape))
        return predict(self, batch, search)

    monkeypatch.setattr(Model, "predict", spy)
    again = model.translate(texts, batch_tokens=50, search={"name": "greedy", "max_length": 50})
    assert [found.text for found in again] == whole
    assert sizes[:3] == [(1, 40), (1, 40), (4, 12)]
    assert all(rows == 1 or rows * steps <= 50 for rows, steps in sizes)
    assert sum(rows for rows, _ in sizes) == len(texts)


def test_attention_can_be_left_out(model: api.Predictor) -> None:
    with_it, without = model.translate(TEXTS, beam=3), model.translate(TEXTS, beam=3, attention=False)
    assert with_it[0].attention is not None
    assert {found.attention for found in without} == {None}
    assert [found.token_scores for found in without] == [found.token_scores for found in with_it]


def test_a_run_folder_is_a_recipe(reverse_run: Path) -> None:
    again = seq2att.compose(str(reverse_run), ["run=elsewhere", "encoder.size=7"])
    assert again["trainer"]["epochs"] == 2
    assert (again["run"], again["encoder"]["size"]) == ("elsewhere", 7)


def test_a_reader_that_makes_its_data_takes_no_other_file(reverse_run: Path) -> None:
    with refused("E-argument", "x.tsv"):
        api.evaluate(reverse_run, file="x.tsv")


def test_the_strongest_weight_of_a_trained_reverser_lies_on_the_anti_diagonal(tmp_path: Path) -> None:
    run = seq2att.train("reverse", [f"run={tmp_path}/run", "trainer.progress=false"])
    model = seq2att.load(run)
    lines = [" ".join(word) for word in ("abcdefgh", "hgfedcba", "abab", "lkjihg", "aceg", "bdfhjl", "cabbage")]
    hits = steps = 0
    for found in model.translate(lines, beam=1):
        assert found.attention is not None
        size = len(found.source_tokens)
        for step in range(min(size, len(found.tokens) - 1)):
            hits += int(found.attention[step].argmax()) == size - 1 - step
            steps += 1
    assert steps > 30
    assert hits / steps >= 0.95


FORKING = """
import multiprocessing, sys, torch, seq2att
from seq2att.launch import configure_threads

model = seq2att.load(sys.argv[1])
texts = ["b a g g a g e", "f a c a d e"]
torch.set_num_threads(2)
torch.randn(1 << 20).exp().sum()  # now the threads of PyTorch wait for work
here = [answer.text for answer in model.translate(texts)]


def answer(queue):
    configure_threads(2, seed=1)  # as training does
    torch.randn(1 << 20).exp().sum()
    queue.put(([answer.text for answer in model.translate(texts)], torch.get_num_threads()))


context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=answer, args=(queue,), daemon=True)
child.start()
assert queue.get(timeout=60) == (here, 1)
assert torch.get_num_threads() == 2
print("equal")
"""


@pytest.mark.posix
def test_a_forked_process_answers_alike(reverse_run: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, reverse_run], capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "equal\n", done.stderr
