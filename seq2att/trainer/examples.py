"""Examples of pictures: what a model says of some of them, and where it looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from seq2att.data import collate
from seq2att.trainer.evaluation import moved, predicting, references, rows_to_answer

if TYPE_CHECKING:
    from seq2att.data import Corpus
    from seq2att.model import Model
    from seq2att.search import Search
    from seq2att.types import Prediction

NUM_EXAMPLES = 6


def draw_examples(model: Model, corpus: Corpus | None, search: Search | None, path: Path) -> None:
    """Draw some rows with the model's answers; nothing where there are none, or the sources are no pictures."""
    from seq2att.drawing import Seen, draw_pictures, draw_strips

    if corpus is None or not len(corpus) or not model.source.names_files:
        return
    rows = rows_to_answer(model, corpus)
    rows = rows[np.arange(min(NUM_EXAMPLES, len(rows))) * len(rows) // min(NUM_EXAMPLES, len(rows))]
    with predicting(model) as device:
        batch = moved(collate(corpus, rows)._replace(target=None), device)
        predictions = model.predict(batch, search)
    lengths = corpus.source.lengths[rows].tolist()
    right = references(model, corpus, rows, None) if corpus.target is not None else [("",)] * len(rows)
    seen = []
    for place, (prediction, length, answers) in enumerate(zip(predictions, lengths, right, strict=True)):
        picture = model.source.picture(batch.source.values[place, :length].cpu().numpy())
        if picture is None:
            continue
        best = prediction.text if prediction.text in answers else answers[0]  # any of several right ones
        words = prediction.tokens or (prediction.text,)
        seen.append(Seen(picture, prediction.text, words, best, attention_maps(model, prediction, length)))
    if seen:
        path.parent.mkdir(parents=True, exist_ok=True)
        (draw_strips if model.target.is_aligned else draw_pictures)(seen, path)


def attention_maps(model: Model, prediction: Prediction, length: int) -> npt.NDArray[Any] | None:
    """The attention of each word over the regions of a picture, `[T, rows, columns]`; None where there are none."""
    grid = model.encoder.grid(length)
    if grid is None or prediction.attention is None:
        return None
    weights = prediction.attention.double().numpy()  # [T, columns * rows]
    maps: npt.NDArray[Any] = weights.reshape(len(weights), grid[1], grid[0]).transpose(0, 2, 1)
    return maps
