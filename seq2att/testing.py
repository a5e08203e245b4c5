"""The laws that every component keeps, for our own tests and for those of plugin authors.

    from seq2att.testing import check

    def test_laws():
        check("attention", "cosine")

`check` builds small models around a component in float64 and holds them against each law; a law that fails raises
`AssertionError` and says what differs. All comparisons are to 1e-10 of the largest value.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2att import registry
from seq2att.decoder import Decoder
from seq2att.head import Generator
from seq2att.model import Model, load, make, make_fields, save
from seq2att.types import END, SPECIALS, Batch, Column, Encoding, State, detach, select, tree_map

TOLERANCE = 1e-10
LETTERS = "abcdefg"
SOURCE_LENGTHS = (5, 2, 3, 1)
TARGET_LENGTHS = (4, 6, 0, 3)

Config = dict[str, Any]


class Case(NamedTuple):
    """A small model in float64 around the component under test, and a ragged batch for it."""

    config: Config
    model: Model
    batch: Batch

    @property
    def label(self) -> str:
        """Which components the model is made of, for messages."""
        return " ".join(f"{slot}={named(value)}" for slot, value in self.config.items() if isinstance(value, dict))


def named(options: Mapping[str, Any]) -> str:
    """A component's name with the options that are set."""
    rest = [f"{key}={value}" for key, value in options.items() if key != "name" and not isinstance(value, dict)]
    return f"{options['name']}({', '.join(rest)})" if rest else str(options["name"])


DEFAULTS: Config = {
    "source": {"name": "text", "embedding_size": 3, "tokenizer": {"name": "char"}},
    "target": {"name": "text", "embedding_size": 4, "tokenizer": {"name": "char"}},
    "encoder": {"name": "lstm", "size": 4},
    "decoder": {"name": "lstm", "size": 8},
    "attention": {"name": "general"},
    "output": {"name": "linear"},
    "head": {"name": "translation"},
    "search": {"name": "beam", "size": 3, "n_best": 2, "max_length": 7},
}
SMALL: dict[str, Config] = {  # sizes that fit together, for the components that have such options
    "encoder": {"size": 4},
    "decoder": {"size": 8},
    "attention": {"size": 5},
    "search": {"size": 3, "n_best": 2, "max_length": 7},
}


def make_case(changes: Mapping[str, Config] | None = None) -> Case:
    """A case with some slots changed."""
    config: Config = {slot: dict(options) for slot, options in DEFAULTS.items()}
    for slot, options in (changes or {}).items():
        config[slot] = dict(options)
    torch.manual_seed(1)
    source, target = make_fields(config)
    source.fit([LETTERS])
    target.fit([LETTERS])
    model = make(config, source, target).double().eval()
    for parameter in model.parameters():  # nothing starts at 0, so that every part counts
        torch.nn.init.uniform_(parameter, -0.7, 0.7)
    return Case(config, model, make_batch(source.size, target.size))


def make_batch(source_size: int, target_size: int) -> Batch:
    """Rows of several lengths; what stands on padding is noise, which must not matter."""
    generator = torch.Generator().manual_seed(2)

    def column(lengths: tuple[int, ...], size: int) -> Column:
        shape = (len(lengths), max(lengths) + 1)
        values = torch.randint(len(SPECIALS), size, shape, generator=generator)
        return Column(values, torch.tensor(lengths))

    rows = torch.arange(len(SOURCE_LENGTHS))
    source, target = column(SOURCE_LENGTHS, source_size), column(TARGET_LENGTHS, target_size)
    return Batch(source, target, rows, torch.zeros(len(rows), dtype=torch.bool))


def row_of(batch: Batch, row: int) -> Batch:
    """One row of a batch by itself, without padding."""
    part: Batch = select(batch, torch.tensor([row]))
    assert part.target is not None
    source = Column(part.source.values[:, : int(part.source.lengths)], part.source.lengths)
    return part._replace(
        source=source, target=Column(part.target.values[:, : int(part.target.lengths)], part.target.lengths)
    )


def equal(found: State, expected: State, what: str) -> None:
    """Two trees of tensors are equal to `TOLERANCE` of the largest value."""
    ours, theirs = leaves(detach(found)), leaves(detach(expected))
    assert len(ours) == len(theirs), f"{what}: {len(ours)} tensors, not {len(theirs)}"
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape, f"{what}: shape {tuple(one.shape)}, not {tuple(other.shape)}"
        if one.numel():
            scale = max(1.0, float(other.abs().max()))
            gap = float((one.double() - other.double()).abs().max())
            assert gap <= TOLERANCE * scale, f"{what}: differs by {gap:.3g}"


