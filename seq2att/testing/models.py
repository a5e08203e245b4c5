"""The laws of models: of encoders, decoders, attentions, output layers, heads and searches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from seq2att import registry
from seq2att.decoder import Decoder
from seq2att.head import Generator
from seq2att.model import Model, load, save
from seq2att.testing.cases import Case, row_of
from seq2att.types import END, Batch, CarriedState, Column, Encoding, Loss, State, detach, leaves, select

TOLERANCE = 1e-10  # of the largest value


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


def decoding(case: Case) -> tuple[Decoder, Encoding, Tensor]:
    """The decoder of a case, an encoding for it, and embedded inputs `[B, T, E]`."""
    head = generator(case)
    assert case.batch.target is not None
    return head.decoder, case.model.encode(case.batch.source), head.embedding(case.batch.target.values)


def generator(case: Case) -> Generator:
    """The head of a case that generates sequences."""
    assert isinstance(case.model.head, Generator), f"{case.label}: the head is no Generator"
    return case.model.head


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
    if isinstance(case.model.head, Generator):
        looking(case)
    alone = [row_of(case.batch, number) for number in case.batch.rows.tolist()]
    together = case.model.score(case.batch)
    equal(together, torch.cat([case.model.score(part) for part in alone]), f"padding law: {case.label}: scores")
    parts = [gradients(case.model, [part]) for part in alone]
    sums = [sum(part) for part in zip(*parts, strict=True)]
    equal(gradients(case.model, [case.batch]), sums, f"padding law: {case.label}: gradients")


def looking(case: Case) -> None:
    """What a decoder looks at: nothing on padding, all of it elsewhere; stated lengths change no real output."""
    decoder, encoding, inputs = decoding(case)
    outputs, weights, *_ = decoder(inputs, *decoder.start(encoding))
    assert case.batch.target is not None
    real = case.batch.target.mask().unsqueeze(2)  # [B, T, 1]
    given = decoder(inputs, *decoder.start(encoding), case.batch.target.lengths).outputs
    equal(given * real, outputs * real, f"padding law: {case.label}: outputs when lengths are given")
    if weights is not None:
        outside = weights.masked_fill(encoding.mask.unsqueeze(1), 0.0)
        equal(outside, torch.zeros_like(outside), f"padding law: {case.label}: weights on padding")
        total = weights.sum(-1)
        there = encoding.mask.any(1, keepdim=True).to(total.dtype).expand_as(total)  # 0 on an empty memory
        equal(total, there, f"padding law: {case.label}: sums of the weights")


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
        if not parameter.requires_grad:  # frozen on purpose
            continue
        reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert reached, f"gradient law: {case.label}: the loss does not depend on {name}"
    case.model.zero_grad()


def loss(case: Case) -> None:
    """Outside training, the loss is minus the sum of the scores, and it counts every token and end symbol."""
    found = case.model(case.batch)
    equal(found.total, -case.model.score(case.batch).sum(), f"loss law: {case.label}: the loss")
    assert case.batch.target is not None
    ends = int(isinstance(case.model.head, Generator))  # every sequence that is said has an end symbol
    expected = int((case.batch.target.lengths + ends).sum())
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


def running(case: Case) -> None:
    """The loss of running text is that of its parts, each read from the state after the one before, for every cut."""
    head, target = generator(case), case.batch.target
    assert target is not None
    encoding = case.model.encode(case.batch.source)
    values = torch.cat([target.values[:, :2], torch.full_like(target.values[:, :1], END), target.values], 1)
    size, new = values.size(1), torch.zeros(len(values), dtype=torch.bool)

    def read(first: int, last: int, state: CarriedState) -> Loss:
        part = values[:, first : last + 1]  # the token before, and those that are said
        return head.loss(encoding, Column(part, torch.full((len(part),), part.size(1))), state)

    whole = read(0, size - 1, CarriedState((), new))
    for k in range(1, size - 1):
        first = read(0, k, CarriedState((), new))
        second = read(k, size - 1, CarriedState(first.state, ~new))
        what = f"running law: {case.label}: text read in parts of {k} and {size - 1 - k} tokens"
        equal(first.total + second.total, whole.total, f"{what}: loss")
        equal(first.count + second.count, whole.count, f"{what}: count")
        equal(second.state, whole.state, f"{what}: state")


def empty(case: Case) -> None:
    """No rows, an empty source and an empty target work and give zeros where there is nothing, never NaN."""
    none: Batch = select(case.batch, torch.tensor([], dtype=torch.long))
    assert float(case.model(none).total.detach()) == 0, f"empty law: {case.label}: the loss of no rows is not 0"
    assert case.model.predict(none, registry.build("search", case.config)) == [], f"empty law: {case.label}: no rows"
    for batch in emptied(case):
        found = gradients(case.model, [batch])
        assert all(bool(g.isfinite().all()) for g in found), f"empty law: {case.label}: a gradient is not finite"
        assert bool(case.model.score(batch).isfinite().all()), f"empty law: {case.label}: a score is not finite"
    if isinstance(case.model.head, Generator):
        decoder, _, inputs = decoding(case)
        for batch in emptied(case):
            decoded = decoder(inputs, *decoder.start(case.model.encode(batch.source)))
            if decoded.weights is not None and not batch.source.lengths.any():
                equal(decoded.weights.sum(), torch.zeros(()), f"empty law: {case.label}: weights on an empty memory")


def emptied(case: Case) -> Iterator[Batch]:
    """The batch of a case without its sources, and without its targets, as far as these may be empty."""
    source, target = case.batch.source, case.batch.target
    assert target is not None
    nothing = torch.zeros(len(case.batch.rows), dtype=torch.long)
    without = target._replace(lengths=nothing) if case.model.target.is_aligned else target
    if case.model.source.is_sequence:
        yield case.batch._replace(source=source._replace(lengths=nothing), target=without)
        short = without._replace(values=target.values[:, :0]) if case.model.target.is_aligned else target
        yield case.batch._replace(source=Column(source.values[:, :0], nothing), target=short)
    if case.model.target.is_sequence and not case.model.target.is_aligned:
        yield case.batch._replace(target=Column(target.values[:, :0], nothing))


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


GENERATOR_LAWS = frozenset({chunk, row, distribution, searching, running})
"""Those that ask for a head that says sequences."""

MODEL_LAWS: tuple[Callable[[Case], None], ...] = (
    chunk,
    row,
    padding,
    gradient,
    loss,
    distribution,
    searching,
    running,
    empty,
    bundle,
)
