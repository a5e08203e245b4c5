"""Files as the record of a run names them: without the home folder, and with the digest of their content."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any


def short_path(path: Path, root: Path | None = None) -> str:
    """A path as a record names it: from a root or the current folder where it is below one, the home folder as `~`."""
    path = path.absolute()
    for folder in (root.absolute() if root else None, Path.cwd()):
        if folder is not None and path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return without_home(str(path))


def without_home(text: str) -> str:
    """A text in which `~` stands for the home folder, which names the user."""
    home = os.path.expanduser("~").rstrip("/\\")
    return re.sub(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])", "~", text) if len(home) > 1 else text


def describe_file(path: Path, root: Path | None) -> dict[str, Any]:
    """A file in the record of a run: its name, its size in bytes and the SHA-256 of its content."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return {"file": short_path(path, root), "bytes": stream.tell(), "sha256": digest}
