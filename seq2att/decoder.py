"""Decoders: from the memory and the tokens so far to the outputs of the next steps.

A plugin subclasses `Decoder`. Its state is a tree of tensors whose dimension 0 is the batch, and one `forward` over any
number of steps serves training (all steps) and search (one step).
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.contracts import check_attended
from seq2att.errors import UserError
from seq2att.recurrence import CellName, Dense, Draws, Dropout, Layer, Stack, feedback, is_exact
from seq2att.registry import Factory, Inherited, Range, Rate, Size, kind, register
from seq2att.types import Attended, Decoded, Encoding, Memory, State


@kind("decoder")
class Decoder(nn.Module):
    """Decodes embedded target tokens `[B, T, E]` with a memory into outputs `[B, T, D]`.

    A subclass sets `output_size` in its constructor, to which the program gives `input_size` (E) and `memory_size` (M),
    and writes `start` and `forward`. Decoding x must equal decoding x[:, :k] and then x[:, k:] from the state after it.
    """

    output_size: int
    """D, the size of the outputs."""

    def __init__(self, input_size: int, memory_size: int) -> None:
        super().__init__()

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """Make the memory, which stays the same for a sentence, and the state before the first step."""
        raise NotImplementedError

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        """Decode T >= 1 steps of `inputs` `[B, T, E]`.

        Args:
            inputs: the embedded tokens.
            memory: what `start` made.
            state: the state before these steps.
            lengths: the number of steps `[B]` that row b needs; None: all. What is returned past them, and the state
                at the end, may be anything finite: a decoder may leave out that work.

        Returns:
            `Decoded(outputs [B, T, D], weights [B, T, S] or None, state after the last step)`.
        """
        raise NotImplementedError


class DecoderState(NamedTuple):
    """The state of a recurrent decoder."""

    layers: tuple[Tensor, ...]  # (h,) or (h, c), each [B, L, H]
    attention: State
    fed: Tensor  # [B, D] the last output; [B, 0] without input feeding


class DropoutMasks(NamedTuple):
    """The dropout masks of one sequence, drawn before its first step."""

    stack: Draws
    outputs: Tensor | None  # [B, T, D], or [B, 1, D] when locked

    def at(self, step: int) -> DropoutMasks:
        """The masks of one step."""
        outputs = self.outputs
        if outputs is not None and outputs.size(1) != 1:
            outputs = outputs[:, step : step + 1]
        return DropoutMasks(self.stack.at(step), outputs)


class RecurrentDecoder(Decoder):
    """Recurrent layers with attention, in the order of Luong or of Bahdanau.

    Luong et al. 2015: the cell takes [embedding ; fed output], its new state is the query, and the output is
    tanh(W [state ; context]) (eq. 5). Bahdanau et al. 2015: the previous state is the query, the cell takes
    [embedding ; context], and the output is tanh(W [state ; context ; embedding]), one tanh layer in place of their
    maxout. Without attention the output is the state itself, unless `readout` is set.

    Args:
        size: units of a layer.
        layers: number of layers.
        dropout: dropout on the outputs of every layer and of the readout.
        input_dropout: dropout on the embedded tokens.
        bridge: first state from the encoder's last states f: `dense` h = tanh(W f), c = V f; `copy` f; `zeros` 0.
        order: attend after the cell (`luong`) or before it (`bahdanau`).
        input_feeding: give each output to the cell at the next step (Luong et al. 2015, 3.3).
        readout: units of the tanh layer that mixes state and context; null for `size`.
        residual: every layer but the first adds its input to its output (He et al. 2016).
        locked: use one dropout mask at all steps of a sequence (Gal & Ghahramani 2016).
        weight_drop: dropout on the recurrent weights, one mask for a batch (Merity et al. 2018).
    """

    interchangeable = True
    """The options of a recipe for one of them hold for the others: `decoder=gru` keeps the size of its `lstm`."""
    cell: CellName

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        attention: Factory[Attention],
        *,
        size: Size = 512,
        layers: Annotated[int, Range(1, 100)] = 1,
        dropout: Rate = 0.0,
        input_dropout: Rate = 0.0,
        bridge: Literal["dense", "copy", "zeros"] = "dense",
        order: Literal["luong", "bahdanau"] = "luong",
        input_feeding: bool = False,
        readout: Size | None = None,
        residual: bool = False,
        locked: bool = False,
        weight_drop: Rate = 0.0,
    ) -> None:
        super().__init__(input_size, memory_size)
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
        """Compute the keys of the attention once, and the first state by the bridge."""
        memory = Memory(self.attention.keys(encoding.outputs), encoding.outputs, encoding.mask)
        fed = encoding.outputs.new_zeros(encoding.outputs.size(0), self.fed_size)  # [B, D]
        return memory, DecoderState(self.bridge(encoding), self.attention.start(memory), fed)

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        """Decode all steps at once where nothing feeds back; else by the fused loop, or step by step."""
        inputs = self.input_dropout(inputs)  # [B, T, E]
        if not self.feeds_back or inputs.size(1) <= 1:
            return self.advance(inputs, memory, state, lengths)
        masks = self.draw(inputs)
        decoded = self.loop(inputs, memory, state, lengths, masks)
        return self.steps(inputs, memory, state, masks) if decoded is None else decoded

    def draw(self, inputs: Tensor) -> DropoutMasks:
        """Draw the dropout masks of a sequence as long as `inputs` `[B, T, E]`."""
        shape = (inputs.size(0), inputs.size(1), self.output_size)
        return DropoutMasks(self.stack.draw(inputs), self.dropout.draw(inputs, shape))

    def steps(self, inputs: Tensor, memory: Memory, state: DecoderState, masks: DropoutMasks) -> Decoded:
        """Decode one step after the other."""
        steps = []
        for number, token in enumerate(inputs.split(1, 1)):
            steps.append(self.advance(token, memory, state, None, masks.at(number)))
            state = steps[-1].state
        outputs, weights, _, penalty = zip(*steps, strict=True)
        return Decoded(torch.cat(outputs, 1), cat_steps(weights), state, cat_steps(penalty))

    def loop(
        self, inputs: Tensor, memory: Memory, state: DecoderState, lengths: Tensor | None, masks: DropoutMasks
    ) -> Decoded | None:
        """Decode all steps by the fused loop, which leaves out padding; None where it cannot be used."""
        fused = self.attention.fused()
        if fused is None or not self.can_loop():
            return None
        if not feedback.can_run(lengths, inputs, memory.values, state.fed, *state.layers):
            return None
        cell = next(self.stack.each()).cell
        layers = zip(self.stack.each(), masks.stack.hidden, strict=True)
        weights = feedback.LoopWeights(
            [layer.weights(mask) for layer, mask in layers], None if self.readout is None else self.readout.weight
        )
        kind = feedback.LoopKind(cell, self.query_first, self.fed_size > 0, self.stack.residual)
        start = feedback.LoopState(state.layers, state.fed)
        loop_masks = feedback.LoopMasks(masks.stack.below, masks.outputs)
        outputs, attended, end = feedback.run(kind, fused, weights, inputs, memory, start, loop_masks, lengths)
        return Decoded(outputs, attended, DecoderState(end.layers, state.attention, end.fed))

    def advance(
        self,
        inputs: Tensor,
        memory: Memory,
        state: DecoderState,
        lengths: Tensor | None = None,
        masks: DropoutMasks | None = None,
    ) -> Decoded:
        """Decode `inputs` `[B, T, E]` at once; T is 1 where something feeds back. `masks` None: draw them now."""
        if inputs.size(1) == 0:
            empty = inputs.new_zeros(inputs.size(0), 0, self.output_size)
            return Decoded(empty, empty.new_zeros(inputs.size(0), 0, memory.mask.size(1)), state)
        masks = self.draw(inputs) if masks is None else masks
        cell_inputs = inputs
        if self.fed_size:
            cell_inputs = torch.cat([inputs, state.fed.unsqueeze(1)], 2)  # [B, 1, E + D]
        if self.query_first:
            return self.bahdanau(inputs, cell_inputs, memory, state, lengths, masks)
        return self.luong(cell_inputs, memory, state, lengths, masks)

    def luong(
        self, cell_inputs: Tensor, memory: Memory, state: DecoderState, lengths: Tensor | None, masks: DropoutMasks
    ) -> Decoded:
        """Run the cell, then the attention."""
        hidden, layers = self.stack(cell_inputs, state.layers, lengths, masks.stack)  # [B, T, H]
        attended = self.attend(hidden, memory, state)
        return self.finish([hidden, attended.context], layers, attended, masks)

    def bahdanau(
        self,
        inputs: Tensor,
        cell_inputs: Tensor,
        memory: Memory,
        state: DecoderState,
        lengths: Tensor | None,
        masks: DropoutMasks,
    ) -> Decoded:
        """Run the attention, then the cell."""
        query = state.layers[0][:, -1:]  # [B, 1, H]
        attended = self.attend(query, memory, state)
        context = attended.context.expand(-1, inputs.size(1), -1)  # [B, T, C], T = 1 unless C = 0
        hidden, layers = self.stack(torch.cat([cell_inputs, context], 2), state.layers, lengths, masks.stack)
        return self.finish([hidden, context, inputs], layers, attended, masks)

    def attend(self, query: Tensor, memory: Memory, state: DecoderState) -> Attended:
        """Attend with the queries `[B, T, H]`."""
        attended = self.attention(query, memory, state.attention)
        return check_attended(self.attention, attended, query, self.attention.output_size)

    def finish(
        self, mixed: list[Tensor], layers: tuple[Tensor, ...], attended: Attended, masks: DropoutMasks
    ) -> Decoded:
        """Compute the outputs from the parts `[B, T, ...]` of the readout's input, and the new state."""
        outputs = torch.cat(mixed, 2)
        if self.readout is not None:
            outputs = torch.tanh(self.readout(outputs))
        if masks.outputs is not None:
            outputs = outputs * masks.outputs  # [B, T, D]
        state = DecoderState(layers, attended.state, outputs[:, -1, : self.fed_size])
        return Decoded(outputs, attended.weights, state, attended.penalty)

    def can_loop(self) -> bool:
        """Whether the fused loop equals the steps: no method or sub-module is replaced, and none has a hook."""
        own = ("steps", "advance", "luong", "bahdanau", "attend", "finish")
        if not all(getattr(getattr(self, name), "__func__", None) is getattr(RecurrentDecoder, name) for name in own):
            return False
        if not (is_exact(self.stack, Stack, nn.ModuleList, Layer, Dropout) and is_exact(self.dropout, Dropout)):
            return False
        if {type(layer) for layer in self.stack.each()} != {Layer} or len(
            {part.cell for part in self.stack.each()}
        ) > 1:
            return False
        return self.readout is None or (is_exact(self.readout, Dense) and self.readout.bias is None)


