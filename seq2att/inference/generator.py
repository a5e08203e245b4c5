"""A generator whose decoder and output layer are of the usual kind, one step at a time and nothing twice.

The decoder's input matrix times the embedding is a table made once; the hypotheses of a sentence look at one memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from seq2att import kernels
from seq2att.decoder import RecurrentDecoder
from seq2att.field import TextEmbedding
from seq2att.head import Generator, shift_right, shift_stream
from seq2att.inference.modules import input_bias, new_bias
from seq2att.kernels import AttentionMemory, Matrix
from seq2att.recurrence import Layer
from seq2att.types import CarriedState, Column, Encoding, Loss, Memory, Shared, State, Step, leaves, select, where

TABLE = 1 << 28  # bytes that the table of the embedding may take


class FastState(NamedTuple):
    """Where the decoder stands."""

    layers: tuple[tuple[Tensor, ...], ...]  # of each layer (h,) or (h, c), [N, H]
    attention: State
    fed: Tensor  # [N, D] the last output, or [N, 0] without input feeding


class FastGenerator(Generator):
    """Stands for a `Generator` that adds nothing to its class; `ready` is its copy with fast modules in it."""

    def __init__(self, model: Generator, ready: Generator, quantize: bool) -> None:
        torch.nn.Module.__init__(self)
        assert isinstance(model.decoder, RecurrentDecoder) and isinstance(ready.decoder, RecurrentDecoder)
        # The class it stands for says these.
        self.metrics, self.loss_metrics = model.metrics, model.loss_metrics  # type: ignore[misc]
        self.task, self.multiple_references = model.task, model.multiple_references  # type: ignore[misc]
        self.target, self.label_smoothing = model.target, model.label_smoothing
        self.embedding, self.decoder, self.output = ready.embedding, ready.decoder, ready.output
        self.attention = ready.decoder.attention
        self.whole = None if quantize else (model.loss, model.score)
        decoder = model.decoder
        self.query_first, self.fed_size = decoder.query_first, decoder.fed_size
        self.context = self.attention.output_size
        self.fused = decoder.attention.fused()
        asked = None if self.fused is None else self.fused.query
        self.query = None if asked is None else Matrix(asked, None, quantize)
        layers = [cast(Layer, layer) for layer in decoder.stack.layers]
        self.cells = tuple(Cell(layer, level, quantize) for level, layer in enumerate(layers))
        self.residual = decoder.stack.residual
        self.size = self.cells[-1].size
        self.readout = (
            None if decoder.readout is None else Matrix(decoder.readout.weight, decoder.readout.bias, quantize)
        )
        self.prepare_input(layers[0], quantize)

    def prepare_input(self, layer: Layer, quantize: bool) -> None:
        """What the first layer takes: a table or a matrix for the embedding, a matrix for the rest."""
        width = self.width = cast(int, self.embedding.output_size)
        weight, bias = layer.input_weight.detach(), input_bias(layer)
        words, rest = weight[:, :width], weight[:, width:]
        self.table: Tensor | None = None
        self.words: Matrix | None = None
        table = self.embedding.weight.detach() if type(self.embedding) is TextEmbedding else None
        if table is not None and table.size(0) * words.size(0) * table.element_size() <= TABLE:
            self.table = Matrix(words, bias)(table)  # [V, G*H]
        else:
            self.words = Matrix(words, bias, quantize)
        self.rest = Matrix(rest, None, quantize) if rest.size(1) else None

    @torch.no_grad()
    def start(self, encoding: Encoding) -> tuple[Any, State]:
        """The memory, one for each sentence however many rows look at it, and the first state."""
        memory, state = self.decoder.start(encoding)
        layers = tuple(tuple(part[:, level].contiguous() for part in state.layers) for level in range(len(self.cells)))
        first = FastState(layers, state.attention, state.fed)
        if self.fused is None:
            return memory, first
        rows = torch.arange(encoding.mask.size(0))
        if not self.context:
            return Shared((), rows), first
        keys = memory.keys if self.fused.scale == 1 else memory.keys * self.fused.scale
        energy = None if self.fused.energy is None else self.fused.energy.detach().contiguous()
        return Shared(AttentionMemory(keys, memory.values, ~memory.mask, energy), rows), first

    @torch.no_grad()
    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """One step after `tokens` `[N]`, as the model that it stands for makes it."""
        mixed = state.fed.new_empty(tokens.size(0), self.size + self.context + self.query_first * self.width)
        hidden, context = mixed[:, : self.size], mixed[:, self.size : self.size + self.context]
        embedded = None
        if self.query_first or self.words is not None:
            embedded = self.embedding(tokens.unsqueeze(1)).squeeze(1)  # [N, E]
        if self.query_first:
            weights, attention = self.attend(state.layers[-1][0], memory, state.attention, context)
            mixed[:, self.size + self.context :] = embedded
            layers = self.advance(self.enter(tokens, embedded, (state.fed, context)), state.layers, hidden)
        else:
            layers = self.advance(self.enter(tokens, embedded, (state.fed,)), state.layers, hidden)
            weights, attention = self.attend(hidden, memory, state.attention, context)
        outputs = mixed if self.readout is None else self.readout(mixed, tanh=True)  # [N, D]
        return Step(self.output.log_probs(outputs), weights, FastState(layers, attention, outputs[:, : self.fed_size]))

    def enter(self, tokens: Tensor, embedded: Tensor | None, others: tuple[Tensor, ...]) -> Tensor:
        """What the first layer makes of its input, before its own state: `[N, G*H]`."""
        if self.table is not None:
            gates = self.table.index_select(0, tokens)
        else:
            assert embedded is not None and self.words is not None
            gates = self.words(embedded)
        if self.rest is not None:
            others = tuple(part for part in others if part.size(1))
            self.rest(others[0] if len(others) == 1 else torch.cat(others, 1), out=gates, add=True)
        return gates

    def advance(self, gates: Tensor, state: tuple[tuple[Tensor, ...], ...], out: Tensor) -> tuple[Any, ...]:
        """The layers' new states; the top one's output goes into `out` `[N, H]`."""
        layers: list[tuple[Tensor, ...]] = []
        below = out
        for level, (cell, before) in enumerate(zip(self.cells, state, strict=True)):
            if cell.inputs is not None:
                gates = cell.inputs(below)
            added = below if self.residual and level > 0 else None
            last = level == len(self.cells) - 1
            hidden = out.copy_(before[0]) if last and added is None else before[0].clone()
            layers.append((hidden, *(part.clone() for part in before[1:])))
            kernels.recur(cell.name, cell.hidden, cell.new_bias, gates.unsqueeze(1), layers[-1])
            below = hidden if added is None else hidden + added
        if below is not out:
            out.copy_(below)
        return tuple(layers)

    def attend(self, query: Tensor, memory: Any, state: State, out: Tensor) -> tuple[Tensor | None, State]:
        """The weights `[N, S]` and the attention's state; the context goes into `out` `[N, C]`."""
        if not isinstance(memory, Shared):
            attended = self.attention(query.unsqueeze(1), memory, state)
            out.copy_(attended.context.squeeze(1))
            return None if attended.weights is None else attended.weights.squeeze(1), attended.state
        if not self.context:
            return None, state
        if self.query is not None:
            query = self.query(query)
        return kernels.attend(query, memory.whole, memory.rows, out), state

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        if self.whole is not None:
            return self.whole[0](encoding, target, state)
        if isinstance(state, CarriedState):
            return self.running_loss(encoding, target, state)
        return Loss(-self.score(encoding, target).sum(), (target.lengths + 1).sum())

    @torch.no_grad()
    def running_loss(self, encoding: Encoding, target: Column, running: CarriedState) -> Loss:
        """The loss of running text, step by step; only at the end of a text do rows end before others."""
        memory, state = self.start(encoding)
        if leaves(running.before):
            state = where(~running.continues, state, running.before)
        given, wanted, real = shift_stream(target)  # [B, T] each
        total = encoding.outputs.new_zeros(())
        for place in range(given.size(1)):
            said = self.step(given[:, place], memory, state)
            log_probs = said.log_probs.gather(1, wanted[:, place].unsqueeze(1)).squeeze(1)  # [B]
            total = total - (log_probs * real[:, place]).sum()
            state = said.state
        return Loss(total, real.sum(), state)

    @torch.no_grad()
    def score(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p(target | source) of every row `[B]`; an int8 model goes step by step, just as it speaks."""
        if self.whole is not None:
            return self.whole[1](encoding, target)
        given, wanted, real = shift_right(target)
        memory, state = self.start(encoding)
        total = encoding.outputs.new_zeros(real.size(0))
        rows = torch.arange(real.size(0))
        for place in range(real.size(1)):
            on = real[rows, place].nonzero().squeeze(1)
            if on.numel() < rows.numel():
                rows, memory, state = rows[on], select(memory, on), select(state, on)
            said = self.step(given[rows, place], memory, state)
            total[rows] += said.log_probs.gather(1, wanted[rows, place].unsqueeze(1)).squeeze(1)
            state = said.state
        return total


class Cell:
    """One layer of the decoder; the input of the first one is prepared elsewhere."""

    def __init__(self, layer: Layer, level: int, quantize: bool) -> None:
        self.name, self.size = layer.cell, layer.size
        self.inputs = Matrix(layer.input_weight, input_bias(layer), quantize) if level else None
        self.hidden = Matrix(layer.hidden_weight, None, quantize)
        self.new_bias = new_bias(layer)
