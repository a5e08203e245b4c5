"""Scoring targets: log p(target | source), and its factors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy.typing as npt
import torch

from seq2att.api.inputs import encode_values, on_device
from seq2att.api.options import Scoring
from seq2att.data import Ragged, by_length
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.field.tags import length_mismatch
from seq2att.head import Generator
from seq2att.memory import in_parts, naming_rows
from seq2att.model import Model
from seq2att.types import END, SPECIALS, Batch

PAIRS = 64  # scored together
TOKENS = 1 << 11  # source and target tokens: scoring holds a distribution over the vocabulary for each

Arrays = list[npt.NDArray[Any]]
WarnUnknown = Callable[[Field, Sequence[Any], Arrays, int], None]  # a field, its values, their ids, the first number


class Scored(NamedTuple):
    """The log-probability of a target given its source."""

    score: float  # log p(target | source); a text includes its end symbol; for a number it is minus the loss
    tokens: int  # number of terms of the score: tokens and the end symbol of a text, tags, or one label or number
    perplexity: float | None = None  # per token of a text; None for other targets
    pieces: tuple[str, ...] = ()  # with `tokens=True`: what each term is of; the end symbol of a text last
    token_scores: tuple[float, ...] = ()  # with `tokens=True`: the terms, log p(piece | the pieces before it, source)


def score_pairs(
    model: Model, ready: Model, items: Sequence[Any], options: Scoring, warn_unknown: WarnUnknown
) -> list[Scored]:
    """Score pairs, or texts of a model without a source, by the model that is ready for inference."""
    first = options.get("first_pair", 1)
    if not model.source.has_values:
        items = [(None, item) if isinstance(item, str) else item for item in items]
    encoded = encode_pairs(model, items, first)
    for field, values, arrays in zip((model.source, model.target), zip(*items, strict=True), encoded, strict=False):
        if field.has_values:
            warn_unknown(field, values, arrays, first)
    sources, targets = map(Ragged.of, encoded)
    both, with_terms = sources.lengths + targets.lengths, options.get("tokens", False)
    terms: list[list[float]] = [[]] * len(items)  # of each score, and padding; or the score
    compute = ready.token_scores if with_terms else lambda batch: ready.score(batch).unsqueeze(1)
    with torch.inference_mode(), naming_rows(lambda row: f"pair {row + first}"):
        for rows in by_length(both, options.get("batch_size", PAIRS), options.get("batch_tokens", TOKENS)):
            new = torch.zeros(len(rows), dtype=torch.bool)
            batch = Batch(sources.gather(rows), targets.gather(rows), torch.from_numpy(rows), new)
            parts = in_parts(lambda part, _: compute(part).tolist(), on_device(batch, ready))
            for row, values in zip(rows.tolist(), itertools.chain(*parts), strict=True):
                terms[row] = values
    ids = [targets.values[start:end] for start, end in itertools.pairwise(targets.offsets)]
    return [scored(model, *row, with_terms) for row in zip(items, ids, terms, strict=True)]


def scored(model: Model, pair: tuple[Any, Any], ids: npt.NDArray[Any], terms: list[float], with_terms: bool) -> Scored:
    """The score of a pair, whose target has these ids, from its terms."""
    size = len(ids) + int(isinstance(model.head, Generator))  # a text ends with a symbol
    terms = terms[:size] if model.target.is_sequence else terms
    score = math.fsum(terms)
    perplexity = model.head.loss_metrics.get("perplexity")
    result = Scored(score, size, perplexity and perplexity(-score / size))
    if not with_terms:
        return result
    pieces = (*model.target.pieces(ids.tolist()), SPECIALS[END])[:size]
    if len(terms) != len(pieces):  # a head that does not split its score
        pieces = (model.target.text(pair[1]),)
    return result._replace(pieces=pieces, token_scores=tuple(terms))


def encode_pairs(model: Model, pairs: Sequence[tuple[Any, Any]], first: int) -> tuple[Arrays, Arrays]:
    """Encode the sources and the targets of pairs; an error names the pair."""
    source, target = model.source, model.target
    for number, pair in enumerate(pairs, first):
        is_pair = isinstance(pair, tuple | list) and len(pair) == 2 and pair[1] is not None
        if not is_pair or (source.has_values and pair[0] is None):
            raise UserError("E-argument", f"pair {number}", f"{pair!r} must be a (source, target)", "give both")
    sources = encode_values(source, [one for one, _ in pairs], "pair {}: the source", first)
    targets = encode_values(target, [other for _, other in pairs], "pair {}: the target", first)
    for number, (one, other) in enumerate(zip(sources, targets, strict=True), first):
        value = pairs[number - first][1]
        if target.is_aligned and len(one) != len(other):
            problem = length_mismatch(len(other), len(one))
            raise UserError("E-length", f"pair {number}", problem, "give each item one tag")
        if target.unknown_id < 0 and other.dtype.kind == "i" and (other == target.unknown_id).any():
            named = ", ".join(map(repr, target.unknown_pieces(value) or (target.text(value),)))
            raise UserError("E-label", f"pair {number}", f"{named} is not in training", "leave it out")
    return sources, targets
