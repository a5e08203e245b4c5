"""Models without a source, running text, given beginnings, and sequences from one thing."""

from __future__ import annotations

import copy
import dataclasses
import math
import signal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from seq2att import launch, registry, testing
from seq2att.callback import Callback
from seq2att.config.options import DataOptions, TrainerOptions
from seq2att.data import Corpus, Ragged, batches
from seq2att.data.streams import RunningText, Streams
from seq2att.head import Generator, LanguageModel
from seq2att.inference import FastGenerator, optimize_for_inference
from seq2att.model import Model
from seq2att.search import Prefixed
from seq2att.testing.models import equal
from seq2att.trainer import evaluate, fitting, folder, likelihood
from seq2att.trainer.evaluation import StreamState
from seq2att.trainer.loop import Training
from seq2att.trainer.processes import Processes
from seq2att.types import BEGIN, END, Batch, CarriedState, Column, Prediction, leaves, where
from tests.refusals import refused

registry.load()
BOTH = pytest.mark.parametrize("quantize", [False, True], ids=["exact", "int8"])
DECODERS: dict[str, dict[str, Any]] = {
    "lstm": {"name": "lstm", "layers": 2},
    "gru learning its start": {"name": "gru", "bridge": "dense"},
    "rnn fed": {"name": "rnn", "input_feeding": True, "readout": 5},
}


class Texts:
    """A corpus without sources."""

    def __init__(self, rows: int, seed: int = 0, size: int = 9) -> None:
        random = np.random.default_rng(seed)
        self.ids = [random.integers(4, size, random.integers(0, 7)).astype(np.int32) for _ in range(rows)]
        self.source = Ragged.of([np.zeros(0, np.int32)] * rows)
        self.target = Ragged.of(self.ids)

    def __len__(self) -> int:
        return len(self.ids)

    def unique(self) -> np.ndarray[Any, Any]:
        return np.arange(len(self))

    def values(self, side: str, rows: Any) -> list[Any]:
        return [None for _ in rows]

    def references(self, rows: Any) -> list[tuple[str, ...]]:
        return [("",) for _ in rows]

    def place(self, row: int) -> str:
        return f"texts.txt:{row + 1}"


def corpus(rows: int, seed: int = 0) -> Corpus:
    return cast(Corpus, Texts(rows, seed))


def options(**changes: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(DataOptions()), "batching": "stream", "batch_size": 3, "steps": 4, **changes}


def read(corpus: Corpus, data: dict[str, Any], mine: Any = None) -> list[Batch]:
    return cast(list[Batch], list(batches(corpus, data, 1, True, mine)))


def language_model(decoder: str = "lstm") -> testing.Case:
    changes: dict[str, Any] = {
        "source": {"name": "none"},
        "encoder": {"name": "none"},
        "decoder": {"size": 8, "bridge": "zeros", **DECODERS[decoder]},
        "attention": {"name": "none"},
        "head": {"name": "language_model"},
    }
    return testing.make_case(changes)


# No source


def test_nothing_is_encoded_as_nothing() -> None:
    field = registry.build("field", {"field": {"name": "none"}})
    field.fit([None, "a"])
    assert field.encode_batch([None, "text", 3])[1].tolist() == []
    assert (field.decode([]), field.text("a"), field.pieces([]), field.files()) == (None, "", (), {})
    assert not field.has_values
    embed = field.embed().double()
    found = embed(torch.zeros(3, 0, dtype=torch.long))
    assert (found.shape, found.dtype, embed.output_size) == ((3, 0, 1), torch.float64, 1)
    assert not embed.state_dict()


@pytest.mark.parametrize("encoder", ["none", "lstm"])
@pytest.mark.parametrize("attention", ["none", "general", "additive"])
@BOTH
def test_an_empty_memory_is_looked_at_without_harm(encoder: str, attention: str, quantize: bool) -> None:
    case = testing.make_case(
        {
            "source": {"name": "none"},
            "encoder": {"name": encoder, **({"size": 4} if encoder == "lstm" else {})},
            "attention": {"name": attention},
            "head": {"name": "language_model"},
        }
    )
    model = optimize_for_inference(case.model, quantize)
    scores = model.score(case.batch)
    assert bool(scores.isfinite().all())
    if not quantize:
        equal(scores, case.model.score(case.batch), "scores")
    said = model.predict(case.batch, registry.build("search", case.config))
    assert [one.source_tokens for one in said] == [()] * 4
    assert len({one.text for one in said}) == 1  # nothing tells the rows apart


