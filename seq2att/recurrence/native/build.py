"""Compiles the C++ sources beside this file, once for each machine and version, and loads them by ctypes.

The sources use neither PyTorch's headers nor Python's: a compiler takes seconds over them, and one library serves every
version of both. It lies in the user's cache folder, under a hash of all that it depends on.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = (
    *("-O3", "-std=c++17", "-fPIC", "-pthread"),
    *(
        "-fno-math-errno",
        "-fno-trapping-math",
        "-fno-signed-zeros",
        "-fassociative-math",
    ),  # loops become vectors; NaN stays
)
MACHINE = ("-march=native", "-mprefer-vector-width=512")
"""For this very processor; a flag that the compiler does not know is left out."""
VARIABLE = "SEQ2ATT_CXXFLAGS"
"""The environment variable with more flags, such as those of a sanitizer."""

log = logging.getLogger("seq2att")


class NativeError(RuntimeError):
    """The library cannot be compiled or loaded."""


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled library. Errors: `NativeError` where there is no compiler, or it fails; tried once a process."""
    reason = failure()
    if reason is not None:
        raise NativeError(reason)
    return ctypes.CDLL(str(place()))


@functools.cache
def failure() -> str | None:
    """Why there is no library, or None when there is one; the log warns once."""
    try:
        if not place().is_file():
            compile_to(place())
        ctypes.CDLL(str(place()))  # on Windows, one whose own libraries are not found fails here
        return None
    except (NativeError, OSError, subprocess.SubprocessError) as error:
        log.warning("the C++ kernels are not available, PyTorch computes instead, more slowly: %s", error)
        return str(error)


def is_available() -> bool:
    """Whether there is a library."""
    return failure() is None


@functools.cache
def compiler() -> str:
    """The C++ compiler: `$CXX`, or the first of c++, g++, clang++ on the path."""
    for name in (os.environ.get("CXX"), "c++", "g++", "clang++"):
        if name and (path := shutil.which(name)):
            return path
    raise NativeError("no C++ compiler (c++, g++, clang++ or $CXX) was found")


@functools.cache
def place() -> Path:
    """The path of the library for these sources, this compiler and this processor."""
    version = subprocess.run(
        [compiler(), "--version"], capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
    ).stdout
    parts = [version, *flags(), *MACHINE, processor()]
    parts += [f"{file.name}\n{file.read_text('utf-8')}" for file in sources("*.h") + sources("*.cpp")]
    key = hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()
    return folder() / f"{key}.so"


def flags() -> list[str]:
    """The flags for every processor: ours, then those of the environment."""
    return [*FLAGS, *shlex.split(os.environ.get(VARIABLE, ""))]


def folder() -> Path:
    """The folder of compiled libraries in the user's cache."""
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    except RuntimeError as error:
        raise NativeError("there is no home folder; set HOME or XDG_CACHE_HOME") from error
    return root / "seq2att" / "native"


def processor() -> str:
    """The model and features of this processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.split("\t")[0].strip() in known}))


def sources(pattern: str) -> list[Path]:
    """The files beside this one, in order."""
    return sorted(SOURCES.glob(pattern))


def compile_to(path: Path) -> None:
    """Compile every source, all at the same time, into one library; another process may do the same meanwhile."""
    log.info("compiling the C++ kernels (once; seconds)")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".unfinished-") as scratch:
        made = Path(scratch)
        machine = [flag for flag in MACHINE if run_compiler([flag, "-E", "-x", "c++", os.devnull], made) is None]
        jobs = [[*flags(), *machine, "-c", str(file), "-o", f"{file.stem}.o"] for file in sources("*.cpp")]
        with ThreadPoolExecutor() as threads:
            messages = list(threads.map(lambda job: run_compiler(job, made), jobs))
        objects = [job[-1] for job in jobs]
        messages.append(None if any(messages) else run_compiler([*flags(), "-shared", *objects, "-o", path.name], made))
        if message := next(filter(None, messages), None):
            raise NativeError(f"{compiler()} failed: {message}")
        ctypes.CDLL(str(made / path.name))  # a library that cannot be loaded is not kept
        os.replace(made / path.name, path)


def run_compiler(arguments: list[str], folder: Path) -> str | None:
    """The first lines of the compiler's errors; None when it succeeds."""
    done = subprocess.run(
        [compiler(), *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        cwd=folder,
        timeout=600,
        check=False,
    )
    return (
        None if done.returncode == 0 else "; ".join(done.stderr.strip().splitlines()[:3]) or f"exit {done.returncode}"
    )
