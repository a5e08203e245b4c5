"""Useful work: the matrix products that the plain model needs for the real tokens, whatever an implementation computes.

A product of `[n, k]` and `[k, m]` is 2 n k m operations. Counted are, with G gates (LSTM 4, GRU 3, RNN 1):

    encoder      every layer and direction, a source token:  2 (input + H) G H
    keys         a source token:                             2 M A
    decoder      every layer, a target token:                2 (input + H) G H   (input: embedding, fed, context)
    attention    the query of the additive one, a token:     2 H A
                 scores and context, a (source, target) pair: 2 A + 2 M  (general: A = H)
    readout      a target token:                             2 (H + M [+ E]) D
    output       a target token:                             2 D V

Training is three times that: each product is done once forwards, and twice backwards (for what it multiplies). Padding,
keys projected again, recomputation, elementwise functions and the optimizer are not useful work by this count.
"""

from __future__ import annotations

from benchmarks.lengths import real_pairs
from benchmarks.settings import Sizes
from benchmarks.textbook import Design
from seq2att.types import Batch

GATES = {"lstm": 4, "gru": 3, "rnn": 1}


def recurrent(inputs: int, size: int, cell: str) -> int:
    """One layer in one direction, one token."""
    return 2 * (inputs + size) * GATES[cell] * size


def encoder_token(sizes: Sizes, design: Design) -> int:
    """What the encoder and the projection of keys take for a source token."""
    memory = 2 * sizes.encoder
    widths = [sizes.embedding] + [memory] * (design.layers - 1)
    keys = 2 * memory * (sizes.decoder if design.attention == "general" else sizes.attention)
    return sum(2 * recurrent(width, sizes.encoder, design.cell) for width in widths) + keys


def decoder_token(sizes: Sizes, design: Design) -> int:
    """What the decoder and the output layer take for a target token, beside looking at the source."""
    memory, bahdanau = 2 * sizes.encoder, design.order == "bahdanau"
    first = sizes.embedding + sizes.decoder * design.feeding + memory * bahdanau
    widths = [first] + [sizes.decoder] * (design.layers - 1)
    cells = sum(recurrent(width, sizes.decoder, design.cell) for width in widths)
    query = 2 * sizes.decoder * sizes.attention if design.attention == "additive" else 0
    readout = 2 * (sizes.decoder + memory + sizes.embedding * bahdanau) * sizes.decoder
    return cells + query + readout + 2 * sizes.decoder * sizes.vocabulary


def pair(sizes: Sizes, design: Design) -> int:
    """What a look of one target token at one source token takes."""
    return 2 * (sizes.decoder if design.attention == "general" else sizes.attention) + 2 * 2 * sizes.encoder


def forward(sizes: Sizes, design: Design, batch: Batch) -> int:
    """The useful work of a batch forwards, end symbols included; training is three times that."""
    assert batch.target is not None
    said = batch.target.lengths + 1
    looks = real_pairs(batch.source.lengths, said)
    return (
        int(batch.source.lengths.sum()) * encoder_token(sizes, design)
        + int(said.sum()) * decoder_token(sizes, design)
        + looks * pair(sizes, design)
    )


def classifier(tokens: int, rows: int, embedding: int, size: int, classes: int) -> int:
    """The useful work of a one-directional LSTM classifier forwards."""
    return tokens * recurrent(embedding, size, "lstm") + rows * 2 * size * classes


def beam(sizes: Sizes, design: Design, batch: Batch, beams: int) -> int:
    """The useful work of a beam search: the encoder once, the decoder for `beams` hypotheses of every sentence."""
    assert batch.target is not None
    source = int(batch.source.lengths.sum()) * encoder_token(sizes, design)
    return source + beams * (forward(sizes, design, batch) - source)


def weights_read(sizes: Sizes, design: Design, source: int, steps: int) -> int:
    """How many weights a search for one sentence reads: the encoder's at every token, the decoder's at every step."""
    return source * encoder_token(sizes, design) // 2 + steps * decoder_token(sizes, design) // 2
