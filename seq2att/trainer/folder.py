"""The run folder: new, resumed or refused; and what training writes into it.

The same command resumes an unfinished run, in whatever phase its process ended (`state.py`). Nothing is replaced
without `overwrite=true`, and then only what a run writes. A lock keeps a second run out (`lock.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from seq2att.bundle.manifest import MANIFEST, WEIGHTS
from seq2att.bundle.owner import SIGNATURE
from seq2att.config.saved import read_saved
from seq2att.data import RowReport, write_account
from seq2att.drawing import CONFUSION, EXAMPLES, SCATTER, SERIES_PLOT
from seq2att.errors import UserError
from seq2att.files import PARTIAL, remove_partial, unwritable, write_file
from seq2att.trainer.checkpoint import OVERWRITE, is_intact
from seq2att.trainer.lock import LOCK
from seq2att.trainer.state import (
    CHECKPOINTS,
    OTHER_VERSION,
    STATE,
    Checkpoint,
    State,
    change_phase,
    read_state,
    remove_others,
    write_state,
)

CONFIG, TABLE, CURVES, FINISHED = "config.yaml", "metrics.csv", "curves.png", "metrics.json"
BEST = "best"  # the bundle of the best weights of a run that diverged
RECORD = "record.json"
ACCOUNT = "data.json"  # which rows were read, kept and dropped
REPORT = "divergence.json"  # the step where the run diverged
NORMS, NORMS_CURVES = "gradient_norms.csv", "gradient_norms.png"
BUNDLE = (FINISHED, MANIFEST, WEIGHTS, "README.md")
FIGURES = (TABLE, CURVES, CONFUSION, SCATTER, SERIES_PLOT, EXAMPLES, NORMS, NORMS_CURVES)
FILES = (*BUNDLE, *FIGURES, CONFIG, RECORD, ACCOUNT, SIGNATURE, REPORT)
FOLDERS = (CHECKPOINTS, "source", "target", "steps", "tensorboard", BEST)
REMEDY = "choose run=NAME for a new run, or overwrite=true to replace this one"
MAX_DIFFERENCES = 5  # that an error names

# What may differ between a run and its resumption: where things are and what is shown, not what is learned.
FREE = frozenset(
    "run overwrite trainer.resume trainer.progress trainer.examples trainer.threads trainer.log_every data.root "
    "data.cache trainer.accelerator trainer.devices trainer.num_nodes trainer.on_memory trainer.on_divergence".split()
)


class Claim(NamedTuple):
    """A run folder that training may write into."""

    path: Path
    resume: Checkpoint | None = None  # to continue from; without one, training starts at the beginning


def data_root(config: Mapping[str, Any]) -> Path | None:
    """The folder that relative paths of the data start from, if it is set."""
    root = config["data"]["root"]
    return Path(root).expanduser() if root else None


def claim(config: Mapping[str, Any]) -> Claim:
    """Decide whether the run is new or resumed; refuse a folder that holds something else."""
    path, overwrite = Path(config["run"]), config["overwrite"]
    if path.exists() and not path.is_dir():
        raise UserError("E-run", f"run={path}", "is a file", "choose a folder with run=NAME")
    if not path.exists() or all(is_no_content(item) for item in path.iterdir()):
        return Claim(path)
    if not any((path / name).is_file() for name in (STATE, CONFIG)):
        raise UserError(
            "E-run", f"run={path}", "the folder holds other files and no run", "choose another with run=NAME"
        )
    state = None if overwrite else read_state(path)
    if overwrite or (state is not None and state.phase == "starting"):
        return Claim(path)
    if is_finished(path, state):
        raise UserError("E-run", f"run={path}", "holds a finished run", REMEDY)
    if state is None and (old := path / CHECKPOINTS / "last.ckpt").is_file():
        raise UserError("E-checkpoint", f"{old}", *OTHER_VERSION)
    refuse_differences(path, config)
    if not config["trainer"]["resume"]:
        raise UserError("E-run", f"run={path}", "holds an unfinished run and trainer.resume=false", REMEDY)
    return Claim(path, intact_checkpoint(path, state, config))


def is_finished(path: Path, state: State | None) -> bool:
    """Whether a run folder holds a finished run; those of earlier versions have no state."""
    return (path / FINISHED).is_file() and (state is None or state.phase == "finished")


def refuse_differences(path: Path, config: Mapping[str, Any]) -> None:
    """Raise `E-run` unless the unfinished run in a folder has these settings."""
    changes = list(differences(read_settings(path), to_yaml_types(config)))
    if changes:
        more = f"; and {len(changes) - MAX_DIFFERENCES} more" if len(changes) > MAX_DIFFERENCES else ""
        some = "; ".join(changes[:MAX_DIFFERENCES]) + more
        raise UserError("E-run", f"run={path}", f"holds an unfinished run with other settings ({some})", REMEDY)


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of the run in a folder, without what a bundle adds to them."""
    try:
        return read_saved(path / CONFIG).values
    except UserError as error:
        raise UserError("E-run", error.subject, error.problem, OVERWRITE) from error


