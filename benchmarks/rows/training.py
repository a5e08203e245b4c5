"""Training steps of translators: forwards, backwards, clipping and the optimizer, on batches that are ready."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks import flops, ours, peer, textbook
from benchmarks.lengths import sentence_batches
from benchmarks.settings import Settings
from benchmarks.textbook import Cell, Decoder, Design, OneCallDecoder, Translator
from benchmarks.timing import Contender, Row, Run, Work
from seq2att.errors import UserError

KINDS = {
    "luong": (Design(), "Luong, general attention, input feeding"),
    "bahdanau": (Design(order="bahdanau", attention="additive", feeding=False), "Bahdanau, additive attention"),
    "plain": (Design(feeding=False), "Luong, general attention, without input feeding"),
}
CELLS: tuple[Cell, ...] = ("lstm", "gru", "rnn")
CLOSE = 1e-4  # of the loss, in float32
CLOSE_GRADIENT = 2e-3  # of the largest gradient
CLOSE_ON_GPU = 2e-2  # there cuDNN multiplies with fewer bits


def book(settings: Settings, design: Design, decoder: type[Decoder] = Decoder) -> Translator:
    """The textbook's model with the weights of the run's seed."""
    torch.manual_seed(settings.seed)
    return Translator(settings.sizes, design, decoder).to(settings.device)


def build_book(settings: Settings, design: Design, quick: bool, decoder: type[Decoder] = Decoder) -> Run:
    """Steps of the textbook."""
    training = textbook.Training(book(settings, design, decoder), quick)
    ready = [ours.textbook_inputs(batch) for batch in sentence_batches(settings)]

    def run(number: int) -> None:
        training.step(*ready[number % len(ready)])

    return run


def build_ours(settings: Settings, design: Design) -> Run:
    """Steps of the package, from the textbook's weights."""
    model = ours.copy_weights(book(settings, design), ours.translator(settings.sizes, design).to(settings.device))
    training = ours.Training(model)
    batches = sentence_batches(settings)

    def run(number: int) -> None:
        training.step(batches[number % len(batches)])

    return run


def our_tiers(settings: Settings, build: Callable[[], Run]) -> list[Contender]:
    """The package in each tier of its recurrence; on a GPU it has one."""
    if settings.device != "cpu":
        return [Contender("seq2att", build)]
    return [Contender(f"seq2att, {tier}", build, tier) for tier in ours.TIERS]


def check(settings: Settings, design: Design) -> str:
    """Every tier gives the textbook's loss, and its gradient at the far end: in the source's embedding."""
    (batch, *_) = sentence_batches(settings)
    plain = book(settings, design)
    inputs, wanted = ours.textbook_inputs(batch)
    expected = textbook.Training(plain).loss(inputs, wanted)
    expected.backward()
    gradient = plain.encoder.embedding.weight.grad
    assert gradient is not None
    said = []
    for contender in our_tiers(settings, lambda: build_ours(settings, design)):
        model = ours.copy_weights(plain, ours.translator(settings.sizes, design).to(settings.device))
        try:
            with ours.kernel(contender.kernel):
                found = ours.Training(model).loss(batch)
                found.backward()
        except UserError:
            continue  # measuring says why
        compare(contender.name, found, expected, model.embedding, gradient)
        said.append(f"{contender.name} {found.item():.6f}")
    return f"loss of the first batch: textbook {expected.item():.6f}; {'; '.join(said)}; equal gradients"


def compare(name: str, found: Tensor, expected: Tensor, embedding: nn.Module, gradient: Tensor) -> None:
    """Refuse to time what computes something else."""
    value, right = found.item(), expected.item()
    if not abs(value - right) < CLOSE * abs(right):
        raise RuntimeError(f"{name}: its loss is {value}, the textbook's {right}: not the same work")
    theirs = embedding.weight.grad
    assert isinstance(theirs, Tensor)
    gap = float((theirs - gradient).abs().max() / gradient.abs().max())
    if not gap < (CLOSE_ON_GPU if found.is_cuda else CLOSE_GRADIENT):
        raise RuntimeError(f"{name}: its gradients differ from the textbook's by {gap:.2g}: not the same work")


def work(settings: Settings, design: Design) -> Sequence[Work]:
    """Target tokens and useful operations of every batch."""
    sizes = settings.sizes
    found = []
    for batch in sentence_batches(settings):
        assert batch.target is not None
        tokens = int((batch.target.lengths + 1).sum())
        found.append(Work(tokens, 3.0 * flops.forward(sizes, design, batch)))
    return found


def row(name: str, settings: Settings, *, design: Design, title: str) -> Row:
    """The textbook, the textbook with two more lines, stronger plain PyTorch where there is any, the package, peers."""
    kind = {"lstm": "LSTM", "gru": "GRU", "rnn": "tanh RNN"}[design.cell]
    contenders = [
        Contender("textbook", lambda: build_book(settings, design, quick=False), flush=False),
        Contender("textbook, flushed denormals, fused Adam", lambda: build_book(settings, design, quick=True)),
    ]
    if design.order == "luong" and not design.feeding:
        one_call = functools.partial(build_book, settings, design, quick=True, decoder=OneCallDecoder)
        contenders.append(Contender(f"plain PyTorch, one nn.{design.cell.upper()} call", one_call))
    contenders += our_tiers(settings, lambda: build_ours(settings, design))
    contenders += peer.training(settings, design)
    return Row(
        name,
        f"training step: {title}; {design.layers} layer{'s' * (design.layers > 1)}, {kind}, batch {settings.batch}",
        contenders,
        work(settings, design),
        lambda: check(settings, design),
    )


def name_of(kind: str, cell: Cell, layers: int) -> str:
    """How a row is asked for."""
    return "-".join(["training", kind, *([] if cell == "lstm" else [cell]), *([] if layers == 1 else [str(layers)])])


def rows() -> dict[str, Callable[[Settings], Row]]:
    """A row for every kind, cell and depth."""
    found: dict[str, Callable[[Settings], Row]] = {}
    for layers in (1, 2):
        for cell in CELLS:
            for kind, (design, title) in KINDS.items():
                name = name_of(kind, cell, layers)
                asked = design._replace(cell=cell, layers=layers)
                found[name] = functools.partial(row, name, design=asked, title=title)
    return found


ROWS = rows()
