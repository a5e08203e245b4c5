"""What is reported when a component breaks a law or fails inside: where, on what input, and the likeliest cause."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from seq2att.errors import UserError


class LawError(AssertionError):
    """A component breaks a law."""


class MissingMethodError(LawError):
    """A component lacks a method that its base class leaves to it."""


def require(condition: bool, problem: str, cause: str = "") -> None:
    """Raise `LawError` with the problem and its likeliest cause unless the condition holds."""
    if not condition:
        raise LawError(f"{problem}; likely cause: {cause}" if cause else problem)


@contextmanager
def held(place: str, target: Callable[..., Any], shapes: str = "") -> Iterator[None]:
    """Raise what the block raises as a `LawError` that begins with `place`, such as a law and its case.

    An exception of another kind is described by its type, the line of the component that it comes from, and the shapes
    of the tensors there. Errors about options and names (`UserError`) stay as they are, but for a broken contract.
    """
    try:
        yield
    except MissingMethodError:
        raise
    except LawError as error:
        raise LawError(f"{place}: {error}") from None
    except NotImplementedError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not frame.f_globals.get("__name__", "").startswith("seq2att."):
            raise LawError(f"{place}: {describe(error, target, shapes)}") from error
        name = getattr(target, "__name__", "the component")
        raise MissingMethodError(str(error) or f"{name} must define {frame.f_code.co_name}") from error
    except UserError as error:
        if error.code != "E-contract":
            raise
        raise LawError(f"{place}: {error}") from error
    except Exception as error:
        raise LawError(f"{place}: {describe(error, target, shapes)}") from error


def describe(error: Exception, target: Callable[..., Any], shapes: str) -> str:
    """An exception in one line: its type and text, the component's own line, the tensors there, the case's input."""
    text = f"raises {type(error).__name__}: {' '.join(str(error).split())}"
    file = inspect.getsourcefile(inspect.unwrap(target))
    steps = [step for step in traceback.walk_tb(error.__traceback__) if step[0].f_code.co_filename == file]
    if steps:
        frame, line = steps[-1]  # the innermost
        tensors = [f"{name} {list(value.shape)}" for name, value in frame.f_locals.items() if isinstance(value, Tensor)]
        where = f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_name}"
        text += f" ({', '.join([where, *tensors])})"
    return f"{text}; input: {shapes}" if shapes else text
