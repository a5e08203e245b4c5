"""Decoders: what turns the memory and the tokens so far into the next output.

A plugin subclasses `Decoder`; its state is a tree of tensors whose dimension 0 is the batch, and one `forward` over
any number of steps serves training and search.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.errors import UserError
from seq2att.recurrence import CellName, Layer, Stack
from seq2att.registry import Factory, kind, register
from seq2att.types import Attended, Decoded, Encoding, Memory, State


@kind("decoder")
class Decoder(nn.Module):
    """Reads embedded target tokens `[B, T, E]` beside a memory and gives outputs `[B, T, D]`.

    `start` says what stays (the memory) and what changes (the state). Decoding x is the same as decoding x[:, :k]
    and then x[:, k:] from the state after it.
    """

    output_size: int

    def __init__(self, input_size: int, memory_size: int) -> None:
        super().__init__()

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The memory that decoding looks at, and the state before the first step."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, memory: Memory, state: State) -> Decoded:
        """Any number of steps over `inputs` `[B, T, E]`."""
        raise NotImplementedError


class DecoderState(NamedTuple):
    """Where a recurrent decoder stands."""

    layers: tuple[Tensor, ...]  # (h,) or (h, c), each [B, L, H]
    attention: State
    fed: Tensor  # [B, D] the last output, or [B, 0] without input feeding


class RecurrentDecoder(Decoder):
    """Recurrent layers with attention, in the order of Luong or of Bahdanau.

    luong: the cell takes [embedding ; fed output], its new state asks the attention, and the output is
    tanh(W [state ; context]) (Luong et al. 2015, eq. 5). bahdanau: the previous state asks the attention, the context
    enters the cell beside the embedding, and the output is tanh(W [state ; context ; embedding]) (Bahdanau et al.
    2015, with one tanh layer for their maxout). `input_feeding` gives each output to the next step. Without attention
    the output is the state itself, unless `readout` asks for a layer of that size.
    """

    cell: CellName

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        attention: Factory[Attention],
        *,
        size: int = 512,
        layers: int = 1,
        dropout: float = 0.0,
        bridge: Literal["dense", "copy", "zeros"] = "dense",
        order: Literal["luong", "bahdanau"] = "luong",
        input_feeding: bool = False,
        readout: int | None = None,
        residual: bool = False,
    ) -> None:
        super().__init__(input_size, memory_size)
        self.attention = attention(size, memory_size)
        context = self.attention.output_size
        self.query_first = order == "bahdanau"
        mixed = context or readout is not None or self.query_first
        self.output_size = readout or size
        self.fed_size = self.output_size if input_feeding else 0
        self.feeds_back = input_feeding or self.attention.recurrent or (self.query_first and context > 0)
        self.stack = Stack(
            self.cell, input_size + self.fed_size + context * self.query_first, size, layers, dropout, residual
        )
        self.readout = (
            nn.Linear(size + context + input_size * self.query_first, self.output_size, bias=False) if mixed else None
        )
        self.bridge = Bridge(bridge, memory_size, size, layers, self.stack.states)
        self.dropout = nn.Dropout(dropout)

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The keys of the attention, once; the bridge's states; nothing fed."""
        memory = Memory(self.attention.keys(encoding.outputs), encoding.outputs, encoding.mask, encoding.tokens)
        fed = encoding.outputs.new_zeros(encoding.outputs.size(0), self.fed_size)  # [B, D]
        return memory, DecoderState(self.bridge(encoding), self.attention.start(memory), fed)

    def forward(self, inputs: Tensor, memory: Memory, state: State) -> Decoded:
        """All steps at once when nothing feeds back, else the same code step by step."""
        if not self.feeds_back or inputs.size(1) <= 1:
            return self.advance(inputs, memory, state)
        steps = []
        for token in inputs.unbind(1):
            steps.append(self.advance(token.unsqueeze(1), memory, state))
            state = steps[-1].state
        outputs, weights, _, penalty = zip(*steps, strict=True)
        return Decoded(torch.cat(outputs, 1), cat_steps(weights), state, cat_steps(penalty))

    def advance(self, inputs: Tensor, memory: Memory, state: DecoderState) -> Decoded:
        """`inputs` `[B, T, E]`; with feedback T is 1."""
        if inputs.size(1) == 0:
            empty = inputs.new_zeros(inputs.size(0), 0, self.output_size)
            return Decoded(empty, empty.new_zeros(inputs.size(0), 0, memory.mask.size(1)), state)
        cell_inputs = inputs
        if self.fed_size:
            cell_inputs = torch.cat([inputs, state.fed.unsqueeze(1)], 2)  # [B, 1, E + D]
        if self.query_first:
            return self.bahdanau(inputs, cell_inputs, memory, state)
        return self.luong(cell_inputs, memory, state)

    def luong(self, cell_inputs: Tensor, memory: Memory, state: DecoderState) -> Decoded:
        """The cell, then the attention."""
        hidden, layers = self.stack(cell_inputs, state.layers)  # [B, T, H]
        attended = self.attention(hidden, memory, state.attention)
        return self.finish(torch.cat([hidden, attended.context], 2), layers, attended)

    def bahdanau(self, inputs: Tensor, cell_inputs: Tensor, memory: Memory, state: DecoderState) -> Decoded:
        """The attention, then the cell."""
        query = state.layers[0][:, -1:]  # [B, 1, H]
        attended = self.attention(query, memory, state.attention)
        context = attended.context.expand(-1, inputs.size(1), -1)  # [B, T, C], T = 1 unless C = 0
        hidden, layers = self.stack(torch.cat([cell_inputs, context], 2), state.layers)
        return self.finish(torch.cat([hidden, context, inputs], 2), layers, attended)

    def finish(self, mixed: Tensor, layers: tuple[Tensor, ...], attended: Attended) -> Decoded:
        """The outputs from all that they are mixed of, and the new state."""
        outputs = mixed if self.readout is None else torch.tanh(self.readout(mixed))
        outputs = self.dropout(outputs)  # [B, T, D]
        state = DecoderState(layers, attended.state, outputs[:, -1, : self.fed_size])
        return Decoded(outputs, attended.weights, state, attended.penalty)