# Running text


@pytest.mark.parametrize("ends", [True, False])
@pytest.mark.parametrize("count", [1, 3, 10, 500])
@pytest.mark.parametrize("steps", [1, 4, 1000])
def test_every_token_is_said_once_and_in_order(ends: bool, count: int, steps: int) -> None:
    texts = Texts(40)
    whole = [int(number) for text in texts.ids for number in (*text, *([END] if ends else []))]
    found = read(cast(Corpus, texts), options(row_ends=ends, batch_size=count, steps=steps))
    count = min(count, len(whole))
    streams: list[list[int]] = [[] for _ in range(count)]
    befores: list[int] = [BEGIN] * count
    for number, batch in enumerate(found):
        assert batch.target is not None
        assert batch.continues.tolist() == [number > 0] * count
        for stream, (ids, length) in enumerate(zip(*map(Tensor.tolist, batch.target), strict=True)):
            if length > 1:
                assert ids[0] == befores[stream]
                befores[stream] = ids[length - 1]
            streams[stream] += ids[1:length]
    assert [number for stream in streams for number in stream] == whole
    assert max(map(len, streams)) - min(map(len, streams)) <= 1
    assert len(found) == math.ceil(max(map(len, streams)) / steps)


def test_a_batch_knows_the_rows_that_it_is_taken_from() -> None:
    texts = Texts(40)
    text = RunningText(texts.target, has_ends=True)
    rows = np.repeat(np.arange(40), texts.target.lengths + 1)
    assert text.row(np.arange(text.size)).tolist() == rows.tolist()
    batch = read(cast(Corpus, texts), options())[1]
    bounds = Streams(text, 3, 4).bounds
    assert batch.rows.tolist() == rows[bounds[:-1] + 4].tolist()


def test_processes_share_the_streams() -> None:
    texts = corpus(40)
    whole = read(texts, options(batch_size=5))
    parts = [read(texts, options(batch_size=5), Processes(rank, 2).mine) for rank in range(2)]
    for batch, one, other in zip(whole, *parts, strict=True):
        assert batch.target is not None
        assert one.target is not None
        assert other.target is not None
        for name in ("values", "lengths"):
            wanted, found = getattr(batch.target, name), getattr(one.target, name)
            assert wanted[::2][:, : found.shape[1]].equal(found) if name == "values" else wanted[::2].equal(found)
        assert batch.target.lengths[1::2].equal(other.target.lengths)
    alone = read(texts, options(batch_size=1), Processes(1, 2).mine)
    assert [len(batch.rows) for batch in alone] == [0] * len(read(texts, options(batch_size=1)))


def test_a_batch_of_so_many_tokens() -> None:
    assert len(read(corpus(40), options(batch_by="tokens", batch_size=22))[0].rows) == 22 // 4
    assert len(read(corpus(40), options(batch_by="tokens", batch_size=2))[0].rows) == 1


def test_what_is_no_running_text_is_refused() -> None:
    texts = Texts(3)
    texts.source = Ragged.of([np.array([4], np.int32)] * 3)
    with refused("E-conflict", "data.batching=stream"):
        read(cast(Corpus, texts), options())
    texts = Texts(3)
    texts.target = Ragged.of([np.zeros((1, 2), np.float32)] * 3)
    with refused("E-conflict", "data.batching=stream"):
        read(cast(Corpus, texts), options())


@pytest.mark.parametrize("decoder", DECODERS)
def test_running_text_is_one_sequence_however_it_is_cut(decoder: str) -> None:
    """The loss is that of the steps one by one: of all tokens after all that stood before, BEGIN in place of END."""
    case, texts = language_model(decoder), Texts(12)
    head = cast(Generator, case.model.head)
    ids = [int(number) for text in texts.ids for number in (*text, END)]
    memory, state = head.start(case.model.encode(testing.row_of(case.batch, 0).source))
    expected, last = 0.0, BEGIN
    for token in ids:
        said = head.step(torch.tensor([last]), memory, state)
        expected -= float(said.log_probs[0, token].detach())
        last, state = BEGIN if token == END else token, said.state
    for steps in (1, 4, 7, 1000):
        stream, total, count = StreamState(options()), 0.0, 0
        for batch in read(cast(Corpus, texts), options(batch_size=1, steps=steps)):
            (loss,) = stream.losses(case.model, batch)
            total, count = total + float(loss.total.detach()), count + int(loss.count)
        assert total == pytest.approx(expected, rel=1e-10)
        assert count == len(ids)
    for batch_size in (1, 64):
        found = likelihood(case.model, cast(Corpus, texts), batch_size, options(batch_size=5))
        assert float(found.total) == pytest.approx(expected, rel=1e-10)
        assert int(found.count) == len(ids)


