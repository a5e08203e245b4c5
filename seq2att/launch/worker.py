"""One worker process of a run: the script that the elastic launcher starts once for each device.

The launcher runs it by its path, before seq2att can be imported: the module needs only the standard library and takes
its module search path from the parent. A file in the folder that the parent names holds the configuration; a worker
that fails writes its reason into another.
"""

from __future__ import annotations

import atexit
import functools
import io
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

USER, BUG, LOST = "user", "bug", "lost"  # a UserError; any other error; the connection to another process broke
EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USER = 1, 130, 2
JOB = "job.json"


class Failure(NamedTuple):
    """Why a worker failed."""

    time: float
    rank: int
    kind: str
    parts: list[str]  # the arguments of a UserError; or a traceback


def write_job(folder: Path, config: Mapping[str, Any], command: Sequence[str] = ()) -> None:
    """Write what the workers need."""
    job = {"config": config, "command": list(command), "path": sys.path, "parent": os.getpid()}
    (folder / JOB).write_text(json.dumps(job, default=str), "utf-8")


def read_failures(folder: Path) -> list[Failure]:
    """Why workers failed, in the order of time."""
    return sorted(Failure(*json.loads(file.read_text("utf-8"))) for file in folder.glob("failure-*.json"))


def main(folder: Path) -> int:
    """Train as one of the workers; return the exit code."""
    job = json.loads((folder / JOB).read_text("utf-8"))
    threading.Thread(target=end_with_parent, args=(job["parent"], folder), daemon=True).start()
    sys.path[:] = job["path"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # as the command line of the parent
    rank = int(os.environ["RANK"])
    if rank:
        warnings.simplefilter("ignore")  # rank 0 shows them
    try:
        train(job["config"], job["command"])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        failure = Failure(time.time(), rank, *classify(error))
        partial = folder / f"{rank}.partial"
        partial.write_text(json.dumps(failure), "utf-8")
        partial.replace(folder / f"failure-{rank}.json")
        return EXIT_USER if failure.kind == USER else EXIT_FAILED
    return 0


def train(config: dict[str, Any], command: Sequence[str]) -> None:
    """Join the other processes and train."""
    from seq2att import launch, registry
    from seq2att.launch.environment import current_processes

    registry.load(config["plugins"])
    processes = current_processes(config["trainer"], os.environ)
    assert processes is not None
    say = functools.partial(print, flush=True)
    launch.join(config, processes, say=say, account=lambda line: None, command=command)


def classify(error: Exception) -> tuple[str, list[str]]:
    """The kind of an error and what to show of it."""
    from seq2att.errors import UserError

    if isinstance(error, UserError):
        return USER, list(error.__reduce__()[1])
    text = "".join(traceback.format_exception(error)).rstrip()  # with its causes
    is_network = any(word in text for word in ("torch.distributed.Dist", "gloo", "Gloo", "NCCL"))
    return LOST if is_network else BUG, [text]


def end_with_parent(parent: int, folder: Path) -> None:
    """Send this process SIGTERM once its parent is gone (Windows does not report that), and remove the folder."""
    while os.getppid() == parent:
        time.sleep(1.0)
    shutil.rmtree(folder, ignore_errors=True)  # nobody reads it any more
    os.kill(os.getpid(), signal.SIGTERM)


def leave(code: int | str | None) -> None:
    """Exit at once: the threads of libraries may crash or hang while Python shuts down."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else EXIT_FAILED if code else 0)


if __name__ == "__main__":
    try:
        leave(main(Path(sys.argv[1])))
    except SystemExit as end:
        leave(end.code)
