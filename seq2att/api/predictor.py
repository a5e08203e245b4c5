"""A trained model for use: text in; text, labels, tags or numbers out."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Unpack, overload

import numpy as np
import numpy.typing as npt
import torch

from seq2att import registry
from seq2att.api.inputs import MAX_LINES, MAX_PIECES, Limit, encode_values, list_lines, on_device
from seq2att.api.options import (
    Answering,
    Explaining,
    Scoring,
    Searching,
    check_options,
    check_search,
    listed,
    search_overrides,
)
from seq2att.api.scoring import Scored, encode_pairs, score_pairs
from seq2att.data import BATCH_TOKENS, Ragged, by_length
from seq2att.errors import UserError
from seq2att.explanation import Explanation, explain, make_request
from seq2att.field import Field
from seq2att.inference import optimize_for_inference, weights_version
from seq2att.memory import in_parts, naming_rows
from seq2att.model import Model, parameter_count
from seq2att.search import LONGEST, Search
from seq2att.types import Batch, Prediction

BATCH_SIZE = 64
LONGEST_SOURCE = 100_000  # tokens of an input, unless `max_source_length` or `data.max_length` says otherwise
EXPLAINED = 20  # tokens that it adds where each step is explained
CONTINUATION = 200  # tokens that a language model adds to a beginning, unless search.max_length is set


class Predictor:
    """A trained model that answers inputs. Make it with `seq2att.load`.

    Answers come in the order of the inputs, and no answer depends on the other inputs.
    """

    def __init__(
        self,
        model: Model,
        config: Mapping[str, Any],
        say: Callable[[str], None],
        quantize: str | None = None,
        *,
        may_change: bool = True,
        trust_data: bool = False,
    ) -> None:
        self._model = model
        self._may_change = may_change
        self.config = config
        self.trust_data = trust_data  # whether the data that the configuration names may be opened
        self.say = say
        self.quantize = quantize
        self._prepared: tuple[tuple[object, ...], Model] | None = None

    @property
    def task(self) -> str:
        """The task of the model: the name of its method here, and of its command."""
        return self._model.head.task

    @property
    def has_source(self) -> bool:
        """Whether the model reads a source; a language model has none."""
        return self._model.source.has_values

    @property
    def reads_files(self) -> bool:
        """Whether a text among the inputs is the name of a file, as of a picture."""
        return self._model.source.names_files

    def __repr__(self) -> str:
        has_attention = "decoder" in self.config or "attend" in self.config["head"].get("pool", ())
        slots = ("encoder", *(["attention"] if has_attention else []), "decoder")
        names = [self.config[slot]["name"] for slot in slots if slot in self.config]
        through = " -> ".join(name for name in names if name != "none") or "no network"
        quantized = f", {self.quantize}" if self.quantize else ""
        return f"<seq2att.Predictor: {self.task}, {through}, {parameter_count(self._model):,} parameters{quantized}>"

    @property
    def model(self) -> Model:
        """The model. After it has been read, every call compares it with the one that answers, as it may be changed."""
        self._may_change = True
        return self._model

    def ready(self) -> Model:
        """The model optimized for inference, or quantized; made again after the model has changed."""
        version = weights_version(self._model) if self._may_change else ()
        if self._prepared is None or self._prepared[0] != version:
            self._prepared = version, optimize_for_inference(self._model, self.quantize is not None)
        return self._prepared[1]

    def __getstate__(self) -> dict[str, Any]:
        """The state without the optimized model, which is made again."""
        return {**self.__dict__, "_prepared": None}

    @overload
    def translate(self, texts: str, **options: Unpack[Searching]) -> Prediction: ...
    @overload
    def translate(self, texts: Iterable[Any], **options: Unpack[Searching]) -> list[Prediction]: ...
    def translate(self, texts: Any, **options: Unpack[Searching]) -> Prediction | list[Prediction]:
        """Translate a text, or many in their order; an empty text gives an empty one.

        Args:
            texts: a text, or an iterable of texts.
            **options: those of `Searching`.

        Raises:
            UserError: a text is too long, an option is unknown, or the model has another task.
        """
        return self._answer("translate", texts, options, Searching)

    @overload
    def classify(self, texts: str, **options: Unpack[Answering]) -> Prediction: ...
    @overload
    def classify(self, texts: Iterable[Any], **options: Unpack[Answering]) -> list[Prediction]: ...
    def classify(self, texts: Any, **options: Unpack[Answering]) -> Prediction | list[Prediction]:
        """Predict the class of a text, or of many in their order; an empty text has the value "".

        `.value` is the likeliest label, `.score` its log-probability, `.probabilities` that of every class, likeliest
        first, and `.attention` `[1, S]` the weights of a model that pools by attention. Options are those of
        `Answering`; errors as for `translate`.
        """
        return self._answer("classify", texts, options, Answering)

    @overload
    def estimate(self, inputs: str, **options: Unpack[Answering]) -> Prediction: ...
    @overload
    def estimate(self, inputs: Iterable[Any], **options: Unpack[Answering]) -> list[Prediction]: ...
    def estimate(self, inputs: Any, **options: Unpack[Answering]) -> Prediction | list[Prediction]:
        """Predict the number of a regression for a text (or numbers written as one), or for many inputs in order.

        A list is a list of inputs: one sequence of numbers is `[[1, 2, 3]]`, or the text `"1 2 3"`.
        `.value` is a float. Options are those of `Answering`; errors as for `translate`.
        """
        return self._answer("estimate", inputs, options, Answering)

    @overload
    def tag(self, texts: str, **options: Unpack[Answering]) -> Prediction: ...
    @overload
    def tag(self, texts: Iterable[Any], **options: Unpack[Answering]) -> list[Prediction]: ...
    def tag(self, texts: Any, **options: Unpack[Answering]) -> Prediction | list[Prediction]:
        """Predict a tag for every word (or frame) of a text, or of many in their order.

        A text is split at spaces; one sentence in words is a list in the list of inputs: `[["to", "new", "york"]]`.
        `.value` holds the tags with a space between them, `.tokens` each by itself, aligned with `.source_tokens`, and
        `.token_scores` the log-probability of each. Options are those of `Answering`; errors as for `translate`.
        """
        return self._answer("tag", texts, options, Answering)

    @overload
    def generate(self, inputs: str = "", **options: Unpack[Searching]) -> Prediction: ...
    @overload
    def generate(self, inputs: Iterable[Any], **options: Unpack[Searching]) -> list[Prediction]: ...
    def generate(self, inputs: Any = "", **options: Unpack[Searching]) -> Prediction | list[Prediction]:
        """Generate text from a label or vectors, or from the beginning of a text; one input, or many in their order.

        For a model with a source an input is a label, a vector or a list of vectors (give inputs that are not text in
        a list). For a language model it is the beginning of a text, and `.value` holds the beginning too; the model
        adds at most `max_length` tokens: that of the search's options, of the run's search, or 200. Options are those
        of `Searching`; errors as for `translate`.
        """
        return self._answer("generate", inputs, options, Searching)

    def _answer(self, task: str, inputs: Any, options: Any, kind: type) -> Prediction | list[Prediction]:
        """Answer one text by one prediction, many inputs by a list, with options of `Answering` or `Searching`."""
        self._check_task(task)
        check_options(task, options, kind)
        is_one = isinstance(inputs, str) or self._model.source.is_single(inputs)
        values = [inputs] if is_one else listed(task, inputs)
        search = self.searching(options) if kind is Searching else None
        if search is not None and task == "generate" and not self.has_source:
            predictions = self._continue_texts(values, search, options)
        else:
            common: Any = {key: value for key, value in options.items() if key in Answering.__annotations__}
            predictions = self.predict(values, search, **common)
        return predictions[0] if is_one else predictions

    def _continue_texts(self, texts: Sequence[str], search: Search, options: Answering) -> list[Prediction]:
        """Continue texts from their beginnings."""
        first_line = options.get("first_line", 1)
        arrays = encode_values(self._model.target, texts, "line {}", first_line)
        self._warn_unknown(self._model.target, texts, arrays, first_line)
        limit = self._limit(options.get("max_source_length"), of_data=False)
        arrays = self._limit_lengths(arrays, limit, options.get("too_long") or "refuse", first_line)
        lengths, prefixes = np.array(list(map(len, arrays)), np.int64), [array.tolist() for array in arrays]
        if search.max_length is None:
            search.max_length = CONTINUATION
        predictions: dict[int, Prediction] = {}
        size, tokens = options.get("batch_size", BATCH_SIZE), options.get("batch_tokens", BATCH_TOKENS)
        model = self.ready()
        with torch.inference_mode():
            for rows in by_length(lengths, size, tokens, search.width):
                batch = [prefixes[row] for row in rows]
                answers = model.continue_from(batch, search, torch.from_numpy(rows + first_line))
                predictions.update(zip(rows.tolist(), answers, strict=True))
        return [predictions[row] for row in range(len(texts))]

    def _check_task(self, task: str) -> None:
        """Refuse to ask a model for what it does not do."""
        if self.task != task:
            name = self.config["head"]["name"]
            raise UserError("E-task", task, f"head={name} of this model does not {task}", f"use {self.task}")

    def searching(self, options: Searching) -> Search:
        """Build the search of the run with other options: `beam=1` is greedy search, more is a beam of that size."""
        beam, n_best = options.get("beam"), options.get("n_best", 1)
        overrides = search_overrides(options.get("search"))
        if beam is not None:
            name = overrides.get("name", "beam")
            if name not in ("beam", "greedy" if beam == 1 else "beam"):
                raise UserError("E-conflict", f"beam={beam} and search={name}", "exclude each other", "leave one out")
            overrides |= {"name": "greedy"} if beam == n_best == 1 else {"name": "beam", "size": beam}
        if n_best > 1:
            overrides["n_best"] = n_best
        entry = registry.find("search", overrides.get("name", self.config["search"]["name"]))
        check_search(entry, overrides)
        shared = {key: value for key, value in self.config["search"].items() if key in entry.options}
        config = {**shared, **overrides, "name": entry.name}
        if n_best > 1 and beam is None and "size" in config:
            config["size"] = max(config["size"], n_best)
        search: Search = registry.build("search", {"search": config})
        search.attention = options.get("attention", True)
        return search

    def predict(
        self,
        inputs: Sequence[Any],
        search: Search | None,
        batch_size: int = BATCH_SIZE,
        batch_tokens: int = BATCH_TOKENS,
        max_source_length: int | None = None,
        too_long: str | None = None,
        first_line: int = 1,
        attention: bool = True,
    ) -> list[Prediction]:
        """Answer all inputs, in their order; inputs of similar length are answered together."""
        data = self.config["data"]
        arrays = encode_values(self._model.source, inputs, "line {}", first_line)
        self._warn_unknown(self._model.source, inputs, arrays, first_line)
        if self._model.source.is_sequence:
            too_long = too_long or data.get("too_long") or "refuse"
            arrays = self._limit_lengths(arrays, self._limit(max_source_length), too_long, first_line)
        source = Ragged.of(arrays)
        self._warn_limited(source, search, first_line)
        model = self.ready()
        predictions: list[Prediction | None] = [None] * len(inputs)
        with torch.inference_mode(), naming_rows("line {}".format):
            for rows in by_length(source.lengths, batch_size, batch_tokens, search.width if search else 1):
                numbers = torch.from_numpy(rows + first_line)
                batch = Batch(source.gather(rows), None, numbers, torch.zeros(len(rows), dtype=torch.bool))
                batch = on_device(batch, model)
                parts = in_parts(lambda part, _: model.predict(part, search), batch)
                for row, prediction in zip(rows.tolist(), itertools.chain(*parts), strict=True):
                    predictions[row] = prediction if attention else prediction._replace(attention=None)
        return [prediction for prediction in predictions if prediction is not None]

    def explain(
        self,
        value: Any = "",
        *,
        target: Any = None,
        gradient: bool = False,
        top: int = 5,
        **options: Unpack[Explaining],
    ) -> Explanation:
        """Answer one input, and give every step on the way as a named array; docs/explain.md has the names.

        Args:
            value: the input, as for the method of the task; of a language model, the beginning of a text, to which it
                adds 20 tokens at most unless the search has a `max_length`.
            target: an answer to explain in place of the model's own.
            gradient: whether to compute how much the loss of the last step, or of the row, feels each state.
            top: the likeliest tokens to name at every step.
            **options: those of `Explaining`.

        Raises:
            UserError: the input is empty or too long, the target cannot be an answer to it, or an option is unknown.
        """
        check_options("explain", options, Explaining)
        line, model = options.get("first_line", 1), self._model
        if target is not None:
            _, arrays = encode_pairs(self._model, [(value if model.source.has_values else None, target)], line)
            self._warn_unknown(model.target, [target], arrays, line)
        search = self._explained_search(options) if "search" in self.config else None
        request = make_request(model, value, search, target, gradient, top, line)
        field, array = (model.source, request.source) if request.prefix is None else (model.target, request.prefix)
        if field.has_values:
            self._warn_unknown(field, [value], [array], line)
            limit = self._limit(options.get("max_source_length"), model.source.has_values)
            too_long = options.get("too_long") or self.config["data"].get("too_long") or "refuse"
            (array,) = self._limit_lengths([array], limit, too_long, line) if field.is_sequence else (array,)
        is_prefix = request.prefix is not None
        return explain(model, request._replace(prefix=array) if is_prefix else request._replace(source=array))

    def _explained_search(self, options: Explaining) -> Search:
        """The search whose tree is explained: a beam gives all that it ended."""
        search = self.searching({"beam": options.get("beam"), "search": options.get("search")})
        if hasattr(search, "n_best") and hasattr(search, "size"):
            search.n_best = search.size
        if search.max_length is None and not self._model.source.has_values:
            search.max_length = EXPLAINED
        return search

    def _limit(self, max_source_length: int | None, of_data: bool = True) -> Limit:
        """The most tokens of an input: an option, else the setting of the run, which bounds sources."""
        data = self.config["data"]
        if of_data and max_source_length is None and data.get("max_length"):
            return Limit("data.max_length", data["max_length"])
        return Limit("max_source_length", max_source_length or LONGEST_SOURCE)

    def _warn_unknown(
        self, field: Field, inputs: Sequence[Any], arrays: Sequence[npt.NDArray[Any]], first_line: int
    ) -> None:
        """Warn of texts with pieces outside the vocabulary, and name the pieces."""
        if field.drops_unknown:  # nothing of them is in the arrays
            rows = [row for row, value in enumerate(inputs) if field.unknown_pieces(value)]
        else:
            ids = [array if array.ndim == 1 else array[:, 0] for array in arrays if array.dtype.kind == "i"]
            rows = [row for row, one in enumerate(ids) if (one == field.unknown_id).any()]
        if rows:
            pieces = {row: " ".join(field.unknown_pieces(inputs[row])[:MAX_PIECES]) for row in rows[:MAX_LINES]}
            how = "left out" if field.drops_unknown else "read as <unk>"
            self.say(f"not in the vocabulary, {how}: {list_lines(rows, pieces, first_line)}")

    def _limit_lengths(
        self, arrays: list[npt.NDArray[Any]], limit: Limit, too_long: str, first_line: int
    ) -> list[npt.NDArray[Any]]:
        """Refuse or cut inputs longer than the limit, and name their lines."""
        lengths = [len(array) for array in arrays]
        over = [row for row, length in enumerate(lengths) if length > limit.tokens]
        if not over:
            return arrays
        named = list_lines(over, {row: f"{lengths[row]:,} tokens" for row in over}, first_line)
        if too_long != "cut":
            problem = f"must have at most {limit.name}={limit.tokens} tokens"
            remedy = "shorten, set too_long=cut (--too-long cut), or raise max_source_length (--max-source-length)"
            raise UserError("E-length", named, problem, remedy)
        keep_end = self.config["data"].get("keep") == "end"
        self.say(f"cut to {'the last ' if keep_end else ''}{limit.name}={limit.tokens} tokens: {named}")
        return [array[-limit.tokens :] if keep_end else array[: limit.tokens] for array in arrays]

    def _warn_limited(self, source: Ragged, search: Search | None, first_line: int) -> None:
        """Say which inputs a search may answer by fewer tokens than twice their own, as no limit is set."""
        rows = np.flatnonzero(2 * source.lengths + 32 > LONGEST).tolist()
        if rows and search is not None and search.max_length is None:
            named = list_lines(rows, {row: f"{source.lengths[row]:,} tokens" for row in rows}, first_line)
            self.say(f"answers end after {LONGEST:,} tokens, unless search.max_length (--max-length) is set: {named}")

    def score(self, pairs: Iterable[Any], **options: Unpack[Scoring]) -> list[Scored]:
        """Compute log p(target | source) of every (source, target), in their order. Options are those of `Scoring`.

        Words that the vocabulary lacks are named. Of a model without a source, a language model, an item may be a text.

        Raises:
            UserError: something is not a pair, its tags are not as many as the items of its source, its label or tag
                does not occur in training, or an option is unknown.
        """
        check_options("score", options, Scoring)
        return score_pairs(self._model, self.ready(), listed("score", pairs), options, self._warn_unknown)
