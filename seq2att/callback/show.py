"""What a model answers to chosen examples while it learns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch

from seq2att.callback.teacher import batch_of_targets, check_teacher, forced_lines
from seq2att.data import Ragged, collate
from seq2att.errors import UserError
from seq2att.registry import Size, register
from seq2att.trainer.callback import Callback
from seq2att.trainer.evaluation import answer, moved, predicting, references
from seq2att.trainer.loop import Training
from seq2att.trainer.progress import example
from seq2att.types import Batch, Prediction

DEFAULT_ROWS = 3  # that are shown when nothing is chosen


@register("callback", "show")
class Show(Callback):
    """The model's answers to some rows of the validation split and to texts of your own, after each validation.

    Args:
        rows: numbers of rows of the validation split; the first three without `rows` and `texts`.
        texts: texts to answer; for a model without a source, beginnings that it continues.
        mode: `answer` shows what the model answers by itself; `teacher` shows at every position of the right answer
            what it holds likeliest after the right tokens before (teacher forcing); `texts` are right answers of a
            model without a source.
    """

    shows_examples = True

    def __init__(
        self,
        *,
        rows: tuple[Size, ...] = (),
        texts: tuple[str, ...] = (),
        mode: Literal["answer", "teacher"] = "answer",
    ) -> None:
        self.rows, self.texts, self.mode = tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(texts)), mode

    def on_start(self, training: Training) -> None:
        if self.mode == "teacher":
            check_teacher(training, self.texts)
        size = len(training.corpora.get("validation", ()))
        if not size and not self.texts:
            problem, remedy = "there are no validation rows to show", "set callback.show.texts, or leave it out"
            raise UserError("E-conflict", "callbacks=[show]", problem, remedy)
        if missing := [row for row in self.rows if row > size]:
            problem = f"must be at most {size:,}, the rows of the validation split"
            raise UserError("E-size", f"callback.show.rows={missing[0]}", problem)

    def on_validation(self, training: Training) -> None:
        if training.processes.first:
            with training.validator.fabric.autocast():
                lines = [*self.row_lines(training), *self.text_lines(training)]
            for line in lines:
                training.say(line)

    def row_lines(self, training: Training) -> Iterator[str]:
        """A line for each of the rows; in teacher mode several."""
        corpus, model = training.corpora.get("validation"), training.model
        if corpus is None:
            return
        numbers = self.rows or (range(1, 1 + min(DEFAULT_ROWS, len(corpus))) if not self.texts else ())
        rows = np.array(numbers, np.int64) - 1
        if not len(rows):
            return
        if self.mode == "teacher":
            yield from forced_lines(model, collate(corpus, rows), [f"row {number}" for number in numbers])
            return
        predictions = answer(model, corpus, rows, training.validator.search)
        right = references(model, corpus, rows, training.config["data"])
        sources = corpus.values("source", rows) if model.source.has_values else [None] * len(rows)
        for number, *parts in zip(numbers, sources, predictions, right, strict=True):
            yield f"  row {number}: {example(*parts)}"

    def text_lines(self, training: Training) -> Iterator[str]:
        """A line for each of the texts; in teacher mode several."""
        if self.texts and self.mode == "teacher":
            yield from forced_lines(training.model, batch_of_targets(training.model, self.texts), self.texts)
        elif self.texts:
            for text, prediction in zip(self.texts, answer_texts(training, self.texts), strict=True):
                yield f"  {example(text, prediction)}"


def answer_texts(training: Training, texts: Sequence[str]) -> list[Prediction]:
    """The model's answers to the texts; a model without a source continues them."""
    model, search, rows = training.model, training.validator.search, torch.arange(len(texts))
    with predicting(model) as device:
        if not model.source.has_values and search is not None:
            prefixes: list[Sequence[int]] = [ids.tolist() for ids in model.target.encode_batch(texts)]
            return model.continue_from(prefixes, search, rows)
        source = Ragged.of(model.source.encode_batch(texts)).gather(rows.numpy())
        batch = Batch(source, None, rows, torch.zeros(len(texts), dtype=torch.bool))
        return model.predict(moved(batch, device), search)
