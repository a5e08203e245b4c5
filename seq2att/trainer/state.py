"""The state of a run: its phase, and which checkpoints are the last and the best one.

`state.json` is renamed into place after the checkpoints that it names are on the disk, so both change at once. A
process may be killed at any moment: what the file does not name was not saved, and is removed at the next start.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from seq2att.errors import UserError
from seq2att.files import write_file
from seq2att.files.untrusted import parse_json, read_regular
from seq2att.trainer.checkpoint import OVERWRITE, write_checkpoint

STATE, CHECKPOINTS = "state.json", "checkpoints"
FORMAT = 4  # of the state and of the checkpoints
OTHER_VERSION = ("is of another version of seq2att", f"finish the run with the one that began it, or {OVERWRITE}")

MAX_BYTES = 1 << 20

Phase = Literal[
    "starting",  # files of an earlier run may be there; nothing is trained yet
    "training",
    "finishing",  # training is done, the bundle is being written
    "finished",
]


class Checkpoint(NamedTuple):
    """A checkpoint that is saved."""

    number: int  # of the file, from 1
    step: int
    size: int  # bytes
    sha256: str

    def path(self, folder: Path) -> Path:
        """Its file."""
        return folder / CHECKPOINTS / f"{self.number}.ckpt"


class State(NamedTuple):
    """The state of a run."""

    phase: Phase
    last: Checkpoint | None = None
    best: Checkpoint | None = None


def read_state(folder: Path) -> State | None:
    """The state of the run in a folder; None if it has none, as before the start and from earlier versions."""
    file = folder / STATE
    if not os.path.lexists(file):
        return None
    try:
        content = parse_json(read_regular(file, MAX_BYTES), f"{file}")
    except UserError as error:
        raise UserError("E-checkpoint", error.subject, error.problem, OVERWRITE) from error
    try:
        if content["format"] != FORMAT:
            raise UserError("E-checkpoint", f"{file}", *OTHER_VERSION)
        if content["phase"] not in get_args(Phase):
            raise ValueError(content["phase"])
        last, best = (one and Checkpoint(**one) for one in (content["last"], content["best"]))
        if not all(isinstance(one.number, int) and isinstance(one.sha256, str) for one in (last, best) if one):
            raise ValueError("a checkpoint is no number with a digest")
    except (KeyError, TypeError, ValueError) as error:
        raise UserError("E-checkpoint", f"{file}", f"cannot be read ({error})", OVERWRITE) from error
    return State(content["phase"], last, best)


def write_state(folder: Path, state: State) -> None:
    """Change the state, and remove the checkpoints that it does not name any more."""
    last, best = (one and one._asdict() for one in (state.last, state.best))
    content = {"format": FORMAT, "phase": state.phase, "last": last, "best": best}
    write_file(folder / STATE, json.dumps(content, indent=2) + "\n")
    remove_others(folder, state)


def remove_others(folder: Path, state: State) -> None:
    """Remove what is in the folder of the checkpoints and not named by the state."""
    named = [one.path(folder) for one in (state.last, state.best) if one]
    for file in (folder / CHECKPOINTS).glob("*"):
        if file not in named:
            file.unlink(missing_ok=True)


def save_checkpoint(folder: Path, content: Mapping[str, Any], step: int, is_best: bool) -> None:
    """Save a checkpoint as the last one, and as the best one if it is."""
    before = read_state(folder) or State("training")
    number = 1 + max((one.number for one in (before.last, before.best) if one), default=0)
    file = Checkpoint(number, step, 0, "").path(folder)
    last = Checkpoint(number, step, *write_checkpoint(content, file))
    write_state(folder, State("training", last, last if is_best else before.best))


def change_phase(folder: Path, phase: Phase) -> None:
    """Note that the run is in another phase."""
    write_state(folder, (read_state(folder) or State(phase))._replace(phase=phase))