def leaves(tree: State) -> list[Tensor]:
    """All tensors of a tree."""
    found: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    tree_map(note, tree)
    return found


def decoding(case: Case) -> tuple[Decoder, Encoding, Tensor]:
    """The decoder of a case, an encoding for it, and embedded inputs `[B, T, E]`."""
    head = generator(case)
    assert case.batch.target is not None
    return head.decoder, case.model.encode(case.batch.source), head.embedding(case.batch.target.values)


def generator(case: Case) -> Generator:
    """The head of a case that generates sequences."""
    assert isinstance(case.model.head, Generator), f"{case.label}: the head is no Generator"
    return case.model.head


# ---- the laws of models


def chunk(case: Case) -> None:
    """Decoding x is decoding x[:, :k], then x[:, k:] from the state after it, for every k."""
    decoder, encoding, inputs = decoding(case)
    memory, state = decoder.start(encoding)
    whole = decoder(inputs, memory, state)
    for k in range(inputs.size(1) + 1):
        first = decoder(inputs[:, :k], memory, state)
        second = decoder(inputs[:, k:], memory, first.state)
        what = f"chunk law: {case.label}: decoding in two parts of {k} and {inputs.size(1) - k} steps"
        equal(torch.cat([first.outputs, second.outputs], 1), whole.outputs, f"{what}: outputs")
        equal(second.state, whole.state, f"{what}: state")
        if whole.weights is not None and 0 < k < inputs.size(1):
            equal(torch.cat([first.weights, second.weights], 1), whole.weights, f"{what}: weights")


def row(case: Case) -> None:
    """Selecting rows of memory and state, then decoding, is decoding and then selecting."""
    decoder, encoding, inputs = decoding(case)
    memory, state = decoder.start(encoding)
    first = decoder(inputs[:, :2], memory, state)
    whole = decoder(inputs[:, 2:], memory, first.state)
    for leaf in leaves((memory, first.state)):
        assert leaf.size(0) == inputs.size(0), f"row law: {case.label}: a state of shape {tuple(leaf.shape)}"
    rows = torch.tensor([2, 0, 0, 3, 1])
    part = decoder(inputs[rows, 2:], select(memory, rows), select(first.state, rows))
    equal(part, select(whole, rows), f"row law: {case.label}: decoding of selected rows")


def padding(case: Case) -> None:
    """Weights are 0 on padding and sum to 1; neither padding nor neighbours change a row's score or gradient."""
    decoder, encoding, inputs = decoding(case)
    weights = decoder(inputs, *decoder.start(encoding)).weights
    if weights is not None:
        outside = weights.masked_fill(encoding.mask.unsqueeze(1), 0.0)
        equal(outside, torch.zeros_like(outside), f"padding law: {case.label}: weights on padding")
        total = weights.sum(-1)
        equal(total, torch.ones_like(total), f"padding law: {case.label}: sums of the weights")
    alone = [row_of(case.batch, number) for number in case.batch.rows.tolist()]
    together = case.model.score(case.batch)
    equal(together, torch.cat([case.model.score(part) for part in alone]), f"padding law: {case.label}: scores")
    parts = [gradients(case.model, [part]) for part in alone]
    sums = [sum(part) for part in zip(*parts, strict=True)]
    equal(gradients(case.model, [case.batch]), sums, f"padding law: {case.label}: gradients")


def gradients(model: Model, batches: list[Batch]) -> list[Tensor]:
    """The gradient of the summed loss in every parameter."""
    model.zero_grad()
    for batch in batches:
        model(batch).total.backward()
    found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return found


def gradient(case: Case) -> None:
    """The loss reaches every parameter."""
    case.model.zero_grad()
    case.model(case.batch).total.backward()
    for name, parameter in case.model.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert reached, f"gradient law: {case.label}: the loss does not depend on {name}"
    case.model.zero_grad()


def loss(case: Case) -> None:
    """Outside training, the loss is minus the sum of the scores, and it counts every token and end symbol."""
    found = case.model(case.batch)
    equal(found.total, -case.model.score(case.batch).sum(), f"loss law: {case.label}: the loss")
    assert case.batch.target is not None
    expected = int((case.batch.target.lengths + 1).sum())
    assert int(found.count) == expected, f"loss law: {case.label}: counts {int(found.count)} targets, not {expected}"


def distribution(case: Case) -> None:
    """A step's probabilities are positive and sum to 1."""
    head = generator(case)
    said = head.step(torch.full((4,), 2), *head.start(case.model.encode(case.batch.source)))
    total = said.log_probs.exp().sum(-1)
    equal(total, torch.ones_like(total), f"distribution law: {case.label}: sums of the probabilities")


