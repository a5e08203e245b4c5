"""Tagging: a tag for every item of the source."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.head import Head, target_error
from seq2att.head.transitions import (
    Chain,
    Transitions,
    best_path,
    log_probability,
    marginals,
    partition_and_marginals,
    to_double,
)
from seq2att.output import full_precision
from seq2att.recurrence import product
from seq2att.registry import Rate, Size, register
from seq2att.search import Search
from seq2att.types import Column, Encoding, Loss, Prediction, State


@register("head", "tagging")
class Tagging(Head):
    """Synced many-to-many: a tag for every item of the source, from the encoder's output there.

    A tag that does not occur in training is left out of the loss; in a CRF any tag may stand in its place.

    Args:
        hidden: units of a tanh layer before the last layer; null for no such layer.
        dropout: dropout on the encoder's outputs and on the hidden units.
        transitions: score pairs of neighbouring tags too: a linear-chain CRF (Lafferty et al. 2001).
        constrain: predict only sequences that keep the rules of spans: `I-x` follows `B-x` or `I-x`.
    """

    metrics: ClassVar[tuple[str, ...]] = ("tag_accuracy", "span_f1")
    accuracy: ClassVar[str] = "tag_accuracy"
    task: ClassVar[str] = "tag"
    follow: Tensor | None

    def __init__(
        self,
        memory_size: int,
        target: Field,
        *,
        hidden: Size | None = None,
        dropout: Rate = 0.0,
        transitions: bool = False,
        constrain: bool = True,
    ) -> None:
        super().__init__(memory_size, target)
        self.target = target
        self.dropout = nn.Dropout(dropout)
        self.hidden = None if hidden is None else nn.Linear(memory_size, hidden)
        self.layer = nn.Linear(memory_size if hidden is None else hidden, target.size)
        self.transitions = Transitions(target.size) if transitions else None
        follow = target.valid_transitions()
        if follow is None:  # the tags mark no spans
            self.metrics = ("tag_accuracy",)  # type: ignore[misc]
        limits = torch.from_numpy(follow) if constrain and follow is not None and not follow.all() else None
        self.register_buffer("follow", limits, persistent=False)  # [K + 1, K + 1] which tag may follow which

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target without one item for each item of the source."""
        if not target.is_aligned:
            raise target_error(cls, target, "a tag for each item of its source", "tags")

    def emissions(self, encoding: Encoding) -> Tensor:
        """Score every tag at every item: `[B, S, K]`."""
        scores = product.linear(self.features(encoding), self.layer.weight, self.layer.bias)
        return scores.to(full_precision(scores))

    def features(self, encoding: Encoding) -> Tensor:
        """Compute the input of the last layer at every item: `[B, S, F]`."""
        inputs: Tensor = self.dropout(encoding.outputs)
        if self.hidden is not None:
            inputs = self.dropout(product.linear(inputs, self.hidden.weight, self.hidden.bias).tanh())
        return inputs

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """Minus log p of the tags that occur in training, their number, and how many are the likeliest there."""
        check_lengths(encoding, target)
        emissions, shares, partition = self.emissions(encoding), None, None
        if self.transitions is not None:
            partition, shares = partition_and_marginals(to_double(emissions), target.lengths, self.transitions.chain())
        log_probs = self.log_likelihood(emissions, target, partition)
        real = target.mask() & (target.values >= 0)  # [B, S]
        likeliest = (emissions if shares is None else shares).argmax(2)  # [B, S]
        return Loss(-log_probs.sum(), real.sum(), correct=((likeliest == target.values) & real).sum())

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(tags | source) of every row `[B]`: of the path, or of each tag by itself."""
        check_lengths(encoding, target)
        return self.log_likelihood(self.emissions(encoding), target)

    def token_scores(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(tag | source), in a CRF log p(tag | the tags before it, source): `[B, S]`, 0 on padding."""
        emissions = self.emissions(encoding)
        check_lengths(encoding, target)
        if self.transitions is None:
            return tag_log_probs(emissions, target)
        chain, beginnings = self.transitions.chain(), [to_double(emissions.new_zeros(emissions.size(0)))]
        places = torch.arange(target.values.size(1), device=emissions.device)
        for length in range(1, len(places) + 1):  # p(the first tags): summed over all that may follow
            tags = target.values.masked_fill(places >= length, -1)  # [B, S]
            beginnings.append(log_probability(emissions, target.lengths, tags, chain))
        log_probs = torch.stack(beginnings, 1).diff(dim=1)  # [B, S]
        return log_probs.masked_fill(~target.mask(), 0.0).to(emissions.dtype)

    def log_likelihood(self, emissions: Tensor, target: Column, partition: Tensor | None = None) -> Tensor:
        """Compute log p of the tags `[B]` from the emissions; `partition` is that of a CRF, where it is known."""
        if self.transitions is not None:
            chain = self.transitions.chain()
            return log_probability(emissions, target.lengths, target.values, chain, partition).to(emissions.dtype)
        return tag_log_probs(emissions, target).sum(1)

    def predict(self, encoding: Encoding, search: Search | None = None, rows: Tensor | None = None) -> list[Prediction]:
        """Predict the best tags of every row, with log p of each tag and of the sequence."""
        emissions, lengths = self.emissions(encoding), encoding.mask.sum(1)
        tags = self.best(emissions, lengths)  # [B, S]
        each = self.log_probs(emissions, lengths).gather(2, tags.unsqueeze(2)).squeeze(2).tolist()
        scores = self.log_likelihood(emissions, Column(tags, lengths)).tolist()
        ids = tags.tolist()
        predictions = []
        for row, length in enumerate(lengths.tolist()):
            row_ids, token_scores = ids[row][:length], tuple(each[row][:length])
            pieces = self.target.pieces(row_ids)
            predictions.append(Prediction(self.target.decode(row_ids), scores[row], pieces, token_scores=token_scores))
        return predictions

    def best(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Find the tags with the highest score together `[B, S]`, within the rules of spans."""
        chain = self.chain()
        return emissions.argmax(2) if chain is None else best_path(emissions, lengths, chain)

    def chain(self) -> Chain | None:
        """The scores of transitions, within the rules of spans; None where neither holds."""
        if self.transitions is not None:
            chain = self.transitions.chain()
        elif self.follow is not None:
            zeros = to_double(self.layer.weight.new_zeros(self.target.size))
            chain = Chain(zeros, zeros.expand(self.target.size, -1), zeros)
        else:
            return None
        return chain if self.follow is None else chain.constrain(self.follow)

    def log_probs(self, emissions: Tensor, lengths: Tensor) -> Tensor:
        """Compute log p of every tag at every item `[B, S, K]`: the softmax, or the marginals of the CRF."""
        if self.transitions is None:
            return emissions.log_softmax(2)
        shares = marginals(emissions, lengths, self.transitions.chain())
        return shares.clamp(min=torch.finfo(shares.dtype).tiny).log()


def tag_log_probs(emissions: Tensor, target: Column) -> Tensor:
    """Log p of each tag by itself `[B, S]`; 0 for one that does not occur in training, and on padding."""
    real = target.mask() & (target.values >= 0)  # [B, S]
    log_probs = emissions.log_softmax(2).gather(2, target.values.clamp(min=0).unsqueeze(2)).squeeze(2)  # [B, S]
    return log_probs.masked_fill(~real, 0.0)


def check_lengths(encoding: Encoding, target: Column) -> None:
    """Refuse rows whose source and target have different numbers of items."""
    if target.values.shape == encoding.mask.shape and target.values.is_cuda:
        return  # comparing each row would wait for the device; the data were checked when they were read
    num_items, num_tags = encoding.mask.sum(1), target.lengths
    wrong = (num_items != num_tags).nonzero().flatten().tolist()
    if wrong or target.values.shape != encoding.mask.shape:
        row = wrong[0] if wrong else 0
        raise UserError(
            "E-length",
            "head=tagging",
            f"row {row + 1} of a batch has {int(num_items[row])} items in its source and {int(num_tags[row])} tags",
            "give each item one tag, and tokenize the source as the tags are (source/tokenizer=word)",
        )
