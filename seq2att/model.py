"""The model: a source field, an encoder and a head as one module."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seq2att import registry
from seq2att.contracts import check_encoding, check_loss, check_predictions, check_scores, check_token_scores
from seq2att.encoder import Encoder
from seq2att.errors import UserError
from seq2att.explanation import Explanation, explain, make_request
from seq2att.field import Field, with_side
from seq2att.head import Generator, Head
from seq2att.search import Search
from seq2att.types import Batch, Column, Encoding, Loss, Prediction, State, select


class Model(nn.Module):
    """A source field with its embedding, an encoder, and a head with the target field."""

    def __init__(self, source: Field, target: Field, embedding: nn.Module, encoder: Encoder, head: Head) -> None:
        super().__init__()
        allow_forks()
        self.source = source
        self.target = target
        self.embedding = embedding
        self.encoder = encoder
        self.head = head

    def encode(self, source: Column) -> Encoding:
        """Encode a source column."""
        inputs = self.embedding(source.values)  # [B, S, E]
        encoding = self.encoder(inputs, source.lengths)
        return check_encoding(self.encoder, encoding, inputs, self.encoder.output_size)

    def forward(self, batch: Batch, state: State = ()) -> Loss:
        """Compute the summed loss of a batch with targets; training calls nothing else."""
        assert batch.target is not None
        return check_loss(self.head, self.head.loss(self.encode(batch.source), batch.target, state))

    def score(self, batch: Batch) -> Tensor:
        """Compute log p(target | source) of every row: `[B]`."""
        assert batch.target is not None
        scores = self.head.score(self.encode(batch.source), batch.target)
        return check_scores(self.head, scores, len(batch.rows))

    def token_scores(self, batch: Batch) -> Tensor:
        """Compute the terms of every row's score: `[B, T]`, 0 on padding."""
        assert batch.target is not None
        scores = self.head.token_scores(self.encode(batch.source), batch.target)
        return check_token_scores(self.head, scores, len(batch.rows))

    def predict(self, batch: Batch, search: Search | None) -> list[Prediction]:
        """Predict every row of the batch, in order; an empty source gets an empty prediction."""
        predictions = [Prediction("", 0.0)] * batch.source.lengths.size(0)
        full = (batch.source.lengths >= int(self.source.has_values)).nonzero().squeeze(1)  # [N]
        source: Column = select(batch.source, full)
        ids, lengths = source.values.cpu().numpy(), source.lengths.tolist()
        answers = check_predictions(
            self.head, self.head.predict(self.encode(source), search, batch.rows[full]), len(ids)
        )
        for row, prediction, row_ids, length in zip(full.tolist(), answers, ids, lengths, strict=True):
            pieces = self.region_names(length) or self.source.pieces(row_ids[:length].tolist())
            others = tuple(other._replace(source_tokens=pieces) for other in prediction.others)
            predictions[row] = prediction._replace(source_tokens=pieces, others=others)
        return predictions

    def region_names(self, length: int) -> tuple[str, ...]:
        """The names of the regions that stand for a source of this length, `row,column` from 1; () where none do."""
        grid = self.encoder.grid(length)
        if grid is None:
            return ()
        return tuple(f"{row + 1},{column + 1}" for column in range(grid[1]) for row in range(grid[0]))

    def continue_from(self, prefixes: list[Sequence[int]], search: Search, rows: Tensor) -> list[Prediction]:
        """Continue each of the prefixes, by a model without a source; `rows` are their numbers."""
        device = next(self.parameters()).device
        lengths = torch.zeros(len(prefixes), dtype=torch.long, device=device)
        source = Column(lengths.new_zeros(len(prefixes), 0), lengths)
        assert isinstance(self.head, Generator)
        return self.head.predict(self.encode(source), search, rows.to(device), prefixes)

    def explain(
        self,
        value: Any,
        search: Search | None = None,
        *,
        target: Any = None,
        gradient: bool = False,
        top: int = 5,
        row: int = 1,
    ) -> Explanation:
        """Answer one input, and give every step on the way as a named array; docs/explain.md has the names.

        Args:
            value: the input; of a model without a source, the beginning of a text.
            search: finds the answer of a generator; None: greedy search.
            target: an answer to explain in place of the model's own.
            gradient: whether to compute how much the loss of the last step, or of the row, feels each state.
            top: the likeliest tokens to name at every step.
            row: the number of the input, which seeds a sample.

        Raises:
            UserError: the input is empty, or cannot be read.
        """
        return explain(self, make_request(self, value, search, target, gradient, top, row))

    def copy(self) -> Model:
        """A copy in evaluation mode with the same parameters and fields, whose modules may be changed."""
        shared = (*self.parameters(), self.source, self.target)
        return copy.deepcopy(self, {id(part): part for part in shared}).eval()


@functools.cache
def allow_forks() -> int:
    """Let a process that is forked from now on compute with one thread; it would wait forever for a second.

    A fork copies the thread that calls it only, while the OpenMP of PyTorch goes on as if all its threads were there.
    Returns the number of the process that called this first.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: torch.set_num_threads(1))
    return os.getpid()


def is_forked() -> bool:
    """Whether this process was forked from one that had a model, so that it must compute with one thread."""
    return allow_forks() != os.getpid()


def make(config: Mapping[str, Any], source: Field, target: Field) -> Model:
    """Build the model of a composed configuration, for fitted fields."""
    shared = config.get("share") == "embedding"
    embedding = source.embed()
    encoder = registry.build("encoder", config, embedding.output_size)
    if not hasattr(encoder, "output_size"):
        subject, problem = f"encoder={config['encoder']['name']}", "has no output_size"
        remedy = "set self.output_size in its constructor, to the size M of its outputs [B, S, M]"
        raise UserError("E-contract", subject, problem, remedy)
    head = registry.build("head", config, encoder.output_size, target)
    if shared:
        embedding = head.embedding
        if embedding.output_size != source.embed().output_size:
            remedy = "set source.embedding_size equal to target.embedding_size"
            raise UserError("E-conflict", "share=embedding", "both sides need vectors of one size", remedy)
    return Model(source, target, embedding, encoder, head)


def make_fields(config: Mapping[str, Any]) -> tuple[Field, Field]:
    """Build the source and target fields of a configuration, not fitted yet; with `share` they have one tokenizer."""
    source, target = make_field(config, "source"), make_field(config, "target")
    if config.get("share", "nothing") != "nothing":
        target.share_tokenizer(source)
    return source, target


def make_field(config: Mapping[str, Any], side: str) -> Any:
    """The field of a side; an error names the whole key of the option, as `source.tokenizer.size`."""
    try:
        return registry.build("field", config, slot=side)
    except UserError as error:
        raise with_side(error, side) from error


def parameter_count(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


__all__ = ["Model", "make", "make_fields", "parameter_count"]
