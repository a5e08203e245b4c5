"""Files that nobody else may change: what is loaded into this process or believed without reading must be such.

A file that belongs to another user, or that its group or everybody may write, holds what anybody wrote. Root is
trusted, as it may change everything anyway. Where a system knows no such owners (Windows), the user's profile is
private by itself and nothing is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

FOLDER_MODE = 0o700
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def exposure(status: os.stat_result) -> str:
    """Who else may change a file or a folder of this status, in words; empty if nobody."""
    if not hasattr(os, "geteuid"):
        return ""
    if status.st_uid not in (0, os.geteuid()):
        return f"belongs to another user (uid {status.st_uid})"
    if status.st_mode & OTHERS_WRITE and not stat.S_ISLNK(status.st_mode):
        return f"may be changed by others (mode {stat.S_IMODE(status.st_mode):04o})"
    return ""


def make_folder(folder: Path) -> bool:
    """Make a folder, and those above it that are missing, for this user alone, whatever the umask.

    Returns whether one that was there before belongs to this user but could be changed by others until now: what it
    holds may be theirs. Raises: `PermissionError` for a folder of another user.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(FOLDER_MODE, exist_ok=True)
    status = folder.stat()
    reason = exposure(status)
    if not reason:
        return False
    if status.st_uid != os.geteuid():
        raise PermissionError(f"{folder} {reason}")
    folder.chmod(FOLDER_MODE)
    return True
