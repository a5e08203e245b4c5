"""Baselines on the data of a run: n-grams beside a language model, a linear classifier beside a classifier."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2att.api.data import corpus_of
from seq2att.api.inputs import encode_values
from seq2att.api.predictor import Predictor
from seq2att.api.scoring import Scored
from seq2att.baselines import linear
from seq2att.baselines.ngram import ESTIMATES, Ids, NGram, evaluate
from seq2att.data.streams import is_stream
from seq2att.errors import UserError, check_size
from seq2att.types import BEGIN, END, SPECIALS, UNKNOWN

if TYPE_CHECKING:
    from seq2att.data import Corpus
    from seq2att.field import Field

ORDERS = {"generate": 5, "classify": 2}
"""The default order of the n-grams, by task."""
NEURAL = "neural"


def baseline(
    run: str | Path,
    *,
    split: str = "test",
    root: str | None = None,
    plugins: Iterable[str] = (),
    order: int | None = None,
    add_k: float = 1.0,
    trust_data: bool = False,
) -> dict[str, Any]:
    """Measure a baseline on a split of a run's data, trained on its training rows and tokens, beside the model.

    For a language model: n-grams, unsmoothed, with add-k and with interpolated Kneser-Ney smoothing, in `estimates`;
    `seen` is the share of the split's n-grams that training holds, by their length. For a text classifier: logistic
    regression over tf-idf weights of n-grams (scikit-learn). `neural` holds the figures of the run's own model.

    Args:
        run: the run folder or bundle.
        split: `train`, `validation` or `test`.
        root: where relative paths start, in place of `data.root`.
        plugins: as for `load`.
        order: tokens of the longest n-grams, 1 to 1000; by default 5 and 2.
        add_k: what add-k smoothing adds to every count, above 0.
        trust_data: as for `evaluate`.

    Raises:
        UserError: there is no baseline for the model's task.
    """
    from seq2att.trainer.evaluation import evaluate as measure

    subject = load_subject(run, plugins, trust_data)
    order = ORDERS[subject.task] if order is None else check_size("order", order)
    model, config = subject.ready(), subject.config
    names = ("train", split) if subject.task == "generate" else ("train", "validation", split)
    corpora = {name: read(subject, name, root) for name in names}
    if subject.task == "generate":
        train, test = (target_ids(corpora[name]) for name in ("train", split))
        result = evaluate(train, test, order, size=model.target.size, ends=has_ends(config), add_k=add_k)
        measured = measure(model, corpora[split], None, (), config=config)
        neural = {name: measured[name] for name in ("loss", *model.head.loss_metrics)}
        return {"order": order, **result, NEURAL: neural}
    result = linear_baseline(subject, order, *(corpora[name] for name in names))
    measured = measure(model, corpora[split], None, config.get("metrics"), config=config)
    neural = {name: value for name, value in measured.items() if isinstance(value, float)}
    return {"order": order, **result, NEURAL: neural}


def count_ngrams(
    run: str | Path,
    *,
    order: int = ORDERS["generate"],
    add_k: float = 1.0,
    root: str | None = None,
    plugins: Iterable[str] = (),
    trust_data: bool = False,
) -> CountedModel:
    """Count the n-grams of the training rows of a language model's run.

        counted = seq2att.count_ngrams("runs/next_character", order=3)
        for factor in counted.factors("a rolling stone"):
            print(factor.token, factor.ngram_count, factor.unsmoothed, factor.kneser_ney, factor.neural)

    Args:
        run: the run folder or bundle of a language model.
        order: tokens of the longest n-grams, 1 to 1000; that of a whole text and more takes all tokens before.
        add_k: what add-k smoothing adds to every count, above 0.
        root: where relative paths start, in place of `data.root`.
        plugins: as for `load`.
        trust_data: as for `evaluate`.

    Raises:
        UserError: the model is no language model.
    """
    subject = load_subject(run, plugins, trust_data)
    if subject.task != "generate":
        raise no_baseline(subject, "name a run of a language model")
    ends = has_ends(subject.config)
    texts = target_ids(read(subject, "train", root))
    counts = NGram(order, subject.model.target.size, ends, add_k)
    return CountedModel(subject, counts.fit(texts if ends else [list(itertools.chain(*texts))]))


class Factor(NamedTuple):
    """One factor p(token | history) of the probability of a text, by counting and by the neural model."""

    token: str
    history: tuple[str, ...]  # the tokens before it that the order allows; `<s>` stands for the beginning
    ngram_count: int  # how often training has the history with the token after it
    history_count: int  # how often it has the history with any token after it
    longest: int  # tokens of the longest n-gram of training that ends with the token; 0: training lacks the token
    unsmoothed: float  # ngram_count / history_count; 0 where the history was never seen
    add_k: float  # (ngram_count + k) / (history_count + k V), V being the tokens that can follow
    kneser_ney: float
    back_off: tuple[float, ...]  # Kneser-Ney by the last 0, 1, 2 ... tokens of the n-gram; the last is `kneser_ney`
    neural: float  # of the run's model, from all tokens before


class CountedModel:
    """The n-grams of a run's training rows, beside its neural language model. Make it with `seq2att.count_ngrams`."""

    def __init__(self, predictor: Predictor, counts: NGram) -> None:
        self.predictor, self.counts = predictor, counts
        self.field: Field = predictor.model.target

    def count(self, text: str) -> int:
        """How often training has these tokens one after the other, at most as many as the order."""
        ids = self.encode(text)
        if not 1 <= len(ids) <= self.counts.order:
            problem = f"has {len(ids)} tokens, must have 1 to order={self.counts.order}"
            raise UserError("E-length", repr(text), problem, "shorten it, or count with a higher order")
        factors = self.counts.factors([ids], begins=False)
        return int(factors.counts[len(ids) - 1])

    def factors(self, text: str) -> list[Factor]:
        """The factors of the probability of a text, its end included where texts end."""
        (ids,) = encode_values(self.field, [text], "text {}", 1)  # scoring says which pieces are unknown
        begins = self.counts.ends
        counted = self.counts.factors([ids], begins=begins)
        neural = self.predictor.score([text], tokens=True)[0].token_scores
        pieces = [*[SPECIALS[BEGIN]] * begins, *self.field.pieces(ids.tolist()), SPECIALS[END]]
        factors = []
        for number, length in enumerate(counted.lengths.tolist()):
            place = number + begins  # among the pieces
            factors.append(
                Factor(
                    token=pieces[place],
                    history=tuple(pieces[place - length : place]),
                    ngram_count=int(counted.counts[number]),
                    history_count=int(counted.totals[number]),
                    longest=int(counted.longest[number]),
                    unsmoothed=float(counted.unsmoothed[number]),
                    add_k=float(counted.add_k[number]),
                    kneser_ney=float(counted.kneser_ney[number]),
                    back_off=tuple(counted.back_off[: length + 2, number].tolist()),
                    neural=math.exp(neural[number]),
                )
            )
        return factors

    def score(self, text: str) -> dict[str, Scored]:
        """The probability of a text by each estimate and by the neural model: the products of their factors."""
        return products(self.factors(text))

    def probabilities(self, beginning: str = "", estimate: str = "kneser_ney") -> dict[str, float]:
        """The probability of every token after the beginning of a text, likeliest first.

        Args:
            beginning: the tokens before; those that the order allows count.
            estimate: `unsmoothed`, `add_k` or `kneser_ney`.
        """
        if estimate not in ESTIMATES:
            raise UserError("E-choice", f"estimate={estimate}", f"must be one of {', '.join(ESTIMATES)}")
        ids = self.encode(beginning)
        distribution = self.counts.distribution(ids.tolist(), begins=self.counts.ends)
        values = getattr(distribution, estimate)
        order = (-values).argsort(kind="stable")
        pieces = self.field.pieces(distribution.tokens[order].tolist())
        return dict(zip(pieces, values[order].tolist(), strict=True))

    def encode(self, text: str) -> Ids:
        """The ids of a text; says which of its pieces are unknown."""
        (ids,) = encode_values(self.field, [text], "text {}", 1)
        if unknown := self.field.unknown_pieces(text):
            how = "left out" if self.field.drops_unknown else f"read as {SPECIALS[UNKNOWN]}"
            self.predictor.say(f"not in the vocabulary, {how}: {' '.join(unknown)}")
        return ids


