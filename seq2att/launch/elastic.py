"""Training in several processes of this machine, by PyTorch's elastic launcher.

This process checks the settings and prepares the data once. The launcher then starts `worker.py` for each device as a
program of its own: nothing is pickled.
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
from seq2att.launch.environment import meeting_point

if TYPE_CHECKING:
    from torch.distributed.launcher.api import LaunchConfig

    from seq2att.callback import Callback

HANG = 20.0  # seconds; a worker that does not end with the others is killed by the launcher after 30
SHUTDOWN = 600  # seconds that the workers have after a signal: as long as a validation may take
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT") if hasattr(signal, name)
)  # what the launcher handles; Windows has two of them


def train_in_workers(
    config: Mapping[str, Any],
    devices: int,
    nodes: int,
    callbacks: Sequence[Callback],
    say: Callable[[str], None],
    command: Sequence[str] = (),
) -> Path:
    """Train in `devices` processes on each of `nodes` machines, of which this is one; return the run folder.

    A signal is passed on to the workers, which save and end. Raises the UserError of a worker that failed.
    """
    from seq2att.trainer.fitting import make_ready

    if callbacks:
        problem = f"objects do not reach the {devices} processes of trainer.devices"
        raise UserError("E-argument", "callbacks", problem, "name them in the setting `callbacks`, or use torchrun")
    with tempfile.TemporaryDirectory(prefix="seq2att-") as name:
        folder = Path(name)
        launch_config = make_launch_config(devices, nodes, folder)
        make_ready(config, say)  # errors in settings and data show here, and the workers read the data from the cache
        meeting = f" here; all {devices * nodes} on {nodes} machines meet at {launch_config.rdzv_endpoint}"
        say(f"starting {devices} process{'es' * (devices > 1)}{meeting * (nodes > 1)}")
        sys.stdout.flush()
        worker.write_job(folder, config, command)
        run_workers(launch_config, folder)
    return Path(config["run"])


def make_launch_config(devices: int, nodes: int, folder: Path) -> LaunchConfig:
    """The settings of the elastic launcher; without restarts, because the same command resumes a run.

    Args:
        devices: processes on each machine.
        nodes: machines.
        folder: where the launcher may write files of its own.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
    from torch.distributed.launcher.api import LaunchConfig

    address, port = "localhost", 0
    if nodes > 1:
        place = meeting_point(os.environ)
        if place is None:
            remedy = "set MASTER_ADDR to the name of the first one on each of them, or use torchrun or Slurm's srun"
            problem = "the machines do not know where to meet"
            raise UserError("E-process", f"trainer.num_nodes={nodes}", problem, remedy)
        address, port = place
    options = {"shutdown_timeout": SHUTDOWN, "signals_to_handle": "SIGTERM,SIGINT"}  # without SIGHUP, as under `nohup`
    supported = {field.name for field in fields(LaunchConfig)}  # older versions of PyTorch lack some
    return LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=devices,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs")),
        run_id=f"seq2att-{port}",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{address}:{port}",
        local_addr="localhost" if nodes == 1 else None,
        max_restarts=0,
        monitor_interval=0.1,
        **{name: value for name, value in options.items() if name in supported},  # type: ignore[arg-type]
    )


def run_workers(config: LaunchConfig, folder: Path) -> None:
    """Start the workers and wait for them; raise what a run in this process would have raised."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous import RendezvousError
    from torch.distributed.launcher.api import elastic_launch

    try:
        with quiet_launcher():
            elastic_launch(config, sys.executable)("-P", worker.__file__, str(folder))
    except SignalException as stop:
        raise interruption(stop.sigval) from None
    except RendezvousError as error:
        subject, problem = f"trainer.num_nodes={config.min_nodes}", f"no meeting at {config.rdzv_endpoint} ({error})"
        raise UserError("E-process", subject, problem, "start the same command on every machine") from error
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        size = config.max_nodes * config.nproc_per_node
        raise first_cause(codes, worker.read_failures(folder), size, time.time()) from None


def interruption(number: int) -> BaseException:
    """The exception of a signal, as in a run of one process."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def first_cause(codes: Mapping[int, int], failures: Sequence[worker.Failure], size: int, now: float) -> BaseException:
    """The exception for workers that failed: the first cause, not what it did to the other workers.

    Args:
        codes: exit codes by rank, negative if a signal killed the worker.
        failures: what the workers wrote, in the order of time.
        size: the number of processes.
        now: the time at which the last worker ended.
    """
    if users := [one for one in failures if one.kind == worker.USER]:
        return UserError(*users[0].parts)
    bugs = [one for one in failures if one.kind == worker.BUG]
    killed = [(rank, -code) for rank, code in sorted(codes.items()) if code < 0 and -code != signal.SIGTERM]
    killed.sort(key=lambda one: one[1] == signal.SIGABRT)  # a worker that loses another may abort in the end
    is_hang = bool(bugs) and now - bugs[0].time > HANG  # then the launcher killed the others
    if killed and not is_hang:
        rank, number = killed[0]
        name = signal.Signals(number).name
        problem = f"was killed by {name}" + " (by the system, if memory ran out)" * (name == "SIGKILL")
        return UserError("E-process", process(rank, size), problem, "the same command resumes from the last save")
    if bugs:
        return UserError("E-process", process(bugs[0].rank, size), f"failed:\n{bugs[0].parts[0]}")
    stops = [number for number in (signal.SIGINT, signal.SIGTERM) if 128 + number in codes.values()]
    if stops or not failures:
        return interruption(stops[0] if stops else signal.SIGTERM)
    return UserError("E-process", process(failures[0].rank, size), f"lost the others:\n{failures[0].parts[0]}")


def process(rank: int, size: int) -> str:
    """A process in a message."""
    return f"process {rank + 1} of {size} (rank {rank})"


@contextlib.contextmanager
def quiet_launcher() -> Iterator[None]:
    """Silence the launcher's log, and restore signal handlers and the environment afterwards."""
    logs = [logging.getLogger(f"torch.distributed.{name}") for name in ("elastic", "launcher")]
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    silence = logging.NullHandler()
    for log in logs:
        log.propagate = False
        log.addHandler(silence)
    variable = "TORCHELASTIC_SIGNALS_TO_HANDLE"
    value = os.environ.get(variable)
    try:
        yield
    finally:
        for log in logs:
            log.propagate = True
            log.removeHandler(silence)
        with contextlib.suppress(ValueError):  # not in the main thread, where the launcher sets none
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if value is None:
            os.environ.pop(variable, None)
