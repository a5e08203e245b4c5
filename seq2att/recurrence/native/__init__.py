"""The loops of a recurrence in C++, compiled when they are first needed; nothing requires them."""

from seq2att.recurrence.native.build import NativeError, library
from seq2att.recurrence.native.engine import Engine, engine
from seq2att.recurrence.native.gate import ArgumentError
from seq2att.recurrence.native.product import product

__all__ = ["ArgumentError", "Engine", "NativeError", "engine", "library", "product"]