def cat_steps(steps: tuple[Tensor | None, ...]) -> Tensor | None:
    """Concatenate the steps along T; None where they have none."""
    tensors = [tensor for tensor in steps if tensor is not None]
    return torch.cat(tensors, 1) if tensors else None


class Bridge(nn.Module):
    """The decoder's first state, from the encoder's last states f.

    `dense`: h = tanh(W f), c = V f, layer by layer from the top; the mean of the real outputs stands for f where the
    encoder has no last states. `copy`: f itself. `zeros`: 0.
    """

    def __init__(self, how: str, memory_size: int, size: int, layers: int, states: int) -> None:
        super().__init__()
        if how == "copy" and memory_size != size:
            raise UserError(
                "E-conflict",
                "decoder.bridge=copy",
                f"decoder.size={size} must equal the encoder's output size {memory_size}",
                "make them equal, or set decoder.bridge=dense",
            )
        self.how, self.size, self.layers = how, size, layers
        self.dense = nn.ModuleList(Dense(memory_size, size) for _ in range(states if how == "dense" else 0))
        self.states = states

    def forward(self, encoding: Encoding) -> tuple[Tensor, ...]:
        """Make the first states, `[B, L, H]` each."""
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
        """Encoder layers `[B, L', M]` as decoder layers `[B, L, M]`, aligned at the top; the lowest one is repeated."""
        levels = [max(0, final.size(1) - self.layers + level) for level in range(self.layers)]
        return final[:, levels]

    def mean(self, encoding: Encoding) -> Tensor:
        """The mean of the real outputs for every layer, `[B, L, M]`; 0 where there are none."""
        real = encoding.mask.unsqueeze(2)  # [B, S, 1]
        total = (encoding.outputs * real).sum(1, keepdim=True)  # [B, 1, M]
        return (total / real.sum(1, keepdim=True).clamp(min=1)).expand(-1, self.layers, -1)


@register("decoder", "lstm")
class LSTMDecoder(RecurrentDecoder):
    """LSTM with attention (Hochreiter & Schmidhuber 1997)."""

    cell = "lstm"


@register("decoder", "gru")
class GRUDecoder(RecurrentDecoder):
    """GRU with attention (Cho et al. 2014)."""

    cell = "gru"


@register("decoder", "rnn")
class RNNDecoder(RecurrentDecoder):
    """RNN with attention: simple recurrence h' = f(W x + U h + b) (Elman 1990).

    Args:
        nonlinearity: the activation f.
    """

    cell = "tanh"

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        attention: Factory[Attention],
        *,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        **options: Inherited,
    ) -> None:
        super().__init__(input_size, memory_size, attention, **options)
        for layer in self.stack.layers:
            cast(Layer, layer).cell = nonlinearity
