"""Searches: which sequence to say, given a generator that scores one step at a time.

A search sees a generator's `start` and `step` and nothing else: no decoder's type, no attention. Every hypothesis ends
with the end symbol, so that its log-probability is the generator's own; where the length limit is reached, only the
end symbol is allowed. Finished sentences leave the batch at every step, and no row sees another.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from seq2att.errors import UserError
from seq2att.kernels import best
from seq2att.registry import kind, register
from seq2att.types import BEGIN, END, PAD, Encoding, Hypotheses, Memory, State, Step, length_mask, select

NEVER = -math.inf
Pick = Callable[[Tensor, Tensor, int], Tensor]
"""Chooses tokens `[N]` from log-probabilities `[N, V]`, given the rows `[N]` that still speak and the steps so far."""

SEVERAL = 2  # candidates a beam for each place: at least half of them do not end


class Generates(Protocol):
    """What a search needs: a generator, an ensemble of them, anything with these two."""

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """The memory and the first state."""

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """One step after `tokens` `[N]`."""


@kind("search")
class Search:
    """Finds likely sequences for every row of an encoding.

    `min_length` and `max_length` count tokens without the end symbol; `max_length` null is twice the source's length
    plus 32, for each row by itself. `attention` set to False does without the weights, which take much memory for
    long inputs.
    """

    def __init__(self) -> None:
        self.min_length = 0
        self.max_length: int | None = None
        self.attention = True

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        """Hypotheses of every row, best first; `rows` `[B]` are the rows' numbers in the data (for sampling)."""
        raise NotImplementedError

    def limits(self, encoding: Encoding) -> Tensor:
        """The most tokens `[B]` that each row may say before its end symbol."""
        lengths = encoding.mask.sum(1)
        return torch.full_like(lengths, self.max_length) if self.max_length is not None else 2 * lengths + 32

    def restrict(self, log_probs: Tensor, said: int, limits: Sequence[int]) -> Tensor:
        """Set what may not come after `said` tokens to `NEVER` in `log_probs` `[N, V]`, in place.

        `limits` are those of the sentences, each of which has as many rows as the others.
        """
        log_probs.select(1, PAD).fill_(NEVER)
        log_probs.select(1, BEGIN).fill_(NEVER)
        width = log_probs.size(0) // max(1, len(limits))
        ends = log_probs.select(1, END)
        if said < self.min_length:
            ends.index_fill_(0, rows_of([said < limit for limit in limits], width, ends.device), NEVER)
        if said >= min(limits, default=said + 1):
            rows = rows_of([said >= limit for limit in limits], width, ends.device)
            kept = ends.index_select(0, rows)
            log_probs.index_fill_(0, rows, NEVER)
            ends.index_copy_(0, rows, kept)
        return log_probs


def rows_of(sentences: list[bool], width: int, device: torch.device) -> Tensor:
    """The rows of the sentences that are meant, each of which has `width` rows."""
    rows = [row for place, one in enumerate(sentences) if one for row in range(place * width, (place + 1) * width)]
    return torch.tensor(rows, dtype=torch.long, device=device)


class Move(NamedTuple):
    """One step of a search: the hypotheses that it asked, and how each of them came to be."""

    parents: Tensor  # [N] index into the hypotheses of the step before
    tokens: Tensor  # [N] what each said last
    log_probs: Tensor  # [N] of that
    weights: Tensor | None  # [N, S] what each looks at in this step


class Ends(NamedTuple):
    """Hypotheses that ended at one step, among others that did not."""

    rows: Tensor  # [F] rows of the encoding
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]; NEVER: it did not end
    log_probs: Tensor  # [F] of the end symbol


class Record:
    """What a search did, to trace back from."""

    def __init__(self, search: Search, encoding: Encoding) -> None:
        self.encoding = encoding
        self.attention = search.attention
        self.moves: list[Move] = []
        self.ends: list[Ends] = []

    @property
    def said(self) -> int:
        """The number of steps so far."""
        return len(self.moves)

    def add(self, parents: Tensor, tokens: Tensor, log_probs: Tensor, step: Step, ends: Ends) -> None:
        """One step: what was asked, what it answered, and what ended then."""
        self.moves.append(Move(parents, tokens, log_probs, step.weights if self.attention else None))
        self.ends.append(ends)


@register("search", "greedy")
class Greedy(Search):
    """Says the likeliest token at every step."""

    def __init__(self, *, min_length: int = 0, max_length: int | None = None) -> None:
        super().__init__()
        self.min_length, self.max_length = min_length, max_length

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        return roll_out(self, generator, encoding, lambda log_probs, live, said: log_probs.argmax(-1))


