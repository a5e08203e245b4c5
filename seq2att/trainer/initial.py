"""How the weights of a new model begin."""

from __future__ import annotations

import torch
from torch import nn

from seq2att.field.embedding import TextEmbedding
from seq2att.field.label import LabelEmbedding
from seq2att.recurrence import Layer
from seq2att.types import PAD

KERAS_EMBEDDING = 0.05  # its vectors are uniform between minus this and this


@torch.no_grad()
def init_as_keras(model: nn.Module) -> None:
    """Draw the weights anew from the distributions of Keras' layers.

    They differ from ours in size, not in kind. Keras draws the matrices of all gates of a layer as one: uniform by
    Glorot & Bengio (2010) over all its units, and one matrix with orthonormal columns. Ours are drawn gate by gate, so
    those of an LSTM start up to twice as large. Linear layers are uniform by Glorot & Bengio, their biases 0. Biases of
    a recurrent layer are the same in both: 0, but 1 for the forget gate of an LSTM.
    """
    for module in model.modules():
        if isinstance(module, Layer):
            nn.init.xavier_uniform_(module.input_weight)
            nn.init.orthogonal_(module.hidden_weight)
        elif isinstance(module, TextEmbedding | LabelEmbedding):
            nn.init.uniform_(module.weight, -KERAS_EMBEDDING, KERAS_EMBEDDING)
            if isinstance(module, TextEmbedding):
                module.weight[PAD].zero_()
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
