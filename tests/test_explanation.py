"""An explanation holds what `forward` computed: from its parts the same output is computed again, by NumPy."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

import seq2att
from seq2att import registry, testing
from seq2att.attention import Attention, General, masked_softmax
from seq2att.decoder import Decoder, RecurrentDecoder
from seq2att.encoder import Encoder, RecurrentEncoder
from seq2att.explanation import Explanation, Request, explain
from seq2att.head import Classification, Generator, Regression, Tagging
from seq2att.model import Model, make, make_fields
from seq2att.recurrence import Layer
from seq2att.recurrence.choice import is_changed
from seq2att.testing import Case
from seq2att.types import Attended, Batch, Decoded, Encoding, Memory, State, length_mask
from tests.markdown import blocks
from tests.refusals import refused

registry.load()
ROOT = Path(__file__).resolve().parent.parent
Array = npt.NDArray[Any]
EXPLAINED = ("encoder", "decoder", "attention", "output", "head", "search")


def sigmoid(values: Array) -> Array:
    return 1 / (1 + np.exp(-values))


def softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


def equal(actual: Any, expected: Any, what: str) -> None:
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, what
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    assert np.abs(actual - expected).max(initial=0) <= 1e-10 * scale, what


def explained(case: Case, row: int, **changes: Any) -> tuple[Explanation, Batch]:
    """The explanation of a row of a case with its target, and the row as a batch."""
    part = testing.row_of(case.batch, row)
    assert part.target is not None
    source, target = part.source.values[0].numpy(), part.target.values[0].numpy()
    request = Request(source, "", target, "", None, None, row=1, top=3, gradient=False)
    return explain(case.model, request._replace(**changes)), part


def layers(model: Model) -> Iterator[tuple[str, Layer, bool]]:
    """The recurrent layers of a model: their names in an explanation, and whether they read backwards."""
    for kind, backwards in (("forwards", False), ("backwards", True)):
        for level, layer in enumerate(getattr(model.encoder, kind, ())):
            yield f"encoder.layer{level}.{kind.removesuffix('s')}", layer, backwards
    if isinstance(model.head, Generator):
        for level, layer in enumerate(model.head.decoder.stack.layers):
            yield f"decoder.layer{level}", layer, False


def recompute_layer(parts: Explanation, name: str, layer: Layer, backwards: bool) -> None:
    """Gates and states by the textbook, step by step."""
    part = {key.removeprefix(f"{name}."): parts[key] for key in parts if key.startswith(f"{name}.")}
    parameters = (layer.input_weight, layer.hidden_weight, layer.input_bias, layer.hidden_bias)
    w, u, b, d = (parameter.detach().numpy() for parameter in parameters)
    h, c = part["initial_hidden_state"], part.get("initial_cell_state")
    steps = range(len(part["inputs"]))
    for t in reversed(steps) if backwards else steps:
        x, recurrent = w @ part["inputs"][t] + b, u @ h + d
        if layer.cell == "lstm":
            i, f, g, o = np.split(x + recurrent, 4)
            gates = {"input": sigmoid(i), "forget": sigmoid(f), "cell": np.tanh(g), "output": sigmoid(o)}
            c = part["forget_gate"][t] * c + part["input_gate"][t] * part["cell_gate"][t]
            h = part["output_gate"][t] * np.tanh(c)
            equal(part["cell_state"][t], c, f"{name}.cell_state[{t}]")
        elif layer.cell == "gru":
            (r, z, n), (ur, uz, un) = np.split(x, 3), np.split(recurrent, 3)
            gates = {"reset": sigmoid(r + ur), "update": sigmoid(z + uz)}
            gates["new"] = np.tanh(n + part["reset_gate"][t] * un)
            h = (1 - part["update_gate"][t]) * part["new_gate"][t] + part["update_gate"][t] * h
        else:
            gates, h = {}, np.tanh(x + recurrent) if layer.cell == "tanh" else np.maximum(x + recurrent, 0)
        for gate, values in gates.items():
            equal(part[f"{gate}_gate"][t], values, f"{name}.{gate}_gate[{t}]")
        equal(part["hidden_state"][t], h, f"{name}.hidden_state[{t}]")


def stacked(parts: Explanation, names: list[list[str]], inputs: Array, residual: bool) -> Array:
    """The outputs of layers on top of each other, each of one or two directions side by side."""
    for level, directions in enumerate(names):
        for name in directions:
            equal(parts[f"{name}.inputs"], inputs, f"{name}.inputs")
        outputs = np.concatenate([parts[f"{name}.hidden_state"] for name in directions], 1)
        inputs = outputs + inputs if residual and level > 0 else outputs
    return inputs


def recompute_wiring(parts: Explanation, decoder: RecurrentDecoder) -> None:
    """What feeds what in a recurrent decoder: the inputs of its layers, the query, what the readout reads."""
    embedding, fed = parts["target.embedding"], parts["decoder.outputs"][:-1]
    context = parts.get("attention.context", embedding[:, :0])
    first = np.zeros((1, decoder.fed_size))
    before = [embedding, np.concatenate([first, fed[:, : decoder.fed_size]])]
    inputs = np.concatenate([*before, context] if decoder.query_first else before, 1)
    names = [[f"decoder.layer{level}"] for level in range(len(decoder.stack.layers))]
    hidden = stacked(parts, names, inputs, decoder.stack.residual)
    if "attention.query" in parts:
        top = names[-1][0]
        previous = np.concatenate([parts[f"{top}.initial_hidden_state"][None], parts[f"{top}.hidden_state"][:-1]])
        equal(parts["attention.query"], previous if decoder.query_first else hidden, "query")
    mixed = np.concatenate([hidden, context, *[embedding] * decoder.query_first], 1)
    equal(parts["decoder.concatenation" if decoder.readout is not None else "decoder.outputs"], mixed, "concatenation")


def recompute_attention(parts: Explanation, name: str, attention: Attention) -> None:
    """Weights from scores, the context from weights and values; the scores from queries and keys."""
    equal(parts[f"{name}.weights"], softmax(parts[f"{name}.scores"]), "weights")
    equal(parts[f"{name}.context"], parts[f"{name}.weighted_values"].sum(-2), "context")
    query, keys = (torch.from_numpy(parts[f"{name}.{part}"]) for part in ("query", "keys"))
    scores = attention.score(query.view(1, -1, query.size(-1)), keys.unsqueeze(0)).detach()
    equal(parts[f"{name}.scores"], scores.numpy().reshape(parts[f"{name}.scores"].shape), "scores")


def recompute_decoding(parts: Explanation, model: Model, part: Batch) -> None:
    """The outputs of the decoder, and log p of every token."""
    decoder, output = model.head.decoder, model.head.output
    outputs = parts["decoder.outputs"]
    if isinstance(decoder, RecurrentDecoder) and decoder.readout is not None:
        equal(outputs, np.tanh(parts["decoder.concatenation"] @ decoder.readout.weight.detach().numpy().T), "outputs")
    if isinstance(decoder, RecurrentDecoder):
        recompute_wiring(parts, decoder)
    log_probs = parts["output.log_probs"]
    equal(log_probs, output.log_probs(torch.from_numpy(outputs)).detach(), "log_probs")
    scores = log_probs[np.arange(len(log_probs)), parts["target.ids"]]
    equal(scores, parts.prediction.token_scores, "token scores")
    equal(scores.sum(), model.score(part)[0].detach(), "the score that forward computes")
    assert parts.top is not None
    equal(parts.top.probabilities, -np.sort(-np.exp(log_probs), 1)[:, :3], "top")


def recompute_head(parts: Explanation, model: Model, part: Batch) -> None:
    """What a head predicts from, and its answer."""
    head, encoding = model.head, model.encode(part.source)
    (prediction,) = head.predict(encoding)
    equal(parts.prediction.score, prediction.score, "score")
    assert parts.prediction.tokens == prediction.tokens
    if isinstance(head, Tagging):
        features = recompute_hidden(parts, head.hidden, parts["encoder.outputs"])
        emissions = features @ head.layer.weight.detach().numpy().T + head.layer.bias.detach().numpy()
        equal(parts["head.emissions"], emissions, "emissions")
        path = parts["head.best_path"]
        equal(parts["head.log_probs"][np.arange(len(path)), path], prediction.token_scores, "log p of each tag")
        if head.transitions is not None:
            recompute_crf(parts, prediction.score)
        return
    poolings = [parts[f"pooling.{kind}"] for kind in head.pool.kinds]
    equal(parts["pooling.vector"], np.concatenate(poolings), "vector")
    features = recompute_hidden(parts, head.hidden, parts["pooling.vector"])
    numbers = head.output.weight.detach().numpy() @ features + head.output.bias.detach().numpy()
    if isinstance(head, Classification):
        logits = np.concatenate([[0.0], numbers]) if len(numbers) == 1 else numbers
        equal(parts["head.logits"], logits, "logits")
        equal(np.exp(parts["head.log_probs"]), softmax(logits), "probabilities")
    elif isinstance(head, Regression):
        equal(parts["head.value"], numbers[0], "value")


def recompute_hidden(parts: Explanation, hidden: torch.nn.Linear | None, inputs: Array) -> Array:
    """The units of a hidden layer of a head; its inputs where there is none."""
    if hidden is None:
        return inputs
    units = np.tanh(inputs @ hidden.weight.detach().numpy().T + hidden.bias.detach().numpy())
    equal(parts["head.hidden"], units, "hidden units")
    return units


def recompute_crf(parts: Explanation, score: float) -> None:
    """The score of the path from its parts, and the path from the back-pointers."""
    emissions, path, pairs = parts["head.emissions"], parts["head.best_path"], parts["crf.transitions"]
    total = emissions[np.arange(len(path)), path].sum() + pairs[path[:-1], path[1:]].sum()
    equal(parts["crf.path_score"], total + parts["crf.start"][path[0]] + parts["crf.end"][path[-1]], "path score")
    equal(parts["crf.path_score"] - parts["crf.log_partition"], score, "log p of the path")
    equal(path[:-1], parts["crf.backpointers"][np.arange(1, len(path)), path[1:]], "path")


def recompute(parts: Explanation, case: Case, part: Batch) -> None:
    """Everything from its parts, and the ends from what the untouched model computes."""
    model, encoding = case.model, case.model.encode(part.source)
    if encoding.outputs.size(1):
        equal(parts["encoder.outputs"], encoding.outputs[0].detach(), "outputs of the encoder")
        equal(parts["source.embedding"], model.embedding(part.source.values)[0].detach(), "embedding")
    for final, name in zip(encoding.final, ("hidden", "cell"), strict=False):
        equal(parts[f"encoder.final_{name}_state"], final[0].detach(), f"final {name} state")
    if isinstance(model.encoder, RecurrentEncoder):
        directions = ["forward", *["backward"] * bool(len(model.encoder.backwards))]
        names = [[f"encoder.layer{n}.{way}" for way in directions] for n in range(len(model.encoder.forwards))]
        outputs = stacked(parts, names, parts["source.embedding"], model.encoder.residual)
        equal(parts["encoder.outputs"], outputs, "outputs of the layers")
    for name, layer, backwards in layers(model):
        recompute_layer(parts, name, layer, backwards)
    holder, name = (model.head.decoder, "attention") if isinstance(model.head, Generator) else (model.head, "pooling")
    attention = getattr(getattr(holder, "pool", holder), "attention", None)
    if attention is not None and attention.output_size:
        recompute_attention(parts, name, attention)
    (recompute_decoding if isinstance(model.head, Generator) else recompute_head)(parts, model, part)


def test_the_page_works_as_written(reverse_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "explain.md").read_text("utf-8")
    (tmp_path / "runs").mkdir()
    shutil.copytree(reverse_run, tmp_path / "runs" / "reverse")
    monkeypatch.chdir(tmp_path)
    python = [block.text for block in blocks(page) if block.language == "python"]
    assert python
    exec(compile("\n".join(python), "explain.md", "exec"), {})


ALL = [(kind, name) for kind in EXPLAINED for name in registry.entries(kind)]


@pytest.mark.parametrize(("kind", "name"), ALL, ids=lambda value: value)
def test_the_parts_give_the_output_of_every_component(kind: str, name: str) -> None:
    for number, case in enumerate(testing.cases(kind, name, {})):
        parts, part = explained(case, row=number % 4)
        recompute(parts, case, part)


CHAR = {"embedding_size": 3, "tokenizer": {"name": "char"}}
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "hidden": {"head": {"name": "classification", "hidden": 5}, "target": {"name": "label"}},
    "hidden of a tagger": {"head": {"name": "tagging", "hidden": 5}, "target": {"name": "tags"}},
    "one-hot": {"source": {"name": "text", "embedding": "one_hot", "tokenizer": {"name": "char"}}},
    "words spelled": {"source": {"name": "text", **CHAR, "tokenizer": {"name": "word"}, "characters": 6}},
    "features": {"source": {"name": "features", **CHAR}},
    "numbers": {"source": {"name": "numbers", "embedding_size": 3}},
    "vectors": {"source": {"name": "vectors"}},
    "a label": {"source": {"name": "label"}, "encoder": {"name": "none"}, "head": {"name": "generation"}},
}


TABLES = {"hidden", "hidden of a tagger", "one-hot", "features", "a label"}  # their sources are rows of a table


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_parts_give_the_output_of_other_models(name: str) -> None:
    case = testing.make_case(CASES[name])
    parts, part = explained(case, 0, gradient=True)
    recompute(parts, case, part)
    assert parts.equations["source.embedding"] == ("x_s = E[w_s]" if name in TABLES else "")


@pytest.mark.parametrize("scaled", [False, True])
def test_the_equations_of_attention_are_those_that_hold(scaled: bool) -> None:
    parts, _ = explained(testing.make_case({"attention": {"name": "dot", "scaled": scaled}}), 0)
    query, values = parts["attention.query"], parts["attention.values"]
    divisor, written = (query.shape[1] ** 0.5, " / √Q") if scaled else (1, "")
    equal(parts["attention.scores"], query @ values.T / divisor, "scores")
    assert parts.equations["attention.scores"] == f"e_ts = q . m{written}"
    assert parts.equations["attention.weights"] == "α_ts = exp(e_ts) / Σ_k exp(e_tk)"
    assert parts.equations["attention.context"] == "c_t = Σ_s α_ts v_s"
    assert parts.components["scaled"] is scaled


def test_a_shared_embedding_is_that_of_both_sides() -> None:
    config = {**testing.DEFAULTS, "share": "embedding"}
    fields = make_fields({**config, "target": testing.DEFAULTS["source"]})
    fields[0].fit_shared(["abc", "cab"], fields[1], ["ab", "ba"])
    parts = make(config, *fields).double().explain("ab", target="ab", gradient=True)
    equal(parts["source.embedding"], parts["target.embedding"][1:], "embedding")


SEARCHES: dict[str, dict[str, Any]] = {"beam": {"size": 3, "n_best": 3}, "sample": {"n_best": 2}}


@pytest.mark.parametrize("name", sorted(registry.entries("search")))
def test_the_tree_of_a_search_holds_its_beginnings_and_its_answers(name: str) -> None:
    case = testing.make_case()
    search = registry.build("search", {"search": {"name": name, "max_length": 4, **SEARCHES.get(name, {})}})
    parts, part = explained(case, 0, target=None, search=search)
    (best,) = case.model.head.predict(case.model.encode(part.source), search, torch.tensor([1]))
    equal(best.token_scores, parts["output.log_probs"][range(len(parts["target.ids"])), parts["target.ids"]], "scores")
    ends = {node.rank: node for node in parts.tree if node.ended}
    assert sorted(ends) == list(range(SEARCHES.get(name, {}).get("n_best", 1)))
    for rank, prediction in enumerate((best, *best.others)):
        path = [ends[rank]]
        while path[-1].parent is not None:
            path.append(parts.tree[path[-1].parent])
        path = path[-2::-1]  # without the root
        assert tuple(node.token for node in path) == prediction.tokens
        equal([node.log_prob for node in path], prediction.token_scores, "log p of each token")
        equal(path[-1].score, prediction.score, "score")
        assert [node.step for node in path] == list(range(1, len(path) + 1))
    if name == "beam":
        followed = [sum(node.step == step and not node.ended for node in parts.tree) for step in range(5)]
        assert followed == [1, 3, 3, 3, 3]


def test_the_gradient_falls_by_the_recurrent_matrix() -> None:
    """d loss / d h_t = U' (d loss / d h_{t+1} * (1 - h_{t+1}^2)) in a plain RNN whose last state alone is read."""
    encoder = {"name": "rnn", "size": 4, "bidirectional": False}
    case = testing.make_case({"encoder": encoder, "head": {"name": "classification"}, "target": {"name": "label"}})
    parts, part = explained(case, 0, gradient=True)
    assert (parts.loss_of, parts.loss) == ("row", pytest.approx(-case.model.score(part).item()))
    states, recurrent = parts["encoder.layer0.forward.hidden_state"], case.model.encoder.forwards[0].hidden_weight
    probabilities = np.exp(parts["head.log_probs"])
    assert part.target is not None
    probabilities[part.target.values[0, 0]] -= 1
    gradient = case.model.head.output.weight.detach().numpy().T @ probabilities
    norms = []
    for state in states[::-1]:
        norms.append(np.linalg.norm(gradient))
        gradient = recurrent.detach().numpy().T @ (gradient * (1 - state**2))
    equal(parts["gradient.encoder.layer0.forward.hidden_state"], norms[::-1], "norms")
    (path,) = (path for path in parts.gradient if path.name == "encoder.layer0.forward.hidden_state")
    assert path.distance == list(range(len(states)))[::-1]


