"""Callbacks: what else happens while a model trains.

A plugin is a function that returns a Lightning callback; it imports Lightning inside, because settings are checked
before Lightning is loaded: `@register("callback", "ping") def ping(*, url: str) -> Any`. Python code passes
callbacks directly: `seq2att.train(recipe, callbacks=[...])`.
"""

from __future__ import annotations

from typing import Any

from seq2att.registry import kind


@kind("callback")
def callback() -> Any:
    """A Lightning callback; `trainer.callback_metrics` holds the figures of the last validation."""
    raise NotImplementedError
