"""The compiled kernels: how they are made, what happens without a compiler, and their products."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from seq2att.kernels import Matrix
from seq2att.recurrence.choice import is_compiled
from seq2att.recurrence.native import build

CACHED = [value for value in vars(build).values() if hasattr(value, "cache_clear")]


@pytest.fixture
def forgetful() -> Iterator[None]:
    """What was found out about the compiler is forgotten before and after."""
    for function in CACHED:
        function.cache_clear()
    yield
    for function in CACHED:
        function.cache_clear()


needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("c++", "g++", "clang++")), reason="there is no C++ compiler"
)


@needs_compiler
def test_a_library_is_compiled_once_and_found_again(
    forgetful: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    few = [build.SOURCES / name for name in ("packed.cpp",)]
    monkeypatch.setattr(build, "sources", lambda pattern: few if pattern == "*.cpp" else [])
    with caplog.at_level(logging.INFO, "seq2att"):
        assert build.library().packed_size_f32(1, 1) > 0
        made = list((tmp_path / "seq2att" / "native").iterdir())
        assert [path.suffix for path in made] == [".so"]
        for function in CACHED:
            function.cache_clear()
        assert build.failure() is None
    assert len(caplog.messages) == 1
    assert "compiling" in caplog.messages[0]


def test_without_a_compiler_the_reference_runs_and_the_log_warns_once(
    forgetful: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with caplog.at_level(logging.INFO, "seq2att"):
        assert not is_compiled()
        assert not is_compiled()
        with pytest.raises(build.NativeError, match=r"no C.. compiler .* was found"):
            build.library()
    assert len(caplog.messages) == 1
    assert "PyTorch computes instead" in caplog.messages[0]


@needs_compiler
def test_a_compiler_that_fails_is_quoted(forgetful: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong.cpp"
    wrong.write_text("int f() { return surely_not_there; }")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "sources", lambda pattern: [wrong] if pattern == "*.cpp" else [])
    with pytest.raises(build.NativeError, match="surely_not_there"):
        build.library()
    assert not list((tmp_path / "seq2att" / "native").iterdir()), "nothing half made is left"


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 7, 5), (5, 64, 100), (9, 3, 48), (0, 3, 4), (17, 130, 1)])
def test_a_packed_product_is_the_product(dtype: torch.dtype, shape: tuple[int, int, int]) -> None:
    rows, width, outputs = shape
    weight, bias = torch.randn(outputs, width, dtype=dtype), torch.randn(outputs, dtype=dtype)
    inputs = torch.randn(rows, width, dtype=dtype)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    torch.testing.assert_close(Matrix(weight, bias)(inputs), inputs @ weight.t() + bias, atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(Matrix(weight)(inputs), inputs @ weight.t(), atol=tolerance, rtol=tolerance)


@needs_compiler
def test_threads_of_the_kernels_flush_denormals() -> None:
    """A thread treats numbers below 1e-38 as the one that starts it does: 1e-20 * 1e-20 is 0, not 1e-40."""
    code = (
        "import torch; torch.set_flush_denormal(True); torch.set_num_threads(2)\n"
        "from seq2att.kernels import Matrix\n"
        "found = Matrix(torch.full((4096, 1024), 1e-20))(torch.full((64, 1024), 1e-22))\n"
        "torch.set_flush_denormal(False); print(bool((found == 0).all()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert done.stdout.strip() == "True"
