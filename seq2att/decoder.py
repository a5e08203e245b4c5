"""Decoders: what turns the memory and the tokens so far into the next output.

A plugin subclasses `Decoder`; its state is a tree of tensors whose dimension 0 is the batch, and one `forward` over
any number of steps serves training and search.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.errors import UserError, check_probability, check_size
from seq2att.recurrence import CellName, Dense, Draws, Dropout, Layer, Stack, feedback, is_exact
from seq2att.registry import Factory, expect, kind, register
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

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        """Any number of steps over `inputs` `[B, T, E]`, of which row b needs the first `lengths[b]`; None: all.

        What is said of a row past its length, and its state at the end, may be anything that is finite: a decoder may
        leave out that work. Those who pass `lengths` look at none of it.
        """
        raise NotImplementedError


class DecoderState(NamedTuple):
    """Where a recurrent decoder stands."""

    layers: tuple[Tensor, ...]  # (h,) or (h, c), each [B, L, H]
    attention: State
    fed: Tensor  # [B, D] the last output, or [B, 0] without input feeding


class Dropped(NamedTuple):
    """What dropout sets to 0 in one sequence, drawn before its first step."""

    stack: Draws
    outputs: Tensor | None  # [B, T, D], or [B, 1, D] when locked

    def at(self, step: int) -> Dropped:
        """That of one step."""
        outputs = self.outputs
        if outputs is not None and outputs.size(1) != 1:
            outputs = outputs[:, step : step + 1]
        return Dropped(self.stack.at(step), outputs)


class RecurrentDecoder(Decoder):
    """Recurrent layers with attention, in the order of Luong or of Bahdanau.

    luong: the cell takes [embedding ; fed output], its new state asks the attention, and the output is
    tanh(W [state ; context]) (Luong et al. 2015, eq. 5). bahdanau: the previous state asks the attention, the context
    enters the cell beside the embedding, and the output is tanh(W [state ; context ; embedding]) (Bahdanau et al.
    2015, with one tanh layer for their maxout). `input_feeding` gives each output to the next step. Without attention
    the output is the state itself, unless `readout` asks for a layer of that size. `input_dropout` falls on the
    embedded tokens, `dropout` on what every layer and the readout give. `locked` dropout is the same at
    every step (Gal & Ghahramani 2016); `weight_drop` sets numbers of the recurrent matrices to 0 for a whole sequence
    (Merity et al. 2018).
    """

    interchangeable = True
    """A recipe that tunes one of them tunes the others: `decoder=gru` keeps the size of its `lstm`."""
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
        input_dropout: float = 0.0,
        bridge: Literal["dense", "copy", "zeros"] = "dense",
        order: Literal["luong", "bahdanau"] = "luong",
        input_feeding: bool = False,
        readout: int | None = None,
        residual: bool = False,
        locked: bool = False,
        weight_drop: float = 0.0,
    ) -> None:
        super().__init__(input_size, memory_size)
        check_size("decoder.size", size)
        check_size("decoder.layers", layers)
        for name, share in (("dropout", dropout), ("input_dropout", input_dropout), ("weight_drop", weight_drop)):
            check_probability(f"decoder.{name}", share)
        if readout is not None:
            check_size("decoder.readout", readout, null="no such layer")
        self.attention = attention(size, memory_size)
        context = self.attention.output_size
        self.query_first = order == "bahdanau"
        mixed = context or readout is not None or self.query_first
        self.output_size = readout or size
        self.fed_size = self.output_size if input_feeding else 0
        self.feeds_back = input_feeding or self.attention.recurrent or (self.query_first and context > 0)
        width = input_size + self.fed_size + context * self.query_first
        self.stack = Stack(self.cell, width, size, layers, dropout, residual, locked, weight_drop)
        self.readout = (
            Dense(size + context + input_size * self.query_first, self.output_size, bias=False) if mixed else None
        )
        self.bridge = Bridge(bridge, memory_size, size, layers, self.stack.states)
        self.input_dropout = Dropout(input_dropout, locked)
        self.dropout = Dropout(dropout, locked)

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The keys of the attention, once; the bridge's states; nothing fed."""
        memory = Memory(self.attention.keys(encoding.outputs), encoding.outputs, encoding.mask, encoding.tokens)
        fed = encoding.outputs.new_zeros(encoding.outputs.size(0), self.fed_size)  # [B, D]
        return memory, DecoderState(self.bridge(encoding), self.attention.start(memory), fed)

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        """All steps at once when nothing feeds back; else as one loop, or by the same equations step by step."""
        inputs = self.input_dropout(inputs)  # [B, T, E]
        if not self.feeds_back or inputs.size(1) <= 1:
            return self.advance(inputs, memory, state, lengths)
        dropped = self.draw(inputs)
        said = self.loop(inputs, memory, state, lengths, dropped)
        return self.steps(inputs, memory, state, dropped) if said is None else said

    def draw(self, inputs: Tensor) -> Dropped:
        """What is dropped in a sequence as long as `inputs` `[B, T, E]`."""
        shape = (inputs.size(0), inputs.size(1), self.output_size)
        return Dropped(self.stack.draw(inputs), self.dropout.draw(inputs, shape))

    def steps(self, inputs: Tensor, memory: Memory, state: DecoderState, dropped: Dropped) -> Decoded:
        """One step after the other."""
        steps = []
        for number, token in enumerate(inputs.split(1, 1)):
            steps.append(self.advance(token, memory, state, None, dropped.at(number)))
            state = steps[-1].state
        outputs, weights, _, penalty = zip(*steps, strict=True)
        return Decoded(torch.cat(outputs, 1), cat_steps(weights), state, cat_steps(penalty))

    def loop(
        self, inputs: Tensor, memory: Memory, state: DecoderState, lengths: Tensor | None, dropped: Dropped
    ) -> Decoded | None:
        """All steps by a loop that computes what is real only, where there is one for them; else None."""
        fused = self.attention.fused()
        if fused is None or not self.can_loop():
            return None
        if not feedback.can_run(lengths, inputs, memory.values, state.fed, *state.layers):
            return None
        cell = next(self.stack.each()).cell
        layers = zip(self.stack.each(), dropped.stack.hidden, strict=True)
        weights = feedback.LoopWeights(
            [layer.weights(mask) for layer, mask in layers], None if self.readout is None else self.readout.weight
        )
        kind = feedback.LoopKind(cell, self.query_first, self.fed_size > 0, self.stack.residual)
        start = feedback.LoopState(state.layers, state.fed)
        masks = feedback.LoopMasks(dropped.stack.below, dropped.outputs)
        outputs, attended, end = feedback.run(kind, fused, weights, inputs, memory, start, masks, lengths)
        return Decoded(outputs, attended, DecoderState(end.layers, state.attention, end.fed))

    def advance(
        self,
        inputs: Tensor,
        memory: Memory,
        state: DecoderState,
        lengths: Tensor | None = None,
        dropped: Dropped | None = None,
    ) -> Decoded:
        """`inputs` `[B, T, E]`; with feedback T is 1. `dropped` is that of a longer sequence; None: drawn now."""
        if inputs.size(1) == 0:
            empty = inputs.new_zeros(inputs.size(0), 0, self.output_size)
            return Decoded(empty, empty.new_zeros(inputs.size(0), 0, memory.mask.size(1)), state)
        dropped = self.draw(inputs) if dropped is None else dropped
        cell_inputs = inputs
        if self.fed_size:
            cell_inputs = torch.cat([inputs, state.fed.unsqueeze(1)], 2)  # [B, 1, E + D]
        if self.query_first:
            return self.bahdanau(inputs, cell_inputs, memory, state, lengths, dropped)
        return self.luong(cell_inputs, memory, state, lengths, dropped)

    def luong(
        self, cell_inputs: Tensor, memory: Memory, state: DecoderState, lengths: Tensor | None, dropped: Dropped
    ) -> Decoded:
        """The cell, then the attention."""
        hidden, layers = self.stack(cell_inputs, state.layers, lengths, dropped.stack)  # [B, T, H]
        attended = expect(self.attention(hidden, memory, state.attention), Attended, "attention", self.attention)
        return self.finish([hidden, attended.context], layers, attended, dropped)

    def bahdanau(
        self,
        inputs: Tensor,
        cell_inputs: Tensor,
        memory: Memory,
        state: DecoderState,
        lengths: Tensor | None,
        dropped: Dropped,
    ) -> Decoded:
        """The attention, then the cell."""
        query = state.layers[0][:, -1:]  # [B, 1, H]
        attended = expect(self.attention(query, memory, state.attention), Attended, "attention", self.attention)
        context = attended.context.expand(-1, inputs.size(1), -1)  # [B, T, C], T = 1 unless C = 0
        hidden, layers = self.stack(torch.cat([cell_inputs, context], 2), state.layers, lengths, dropped.stack)
        return self.finish([hidden, context, inputs], layers, attended, dropped)

    def finish(self, mixed: list[Tensor], layers: tuple[Tensor, ...], attended: Attended, dropped: Dropped) -> Decoded:
        """The outputs from all that they are mixed of, `[B, T, ...]` each, and the new state."""
        outputs = torch.cat(mixed, 2)
        if self.readout is not None:
            outputs = torch.tanh(self.readout(outputs))
        if dropped.outputs is not None:
            outputs = outputs * dropped.outputs  # [B, T, D]
        state = DecoderState(layers, attended.state, outputs[:, -1, : self.fed_size])
        return Decoded(outputs, attended.weights, state, attended.penalty)

    def can_loop(self) -> bool:
        """Whether the loop may stand for the steps: no method or part is replaced, and no hook watches them."""
        own = ("steps", "advance", "luong", "bahdanau", "finish")
        if not all(getattr(getattr(self, name), "__func__", None) is getattr(RecurrentDecoder, name) for name in own):
            return False
        if type(self.stack) is not Stack or len({(type(layer), layer.cell) for layer in self.stack.each()}) != 1:
            return False
        if self.readout is not None and not (is_exact(self.readout, Dense) and self.readout.bias is None):
            return False
        return is_exact(self.stack, Stack, nn.ModuleList, Layer, Dropout) and is_exact(self.dropout, Dropout)


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
        self.dense = nn.ModuleList(Dense(memory_size, size) for _ in range(states if how == "dense" else 0))
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
        input_dropout: float = 0.0,
        bridge: Literal["dense", "copy", "zeros"] = "dense",
        order: Literal["luong", "bahdanau"] = "luong",
        input_feeding: bool = False,
        readout: int | None = None,
        residual: bool = False,
        locked: bool = False,
        weight_drop: float = 0.0,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
    ) -> None:
        super().__init__(
            input_size,
            memory_size,
            attention,
            size=size,
            layers=layers,
            dropout=dropout,
            input_dropout=input_dropout,
            bridge=bridge,
            order=order,
            input_feeding=input_feeding,
            readout=readout,
            residual=residual,
            locked=locked,
            weight_drop=weight_drop,
        )
        for layer in self.stack.layers:
            cast(Layer, layer).cell = nonlinearity
