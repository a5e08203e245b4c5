"""A cache of folders by content: each is written completely or not at all, by any number of processes at once.

When it exceeds `MAX_BYTES`, the folders that were not used for the longest time are deleted, except those used in the
last `MIN_AGE` seconds. A folder is moved away before it is deleted, so no process finds half of it. What another user
may have written is made anew.
"""

from __future__ import annotations

import contextlib
import errno
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

from seq2att import private
from seq2att.errors import UserError

FORMAT = 6  # of the files in the cache; increased when their layout changes, so that old ones are not read
SIZES = "sizes.json"
KEY_BYTES = 16
UNFINISHED = ".unfinished-"
DAY = 24 * 3600
MAX_BYTES = 20 * 10**9
MIN_AGE = 7 * DAY
WRITE_ERRORS = (errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS)


def cache_folder(setting: str | None) -> Path:
    """The folder of the cache: the setting `data.cache`, or `seq2att` in the user's cache folder."""
    if setting:
        return Path(setting).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "seq2att"
    except RuntimeError as error:
        raise UserError("E-file", "data.cache", "there is no home folder", "set data.cache=DIR, or HOME") from error


def make_key(*parts: Any) -> str:
    """A hash of plain values (numbers, texts, lists, dictionaries)."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).hexdigest()


def code_of(component: object) -> str:
    """A hash of the source file of a component: an edited tokenizer gets no old ids."""
    try:
        file = inspect.getsourcefile(type(component))
        return hashlib.blake2b(Path(file or "").read_bytes(), digest_size=KEY_BYTES).hexdigest()
    except (OSError, TypeError):  # defined at a prompt
        return type(component).__qualname__


def cached(root: Path, name: str, key: str, make: Callable[[Path], None]) -> Path:
    """The folder `root/name/key`, filled by `make` unless it is complete already."""
    folder = root / name / key
    with contextlib.suppress(OSError):  # marks it as used now; the cache may belong to another user
        os.utime(folder / SIZES)
    if is_complete(folder):
        return folder
    try:
        private.make_folder(folder.parent)
        clean(folder.parent)
        work = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=folder.parent))
    except OSError as error:
        raise unwritable_cache(folder.parent, error) from error
    try:
        make(work)
        sizes = {file.relative_to(work).as_posix(): file.stat().st_size for file in work.rglob("*") if file.is_file()}
        (work / SIZES).write_text(json.dumps(sizes, indent=1), "utf-8")
        publish(work, folder)
        prune(root)
    except OSError as error:
        # A file of the data that cannot be read has a name; PyArrow's errors about what it writes have none.
        if error.errno not in WRITE_ERRORS or (error.filename and work.parent not in Path(error.filename).parents):
            raise
        raise unwritable_cache(folder.parent, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return folder


def unwritable_cache(folder: Path, error: OSError) -> UserError:
    """The error about a cache that the system did not let us write."""
    problem = f"cannot write in {folder} ({error.strerror or error})"
    return UserError("E-file", "data.cache", problem, "make room there, or set data.cache=DIR to another folder")


def is_complete(folder: Path) -> bool:
    """Whether a folder of the cache has every file in full (a crash may truncate some) and nobody else may write it."""
    try:
        if private.exposure(folder.lstat()):
            return False
        sizes = json.loads((folder / SIZES).read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def publish(work: Path, folder: Path) -> None:
    """Give a finished folder its name, unless another process has made the same folder meanwhile."""
    for _ in range(2):
        try:
            work.rename(folder)
            return
        except OSError:
            if is_complete(folder):
                return
            shutil.rmtree(folder, ignore_errors=True)  # damaged, or not of this user alone
    try:
        work.rename(folder)
    except OSError as error:
        problem = f"{folder} cannot be replaced ({error.strerror})"
        raise UserError("E-file", "data.cache", problem, "delete it, or set data.cache=DIR") from error


def clean(parent: Path) -> None:
    """Remove the unfinished folders of processes that were killed more than a day ago."""
    for leftover in parent.glob(f"{UNFINISHED}*"):
        try:
            if time.time() - leftover.stat().st_mtime > DAY:
                shutil.rmtree(leftover, ignore_errors=True)
        except FileNotFoundError:
            continue


def prune(root: Path) -> None:
    """Delete the folders not used for the longest time while the cache exceeds `MAX_BYTES`."""
    entries = []
    for file in root.glob(
        f"*/{'[0-9a-f]' * 2 * KEY_BYTES}/{SIZES}"
    ):  # only keys: a wrong `data.cache` must not lose files
        with contextlib.suppress(OSError, ValueError):
            entries.append((file.stat().st_mtime, file, sum(json.loads(file.read_text("utf-8")).values())))
    total = sum(size for *_, size in entries)
    for last_used, file, size in sorted(entries):
        if total <= MAX_BYTES or time.time() - last_used < MIN_AGE:
            return
        with contextlib.suppress(OSError):  # another process deletes it too, or (on Windows) has it open
            away = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=file.parent.parent))
            try:
                file.parent.rename(away / file.parent.name)
                total -= size
            finally:
                shutil.rmtree(away, ignore_errors=True)
