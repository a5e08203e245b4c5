"""Baselines on the data of a run: an n-gram model beside a language model, a linear classifier beside a classifier."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att import registry
from seq2att.api.data import corpus_of
from seq2att.bundle import load as load_bundle
from seq2att.bundle.owner import is_own
from seq2att.errors import UserError, check_size
from seq2att.model import Model
from seq2att_baselines import linear, ngram

if TYPE_CHECKING:
    from seq2att.data import Corpus

ORDERS = {"generate": 5, "classify": 2}
"""The default order of the n-grams, by task."""


def baseline(
    run: str | Path,
    *,
    split: str = "test",
    root: str | None = None,
    plugins: Iterable[str] = (),
    order: int | None = None,
    trust_data: bool = False,
) -> dict[str, Any]:
    """Measure a baseline on a split of a run's data, trained on its training rows and tokens.

    For a language model: n-grams with interpolated Kneser-Ney smoothing; for a text classifier: logistic regression
    over tf-idf weights of n-grams (scikit-learn).

    Args:
        run: the run folder or bundle.
        split: `validation` or `test`.
        root: where relative paths start, in place of `data.root`.
        plugins: as for `load`.
        order: tokens of the longest n-grams, at least 1; by default 5 and 2.
        trust_data: as for `seq2att.evaluate`.

    Raises:
        UserError: there is no baseline for the model's task.
    """
    registry.load(plugins)
    model, config = load_bundle(Path(run))
    is_language_model = model.head.task == "generate" and not model.source.has_values
    tokenizer = getattr(model.source, "tokenizer", None)
    if not is_language_model and (model.head.task != "classify" or tokenizer is None):
        subject = f"head={config['head']['name']}, source={config['source']['name']}"
        remedy = "name a run of a language model or of a text classifier"
        raise UserError("E-task", subject, "there is no baseline for this", remedy)
    order = ORDERS[model.head.task] if order is None else check_size("order", order)

    def corpus(name: str) -> Corpus:
        return corpus_of(model, config, name, root, trust_data=trust_data or is_own(Path(run)))

    if is_language_model:
        ends = bool(config["data"].get("row_ends", True))
        train, test = target_ids(corpus("train")), target_ids(corpus(split))
        return {"order": order, **ngram.evaluate(train, test, order, size=model.target.size, ends=ends)}
    return linear_baseline(model, config, order, corpus("train"), corpus("validation"), corpus(split))


def target_ids(corpus: Corpus) -> list[Any]:
    """The ids of every target."""
    assert corpus.target is not None
    bounds = corpus.target.offsets
    return [corpus.target.values[start:end] for start, end in itertools.pairwise(bounds)]


def linear_baseline(
    model: Model, config: dict[str, Any], order: int, train: Corpus, validation: Corpus, test: Corpus
) -> dict[str, Any]:
    """Measure a linear classifier of n-grams."""
    from seq2att.field import TextField
    from seq2att.trainer.evaluation import measure
    from seq2att.types import Prediction

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
        "order": order,
        "rows": len(testing.texts),
        "features": result.size,
        "strength": result.strength,
        **{name: score.value for name, score in scores.items()},
    }
