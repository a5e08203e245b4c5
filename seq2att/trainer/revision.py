"""The revision of a git repository: its commit, and whether files differ from it.

Git runs nothing that the repository's configuration names: no hook, filter, monitor, pager or transport.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TIMEOUT = 5.0  # seconds; a repository may be large, or lie on a slow network
SAFE = {
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.sshCommand": "false",
    "status.submoduleSummary": "false",
}
ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",  # the index is not written
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}


def revision(folder: Path, tracked: str = "") -> dict[str, Any] | None:
    """The commit of the repository around a folder, and whether tracked files were changed since.

    Args:
        folder: a folder in the repository.
        tracked: a file of the folder that must be in the repository; empty for none.

    Returns:
        None without git, outside of a repository and before its first commit; `dirty` is None where it takes too long.
    """
    commit = git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None or (tracked and git(folder, "ls-files", "--error-unmatch", "--", tracked) is None):
        return None
    command = ("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all", "--no-renames")
    changes = git(folder, *command, settings=without_filters(folder))
    return {"commit": commit.strip(), "dirty": None if changes is None else bool(changes)}


def without_filters(folder: Path) -> dict[str, str]:
    """Settings that turn off the filters that the repository configures: programs that read changed files."""
    keys = (git(folder, "config", "--null", "--name-only", "--get-regexp", r"^filter\.") or "").split("\0")
    names = {key.removeprefix("filter.").rpartition(".")[0] for key in keys if key}
    values = {"clean": "", "process": "", "required": "false"}
    return {f"filter.{name}.{key}": value for name in names for key, value in values.items()}


def git(folder: Path, *arguments: str, settings: Mapping[str, str] | None = None) -> str | None:
    """The output of a git command in a folder; None where it fails, or takes too long."""
    program = shutil.which("git")
    if program is None or Path(program).parent.resolve() == Path.cwd():  # Windows finds programs in this folder
        return None
    configured = list({**SAFE, **(settings or {})}.items())
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | ENVIRONMENT
    environment["GIT_CONFIG_COUNT"] = str(len(configured))
    for number, (key, value) in enumerate(configured):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    try:
        done = subprocess.run(
            [program, "--no-pager", "-C", str(folder), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None
