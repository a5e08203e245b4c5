"""The documentation: every page for plugin authors works as written, and the generated pages are current."""

import re
from pathlib import Path

import pytest

from seq2att import registry
from seq2att.cli import main
from tests.markdown import blocks

registry.load()
ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs" / "plugins").glob("*.md"))


def test_every_kind_has_a_page() -> None:
    assert [page.stem for page in PAGES] == sorted(registry.kinds())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    assert 2 * len(blocks(text)) == len(re.findall(r"^\s*```", text, re.M))


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
