"""The laws of models: of encoders, decoders, attentions, output layers, heads and searches."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from seq2att import registry
from seq2att.bundle import load, save
from seq2att.config.composing import block_at
from seq2att.config.slots import Slots
from seq2att.decoder import Decoder
from seq2att.head import Generator
from seq2att.model import Model
from seq2att.testing.cases import Case, Config, row_of
from seq2att.testing.failure import require
from seq2att.types import END, Batch, CarriedState, Column, Encoding, Loss, State, detach, leaves, select

TOLERANCE = 1e-10  # of the largest value
MIXED = (
    "rows of a batch influence each other or padding is read: apply `mask` or `lengths` wherever positions are summed, "
    "averaged, convolved or normalised, and no batch normalisation"
)
STATE = (
    "forward starts from something other than `state`, or returns something other than the state after its last step; "
    "an attention that needs the step before sets `recurrent = True`"
)
MASK = "weights on padding: apply `mask` in `forward` (`masked_softmax`), or override only `score`"
WEIGHTS = "weights are scaled, masked after the softmax or dropped: end with `masked_softmax(scores, mask)`"
SUMS = "`loss` is the sum over real targets of minus log p, and `score` the sum of log p in each row: no mean in either"
TERMS = "`token_scores` are the terms of `score`, 0 on padding: override both, or `token_scores` only"
EMPTY = "a division by a length of 0, or a softmax over -inf only: use `masked_softmax`, `clamp(min=1)`"


def equal(actual: State, expected: State, what: str, cause: str = "") -> None:
    """Two trees of tensors are equal to `TOLERANCE` of the largest value."""
    ours, theirs = leaves(detach(actual)), leaves(detach(expected))
    require(len(ours) == len(theirs), f"{what}: {len(ours)} tensors, expected {len(theirs)}", cause)
    for one, other in zip(ours, theirs, strict=True):
        require(one.shape == other.shape, f"{what}: shape {list(one.shape)}, expected {list(other.shape)}", cause)
        if one.numel():
            scale = max(1.0, float(other.abs().max()))
            difference = float((one.double() - other.double()).abs().max())
            require(difference <= TOLERANCE * scale, f"{what} differ by {difference:.3g}", cause)


def decoding(case: Case) -> tuple[Decoder, Encoding, Tensor]:
    """The decoder of a case, an encoding for it, and embedded inputs `[B, T, E]`."""
    head = generator(case)
    return head.decoder, case.model.encode(case.batch.source), head.embedding(case.target.values)


def generator(case: Case) -> Generator:
    """The head of a case that generates sequences."""
    assert isinstance(case.model.head, Generator), f"{case.label}: the head is no Generator"
    return case.model.head


def chunk(case: Case) -> None:
    """Decoding x equals decoding x[:, :k], then x[:, k:] from the state after it, for every k."""
    decoder, encoding, inputs = decoding(case)
    memory, state = decoder.start(encoding)
    full = decoder(inputs, memory, state)
    for k in range(inputs.size(1) + 1):
        first = decoder(inputs[:, :k], memory, state)
        second = decoder(inputs[:, k:], memory, first.state)
        what = f"decoding in two parts of {k} and {inputs.size(1) - k} steps"
        equal(torch.cat([first.outputs, second.outputs], 1), full.outputs, f"{what}: outputs", STATE)
        equal(second.state, full.state, f"{what}: states", STATE)
        if full.weights is not None and 0 < k < inputs.size(1):
            equal(torch.cat([first.weights, second.weights], 1), full.weights, f"{what}: weights", STATE)


def row(case: Case) -> None:
    """Selecting rows of memory and state, then decoding, equals decoding and then selecting."""
    decoder, encoding, inputs = decoding(case)
    memory, state = decoder.start(encoding)
    first = decoder(inputs[:, :2], memory, state)
    full = decoder(inputs[:, 2:], memory, first.state)
    for leaf in leaves((memory, first.state)):
        cause = "dimension 0 of every tensor of a memory or state is the batch"
        require(leaf.size(0) == inputs.size(0), f"a state has the shape {list(leaf.shape)}", cause)
    rows = torch.tensor([2, 0, 0, 3, 1])
    part = decoder(inputs[rows, 2:], select(memory, rows), select(first.state, rows))
    equal(part, select(full, rows), "decoding of selected rows: outputs", MIXED)


def padding(case: Case) -> None:
    """Weights are 0 on padding and sum to 1; neither padding nor neighbours change a row's score or gradient."""
    if isinstance(case.model.head, Generator):
        attention_weights(case)
    alone = [row_of(case.batch, number) for number in case.batch.rows.tolist()]
    together = case.model.score(case.batch)
    equal(together, torch.cat([case.model.score(part) for part in alone]), "scores in a batch and alone", MIXED)
    parts = [gradients(case.model, [part]) for part in alone]
    sums = [sum(part) for part in zip(*parts, strict=True)]
    equal(gradients(case.model, [case.batch]), sums, "gradients in a batch and alone", MIXED)


