"""The native kernels in C++, compiled when they are first needed; nothing requires them."""

from seq2att.recurrence.native.build import NativeError, is_available, library
from seq2att.recurrence.native.gate import ArgumentError
from seq2att.recurrence.native.product import matmul

__all__ = ["ArgumentError", "NativeError", "is_available", "library", "matmul"]
