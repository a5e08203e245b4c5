"""Errors that a user can correct, their stable codes."""

from __future__ import annotations

import errno

CODES = {
    "E-argument": "A command or a function was called with arguments that do not go together.",
    "E-bundle": "A saved model cannot be loaded.",
    "E-checkpoint": "A checkpoint cannot be written, read or continued from.",
    "E-choice": "A value is not one of the allowed choices.",
    "E-column": "A table lacks a column, or a row has too few or too many.",
    "E-component": "No component of this kind has this name.",
    "E-conflict": "Two settings do not go together.",
    "E-contract": "A component returned something other than its base class promises.",
    "E-data": "The data as a whole cannot be used with these settings.",
    "E-device": "The device or precision is not available here.",
    "E-empty": "A file or a split has no rows, or a row has no value.",
    "E-encoding": "A file is not valid UTF-8 text.",
    "E-file": "A file or folder cannot be found, read or written.",
    "E-hub": "A data set of the Hugging Face hub cannot be fetched.",
    "E-internal": "A fault of seq2att or of a plugin; no setting is wrong.",
    "E-kernel": "The native kernels cannot be compiled, loaded or called.",
    "E-kind": "There is no such kind of component.",
    "E-label": "A label, tag or class is unknown or malformed.",
    "E-length": "A row or an input is too long, or two lengths do not match.",
    "E-loss": "Training diverged: a loss or a gradient is not finite, or the loss exploded.",
    "E-memory": "Memory ran out, of the machine or of the device.",
    "E-metric": "A metric does not fit the task or the data.",
    "E-missing": "A required setting or argument is missing.",
    "E-number": "A value of the data is not a finite number.",
    "E-option": "A component has no such option.",
    "E-package": "A Python package that this needs is not installed.",
    "E-picture": "A picture, or a frame of a video, cannot be read.",
    "E-plugin": "A plugin cannot be found or imported.",
    "E-process": "A worker process failed.",
    "E-range": "A number is outside its allowed range.",
    "E-recipe": "A recipe cannot be found or composed.",
    "E-register": "A class or function cannot be registered as a component.",
    "E-row": "A row of a file is malformed.",
    "E-run": "A run folder cannot be used: it holds another run, or none.",
    "E-setting": "There is no such setting.",
    "E-size": "A count or size is too small or too large.",
    "E-split": "The data cannot be split by these settings.",
    "E-syntax": "A setting, a recipe or a line cannot be parsed.",
    "E-task": "The model's task does not support this command or component.",
    "E-type": "A value has the wrong type.",
    "E-vocabulary": "A vocabulary or tokenizer cannot be built or used.",
}
"""Every error code and what it stands for. Codes are stable: tests and programs may rely on them."""


MEMORY_CLASSES = ("MemoryError", "OutOfMemoryError")
MEMORY_MESSAGES = (
    "not enough memory",  # PyTorch's allocator on a CPU, on Windows
    "can't allocate memory",  # the same elsewhere
    "Cannot allocate memory",  # the system
    "out of memory",  # CUDA and MPS
    "ALLOC_FAILED",  # cuBLAS and cuDNN
    "std::bad_alloc",
)
REMEDIES = {
    errno.ENOSPC: "free space there, or write elsewhere",
    errno.EDQUOT: "free space there, or write elsewhere",
    errno.EFBIG: "write to another disk, or raise the limit (ulimit -f)",
    errno.ENOMEM: "free memory",
    errno.EACCES: "change its rights, or choose another",
    errno.EPERM: "change its rights, or choose another",
    errno.EROFS: "choose a folder that can be written",
    errno.EIO: "check the disk or the network",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EISDIR: "name a file",
    errno.ENOTDIR: "name a folder",
}
"""What to do about an error of the system, by its number."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: that of Python, NumPy, a kernel, PyTorch, or of a GPU."""
    if any(one.__name__ in MEMORY_CLASSES for one in type(error).__mro__):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM  # its text depends on the locale, and holds the name of a file
    is_of_a_library = isinstance(error, RuntimeError | OSError)
    return is_of_a_library and any(message in str(error) for message in MEMORY_MESSAGES)


class UserError(Exception):
    """An error in a setting or in data that the user can correct, in one line: `subject: problem; remedy`.

    The command line prints it without a traceback and exits with code 2.

    Args:
        code: one of `CODES`.
        subject: what is wrong: `key=value` of a setting, `file:line` of data, or an argument.
        problem: what is wrong with it, with limits as numbers.
        remedy: what to do about it; may be left out where the problem says it already.
    """

    def __init__(self, code: str, subject: str, problem: str, remedy: str = "") -> None:
        self.code, self.subject, self.problem, self.remedy = code, subject, problem, remedy
        parts = [part for part in (subject, problem) if part]
        super().__init__(": ".join(parts) + (f"; {remedy}" if remedy else ""))

    def at(self, place: str, side: str = "", keep_remedy: bool = False) -> UserError:
        """The same error at a place, of a value on a side of the data.

        Args:
            place: where the value stands: `file:line`, or `line 3` of an input.
            side: source or target; empty if it needs no mention.
            keep_remedy: whether the remedy applies, which is about the files of training.
        """
        value = f"the {side} {self.subject}".rstrip() if side else self.subject
        problem = f"{value}: {self.problem}" if value else self.problem
        return UserError(self.code, place, problem, self.remedy if keep_remedy else "")

    def __reduce__(self) -> tuple[type[UserError], tuple[str, ...]]:
        """Pickle by the parts, so that an error of a worker process arrives whole."""
        return type(self), (self.code, self.subject, self.problem, self.remedy)


def check_size(key: str, value: int, minimum: int = 1, null: str = "") -> int:
    """Return the value; raise `E-size` where it is below the minimum. `null` says what null stands for, if allowed."""
    if value < minimum:
        raise UserError("E-size", f"{key}={value}", f"must be at least {minimum}", null and f"or null for {null}")
    return value


def system_remedy(error: OSError) -> str:
    """What to do about an error of the system."""
    return REMEDIES.get(error.errno or 0, "check that it is there")
