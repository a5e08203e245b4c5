"""The page of the tutorials: its quick commands run, and all others are commands with settings that exist."""

import re
import shlex
from pathlib import Path

import pytest

from seq2att import registry
from seq2att.cli import parse
from seq2att.config import compose
from tests.lessons import Small, run
from tests.markdown import blocks

PAGE = Path(__file__).resolve().parent.parent / "docs" / "tutorials.md"
TEXT = PAGE.read_text("utf-8")
SECTIONS = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, re.M | re.S)
RECIPES = {"3": "imdb_lstm_small", "5": "clothing_reviews"}  # what settings without a command belong to


def codes(section: str) -> list[str]:
    """The inline code of the tables."""
    rows = "\n".join(line for line in section.splitlines() if line.startswith("|"))
    return [code.replace("\\|", "|") for code in re.findall(r"`([^`]+)`", rows)]


COMMANDS = [code for _, section in SECTIONS for code in codes(section) if re.search(r"(^|\| )seq2att ", code)]
SETTINGS = [
    (RECIPES[title[0]], code)
    for title, section in SECTIONS
    for code in codes(section)
    if title[0] in RECIPES and re.match(r"\w+\.[\w.]+=", code)
]
registry.load()


def test_the_page_covers_the_five_tutorials() -> None:
    assert [title[:2] for title, _ in SECTIONS] == ["A ", "1.", "2.", "3.", "4.", "5."]
    assert len(COMMANDS) > 25
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", TEXT)]
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_a_command_has_right_settings(command: str) -> None:
    words = shlex.split(command.rpartition("| ")[2] if command.startswith("echo") else command)[1:]
    arguments = parse(words)
    if arguments.command not in ("train", "data") or words[1] == "nsmc":  # which needs a plugin
        return
    overrides = [word for word in words[2:] if not word.startswith("--")]
    for override in overrides if "--multirun" in words else []:
        key, _, values = override.partition("=")
        for value in values.split(","):
            compose(words[1], [f"{key}={value}"])
    if "--multirun" not in words:
        compose(words[1], overrides)


@pytest.mark.parametrize(("recipe", "settings"), dict.fromkeys(SETTINGS))
def test_settings_exist(recipe: str, settings: str) -> None:
    compose(recipe, shlex.split(settings))


@pytest.mark.usefixtures("own_registry")
def test_the_quick_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = Small({}, ["trainer.max_steps=10", "trainer.progress=false"])
    (block,) = (block for block in blocks(TEXT) if block.language == "bash")
    assert [words[1] for words in block.commands][:3] == ["train", "train", "generate"]
    (printed,) = (output for _, output in run(TEXT, PAGE.name, small))
    assert "perplexity" in printed
    assert {path.name for path in Path("runs").iterdir()} == {"number_sequence", "next_character"}
