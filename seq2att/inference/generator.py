"""A generator whose decoder is optimized for one step at a time.

The product of the decoder's input matrix and the embedding is a table, made once; all hypotheses of a sentence share
one memory.
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
from seq2att.recurrence import Layer, is_exact
from seq2att.search import Generates, Search
from seq2att.types import (
    CarriedState,
    Column,
    Encoding,
    Loss,
    Memory,
    Shared,
    State,
    Step,
    leaves,
    select,
    tree_map,
    where,
)

TABLE = 1 << 28  # bytes that the table of the embedding may take


class FastState(NamedTuple):
    """The state of the decoder."""

    layers: tuple[tuple[Tensor, ...], ...]  # of each layer (h,) or (h, c), [N, H]
    attention: State
    fed: Tensor  # [N, D] the last output, or [N, 0] without input feeding


class FastGenerator(Generator):
    """The counterpart of a `Generator` that `is_supported`; `optimized` is its copy with fast modules in it.

    It computes in the type of its weights, under autocast too.
    """

    def __init__(self, head: Generator, optimized: Generator, quantize: bool) -> None:
        torch.nn.Module.__init__(self)
        assert isinstance(head.decoder, RecurrentDecoder) and isinstance(optimized.decoder, RecurrentDecoder)
        # Class attributes of the head.
        self.metrics, self.loss_metrics, self.accuracy = head.metrics, head.loss_metrics, head.accuracy  # type: ignore[misc]
        self.task, self.multiple_references = head.task, head.multiple_references  # type: ignore[misc]
        self.target, self.label_smoothing = head.target, head.label_smoothing
        self.embedding, self.decoder, self.output = optimized.embedding, optimized.decoder, optimized.output
        self.attention = optimized.decoder.attention
        self.exact = None if quantize else (head.loss, head.token_scores)  # a whole sequence at once is faster
        decoder = head.decoder
        self.query_first, self.fed_size = decoder.query_first, decoder.fed_size
        self.context_size = self.attention.output_size
        self.fused = decoder.attention.fused()
        query = None if self.fused is None else self.fused.query
        self.query = None if query is None else Matrix(query, None, quantize)
        layers = [cast(Layer, layer) for layer in decoder.stack.layers]
        self.layers = tuple(StepLayer(layer, level, quantize) for level, layer in enumerate(layers))
        self.residual = decoder.stack.residual
        self.size, self.dtype = self.layers[-1].size, self.layers[-1].hidden.dtype
        readout = decoder.readout
        self.readout = None if readout is None else Matrix(readout.weight, readout.bias, quantize)
        self.prepare_input(head.embedding, layers[0], quantize)

    def prepare_input(self, embedding: torch.nn.Module, layer: Layer, quantize: bool) -> None:
        """Split the input of the first layer: a table or a matrix for the embedding, a matrix for the rest."""
        width = self.width = cast(int, self.embedding.output_size)
        weight, bias = layer.input_weight.detach(), input_bias(layer)
        columns, rest = weight[:, :width], weight[:, width:]
        self.table: Tensor | None = None
        self.embedded: Matrix | None = None
        is_table = isinstance(embedding, TextEmbedding) and is_exact(embedding, TextEmbedding, torch.nn.Dropout)
        vectors = cast(Tensor, embedding.weight).detach() if is_table else None  # [V, E]
        if vectors is not None and vectors.size(0) * columns.size(0) * vectors.element_size() <= TABLE:
            self.table = Matrix(columns, bias)(vectors)  # [V, G*H]
        else:
            self.embedded = Matrix(columns, bias, quantize)
        self.rest = Matrix(rest, None, quantize) if rest.size(1) else None

    @torch.no_grad()
    def start(self, encoding: Encoding) -> tuple[Any, State]:
        """The memory, one for each sentence however many rows attend to it, and the first state."""
        encoding = tree_map(lambda tensor: tensor.to(self.dtype) if tensor.is_floating_point() else tensor, encoding)
        memory, state = self.decoder.start(encoding)
        levels = range(len(self.layers))
        layers = tuple(tuple(part[:, level].to(self.dtype).contiguous() for part in state.layers) for level in levels)
        first = FastState(layers, state.attention, state.fed)
        if self.fused is None:
            return memory, first
        rows = torch.arange(encoding.mask.size(0))
        if not self.context_size:
            return Shared((), rows), first
        keys = memory.keys if self.fused.scale == 1 else memory.keys * self.fused.scale
        energy = None if self.fused.energy is None else self.fused.energy.detach().contiguous()
        return Shared(AttentionMemory(keys, memory.values, ~memory.mask, energy), rows), first

    @torch.no_grad()
    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """One step after `tokens` `[N]`, equal to that of the head."""
        mixed = state.fed.new_empty(tokens.size(0), self.size + self.context_size + self.query_first * self.width)
        hidden, context = mixed[:, : self.size], mixed[:, self.size : self.size + self.context_size]
        embedded = None
        if self.query_first or self.embedded is not None:
            embedded = self.embedding(tokens.unsqueeze(1)).squeeze(1)  # [N, E]
        if self.query_first:
            weights, attention = self.attend(state.layers[-1][0], memory, state.attention, context)
            mixed[:, self.size + self.context_size :] = embedded
            layers = self.run_layers(self.first_gates(tokens, embedded, (state.fed, context)), state.layers, hidden)
        else:
            layers = self.run_layers(self.first_gates(tokens, embedded, (state.fed,)), state.layers, hidden)
            weights, attention = self.attend(hidden, memory, state.attention, context)
        outputs = mixed if self.readout is None else self.readout(mixed, tanh=True)  # [N, D]
        return Step(self.output.log_probs(outputs), weights, FastState(layers, attention, outputs[:, : self.fed_size]))

    def for_search(self, search: Search) -> Generates:
        """This head, without the weights of the attention where the search does not keep them."""
        return self if search.attention else WithoutWeights(self)

    def first_gates(self, tokens: Tensor, embedded: Tensor | None, others: tuple[Tensor, ...]) -> Tensor:
        """The gates of the first layer without its own state: `[N, G*H]`."""
        if self.table is not None:
            gates = self.table.index_select(0, tokens)
        else:
            assert embedded is not None and self.embedded is not None
            gates = self.embedded(embedded)
        if self.rest is not None:
            others = tuple(part for part in others if part.size(1))
            self.rest(others[0] if len(others) == 1 else torch.cat(others, 1), out=gates, add=True)
        return gates

    def run_layers(self, gates: Tensor, state: tuple[tuple[Tensor, ...], ...], out: Tensor) -> tuple[Any, ...]:
        """The new states of the layers; the output of the top layer goes into `out` `[N, H]`."""
        layers: list[tuple[Tensor, ...]] = []
        below = out
        for level, (layer, (hidden, *memory)) in enumerate(zip(self.layers, state, strict=True)):
            if layer.inputs is not None:
                gates = layer.inputs(below)
            added = below if self.residual and level > 0 else None
            is_top = level == len(self.layers) - 1
            new = out.copy_(hidden) if is_top and added is None else hidden.clone()
            layers.append((new, *(part.clone() for part in memory)))
            kernels.recur(layer.cell, layer.hidden, layer.new_bias, gates.unsqueeze(1), layers[-1])
            below = new if added is None else new + added
        if below is not out:
            out.copy_(below)
        return tuple(layers)

    def attend(self, query: Tensor, memory: Any, state: State, out: Tensor) -> tuple[Tensor | None, State]:
        """The weights `[N, S]` and the attention's state; the context goes into `out` `[N, C]`."""
        if not isinstance(memory, Shared):
            attended = self.attention(query.unsqueeze(1), memory, state)
            out.copy_(attended.context.squeeze(1))
            return None if attended.weights is None else attended.weights.squeeze(1), attended.state
        if not self.context_size:
            return None, state
        if self.query is not None:
            query = self.query(query)
        return kernels.attend(query, memory.tree, memory.rows, out), state

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        """As of the head; in int8 step by step."""
        if self.exact is not None:
            return self.exact[0](encoding, target, state)
        if isinstance(state, CarriedState):
            return self.stream_loss(encoding, target, state)
        log_probs, correct = self.read(encoding, target)
        return Loss(-log_probs.sum(), (target.lengths + 1).sum(), correct=correct)

    @torch.no_grad()
    def stream_loss(self, encoding: Encoding, target: Column, carried: CarriedState) -> Loss:
        """The loss of running text, step by step; only at the end of a text do rows end before others."""
        memory, state = self.start(encoding)
        if leaves(carried.before):
            state = where(~carried.continues, state, carried.before)
        inputs, targets, real = shift_stream(target)  # [B, T] each
        total, correct = encoding.outputs.new_zeros(()), real.new_zeros((), dtype=torch.long)
        for position in range(inputs.size(1)):
            step = self.step(inputs[:, position], memory, state)
            log_probs = step.log_probs.gather(1, targets[:, position].unsqueeze(1)).squeeze(1)  # [B]
            total = total - (log_probs * real[:, position]).sum()
            correct += ((step.log_probs.argmax(1) == targets[:, position]) & real[:, position]).sum()
            state = step.state
        return Loss(total, real.sum(), state, correct)

    @torch.no_grad()
    def token_scores(self, encoding: Encoding, target: Column) -> Tensor:
        """Log p of every token `[B, T + 1]`; in int8 step by step, as in a search."""
        if self.exact is not None:
            return self.exact[1](encoding, target)
        return self.read(encoding, target)[0]

    def read(self, encoding: Encoding, target: Column) -> tuple[Tensor, Tensor]:
        """Step by step: log p of every token `[B, T + 1]`, and how many of them are the likeliest."""
        inputs, targets, real = shift_right(target)
        memory, state = self.start(encoding)
        log_probs = encoding.outputs.new_zeros(real.shape)
        correct = torch.zeros((), dtype=torch.long)
        rows = torch.arange(real.size(0))
        for position in range(real.size(1)):
            live = real[rows, position].nonzero().squeeze(1)
            if live.numel() < rows.numel():
                rows, memory, state = rows[live], select(memory, live), select(state, live)
            step = self.step(inputs[rows, position], memory, state)
            labels = targets[rows, position]  # [N]
            log_probs[rows, position] = step.log_probs.gather(1, labels.unsqueeze(1)).squeeze(1).to(log_probs.dtype)
            correct += (step.log_probs.argmax(1) == labels).sum()
            state = step.state
        return log_probs, correct


class WithoutWeights:
    """A generator that returns no weights of the attention: their memory is used again at every step."""

    def __init__(self, generator: FastGenerator) -> None:
        self.generator = generator

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The memory and the first state."""
        memory, state = self.generator.start(encoding)
        if isinstance(memory, Shared) and isinstance(memory.tree, AttentionMemory):
            memory.tree.reuses_weights = True
        return memory, state

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """One step without weights."""
        return self.generator.step(tokens, memory, state)._replace(weights=None)


class StepLayer:
    """The packed weights of one layer; the input of the first one is prepared elsewhere."""

    def __init__(self, layer: Layer, level: int, quantize: bool) -> None:
        self.cell, self.size = layer.cell, layer.size
        self.inputs = Matrix(layer.input_weight, input_bias(layer), quantize) if level else None
        self.hidden = Matrix(layer.hidden_weight, None, quantize)
        self.new_bias = new_bias(layer)
