"""Compiles the C++ sources in this folder, once for each machine and version, and loads them by ctypes.

The sources use neither PyTorch's headers nor Python's: a compiler takes half a minute over them, and one library serves
every version of both. It lies in the user's cache, under a hash of all that it depends on and one of its content.
What is loaded runs with the user's rights: a library that anybody else could have written is compiled anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from seq2att import private

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

SUFFIX = ".so"
OPENING = (
    "O_BINARY",
    "O_CLOEXEC",
    "O_NOFOLLOW",
    "O_NONBLOCK",
)  # those that a system has: no link, no waiting for a pipe

log = logging.getLogger("seq2att")


class NativeError(RuntimeError):
    """The library cannot be compiled or loaded."""


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled library. Errors: `NativeError` where there is no compiler, or it fails; tried once a process."""
    result = attempt()
    if isinstance(result, str):
        raise NativeError(result)
    return result


@functools.cache
def failure() -> str | None:
    """Why there is no library, or None when there is one."""
    result = attempt()
    return result if isinstance(result, str) else None


@functools.cache
def attempt() -> ctypes.CDLL | str:
    """The compiled library, or why there is none; the log warns once."""
    try:
        return open_library()
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
def compiler_version() -> str:
    """What the compiler says about itself."""
    return subprocess.run(
        [compiler(), "--version"], capture_output=True, encoding="utf-8", errors="replace", timeout=60, check=False
    ).stdout


def open_library() -> ctypes.CDLL:
    """Load the library from the cache, or compile it: into the cache, or for this process alone where that fails."""
    key = source_digest()
    try:
        folder = cache_folder()
        return cached_library(folder, key) or compile_into(folder, key)
    except OSError as error:
        log.warning("the C++ kernels are compiled for this process alone: %s", error)
    with tempfile.TemporaryDirectory(prefix="seq2att-kernels-", ignore_cleanup_errors=True) as own:
        return compile_into(Path(own), key)


def source_digest() -> str:
    """A hash of the sources, the compiler, its flags and the processor."""
    parts = [compiler_version(), *flags(), *MACHINE, processor()]
    parts += [f"{file.name}\n{file.read_text('utf-8')}" for file in sources("*.h") + sources("*.cpp")]
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=12).hexdigest()


def flags() -> list[str]:
    """The flags for every processor: ours, then those of the environment."""
    return [*FLAGS, *shlex.split(os.environ.get(VARIABLE, ""))]


def cache_folder() -> Path:
    """The folder of compiled libraries in the user's cache, which nobody else may change; made if it is missing.

    One of this user that others could change is made private, and what it holds is deleted. Raises: `OSError` for one
    that belongs to another user or cannot be made.
    """
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seq2att"
    except RuntimeError as error:
        raise FileNotFoundError("there is no home folder; set HOME or XDG_CACHE_HOME") from error
    folder = root / "native"
    private.make_folder(root)
    if private.make_folder(folder):
        log.warning("%s could be changed by others: it is private now, and its libraries are compiled anew", folder)
        for entry in folder.iterdir():
            shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink(missing_ok=True)
    return folder


def cached_library(folder: Path, key: str) -> ctypes.CDLL | None:
    """The library for these sources, if the cache has one that can be trusted; others are deleted."""
    for path in sorted(folder.glob(f"{key}-*{SUFFIX}")):
        try:
            return load(path)
        except OSError as error:
            log.warning("%s is not loaded but compiled anew: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
    return None


def load(path: Path) -> ctypes.CDLL:
    """Load a library of the cache after its owner, its mode and its digest, which its name ends with, were checked.

    Raises: `OSError` where one is wrong. The file that was checked is the one that is loaded, even if another takes its
    name meanwhile, where the system can load an open file; it stays open because the loader knows libraries by name.
    """
    descriptor = os.open(path, os.O_RDONLY | sum(getattr(os, name, 0) for name in OPENING))
    opened = Path(f"/proc/{os.getpid()}/fd/{descriptor}")
    is_kept = False
    try:
        status = os.fstat(descriptor)
        if reason := "is no file" * (not stat.S_ISREG(status.st_mode)) or private.exposure(status):
            raise PermissionError(f"it {reason}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            if digest(file.read()) != path.stem.partition("-")[2]:
                raise OSError("its content is not what was compiled")
        is_kept = opened.exists()
        return ctypes.CDLL(str(opened if is_kept else path))
    finally:
        if not is_kept:
            os.close(descriptor)


def digest(content: bytes) -> str:
    """What the name of a library says about its content."""
    return hashlib.sha256(content).hexdigest()


def processor() -> str:
    """The model and features of this processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    known = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.split("\t")[0].strip() in known}))


def sources(pattern: str) -> list[Path]:
    """The files of this folder that match a pattern, in order."""
    return sorted(SOURCES.glob(pattern))


def compile_into(folder: Path, key: str) -> ctypes.CDLL:
    """Compile every source, all at the same time, into one library, load it, and leave it in the folder.

    Another process may do the same meanwhile.
    """
    log.warning("seq2att: compiling the C++ kernels, once on this machine (about half a minute)")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unfinished-", ignore_cleanup_errors=True) as scratch:
        made = Path(scratch)
        machine = [flag for flag in MACHINE if run_compiler([flag, "-E", "-x", "c++", os.devnull], made) is None]
        jobs = [[*flags(), *machine, "-c", str(file), "-o", f"{file.stem}.o"] for file in sources("*.cpp")]
        with ThreadPoolExecutor() as threads:
            messages = list(threads.map(lambda job: run_compiler(job, made), jobs))
        objects = [job[-1] for job in jobs]
        output = made / f"kernels{SUFFIX}"
        link = [*flags(), "-shared", *objects, "-o", output.name]
        messages.append(None if any(messages) else run_compiler(link, made))
        if message := next(filter(None, messages), None):
            raise NativeError(f"{compiler()} failed: {message}")
        output.chmod(private.FOLDER_MODE)
        path = folder / f"{key}-{digest(output.read_bytes())}{SUFFIX}"
        loaded = ctypes.CDLL(str(output))  # a library that cannot be loaded is not kept
        os.replace(output, path)
        return loaded


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
