"""The frozen baseline: what the official PyTorch tutorial on translation teaches, completed to a model one would use.

Frozen means: this file is never made faster and never slower, so that ratios of different days and machines mean the
same. It says everything with stock modules and nothing twice: a packed `nn.LSTM` (or GRU, or RNN) reads the source; a
Python loop runs the decoder one step at a time by the same kind of module; the attention projects its keys inside the
step, and the output layer runs inside the step, as in the tutorial's `AttnDecoderRNN.forward_step`; the loss is a
padded cross-entropy with `ignore_index`; Adam is the default one; gradients are clipped by `clip_grad_norm_`;
denormals are not flushed. What the tutorial leaves out and a usable model has: a mask over padding, several layers,
both directions, a tanh readout. The mathematics are those of the package, so that both give one loss.

Three stronger baselines stand beside it: `quick` (two lines that cost nothing to know: flushed denormals, and fused
Adam), `OneCall` for the decoder that is not fed its own output (one call of the recurrent module for all steps,
attention for all of them, the output layer once), and `beam_search`, batched and with keys that are projected once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from benchmarks.settings import Sizes

PAD, BEGIN, END = 0, 2, 3
CLIP = 1.0
RATE = 1e-3
NEVER = float("-inf")

Cell = Literal["lstm", "gru", "rnn"]
RECURRENT: dict[str, type[nn.RNNBase]] = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}


class Design(NamedTuple):
    """Which model a row trains."""

    cell: Cell = "lstm"
    layers: int = 1
    order: Literal["luong", "bahdanau"] = "luong"
    attention: Literal["general", "additive"] = "general"
    feeding: bool = True


class Encoder(nn.Module):
    """A packed bidirectional recurrent module."""

    def __init__(self, sizes: Sizes, design: Design) -> None:
        super().__init__()
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.embedding, padding_idx=PAD)
        module = RECURRENT[design.cell]
        self.rnn = module(sizes.embedding, sizes.encoder, design.layers, batch_first=True, bidirectional=True)

    def forward(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Any]:
        """Outputs `[B, S, 2H]`, and the last states of both directions side by side `[L, B, 2H]`."""
        embedded = self.embedding(source)  # [B, S, E]
        packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, state = self.rnn(packed)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=source.size(1))
        if isinstance(state, tuple):
            return outputs, tuple(joined(part) for part in state)
        return outputs, joined(state)


def joined(state: Tensor) -> Tensor:
    """The states `[2L, B, H]` of two directions side by side: `[L, B, 2H]`."""
    return torch.cat([state[0::2], state[1::2]], 2)


class General(nn.Module):
    """q . W m (Luong et al. 2015)."""

    def __init__(self, query: int, memory: int, size: int) -> None:
        super().__init__()
        self.key = nn.Linear(memory, query, bias=False)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """`[B, T, S]`."""
        return torch.bmm(query, keys.transpose(1, 2))


class Additive(nn.Module):
    """v . tanh(W q + U m) (Bahdanau et al. 2015), as the tutorial writes it."""

    def __init__(self, query: int, memory: int, size: int) -> None:
        super().__init__()
        self.query = nn.Linear(query, size)
        self.key = nn.Linear(memory, size)
        self.energy = nn.Linear(size, 1)

    def scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """`[B, T, S]`."""
        return self.energy(torch.tanh(self.query(query).unsqueeze(2) + keys.unsqueeze(1))).squeeze(3)


class Decoder(nn.Module):
    """A recurrent module with attention and an output layer."""

    def __init__(self, sizes: Sizes, design: Design) -> None:
        super().__init__()
        self.design = design
        self.size = sizes.decoder
        memory = 2 * sizes.encoder
        self.embedding = nn.Embedding(sizes.vocabulary, sizes.embedding, padding_idx=PAD)
        kind = General if design.attention == "general" else Additive
        self.attention = kind(sizes.decoder, memory, sizes.attention)
        bahdanau = design.order == "bahdanau"
        width = sizes.embedding + sizes.decoder * design.feeding + memory * bahdanau
        self.rnn = RECURRENT[design.cell](width, sizes.decoder, design.layers, batch_first=True)
        self.readout = nn.Linear(sizes.decoder + memory + sizes.embedding * bahdanau, sizes.decoder, bias=False)
        self.out = nn.Linear(sizes.decoder, sizes.vocabulary)

    def context(self, query: Tensor, keys: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """What the attention reads from the memory `[B, S, M]` for queries `[B, T, Q]`: `[B, T, M]`."""
        scores = self.attention.scores(query, keys).masked_fill(~mask.unsqueeze(1), NEVER)
        return torch.bmm(torch.softmax(scores, -1), memory)

    def step(
        self, tokens: Tensor, state: Any, fed: Tensor, memory: Tensor, mask: Tensor, keys: Tensor | None = None
    ) -> tuple[Tensor, Any, Tensor]:
        """One step after `tokens` `[B, 1]`: logits `[B, 1, V]`, the state, the readout `[B, 1, D]`."""
        if keys is None:
            keys = self.attention.key(memory)  # [B, S, A]
        embedded = self.embedding(tokens)  # [B, 1, E]
        parts = [embedded, fed] if self.design.feeding else [embedded]
        if self.design.order == "bahdanau":
            hidden = state[0] if isinstance(state, tuple) else state  # [L, B, H]
            context = self.context(hidden[-1].unsqueeze(1), keys, memory, mask)
            output, state = self.rnn(torch.cat([*parts, context], 2), state)
            mixed = [output, context, embedded]
        else:
            output, state = self.rnn(torch.cat(parts, 2), state)
            mixed = [output, self.context(output, keys, memory, mask)]
        output = torch.tanh(self.readout(torch.cat(mixed, 2)))
        return self.out(output), state, output

    def forward(self, given: Tensor, state: Any, memory: Tensor, mask: Tensor) -> Tensor:
        """Logits `[B, T, V]` after the tokens `[B, T]`."""
        fed = memory.new_zeros(given.size(0), 1, self.size)
        logits = []
        for tokens in given.split(1, dim=1):
            now, state, fed = self.step(tokens, state, fed, memory, mask)
            logits.append(now)
        return torch.cat(logits, 1)


class OneCallDecoder(Decoder):
    """The same without input feeding, by one call of each part."""

    def forward(self, given: Tensor, state: Any, memory: Tensor, mask: Tensor) -> Tensor:
        hidden, _ = self.rnn(self.embedding(given), state)  # [B, T, H]
        context = self.context(hidden, self.attention.key(memory), memory, mask)
        return self.out(torch.tanh(self.readout(torch.cat([hidden, context], 2))))


class Translator(nn.Module):
    """Encoder and decoder."""

    def __init__(self, sizes: Sizes, design: Design, decoder: type[Decoder] = Decoder) -> None:
        super().__init__()
        self.encoder = Encoder(sizes, design)
        self.decoder = decoder(sizes, design)

    def forward(self, source: Tensor, lengths: Tensor, given: Tensor) -> Tensor:
        """Logits `[B, T, V]`."""
        memory, state = self.encoder(source, lengths)
        return self.decoder(given, state, memory, positions(lengths, source.size(1)))


def positions(lengths: Tensor, size: int) -> Tensor:
    """Which of `size` positions are real: `[B, size]`."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


