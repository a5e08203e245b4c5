"""Start a run: in this process, in worker processes of this machine, or as one that torchrun or Slurm started.

`run` is the entry point. The configuration is composed once: `elastic` hands it, resolved, to the workers it starts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att.launch.environment import current_processes, requested_processes
from seq2att.launch.threads import configure_threads
from seq2att.recurrence.choice import requested_kernel

if TYPE_CHECKING:
    from seq2att.callback import Callback
    from seq2att.trainer.processes import Processes

__all__ = ["configure_threads", "join", "run"]


def run(
    config: Mapping[str, Any],
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = print,
    command: Sequence[str] = (),
) -> Path:
    """Train a resolved configuration in as many processes as it sets; return the run folder.

    Where torchrun, Slurm or the like started this process as one of several, it joins them. The record of the run
    holds the `command`.
    """
    from seq2att.launch.elastic import train_in_workers

    requested_kernel()  # refuses an unknown SEQ2ATT_KERNEL before data are read
    options = config["trainer"]
    processes = current_processes(options, os.environ)
    if processes is not None:
        return join(config, processes, callbacks, say, command=command)
    devices, nodes = requested_processes(options)
    if devices * nodes > 1:
        return train_in_workers(config, devices, nodes, callbacks, say, command)
    from seq2att.trainer import train

    configure_threads(options["threads"], config["seed"])
    return train(config, callbacks, say, command=command)


def join(
    config: Mapping[str, Any],
    processes: Processes,
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = print,
    account: Callable[[str], None] | None = None,
    command: Sequence[str] = (),
) -> Path:
    """Train as one of several processes; all of them call this, and rank 0 prints."""
    from seq2att.trainer import train
    from seq2att.trainer.checks import gpus

    configure_threads(config["trainer"]["threads"], config["seed"], processes.local_size)
    with processes.together(gpu=gpus(config["trainer"]["accelerator"]) > 0):
        return train(config, callbacks, say, processes, account, command)
