"""What is loaded or believed without reading belongs to this user alone: compiled kernels, encoded data."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seq2att import private
from seq2att.data.cache import cached
from seq2att.recurrence.native import build
from tests.refusals import refused

pytestmark = pytest.mark.posix
CACHED = [value for value in vars(build).values() if hasattr(value, "cache_clear")]
SOUND = 'extern "C" int answer() { return 42; }'
PLANTED = """#include <cstdio>
__attribute__((constructor)) static void run() { std::fclose(std::fopen(MARKER, "w")); }
extern "C" int answer() { return 666; }"""
STRANGER = 65534

needs_compiler = pytest.mark.skipif(shutil.which("c++") is None, reason="there is no C++ compiler")
needs_root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of compiled kernels, which are one small function here; it is not made yet."""
    source = tmp_path / "sound.cpp"
    source.write_text(SOUND)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "sources", lambda pattern: [source] if pattern == "*.cpp" else [])
    forget()
    yield tmp_path / "cache" / "seq2att" / "native"
    forget()


def forget() -> None:
    """As in a new process."""
    for function in CACHED:
        function.cache_clear()


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A library that leaves a mark when it is loaded, and the mark."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted.cpp").write_text(PLANTED)
    mark = folder / "loaded"
    command = ["c++", "-shared", "-fPIC", f'-DMARKER="{mark}"', "-o", "planted.so", "planted.cpp"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "planted.so", mark


def plant(kernels: Path, library: Path) -> Path:
    """Put a library where the compiled one would lie, with the right digest in its name."""
    kernels.mkdir(parents=True, mode=0o700)
    name = f"{build.source_digest()}-{build.digest(library.read_bytes())}.so"
    return Path(shutil.copy(library, kernels / name))


def give_away(path: Path) -> None:
    os.chown(path, STRANGER, STRANGER)


def expose_folder(path: Path) -> None:
    path.parent.chmod(0o777)


def link_elsewhere(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere.so")
    path.symlink_to(path.parent.parent / "elsewhere.so")


def change_content(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@needs_compiler
@pytest.mark.parametrize(
    "tamper",
    [
        pytest.param(give_away, marks=needs_root),
        pytest.param(lambda path: give_away(path.parent), id="give_folder_away", marks=needs_root),
        pytest.param(lambda path: path.chmod(0o666), id="mode_0666"),
        pytest.param(lambda path: path.chmod(0o760), id="mode_0760"),
        expose_folder,
        link_elsewhere,
        change_content,
        put_pipe,
    ],
)
def test_a_planted_library_is_not_loaded(
    tamper: Callable[[Path], None],
    kernels: Path,
    planted: tuple[Path, Path],
    caplog: pytest.LogCaptureFixture,
) -> None:
    library, mark = planted
    tamper(plant(kernels, library))
    with caplog.at_level(logging.WARNING, "seq2att"):
        assert build.library().answer() == 42
    assert not mark.exists()
    assert str(kernels) in caplog.text
    assert ["compiling" in message for message in caplog.messages] == [False, True]
    if kernels.stat().st_uid == os.geteuid():
        caplog.clear()
        forget()
        assert build.library().answer() == 42
        assert not caplog.messages, "the next process finds a sound library"
        assert kernels.stat().st_mode & 0o777 == 0o700


@needs_compiler
def test_a_library_of_our_own_is_loaded(kernels: Path, planted: tuple[Path, Path]) -> None:
    """The tests above would pass if no library of the cache were ever loaded."""
    library, mark = planted
    plant(kernels, library)
    try:
        assert build.library().answer() == 666
        assert mark.exists()
    finally:
        mark.unlink(missing_ok=True)


@needs_compiler
def test_compiling_says_so_once(kernels: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "seq2att"):
        assert build.library().answer() == 42
        forget()
        assert build.library().answer() == 42
    (line,) = caplog.messages
    assert "compiling the C++ kernels" in line


@needs_compiler
def test_no_umask_opens_the_cache(kernels: Path) -> None:
    before = os.umask(0)
    try:
        assert build.library().answer() == 42
    finally:
        os.umask(before)
    (library,) = kernels.iterdir()
    for path in (library, kernels, kernels.parent, kernels.parent.parent):
        assert not private.exposure(path.lstat()), path


@needs_compiler
@pytest.mark.parametrize("home", ["", "file", "read-only"])
def test_without_a_cache_the_kernels_are_compiled_for_the_process(
    home: str, kernels: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    root = kernels.parent.parent
    if home == "file":
        root.touch()
    elif home == "read-only":
        monkeypatch.setattr(build.tempfile, "TemporaryDirectory", read_only(kernels, build.tempfile.TemporaryDirectory))
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "expanduser", homeless)
    with caplog.at_level(logging.WARNING, "seq2att"):
        assert build.library().answer() == 42
    assert ["compiling" in message for message in caplog.messages].count(False) == 1
    assert "for this process alone" in caplog.text


def read_only(kernels: Path, make: Callable[..., object]) -> Callable[..., object]:
    """Temporary folders, but none in the cache: root could write there whatever its mode."""

    def make_elsewhere(*args: object, dir: Path | None = None, **kwargs: object) -> object:
        if dir == kernels:
            raise OSError(30, "Read-only file system")
        return make(*args, dir=dir, **kwargs)

    return make_elsewhere


def homeless(path: Path) -> Path:
    """`expanduser` of a user without a home."""
    if str(path).startswith("~"):
        raise RuntimeError("Could not determine home directory.")
    return path


@pytest.mark.parametrize(
    "tamper", [pytest.param(give_away, marks=needs_root), pytest.param(lambda path: path.chmod(0o777), id="mode_0777")]
)
def test_data_of_others_are_made_anew(tamper: Callable[[Path], None], tmp_path: Path) -> None:
    def write(text: str) -> Callable[[Path], None]:
        return lambda folder: bool((folder / "rows").write_text(text)) and None

    tamper(cached(tmp_path, "rows", "key", write("theirs")))
    folder = cached(tmp_path, "rows", "key", write("ours"))
    assert (folder / "rows").read_text() == "ours"
    assert not private.exposure(folder.lstat())


@needs_root
def test_a_data_cache_of_others_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    give_away(tmp_path / "rows")
    with refused("E-file", "data.cache"):
        cached(tmp_path, "rows", "key", lambda folder: None)
