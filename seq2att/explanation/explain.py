"""Explains one input: answers it with a copy of the model that records, and gathers what was recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from seq2att import registry
from seq2att.contracts import setting_name
from seq2att.decoder import RecurrentDecoder
from seq2att.encoder import RecurrentEncoder
from seq2att.errors import UserError, check_size
from seq2att.explanation.equations import is_scaled
from seq2att.explanation.gradient import Gradients, differentiate
from seq2att.explanation.recorder import Recorder, record
from seq2att.explanation.result import Array, Explanation, Node, Top
from seq2att.explanation.tagging import note_path
from seq2att.explanation.tree import SearchTree
from seq2att.field import Field
from seq2att.head import Classification, Generator, Head, Tagging
from seq2att.head.generator import find_hypotheses
from seq2att.search import Search
from seq2att.types import BEGIN, END, Column, Encoding, Prediction


class Explainable(Protocol):
    """A model, as far as it is explained."""

    source: Field
    target: Field
    encoder: Any
    head: Any

    def encode(self, source: Column) -> Encoding:
        """Encode a source column."""

    def copy(self) -> Any:
        """A copy with the same parameters, whose modules may be changed."""


class Request(NamedTuple):
    """What is explained, and how."""

    source: Array  # ids [S] or vectors [S, F]
    text: str  # the source as text
    target: Array | None  # the given answer; None: the model's own
    answer: str  # the given answer as text
    prefix: Array | None  # the beginning that a model without a source continues
    search: Search | None
    row: int  # the number of the input, which seeds samples
    top: int  # likeliest tokens of every step
    gradient: bool


def make_request(
    model: Explainable, value: Any, search: Search | None, target: Any, gradient: bool, top: int, row: int
) -> Request:
    """Encode what is to be explained; the arguments are those of `Model.explain`."""
    check_size("explain: top", top)
    has_source = model.source.has_values
    source = model.source.encode(value if has_source else None)
    if has_source and len(source) == 0:
        raise UserError("E-empty", f"explain: {value!r}", "has no item to explain", "give an input that has one")
    if not has_source and target is not None and value:
        problem = "a model without a source explains a whole text, or continues a beginning"
        raise UserError("E-conflict", f"explain: {value!r} and target={target!r}", problem, "leave one out")
    prefix = None if has_source or target is not None else model.target.encode(value)
    if search is None and isinstance(model.head, Generator):
        search = registry.build("search", {"search": {"name": "greedy"}})
    answer = None if target is None else model.target.encode(target)
    text = value if isinstance(value, str) else " ".join(model.source.pieces(source.tolist()))
    texts = text if has_source else "", "" if target is None else model.target.text(target)
    return Request(source, texts[0], answer, texts[1], prefix, search, row, top, gradient)


class Answer(NamedTuple):
    """The answer that is explained."""

    prediction: Prediction
    target: Column | None  # as the head takes it; None where nothing was given and the head has no such answer
    tree: tuple[Node, ...] = ()


def explain(model: Explainable, request: Request) -> Explanation:
    """Explain one input."""
    copied = model.copy()
    recorder = record(copied)
    device = next(iter(copied.head.parameters()), torch.zeros(())).device
    with torch.set_grad_enabled(request.gradient):
        source = as_column(request.source, device)
        if request.source.dtype.kind == "i":
            ids = source.values if source.values.dim() == 2 else source.values[..., 0]  # spelled words begin with it
            recorder.once("source.ids", ids, ("source",))
        encoding = copied.encode(source)
        answer = answer_of(model, copied.head, recorder, encoding, request)
        if isinstance(copied.head, Tagging):
            note_path(recorder, copied.head, encoding)
        gradient = Gradients()
        if request.gradient:
            gradient = differentiate(copied.head, recorder, encoding, answer.target)
    return Explanation(
        task=model.head.task,
        components=components(model, request.search),
        source=request.text,
        target=answer.prediction.text if request.target is None else request.answer,
        has_target=request.target is not None,
        prediction=answer.prediction._replace(source_tokens=model.source.pieces(request.source.tolist())),
        tree=answer.tree,
        gradient=gradient.paths,
        loss=gradient.loss,
        loss_of=gradient.loss_of,
        **collect_arrays(model, recorder, gradient, request, answer),
    )


def as_column(values: Array, device: torch.device) -> Column:
    """One row as a column `[1, S]` or `[1, S, F]`."""
    tensor = torch.from_numpy(values).unsqueeze(0).to(device)
    tensor = tensor.long() if values.dtype.kind == "i" else tensor  # ids; else numbers or pixels
    return Column(tensor, torch.tensor([len(values)], device=device))


def answer_of(model: Explainable, head: Head, recorder: Recorder, encoding: Encoding, request: Request) -> Answer:
    """Answer the one row, and record each step of the answer."""
    device = encoding.mask.device
    target = None if request.target is None else as_column(request.target, device)
    rows = torch.tensor([request.row], device=device)
    if not isinstance(head, Generator):
        (prediction,) = head.predict(encoding, request.search, rows)
        return Answer(prediction, target)
    own = None
    if target is None:
        own = search_answer(model.head, encoding, rows, request)
        target = own.target
    assert target is not None
    ids = torch.cat([target.values, target.values.new_full((1, 1), END)], 1)  # [1, T]
    recorder.once("target.ids", ids, ("target",))
    head.score(encoding, target)
    return own or Answer(given_prediction(model.target, recorder), target)


def search_answer(head: Generator, encoding: Encoding, rows: Tensor, request: Request) -> Answer:
    """Search by a head that records nothing: the best answer, and the tree of the search."""
    assert request.search is not None
    tree = SearchTree(head.for_search(request.search), head.target)
    prefixes = None if request.prefix is None else [request.prefix.tolist()]
    with torch.no_grad():
        hypotheses = find_hypotheses(tree, request.search, encoding, rows, prefixes)
    (prediction,) = head.to_predictions(hypotheses, encoding.mask.sum(1))
    length = max(int(hypotheses.lengths[0, 0]) - 1, 0)  # without the end symbol
    ids = hypotheses.tokens[:1, 0, :length]  # [1, T]
    return Answer(prediction, Column(ids, torch.tensor([length], device=ids.device)), tree.finish(hypotheses))


def given_prediction(target: Field, recorder: Recorder) -> Prediction:
    """A given text as a prediction, with the score of each of its tokens."""
    ids, log_probs = recorder.get("target.ids"), recorder.get("output.log_probs")  # [T], [T, V]
    assert ids is not None
    scores = () if log_probs is None else tuple(log_probs.gather(1, ids.unsqueeze(1)).squeeze(1).tolist())
    return Prediction(target.decode(ids.tolist()), sum(scores), target.pieces(ids.tolist()), token_scores=scores)


def collect_arrays(
    model: Explainable, recorder: Recorder, gradient: Gradients, request: Request, answer: Answer
) -> dict[str, Any]:
    """The arrays, their axes and equations, the labels of the axes, and the likeliest tokens."""
    labels = labels_of(model, request, recorder)
    arrays: dict[str, Array | Callable[[], Array]] = {}
    axes, equations = {}, {}
    for name, part in recorder.parts.items():
        array = part.whole().detach().cpu().numpy()
        sizes = zip(part.axes, array.shape, strict=True)
        arrays[name], equations[name] = array, part.equation
        axes[name] = tuple(axis if len(labels.get(axis, ())) in (0, size) else "position" for axis, size in sizes)
        prefix = name.rpartition(".")[0]
        if name == f"{prefix}.weights" and prefix in recorder.averages:
            product, values = f"{prefix}.weighted_values", recorder.parts[f"{prefix}.values"].whole()
            arrays[product] = functools.partial(weighted_values, array, values.detach().cpu().numpy())
            axes[product], equations[product] = (*axes[name], "unit"), "α_ts v_s"
    for path in gradient.paths:
        name = f"gradient.{path.name}"
        arrays[name], axes[name], equations[name] = np.array(path.norm), (path.axis,), "‖∂L/∂s‖"
    log_probs = recorder.get("output.log_probs")
    top = None if log_probs is None else top_tokens(model.target, log_probs.detach(), request.top)
    return {"arrays": arrays, "axes": axes, "equations": equations, "labels": labels, "top": top}


def weighted_values(weights: Array, values: Array) -> Array:
    """Every value times its weight: `[T, S, C]`, or `[S, C]` for one query."""
    product: Array = weights[..., None] * values
    return product


def labels_of(model: Explainable, request: Request, recorder: Recorder) -> dict[str, tuple[str, ...]]:
    """The texts along the axes."""
    labels = {"source": model.source.pieces(request.source.tolist())}
    ids = recorder.get("target.ids")
    if ids is not None:
        labels["target"] = model.target.pieces(ids.tolist())
        labels["input"] = model.target.pieces([BEGIN, *ids[:-1].tolist()])
    if isinstance(model.head, Classification):
        labels["class"] = tuple(model.head.classes)
    if isinstance(model.head, Tagging):
        labels["tag"] = labels["previous_tag"] = model.target.pieces(range(model.target.size))
    return labels


def top_tokens(target: Field, log_probs: Tensor, count: int) -> Top:
    """The `count` likeliest tokens of every step, from `log_probs` `[T, V]`."""
    values, ids = log_probs[:, : target.size].topk(min(count, target.size), 1)
    return Top([list(target.pieces(row)) for row in ids.tolist()], values.exp().tolist())


def components(model: Explainable, search: Search | None) -> dict[str, Any]:
    """The names of the components, and the settings that decide what is computed."""
    head, encoder = model.head, model.encoder
    parts = {"encoder": encoder, "head": head}
    settings: dict[str, Any] = {}
    if isinstance(encoder, RecurrentEncoder):
        settings["bidirectional"] = len(encoder.backwards) > 0
    if isinstance(head, Generator):
        parts |= {"decoder": head.decoder, "output": head.output} | ({"search": search} if search else {})
        if isinstance(head.decoder, RecurrentDecoder):
            parts["attention"] = head.decoder.attention
            settings |= {
                "order": "bahdanau" if head.decoder.query_first else "luong",
                "input_feeding": head.decoder.fed_size > 0,
            }
    elif getattr(getattr(head, "pool", None), "attention", None) is not None:
        parts["attention"] = head.pool.attention
    if "attention" in parts:
        settings["scaled"] = is_scaled(parts["attention"])
    return {kind: setting_name(kind, part).partition("=")[2] for kind, part in parts.items()} | settings
