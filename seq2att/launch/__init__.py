"""Starting a run in its processes: alone, in workers of this machine, or as one of those that torchrun or Slurm began.

A reader starts at `run`. The configuration is composed once: `workers` hands it, resolved, to the processes it starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att.launch.place import asked_for, joined
from seq2att.launch.threads import settle
from seq2att.recurrence.forced import forced

if TYPE_CHECKING:
    from lightning.pytorch import Callback

    from seq2att.trainer.processes import Processes

__all__ = ["join", "run", "settle"]


def run(config: Mapping[str, Any], callbacks: Sequence[Callback] = (), say: Callable[[str], None] = print) -> Path:
    """Train what a resolved configuration describes, in as many processes as it asks for; returns the run folder.

    Where torchrun, Slurm or the like have started this process as one of several, it joins them.
    """
    from seq2att.launch.workers import launch

    forced()  # refuses an unknown SEQ2ATT_KERNEL before data are read
    options = config["trainer"]
    processes = joined(options, os.environ)
    if processes is not None:
        return join(config, processes, callbacks, say)
    devices, nodes = asked_for(options)
    if devices * nodes > 1:
        return launch(config, devices, nodes, callbacks, say)
    from seq2att.trainer import train

    settle(options["threads"], config["seed"])
    return train(config, callbacks, say)


def join(
    config: Mapping[str, Any],
    processes: Processes,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = print,
    account: Callable[[str], None] | None = None,
) -> Path:
    """Train as one of several processes; all of them call this, and the first one speaks."""
    from seq2att.trainer import train
    from seq2att.trainer.checks import gpus

    settle(config["trainer"]["threads"], config["seed"], processes.local_size)
    with processes.together(gpu=gpus(config["trainer"]["accelerator"]) > 0):
        return train(config, callbacks, say, processes, account)
