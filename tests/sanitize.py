"""Fuzz the native functions under AddressSanitizer and UndefinedBehaviorSanitizer: `make sanitize`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from seq2att.recurrence.native import NativeError, build

FLAGS = "-g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all"
ROUNDS = "400"


def main() -> int:
    """The exit code of the tests; 0 with a reason where there is no sanitizer."""
    try:
        compiler = build.compiler()
    except NativeError as error:
        print(f"skipped: {error}")
        return 0
    libraries = [library_of(compiler, name) for name in ("libasan.so", "libstdc++.so")]  # asan wraps C++ exceptions
    if None in libraries:
        print(f"skipped: {compiler} has no AddressSanitizer (libasan.so)")
        return 0
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(map(str, libraries)),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "SEQ2ATT_CXXFLAGS": FLAGS,
        "SEQ2ATT_FUZZ_ROUNDS": os.environ.get("SEQ2ATT_FUZZ_ROUNDS", ROUNDS),
        "SEQ2ATT_KERNEL": "cpp",  # a library that cannot be built is an error, no reason to skip
        "OMP_NUM_THREADS": "1",
    }
    tests = [sys.executable, "-m", "pytest", "-q", "-s", "-x", "-p", "no:cacheprovider", "tests/test_gate.py"]
    return subprocess.run(tests, env=environment, check=False).returncode


def library_of(compiler: str, name: str) -> Path | None:
    """Where a library of the compiler lies."""
    command = [compiler, f"-print-file-name={name}"]
    path = Path(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    return path if path.is_absolute() and path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