@BOTH
@pytest.mark.parametrize("decoder", DECODERS)
def test_an_optimized_model_reads_running_text(decoder: str, quantize: bool) -> None:
    case = language_model(decoder)
    model = optimize_for_inference(case.model, quantize)
    assert isinstance(model.head, FastGenerator)
    assert (model.head.loss_metrics, model.head.task) == (LanguageModel.loss_metrics, "generate")
    found = [float(likelihood(one, corpus(12), 1, options()).total) for one in (model, case.model)]
    assert found[0] == pytest.approx(found[1], rel=0.1 if quantize else 1e-10)
    if quantize:
        reading = [StreamState(options()), StreamState(options())]
        whole, parts = (
            sum(
                float(reading[place].losses(model, batch)[0].total)
                for batch in read(corpus(12), options(batch_size=1, steps=steps))
            )
            for place, steps in enumerate((1000, 3))
        )
        assert parts == pytest.approx(whole, rel=1e-12)


def test_rows_that_do_not_go_on_begin_anew() -> None:
    case = language_model()
    (first, second) = read(corpus(40), options(batch_size=4))[:2]
    before = case.model(first, CarriedState((), first.continues)).state
    assert not any(leaf.requires_grad for leaf in leaves(before))
    mixed = second._replace(continues=torch.tensor([True, False, True, False]))
    state = case.model(second, CarriedState(before, mixed.continues)).state
    on = case.model(second, CarriedState(before, torch.ones(4, dtype=torch.bool))).state
    new = case.model(second, CarriedState((), torch.zeros(4, dtype=torch.bool))).state
    equal(state, where(mixed.continues, on, new), "state")
    equal(case.model(second, CarriedState(leaves(before), mixed.continues)).state, state, "from the leaves alone")


def test_figures_of_a_language_model() -> None:
    found = {name: figure(2.0) for name, figure in LanguageModel.loss_metrics.items()}
    assert found == {"perplexity": pytest.approx(math.exp(2)), "bits": pytest.approx(2 / math.log(2))}


def test_evaluation_of_running_text_and_of_rows() -> None:
    """Without a state each row is a text of its own, and both count the same tokens."""
    case, texts = language_model(), corpus(20)
    running = evaluate(case.model, texts, None, config={"data": options()})
    rows = evaluate(case.model, texts, None)
    assert running["loss"] != pytest.approx(rows["loss"], rel=1e-3)
    assert running["bits"] == pytest.approx(running["loss"] / math.log(2))
    loss = likelihood(case.model, texts)
    assert int(loss.count) == int(likelihood(case.model, texts, data=options()).count)


# Training


def settings(run: Path, data: dict[str, Any], **trainer: Any) -> dict[str, Any]:
    case = language_model()
    return {
        **case.config,
        "recipe": "texts",
        "seed": 3,
        "run": str(run),
        "overwrite": False,
        "metrics": None,
        "callbacks": [],
        "loggers": [],
        "optimizer": {"name": "adam", "learning_rate": 0.02},
        "schedule": {"name": "linear", "warmup_steps": 3},
        "data": data,
        "trainer": {
            **dataclasses.asdict(TrainerOptions()),
            "progress": False,
            "epochs": 2,
            "precision": "64",
            **trainer,
        },
    }