def searching(case: Case) -> None:
    """A hypothesis' log-probability is the head's score of it; no row depends on its neighbours or its padding."""
    search = registry.build("search", case.config)
    encoding = case.model.encode(case.batch.source)
    found = search(generator(case), encoding, case.batch.rows)
    label = f"search law: {case.label}"
    for number in case.batch.rows.tolist():
        part = row_of(case.batch, number)
        alone = search(generator(case), case.model.encode(part.source), part.rows)
        for place, length in enumerate(found.lengths[number].tolist()):
            tokens = found.tokens[number, place, :length]
            equal(alone.tokens[0, place, :length], tokens, f"{label}: row {number} beside others: tokens")
            equal(alone.scores[0, place], found.scores[number, place], f"{label}: row {number} beside others: scores")
            assert length > 0 and int(tokens[-1]) == END, f"{label}: hypothesis {place} of row {number} has no end"
            assert END not in tokens[:-1].tolist(), f"{label}: hypothesis {place} of row {number} goes on after its end"
            target = Column(tokens[:-1].unsqueeze(0), torch.tensor([length - 1]))
            score = case.model.score(part._replace(target=target))
            equal(found.log_probs[number, place].sum(), score[0], f"{label}: hypothesis {place} of row {number}: score")
            if found.weights is not None:
                total = found.weights[number, place, :length].sum(-1)
                equal(total, torch.ones_like(total), f"{label}: row {number}: sums of the weights")
    assert bool((found.scores[:, :-1] >= found.scores[:, 1:]).all()), f"{label}: hypotheses are not best first"


def empty(case: Case) -> None:
    """No rows, an empty source and an empty target work and give zeros where there is nothing, never NaN."""
    none: Batch = select(case.batch, torch.tensor([], dtype=torch.long))
    assert float(case.model(none).total.detach()) == 0, f"empty law: {case.label}: the loss of no rows is not 0"
    assert case.model.predict(none, registry.build("search", case.config)) == [], f"empty law: {case.label}: no rows"
    assert case.batch.target is not None
    nothing = torch.zeros(4, dtype=torch.long)
    source = Column(case.batch.source.values[:, :0], nothing)
    for batch in (
        case.batch._replace(source=source),
        case.batch._replace(source=Column(case.batch.source.values, nothing)),
        case.batch._replace(target=Column(case.batch.target.values[:, :0], nothing)),
    ):
        found = gradients(case.model, [batch])
        assert all(bool(g.isfinite().all()) for g in found), f"empty law: {case.label}: a gradient is not finite"
        assert bool(case.model.score(batch).isfinite().all()), f"empty law: {case.label}: a score is not finite"
    decoder, _, inputs = decoding(case)
    decoded = decoder(inputs, *decoder.start(case.model.encode(source)))
    if decoded.weights is not None:
        equal(decoded.weights.sum(), torch.zeros(()), f"empty law: {case.label}: weights on an empty memory")


def bundle(case: Case) -> None:
    """Saving and loading gives the same scores."""
    with tempfile.TemporaryDirectory() as folder:
        save(case.model, case.config, Path(folder), {})
        again, _ = load(Path(folder))
        pickles = [file.name for file in Path(folder).rglob("*") if file.suffix in {".pkl", ".pt", ".bin", ".ckpt"}]
    assert not pickles, f"bundle law: {case.label}: the bundle holds {pickles}"
    equal(
        again.double().score(case.batch),
        case.model.score(case.batch),
        f"bundle law: {case.label}: scores after loading",
    )


MODEL_LAWS: tuple[Callable[[Case], None], ...] = (
    chunk,
    row,
    padding,
    gradient,
    loss,
    distribution,
    searching,
    empty,
    bundle,
)


# ---- the cases of each kind


def cases(kind: str, name: str, options: Mapping[str, Any]) -> Iterator[Case]:
    """Small models around a component, in the surroundings that could make a difference to it."""
    entry = registry.find(kind, name)
    small = {key: value for key, value in SMALL.get(kind, {}).items() if key in entry.options}
    component = {kind: {"name": name, **small, **options}}
    for surroundings in SURROUNDINGS[kind](entry):
        changes = {**surroundings, **component}
        if kind in surroundings:
            changes[kind] = {**component[kind], **surroundings[kind]}
        yield make_case(changes)


def choices(entry: registry.Entry, **values: tuple[Any, ...]) -> Iterator[Config]:
    """All combinations of options, of those that the component has."""
    held = {key: options for key, options in values.items() if key in entry.options}
    for combination in itertools.product(*held.values()):
        yield dict(zip(held, combination, strict=True))


