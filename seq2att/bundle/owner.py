"""Whose a bundle is. Training signs the settings of a run with a key that only this user has.

A bundle of somebody else may name any file as its data. Commands open the data of a run that this user trained, and
those of others only where the user names or trusts them. Nothing in a folder can forge the signature: the key lies in
the user's own state folder (`$XDG_STATE_HOME`, else `~/.local/state`).
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from seq2att import registry
from seq2att.config.recipe import saved_folders
from seq2att.config.saved import CONFIG, read_saved
from seq2att.errors import UserError
from seq2att.files import write_file
from seq2att.files.untrusted import names_outside, read_regular
from seq2att.private import exposure, make_folder

SIGNATURE = "signature"
KEY_BYTES = 32
SPLITS = ("train", "validation", "test")
TRUST = "add --trust-data (trust_data=True in Python) if you trust whoever made the bundle"


def sign(path: Path) -> None:
    """Sign the settings of a run folder as this user's; without a home folder nothing is signed."""
    if key := user_key(create=True):
        write_file(path / SIGNATURE, signature(path, key) + "\n")


def is_own(path: Path) -> bool:
    """Whether this user trained the run in a folder with the settings that it holds."""
    key = user_key(create=False)
    try:
        content = bytes(read_regular(path / SIGNATURE, 200)).strip()
        return key is not None and hmac.compare_digest(content, signature(path, key).encode("ascii"))
    except UserError:
        return False


def signature(path: Path, key: bytes) -> str:
    """The signature of the settings in a folder."""
    values = json.dumps(read_saved(path / CONFIG).values, sort_keys=True).encode("utf-8")
    return hmac.new(key, values, hashlib.sha256).hexdigest()


def user_key(create: bool) -> bytes | None:
    """The secret key of this user, which is made where there is none; None where others could read or change it."""
    with suppress(OSError, RuntimeError, UserError):
        folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "seq2att"
        file = folder / "key"
        if create and file.exists() and file.stat().st_size != KEY_BYTES:  # its writer was killed
            file.unlink()
        if create and not file.exists():
            make_folder(folder)
            with suppress(FileExistsError):
                descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(secrets.token_bytes(KEY_BYTES))
        key = bytes(read_regular(file, KEY_BYTES))
        if len(key) == KEY_BYTES and not exposure(folder.stat()) and not exposure(file.stat()):
            return key
    return None


def check_data(config: Mapping[str, Any], split: str, root: str | None, file: str | None, may_replace: bool) -> None:
    """Raise `E-bundle` where reading a split would open what the settings of an untrusted bundle name.

    Args:
        config: the settings.
        split: the split to read.
        root: the folder of relative paths that the user gave.
        file: the file that the user gave in place of that of the split.
        may_replace: whether the command takes such a file, by `--test`.
    """
    reader: Any = registry.find("reader", config["reader"]["name"]).target
    if not reader.names_data:
        return
    options = dict(config["reader"])
    others = {name: value for name, value in options.items() if name not in SPLITS}
    by_file = reader.takes_files and may_replace and not any(names_outside(others))
    by_root = reader.takes_files and not any(names_outside(options))
    if not ((file is not None and by_file) or (root is not None and by_root)):
        key = next((f"reader.{name}" for name in (split, "train") if options.get(name)), "reader")
        names = options["name"] if key == "reader" else options[key.partition(".")[2]]
        name = ",".join(map(str, names)) if isinstance(names, list) else names
        problem = "was not trained by you here, so the data that it names are not opened"
        ways = " or ".join(["--test FILE"] * by_file + ["--root DIR"] * by_root)
        raise UserError(
            "E-bundle", f"{key}={name}"[:200], problem, f"give yours by {ways}, or {TRUST}" if ways else TRUST
        )


def check_training(recipe: str, config: Mapping[str, Any]) -> None:
    """Raise `E-bundle` where a recipe stands for somebody else's run, whose settings name what to open or write."""
    foreign = [folder for folder in saved_folders(recipe) if not is_own(folder)]
    if not foreign:
        return
    reader: Any = registry.find("reader", config["reader"]["name"]).target
    named = [f"reader={config['reader']['name']}"] if reader.names_data else []
    if named := [*named, *names_outside({name: value for name, value in config.items() if name != "reader"})]:
        problem = f"was not trained by you here, and its settings name files ({named[0][:100]})"
        raise UserError("E-bundle", f"{foreign[0]}", problem, TRUST)