def products(factors: list[Factor]) -> dict[str, Scored]:
    """The products of the factors of a text, by each estimate and by the neural model."""
    return {name: product_of(factors, name) for name in (*ESTIMATES, NEURAL)}


def product_of(factors: list[Factor], name: str) -> Scored:
    """The product of the factors of one estimate: its logarithm, and the perplexity."""
    values = [getattr(factor, name) for factor in factors]
    logs = tuple(math.log(value) if value else -math.inf for value in values)
    score = math.fsum(logs) if all(values) else -math.inf
    loss = -score / len(logs) if logs else math.nan
    perplexity = math.exp(loss) if loss < 700 else math.inf if loss == loss else math.nan
    return Scored(score, len(logs), perplexity, tuple(factor.token for factor in factors), logs)


def load_subject(run: str | Path, plugins: Iterable[str], trust_data: bool) -> Predictor:
    """The model to compare with; refuses one of a task without baseline."""
    from seq2att.api import load

    predictor = load(run, plugins=plugins, trust_data=trust_data)
    is_language_model = predictor.task == "generate" and not predictor.has_source
    if is_language_model or (predictor.task == "classify" and hasattr(predictor.model.source, "tokenizer")):
        return predictor
    raise no_baseline(predictor, "name a run of a language model or of a text classifier")


