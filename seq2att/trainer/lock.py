"""The lock of a run folder: one run at a time writes into it, on this machine and on others that share the folder.

The file `train.lock` is locked by the system, which lets go of it when the process ends, however it ends. Network
folders do not always do that between machines, so the owner also touches the file every few seconds: where an owner on
another machine has left its name, a new one waits to see whether the file is still touched.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from seq2att.errors import UserError
from seq2att.files import unwritable

LOCK = "train.lock"
HEARTBEAT = 10.0  # seconds
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL)  # what a folder without locks answers
LOCKED_BYTE = 1 << 30  # Windows keeps others from reading what is locked: a place behind the content


@contextmanager
def locked(path: Path, heartbeat: float = HEARTBEAT) -> Iterator[None]:
    """Keep other runs out of a run folder, which is made; a folder that is empty afterwards is removed.

    Args:
        path: the run folder.
        heartbeat: seconds between two touches of the lock file.

    Raises:
        UserError: `E-run` if another process trains in the folder.
    """
    if path.exists() and not path.is_dir():
        yield  # `claim` refuses it
        return
    lock = path / LOCK
    try:
        path.mkdir(parents=True, exist_ok=True)
        descriptor = acquire(lock, heartbeat)
    except OSError as error:
        raise unwritable(path, error) from error
    end = threading.Event()
    threading.Thread(target=beat, args=(lock, heartbeat, end), daemon=True).start()
    try:
        yield
    finally:
        end.set()
        release(lock, descriptor)
        with suppress(OSError):  # not empty
            path.rmdir()


def release(lock: Path, descriptor: int) -> None:
    """Remove the lock file while it is still locked; where no open file can be removed, as on Windows, afterwards."""
    is_open = False
    try:
        lock.unlink()
    except PermissionError:
        is_open = True
    except OSError:
        pass  # gone already: what has its name by now is another's
    os.close(descriptor)
    if is_open:
        with suppress(OSError):
            lock.unlink()


def acquire(lock: Path, heartbeat: float) -> int:
    """Lock the file, made if it is not there, and write who holds it; returns its descriptor."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_sure = take(descriptor)
            if is_sure is None or (is_used(lock, is_sure) and is_touched(lock, heartbeat)):
                raise in_use(lock)
            if not is_same(descriptor, lock):  # its owner removed it meanwhile
                os.close(descriptor)
                continue
            owner = {
                "host": socket.gethostname(),
                "process": os.getpid(),
                "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
            }
            os.ftruncate(descriptor, 0)
            os.write(descriptor, json.dumps(owner).encode())
        except BaseException:
            with suppress(OSError):
                os.close(descriptor)
            raise
        return descriptor


def take(descriptor: int) -> bool | None:
    """Lock an open file: True; None if another process has locked it; False where the folder supports no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            try:
                import fcntl
            except ImportError:  # a system without locks
                return False
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return False
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return None
        raise
    return True


def is_used(lock: Path, is_sure: bool) -> bool:
    """Whether the file names an owner that may hold it although we could lock it: one on another machine."""
    owner = read_owner(lock)
    return bool(owner) and not (is_sure and owner.get("host") == socket.gethostname())


def is_touched(lock: Path, heartbeat: float) -> bool:
    """Whether its owner touches the file within two and a half heartbeats; no clocks are compared."""
    before = modified(lock)
    end = time.monotonic() + 2.5 * heartbeat
    while time.monotonic() < end:
        time.sleep(heartbeat / 10)
        if (after := modified(lock)) != before:
            return after > 0
    return False


def modified(lock: Path) -> int:
    """When the file was touched, 0 if it is gone; of the open file: network folders cache older times."""
    try:
        with lock.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except FileNotFoundError:
        return 0


def beat(lock: Path, heartbeat: float, end: threading.Event) -> None:
    """Touch the lock file until the end."""
    while not end.wait(heartbeat):
        with suppress(OSError):
            os.utime(lock)


def is_same(descriptor: int, lock: Path) -> bool:
    """Whether the open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except FileNotFoundError:
        return False


def read_owner(lock: Path) -> dict[str, object]:
    """Who wrote the lock file; empty if it is empty or was written by an older version."""
    try:
        owner = json.loads(lock.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return owner if isinstance(owner, dict) else {}


def in_use(lock: Path) -> UserError:
    """The error about a folder in which another process trains."""
    owner = read_owner(lock)
    name = f"process {owner.get('process', '?')} on {owner.get('host', 'an unknown machine')}"
    since = f" since {owner['since']}" if "since" in owner else ""
    return UserError("E-run", f"run={lock.parent}", f"{name} trains in this folder{since}", "choose run=NAME")
