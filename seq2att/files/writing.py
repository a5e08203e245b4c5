"""Files that are written appear whole or not at all, whenever the process is killed or the disk is full."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from seq2att.errors import UserError, system_remedy

PARTIAL = ".partial"  # ends the name of a file that is being written
NO_FOLDER_SYNC = (errno.EACCES, errno.EBADF, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM)
BUFFER = 1 << 20  # bytes that are written at once


def write_file(path: Path, content: bytes | str) -> None:
    """Write a whole file, text as UTF-8: afterwards it holds the content, or what it held before."""
    with open_atomic(path) as stream:
        stream.write(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file of this name when the block ends, and vanish if it raises.

    The bytes go to a temporary file in the same folder, which is made; this file is on the disk before it gets the
    name, so neither a killed process nor a power failure leaves a part. A device or a pipe is written to directly.

    Raises:
        UserError: `E-file` if the system refuses; the old file is as it was.
    """
    name, path = path, Path(os.path.realpath(path))  # a link stays a link
    with writing_to(name):
        if path.exists() and not path.is_file():
            with path.open("wb") as stream:
                yield stream
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name[:40]}.{secrets.token_hex(4)}{PARTIAL}")
        try:
            with partial.open("xb", buffering=BUFFER) as stream:
                if path.exists():
                    shutil.copymode(path, partial)
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """What the system refuses in the block is an `E-file` of this file; a pipe that nobody reads stays one."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise unwritable(path, error) from error


def sync_folder(path: Path) -> None:
    """Put the names in a folder on the disk, where the system can: Windows and some network folders cannot."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FOLDER_SYNC:
            raise
    finally:
        os.close(descriptor)


def remove_partial(folder: Path) -> None:
    """Remove what killed processes left of the files that they wrote; no other process may write in the folder."""
    for leftover in folder.glob(f".*.*{PARTIAL}"):
        leftover.unlink(missing_ok=True)


def unwritable(path: Path, error: OSError) -> UserError:
    """The error about a file that the system did not let us write."""
    remedy = f"{system_remedy(error)}, then give the same command again"
    return UserError("E-file", f"{path}", f"cannot be written ({error.strerror or error})", remedy)
