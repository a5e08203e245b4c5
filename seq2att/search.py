"""Searches: which sequence to say, given a generator that scores one step at a time.

A search sees a generator's `start` and `step` and nothing else: no decoder's type, no attention. Every hypothesis ends
with the end symbol, so that its log-probability is the generator's own; where the length limit is reached, only the
end symbol is allowed. Finished sentences leave the batch at every step, and no row sees another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.registry import kind, register
from seq2att.types import BEGIN, END, PAD, Encoding, Hypotheses, Memory, State, Step, select

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
    plus 32, for each row by itself.
    """

    def __init__(self) -> None:
        self.min_length = 0
        self.max_length: int | None = None

    def __call__(self, generator: Generates, encoding: Encoding, rows: Tensor | None = None) -> Hypotheses:
        """Hypotheses of every row, best first; `rows` `[B]` are the rows' numbers in the data (for sampling)."""
        raise NotImplementedError

    def limits(self, encoding: Encoding) -> Tensor:
        """The most tokens `[B]` that each row may say before its end symbol."""
        lengths = encoding.mask.sum(1)
        return torch.full_like(lengths, self.max_length) if self.max_length is not None else 2 * lengths + 32

    def restrict(self, log_probs: Tensor, said: int, limits: Tensor) -> Tensor:
        """Set what may not come after `said` tokens to `NEVER` in `log_probs` `[N, V]`, in place; `limits` `[N]`."""
        log_probs[:, [PAD, BEGIN]] = NEVER
        if said < self.min_length:
            log_probs[said < limits, END] = NEVER
        full = said >= limits  # [N]
        if bool(full.any()):
            end = log_probs[full, END]
            log_probs[full] = NEVER
            log_probs[full, END] = end
        return log_probs


class Move(NamedTuple):
    """One step of a search, to trace back from: what every live hypothesis said, and which it grew from."""

    parents: Tensor  # [N] index into the hypotheses of the step before
    tokens: Tensor  # [N]
    log_probs: Tensor  # [N]
    weights: Tensor | None  # [N, S] what it looked at when it said the token


