"""The path of the gradient: how much the loss feels each state, by its distance."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.explanation.recorder import Recorder
from seq2att.explanation.result import GradientPath
from seq2att.head import Generator, Head, Tagging
from seq2att.types import Column, Encoding


class Gradients(NamedTuple):
    """The norms of the gradient at every state, and the loss that it is of."""

    paths: tuple[GradientPath, ...] = ()
    loss: float | None = None
    loss_of: str | None = None


def differentiate(head: Head, recorder: Recorder, encoding: Encoding, target: Column | None) -> Gradients:
    """Compute the norm of d loss / d state of every recorded state."""
    loss, loss_of = loss_of_row(head, recorder, encoding, target)
    names = list(recorder.states)
    flat = [state for name in names for state in recorder.states[name]]
    gradients = iter(torch.autograd.grad(loss, flat, allow_unused=True))
    paths = []
    for name in names:
        norms: list[float] = []
        for state in recorder.states[name]:
            gradient = next(gradients)
            values = torch.zeros_like(state) if gradient is None else gradient
            norms += values.reshape(-1, values.size(-1)).double().norm(dim=1).tolist()
        axis = "source" if name.startswith(("encoder.", "source.")) else "target"
        backwards = name.startswith("encoder.") and ".backward." in name
        distance = list(range(len(norms)))
        paths.append(GradientPath(name, axis, distance if backwards else distance[::-1], norms))
    return Gradients(tuple(paths), float(loss.detach()), loss_of)


def loss_of_row(head: Head, recorder: Recorder, encoding: Encoding, target: Column | None) -> tuple[Tensor, str]:
    """The loss of the last step where every step has a softmax of its own; else that of the row.

    Without a target it is the loss of the head's own answer; of a regression, whose own answer has none, the answer.
    """
    is_generator, is_tagger = isinstance(head, Generator), isinstance(head, Tagging)
    log_probs = recorder.get("output.log_probs" if is_generator else "head.log_probs")  # [T, V], [S, K] or [C]
    ids = recorder.get("target.ids" if is_generator else "head.best_path")  # [T] or [S]
    if is_tagger and target is not None:
        ids = target.values[0]
    if ids is not None and log_probs is not None and getattr(head, "transitions", None) is None:
        return -log_probs[-1, ids[-1]], "last step"
    if is_tagger and ids is not None:
        target = Column(ids.unsqueeze(0), encoding.mask.sum(1))
    if target is not None:
        return -head.score(encoding, target).sum(), "row"
    if log_probs is not None:
        return -log_probs.max(), "row"
    value = recorder.get("head.value")
    if value is None:
        problem = "this head has no loss of its own answer"
        raise UserError("E-argument", "explain: gradient", problem, "give the right answer as `target`")
    return value.sum(), "value"
