"""Heads that generate sequences, token by token: translation, generation, language models."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from seq2att.contracts import check_decoded, check_hypotheses, check_start
from seq2att.decoder import Decoder
from seq2att.field import Field
from seq2att.head import Head, target_error
from seq2att.output import Output
from seq2att.registry import Factory, Rate, register
from seq2att.search import Generates, Prefixed, Search
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
    """Perplexity: `exp(loss)` of the mean loss of a token, infinite where that overflows."""
    return math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan


def bits(loss: float) -> float:
    """The mean loss of a token in bits: with `target/tokenizer=char`, the bits per character."""
    return loss / math.log(2)


class Generator(Head):
    """Generates a sequence token by token: embedding, decoder and output layer.

    Args:
        label_smoothing: share of the target distribution spread over the vocabulary in training.
    """

    loss_metrics: ClassVar[Mapping[str, Callable[[float], float]]] = {"perplexity": perplexity}
    accuracy: ClassVar[str] = "token_accuracy"
    multiple_references: ClassVar[bool] = True

    def __init__(
        self,
        memory_size: int,
        target: Field,
        decoder: Factory[Decoder],
        output: Factory[Output],
        *,
        label_smoothing: Rate = 0.0,
    ) -> None:
        super().__init__(memory_size, target)
        self.target = target
        self.embedding = target.embed()
        self.decoder = decoder(self.embedding.output_size, memory_size)
        self.output = output(self.decoder.output_size, target.size, self.embedding)
        self.label_smoothing = label_smoothing
        if not self.output.counts_correct:
            self.accuracy = ""  # type: ignore[misc]

    @classmethod
    def check(cls, target: Field) -> None:
        """Refuse a target that is not a sequence of tokens."""
        if not (target.is_sequence and target.has_tokens):
            raise target_error(cls, target, "a text, token by token", "text")

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """Make the memory, and the state before the first token."""
        return check_start(self.decoder, self.decoder.start(encoding), encoding.outputs.size(0))

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """Compute the step after `tokens` `[N]`."""
        decoded = self.decode(tokens.unsqueeze(1), memory, state)
        weights = None if decoded.weights is None else decoded.weights.squeeze(1)  # [N, S]
        return Step(self.output.log_probs(decoded.outputs.squeeze(1)), weights, decoded.state)

    def decode(self, tokens: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        """Decode `tokens` `[B, T]`, of which row b needs the first `lengths[b]` (None: all)."""
        inputs = self.embedding(tokens)  # [B, T, E]
        decoded = self.decoder(inputs, memory, state, lengths)
        return check_decoded(self.decoder, decoded, inputs, self.decoder.output_size)

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """Cross-entropy over the tokens and the end symbol; labels are smoothed in training only.

        Running text is shifted by `shift_stream`, and the state continues from the batch before.
        """
        memory, start = self.start(encoding)
        if isinstance(state, CarriedState):
            inputs, labels, real = shift_stream(target)  # [B, T] each
            start = start if not leaves(state.before) else where(~state.continues, start, state.before)
            decoded = self.decode(inputs, memory, start)
            return self.cross_entropy(decoded, labels, real)._replace(state=detach(decoded.state))
        inputs, labels, real = shift_right(target)  # [B, T + 1] each
        decoded = self.decode(inputs, memory, start, target.lengths + 1)
        return self.cross_entropy(decoded, labels, real)

    def cross_entropy(self, decoded: Decoded, labels: Tensor, real: Tensor) -> Loss:
        """The loss of `labels` `[B, T]` where `real` `[B, T]` is true, and how many of them are the likeliest there."""
        places = real.flatten().nonzero().squeeze(1)  # [N] real positions
        outputs = decoded.outputs.flatten(0, 1).index_select(0, places)  # [N, D]
        smoothing = self.label_smoothing if self.training else 0.0
        targets, correct = labels.flatten().index_select(0, places), None  # [N]
        if self.output.counts_correct:
            total, correct = self.output.loss_and_correct(outputs, targets, smoothing)
        else:
            total = self.output.loss(outputs, targets, smoothing)
        if decoded.penalty is not None:
            total = total + (decoded.penalty * real).sum()
        return Loss(total, real.sum(), correct=correct)

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(target | source) of every row `[B]`, the end symbol included."""
        return self.token_scores(encoding, target).sum(1)

    def token_scores(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(token | the tokens before it, source) `[B, T + 1]`, the end symbol last; 0 on padding."""
        inputs, labels, real = shift_right(target)
        memory, start = self.start(encoding)
        outputs = self.decode(inputs, memory, start, target.lengths + 1).outputs  # [B, T + 1, D]
        log_probs = outputs.new_zeros(real.shape)
        log_probs[real] = self.output.log_probs(outputs[real]).gather(1, labels[real].unsqueeze(1)).squeeze(1)
        return log_probs

    def predict(
        self,
        encoding: Encoding,
        search: Search | None = None,
        rows: Tensor | None = None,
        prefixes: Sequence[Sequence[int]] | None = None,
    ) -> list[Prediction]:
        """Search the best sequence for every row; the next best are in `others`.

        `prefixes` are the ids that each row begins with (without begin and end): a prediction holds its prefix, and the
        limits of the search count what comes after it.
        """
        if search is None:
            raise TypeError("a generator predicts by a search; pass Greedy(), Beam() or Sample()")
        hypotheses = find_hypotheses(self.for_search(search), search, encoding, rows, prefixes)
        return self.to_predictions(hypotheses, encoding.mask.sum(1))

    def for_search(self, search: Search) -> Generates:
        """What a search calls: this head, or something that does the same with less memory."""
        return self

    def to_predictions(self, hypotheses: Hypotheses, source_lengths: Tensor) -> list[Prediction]:
        """Convert hypotheses to texts with their tokens, scores and attention."""
        tokens, lengths = hypotheses.tokens.tolist(), hypotheses.lengths.tolist()
        log_probs = hypotheses.log_probs.tolist()
        predictions = []
        for row, size in enumerate(source_lengths.tolist()):
            answers = []
            for place, length in enumerate(lengths[row]):
                if length == 0 and place > 0:  # fewer hypotheses ended than n_best
                    continue
                ids = tokens[row][place][:length]
                weights = None if hypotheses.weights is None else hypotheses.weights[row, place, :length, :size].cpu()
                scores = tuple(log_probs[row][place][:length])
                pieces = self.target.pieces(ids)
                answers.append(Prediction(self.target.decode(ids), sum(scores), pieces, (), weights, scores))
            predictions.append(answers[0]._replace(others=tuple(answers[1:])))
        return predictions


def find_hypotheses(
    generator: Generates,
    search: Search,
    encoding: Encoding,
    rows: Tensor | None = None,
    prefixes: Sequence[Sequence[int]] | None = None,
) -> Hypotheses:
    """Search every row, which begins with its prefix if there are `prefixes`."""
    if prefixes is None:
        return check_hypotheses(search, search(generator, encoding, rows), encoding.mask.size(0))
    prefixed = Prefixed(generator, prefixes)
    return prefixed.prepend(check_hypotheses(search, search(prefixed, encoding, rows), encoding.mask.size(0)))


def shift_right(target: Column) -> tuple[Tensor, Tensor, Tensor]:
    """Teacher forcing: inputs (begin, then the tokens), labels (the tokens, then end), and the mask of real labels.

    All `[B, T + 1]`; padding is PAD.
    """
    batch, steps = target.values.shape
    begin = target.values.new_full((batch, 1), BEGIN)
    inputs = torch.cat([begin, target.values], 1)
    labels = torch.cat([target.values, begin.new_full((batch, 1), PAD)], 1)
    labels = labels.scatter(1, target.lengths.unsqueeze(1), END)
    return inputs, labels, length_mask(target.lengths + 1, steps + 1)


def shift_stream(target: Column) -> tuple[Tensor, Tensor, Tensor]:
    """Running text: inputs, labels and the mask of real labels, all `[B, T]`.

    A row of the target is the token before, then the labels, ends of texts among them. After an end the input is BEGIN,
    so that the same model starts new texts.
    """
    inputs = target.values[:, :-1]
    inputs = inputs.masked_fill(inputs == END, BEGIN)
    labels = target.values[:, 1:]
    return inputs, labels, length_mask(target.lengths - 1, labels.size(1))


@register("head", "translation")
class Translation(Generator):
    """Many-to-many: a text from a text, by a decoder with attention (Bahdanau et al. 2015, Luong et al. 2015)."""

    metrics: ClassVar[tuple[str, ...]] = ("bleu", "chrf", "ter", "exact", "per", "wer")


@register("head", "generation")
class Generation(Generator):
    """One-to-many: a text from a label, a vector or a set of vectors (Vinyals et al. 2015, Xu et al. 2015).

    A label or a vector is a memory of one position, from which the decoder starts (`decoder.bridge=dense`) and to which
    its attention attends at every step; `source=vectors` (the regions of an image) is a memory of several.
    """

    task: ClassVar[str] = "generate"
    metrics: ClassVar[tuple[str, ...]] = ("exact", "bleu", "chrf")


@register("head", "language_model")
class LanguageModel(Generator):
    """Language model: a text without a source, token by token (Mikolov et al. 2010).

    log p(text) = sum over t of log p(token t | the tokens before it), the end symbol included. It goes with
    `source=none` and `encoder=none`. With `data.batching=stream` it trains on running text, of which each batch
    continues the one before.
    """

    task: ClassVar[str] = "generate"
    metrics: ClassVar[tuple[str, ...]] = ()
    loss_metrics: ClassVar[Mapping[str, Callable[[float], float]]] = {"perplexity": perplexity, "bits": bits}
