"""Each code block of the README, run as a reader would paste it: in order, in one folder, outside the repository."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.markdown import Block, blocks

ROOT = Path(__file__).resolve().parent.parent
INSTALLING = ("make ", "pip ")  # a block of such lines is checked by name; make and pip are run by CI itself


def installs(block: Block) -> bool:
    return block.language == "bash" and all(line.startswith(INSTALLING) for line in block.text.splitlines())


README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = blocks(README)


def test_links_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) >= 4
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_fence_is_a_block_that_is_tested() -> None:
    assert 2 * len(BLOCKS) == len(re.findall(r"^\s*```", README, re.M))
    assert {block.language for block in BLOCKS} == {"bash", "python", "text", "yaml"}
    assert sum(installs(block) for block in BLOCKS) == 2


@pytest.mark.posix
def test_make_lines_name_targets() -> None:
    asked = [line.split()[1] for block in BLOCKS for line in block.text.splitlines() if line.startswith("make ")]
    assert asked == ["demo", "test"]
    for target in asked:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


def test_install_lines_name_extras_and_files() -> None:
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    (line,) = (line for block in BLOCKS for line in block.text.splitlines() if line.startswith("pip "))
    pip, install, option, constraints, project = shlex.split(line)
    assert (pip, install, option) == ("pip", "install", "-c")
    assert (ROOT / constraints).is_file()
    assert project.removeprefix(".[").removesuffix("]") in extras


def test_the_attention_of_your_own_has_eleven_lines() -> None:
    (block,) = (block for block in BLOCKS if block.file == "cosine.py")
    lines = re.sub(r'""".*?"""', "", block.text, flags=re.S).splitlines()
    assert len([line for line in lines if line.strip()]) == 11
    assert "Eleven lines of Python" in README


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, with the command `seq2att` of this checkout beside it."""
    folder = tmp_path_factory.mktemp("readme")
    command = folder / "bin" / "seq2att"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m seq2att "$@"\n')
    command.chmod(0o755)
    (folder / "desk").mkdir()
    return folder / "desk"


def paste(block: Block, desk: Path) -> subprocess.CompletedProcess[str]:
    """Run one block in the folder."""
    shell = ["bash", "-euo", "pipefail", "-c"] if block.language == "bash" else [sys.executable, "-c"]
    path = f"{desk.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*shell, block.text], cwd=desk, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )


@pytest.mark.minutes
@pytest.mark.posix
def test_the_blocks_run_as_pasted(desk: Path) -> None:
    outputs: dict[str, str] = {}
    for block in BLOCKS:
        if block.file:
            (desk / block.file).write_text(block.text, "utf-8")
        elif not installs(block) and block.language != "text":
            done = paste(block, desk)
            assert done.returncode == 0, f"README.md:{block.line}\n{block.text}\n{done.stdout}\n{done.stderr}"
            outputs[block.text] = done.stdout
    assert len(outputs) >= 8
    assert {path.name for path in (desk / "runs").iterdir()} >= {
        "reverse",
        "digits",
        "surname_origin",
        "dot",
        "rnn",
        "cosine",
        "dates",
    }
    assert "\ne g a g g a b\n" in next(outputs[text] for text in outputs if text.startswith("seq2att train reverse\n"))
    assert any(answer.endswith("\n04 July 2007\n") for answer in outputs.values())
    assert outputs[next(text for text in outputs if "surname_origin" in text)].endswith("\nFinnish\n")
    for picture in ("attention.png", "digits.png", "runs/surname_origin/confusion.png"):
        assert (desk / picture).stat().st_size > 1000