class Classifier(nn.Module):
    """Embedding, recurrent module, and a linear layer on the last real state; packed, or padded and then gathered."""

    def __init__(self, vocabulary: int, embedding: int, size: int, classes: int, packed: bool = True) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding, padding_idx=PAD)
        self.rnn = nn.LSTM(embedding, size, batch_first=True)
        self.out = nn.Linear(size, classes)
        self.packed = packed

    def forward(self, texts: Tensor, lengths: Tensor) -> Tensor:
        """Logits `[B, classes]`."""
        embedded = self.embedding(texts)
        if self.packed:
            packed = pack_padded_sequence(embedded, lengths.cpu(), batch_first=True, enforce_sorted=False)
            return self.out(self.rnn(packed)[1][0][-1])
        outputs = self.rnn(embedded)[0]
        return self.out(outputs[torch.arange(texts.size(0), device=texts.device), lengths - 1])


class Training:
    """A model, its optimizer and its step; `quick` takes the fused Adam (and the caller flushes denormals)."""

    def __init__(self, model: nn.Module, quick: bool = False) -> None:
        self.model = model
        fused = {"fused": True} if quick else {}
        self.optimizer = torch.optim.Adam(model.parameters(), lr=RATE, **fused)
        self.criterion = nn.CrossEntropyLoss(ignore_index=PAD)

    def loss(self, inputs: Sequence[Tensor], wanted: Tensor) -> Tensor:
        """The mean loss of the real answers."""
        logits = self.model(*inputs)
        return self.criterion(logits.reshape(-1, logits.size(-1)), wanted.reshape(-1))

    def step(self, inputs: Sequence[Tensor], wanted: Tensor) -> Tensor:
        """One step of training."""
        self.optimizer.zero_grad()
        loss = self.loss(inputs, wanted)
        loss.backward()
        clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        return loss


