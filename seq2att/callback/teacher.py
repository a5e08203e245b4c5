"""What a model holds likeliest at every position of a right answer, beside the right token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from seq2att.contracts import setting_name
from seq2att.data import Ragged
from seq2att.drawing.terminal import cut, display_width, visible
from seq2att.errors import UserError
from seq2att.head import Generator, shift_right
from seq2att.model import Model
from seq2att.trainer.evaluation import moved, predicting
from seq2att.trainer.loop import Training
from seq2att.trainer.progress import one_line
from seq2att.types import Batch, Column

WIDTH = 100  # columns of a line
KEY = "callback.show.mode=teacher"


def check_teacher(training: Training, texts: Sequence[str]) -> None:
    """Refuse a model that generates no tokens, and texts without right answers."""
    model = training.model
    if not isinstance(model.head, Generator):
        problem = f"{setting_name('head', model.head)} does not predict token by token"
        raise UserError("E-conflict", KEY, problem, "set callback.show.mode=answer")
    if texts and model.source.has_values:
        problem = "callback.show.texts are sources, without right answers"
        raise UserError("E-conflict", KEY, problem, "choose rows of the validation split by callback.show.rows")


def batch_of_targets(model: Model, texts: Sequence[str]) -> Batch:
    """The texts as targets of a model without a source."""
    rows = torch.arange(len(texts))
    target = Ragged.of(model.target.encode_batch(texts)).gather(rows.numpy())
    source = Column(torch.zeros(len(texts), 0, dtype=torch.long), torch.zeros(len(texts), dtype=torch.long))
    return Batch(source, target, rows, torch.zeros(len(texts), dtype=torch.bool))


def forced_lines(model: Model, batch: Batch, names: Sequence[str]) -> Iterator[str]:
    """For each row of the batch its name with the share of right tokens, then tokens: read, right and likeliest."""
    head = model.head
    assert isinstance(head, Generator) and batch.target is not None
    with predicting(model) as device:
        batch = moved(batch, device)
        assert batch.target is not None
        inputs, labels, real = shift_right(batch.target)  # [B, T + 1] each
        memory, state = head.start(model.encode(batch.source))
        outputs = head.decode(inputs, memory, state, batch.target.lengths + 1).outputs  # [B, T + 1, D]
        likeliest = head.output.log_probs(outputs.flatten(0, 1)).argmax(1).view_as(labels)  # [B, T + 1]
    seen: set[tuple[int, ...]] = set()
    ids = [part.tolist() for part in (inputs, labels, likeliest)]
    for name, length, *columns in zip(names, real.sum(1).tolist(), *ids, strict=True):
        read, right, predicted = (column[:length] for column in columns)
        if tuple(right) in seen and not model.source.has_values:
            continue
        seen.add(tuple(right))
        num_right = sum(one == other for one, other in zip(right, predicted, strict=True))
        yield f"  {one_line(name)}: {num_right} of {length} tokens right"
        rows = {"read": read, "right": right, "model": predicted}
        yield from aligned({title: head.target.pieces(row) for title, row in rows.items()})


def aligned(rows: dict[str, tuple[str, ...]]) -> Iterator[str]:
    """The pieces of several rows below each other, in blocks as wide as a terminal."""
    cells = [[cut(visible(piece), WIDTH // 4) for piece in column] for column in zip(*rows.values(), strict=True)]
    margin = max(map(len, rows))
    blocks: list[list[list[str]]] = [[]]
    width = 0
    for column in cells:
        size = max(map(display_width, column))
        if blocks[-1] and width + size + 1 > WIDTH:
            blocks.append([])
            width = 0
        blocks[-1].append([piece + " " * (size - display_width(piece)) for piece in column])
        width += size + 1
    for block in blocks:
        for number, title in enumerate(rows):
            yield f"    {title:<{margin}}  {' '.join(column[number] for column in block)}".rstrip()
