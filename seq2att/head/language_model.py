"""Language models: how likely a text is, and texts that nobody wrote."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

from seq2att.head.generator import Generator, perplexity
from seq2att.registry import register


def bits(loss: float) -> float:
    """The mean loss of a token in bits: with `target/tokenizer=char`, the bits per character."""
    return loss / math.log(2)


@register("head", "language_model")
class LanguageModel(Generator):
    """Says texts by itself, token by token (Mikolov et al. 2010); it goes with `source=none` and `encoder=none`.

    log p(text) = sum over t of log p(token t | the tokens before it), the end symbol included. With
    `data.batching=stream` it learns from running text, of which each batch goes on where the last one stopped.
    """

    task: ClassVar[str] = "generate"
    metrics: ClassVar[tuple[str, ...]] = ()
    loss_metrics: ClassVar[Mapping[str, Callable[[float], float]]] = {"perplexity": perplexity, "bits": bits}
