"""A trained model that answers: text in, text, labels, tags or numbers out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Unpack, overload

import numpy as np
import numpy.typing as npt
import torch

from seq2att import registry
from seq2att.api.options import (
    Answering,
    Scoring,
    Searching,
    asked_search,
    check_options,
    check_search,
    common,
    listed,
)
from seq2att.errors import InputError, UserError
from seq2att.field import Field
from seq2att.field.tags import length_mismatch
from seq2att.head import Generator
from seq2att.inference import follows, twin
from seq2att.model import Model, parameter_count
from seq2att.search import Search
from seq2att.types import Batch, Prediction, tree_map

BATCH_SIZE = 64
AT_ONCE = 1 << 14  # source tokens of a batch, padding included: what keeps memory bounded for long texts
SCORED_AT_ONCE = 1 << 11  # as many of both sides: scoring holds a distribution over the vocabulary for each
PLACES = 10  # lines that a message names
SHOWN = 5  # unknown pieces of a line that it names
GOES_ON = 200  # tokens that a language model says at most, beside its beginning


class Scored(NamedTuple):
    """How likely a model finds a target for a source."""

    score: float  # log p(target | source), of a text with its end symbol; of a number minus its loss
    tokens: int  # what that is the sum of: the tokens of a text and its end symbol, tags, or one label or number
    perplexity: float | None = None  # of one token of a text; of another target there is none


class Predictor:
    """A trained model that takes text and gives text.

    Answers come in the order of the questions, and no answer depends on its neighbours.
    """

    def __init__(
        self, model: Model, config: Mapping[str, Any], say: Callable[[str], None], quantize: str | None = None
    ) -> None:
        self.model = model
        self.config = config
        self.say = say
        self.quantize = quantize
        self.prepared: tuple[tuple[object, ...], Model] | None = None

    @property
    def verb(self) -> str:
        """What this model does: the name of the method that asks it, and of the command."""
        return self.model.head.verb

    def __repr__(self) -> str:
        looks = "decoder" in self.config or "attend" in self.config["head"].get("pool", ())
        slots = ("encoder", *(["attention"] if looks else []), "decoder")
        names = [self.config[slot]["name"] for slot in slots if slot in self.config]
        through = " -> ".join(name for name in names if name != "none") or "no network"
        quantized = f", {self.quantize}" if self.quantize else ""
        return f"<seq2att.Predictor: {self.verb}, {through}, {parameter_count(self.model):,} parameters{quantized}>"

    def ready(self) -> Model:
        """The model as it answers: prepared for this CPU, or quantized; made anew when the model's weights change."""
        state = follows(self.model)
        if self.prepared is None or self.prepared[0] != state:
            self.prepared = (state, twin(self.model, self.quantize is not None))
        return self.prepared[1]

    def __getstate__(self) -> dict[str, Any]:
        """All but what can be prepared again."""
        return {**self.__dict__, "prepared": None}

    @overload
    def translate(self, texts: str, **options: Unpack[Searching]) -> Prediction: ...
    @overload
    def translate(self, texts: Iterable[Any], **options: Unpack[Searching]) -> list[Prediction]: ...
    def translate(self, texts: Any, **options: Unpack[Searching]) -> Prediction | list[Prediction]:
        """Translate a text, or many in their order; an empty text gives an empty one.

        Options are those of `Searching`. Errors: `UserError` on a text that is too long, an unknown option, or a model
        that does something else.
        """
        return self.search_for("translate", texts, options)

    @overload
    def classify(self, texts: str, **options: Unpack[Answering]) -> Prediction: ...
    @overload
    def classify(self, texts: Iterable[Any], **options: Unpack[Answering]) -> list[Prediction]: ...
    def classify(self, texts: Any, **options: Unpack[Answering]) -> Prediction | list[Prediction]:
        """The class of a text, or of many in their order; an empty text belongs to none: its `.value` is "".

        `.value` is the likeliest label, `.score` its log-probability, `.probabilities` says that of every class,
        likeliest first, and `.attention` `[1, S]` where the model looked, if it pools by attention. Options are those
        of `Answering`. Errors: `UserError` as for `translate`.
        """
        return self.answer("classify", texts, options)

    @overload
    def estimate(self, inputs: str, **options: Unpack[Answering]) -> Prediction: ...
    @overload
    def estimate(self, inputs: Iterable[Any], **options: Unpack[Answering]) -> list[Prediction]: ...
    def estimate(self, inputs: Any, **options: Unpack[Answering]) -> Prediction | list[Prediction]:
        """The number of a regression for a text (or numbers written as one), or for many inputs in their order.

        A list is a list of inputs: one sequence of numbers is `[[1, 2, 3]]`, or the text `"1 2 3"`.
        `.value` is a float. Options are those of `Answering`. Errors: `UserError` as for `translate`.
        """
        return self.answer("estimate", inputs, options)

    @overload
    def tag(self, texts: str, **options: Unpack[Answering]) -> Prediction: ...
    @overload
    def tag(self, texts: Iterable[Any], **options: Unpack[Answering]) -> list[Prediction]: ...
    def tag(self, texts: Any, **options: Unpack[Answering]) -> Prediction | list[Prediction]:
        """A tag for every word (or frame) of a text, or of many in their order.

        A text is split at spaces; one sentence in words is a list in the list of inputs: `[["to", "new", "york"]]`.
        `.value` holds the tags with a space between them, `.tokens` each by itself beside `.source_tokens`, and
        `.token_scores` the log-probability of each. Options are those of `Answering`. Errors: as for `translate`.
        """
        return self.answer("tag", texts, options)

    @overload
    def generate(self, inputs: str = "", **options: Unpack[Searching]) -> Prediction: ...
    @overload
    def generate(self, inputs: Iterable[Any], **options: Unpack[Searching]) -> list[Prediction]: ...
    def generate(self, inputs: Any = "", **options: Unpack[Searching]) -> Prediction | list[Prediction]:
        """Text from what is no text, or from its beginning; one input, or many in their order.

        For a model with a source an input is a label, a vector or a list of vectors (inputs that are no text are given
        in a list); for a language model it is the beginning, which the text goes on from: `.value` holds both. Options
        are those of `Searching`; a language model says at most `max_length` tokens more, 200 by default.
        Errors: `UserError` as for `translate`.
        """
        if self.model.source.has_values:
            return self.search_for("generate", inputs, options)
        return self.goes_on(inputs, options)

    def search_for(self, verb: str, inputs: Any, options: Searching) -> Prediction | list[Prediction]:
        """What a search finds for one text, or for many inputs."""
        self.check_verb(verb)
        check_options(verb, options, Searching)
        return self.one_or_many(verb, inputs, self.searching(options), common(options))

    def goes_on(self, beginnings: Any, options: Searching) -> Prediction | list[Prediction]:
        """Texts that go on from their beginnings."""
        self.check_verb("generate")
        check_options("generate", options, Searching)
        texts = [beginnings] if isinstance(beginnings, str) else listed("generate", beginnings)
        first_line = options.get("first_line", 1)
        arrays = encoded(self.model.target, texts, "line {}", first_line)
        self.note_unknown(self.model.target, texts, arrays, first_line)
        prefixes = [array.tolist() for array in arrays]
        search = self.searching(options)
        if "max_length" not in asked_search(options.get("search")):
            search.max_length = GOES_ON
        rows = np.arange(len(texts)) + first_line
        found: list[Prediction] = []
        size = options.get("batch_size", BATCH_SIZE)
        with torch.inference_mode():
            for start in range(0, len(texts), size):
                some = slice(start, start + size)
                found += self.ready().go_on(prefixes[some], search, torch.from_numpy(rows[some]))
        return found[0] if isinstance(beginnings, str) else found

    def answer(self, verb: str, inputs: Any, options: Answering) -> Prediction | list[Prediction]:
        """What the model says to one text, or to many inputs, without a search."""
        self.check_verb(verb)
        check_options(verb, options, Answering)
        return self.one_or_many(verb, inputs, None, options)

    def one_or_many(
        self, verb: str, inputs: Any, search: Search | None, options: Answering
    ) -> Prediction | list[Prediction]:
        """A prediction for one text, or a list of them for many inputs."""
        if isinstance(inputs, str):
            return self.predict([inputs], search, **options)[0]
        return self.predict(listed(verb, inputs), search, **options)

    def check_verb(self, verb: str) -> None:
        """Refuse to ask a model for what it does not do."""
        if self.verb != verb:
            name = self.config["head"]["name"]
            raise UserError(
                f"{verb}: this model has head={name}, which does not {verb}; use {self.verb} (seq2att {self.verb} RUN)"
            )

    def searching(self, options: Searching) -> Search:
        """The search that the options ask for."""
        searching = self.search(options.get("beam"), options.get("n_best", 1), options.get("search"))
        searching.attention = options.get("attention", True)
        return searching

    def search(
        self, beam: int | None = None, n_best: int = 1, options: Mapping[str, Any] | str | None = None
    ) -> Search:
        """The configured search with other options: `beam=1` is greedy, more is a beam of that size."""
        asked = asked_search(options)
        if beam is not None:
            if asked.get("name", "beam") not in ("beam", "greedy" if beam == 1 else "beam"):
                raise UserError(f"beam={beam} and search={asked['name']} exclude each other; leave one out")
            asked |= {"name": "greedy"} if beam == n_best == 1 else {"name": "beam", "size": beam}
        if n_best > 1:
            asked["n_best"] = n_best
        entry = registry.find("search", asked.get("name", self.config["search"]["name"]))
        check_search(entry, asked)
        kept = {key: value for key, value in self.config["search"].items() if key in entry.options}
        chosen = {**kept, **asked, "name": entry.name}
        if n_best > 1 and beam is None and "size" in chosen:
            chosen["size"] = max(chosen["size"], n_best)
        found: Search = registry.build("search", {"search": chosen})
        return found

    def predict(
        self,
        inputs: Sequence[Any],
        search: Search | None,
        batch_size: int = BATCH_SIZE,
        too_long: str | None = None,
        first_line: int = 1,
        attention: bool = True,
    ) -> list[Prediction]:
        """Answers to all inputs, in their order; those of similar length are answered together."""
        from seq2att.data import Ragged

        arrays = encoded(self.model.source, inputs, "line {}", first_line)
        self.note_unknown(self.model.source, inputs, arrays, first_line)
        source = Ragged.of(self.fitted(arrays, too_long, first_line))
        model = self.ready()
        found: list[Prediction | None] = [None] * len(inputs)
        with torch.inference_mode():
            for rows in groups(source.lengths, batch_size, AT_ONCE):
                numbers = torch.from_numpy(rows + first_line)
                batch = Batch(source.gather(rows), None, numbers, torch.zeros(len(rows), dtype=torch.bool))
                batch = on_device(batch, model)
                for row, prediction in zip(rows.tolist(), model.predict(batch, search), strict=True):
                    found[row] = prediction if attention else prediction._replace(attention=None)
        return [prediction for prediction in found if prediction is not None]

    def note_unknown(
        self, field: Field, inputs: Sequence[Any], arrays: Sequence[npt.NDArray[Any]], first_line: int
    ) -> None:
        """Say in which texts the model meets pieces that its vocabulary does not hold, and which."""
        ids = [array if array.ndim == 1 else array[:, 0] for array in arrays if array.dtype.kind == "i"]
        found = [row for row, one in enumerate(ids) if (one == field.unknown_id).any()]
        if found:
            named = {row: " ".join(field.unknown_pieces(inputs[row])[:SHOWN]) for row in found[:PLACES]}
            self.say(f"unknown to the model, read as <unk>: {places(found, named, first_line)}")

    def fitted(
        self, arrays: Sequence[npt.NDArray[Any]], too_long: str | None, first_line: int
    ) -> Sequence[npt.NDArray[Any]]:
        """The sources no longer than the model's limit: refused or cut by the settings, and then named."""
        data = self.config["data"]
        limit: int | None = data.get("max_length") if self.model.source.is_sequence else None
        lengths = [len(array) for array in arrays]
        over = [row for row, length in enumerate(lengths) if limit and length > limit]
        if not over or limit is None:
            return arrays
        named = places(over, {row: f"{lengths[row]} tokens" for row in over}, first_line)
        if (too_long or data.get("too_long")) != "cut":
            raise UserError(
                f"longer than data.max_length={limit} tokens: {named}; shorten them, or take too_long=cut to cut them"
            )
        end = data.get("keep") == "end"
        self.say(f"cut to {'the last ' if end else ''}data.max_length={limit} tokens: {named}")
        return [array[-limit:] if end else array[:limit] for array in arrays]

    def score(self, pairs: Iterable[tuple[Any, Any]], **options: Unpack[Scoring]) -> list[Scored]:
        """Log p(target | source) of every (source, target), in their order.

        Options are those of `Scoring`. Errors: `UserError` names the pair that is no pair, whose tags are not as many
        as the items of its source, or whose label or tag training does not have, and an unknown option.
        """
        from seq2att.data import Ragged

        check_options("score", options, Scoring)
        pairs, first_pair = listed("score", pairs), options.get("first_pair", 1)
        given = self.encoded_pairs(pairs, first_pair)
        sources, targets = (Ragged.of(arrays) for arrays in given)
        both, scores = sources.lengths + targets.lengths, torch.zeros(len(pairs))
        model = self.ready()
        with torch.inference_mode():
            for rows in groups(both, options.get("batch_size", BATCH_SIZE), SCORED_AT_ONCE):
                numbers = torch.from_numpy(rows)
                new = torch.zeros(len(rows), dtype=torch.bool)
                batch = on_device(Batch(sources.gather(rows), targets.gather(rows), numbers, new), model)
                scores[numbers] = model.score(batch).float().cpu()
        ends = int(isinstance(model.head, Generator))  # a text ends with a symbol
        perplexity = model.head.figures.get("perplexity")
        found = zip(scores.tolist(), (targets.lengths + ends).tolist(), strict=True)
        return [Scored(score, size, perplexity and perplexity(-score / size)) for score, size in found]

    def encoded_pairs(
        self, pairs: Sequence[tuple[Any, Any]], first: int
    ) -> tuple[list[npt.NDArray[Any]], list[npt.NDArray[Any]]]:
        """The sources and the targets of pairs as arrays; an error names the pair."""
        source, target = self.model.source, self.model.target
        for number, pair in enumerate(pairs, first):
            whole = isinstance(pair, tuple | list) and len(pair) == 2 and pair[1] is not None
            if not whole or (source.has_values and pair[0] is None):
                raise UserError(f"pair {number}: {pair!r} is no (source, target); give both")
        sources = encoded(source, [one for one, _ in pairs], "pair {}: the source", first)
        targets = encoded(target, [other for _, other in pairs], "pair {}: the target", first)
        for number, (one, other) in enumerate(zip(sources, targets, strict=True), first):
            value = pairs[number - first][1]
            if target.is_aligned and len(one) != len(other):
                raise UserError(f"pair {number}: {length_mismatch(len(other), len(one))}; give each item one tag")
            if target.unknown_id < 0 and other.dtype.kind == "i" and (other == target.unknown_id).any():
                named = ", ".join(map(repr, target.unknown_pieces(value) or (target.text(value),)))
                raise UserError(
                    f"pair {number}: training does not have {named}, so that the model gives it no probability; "
                    f"mend the target, or leave the pair out"
                )
        return sources, targets


