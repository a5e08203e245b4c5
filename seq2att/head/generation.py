"""Generation: a sequence from one thing, such as a label, a vector, or the regions of an image."""

from __future__ import annotations

from typing import ClassVar

from seq2att.head.generator import Generator
from seq2att.registry import register


@register("head", "generation")
class Generation(Generator):
    """One-to-many: a text from a label, a vector or a set of vectors (Vinyals et al. 2015, Xu et al. 2015).

    A label or a vector is a memory of one place, from which the decoder starts (`decoder.bridge=dense`) and at which
    its attention looks at every step; of `source=vectors` (the regions of an image) it looks at one or another.
    """

    task: ClassVar[str] = "generate"
    metrics: ClassVar[tuple[str, ...]] = ("exact", "bleu", "chrf")