def intact_checkpoint(path: Path, state: State | None, config: Mapping[str, Any]) -> Checkpoint | None:
    """The checkpoint to continue from: the last one, or the best one where the last one is damaged; None if none was.

    The best one is needed at the end, too. Raises `E-checkpoint` if one is damaged that the run cannot do without.
    """
    if state is None or state.last is None:
        return None
    last, best = state.last, state.best
    damaged = [one for one in dict.fromkeys((last, best)) if one and not is_intact(one.path(path), one.sha256)]
    if not damaged or (damaged == [best] != [last] and not config["trainer"]["restore_best"]):
        return last
    if best is not None and best not in damaged:
        return best
    problem = "is damaged or missing: it is not what training wrote"
    raise UserError("E-checkpoint", f"{damaged[0].path(path)}", problem, OVERWRITE)


def finished(config: Mapping[str, Any]) -> bool:
    """Whether the run folder holds a finished run of this configuration, which is not to be overwritten."""
    path = Path(config["run"])
    if config["overwrite"] or not (path / CONFIG).is_file() or not is_finished(path, read_state(path)):
        return False
    return not any(differences(read_settings(path), to_yaml_types(config)))


def is_no_content(item: Path) -> bool:
    """Whether a folder that holds only such items holds nothing: a lock, a part of a file, what a sweep wrote.

    A sweep writes the run folders of its jobs and Hydra's `multirun.yaml`.
    """
    of_a_sweep = item.name == "multirun.yaml" or any((item / name).is_file() for name in (STATE, CONFIG, LOCK))
    return of_a_sweep or item.name == LOCK or item.name.endswith(PARTIAL)


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Every setting that changes what is learned, as `key: old, now new`."""
    if key in FREE:
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield f"{key}: {old}, now {new}"


def start(path: Path, config: Mapping[str, Any], reports: Iterable[RowReport] = ()) -> None:
    """Make the folder of a new run, write its configuration and the account of its rows; remove a run it replaces."""
    write_state(path, State("starting"))
    for name in FILES:
        (path / name).unlink(missing_ok=True)
    for name in FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    remove_partial(path)
    write_file(path / CONFIG, OmegaConf.to_yaml(OmegaConf.create(to_yaml_types(config))))  # as in a bundle
    write_account(path / ACCOUNT, reports)
    change_phase(path, "training")


def clean(path: Path) -> None:
    """Remove what a process that was killed left in the folder of a run: parts of files, unnamed checkpoints."""
    for folder in (path, *(path / name for name in FOLDERS)):
        remove_partial(folder)
    remove_others(path, read_state(path) or State("training"))


@contextmanager
def saying_what_is_saved(path: Path) -> Iterator[None]:
    """Add to the error about a file of the run that could not be written where the same command continues."""
    try:
        yield
    except OSError as error:
        file = Path(error.filename) if isinstance(error.filename, str) else None
        if file is None or not file.is_relative_to(path):
            raise
        raise with_last_step(unwritable(file, error), path) from error
    except UserError as error:
        if not isinstance(error.__cause__, OSError) or not Path(error.subject).is_relative_to(path):
            raise
        raise with_last_step(error, path) from error.__cause__


def with_last_step(error: UserError, path: Path) -> UserError:
    """The same error, and the step that is saved."""
    with suppress(UserError):
        if (state := read_state(path)) and state.last:
            error.remedy += f"; the run is saved up to step {state.last.step:,}"
    return UserError(error.code, error.subject, error.problem, error.remedy)


def to_yaml_types(value: Any) -> Any:
    """The same value in YAML's own types, so that what is read back compares equal."""
    if isinstance(value, Mapping):
        return {str(key): to_yaml_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_yaml_types(item) for item in value]
    return str(value) if isinstance(value, Path) else value
