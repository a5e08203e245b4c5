"""How good a model is on a split: the loss of the right answers, and metrics of what it answers by itself.

Validation during training and the command `evaluate` use the same functions. When the model answers by itself it never
sees the right history; every distinct source is answered once and compared to all its right answers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seq2att import registry
from seq2att.data import batches, by_length, collate
from seq2att.data.streams import is_stream
from seq2att.errors import UserError
from seq2att.memory import in_parts, join, naming_rows
from seq2att.trainer.processes import ALONE, Processes
from seq2att.trainer.sums import LossSum, fetch
from seq2att.types import Batch, CarriedState, Loss, Prediction, State, leaves, tree_map

if TYPE_CHECKING:
    from seq2att.data import Corpus
    from seq2att.head import Head
    from seq2att.metric import Score
    from seq2att.model import Model
    from seq2att.search import Search

Rows = NDArray[np.int64]
STREAM_STEPS = 512  # tokens of a running text that a batch of `likelihood` holds


class StreamState:
    """Reads batches in order with a model; for running text, each batch continues from the state after the one before.

    The state is detached: back-propagation through time is truncated at every batch.

    Args:
        options: the `data` options; text is running where `batching` is `stream`.
        can_split: whether a batch that does not fit into memory is computed in parts.
    """

    def __init__(self, options: Mapping[str, Any] | None, can_split: bool = True) -> None:
        self.is_running = options is not None and is_stream(options)
        self.can_split = can_split
        self.state: State = ()

    def losses(
        self, model: Model, batch: Batch, finish: Callable[[Callable[[], Loss]], Loss] | None = None
    ) -> list[Loss]:
        """The losses of the parts of the next batch: of all of it, if it fits into memory.

        `finish` gets what computes the loss of a part, and does the rest of what must fit.
        """

        def compute(part: Batch, before: State) -> Loss:
            states = [CarriedState(before, part.continues)] if self.is_running else []
            loss: Loss = finish(lambda: model(part, *states)) if finish else model(part, *states)
            return loss

        losses = in_parts(compute, batch, self.state, self.can_split)
        if self.is_running:
            self.state = join([loss.state for loss in losses])
        return losses

    def gather(self, processes: Processes) -> list[list[Tensor]]:
        """The leaves of the state of every process, on the CPU: in the first process; all must call it."""
        return processes.collect([leaf.cpu() for leaf in leaves(self.state)]) if self.is_running else []

    def restore(self, parts: list[list[Tensor]], processes: Processes) -> None:
        """Continue from what `gather` returned, also with another number of processes."""
        non_empty = [part for part in parts if part]
        if not non_empty:
            return
        rows = sum(part[0].size(0) for part in non_empty)
        state = [torch.cat(leaf).new_zeros(rows, *leaf[0].shape[1:]) for leaf in zip(*non_empty, strict=True)]
        for rank, part in enumerate(parts):
            for leaf, rows_of_rank in zip(state, part, strict=False):
                leaf[rank :: len(parts)] = rows_of_rank
        self.state = [leaf[processes.rank :: processes.size] for leaf in state]


def evaluate(
    model: Model,
    corpus: Corpus,
    search: Search | None,
    metrics: Sequence[str] | None = None,
    batch_size: int = 64,
    config: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All figures of a model on a split, ready for JSON: the mean loss, what the head derives from it, the metrics.

    `metrics` are names of the kind metric (None: the head's own); `signatures` holds how each was computed. `config` is
    the configuration that the model was trained with: it holds the options of the metrics, and with
    `data.batching=stream` the loss is that of the running text.
    """
    if len(corpus) == 0 or corpus.target is None:
        problem, remedy = "there are no rows with right answers", "name a split or a file that has both sides"
        raise UserError("E-empty", "evaluate", problem, remedy)
    rows = rows_to_answer(model, corpus)
    data = (config or {}).get("data")
    total = likelihood(model, corpus, batch_size, data)
    names = model.head.metrics if metrics is None else metrics
    predictions = answer(model, corpus, rows, search, batch_size) if names else []
    scores = measure(predictions, references(model, corpus, rows, data), names, config) if names else {}
    return {
        "rows": len(corpus),
        "sources": len(rows),
        **loss_figures(model.head, total),
        **{name: score.value for name, score in scores.items()},
        "signatures": {name: score.signature for name, score in scores.items()},
        "details": {name: score.details for name, score in scores.items() if score.details},
    }


def loss_figures(head: Head, total: LossSum) -> dict[str, float]:
    """What the loss of right answers says: its mean, what the head derives from that, and the head's accuracy.

    The accuracy of a generated sequence is that of each token after the right ones before it (teacher forcing).
    """
    figures = {"loss": total.mean, **{name: figure(total.mean) for name, figure in head.loss_metrics.items()}}
    return {**figures, **({head.accuracy: total.accuracy} if head.accuracy and not math.isnan(total.accuracy) else {})}


