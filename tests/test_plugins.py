"""Plugins as users meet them: packages that are installed or named by their folder, and packages that are made new."""

from __future__ import annotations

import importlib.metadata
import os
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from seq2att import registry
from seq2att.cli import main
from seq2att.cli.plugin import package_files, read_template
from tests.refusals import refused

registry.load()
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
PAGES = Path(__file__).resolve().parent.parent / "docs" / "plugins"
KINDS = sorted(page.stem for page in PAGES.glob("*.md"))


def listed(folder: Path, *arguments: str, path: str = "") -> str:
    """What `seq2att list attention` prints."""
    command = [sys.executable, "-m", "seq2att", "list", "attention", *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_a_plugin_that_is_not_installed_is_named_by_its_folder(root: Path, tmp_path: Path) -> None:
    assert "multihead" in listed(tmp_path, f"plugins=[{root / 'plugins/multihead'}]")


def test_a_new_package_installs_passes_its_test_and_is_one_more_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugin", "new", "my_scores", "--kind", "attention"]) == 0
    package, site = tmp_path / "seq2att-my-scores", tmp_path / "site"
    subprocess.run([*PIP, "--target", str(site), str(package)], check=True)
    assert "my_scores" not in listed(tmp_path)
    assert "my_scores" in listed(tmp_path, path=str(site))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(package)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(PAGES.parent.parent)])}
    tested = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
    assert "1 passed" in tested.stdout


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("own_registry")
def test_a_new_package_of_every_kind_keeps_the_laws(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"brand_new_{kind}"
    assert main(["plugin", "new", name, "--kind", kind, "--folder", "package"]) == 0
    package = tmp_path / "package"
    project = tomllib.loads((package / "pyproject.toml").read_text("utf-8"))["project"]
    (point,) = project["entry-points"]["seq2att.plugins"].items()
    monkeypatch.syspath_prepend(str(package))
    importlib.metadata.EntryPoint(*point, group="seq2att.plugins").load()
    assert registry.find(kind, name).doc
    test = package / "tests" / f"test_{name}.py"
    runpy.run_path(str(test))["test_laws"](monkeypatch)
    readme = (package / "README.md").read_text("utf-8")
    assert f"{kind}={name}" in readme
    assert "seq2att train " in readme


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_package_does_not_hold_the_name_of_the_example(kind: str) -> None:
    template = read_template(kind)
    files = package_files("brand_new", kind, template)
    left = [file for file, text in files.items() if f'"{template.name}"' in text or f"={template.name}" in text]
    assert left == []


def test_what_cannot_be_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from seq2att.cli import parse

    monkeypatch.chdir(tmp_path)
    (tmp_path / "seq2att-mine").mkdir()
    for name, code in (("Mine", "E-argument"), ("dot", "E-register"), ("mine", "E-file")):
        arguments = parse(["plugin", "new", name, "--kind", "attention"])
        with refused(code, name):
            arguments.run(arguments)
