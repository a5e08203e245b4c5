"""What many tests share: a quiet machine, a private cache, and one tiny trained model."""

import contextlib
import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHE = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep the tests, and the commands that they start, off the network and out of the user's cache."""
    config.stash[CACHE] = tempfile.mkdtemp(prefix="seq2att-tests-")
    share_kernels(Path(config.stash[CACHE]), first=not hasattr(config, "workerinput"))
    os.environ["XDG_CACHE_HOME"] = os.environ["XDG_STATE_HOME"] = config.stash[CACHE]
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["COLUMNS"] = "120"


def share_kernels(cache: Path, first: bool) -> None:
    """The compiled kernels alone are the user's: to compile them for every process would take longer than the tests."""
    from seq2att.recurrence.native import build

    if first and build.failure() is not None:
        return
    folder = cache / "seq2att" / "native"
    folder.mkdir(parents=True, mode=0o700)
    with contextlib.suppress(OSError):  # then each process compiles its own
        for library in build.cache_folder().glob(f"{build.source_digest()}-*"):
            shutil.copy(library, folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start what takes minutes first, so that the other processes have work beside it; skip what Windows cannot run."""
    items.sort(key=lambda item: item.get_closest_marker("minutes") is None)
    if os.name == "nt":
        for item in items:
            if item.get_closest_marker("posix"):
                item.add_marker(pytest.mark.skip(reason="needs bash, make, or signals between processes"))


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[CACHE], ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small tensors are slower on several threads, and xdist already uses every core."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """A test's numbers do not depend on the tests that ran before it, which may have loaded a model."""
    import torch

    torch.manual_seed(0)
    torch.set_flush_denormal(False)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the test registers is gone after it, and so are the plugin files it imported, which would register it."""
    from seq2att.registry import component

    monkeypatch.setattr(component, "_kinds", dict(component._kinds))
    monkeypatch.setattr(component, "_entries", {kind: dict(named) for kind, named in component._entries.items()})
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("seq2att_plugin_"):
            del sys.modules[name]


@pytest.fixture
def float64() -> Iterator[None]:
    """New tensors and modules are float64 inside the test."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the project."""
    return ROOT


@pytest.fixture(scope="session")
def reverse_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a tiny model, trained once on the recipe `reverse`; tests only read it."""
    import seq2att

    folder = tmp_path_factory.mktemp("runs") / "reverse"
    seq2att.train("reverse", [f"run={folder}", "trainer.epochs=2", "trainer.progress=false"])
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run folder of a tiny model by its name in `tests/tiny.py`, trained when it is first asked for."""
    import seq2att
    from tests.tiny import RECIPES

    folder = tmp_path_factory.mktemp("tiny")

    @functools.cache
    def run(name: str) -> Path:
        recipe = folder / f"{name}.yaml"
        recipe.write_text(RECIPES[name])
        return seq2att.train(str(recipe), [f"run={folder / name}", "trainer.progress=false"])

    return run
