"""Callbacks: what else happens while a model trains.

A plugin is a function that returns a Lightning callback; it imports Lightning inside, because settings are checked
before Lightning is loaded: `@register("callback", "ping") def ping(*, url: str) -> Any`. Python code passes
callbacks directly: `seq2att.train(recipe, callbacks=[...])`.

The settings list callbacks by name, each with its options: `callbacks=[show] callback.show.rows=[1,5]`.
"""

from __future__ import annotations

from typing import Any

from seq2att.errors import UserError
from seq2att.registry import kind, register


@kind("callback")
def callback() -> Any:
    """A Lightning callback; `trainer.callback_metrics` holds the figures of the last validation."""
    raise NotImplementedError


@register("callback", "show")
def show(*, rows: tuple[int, ...] = (), texts: tuple[str, ...] = ()) -> Any:
    """After each validation, what the model says to some rows of the validation split and to texts of your own.

    `rows` are numbers of rows, from 1; without rows and texts it is the first three. For a model without a source the
    texts are beginnings, which it continues.
    """
    if wrong := [row for row in rows if row < 1]:
        raise UserError(f"callback.show.rows: there is no row {wrong[0]}; rows are counted from 1")
    from seq2att.callback.show import Show

    return Show(rows, texts)


@register("callback", "gradient_norms")
def gradient_norms() -> Any:
    """The norm of each layer's gradient every `trainer.log_every` steps: to the loggers, a table and a picture.

    The norms are those before clipping, in the run folder as `gradient_norms.csv` and `gradient_norms.png`.
    """
    from seq2att.callback.norms import GradientNorms

    return GradientNorms()


@register("callback", "parameters")
def parameters() -> Any:
    """At the start, a table of the layers: their parameters' shapes and number, in all, and as Keras counts them."""
    from seq2att.callback.parameters import Parameters

    return Parameters()