class Ends(NamedTuple):
    """Hypotheses that ended at one step."""

    step: int  # how many tokens they said before the end symbol
    rows: Tensor  # [F] rows of the encoding
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]
    log_probs: Tensor  # [F] of the end symbol
    weights: Tensor | None  # [F, S]


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
    limits = search.limits(encoding)
    tokens = torch.full_like(live, BEGIN)
    moves: list[Move] = []
    ends: list[Ends] = []
    totals = encoding.outputs.new_zeros(live.size(0))  # [N]
    while live.numel():
        said = generator.step(tokens, memory, state)
        allowed = search.restrict(said.log_probs, len(moves), limits)
        tokens = pick(allowed, live, len(moves))
        log_probs = said.log_probs.gather(1, tokens.unsqueeze(1)).squeeze(1)  # [N]
        totals = totals + log_probs
        over = (tokens == END).nonzero().squeeze(1)
        if over.numel():
            ends.append(Ends(len(moves), live[over], over, totals[over], log_probs[over], rows_of(said.weights, over)))
        on = (tokens != END).nonzero().squeeze(1)
        moves.append(Move(on, tokens[on], log_probs[on], rows_of(said.weights, on)))
        tokens, totals, limits, live = tokens[on], totals[on], limits[on], live[on]
        state = select(said.state, on)
        memory = select(memory, on) if over.numel() else memory
    return trace(moves, ends, encoding, 1)


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
        batch = encoding.mask.size(0)
        memory, state = generator.start(encoding)
        live = torch.arange(batch, device=encoding.mask.device)  # [b] sentences not done
        scores = encoding.outputs.new_zeros(batch, 1)  # [b, k] of the beginnings; one at first, then `size`
        limits = self.limits(encoding)  # [b]
        pool = encoding.outputs.new_full((batch, self.size), NEVER)  # [b, K] scores of what has ended
        tokens = torch.full_like(live, BEGIN)  # [b * k]
        moves: list[Move] = []
        ends: list[Ends] = []
        while live.numel():
            said = generator.step(tokens, memory, state)
            width = scores.size(1)
            allowed = self.restrict(said.log_probs, len(moves), limits.repeat_interleave(width))
            chosen = self.choose(scores, allowed)
            pool, ended = self.end(chosen, pool, len(moves), live, said)
            ends += ended
            done = ((pool > NEVER).all(1) | (chosen.scores == NEVER).all(1)).nonzero().squeeze(1)
            keep = torch.ones_like(live, dtype=torch.bool).index_fill(0, done, False).nonzero().squeeze(1)
            parents, tokens = chosen.parents[keep].flatten(), chosen.tokens[keep].flatten()  # [b * K]
            log_probs = said.log_probs[parents, tokens]
            moves.append(Move(parents, tokens, log_probs, rows_of(said.weights, parents)))
            state = select(said.state, parents)
            if done.numel() or width != self.size:
                memory = select(memory, parents)  # beams of a sentence share it: only its number of rows changes
            scores, limits, pool, live = chosen.scores[keep], limits[keep], pool[keep], live[keep]
        return trace(moves, ends, encoding, self.n_best)

    def choose(self, scores: Tensor, log_probs: Tensor) -> Candidates:
        """The likeliest ways on from the beginnings: `size` that go on, and those that end among the first `size`."""
        batch, width = scores.shape
        vocabulary = log_probs.size(1)
        totals = scores.unsqueeze(2) + log_probs.view(batch, width, vocabulary)  # [b, k, V]
        best, places = totals.flatten(1).topk(min(SEVERAL * self.size, width * vocabulary), -1)  # [b, c]
        tokens = places % vocabulary
        parents = places // vocabulary + width * torch.arange(batch, device=places.device).unsqueeze(1)
        ending = (tokens == END) & (best > NEVER)  # [b, c]
        ending[:, self.size :] = False
        going = best.masked_fill(tokens == END, NEVER)
        order = going.argsort(dim=1, descending=True, stable=True)[:, : self.size]  # [b, K]
        if order.size(1) < self.size:  # a vocabulary smaller than the beam: fill up with what is never chosen
            order = torch.cat([order, order[:, :1].expand(-1, self.size - order.size(1))], 1)
        kept = going.gather(1, order)
        kept[:, going.size(1) :] = NEVER
        return Candidates(kept, parents.gather(1, order), tokens.gather(1, order), best, parents, ending)

    def end(self, chosen: Candidates, pool: Tensor, said: int, live: Tensor, step: Step) -> tuple[Tensor, list[Ends]]:
        """The pool `[b, K]` with what ends at this step, and the record of it."""
        if not bool(chosen.ending.any()):
            return pool, []
        normalised = chosen.best / (said + 1) ** self.length_penalty
        normalised = normalised.masked_fill(~chosen.ending, NEVER)  # [b, c]
        pool = torch.cat([pool, normalised], 1).topk(self.size, -1).values
        sentence, place = chosen.ending.nonzero(as_tuple=True)
        parents = chosen.ending_parents[sentence, place]
        scores = normalised[sentence, place]
        log_probs = step.log_probs[parents, END]
        return pool, [Ends(said, live[sentence], parents, scores, log_probs, rows_of(step.weights, parents))]


class Candidates(NamedTuple):
    """How a beam may go on."""

    scores: Tensor  # [b, K] of those that go on
    parents: Tensor  # [b, K] index into the live hypotheses
    tokens: Tensor  # [b, K]
    best: Tensor  # [b, c] scores of all candidates
    ending_parents: Tensor  # [b, c]
    ending: Tensor  # [b, c] which of them end


def rows_of(tensor: Tensor | None, rows: Tensor) -> Tensor | None:
    """These rows of a tensor that may be missing."""
    return None if tensor is None else tensor[rows]