def test_the_last_step_feels_every_state() -> None:
    """The loss of the last step feels the decoder's states by the chain, and every source position by attention."""
    parts, _ = explained(testing.make_case(), 0, gradient=True)
    paths = {path.name: path for path in parts.gradient}
    assert set(paths) >= {"source.embedding", "target.embedding", "decoder.layer0.cell_state"}
    assert all(norm > 0 for path in paths.values() for norm in path.norm)


def test_the_model_stays_as_it_is() -> None:
    case = testing.make_case()
    before = case.model.score(case.batch)
    explained(case, 0, gradient=True)
    assert not any(is_changed(module) for module in case.model.modules())
    assert all(parameter.grad is None for parameter in case.model.parameters())
    assert torch.equal(case.model.score(case.batch), before)


class Window(General):
    """Writes `forward`, without `normalize`."""

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        weights = masked_softmax(self.score(query, memory.keys), memory.mask)
        return Attended(weights @ memory.values * 2, weights, state)


class Pyramid(Encoder):
    """Halves the source between two layers, and attends to itself."""

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size)
        self.output_size = 8
        self.low, self.high = Layer("gru", input_size, 4), Layer("tanh", 8, 8)
        self.own = General(8, 8)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        low = self.low(inputs, self.low.start(inputs, len(inputs)), lengths).outputs  # [B, S, 4]
        low = torch.nn.functional.pad(low, (0, 0, 0, low.size(1) % 2))
        pairs, halves = low.unflatten(1, (-1, 2)).flatten(2), (lengths + 1) // 2  # [B, S / 2, 8]
        high = self.high(pairs, self.high.start(pairs, len(pairs)), halves).outputs
        mask = length_mask(halves, high.size(1))
        context = self.own(high, Memory(self.own.keys(high), high, mask)).context
        return Encoding(high + context, mask, ())