def train(config: dict[str, Any], stop_after: int | None = None) -> Training:
    class Interrupt(Callback):
        def on_batch(self, training: Training) -> None:
            if training.step == stop_after:
                signal.raise_signal(signal.SIGTERM)

    launch.configure_threads(1, config["seed"])
    model = copy.deepcopy(language_model().model).train()
    claim = folder.claim(config)
    if not claim.resume:
        folder.start(claim.path, config)
    splits = {"train": corpus(60), "validation": corpus(10, seed=1)}
    higher = dict.fromkeys(("loss", "perplexity", "bits"), False)
    return fitting.fit(model, config, splits, higher, claim, [Interrupt()], lambda line: None)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves take longer than the training of a toy."""
    monkeypatch.setattr("seq2att.drawing.curves", lambda table, picture, best: None)


def weights(training: Training) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in training.model.parameters()])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_resumed_run_goes_on_in_the_text(tmp_path: Path, accumulate: int) -> None:
    changes = {"validate_every": 0.5, "accumulate": accumulate}
    straight = train(settings(tmp_path / "straight", options(), **changes))
    config = settings(tmp_path / "stopped", options(), **changes)
    with pytest.raises(SystemExit):
        train(config, stop_after=5)
    assert folder.claim(config).resume
    resumed = train(config)
    assert torch.equal(weights(straight), weights(resumed))
    assert straight.validation is not None
    assert resumed.validation is not None
    assert resumed.validation.values == straight.validation.values
    assert set(straight.validation.values) == {"loss", "perplexity", "bits", "token_accuracy"}


@pytest.mark.usefixtures("undrawn")
def test_training_is_back_propagation_truncated_at_each_batch(tmp_path: Path) -> None:
    """By hand: the state goes on, the gradient does not, and every epoch begins anew."""
    config = settings(tmp_path / "run", options(), clip=0.0)
    config["optimizer"], config["schedule"] = {"name": "sgd", "learning_rate": 0.5}, {"name": "constant"}
    found = train(config)
    model = copy.deepcopy(language_model().model).train()
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for _ in range(2):
        state: Any = ()
        for batch in read(corpus(60), options()):
            loss = model(batch, CarriedState(state, batch.continues))
            state = loss.state
            optimizer.zero_grad()
            (loss.total / loss.count).backward()
            optimizer.step()
    wanted = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.testing.assert_close(weights(found), wanted, rtol=1e-9, atol=1e-9)


class Together(Processes):
    """Processes whose states are all known."""

    parts: list[Any]

    def collect(self, value: Any) -> Any:
        return self.parts


@pytest.mark.parametrize("size", [1, 2, 3])
def test_what_is_remembered_may_go_on_with_another_number_of_processes(size: int) -> None:
    case, streams = language_model(), options(batch_size=5)
    first = read(corpus(40), streams)[0]
    whole = leaves(case.model(first, CarriedState((), first.continues)).state)
    saved = Together(0, 2)
    saved.parts = [[leaf[rank::2] for leaf in whole] for rank in range(2)]
    parts = StreamState(streams).gather(saved)
    for rank in range(size):
        reading = StreamState(streams)
        reading.restore(parts, Processes(rank, size))
        equal(reading.state, [leaf[rank::size] for leaf in whole], f"rank {rank} of {size}")
    untouched = StreamState(streams)
    untouched.restore([[]], Processes())
    assert untouched.state == ()


# Given beginnings


def begun(case: testing.Case, model: Model, search: str, prefixes: list[list[int]], **more: Any) -> list[Prediction]:
    found = registry.build("search", {"search": {"name": search, "max_length": 5, **more}})
    head = cast(Generator, model.head)
    return head.predict(model.encode(case.batch.source), found, case.batch.rows, prefixes)


PREFIXES = [[5, 6, 7], [], [4], [6, 6, 6, 6, 6, 6, 6, 6]]
SEARCHES: dict[str, dict[str, Any]] = {"greedy": {}, "beam": {"size": 3, "n_best": 2}, "sample": {"n_best": 3}}


@pytest.mark.parametrize("attention", ["none", "general"])
@pytest.mark.parametrize("search", SEARCHES)
@BOTH
def test_answers_go_on_from_their_prefix_and_are_scored_with_it(attention: str, search: str, quantize: bool) -> None:
    case = testing.make_case({"attention": {"name": attention}, "head": {"name": "generation"}})
    model = optimize_for_inference(case.model, quantize)
    known = {piece: number for number, piece in enumerate(model.target.pieces(range(model.target.size)))}
    found = begun(case, model, search, PREFIXES, **SEARCHES[search])
    assert len(found) == len(PREFIXES)
    for row, (prediction, prefix) in enumerate(zip(found, PREFIXES, strict=True)):
        part = testing.row_of(case.batch, row)
        for answer in (prediction, *prediction.others):
            ids = [known[piece] for piece in answer.tokens[:-1]]
            assert ids[: len(prefix)] == prefix
            assert len(answer.tokens) == len(answer.token_scores) == len(ids) + 1 <= len(prefix) + 5 + 1
            target = Column(torch.tensor([ids], dtype=torch.long).view(1, -1), torch.tensor([len(ids)]))
            score = float(model.score(part._replace(target=target))[0].detach())
            assert answer.score == pytest.approx(score, rel=1e-9)
            if attention == "none":
                assert answer.attention is None
                continue
            assert answer.attention is not None
            assert answer.attention.shape == (len(ids) + 1, int(part.source.lengths))
            equal(answer.attention.sum(1), torch.ones(len(ids) + 1, dtype=torch.float64), "sums of the weights")


@pytest.mark.parametrize("search", SEARCHES)
def test_no_prefix_changes_nothing_and_neighbours_do_not_either(search: str) -> None:
    case = testing.make_case()
    plain = cast(Generator, case.model.head).predict(
        case.model.encode(case.batch.source),
        registry.build("search", {"search": {"name": search, "max_length": 5, **SEARCHES[search]}}),
        case.batch.rows,
    )
    empty = begun(case, case.model, search, [[]] * 4, **SEARCHES[search])
    assert [one.text for one in empty] == [one.text for one in plain]
    assert [one.score for one in empty] == pytest.approx([one.score for one in plain])
    found = begun(case, case.model, search, PREFIXES, **SEARCHES[search])
    for row, prefix in enumerate(PREFIXES):
        alone = case._replace(batch=testing.row_of(case.batch, row))
        (one,) = begun(alone, case.model, search, [prefix], **SEARCHES[search])
        assert one.text == found[row].text


def test_a_beam_from_a_prefix_finds_the_best_of_all() -> None:
    """Every way on of up to two tokens, scored by the model."""
    case = language_model()
    head = cast(Generator, case.model.head)
    encoding = case.model.encode(testing.row_of(case.batch, 0).source)
    pieces = [1, *range(4, case.model.target.size)]
    ways = [[], *([one] for one in pieces), *([one, two] for one in pieces for two in pieces)]

    def score(ids: list[int]) -> float:
        return float(head.score(encoding, Column(torch.tensor([ids]), torch.tensor([len(ids)])))[0].detach())

    best = max(ways, key=lambda way: score([5, 6, *way]))
    search = registry.build("search", {"search": {"name": "beam", "size": 200, "length_penalty": 0.0, "max_length": 2}})
    (found,) = head.predict(encoding, search, torch.tensor([0]), [[5, 6]])
    assert found.score == pytest.approx(score([5, 6, *best]), rel=1e-10)
    assert found.tokens[:-1] == case.model.target.pieces([5, 6, *best])


def test_a_prefix_for_every_row() -> None:
    case = testing.make_case()
    with refused("E-argument", "prefixes"):
        begun(case, case.model, "greedy", [[4], [5]])
    assert begun(case._replace(batch=none_of(case.batch)), case.model, "beam", []) == []
    assert Prefixed(cast(Any, None), [[np.int64(4)]]).ids == [[4]]  # type: ignore[list-item]


def none_of(batch: Batch) -> Batch:
    nothing = torch.zeros(0, dtype=torch.long)
    return batch._replace(source=Column(batch.source.values[nothing], nothing), rows=nothing)


# From one thing to a sequence


@pytest.mark.parametrize("source", ["label", "vector"])
def test_one_thing_is_a_memory_of_one_place(source: str) -> None:
    case = testing.make_case(
        {
            "source": {"name": source},
            "encoder": {"name": "none"},
            "attention": {"name": "additive", "size": 5},
            "head": {"name": "generation"},
        }
    )
    found = case.model.predict(case.batch, registry.build("search", case.config))
    for prediction in found:
        assert prediction.attention is not None
        assert prediction.attention.shape == (len(prediction.tokens), 1)
        assert len(prediction.source_tokens) == 1
    assert len({prediction.score for prediction in found}) > 1  # it says something of its source


def test_what_is_looked_at_in_a_set_of_vectors() -> None:
    case = testing.make_case(
        {"source": {"name": "vectors"}, "encoder": {"name": "none"}, "head": {"name": "generation"}}
    )
    for prediction, length in zip(
        case.model.predict(case.batch, registry.build("search", case.config)),
        case.batch.source.lengths.tolist(),
        strict=True,
    ):
        assert prediction.attention is not None
        assert prediction.attention.shape == (len(prediction.tokens), length)
        assert len(prediction.source_tokens) == length
