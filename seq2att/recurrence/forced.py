"""What the user asks of the kernels by `SEQ2ATT_KERNEL`, and whether those in C++ are there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from seq2att.errors import UserError

if TYPE_CHECKING:
    from seq2att.recurrence.native import Engine

VARIABLE = "SEQ2ATT_KERNEL"
KERNELS = ("torch", "python", "cpp")


def forced() -> str | None:
    """The tier that the user asks for."""
    kernel = os.environ.get(VARIABLE) or None
    if kernel is not None and kernel not in KERNELS:
        raise UserError(f"{VARIABLE}={kernel} is no kernel; known: {', '.join(KERNELS)}; unset it to have one chosen")
    return kernel


def compiled() -> bool:
    """Whether the kernels in C++ may be used, and are there."""
    kernel = forced()
    return kernel in (None, "cpp") and native_engine(required=kernel == "cpp") is not None


def native_engine(required: bool) -> Engine | None:
    """The engine in C++; None where it cannot be built, which `required` makes a `UserError`."""
    from seq2att.recurrence import native

    if required:
        try:
            native.library()
        except native.NativeError as error:
            raise UserError(
                f"{VARIABLE}=cpp: the C++ kernels cannot be built ({error}); mend that, or set it to python or torch"
            ) from error
    return native.engine()