def trace(moves: list[Move], ends: list[Ends], encoding: Encoding, n_best: int) -> Hypotheses:
    """The `n_best` ended hypotheses of every row, read back from their ends."""
    if not ends:
        return nothing(encoding, n_best)
    found, place = best_ends(ends, encoding.mask.size(0), n_best)
    tokens, log_probs, weights = walk_back(moves, found, encoding.mask.size(1))
    shaped = nothing(encoding, n_best, tokens.size(1))
    where = (found.rows, place)
    shaped.tokens[where], shaped.lengths[where] = tokens, found.steps + 1
    shaped.scores[where], shaped.log_probs[where] = found.scores, log_probs
    if shaped.weights is None or weights is None:
        return shaped._replace(weights=None)
    shaped.weights[where] = weights
    return shaped


class Found(NamedTuple):
    """Ended hypotheses of all steps, F in number."""

    rows: Tensor  # [F]
    steps: Tensor  # [F] how many tokens each said before its end symbol
    parents: Tensor  # [F] index into the hypotheses of that step
    scores: Tensor  # [F]
    log_probs: Tensor  # [F] of the end symbol
    weights: Tensor | None  # [F, S]


def best_ends(ends: list[Ends], batch: int, n_best: int) -> tuple[Found, Tensor]:
    """The best `n_best` ends of every row, and the place `[F]` of each among its row's."""
    weights = [end.weights for end in ends if end.weights is not None]
    every = Found(
        torch.cat([end.rows for end in ends]),
        torch.cat([torch.full_like(end.rows, end.step) for end in ends]),
        torch.cat([end.parents for end in ends]),
        torch.cat([end.scores for end in ends]),
        torch.cat([end.log_probs for end in ends]),
        torch.cat(weights) if weights else None,
    )
    order = every.scores.argsort(descending=True, stable=True)
    order = order[every.rows[order].argsort(stable=True)]  # by row, best first
    counts = torch.bincount(every.rows, minlength=batch)
    place = torch.arange(order.numel(), device=order.device) - (counts.cumsum(0) - counts)[every.rows[order]]
    best: Found = select(every, order[place < n_best])
    return best, place[place < n_best]


def walk_back(moves: list[Move], found: Found, source_size: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens `[F, T]`, log-probabilities `[F, T]` and weights `[F, T, S]` of hypotheses, from their ends."""
    number, longest = found.rows.numel(), int(found.steps.max()) + 1
    index = torch.arange(number, device=found.rows.device)
    tokens = torch.full((number, longest), PAD, device=found.rows.device)
    log_probs = found.scores.new_zeros(number, longest)
    tokens[index, found.steps], log_probs[index, found.steps] = END, found.log_probs
    weights = None
    if found.weights is not None:
        weights = found.scores.new_zeros(number, longest, source_size)
        weights[index, found.steps] = found.weights
    current = found.parents.clone()
    for said in range(longest - 2, -1, -1):  # moves[said] made the hypotheses that step said + 1 saw
        speaking = (found.steps > said).nonzero().squeeze(1)
        move, here = moves[said], current[speaking]
        tokens[speaking, said], log_probs[speaking, said] = move.tokens[here], move.log_probs[here]
        if weights is not None and move.weights is not None:
            weights[speaking, said] = move.weights[here]
        current[speaking] = move.parents[here]
    return tokens, log_probs, weights


def nothing(encoding: Encoding, n_best: int, longest: int = 0) -> Hypotheses:
    """No hypotheses yet, of the right shapes."""
    batch, device = encoding.mask.size(0), encoding.mask.device
    return Hypotheses(
        torch.full((batch, n_best, longest), PAD, device=device),
        torch.zeros(batch, n_best, dtype=torch.long, device=device),
        encoding.outputs.new_full((batch, n_best), NEVER),
        encoding.outputs.new_zeros(batch, n_best, longest),
        encoding.outputs.new_zeros(batch, n_best, longest, encoding.mask.size(1)),
    )