def no_baseline(predictor: Predictor, remedy: str) -> UserError:
    """The error about a model that cannot be compared."""
    config = predictor.config
    subject = f"head={config['head']['name']}, source={config['source']['name']}"
    return UserError("E-task", subject, "there is no such baseline for this model", remedy)


def read(predictor: Predictor, split: str, root: str | None) -> Corpus:
    """A split of the data of the model."""
    model, config = predictor.model, predictor.config
    return corpus_of(model, config, split, root, trust_data=predictor.trust_data, may_replace=False)


def has_ends(config: Mapping[str, Any]) -> bool:
    """Whether the end of a row is a token that the model predicts."""
    return not is_stream(config["data"]) or bool(config["data"].get("row_ends", True))


def target_ids(corpus: Corpus) -> list[Any]:
    """The ids of every target."""
    assert corpus.target is not None
    bounds = corpus.target.offsets
    return [corpus.target.values[start:end] for start, end in itertools.pairwise(bounds)]


def linear_baseline(
    predictor: Predictor, order: int, train: Corpus, validation: Corpus, test: Corpus
) -> dict[str, Any]:
    """Measure a linear classifier of n-grams."""
    from seq2att.field import TextField
    from seq2att.trainer.evaluation import measure
    from seq2att.types import Prediction

    model, config = predictor.model, predictor.config
    source = model.source
    assert isinstance(source, TextField)

    def labelled(corpus: Corpus) -> linear.Texts:
        rows = range(len(corpus))
        labels = [model.target.text(value) for value in corpus.values("target", rows)]
        return linear.Texts([source.clean(text) for text in corpus.values("source", rows)], labels)

    testing = labelled(test)
    result = linear.classify(labelled(train), labelled(validation), testing.texts, order, source.tokenizer.encode)
    names = model.head.metrics if config.get("metrics") is None else config["metrics"]
    references = [(label,) for label in testing.labels]
    scores = measure([Prediction(label, 0.0) for label in result.labels], references, names)
    return {
        "rows": len(testing.texts),
        "features": result.size,
        "strength": result.strength,
        "linear": {name: score.value for name, score in scores.items()},
    }