class Averaging(Decoder):
    """No recurrence: the embedded token and the mean of the memory."""

    def __init__(self, input_size: int, memory_size: int) -> None:
        super().__init__(input_size, memory_size)
        self.output_size = input_size + memory_size

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        return Memory((), encoding.outputs, encoding.mask), ()

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        mean = memory.values.mean(1, keepdim=True).expand(-1, inputs.size(1), -1)
        return Decoded(torch.cat([inputs, mean], 2), None, state)


@pytest.mark.usefixtures("own_registry")
def test_plugins_have_the_parts_of_their_base_classes() -> None:
    for kind, plugin in (("attention", Window), ("encoder", Pyramid), ("decoder", Averaging)):
        registry.register(kind, "plugin")(plugin)
    parts, _ = explained(testing.make_case({"attention": {"name": "plugin"}}), 0)
    assert {f"attention.{name}" for name in ("query", "keys", "values", "scores", "weights", "context")} <= set(parts)
    assert "attention.weighted_values" not in parts  # they do not make the context
    assert (parts.equations["attention.weights"], parts.equations["attention.context"]) == ("", "")
    parts, part = explained(testing.make_case({"encoder": {"name": "plugin"}}), 0, gradient=True)
    assert part.source.lengths.tolist() == [5]
    assert parts["encoder.low.reset_gate"].shape == (5, 4)
    assert parts["encoder.high.hidden_state"].shape == parts["encoder.outputs"].shape == (3, 8)
    assert parts.axes["encoder.own.weights"] == ("position", "position")
    assert parts.axes["attention.weights"] == ("target", "position")
    assert len(parts["gradient.encoder.low.hidden_state"]) == 5
    case = testing.make_case({"decoder": {"name": "plugin"}})
    parts, part = explained(case, 0)
    assert {"decoder.outputs", "target.embedding"} <= set(parts)
    recompute_decoding(parts, case.model, part)