def around_encoder(entry: registry.Entry) -> Iterator[Config]:
    """Layers and directions, each with decoders that start from all states."""
    decoders = [{"name": "lstm", "size": 8}, {"name": "gru", "size": 8, "layers": 2}]
    for options in choices(entry, layers=(1, 2), bidirectional=(True, False), residual=(False, True)):
        for decoder in decoders:
            yield {"encoder": options, "decoder": decoder}


def around_decoder(entry: registry.Entry) -> Iterator[Config]:
    """Layers, orders, feedback and bridges, each with several attentions."""
    for attention in ("none", "general", "additive"):
        for options in choices(entry, order=("luong", "bahdanau"), input_feeding=(False, True), layers=(1, 2)):
            yield {"decoder": options, "attention": {"name": attention}}
    for options in choices(entry, bridge=("dense", "copy", "zeros"), readout=(None, 5), residual=(False, True)):
        yield {"decoder": {**options, "layers": 2} if "layers" in entry.options else options}
        yield {"decoder": options, "encoder": {"name": "none"}, "source": {**DEFAULTS["source"], "embedding_size": 8}}


def around_attention(entry: registry.Entry) -> Iterator[Config]:
    """Both orders, with and without feedback, over each cell; a single-valued memory too."""
    for cell, order, feeding in itertools.product(("rnn", "lstm", "gru"), ("luong", "bahdanau"), (False, True)):
        yield {"decoder": {"name": cell, "size": 8, "order": order, "input_feeding": feeding}}


def around_output(entry: registry.Entry) -> Iterator[Config]:
    """Tied and not."""
    for options in choices(entry, tie=(False, True)):
        yield {"output": options, "decoder": {"name": "lstm", "size": 8, "readout": 4}}


def around_search(entry: registry.Entry) -> Iterator[Config]:
    """Several sizes, limits and decoders."""
    for options in choices(entry, size=(1, 3, 40), n_best=(1,), min_length=(0, 2), max_length=(0, 5, None)):
        options["min_length"] = min(options.get("min_length", 0), options.get("max_length") or 99)
        yield {"search": options, "decoder": {"name": "gru", "size": 8, "input_feeding": True}}
    for attention in ("none", "additive"):
        yield {"attention": {"name": attention}}


def around_head(entry: registry.Entry) -> Iterator[Config]:
    """As it is."""
    yield {}


SURROUNDINGS: dict[str, Callable[[registry.Entry], Iterator[Config]]] = {
    "encoder": around_encoder,
    "decoder": around_decoder,
    "attention": around_attention,
    "output": around_output,
    "search": around_search,
    "head": around_head,
}


# ---- the laws of components that are no part of a model

TEXTS = ("a bad cab", "bed", "face", "a", "dead bee")


def tokenizer_laws(name: str, options: Mapping[str, Any]) -> None:
    """Decoding undoes encoding (up to white space), and what is restored encodes the same."""
    one = registry.build("tokenizer", {"tokenizer": {"name": name, **options}})
    one.fit(TEXTS)
    other = registry.build("tokenizer", {"tokenizer": {"name": name, **options}})
    other.restore(one.files())
    assert len(set(one.pieces)) == len(one.pieces) > 0, f"tokenizer={name}: pieces are missing or repeated"
    assert other.pieces == one.pieces, f"tokenizer={name}: restored pieces differ"
    for text in TEXTS:
        pieces = one.encode(text)
        assert set(pieces) <= set(one.pieces), f"tokenizer={name}: {text!r} has unknown pieces in its own training data"
        assert one.decode(pieces).split() == text.split(), f"tokenizer={name}: {text!r} comes back changed"
        assert other.encode(text) == pieces, f"tokenizer={name}: {text!r} is cut differently after restoring"
    assert one.encode_batch(TEXTS) == [one.encode(text) for text in TEXTS], (
        f"tokenizer={name}: a batch is cut differently"
    )


def field_laws(name: str, options: Mapping[str, Any]) -> None:
    """Decoding undoes encoding, ids lie within the size, and what is restored encodes the same."""
    slots = {"field": {"name": name, **options}, "tokenizer": {"name": "char"}}
    one, other = registry.build("field", slots), registry.build("field", slots)
    one.fit(TEXTS)
    other.restore(one.files())
    assert other.size == one.size, f"field={name}: the restored size differs"
    for text, ids in zip(TEXTS, one.encode_batch(TEXTS), strict=True):
        assert one.decode([*ids, END]) == text, f"field={name}: {text!r} comes back changed"
        assert len(SPECIALS) <= min(ids) and max(ids) < one.size, f"field={name}: {text!r} has ids out of range"
        assert list(other.encode(text)) == list(ids), f"field={name}: {text!r} is encoded differently after restoring"
    embedded = one.embed()(torch.tensor([[5, 0]]))
    assert embedded.shape[:2] == (1, 2), f"field={name}: the embedding has shape {tuple(embedded.shape)}"