def cat_steps(steps: tuple[Tensor | None, ...]) -> Tensor | None:
    """The steps side by side along T, or None where they say nothing."""
    tensors = [tensor for tensor in steps if tensor is not None]
    return torch.cat(tensors, 1) if tensors else None


class Bridge(nn.Module):
    """The decoder's first state from what the encoder found at the end.

    `dense`: h = tanh(W f), c = V f of the encoder's last states f, layer by layer from the top; the masked mean of the
    outputs stands for f where the encoder has no last states. `copy`: f itself. `zeros`: nothing.
    """

    def __init__(self, how: str, memory_size: int, size: int, layers: int, states: int) -> None:
        super().__init__()
        if how == "copy" and memory_size != size:
            raise UserError(
                f"decoder.bridge=copy needs decoder.size equal to the encoder's output size, but they are {size} and "
                f"{memory_size}; make them equal, or take decoder.bridge=dense"
            )
        self.how, self.size, self.layers = how, size, layers
        self.dense = nn.ModuleList(nn.Linear(memory_size, size) for _ in range(states if how == "dense" else 0))
        self.states = states

    def forward(self, encoding: Encoding) -> tuple[Tensor, ...]:
        """The first states, `[B, L, H]` each."""
        if self.how == "zeros":
            zeros = encoding.outputs.new_zeros(encoding.outputs.size(0), self.layers, self.size)
            return (zeros,) * self.states
        finals = [self.aligned(final) for final in encoding.final] or [self.mean(encoding)]
        finals = (finals + finals[:1])[: self.states]  # c starts from h's where the encoder has no c
        if self.how == "copy":
            return tuple(finals)
        hidden, *cells = (dense(final) for dense, final in zip(self.dense, finals, strict=True))
        return (torch.tanh(hidden), *cells)

    def aligned(self, final: Tensor) -> Tensor:
        """Encoder layers `[B, L', M]` as decoder layers `[B, L, M]`, top to top; a missing lower one is the lowest."""
        levels = [max(0, final.size(1) - self.layers + level) for level in range(self.layers)]
        return final[:, levels]

    def mean(self, encoding: Encoding) -> Tensor:
        """The mean of the real outputs, for every layer: `[B, L, M]`; 0 where there are none."""
        real = encoding.mask.unsqueeze(2)  # [B, S, 1]
        total = (encoding.outputs * real).sum(1, keepdim=True)  # [B, 1, M]
        return (total / real.sum(1, keepdim=True).clamp(min=1)).expand(-1, self.layers, -1)


@register("decoder", "lstm")
class LSTMDecoder(RecurrentDecoder):
    """Long short-term memory (Hochreiter & Schmidhuber 1997) with attention."""

    cell = "lstm"


@register("decoder", "gru")
class GRUDecoder(RecurrentDecoder):
    """Gated recurrent units (Cho et al. 2014) with attention."""

    cell = "gru"


@register("decoder", "rnn")
class RNNDecoder(RecurrentDecoder):
    """Simple recurrence (Elman 1990) with a tanh or relu, with attention."""

    cell = "tanh"

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        attention: Factory[Attention],
        *,
        size: int = 512,
        layers: int = 1,
        dropout: float = 0.0,
        bridge: Literal["dense", "copy", "zeros"] = "dense",
        order: Literal["luong", "bahdanau"] = "luong",
        input_feeding: bool = False,
        readout: int | None = None,
        residual: bool = False,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        super().__init__(
            input_size,
            memory_size,
            attention,
            size=size,
            layers=layers,
            dropout=dropout,
            bridge=bridge,
            order=order,
            input_feeding=input_feeding,
            readout=readout,
            residual=residual,
        )
        for layer in self.stack.layers:
            cast(Layer, layer).cell = nonlinearity
