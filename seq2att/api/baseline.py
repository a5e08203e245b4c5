"""What simple counting makes of the data of a run, beside the run's own figures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att import registry
from seq2att.api.data import corpus_of
from seq2att.baseline import linear, ngram
from seq2att.errors import UserError
from seq2att.model import Model
from seq2att.model import load as load_bundle

if TYPE_CHECKING:
    from seq2att.data import Corpus

ORDERS = {"generate": 5, "classify": 2}
"""The longest n-grams, by what the model does, where none is asked for."""


def baseline(
    run: str | Path,
    *,
    split: str = "test",
    root: str | None = None,
    plugins: Iterable[str] = (),
    order: int | None = None,
) -> dict[str, Any]:
    """How good counted n-grams are on a split of a run's data, learned from its training rows and by its own figures.

    For a language model: interpolated Kneser-Ney smoothing of its own tokens; for a classifier of texts: a linear
    model of tf-idf weights (scikit-learn) over its own tokens, of any frequency. `order` is the length of the longest
    n-grams, 5 and 2 by default. Errors: `UserError` for a model of another kind.
    """
    registry.load(plugins)
    model, config = load_bundle(Path(run))
    counts_texts = model.head.task == "generate" and not model.source.has_values
    tokenizer = getattr(model.source, "tokenizer", None)
    if not counts_texts and (model.head.task != "classify" or tokenizer is None):
        raise UserError(
            f"baseline: there is none for head={config['head']['name']} with source={config['source']['name']}; "
            f"name a run of a language model or of a classifier of texts"
        )
    if order is not None and order < 1:
        raise UserError(f"baseline: order={order} is no length of n-grams; give 1 or more")
    order = ORDERS[model.head.task] if order is None else order

    def corpus(name: str) -> Corpus:
        return corpus_of(model, config, name, root)

    if counts_texts:
        ends = bool(config["data"].get("row_ends", True))
        train, test = texts(corpus("train")), texts(corpus(split))
        return {"order": order, **ngram.evaluate(train, test, order, size=model.target.size, ends=ends)}
    return classified(model, config, order, corpus("train"), corpus("validation"), corpus(split))


def texts(corpus: Corpus) -> list[Any]:
    """The ids of every target."""
    assert corpus.target is not None
    bounds = corpus.target.offsets
    return [corpus.target.values[start:end] for start, end in itertools.pairwise(bounds)]


def classified(
    model: Model, config: dict[str, Any], order: int, train: Corpus, validation: Corpus, test: Corpus
) -> dict[str, Any]:
    """The figures of a linear classifier of n-grams."""
    from seq2att.field import TextField
    from seq2att.trainer.evaluation import measure
    from seq2att.types import Prediction

    source = model.source
    assert isinstance(source, TextField)

    def sides(corpus: Corpus) -> linear.Texts:
        rows = range(len(corpus))
        labels = [model.target.text(value) for value in corpus.target_values(rows)]
        return linear.Texts([source.clean(text) for text in corpus.source_values(rows)], labels)

    ours, asked = sides(train), sides(test)
    found = linear.classify(ours, sides(validation), asked.texts, order, source.tokenizer.encode)
    names = model.head.metrics if config.get("metrics") is None else config["metrics"]
    scores = measure([Prediction(label, 0.0) for label in found.labels], [(one,) for one in asked.labels], names)
    return {
        "order": order,
        "rows": len(asked.texts),
        "features": found.size,
        "strength": found.strength,
        **{name: score.value for name, score in scores.items()},
    }
