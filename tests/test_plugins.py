"""The example plugin as a user meets it: installed, it is one more name; if not, its folder is named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]


def listed(folder: Path, *arguments: str, path: str = "") -> str:
    """What `seq2att list attention` prints."""
    command = [sys.executable, "-m", "seq2att", "list", "attention", *arguments]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_an_installed_plugin_is_one_more_name(root: Path, tmp_path: Path) -> None:
    subprocess.run([*PIP, "--target", str(tmp_path / "site"), str(root / "plugins/multihead")], check=True)
    assert "multihead" not in listed(tmp_path)
    found = listed(tmp_path, path=str(tmp_path / "site"))
    assert "multihead" in found
    assert "heads: int = 4" in found


def test_a_plugin_that_is_not_installed_is_named_by_its_folder(root: Path, tmp_path: Path) -> None:
    assert "heads: int = 4" in listed(tmp_path, f"plugins=[{root / 'plugins/multihead'}]")
