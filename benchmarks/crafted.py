"""A model that was never trained and yet ends its sentences when a translation would.

Decoding time depends on how long the outputs are, and random weights never say the end symbol, or only that. So some
LSTM units of the encoder count: their gates stand open, and every token adds a little to their cells, more or less by
what token it is. The decoder's first state is the encoder's last one, and the same units of its LSTM take as much off
again at every step. Some units of the readout see when nothing is left, and only then the end symbol's logit, which
reads nothing else, passes all others. A sentence thus gets about as many tokens as its source has, with Multi30k's
deviation; the other weights stay random, and no weight is larger than usual, so that the model can be quantized.
"""

from __future__ import annotations

import math

import torch

from benchmarks.textbook import END, Translator

OPEN = 20.0  # a gate with this bias is open
TICK = 0.5  # what a token adds to a counting cell, noise apart
NOISE = 0.5  # deviation of that between tokens, in ticks: 2 tokens in a sentence of 15
TAKEN = 0.43  # what a step takes off: Multi30k has 0.964 target tokens for a source token
UNITS = 16  # that count
SEEING = 64  # readout units that look at them
LOUD = 5.0  # the end symbol's logit lies between minus and plus this
EDGE = 0.8  # and is this when nothing is left


@torch.no_grad()
def follow_source(model: Translator) -> Translator:
    """Craft the counting units into an LSTM translator of one layer with Luong's order."""
    encoder, decoder = model.encoder.rnn, model.decoder.rnn
    units = min(UNITS, encoder.hidden_size // 2)
    for rnn, change in ((encoder, TICK), (decoder, -TAKEN)):
        for gate, bias in enumerate((OPEN, OPEN, math.atanh(change), OPEN)):
            rows = slice(gate * rnn.hidden_size, gate * rnn.hidden_size + units)
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_hh_l0"):
                getattr(rnn, name)[rows] = 0.0
            rnn.bias_ih_l0[rows] = bias
    counting = slice(2 * encoder.hidden_size, 2 * encoder.hidden_size + units)
    slope = NOISE * TICK / (1 - TICK**2) / encoder.input_size**0.5  # of embeddings with deviation 1
    encoder.weight_ih_l0[counting] = slope * torch.randn(encoder.input_size)
    readout, out = model.decoder.readout.weight, model.decoder.out
    seeing = min(SEEING, model.decoder.size // 4)
    readout[:seeing] = 0.0
    readout[:seeing, :units] = 1.0 / units
    out.weight[END] = 0.0
    out.weight[END, :seeing] = -LOUD / seeing
    out.bias[END] = EDGE
    return model
