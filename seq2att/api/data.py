"""The data of a run, read again with the fields of its model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from seq2att import registry
from seq2att.api.predictor import Predictor
from seq2att.bundle.owner import check_data
from seq2att.errors import UserError
from seq2att.model import Model

if TYPE_CHECKING:
    from seq2att.data import Corpus


def corpus_of(
    model: Model,
    config: Mapping[str, Any],
    split: str,
    root: str | None = None,
    file: str | None = None,
    say: Callable[[str], None] = lambda _: None,
    *,
    trust_data: bool = False,
    may_replace: bool = True,
) -> Corpus:
    """Load a split of the data that a model was trained on, or another `file` of the same form.

    `root` is where relative paths start, in place of `data.root`; `say` receives a note about rows that are left out.
    Without `trust_data` nothing is opened that only the settings name, and `data.root` and `data.cache` are not used;
    `may_replace` says whether the caller can be given a `file`.
    """
    from seq2att.data import load_split

    data = dict(config["data"])
    if not trust_data:
        check_data(config, split, root, file, may_replace)
        data |= {"root": None, "cache": None}
    config = {**config, "data": data if root is None else {**data, "root": root}}
    reader = registry.build("reader", config)
    if file is not None:
        reader.use(split, file)
    return load_split(config, model.source, model.target, reader, split, say)


class Example(NamedTuple):
    """A row of a run's data."""

    source: Any
    target: str
    place: str  # file:line


def example(predictor: Predictor, row: int, *, split: str = "test", root: str | None = None) -> Example:
    """Read row `row`, from 1, of a split of the data that a model was trained on."""
    model = predictor.model
    trust = predictor.trust_data
    corpus = corpus_of(model, predictor.config, split, root, trust_data=trust, may_replace=False)
    if not 1 <= row <= len(corpus):
        raise UserError("E-range", f"row={row}", f"must be from 1 to {len(corpus)} in the {split} split")
    (source,), (target,) = corpus.values("source", [row - 1]), corpus.values("target", [row - 1])
    return Example("" if source is None else source, model.target.text(target), corpus.place(row - 1))
