"""The lessons: each has its form, its Korean twin with the same code, runs as written, and becomes a notebook."""

import importlib.util
import re
from pathlib import Path

import pytest

from seq2att import registry
from seq2att.cli import main
from tests.lessons import LESSONS, PAGES, SMALL, code, excerpt, outputs, pictures, run, small, twin
from tests.markdown import blocks

registry.load()
TRAININGS = ["trainer.max_steps=10", "trainer.progress=false"]
SAME_IN, EXERCISES = ("The same in Keras and PyTorch", "Keras와 PyTorch로 하면"), ("Exercises", "연습 문제")
LANGUAGES = {"python", "bash", "text", "yaml", "py", "shell", ""}
BOTH = [*PAGES, *map(twin, PAGES)]


def name(page: Path) -> str:
    return str(page.relative_to(LESSONS).with_suffix(""))


def test_the_index_names_every_lesson_in_both_languages() -> None:
    index = (LESSONS / "README.md").read_text("utf-8")
    links = re.findall(r"\]\(([^):]+)\)", index)
    assert [link for link in links if not (LESSONS / link).exists()] == []
    assert [name(page) for page in BOTH if f"{name(page)}.md" not in links] == []


@pytest.mark.parametrize("page", BOTH, ids=name)
def test_a_lesson_has_its_form(page: Path) -> None:
    text = page.read_text("utf-8")
    korean = page.parent.name == "ko"
    assert re.match(rf"# {int(page.name[:2])}\. .+\n", text)
    other = f"../{page.name}" if korean else f"ko/{page.name}"
    assert f"]({other})" in text.split("\n\n")[1], "the second paragraph links to the other language"
    sections = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", text, re.M | re.S))
    shown = "".join(block.text for block in blocks(sections[SAME_IN[korean]]))
    assert "keras" in shown
    assert "torch" in shown
    assert list(sections)[-1] == EXERCISES[korean]
    exercise = re.compile(r"^### (\d)\. .*?^<details>\n<summary>.*?</summary>\n\n.*?^</details>$", re.M | re.S)
    assert exercise.findall(sections[EXERCISES[korean]]) == ["1", "2", "3"]
    assert pictures(text), 'a picture is ![what it shows](pictures/01_name.png "file.png")'


@pytest.mark.parametrize("page", BOTH, ids=name)
def test_links_and_fences_of_a_lesson(page: Path) -> None:
    text = page.read_text("utf-8")
    found = blocks(text)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    links = [link.split()[0] for link in re.findall(r"\]\(([^)]+)\)", prose) if "://" not in link]
    assert [link for link in links if not (page.parent / link.partition("#")[0]).exists()] == []
    assert 2 * len(found) == len(re.findall(r"^\s*```", text, re.M)), "a fence is not closed, or is indented"
    assert {block.language for block in found} <= LANGUAGES
    assert all((page.parent / target).stat().st_size < 100_000 for target in links if target.endswith(".png"))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_korean_twin_has_the_same_code(page: Path) -> None:
    english, korean = page.read_text("utf-8"), twin(page).read_text("utf-8")
    assert [(block.language, block.file, code(block)) for block in blocks(korean)] == [
        (block.language, block.file, code(block)) for block in blocks(english)
    ]
    assert pictures(korean) == pictures(english)
    assert re.search(r"[가-힣]", re.sub(r"^```.*?^```$", "", korean, flags=re.M | re.S))
    assert not SMALL.search(korean), "the small settings stand on the English page, which is the one that runs"


@pytest.mark.parametrize("page", PAGES, ids=name)
@pytest.mark.usefixtures("own_registry")
def test_a_lesson_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the small settings of the page; a page without them prints what it shows."""
    monkeypatch.chdir(tmp_path)
    if "seq2att_korean" in page.read_text("utf-8"):
        pytest.importorskip("kiwipiepy")
    text, settings = page.read_text("utf-8"), small(page)
    if settings:
        settings = settings._replace(settings=[*TRAININGS, *settings.settings])
        missing = [constant for constant in settings.constants if not re.search(rf"^{constant} = ", text, re.M)]
        assert missing == []
    printed = {block.text: output for block, output in run(text, page.name, settings)}
    assert [own for own in pictures(text).values() if not Path(own).exists()] == []
    shown = outputs(text)
    assert set(shown) <= set(printed)
    if settings is None:
        assert {source: excerpt(printed[source], output) for source, output in shown.items()} == shown


@pytest.mark.parametrize("page", PAGES, ids=name)
@pytest.mark.usefixtures("own_registry")
def test_trainings_that_are_only_shown_have_right_settings(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "shell":
            for program, command, *words in block.commands:
                assert program == "seq2att"
                if "nsmc" in words:  # needs a plugin, which tests/test_recipes.py gives it
                    continue
                if "--multirun" in words:  # the first of its jobs
                    words = [word.partition(",")[0] for word in words if word != "--multirun"]
                assert command != "train" or main(["train", *words, "--cfg", "job"]) == 0, capsys.readouterr().err


@pytest.mark.parametrize("page", BOTH, ids=name)
def test_the_notebook_has_the_code_of_the_lesson(page: Path) -> None:
    pytest.importorskip("jupytext")
    specification = importlib.util.spec_from_file_location("notebooks", LESSONS.parent / "notebooks.py")
    assert specification is not None
    assert specification.loader is not None
    notebooks = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(notebooks)
    text = page.read_text("utf-8")
    cells = [cell.source for cell in notebooks.notebook(text).cells if cell.cell_type == "code"]
    magic = {"python": "", "bash": "%%bash\n"}
    assert cells == [
        ((f"%%writefile {block.file}\n" if block.file else magic[block.language]) + block.text).rstrip()
        for block in blocks(text)
        if block.file or block.language in magic
    ]