def rows_to_answer(model: Model, corpus: Corpus) -> Rows:
    """The rows whose sources the model answers: one for each source where it has several right answers, else all."""
    return corpus.unique() if model.head.multiple_references else np.arange(len(corpus))


def references(model: Model, corpus: Corpus, rows: Rows, data: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """The right answers for each row, written as predictions are.

    Tags are those of the items that the model sees: by `data.keep`, a row that is too long keeps its start or its end.
    """
    if model.head.multiple_references:
        answers = corpus.references(rows)
    else:
        answers = [(value,) for value in corpus.values("target", rows)]
    texts = [tuple(map(model.target.text, values)) for values in answers]
    if not model.target.is_aligned or corpus.target is None:
        return texts
    keep_end = (data or {}).get("keep") == "end"
    lengths = corpus.target.lengths[rows].tolist()
    return [tuple(cut_tags(text, length, keep_end) for text in row) for row, length in zip(texts, lengths, strict=True)]


def cut_tags(tags: str, length: int, keep_end: bool) -> str:
    """The first or the last tags of a row."""
    items = tags.split()
    first = max(len(items) - length, 0) if keep_end else 0
    return " ".join(items[first : first + length])


def likelihood(model: Model, corpus: Corpus, batch_size: int = 64, data: Mapping[str, Any] | None = None) -> LossSum:
    """The summed negative log-likelihood of every row's right answer, the number of its tokens and of the likeliest.

    Running text (`data` with `batching: stream`) is read as one stream from its first token to its last, so that the
    figure depends on no batch size.
    """
    total, stream = LossSum(), StreamState(data)
    with predicting(model) as device, naming_rows(corpus.place):
        for batch in in_order(corpus, data) if stream.is_running and data else by_rows(corpus, batch_size):
            for loss in stream.losses(model, moved(batch, device)):
                total = total.plus(fetch(loss))
    return total


def by_rows(corpus: Corpus, batch_size: int) -> Iterator[Batch]:
    """All rows, in batches of similar length."""
    assert corpus.target is not None
    lengths = np.maximum(corpus.source.lengths, corpus.target.lengths)
    return (collate(corpus, rows) for rows in by_length(lengths, batch_size))


def in_order(corpus: Corpus, data: Mapping[str, Any]) -> Iterator[Batch]:
    """The running text in one stream."""
    options = {**data, "batch_size": 1, "batch_by": "sentences", "steps": STREAM_STEPS}
    return iter(batches(corpus, options, 0, shuffle=False))


def answer(
    model: Model,
    corpus: Corpus,
    rows: Rows,
    search: Search | None,
    batch_size: int = 64,
    processes: Processes = ALONE,
) -> list[Prediction]:
    """The model's answers to the sources of the rows, in their order; without attention maps, which are large.

    Each row is answered by one of the processes; the first of them gets the answers, the others an empty list.
    """
    longest_first = rows[np.argsort(-corpus.source.lengths[rows], kind="stable")]  # so that all have equal work
    answers: dict[int, Prediction] = {}
    with predicting(model) as device, naming_rows(corpus.place):
        mine = processes.mine(longest_first)
        for places in by_length(corpus.source.lengths[mine], batch_size, width=search.width if search else 1):
            chunk = mine[places]
            batch = moved(collate(corpus, chunk)._replace(target=None), device)
            parts = in_parts(lambda part, _: model.predict(part, search), batch)
            for row, prediction in zip(chunk.tolist(), itertools.chain(*parts), strict=True):
                answers[row] = prediction._replace(attention=None, others=())
    for part in processes.collect(answers):
        answers.update(part)
    return [answers[row] for row in rows.tolist()] if processes.first else []


def measure(
    predictions: Sequence[Prediction],
    references: Sequence[Sequence[str]],
    metrics: Sequence[str],
    config: Mapping[str, Any] | None = None,
) -> dict[str, Score]:
    """The score of each metric, with its options in `config`; each answer is compared to all the right ones."""
    texts = [str(prediction.value) for prediction in predictions]  # a number with all its digits
    return {name: registry.build_listed("metric", config or {}, name)(texts, references) for name in metrics}


def moved(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    on_device: Batch = tree_map(lambda tensor: tensor.to(device, non_blocking=device.type == "cuda"), batch)
    return on_device


@contextmanager
def predicting(model: Model) -> Iterator[torch.device]:
    """The model in evaluation mode and without gradients inside the block, which gets the device that it is on."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield next(model.parameters()).device
    finally:
        model.train(was_training)
