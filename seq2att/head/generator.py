"""Heads that say sequences, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from seq2att.decoder import Decoder
from seq2att.field import Field
from seq2att.head import Head, target_error
from seq2att.output import Output
from seq2att.registry import Factory, expect, register
from seq2att.search import Prefixed, Search
from seq2att.types import (
    BEGIN,
    END,
    PAD,
    CarriedState,
    Column,
    Decoded,
    Encoding,
    Hypotheses,
    Loss,
    Memory,
    Prediction,
    State,
    Step,
    detach,
    leaves,
    length_mask,
    where,
)


def perplexity(loss: float) -> float:
    """`exp(loss)` of the mean loss of a token, infinite where that is too large to write."""
    return math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan


class Generator(Head):
    """Generates a sequence token by token: embedding, decoder and output layer."""

    loss_metrics: ClassVar[Mapping[str, Callable[[float], float]]] = {"perplexity": perplexity}
    multiple_references: ClassVar[bool] = True

    def __init__(
        self,
        memory_size: int,
        target: Field,
        decoder: Factory[Decoder],
        output: Factory[Output],
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(memory_size, target)
        self.target = target
        self.embedding = target.embed()
        self.decoder = decoder(self.embedding.output_size, memory_size)
        self.output = output(self.decoder.output_size, target.size, self.embedding)
        self.label_smoothing = label_smoothing

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target whose items are no tokens to be said one by one."""
        if not (target.is_sequence and target.has_tokens):
            raise target_error(cls, target, "a text token by token", "text")

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The memory that decoding looks at, and the state before the first token."""
        return self.decoder.start(encoding)

    def decode(self, tokens: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        """The decoder's answer to tokens `[B, T]`, of which row b needs the first `lengths[b]`; None: all."""
        return expect(self.decoder(self.embedding(tokens), memory, state, lengths), Decoded, "decoder", self.decoder)

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """One step after `tokens` `[N]`."""
        decoded = self.decode(tokens.unsqueeze(1), memory, state)
        weights = None if decoded.weights is None else decoded.weights.squeeze(1)  # [N, S]
        return Step(self.output.log_probs(decoded.outputs.squeeze(1)), weights, decoded.state)

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """Cross-entropy over the tokens and the end symbol; smoothed in training only, so that perplexity is honest.

        Of running text the target is as `shift_stream` says, and the state goes on where the batch before stopped.
        """
        memory, start = self.start(encoding)
        if isinstance(state, CarriedState):
            given, wanted, real = shift_stream(target)  # [B, T] each
            start = start if not leaves(state.before) else where(~state.continues, start, state.before)
            decoded = self.decode(given, memory, start)
            return self.cross_entropy(decoded, wanted, real)._replace(state=detach(decoded.state))
        given, wanted, real = shift_right(target)  # [B, T + 1] each
        decoded = self.decode(given, memory, start, target.lengths + 1)
        return self.cross_entropy(decoded, wanted, real)

    def cross_entropy(self, decoded: Decoded, wanted: Tensor, real: Tensor) -> Loss:
        """The loss of what should be said, `[B, T]`, of which only what is real counts."""
        places = real.flatten().nonzero().squeeze(1)  # [N] real positions
        outputs = decoded.outputs.flatten(0, 1).index_select(0, places)  # [N, D]
        smoothing = self.label_smoothing if self.training else 0.0
        total = self.output.loss(outputs, wanted.flatten().index_select(0, places), smoothing)
        if decoded.penalty is not None:
            total = total + (decoded.penalty * real).sum()
        return Loss(total, real.sum())

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(target | source) of every row `[B]`, the end symbol included."""
        given, wanted, real = shift_right(target)
        memory, start = self.start(encoding)
        outputs = self.decode(given, memory, start, target.lengths + 1).outputs  # [B, T + 1, D]
        log_probs = outputs.new_zeros(real.shape)
        log_probs[real] = self.output.log_probs(outputs[real]).gather(1, wanted[real].unsqueeze(1)).squeeze(1)
        total: Tensor = log_probs.sum(1)
        return total

    def predict(
        self,
        encoding: Encoding,
        search: Search | None = None,
        rows: Tensor | None = None,
        prefixes: Sequence[Sequence[int]] | None = None,
    ) -> list[Prediction]:
        """What the search finds for every row; the next best of it in `others`.

        With `prefixes`, the ids that each row begins with (without begin and end), it is how they go on: every answer
        holds its prefix, and the limits of the search count what comes after it.
        """
        if search is None:
            raise TypeError("a generator predicts by a search; pass Greedy(), Beam() or Sample()")
        lengths = encoding.mask.sum(1)
        if prefixes is None:
            return self.to_predictions(expect(search(self, encoding, rows), Hypotheses, "search", search), lengths)
        begun = Prefixed(self, prefixes)
        return self.to_predictions(
            begun.whole(expect(search(begun, encoding, rows), Hypotheses, "search", search)), lengths
        )

    def to_predictions(self, found: Hypotheses, source_lengths: Tensor) -> list[Prediction]:
        """Hypotheses as texts with their tokens, scores and attention."""
        tokens, lengths = found.tokens.tolist(), found.lengths.tolist()
        log_probs = found.log_probs.tolist()
        predictions = []
        for row, size in enumerate(source_lengths.tolist()):
            answers = []
            for place, length in enumerate(lengths[row]):
                if length == 0 and place > 0:  # fewer hypotheses ended than were asked for
                    continue
                ids = tokens[row][place][:length]
                weights = None if found.weights is None else found.weights[row, place, :length, :size].cpu()
                scores = tuple(log_probs[row][place][:length])
                pieces = self.target.pieces(ids)
                answers.append(Prediction(self.target.decode(ids), sum(scores), pieces, (), weights, scores))
            predictions.append(answers[0]._replace(others=tuple(answers[1:])))
        return predictions


def shift_right(target: Column) -> tuple[Tensor, Tensor, Tensor]:
    """What the decoder is given (begin, then the tokens), what it should say (the tokens, then end), what is real.

    All `[B, T + 1]`; padding is PAD, not real.
    """
    batch, steps = target.values.shape
    begin = target.values.new_full((batch, 1), BEGIN)
    given = torch.cat([begin, target.values], 1)
    wanted = torch.cat([target.values, begin.new_full((batch, 1), PAD)], 1)
    wanted = wanted.scatter(1, target.lengths.unsqueeze(1), END)
    return given, wanted, length_mask(target.lengths + 1, steps + 1)


def shift_stream(target: Column) -> tuple[Tensor, Tensor, Tensor]:
    """Of running text: what the decoder is given, what it should say, what is real; all `[B, T]`.

    A row of the target is the token before, and then those that should be said, ends of texts among them. The decoder
    is given BEGIN after an end, so that the same model starts new texts.
    """
    given = target.values[:, :-1]
    given = given.masked_fill(given == END, BEGIN)
    wanted = target.values[:, 1:]
    return given, wanted, length_mask(target.lengths - 1, wanted.size(1))


@register("head", "translation")
class Translation(Generator):
    """Many-to-many: a text for a text, by a decoder with attention (Bahdanau et al. 2015, Luong et al. 2015)."""

    metrics: ClassVar[tuple[str, ...]] = ("bleu", "chrf", "ter", "exact", "per", "wer")
