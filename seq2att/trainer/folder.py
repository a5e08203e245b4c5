"""The run folder: new, resumed or refused; and what training writes into it.

A run is unfinished while it has no `metrics.json`. The same command resumes an unfinished run; nothing is replaced
unless `overwrite=true` says so, and then only what a run writes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from seq2att.drawing import CONFUSION, SCATTER
from seq2att.errors import UserError

CONFIG, TABLE, CURVES, FINISHED = "config.yaml", "metrics.csv", "curves.png", "metrics.json"
LAST, BEST = "checkpoints/last.ckpt", "checkpoints/best.ckpt"
NORMS, NORMS_CURVES = "gradient_norms.csv", "gradient_norms.png"
FILES = (CONFIG, TABLE, CURVES, FINISHED, CONFUSION, SCATTER, NORMS, NORMS_CURVES, "model.safetensors", "README.md")
FOLDERS = ("checkpoints", "source", "target", "steps", "tensorboard")

# What may differ between a run and its resumption: where things are and what is shown, not what is learned.
FREE = frozenset(
    "run overwrite trainer.resume trainer.progress trainer.threads trainer.log_every data.root data.cache "
    "trainer.accelerator trainer.devices trainer.num_nodes".split()
)


class Claim(NamedTuple):
    """A run folder that training may write into."""

    path: Path
    resume: bool  # whether checkpoints/last.ckpt is to be continued


def claim(config: Mapping[str, Any]) -> Claim:
    """Say whether the run is new or goes on; refuse a folder that holds something else."""
    path = Path(config["run"])
    if path.exists() and not path.is_dir():
        raise UserError(f"run={path} is a file; choose a folder with run=NAME")
    if not path.exists() or all(of_a_sweep(item) for item in path.iterdir()):
        return Claim(path, resume=False)
    if not (path / CONFIG).is_file():
        raise UserError(f"run={path}: the folder holds other files and no run; choose another with run=NAME")
    if config["overwrite"]:
        return Claim(path, resume=False)
    remedy = "choose run=NAME for a new run, or overwrite=true to replace this one"
    if (path / FINISHED).is_file():
        raise UserError(f"run={path} holds a finished run; {remedy}")
    changed = list(differences(yaml.safe_load((path / CONFIG).read_text("utf-8")), plain(config)))
    if changed:
        some = "; ".join(changed[:5]) + (f"; and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise UserError(f"run={path} holds an unfinished run with other settings ({some}); {remedy}")
    if not config["trainer"]["resume"]:
        raise UserError(f"run={path} holds an unfinished run and trainer.resume=false; {remedy}")
    return Claim(path, resume=(path / LAST).is_file())


def finished(config: Mapping[str, Any]) -> bool:
    """Whether the run folder holds a finished run of this configuration, which is not to be overwritten."""
    path = Path(config["run"])
    if config["overwrite"] or not all((path / name).is_file() for name in (CONFIG, FINISHED)):
        return False
    old = yaml.safe_load((path / CONFIG).read_text("utf-8"))
    old.pop("format", None)  # a bundle says it
    return not any(differences(old, plain(config)))


def of_a_sweep(item: Path) -> bool:
    """Whether `--multirun` wrote this into the folder: a run's folder for each job, and Hydra's note of them."""
    return (item / CONFIG).is_file() or item.name == "multirun.yaml"


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Every setting that differs and matters, as `key: old, now new`."""
    if key in FREE:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield f"{key}: {old}, now {new}"


def start(path: Path, config: Mapping[str, Any]) -> None:
    """Make the folder of a new run and write its configuration; what an overwritten run left is removed."""
    for name in FILES:
        (path / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    (path / "checkpoints").mkdir(parents=True)
    text = yaml.safe_dump(plain(config), allow_unicode=True, sort_keys=False)
    (path / CONFIG).write_text(text, "utf-8")


def plain(value: Any) -> Any:
    """The same value in YAML's own types, so that what is read back compares equal."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