def encoded(field: Field, values: Sequence[Any], place: str, first: int) -> list[npt.NDArray[Any]]:
    """Values as arrays; an error names the place, which holds `{}` for the number of the value, the first of all."""
    try:
        return field.encode_batch(values)
    except UserError:
        for number, value in enumerate(values, first):
            try:
                field.encode(value)
            except UserError as error:
                said = error.asked if isinstance(error, InputError) else error
                raise UserError(f"{place.format(number)}: {said}") from None
        raise


def groups(lengths: npt.NDArray[np.int64], batch_size: int, tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """The rows by their lengths, longest first, in batches of that size and at most so many tokens with padding."""
    order, first = np.argsort(-lengths, kind="stable"), 0
    while first < len(order):
        longest = max(1, int(lengths[order[first]]))
        size = max(1, min(batch_size, tokens // longest))
        yield order[first : first + size]
        first += size


def on_device(batch: Batch, model: Model) -> Batch:
    """The batch where the model is."""
    device = next(model.parameters()).device
    moved: Batch = batch if device.type == "cpu" else tree_map(lambda tensor: tensor.to(device), batch)
    return moved


def places(rows: Sequence[int], what: Mapping[int, str], first_line: int) -> str:
    """Some rows of a text by their line numbers, each with what there is to say of it."""
    named = ", ".join(f"line {row + first_line} ({what[row]})" for row in rows[:PLACES])
    return f"{named} and {len(rows) - PLACES:,} more" if len(rows) > PLACES else named
