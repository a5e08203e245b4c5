"""The run folder: new, resumed or refused; and what training writes into it.

A run is unfinished while it has no `metrics.json`. The same command resumes an unfinished run; nothing is replaced
without `overwrite=true`, and then only what a run writes. A lock file keeps a second run out.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seq2att.drawing import CONFUSION, SCATTER
from seq2att.errors import UserError
from seq2att.trainer.checkpoint import read_checkpoint

CONFIG, TABLE, CURVES, FINISHED, LOCK = "config.yaml", "metrics.csv", "curves.png", "metrics.json", "train.lock"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
NORMS, NORMS_CURVES = "gradient_norms.csv", "gradient_norms.png"
FILES = (CONFIG, TABLE, CURVES, FINISHED, CONFUSION, SCATTER, NORMS, NORMS_CURVES, "model.safetensors", "README.md")
FOLDERS = ("checkpoints", "source", "target", "steps", "tensorboard")
REMEDY = "choose run=NAME for a new run, or overwrite=true to replace this one"
HELD: set[Path] = set()  # the lock files of this process, which may train in several threads
MAX_DIFFERENCES = 5  # that an error names

# What may differ between a run and its resumption: where things are and what is shown, not what is learned.
FREE = frozenset(
    "run overwrite trainer.resume trainer.progress trainer.examples trainer.threads trainer.log_every data.root "
    "data.cache trainer.accelerator trainer.devices trainer.num_nodes".split()
)


class Claim(NamedTuple):
    """A run folder that training may write into."""

    path: Path
    resume: bool  # whether to continue from checkpoints/last.ckpt


def claim(config: Mapping[str, Any]) -> Claim:
    """Decide whether the run is new or resumed; refuse a folder that holds something else."""
    path = Path(config["run"])
    if path.exists() and not path.is_dir():
        raise UserError("E-run", f"run={path}", "is a file", "choose a folder with run=NAME")
    if not path.exists() or all(item.name == LOCK or of_a_sweep(item) for item in path.iterdir()):
        return Claim(path, resume=False)
    if not (path / CONFIG).is_file():
        raise UserError(
            "E-run", f"run={path}", "the folder holds other files and no run", "choose another with run=NAME"
        )
    if config["overwrite"]:
        return Claim(path, resume=False)
    if (path / FINISHED).is_file():
        raise UserError("E-run", f"run={path}", "holds a finished run", REMEDY)
    resume = (path / LAST).is_file()
    if resume:
        read_checkpoint(path / LAST, mmap=True)  # of this version?
    changes = list(differences(yaml.safe_load((path / CONFIG).read_text("utf-8")), to_yaml_types(config)))
    if changes:
        more = f"; and {len(changes) - MAX_DIFFERENCES} more" if len(changes) > MAX_DIFFERENCES else ""
        some = "; ".join(changes[:MAX_DIFFERENCES]) + more
        raise UserError("E-run", f"run={path}", f"holds an unfinished run with other settings ({some})", REMEDY)
    if not config["trainer"]["resume"]:
        raise UserError("E-run", f"run={path}", "holds an unfinished run and trainer.resume=false", REMEDY)
    return Claim(path, resume)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other runs out of a run folder, which is made; a folder that is empty afterwards is removed."""
    if path.exists() and not path.is_dir():
        yield  # `claim` refuses it
        return
    lock = path / LOCK
    try:
        path.mkdir(parents=True, exist_ok=True)
        acquire(lock)
    except OSError as error:
        raise UserError("E-file", f"run={path}", f"cannot be written ({error.strerror})", "choose run=NAME") from error
    try:
        yield
    finally:
        HELD.discard(lock.resolve())
        lock.unlink(missing_ok=True)
        with suppress(OSError):  # not empty
            path.rmdir()


def acquire(lock: Path) -> None:
    """Create a lock file that names this process; replace that of a process of this machine that has ended."""
    held = lock.resolve()
    while True:
        try:
            with lock.open("x", encoding="utf-8") as file:
                file.write(f"{os.getpid()} {socket.gethostname()}")
        except FileExistsError:
            try:
                content = lock.read_text("utf-8")
            except FileNotFoundError:  # the other run has just ended
                continue
        else:
            HELD.add(held)
            return
        number, _, host = content.partition(" ")
        if held in HELD or host != socket.gethostname() or is_alive(int(number)):
            problem = f"process {number or '?'} on {host or 'an unknown machine'} trains in this folder"
            remedy = f"choose run=NAME, or delete {lock} if it has ended"
            raise UserError("E-run", f"run={lock.parent}", problem, remedy)
        lock.unlink(missing_ok=True)


def is_alive(number: int) -> bool:
    """Whether another process of this machine has this number."""
    if number == os.getpid():  # of a process that ended before this one began
        return False
    if sys.platform == "win32":
        import ctypes

        handle = ctypes.windll.kernel32.OpenProcess(0x00100000, False, number)  # SYNCHRONIZE; kill would end it
        return bool(handle and ctypes.windll.kernel32.CloseHandle(handle))
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def finished(config: Mapping[str, Any]) -> bool:
    """Whether the run folder holds a finished run of this configuration, which is not to be overwritten."""
    path = Path(config["run"])
    if config["overwrite"] or not all((path / name).is_file() for name in (CONFIG, FINISHED)):
        return False
    old = yaml.safe_load((path / CONFIG).read_text("utf-8"))
    old.pop("format", None)  # of the bundle
    return not any(differences(old, to_yaml_types(config)))


def of_a_sweep(item: Path) -> bool:
    """Whether `--multirun` wrote this into the folder: the run folder of a job, or Hydra's `multirun.yaml`."""
    return (item / CONFIG).is_file() or item.name == "multirun.yaml"


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Every setting that changes what is learned, as `key: old, now new`."""
    if key in FREE:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield f"{key}: {old}, now {new}"


def start(path: Path, config: Mapping[str, Any]) -> None:
    """Make the folder of a new run and write its configuration; remove the files of a run that it replaces."""
    for name in FILES:
        (path / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    (path / "checkpoints").mkdir(parents=True)
    text = yaml.safe_dump(to_yaml_types(config), allow_unicode=True, sort_keys=False)
    (path / CONFIG).write_text(text, "utf-8")


def to_yaml_types(value: Any) -> Any:
    """The same value in YAML's own types, so that what is read back compares equal."""
    if isinstance(value, Mapping):
        return {str(key): to_yaml_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_yaml_types(item) for item in value]
    return str(value) if isinstance(value, Path) else value
