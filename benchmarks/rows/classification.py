"""Training steps of classifiers of long texts: embedding, LSTM in one direction, a linear layer on its last state."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch

from benchmarks import flops, ours, peer, textbook
from benchmarks.lengths import classifier_batch
from benchmarks.rows.training import compare, our_tiers
from benchmarks.settings import TINY, Settings
from benchmarks.timing import Contender, Row, Run, Work
from seq2att.errors import UserError


class Shape(NamedTuple):
    """The sizes of a classifier."""

    vocabulary: int
    embedding: int
    size: int
    classes: int = 2


SHAPES = {"classifier-120": Shape(5000, 120, 120), "classifier-8": Shape(10000, 16, 8)}
TINY_SHAPE = Shape(50, 5, 4)


def shape_of(name: str, settings: Settings) -> Shape:
    """The sizes that a row asks for, or tiny ones."""
    return TINY_SHAPE if settings.sizes == TINY else SHAPES[name]


def book(settings: Settings, shape: Shape, packed: bool = True) -> textbook.Classifier:
    """The textbook's classifier with the weights of the run's seed."""
    torch.manual_seed(settings.seed)
    return textbook.Classifier(*shape, packed=packed).to(settings.device)


def build_book(settings: Settings, shape: Shape, quick: bool, packed: bool) -> Run:
    """Steps of the textbook."""
    training = textbook.Training(book(settings, shape, packed), quick)
    training.criterion = torch.nn.CrossEntropyLoss()  # no class is padding
    texts, labels = classifier_batch(settings, shape.vocabulary, shape.classes)

    def run(number: int) -> None:
        training.step((texts.values, texts.lengths), labels)

    return run


def build_ours(settings: Settings, shape: Shape) -> Run:
    """Steps of the package, from the textbook's weights."""
    model = ours.copy_classifier(book(settings, shape), ours.Classifier(*shape).to(settings.device))
    training = ours.Training(model)
    texts, labels = classifier_batch(settings, shape.vocabulary, shape.classes)

    def run(number: int) -> None:
        training.step(texts, labels)

    return run


def check(settings: Settings, shape: Shape) -> str:
    """Every tier, and the padded textbook, give the packed textbook's loss and gradient."""
    texts, labels = classifier_batch(settings, shape.vocabulary, shape.classes)
    plain = book(settings, shape)
    criterion = torch.nn.CrossEntropyLoss()
    expected = criterion(plain(texts.values, texts.lengths), labels)
    expected.backward()
    gradient = plain.embedding.weight.grad
    assert gradient is not None
    padded = book(settings, shape, packed=False)
    found = criterion(padded(texts.values, texts.lengths), labels)
    found.backward()
    compare("textbook, padded", found, expected, padded.embedding, gradient)
    said = [f"padded {found.item():.6f}"]
    for contender in our_tiers(settings, lambda: build_ours(settings, shape)):
        model = ours.copy_classifier(book(settings, shape), ours.Classifier(*shape).to(settings.device))
        try:
            with ours.kernel(contender.kernel):
                found = ours.Training(model).loss(texts, labels)
                found.backward()
        except UserError:
            continue  # measuring says why
        compare(contender.name, found, expected, model.embedding, gradient)
        said.append(f"{contender.name} {found.item():.6f}")
    return f"loss of the batch: textbook {expected.item():.6f}; {'; '.join(said)}; equal gradients"


def row(name: str, settings: Settings) -> Row:
    """The textbook packed and padded, both with two more lines, the package, peers."""
    shape = shape_of(name, settings)
    texts, _ = classifier_batch(settings, shape.vocabulary, shape.classes)
    tokens = int(texts.lengths.sum())
    build = functools.partial(build_book, settings, shape)
    contenders = [
        Contender("textbook, packed", lambda: build(quick=False, packed=True), flush=False),
        Contender("packed, flushed denormals, fused Adam", lambda: build(quick=True, packed=True)),
        Contender("textbook, padded", lambda: build(quick=False, packed=False), flush=False),
        Contender("padded, flushed denormals, fused Adam", lambda: build(quick=True, packed=False)),
        *our_tiers(settings, lambda: build_ours(settings, shape)),
        *peer.classifier(settings, shape),
    ]
    sizes = settings.sizes
    useful = 3.0 * flops.classifier(tokens, settings.batch, shape.embedding, shape.size, shape.classes)
    return Row(
        name,
        f"training step of a classifier: embedding {shape.embedding}, LSTM {shape.size}, "
        f"{sizes.shortest} to {sizes.steps} tokens a text, batch {settings.batch}",
        contenders,
        [Work(tokens, useful)],
        lambda: check(settings, shape),
    )


ROWS = {name: functools.partial(row, name) for name in SHAPES}