INPUTS = {"classes": ("very good", "pos"), "numbers": ("1 2 3", "4"), "tags": ("to new york", "O B-city I-city")}
INPUTS |= {"texts": ("ab", "abba"), "names": ("Irish", "ab")}


@pytest.mark.parametrize("name", sorted(INPUTS))
def test_every_task_is_explained(name: str, tiny_run: Callable[[str], Path]) -> None:
    model, (value, target) = seq2att.load(tiny_run(name)), INPUTS[name]
    parts = model.explain(value, gradient=True)
    limit = {"search": {"max_length": 20}} if name == "texts" else {}
    prediction = getattr(model, model.task)(value, **limit)
    assert (parts.task, parts.target, parts.has_target) == (model.task, prediction.text, False)
    np.testing.assert_allclose(parts.prediction.score, prediction.score, rtol=1e-4, atol=1e-5)
    if name == "texts":  # it continues the beginning, which is in the tree too
        assert [node.token for node in parts.tree[: len(value) + 1]] == ["<s>", *value]
    given = model.explain("" if name == "texts" else value, target=target)
    assert (given.target, given.has_target, given.tree) == (target if name != "numbers" else "4.0", True, ())


def test_json_holds_the_same(tiny_run: Callable[[str], Path]) -> None:
    parts = seq2att.load(tiny_run("names")).explain("Irish", gradient=True)
    read = json.loads(parts.to_json(limit=20))
    assert [array["name"] for array in read["arrays"]] == list(parts)
    for array in read["arrays"]:
        expected = parts[array["name"]]
        assert (array["shape"], array["axes"]) == (list(expected.shape), list(parts.axes[array["name"]]))
        assert (array["values"] is None) == (expected.size > 20 or array["name"].endswith("weighted_values"))
        if array["values"] is not None:
            np.testing.assert_allclose(array["values"], expected, rtol=1e-5)
    assert read["tree"][0] == {**parts.tree[0]._asdict(), "token": "<s>", "parent": None}
    assert [path["norm"] for path in read["gradient"]] == [path.norm for path in parts.gradient]


def test_what_cannot_be_explained_is_refused(tiny_run: Callable[[str], Path]) -> None:
    classes, texts = seq2att.load(tiny_run("classes")), seq2att.load(tiny_run("texts"))
    with refused("E-empty", "explain: ''"):
        classes.explain("")
    with refused("E-size", "explain: top=0"):
        classes.explain("good", top=0)
    with refused("E-option", "explain: n_best=2"):
        classes.explain("good", n_best=2)  # type: ignore[call-arg]
    with refused("E-label", "pair 1"):
        classes.explain("good", target="no class")
    with refused("E-length", "line 1"):
        classes.explain("good fun", max_source_length=1)
    with refused("E-conflict", "explain: 'ab'"):
        texts.explain("ab", target="abba")
