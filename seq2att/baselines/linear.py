"""A linear classifier of n-grams, by scikit-learn: what a classifier of texts is to be better than.

Weights are tf-idf with logarithmic counts, the classifier is logistic regression (Wang & Manning 2012 show how strong
such models are), and its strength of regularisation is chosen on the validation split.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from seq2att.errors import UserError

STRENGTHS = (1.0, 10.0, 100.0)  # inverse regularisation, scikit-learn's C
RAREST = 2  # texts that an n-gram must occur in


class Texts(NamedTuple):
    """The texts of a split and their labels."""

    texts: Sequence[str]
    labels: Sequence[str]


class Result(NamedTuple):
    """The labels that the classifier predicts for the test, and how it was made."""

    labels: list[str]
    strength: float
    size: int  # n-grams that are its features


def classify(
    train: Texts, validation: Texts, test: Sequence[str], order: int, tokenize: Callable[[str], list[str]]
) -> Result:
    """Learn from n-grams of 1 to `order` tokens, and predict the labels of the test."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
    except ModuleNotFoundError as error:
        raise UserError(
            "E-package", "baseline", "needs scikit-learn", "run `pip install 'seq2att[recipes]'`"
        ) from error
    vectorizer = TfidfVectorizer(
        tokenizer=tokenize,
        token_pattern=None,
        lowercase=False,
        ngram_range=(1, order),
        min_df=min(RAREST, len(train.texts)),
        sublinear_tf=True,
    )
    try:
        inputs = vectorizer.fit_transform(train.texts)
    except ValueError as error:
        problem = f"no token occurs in {RAREST} of the {len(train.texts)} texts, so that a classifier has no features"
        raise UserError("E-data", "train", problem, "name a training split with more rows") from error
    held = vectorizer.transform(validation.texts)
    best: tuple[float, float, Any] | None = None
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, solver="liblinear" if len(set(train.labels)) == 2 else "lbfgs")
        model.fit(inputs, list(train.labels))
        right = float(model.score(held, list(validation.labels)))
        if best is None or right > best[0]:
            best = (right, strength, model)
    assert best is not None
    _, strength, model = best
    labels = [str(label) for label in model.predict(vectorizer.transform(test))]
    return Result(labels, strength, len(vectorizer.vocabulary_))