def reader_laws(name: str, options: Mapping[str, Any]) -> None:
    """Reading again gives the same rows, each with its place, and the same fingerprint."""
    one, other = (registry.build("reader", {"reader": {"name": name, **options}}) for _ in range(2))
    assert "train" in one.splits(), f"reader={name}: names no training split"
    for split in one.splits():
        rows = list(one.read(split, None))
        assert rows and rows == list(other.read(split, None)), f"reader={name}: {split} is read differently again"
        assert all(found.file and found.line > 0 for found in rows), f"reader={name}: a row of {split} has no place"
        same = one.fingerprint(split, None) == other.fingerprint(split, None)
        assert same, f"reader={name}: the fingerprint of {split} changes"


def metric_laws(name: str, options: Mapping[str, Any]) -> None:
    """Right answers beat wrong ones, any right answer will do, and the order of rows does not matter."""
    metric = registry.build("metric", {"metric": {"name": name, **options}})
    right = [("a b c d e", "a b c d f"), ("g h i j k",), ("l m n o p", "q r s t u", "l")]
    best = metric([answers[-1] for answers in right], right)
    mixed = ["a b c d e", "g h x y z", "none of these"]
    worse = metric(mixed, right)
    better = best.value > worse.value if metric.higher_is_better else best.value < worse.value
    assert better, f"metric={name}: right answers score {best.value}, wrong ones {worse.value}"
    assert metric(mixed[::-1], right[::-1]).value == worse.value, f"metric={name}: the order of rows matters"
    assert best.signature, f"metric={name}: no signature"


def optimizer_laws(name: str, options: Mapping[str, Any]) -> None:
    """A hundred steps bring a bowl's bottom nearer."""
    start = torch.tensor([3.0, -2.0])
    parameter = torch.nn.Parameter(start.clone())
    optimizer = registry.build("optimizer", {"optimizer": {"name": name, **options}}, [parameter])
    for _ in range(100):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    assert float(parameter.detach().norm()) < float(start.norm()), f"optimizer={name}: a hundred steps led nowhere"


def schedule_laws(name: str, options: Mapping[str, Any]) -> None:
    """The rate is finite and never negative, and is above 0 somewhere."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    config = registry.build("schedule", {"schedule": {"name": name, **options}}, optimizer, 50, 10)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if "monitor" in config:
            config["scheduler"].step(1.0)
        else:
            config["scheduler"].step()
    assert all(0 <= rate < float("inf") for rate in rates) and max(rates) > 0, f"schedule={name}: rates {rates}"


def callback_laws(name: str, options: Mapping[str, Any]) -> None:
    """It is a Lightning callback."""
    from lightning.pytorch import Callback

    made = registry.build("callback", {"callback": {"name": name, **options}})
    assert isinstance(made, Callback), f"callback={name}: gives a {type(made).__name__}"


def logger_laws(name: str, options: Mapping[str, Any]) -> None:
    """It is a Lightning logger and takes figures."""
    from lightning.pytorch.loggers import Logger

    with tempfile.TemporaryDirectory() as folder:
        made = registry.build("logger", {"logger": {"name": name, **options}}, Path(folder))
        assert isinstance(made, Logger), f"logger={name}: gives a {type(made).__name__}"
        made.log_metrics({"loss": 1.0}, step=1)
        made.finalize("success")


COMPONENT_LAWS: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
    "tokenizer": tokenizer_laws,
    "field": field_laws,
    "reader": reader_laws,
    "metric": metric_laws,
    "optimizer": optimizer_laws,
    "schedule": schedule_laws,
    "callback": callback_laws,
    "logger": logger_laws,
}


def check(kind: str, name: str, options: Mapping[str, Any] | None = None) -> None:
    """Hold a component against every law of its kind; `options` are set in every case.

    Errors: `AssertionError` names the law, the components around and what differs; `RegistryError` an unknown name.
    """
    if kind in COMPONENT_LAWS:
        registry.find(kind, name)
        COMPONENT_LAWS[kind](name, options or {})
        return
    for case in cases(kind, name, options or {}):
        for law in MODEL_LAWS:
            law(case)