@register("search", "sample")
class Sample(Search):
    """Draws every token from the model's distribution.

    `temperature` divides the log-probabilities; `top_k` keeps the likeliest k tokens (0: all), `top_p` the fewest that
    hold that much probability (Holtzman et al. 2020). Each row draws from a stream of its own, given by `seed` and the
    row's number, so that its sample does not depend on its neighbours. `n_best` samples a row, likeliest first.
    """

    def __init__(
        self,
        *,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 1,
        n_best: int = 1,
        min_length: int = 0,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        self.min_length, self.max_length = min_length, max_length
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self.seed, self.n_best = seed, n_best

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        batch = encoding.mask.size(0)
        rows = torch.arange(batch) if rows is None else rows.cpu()
        copies = torch.arange(batch, device=encoding.mask.device).repeat_interleave(self.n_best)
        limits = self.limits(encoding).tolist()
        chances = [
            torch.rand(limit + 1, generator=stream(self.seed, row, copy), dtype=torch.float64)
            for row, limit in zip(rows.tolist(), limits, strict=True)
            for copy in range(self.n_best)
        ]
        padded = torch.nn.utils.rnn.pad_sequence(chances, batch_first=True) if chances else torch.zeros(0, 1)
        padded = padded.to(encoding.mask.device)  # [B*K, T]

        def draw(log_probs: Tensor, live: Tensor, said: int) -> Tensor:
            return self.draw(log_probs, padded[live, said])

        found = roll_out(self, generator, select(encoding, copies), draw)
        return ranked(found, batch, self.n_best)

    def draw(self, log_probs: Tensor, chance: Tensor) -> Tensor:
        """The token `[N]` where the cumulated probability of the likeliest ones passes `chance` `[N]`."""
        kept = self.top_k if 0 < self.top_k < log_probs.size(1) else log_probs.size(1)
        best, tokens = (log_probs.double() / self.temperature).topk(kept, -1)  # [N, k]
        probabilities = best.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities  # [N, k] what the likelier ones hold
        probabilities = probabilities * (before < self.top_p)
        cumulated = probabilities.cumsum(-1)
        place = (cumulated <= chance.unsqueeze(1) * cumulated[:, -1:]).sum(-1, keepdim=True)  # [N, 1]
        return tokens.gather(1, place.clamp(max=kept - 1)).squeeze(1)


def stream(seed: int, row: int, copy: int) -> torch.Generator:
    """The random numbers of one sample of one row."""
    return torch.Generator().manual_seed((seed * 1_000_003 + row) * 1_009 + copy)


def ranked(found: Hypotheses, batch: int, size: int) -> Hypotheses:
    """Hypotheses of `batch * size` rows as `size` a row, likeliest first."""
    scores = found.scores.view(batch, size)
    order = scores.argsort(dim=1, descending=True, stable=True)
    order = (order + size * torch.arange(batch, device=order.device).unsqueeze(1)).flatten()

    def regroup(tensor: Tensor) -> Tensor:
        grouped: Tensor = tensor[order].unflatten(0, (batch, size))
        return grouped.squeeze(2)

    weights = None if found.weights is None else regroup(found.weights)
    tokens, lengths, scores, log_probs = (regroup(tensor) for tensor in found[:4] if tensor is not None)
    return Hypotheses(tokens, lengths, scores, log_probs, weights)


def roll_out(search: Search, generator: Generates, encoding: Encoding, pick: Pick) -> Hypotheses:
    """One hypothesis a row: at every step `pick` chooses each live row's token."""
    memory, state = generator.start(encoding)
    live = torch.arange(encoding.mask.size(0), device=encoding.mask.device)  # [N] rows still speaking
    limits = search.limits(encoding).tolist()
    parents, tokens = live, torch.full_like(live, BEGIN)
    log_probs = totals = scores_of(encoding).new_zeros(live.size(0))  # [N]
    record = Record(search, encoding)
    while limits:
        said = generator.step(tokens, memory, state)
        allowed = search.restrict(said.log_probs, record.said, limits)
        chosen = pick(allowed, live, record.said)
        gained = said.log_probs.gather(1, chosen.unsqueeze(1)).squeeze(1)  # [N]
        totals = totals + gained
        over = chosen == END
        everyone = torch.arange(len(limits), device=live.device)
        ends = Ends(live, everyone, totals.masked_fill(~over, NEVER), gained)
        record.add(parents, tokens, log_probs, said, ends)
        parents, tokens, log_probs, state = everyone, chosen, gained, said.state
        ended = over.tolist()  # the one time in a step that the host waits for the device
        if any(ended):
            parents = torch.tensor([place for place, one in enumerate(ended) if not one], device=live.device)
            parents = parents.long()  # an empty list has no type
            limits = [limit for limit, one in zip(limits, ended, strict=True) if not one]
            tokens, log_probs, totals, live = (part[parents] for part in (tokens, log_probs, totals, live))
            state, memory = select(state, parents), select(memory, parents)
    return trace(record, 1)


@register("search", "beam")
class Beam(Search):
    """Keeps the `size` likeliest beginnings; a sentence is done when that many hypotheses of it have ended.

    Ended hypotheses are ranked by log-probability divided by length ** `length_penalty` (the end symbol counts):
    0 ranks by probability, 1 by the mean over tokens. `n_best` of them are returned.
    """

    def __init__(
        self,
        *,
        size: int = 5,
        length_penalty: float = 1.0,
        n_best: int = 1,
        min_length: int = 0,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        if n_best > size:
            raise UserError(
                f"search.n_best={n_best} asks for more than the beam of search.size={size} holds; "
                f"set search.size={n_best} or more (--beam {n_best})"
            )
        self.min_length, self.max_length = min_length, max_length
        self.size, self.length_penalty, self.n_best = size, length_penalty, n_best

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        memory, state = generator.start(encoding)
        limits = self.limits(encoding).tolist()
        live = torch.arange(len(limits), device=encoding.mask.device)  # [b] sentences not done
        scores = scores_of(encoding).new_zeros(len(limits), 1)  # [b, k] of the beginnings; one at first, then `size`
        pool = scores_of(encoding).new_full((len(limits), self.size), NEVER)  # [b, K] scores of what has ended
        parents, tokens, log_probs = live, torch.full_like(live, BEGIN), scores.flatten()  # [b * k]
        record = Record(self, encoding)
        while limits:
            said = generator.step(tokens, memory, state)
            found = self.choose(scores, self.restrict(said.log_probs, record.said, limits))
            ended = found.ended / (record.said + 1) ** self.length_penalty  # [b, K]
            pool = torch.cat([pool, ended], 1).topk(self.size, 1).values
            every = live.unsqueeze(1).expand(-1, self.size)  # [b, K]
            ends = Ends(every.flatten(), found.ended_parents, ended.flatten(), found.ended_log_probs)
            record.add(parents, tokens, log_probs, said, ends)
            grown = scores.size(1) != self.size
            scores, parents, tokens, log_probs = found[:4]
            # The one time in a step that the host waits for the device.
            done = ((pool[:, -1] > NEVER) | (scores[:, 0] == NEVER)).tolist()
            if any(done):
                keep = torch.tensor([place for place, one in enumerate(done) if not one], device=live.device).long()
                limits = [limit for limit, one in zip(limits, done, strict=True) if not one]
                parts = (scores, parents, tokens, log_probs, pool, live)
                scores, parents, tokens, log_probs, pool, live = (part.index_select(0, keep) for part in parts)
            parents, tokens, log_probs = parents.flatten(), tokens.flatten(), log_probs.flatten()
            state = select(said.state, parents)
            if grown or any(done):
                memory = select(memory, parents)  # beams of a sentence share it: only its number of rows changes
        return trace(record, self.n_best)

    def choose(self, scores: Tensor, log_probs: Tensor) -> Candidates:
        """The likeliest ways on from the beginnings: `size` that go on, and those that end among the first `size`."""
        (batch, width), vocabulary = scores.shape, log_probs.size(1)
        number = min(SEVERAL * self.size, width * vocabulary)  # c
        found, places = best(log_probs, scores, number)  # [b, c]
        if batch > 1:
            first = torch.arange(0, log_probs.numel(), width * vocabulary, device=places.device)
            places = places + first.unsqueeze(1)  # [b, c] in all of `log_probs`
        ends = places % vocabulary == END
        going = found.masked_fill(ends, NEVER)
        kept, order = going.sort(dim=1, descending=True, stable=True)  # [b, c]
        if number < self.size:  # a vocabulary smaller than the beam: fill up with what is never chosen
            spare = (0, self.size - number)
            kept, order = pad(kept, spare, value=NEVER), pad(order, spare)
            found, places, ends = pad(found, spare, value=NEVER), pad(places, spare), pad(ends, spare)
        chosen = places.gather(1, order[:, : self.size])  # [b, K]
        places = places[:, : self.size]
        return Candidates(
            kept[:, : self.size],
            chosen // vocabulary,
            chosen % vocabulary,
            log_probs.take(chosen),
            found[:, : self.size].masked_fill(~ends[:, : self.size], NEVER),
            places.flatten() // vocabulary,
            log_probs.take(places).flatten(),
        )


class Candidates(NamedTuple):
    """How a beam may go on."""

    scores: Tensor  # [b, K] of those that go on, best first
    parents: Tensor  # [b, K] index into the live hypotheses
    tokens: Tensor  # [b, K]
    log_probs: Tensor  # [b, K] of the tokens
    ended: Tensor  # [b, K] scores of those that end; NEVER: it does not
    ended_parents: Tensor  # [b * K]
    ended_log_probs: Tensor  # [b * K]


def trace(record: Record, n_best: int) -> Hypotheses:
    """The `n_best` ended hypotheses of every row, read back from their ends."""
    found, place = best_ends(record, n_best) if record.moves else (None, None)
    if found is None or place is None or place.numel() == 0:
        return nothing(record, n_best)
    nodes, starts = walk_back(record, found)  # [F, T]
    shaped = nothing(record, n_best, nodes.size(1))
    where, index = (found.rows, place), torch.arange(place.numel(), device=place.device)
    after, past = nodes.roll(-1, 1), ~length_mask(found.steps, nodes.size(1))  # [F, T]
    tokens = torch.cat([move.tokens for move in record.moves])[after].masked_fill_(past, PAD)
    tokens[index, found.steps] = END
    log_probs = torch.cat([move.log_probs for move in record.moves])[after].masked_fill_(past, 0.0)
    log_probs[index, found.steps] = found.log_probs.to(log_probs.dtype)
    shaped.tokens[where], shaped.log_probs[where] = tokens, log_probs.to(shaped.log_probs.dtype)
    shaped.lengths[where], shaped.scores[where] = found.steps + 1, found.scores.to(shaped.scores.dtype)
    if shaped.weights is not None:
        weights = [
            move.weights.index_select(0, (nodes[:, step] - start).clamp_(0, move.weights.size(0) - 1))
            for step, (move, start) in enumerate(zip(record.moves, starts, strict=False))
            if step < nodes.size(1) and move.weights is not None
        ]
        spoken = length_mask(found.steps + 1, nodes.size(1))  # [F, T]
        looked = torch.stack(weights, 1) * spoken.unsqueeze(2)  # [F, T, S]
        shaped.weights[where] = looked.to(shaped.weights.dtype)
    return shaped


class Found(NamedTuple):
    """Ended hypotheses of all steps, F in number."""

    rows: Tensor  # [F]
    steps: Tensor  # [F] how many tokens each said before its end symbol
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]
    log_probs: Tensor  # [F] of the end symbol


def best_ends(record: Record, n_best: int) -> tuple[Found, Tensor]:
    """The best `n_best` ends of every row, and the place `[F]` of each among its row's."""
    rows, parents, scores, log_probs = (torch.cat(parts) for parts in zip(*record.ends, strict=True))
    sizes = torch.tensor([end.rows.numel() for end in record.ends], device=rows.device)
    steps = torch.arange(len(sizes), device=rows.device).repeat_interleave(sizes)
    order = scores.argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]  # by row, best first
    counts = torch.bincount(rows, minlength=record.encoding.mask.size(0))
    place = torch.arange(order.numel(), device=order.device) - (counts.cumsum(0) - counts)[rows[order]]
    kept = (place < n_best) & (scores[order] > NEVER)
    chosen: Found = select(Found(rows, steps, parents, scores, log_probs), order[kept])
    return chosen, place[kept]


