"""Layers that read text: a vector for every piece, one dimension for every piece, or a piece's characters beside it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2att.types import PAD, length_mask

CHARACTER_SIZE = 30  # of a character's vector, and
WINDOW = 3  # characters that a unit sees at once: both as in Ma & Hovy 2016


class TextEmbedding(nn.Module):
    """A vector for every token; that of padding is zero and stays zero. `frozen`: training changes none of them."""

    def __init__(self, size: int, output_size: int, dropout: float, frozen: bool = False) -> None:
        super().__init__()
        self.output_size = output_size
        self.weight = nn.Parameter(torch.empty(size, output_size))  # [V, E]
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.weight, std=output_size**-0.5)  # vectors of length 1, whatever their size
        with torch.no_grad():
            self.weight[PAD].zero_()
        self.weight.requires_grad_(not frozen)

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of ids `[B, S]`: `[B, S, E]`."""
        vectors: Tensor = self.dropout(nn.functional.embedding(ids, self.weight, padding_idx=PAD))  # [B, S, E]
        return vectors


class OneHotEmbedding(nn.Module):
    """For every token a vector that is 1 at its id and 0 elsewhere, and 0 throughout for padding; nothing to train."""

    like: Tensor  # has the type and the device of the model

    def __init__(self, size: int, dropout: float) -> None:
        super().__init__()
        self.output_size = size
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("like", torch.zeros(()), persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of ids `[B, S]`: `[B, S, V]`."""
        places = ids.unsqueeze(2)  # [B, S, 1]
        vectors = self.like.new_zeros(*ids.shape, self.output_size)
        one_hot: Tensor = self.dropout(vectors.scatter_(2, places, (places != PAD).to(vectors.dtype)))  # [B, S, V]
        return one_hot


class SpelledEmbedding(nn.Module):
    """The vector of a token and, beside it, one that is made from its characters.

    The second is the largest value of a convolution over the vectors of the characters (Ma & Hovy 2016): of unit f
    `max_i (w_f . [c_{i-1}; c_i; c_{i+1}] + b_f)`, zeros for a token that has none (padding).
    """

    def __init__(self, words: TextEmbedding | OneHotEmbedding, alphabet: int, characters: int, dropout: float) -> None:
        super().__init__()
        self.words = words
        self.characters = TextEmbedding(alphabet, CHARACTER_SIZE, 0.0)
        self.compose = nn.Conv1d(CHARACTER_SIZE, characters, WINDOW, padding=WINDOW // 2)
        self.dropout = nn.Dropout(dropout)
        self.output_size = words.output_size + characters

    def forward(self, ids: Tensor) -> Tensor:
        """The vectors of ids with their characters `[B, S, 1 + C]`: `[B, S, E + characters]`."""
        if ids.dim() == 2:  # of no rows at all nobody knows that they would be wide
            ids = ids.new_zeros(*ids.shape, 2)
        spelled: Tensor = self.dropout(self.spell(ids[..., 1:]))  # [B, S, characters]
        return torch.cat([self.words(ids[..., 0]), spelled], 2)

    def spell(self, letters: Tensor) -> Tensor:
        """What is made of characters `[B, S, C]`, of equal ones only once: `[B, S, characters]`."""
        if not letters.numel():
            return self.compose.weight.new_zeros(*letters.shape[:2], self.compose.out_channels)
        distinct, where = letters.flatten(0, 1).unique(dim=0, return_inverse=True)  # [U, C], [B * S]
        lengths = (distinct != PAD).sum(1)  # [U]
        distinct = distinct[:, : max(1, int(lengths.max()))]
        real = length_mask(lengths, distinct.size(1)).unsqueeze(1)  # [U, 1, C]
        embedded = self.characters(distinct).transpose(1, 2) * real  # [U, CHARACTER_SIZE, C]
        found = self.compose(embedded).masked_fill(~real, -torch.inf).amax(2)  # [U, characters]
        found = found.masked_fill((lengths == 0).unsqueeze(1), 0.0)
        spelled: Tensor = found.index_select(0, where).unflatten(0, letters.shape[:2])  # [B, S, characters]
        return spelled
