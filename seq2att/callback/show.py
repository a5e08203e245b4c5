"""What a model says to chosen examples while it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, Trainer

from seq2att.data import Ragged
from seq2att.errors import UserError
from seq2att.trainer.evaluation import answer, moved, predicting, references
from seq2att.trainer.module import Training
from seq2att.trainer.progress import described, one_line
from seq2att.types import Batch, Prediction

FIRST = 3  # rows that are shown when nothing is chosen


class Show(Callback):
    """Prints what the model says to rows of the validation split, beside a right answer, and to texts."""

    def __init__(self, rows: Sequence[int], texts: Sequence[str], say: Callable[[str], None] = print) -> None:
        self.rows, self.texts, self.say = tuple(rows), tuple(texts), say

    def on_fit_start(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Refuse rows that there are not."""
        size = len(module.corpora["validation"])
        if beyond := [row for row in self.rows if row > size]:
            raise UserError(
                f"callback.show.rows: there is no row {beyond[0]}; the validation split has {size:,} rows, "
                f"choose from 1 to {size:,}"
            )

    def on_validation_end(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Print the examples."""
        if trainer.is_global_zero:
            with trainer.precision_plugin.val_step_context():
                lines = [*self.of_rows(module), *self.of_texts(module)]
            for line in lines:
                self.say(line)

    def of_rows(self, module: Training) -> Iterator[str]:
        """A line for each of the rows."""
        corpus = module.corpora["validation"]
        chosen = self.rows or (range(1, 1 + min(FIRST, len(corpus))) if not self.texts else ())
        rows = np.array(chosen, np.int64) - 1
        if not len(rows):
            return
        said = answer(module.model, corpus, rows, module.search)
        right = references(module.model, corpus, rows, module.config["data"])
        asked = corpus.source_values(rows) if module.model.source.has_values else [None] * len(rows)
        for row, source, prediction, answers in zip(chosen, asked, said, right, strict=True):
            yield f"  row {row}: {line_of(source, prediction)}   (right: {one_line(answers[0])})"

    def of_texts(self, module: Training) -> Iterator[str]:
        """A line for each of the texts."""
        if self.texts:
            for text, prediction in zip(self.texts, said_to(module, self.texts), strict=True):
                yield f"  {line_of(text, prediction)}"


def said_to(module: Training, texts: Sequence[str]) -> list[Prediction]:
    """What the model says to the texts; without a source it continues them."""
    model, rows = module.model, torch.arange(len(texts))
    with predicting(model) as device:
        if not model.source.has_values and module.search is not None:
            prefixes: list[Sequence[int]] = [ids.tolist() for ids in model.target.encode_batch(texts)]
            return model.continue_from(prefixes, module.search, rows)
        source = Ragged.of(model.source.encode_batch(texts)).gather(rows.numpy())
        batch = Batch(source, None, rows, torch.zeros(len(texts), dtype=torch.bool))
        return model.predict(moved(batch, device), module.search)


def line_of(source: Any, said: Prediction) -> str:
    """One line: what was asked, if anything, and what the model says; of a class how likely it is."""
    likely = (said.probabilities or {}).get(said.text)
    text = one_line(said.text) if likely is None else f"{one_line(said.text)} ({likely:.2f})"
    return text if source is None else f"{one_line(described(source))} -> {text}"
