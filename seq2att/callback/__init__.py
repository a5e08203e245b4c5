"""Callbacks: what else happens while a model trains.

A plugin derives a class from `Callback`:

    @register("callback", "ping")
    class Ping(Callback):
        def __init__(self, *, url: str) -> None: ...
        def on_validation(self, training): ...

The setting `callbacks` lists callbacks by name, each with its options: `callbacks=[show] callback.show.rows=[1,5]`.
Python code passes objects: `seq2att.train(recipe, callbacks=[Ping(url="...")])`.
"""

from __future__ import annotations

from seq2att.registry import kind, register
from seq2att.trainer.callback import Callback

kind("callback")(Callback)

from seq2att.callback.norms import GradientNorms  # noqa: E402  # they are registered, so the kind comes first
from seq2att.callback.parameters import Parameters  # noqa: E402
from seq2att.callback.show import Show  # noqa: E402

__all__ = ["Callback", "GradientNorms", "Parameters", "Show", "register"]
