"""The parent of a run in several processes: it checks and prepares once, starts the workers and says how they ended.

PyTorch's elastic launcher starts `worker.py` once for each device, as a program of its own: nothing is pickled. What
a worker needs, the resolved configuration above all, is handed over in a file; a worker that fails leaves its reason
beside that file.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seq2att.errors import UserError
from seq2att.launch import worker
from seq2att.launch.place import meeting_point

if TYPE_CHECKING:
    from lightning.pytorch import Callback
    from torch.distributed.launcher.api import LaunchConfig

PATIENCE = 20  # seconds; a worker that does not end with the others is killed by the launcher after 30
GRACE = 600  # seconds that the workers get after a signal: as long as a validation may take
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def launch(
    config: Mapping[str, Any], devices: int, nodes: int, callbacks: Sequence[Callback], say: Callable[[str], None]
) -> Path:
    """Train in `devices` processes on this machine, and on as many on each of the other ones; returns the run folder.

    A signal is handed on to the workers, which save and end. Raises UserError with the reason of a worker that failed.
    """
    from seq2att.trainer.fitting import make_ready

    if callbacks:
        raise UserError(
            f"callbacks: objects do not reach the {devices} processes that trainer.devices asks for; "
            "name them in `callbacks`, from a plugin, or start this program by torchrun"
        )
    told = launch_config(devices, nodes)
    make_ready(config, say)  # what is wrong is said here, and the workers find the data in the cache
    here = f"starting {devices} process{'es' * (devices > 1)}"
    say(
        here
        if nodes == 1
        else f"{here} here; {devices * nodes} on {nodes} machines are to meet at {told.rdzv_endpoint}"
    )
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="seq2att-") as name:
        folder = Path(name)
        worker.hand_over(folder, config)
        start(told, folder)
    return Path(config["run"])


def launch_config(devices: int, nodes: int) -> LaunchConfig:
    """What the elastic launcher is told: no restarts, for a run goes on from what it saved when it is started again."""
    from torch.distributed.launcher.api import LaunchConfig

    place = meeting_point(os.environ)
    if nodes > 1 and place is None:
        raise UserError(
            f"trainer.num_nodes={nodes}: the machines must know where to meet; start this command on each of them with "
            "MASTER_ADDR=NAME_OF_THE_FIRST_ONE set, or use torchrun, or Slurm's srun"
        )
    address, port = place if nodes > 1 and place else ("localhost", 0)
    known = {field.name for field in fields(LaunchConfig)}
    newer: dict[str, Any] = {  # not in older PyTorch; SIGHUP is left out, for `nohup` is to be obeyed
        name: value
        for name, value in (("shutdown_timeout", GRACE), ("signals_to_handle", "SIGTERM,SIGINT"))
        if name in known
    }
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=devices,
        run_id=f"seq2att-{port}",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{address}:{port}",
        local_addr="localhost" if nodes == 1 else None,
        max_restarts=0,
        monitor_interval=0.1,
        **newer,
    )


def start(config: LaunchConfig, folder: Path) -> None:
    """Start the workers and wait for their end; raises what a run in this process would have raised."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    try:
        with undisturbed():
            elastic_launch(config, sys.executable)("-P", worker.__file__, str(folder))
    except SignalException as stop:
        raise ended_by(stop.sigval) from None
    except RendezvousError as error:
        raise UserError(
            f"trainer.num_nodes={config.min_nodes}: the machines did not meet at {config.rdzv_endpoint} ({error}); "
            "start the same command on every one of them"
        ) from error
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        raise reason(codes, worker.reasons(folder), config.max_nodes * config.nproc_per_node) from None


def ended_by(number: int) -> BaseException:
    """What a signal raises, as in a run of one process."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def reason(codes: Mapping[int, int], reasons: Sequence[worker.Reason], size: int) -> BaseException:
    """Why the workers ended: the first cause, not what their end did to the others.

    `codes` are exit codes by rank, negative where a signal killed; `reasons` are in the order of time.
    """
    for found in reasons:
        if found.kind == worker.USER:
            return UserError(found.text)
    killed = [(rank, -code) for rank, code in sorted(codes.items()) if code < 0 and -code != signal.SIGTERM]
    crashed = sorted(killed, key=lambda one: one[1] == signal.SIGABRT)  # who loses another may abort in the end
    bugs = [found for found in reasons if found.kind == worker.BUG]
    hung = bool(bugs) and time.time() - bugs[0].at > PATIENCE  # then it was the launcher that killed the others
    if crashed and not hung:
        rank, number = crashed[0]
        memory = " (by the system, if memory ran out)" if number == signal.SIGKILL else ""
        return UserError(
            f"process {rank + 1} of {size} (rank {rank}) was killed by {signal.Signals(number).name}{memory}; "
            "the same command goes on from what was saved last"
        )
    if bugs:
        return UserError(f"process {bugs[0].rank + 1} of {size} (rank {bugs[0].rank}) failed:\n{bugs[0].text}")
    stopped = [number for number in (signal.SIGINT, signal.SIGTERM) if 128 + number in codes.values()]
    if stopped or not reasons:
        return ended_by(stopped[0] if stopped else signal.SIGTERM)
    return UserError(f"the processes lost each other; what process {reasons[0].rank + 1} saw of it:\n{reasons[0].text}")


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """The launcher without its log, which says what we say better; afterwards the signals are whose they were."""
    logs = [logging.getLogger(f"torch.distributed.{name}") for name in ("elastic", "launcher")]
    before = {number: signal.getsignal(number) for number in SIGNALS}
    silence = logging.NullHandler()
    for log in logs:
        log.propagate = False
        log.addHandler(silence)
    environment = os.environ.get("TORCHELASTIC_SIGNALS_TO_HANDLE")
    try:
        yield
    finally:
        for log in logs:
            log.propagate = True
            log.removeHandler(silence)
        with contextlib.suppress(ValueError):  # not in the main thread, where the launcher sets none
            for number, handler in before.items():
                signal.signal(number, handler)
        if environment is None:
            os.environ.pop("TORCHELASTIC_SIGNALS_TO_HANDLE", None)