def walk_back(record: Record, found: Found) -> tuple[Tensor, list[int]]:
    """The hypotheses `[F, T]` that the ended ones came through, any of them after the end, and each step's first.

    They are numbered through over all steps.
    """
    sizes = [move.tokens.numel() for move in record.moves]
    starts = [0, *itertools.accumulate(sizes[:-1])]
    device = found.steps.device
    before = torch.tensor([0, *starts[:-1]], device=device).repeat_interleave(torch.tensor(sizes, device=device))
    parents = torch.cat([move.parents for move in record.moves]) + before  # [all]; the first are their own
    node = torch.tensor(starts, device=device)[found.steps] + found.parents  # [F]
    longest = int(found.steps.max()) + 1
    path = [node]
    for _ in range(longest - 1):
        path.append(parents.index_select(0, path[-1]))
    back = found.steps.unsqueeze(1) - torch.arange(longest, device=device)  # [F, T]
    return torch.stack(path, 1).gather(1, back.clamp(min=0)), starts


def scores_of(encoding: Encoding) -> Tensor:
    """An empty tensor of the type of scores, on the device: they are sums, for which half precision is too little."""
    outputs = encoding.outputs.new_empty(0)
    return outputs if outputs.dtype == torch.float64 else outputs.float()


def nothing(record: Record, n_best: int, longest: int = 0) -> Hypotheses:
    """No hypotheses yet, of the right shapes."""
    like, mask = scores_of(record.encoding), record.encoding.mask
    batch, device = mask.size(0), mask.device
    looked = record.attention and (not record.moves or record.moves[0].weights is not None)
    return Hypotheses(
        torch.full((batch, n_best, longest), PAD, device=device),
        torch.zeros(batch, n_best, dtype=torch.long, device=device),
        like.new_full((batch, n_best), NEVER),
        like.new_zeros(batch, n_best, longest),
        like.new_zeros(batch, n_best, longest, mask.size(1)) if looked else None,
    )