def shifted(target: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """What the decoder is given and what it should say, `[B, T + 1]` each, of targets `[B, T]` without end symbols."""
    begin = target.new_full((target.size(0), 1), BEGIN)
    wanted = torch.cat([target, torch.full_like(begin, PAD)], 1).scatter(1, lengths.unsqueeze(1), END)
    return torch.cat([begin, target], 1), wanted


class Speaker:
    """A `Translator` as a search sees it: everything repeated for each of K hypotheses, keys projected once."""

    def __init__(self, model: Translator) -> None:
        self.model = model

    def start(self, source: Tensor, lengths: Tensor, beams: int) -> Any:
        """What the first step needs."""
        memory, state = self.model.encoder(source, lengths)
        mask = positions(lengths, source.size(1))
        self.memory, self.mask = memory.repeat_interleave(beams, 0), mask.repeat_interleave(beams, 0)
        self.keys = self.model.decoder.attention.key(memory).repeat_interleave(beams, 0)  # [B*K, S, A]
        fed = memory.new_zeros(self.memory.size(0), 1, self.model.decoder.size)
        parts = state if isinstance(state, tuple) else (state,)
        return (*(part.repeat_interleave(beams, 1) for part in parts), fed)

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Log-probabilities `[N, V]` after `tokens` `[N]`, and the state."""
        *parts, fed = state
        hidden = tuple(parts) if len(parts) > 1 else parts[0]
        logits, after, fed = self.model.decoder.step(
            tokens.unsqueeze(1), hidden, fed, self.memory, self.mask, self.keys
        )
        kept = after if isinstance(after, tuple) else (after,)
        return torch.log_softmax(logits.squeeze(1), -1), (*kept, fed)

    def reorder(self, state: Any, rows: Tensor) -> Any:
        """The state of these rows."""
        *parts, fed = state
        return (*(part.index_select(1, rows) for part in parts), fed.index_select(0, rows))


@torch.inference_mode()
def beam_search(speaker: Any, source: Tensor, lengths: Tensor, beams: int = 5) -> list[list[int]]:
    """The best hypothesis of every row, by log-probability a token, the end symbol included.

    A sentence is done when `beams` hypotheses of it have ended; it stays in the batch until all are done.
    """
    batch = source.size(0)
    state = speaker.start(source, lengths, beams)
    scores = torch.full((batch, beams), NEVER, device=source.device)
    scores[:, 0] = 0.0
    said = source.new_full((batch * beams, 1), BEGIN)  # [B*K, t]
    limits = (2 * lengths + 32).repeat_interleave(beams)
    first = torch.arange(batch, device=source.device).unsqueeze(1) * beams
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(batch)]
    done = [False] * batch
    while not all(done):
        log_probs, state = speaker.step(said[:, -1], state)
        log_probs[:, [PAD, BEGIN]] = NEVER
        steps = said.size(1)  # of the hypotheses that end now, the end symbol counted
        over = limits < steps
        if bool(over.any()):
            end = log_probs[over, END]
            log_probs[over] = NEVER
            log_probs[over, END] = end
        total = scores.unsqueeze(2) + log_probs.view(batch, beams, -1)  # [B, K, V]
        best, places = total.flatten(1).topk(2 * beams, -1)  # [B, 2K]
        tokens, parents = places % log_probs.size(1), places // log_probs.size(1) + first
        ends = tokens == END
        for row, place in (ends & (best > NEVER))[:, :beams].nonzero().tolist():
            if not done[row]:
                ended[row].append((best[row, place].item() / steps, said[parents[row, place], 1:].tolist()))
        done = [len(found) >= beams for found in ended]
        going = best.masked_fill(ends, NEVER)
        order = going.argsort(dim=1, descending=True, stable=True)[:, :beams]
        scores = going.gather(1, order)
        rows = parents.gather(1, order).flatten()
        said = torch.cat([said.index_select(0, rows), tokens.gather(1, order).view(-1, 1)], 1)
        state = speaker.reorder(state, rows)
    return [max(found, key=lambda one: one[0])[1] for found in ended]