def attention_weights(case: Case) -> None:
    """A decoder's weights are 0 on padding and sum to 1; `lengths` change no real output."""
    decoder, encoding, inputs = decoding(case)
    outputs, weights, *_ = decoder(inputs, *decoder.start(encoding))
    real = case.target.mask().unsqueeze(2)  # [B, T, 1]
    limited = decoder(inputs, *decoder.start(encoding), case.target.lengths).outputs
    cause = "a decoder may use `lengths` to skip steps past a row's length, for nothing else"
    equal(limited * real, outputs * real, "outputs with and without lengths", cause)
    if weights is not None:
        expected = [*outputs.shape[:2], encoding.mask.size(1)]
        require(list(weights.shape) == expected, f"weights have shape {list(weights.shape)}, expected {expected}")
        outside = weights.masked_fill(encoding.mask.unsqueeze(1), 0.0)
        equal(outside, torch.zeros_like(outside), "weights on padding and 0", MASK)
        total = weights.sum(-1)
        has_source = encoding.mask.any(1, keepdim=True).to(total.dtype).expand_as(total)  # 0 on an empty memory
        equal(total, has_source, "sums of the weights and 1", WEIGHTS)


def gradients(model: Model, batches: list[Batch]) -> list[Tensor]:
    """The gradient of the summed loss in every parameter."""
    model.zero_grad()
    for batch in batches:
        model(batch).total.backward()
    result = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    return result


def gradient(case: Case) -> None:
    """The loss reaches every parameter."""
    case.model.zero_grad()
    case.model(case.batch).total.backward()
    for name, parameter in case.model.named_parameters():
        if not parameter.requires_grad:  # frozen on purpose
            continue
        is_reached = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        cause = "`forward` does not use the parameter, or `detach`, `item` or `no_grad` cuts it off"
        require(is_reached, f"the loss does not depend on {name}", cause)
    case.model.zero_grad()


def loss(case: Case) -> None:
    """Outside training, the loss is minus the sum of the scores, and it counts every token and end symbol.

    The scores are the sums of the token scores.
    """
    result = case.model(case.batch)
    equal(result.total, -case.model.score(case.batch).sum(), "the loss and minus the sum of the scores", SUMS)
    terms = case.model.token_scores(case.batch).sum(1)
    equal(terms, case.model.score(case.batch), "the sums of the token scores and the scores", TERMS)
    num_ends = int(isinstance(case.model.head, Generator))  # every generated sequence has an end symbol
    expected = int((case.target.lengths + num_ends).sum())
    cause = "`Loss.count` is the number of real targets: each token and end symbol once, no padding"
    require(int(result.count) == expected, f"the loss counts {int(result.count)} targets, expected {expected}", cause)
    if result.correct is not None:
        alone = sum(int(case.model(row_of(case.batch, row)).correct) for row in case.batch.rows.tolist())
        found = int(result.correct)
        cause = "`Loss.correct` is the number of real targets that are predicted right: a scalar, no padding"
        require(0 <= found == alone <= expected, f"{found} targets are correct in a batch, {alone} in its rows", cause)


def distribution(case: Case) -> None:
    """A step's probabilities are positive and sum to 1."""
    head = generator(case)
    step = head.step(torch.full((4,), 2), *head.start(case.model.encode(case.batch.source)))
    total = step.log_probs.exp().sum(-1)
    equal(total, torch.ones_like(total), "sums of the probabilities and 1", "`log_probs` must end with `log_softmax`")


def searching(case: Case) -> None:
    """A hypothesis' log-probability is the head's score of it; no row depends on its neighbours or its padding."""
    search = registry.build("search", case.config)
    result = search(generator(case), case.model.encode(case.batch.source), case.batch.rows)
    for number in case.batch.rows.tolist():
        part = row_of(case.batch, number)
        alone = search(generator(case), case.model.encode(part.source), part.rows)
        for place, length in enumerate(result.lengths[number].tolist()):
            tokens, name = result.tokens[number, place, :length], f"hypothesis {place} of row {number}"
            equal(alone.tokens[0, place, :length], tokens, f"{name}, in a batch and alone: tokens", MIXED)
            equal(alone.scores[0, place], result.scores[number, place], f"{name}, in a batch and alone: scores", MIXED)
            cause = "`lengths` count the end symbol, and every hypothesis ends with it"
            require(length > 0 and int(tokens[-1]) == END, f"{name} has no end symbol", cause)
            require(END not in tokens[:-1].tolist(), f"{name} continues after its end symbol", cause)
            target = Column(tokens[:-1].unsqueeze(0), torch.tensor([length - 1]))
            score = case.model.score(part._replace(target=target))
            cause = "memory or state is not reordered with its hypotheses (`select`), or `log_probs` are not the head's"
            equal(result.log_probs[number, place].sum(), score[0], f"{name}: log-probability and score", cause)
            if result.weights is not None:
                total = result.weights[number, place, :length].sum(-1)
                equal(total, torch.ones_like(total), f"{name}: sums of the weights and 1", WEIGHTS)
    is_sorted = bool((result.scores[:, :-1] >= result.scores[:, 1:]).all())
    require(is_sorted, "hypotheses are not sorted by score", "sort the hypotheses of a row, best first")


