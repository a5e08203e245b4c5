"""A cache of folders by content: written once, whole or not at all, safe with several processes at once.

It stays below `LARGEST` bytes as far as that is possible without what was used in the last `KEPT` seconds. A process
that has files of a deleted folder open keeps them; the folder is moved away before, so that nobody finds half of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from seq2att.errors import UserError

FORMAT = 3  # of the files in the cache; a change of their layout counts up, so that old ones are not read
SIZES = "sizes.json"
DIGEST = 16  # bytes of a key
UNFINISHED = ".unfinished-"
DAY = 24 * 3600
LARGEST = 20 * 10**9  # bytes; beyond it goes what was used longest ago,
KEPT = 7 * DAY  # but nothing that was used so lately


def cache_folder(setting: str | None) -> Path:
    """Where the cache lies: the setting `data.cache`, or `seq2att` in the user's cache folder."""
    if setting:
        return Path(setting).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seq2att"


def make_key(*parts: Any) -> str:
    """A hash of plain values (numbers, texts, lists, dictionaries)."""
    plain = json.dumps([FORMAT, *parts], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(plain.encode("utf-8", "surrogatepass"), digest_size=DIGEST).hexdigest()


def code_of(component: object) -> str:
    """A hash of the file that a component is written in: whoever edits a tokenizer of his own gets no old ids."""
    try:
        file = inspect.getsourcefile(type(component))
        return hashlib.blake2b(Path(file or "").read_bytes(), digest_size=16).hexdigest()
    except (OSError, TypeError):  # written at a prompt
        return type(component).__qualname__


def cached(root: Path, name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `root/name/key`, filled by `make` unless it is there, complete."""
    folder = root / name / key
    with contextlib.suppress(OSError):  # used now; of somebody else's cache nothing is pruned
        os.utime(folder / SIZES)
    if complete(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        clean(folder.parent)
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    except OSError as error:
        raise UserError(f"data.cache: cannot write in {folder.parent} ({error}); set data.cache=DIR") from error
    try:
        make(work)
        sizes = {file.relative_to(work).as_posix(): file.stat().st_size for file in work.rglob("*") if file.is_file()}
        (work / SIZES).write_text(json.dumps(sizes, indent=1), "utf-8")
        publish(work, folder)
        prune(root)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def complete(folder: Path) -> bool:
    """Whether a folder of the cache holds every file in full (a crash of the machine may cut some)."""
    try:
        sizes = json.loads((folder / SIZES).read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def publish(work: Path, folder: Path) -> None:
    """Give a finished folder its name; another process may have been faster, and its folder is as good."""
    for _ in range(2):
        try:
            work.rename(folder)
            return
        except OSError:
            if complete(folder):
                return
            shutil.rmtree(folder, ignore_errors=True)  # damaged: make room
    work.rename(folder)


def clean(parent: Path) -> None:
    """Remove what processes left unfinished that were killed more than a day ago."""
    for leftover in parent.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - leftover.stat().st_mtime > DAY:
                shutil.rmtree(leftover, ignore_errors=True)
        except FileNotFoundError:
            continue


def prune(root: Path) -> None:
    """Delete what was used longest ago while the cache is larger than `LARGEST`."""
    found = []
    for file in root.glob(f"*/{'[0-9a-f]' * 2 * DIGEST}/{SIZES}"):  # a key, lest a wrong `data.cache` costs data
        with contextlib.suppress(OSError, ValueError):
            found.append((file.stat().st_mtime, file, sum(json.loads(file.read_text("utf-8")).values())))
    total = sum(size for *_, size in found)
    for used, file, size in sorted(found):
        if total <= LARGEST or time.time() - used < KEPT:
            return
        with contextlib.suppress(OSError):  # another process deletes it too, or has it open where that is a lock
            away = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=file.parent.parent))
            try:
                file.parent.rename(away / file.parent.name)
                total -= size
            finally:
                shutil.rmtree(away, ignore_errors=True)
