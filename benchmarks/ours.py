"""The package's side: models from the registry, the step of its trainer, and weights taken from the textbook."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import textbook
from benchmarks.settings import Settings, Sizes
from benchmarks.textbook import CLIP, RATE, Design
from seq2att import registry
from seq2att.field import TextField
from seq2att.model import Model, make
from seq2att.registry import build
from seq2att.trainer.step import SCALE, rescale
from seq2att.types import SPECIALS, Batch, Column, Loss

KERNEL = "SEQ2ATT_KERNEL"  # the package reads it at every call
TIERS = ("torch", "cpp")


@contextlib.contextmanager
def kernel(tier: str | None) -> Iterator[None]:
    """The package computes its recurrences by this tier inside the block; None leaves the choice to it."""
    before = os.environ.get(KERNEL)
    try:
        if tier is not None:
            os.environ[KERNEL] = tier
        yield
    finally:
        if tier is not None:
            os.environ.pop(KERNEL)
            if before is not None:
                os.environ[KERNEL] = before


def config(sizes: Sizes, design: Design) -> dict[str, Any]:
    """The configuration of the package's model of this design, as a bundle keeps it."""
    field = {"name": "text", "embedding_size": sizes.embedding, "tokenizer": {"name": "word"}}
    attention = {"name": design.attention} | ({"size": sizes.attention} if design.attention == "additive" else {})
    decoder = {
        "name": design.cell,
        "size": sizes.decoder,
        "layers": design.layers,
        "bridge": "copy",
        "order": design.order,
        "input_feeding": design.feeding,
    }
    return {
        "head": {"name": "translation"},
        "source": field,
        "target": field,
        "encoder": {"name": design.cell, "size": sizes.encoder, "layers": design.layers},
        "decoder": decoder,
        "attention": attention,
        "output": {"name": "linear"},
        "search": {"name": "beam", "size": 5},
        "optimizer": {"name": "adam", "learning_rate": RATE},
        "data": {"max_length": None},
    }


def word(number: int) -> str:
    """How a made-up vocabulary writes an id."""
    return f"w{number}"


def field(described: dict[str, Any], slot: str, size: int) -> TextField:
    """A field with a made-up vocabulary of `size` ids."""
    made: TextField = build("field", described, slot=slot)
    made.tokenizer.pieces = tuple(word(number) for number in range(len(SPECIALS), size))
    return made


def translator(sizes: Sizes, design: Design) -> Model:
    """The package's model of a design, from the registry."""
    registry.load()
    described = config(sizes, design)
    fields = (field(described, slot, sizes.vocabulary) for slot in ("source", "target"))
    return make(described, *fields)


def copy_layer(layer: Any, rnn: nn.RNNBase, level: int, suffix: str = "") -> None:
    """One layer in one direction of torch's module into one of the package."""
    names = {
        "input_weight": "weight_ih",
        "hidden_weight": "weight_hh",
        "input_bias": "bias_ih",
        "hidden_bias": "bias_hh",
    }
    for ours, theirs in names.items():
        getattr(layer, ours).copy_(getattr(rnn, f"{theirs}_l{level}{suffix}"))


@torch.no_grad()
def copy_weights(book: textbook.Translator, model: Model) -> Model:
    """The textbook's weights into the package's model, which then has the same loss."""
    head: Any = model.head
    encoder: Any = model.encoder
    decoder, design = book.decoder, book.decoder.design
    model.embedding.weight.copy_(book.encoder.embedding.weight)
    head.embedding.weight.copy_(decoder.embedding.weight)
    for level in range(design.layers):
        copy_layer(encoder.forwards[level], book.encoder.rnn, level)
        copy_layer(encoder.backwards[level], book.encoder.rnn, level, "_reverse")
        copy_layer(head.decoder.stack.layers[level], decoder.rnn, level)
    attention = head.decoder.attention
    attention.key.weight.copy_(decoder.attention.key.weight)
    if isinstance(decoder.attention, textbook.Additive):  # whose last bias moves all scores alike: it does nothing
        attention.query.weight.copy_(decoder.attention.query.weight)
        attention.key.bias.copy_(decoder.attention.key.bias + decoder.attention.query.bias)
        attention.energy.weight.copy_(decoder.attention.energy.weight)
    head.decoder.readout.weight.copy_(decoder.readout.weight)
    head.output.weight.copy_(decoder.out.weight)
    head.output.bias.copy_(decoder.out.bias)
    return model


class Classifier(nn.Module):
    """Embedding, encoder and a linear layer on its last state: the package's classes, called as a model calls them."""

    def __init__(self, vocabulary: int, embedding: int, size: int, classes: int) -> None:
        super().__init__()
        registry.load()
        described = {
            "source": {"name": "text", "embedding_size": embedding, "tokenizer": {"name": "word"}},
            "encoder": {"name": "lstm", "size": size, "bidirectional": False},
        }
        self.embedding = field(described, "source", vocabulary).embed()
        self.encoder = build("encoder", described, embedding)
        self.out = nn.Linear(size, classes)

    def forward(self, texts: Column, labels: Tensor) -> Loss:
        """The summed loss of the labels `[B]`."""
        encoding = self.encoder(self.embedding(texts.values), texts.lengths)
        logits = self.out(encoding.final[0][:, -1])  # [B, classes]
        return Loss(nn.functional.cross_entropy(logits, labels, reduction="sum"), logits.new_tensor(labels.numel()))


@torch.no_grad()
def copy_classifier(book: textbook.Classifier, model: Classifier) -> Classifier:
    """The textbook's weights into the package's classifier."""
    model.embedding.weight.copy_(book.embedding.weight)
    copy_layer(model.encoder.forwards[0], book.rnn, 0)
    model.out.load_state_dict(book.out.state_dict())
    return model


class Training:
    """A model, its optimizer from the registry, and the step as `seq2att.trainer` makes it."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.optimizer = build("optimizer", {"optimizer": {"name": "adam", "learning_rate": RATE}}, model.parameters())

    def loss(self, *inputs: Any) -> Tensor:
        """The mean loss of the real answers."""
        loss: Loss = self.model(*inputs)
        return loss.total / loss.count

    def step(self, *inputs: Any) -> Tensor:
        """One step of training; the gradients of the last one are dropped first, as in training."""
        self.optimizer.zero_grad(set_to_none=True)
        loss: Loss = self.model(*inputs)
        (loss.total / SCALE).backward()
        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        rescale(gradients, SCALE, loss.count, CLIP)
        self.optimizer.step()
        return loss.total


def textbook_inputs(batch: Batch) -> tuple[tuple[Tensor, ...], Tensor]:
    """A batch as the textbook takes it: inputs and wanted answers."""
    assert batch.target is not None
    given, wanted = textbook.shifted(batch.target.values, batch.target.lengths)
    return (batch.source.values, batch.source.lengths, given), wanted


def seeded(settings: Settings) -> None:
    """Weights that depend on the run's seed only."""
    torch.manual_seed(settings.seed)