def running(case: Case) -> None:
    """The loss of running text is that of its parts, each read from the state after the one before, for every cut."""
    head, target = generator(case), case.target
    encoding = case.model.encode(case.batch.source)
    values = torch.cat([target.values[:, :2], torch.full_like(target.values[:, :1], END), target.values], 1)
    size, new = values.size(1), torch.zeros(len(values), dtype=torch.bool)

    def read(first: int, last: int, state: CarriedState) -> Loss:
        part = values[:, first : last + 1]  # the token before, then the targets
        return head.loss(encoding, Column(part, torch.full((len(part),), part.size(1))), state)

    full = read(0, size - 1, CarriedState((), new))
    for k in range(1, size - 1):
        first = read(0, k, CarriedState((), new))
        second = read(k, size - 1, CarriedState(first.state, ~new))
        what, cause = f"text read in parts of {k} and {size - 1 - k} tokens", "`loss` ignores `state`"
        equal(first.total + second.total, full.total, f"{what}: losses", cause)
        equal(first.count + second.count, full.count, f"{what}: counts", cause)
        equal(second.state, full.state, f"{what}: states", cause)


def empty(case: Case) -> None:
    """No rows, an empty source and an empty target work and give zeros where there is nothing, never NaN."""
    nothing: Batch = select(case.batch, torch.tensor([], dtype=torch.long))
    require(float(case.model(nothing).total.detach()) == 0, "the loss of no rows is not 0", SUMS)
    predictions = case.model.predict(nothing, registry.build("search", case.config))
    require(predictions == [], "no rows have predictions", "`predict` returns one prediction for each row")
    for batch in without_values(case):
        is_finite = all(bool(g.isfinite().all()) for g in gradients(case.model, [batch]))
        require(is_finite, "a gradient is not finite on an empty source or target", EMPTY)
        scores = case.model.score(batch)
        require(bool(scores.isfinite().all()), "a score is not finite on an empty source or target", EMPTY)
    if isinstance(case.model.head, Generator):
        decoder, _, inputs = decoding(case)
        for batch in without_values(case):
            decoded = decoder(inputs, *decoder.start(case.model.encode(batch.source)))
            if decoded.weights is not None and not batch.source.lengths.any():
                equal(decoded.weights.sum(), torch.zeros(()), "weights on an empty memory and 0", EMPTY)


def without_values(case: Case) -> Iterator[Batch]:
    """The batch of a case with empty sources, and with empty targets, as far as these may be empty."""
    source, target = case.batch.source, case.target
    zeros = torch.zeros(len(case.batch.rows), dtype=torch.long)
    emptied = target._replace(lengths=zeros) if case.model.target.is_aligned else target
    if case.model.source.is_sequence:
        yield case.batch._replace(source=source._replace(lengths=zeros), target=emptied)
        short = emptied._replace(values=target.values[:, :0]) if case.model.target.is_aligned else target
        yield case.batch._replace(source=Column(source.values[:, :0], zeros), target=short)
    if case.model.target.is_sequence and not case.model.target.is_aligned:
        yield case.batch._replace(target=Column(target.values[:, :0], zeros))


def bundle(case: Case) -> None:
    """Saving and loading gives the same scores."""
    with tempfile.TemporaryDirectory() as folder:
        save(case.model, used_slots(case.config), Path(folder), {})
        loaded, _ = load(Path(folder))
        pickles = [file.name for file in Path(folder).rglob("*") if file.suffix in {".pkl", ".pt", ".bin", ".ckpt"}]
    require(not pickles, f"the bundle has pickles: {pickles}")
    cause = "a number is neither a parameter nor a buffer (`register_buffer`), or is drawn in `__init__`"
    equal(loaded.double().score(case.batch), case.model.score(case.batch), "scores before saving and after", cause)


def used_slots(config: Config) -> Config:
    """The slots of a case that its head uses, which are those that the configuration of a run has."""
    registry.load()
    slots = Slots()
    used = slots.used({slot: block_at(config, slot).get("name", name) for slot, name in slots.choices.items()})
    return {slot: options for slot, options in config.items() if slot in used}


Law = Callable[[Case], None]
GENERATOR_LAWS: tuple[Law, ...] = (chunk, row, distribution, searching, running)
"""The laws of heads that generate sequences."""
MODEL_LAWS: tuple[Law, ...] = (chunk, row, padding, gradient, loss, distribution, searching, running, empty, bundle)


def laws_of(case: Case) -> list[Law]:
    """The laws that apply to the head of a case."""
    generates = isinstance(case.model.head, Generator)
    return [law for law in MODEL_LAWS if generates or law not in GENERATOR_LAWS]
