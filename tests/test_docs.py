"""The documentation: every page for plugin authors works as written, and the generated pages are current."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from seq2att import registry
from seq2att.cli import main
from seq2att.errors import CODES
from seq2att.trainer import folder
from seq2att.trainer.lock import LOCK
from seq2att.trainer.state import STATE
from tests.markdown import blocks

registry.load()
ROOT = Path(__file__).resolve().parent.parent
GENERATE = ROOT / "docs" / "generate.py"
PAGES = sorted((ROOT / "docs" / "plugins").glob("*.md"))


def test_every_kind_has_a_page() -> None:
    assert [page.stem for page in PAGES] == sorted(registry.kinds())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert 2 * len(blocks(text)) == len(re.findall(r"^\s*```", text, re.M))


def test_the_page_of_the_run_folder_names_all_that_a_run_writes() -> None:
    text = (ROOT / "docs" / "run-folder.md").read_text("utf-8")
    names = [*folder.FILES, *(f"{name}/" for name in folder.FOLDERS), LOCK, STATE]
    assert [name for name in names if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("own_registry")
def test_a_page_works_as_written(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = []
    for block in blocks(page.read_text("utf-8")):
        if block.file:
            Path(block.file).write_text(block.text, "utf-8")
        elif block.language == "bash":
            for program, command, *words in block.commands:
                quick = ["trainer.max_steps=10", "trainer.progress=false"] if command == "train" else []
                assert program == "seq2att"
                assert main([command, *words, *quick]) == 0, f"{page.name}:{block.line}: {command} {' '.join(words)}"
                done.append(command)
    assert {"check", "train"} <= set(done)
    assert list(Path("runs").glob("*/metrics.json"))


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """The module that writes the generated pages."""
    spec = importlib.util.spec_from_file_location("generate", GENERATE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_generated_pages_are_current(generate: ModuleType) -> None:
    stale = [path.name for path, text in generate.pages().items() if path.read_text("utf-8") != text]
    assert stale == [], "run `make docs`"


def test_every_error_has_a_known_code_and_every_code_an_error(generate: ModuleType) -> None:
    errors = [error for error in generate.raises() if not error.is_moved]
    assert len(errors) > 200
    assert [error for error in errors if error.code not in CODES] == []
    assert {error.code for error in errors} == set(CODES)
    assert [error.place for error in errors if not error.message.partition(": ")[2]] == [], "no subject or no problem"
    assert list(CODES) == sorted(CODES)
