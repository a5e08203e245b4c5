"""One worker of a run: a program that the elastic launcher starts once for each device.

It is started by its file, before anything of ours can be imported; so it begins with the standard library alone, and
looks for modules where its parent did. What it is to do is in a file, and so is the reason when it fails.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

USER, BUG, LOST = "user", "bug", "lost"  # a message for the user; any other error; another process was gone
FAILED, INTERRUPTED, WRONG = 1, 130, 2  # exit codes
HANDED = "handed.json"


class Reason(NamedTuple):
    """Why a worker failed."""

    at: float  # when
    rank: int
    kind: str
    text: str  # a message, or a traceback


def hand_over(folder: Path, config: Mapping[str, Any]) -> None:
    """Write down what the workers need."""
    handed = {"config": config, "path": sys.path, "parent": os.getpid()}
    (folder / HANDED).write_text(json.dumps(handed, default=str), "utf-8")


def reasons(folder: Path) -> list[Reason]:
    """Why workers failed, the first one first."""
    return sorted(Reason(*json.loads(file.read_text("utf-8"))) for file in folder.glob("reason-*.json"))


def main(folder: Path) -> int:
    """Train as one of the workers; the exit code."""
    began = json.loads((folder / HANDED).read_text("utf-8"))
    threading.Thread(target=follow, args=(began["parent"],), daemon=True).start()
    sys.path[:] = began["path"]
    rank = int(os.environ["RANK"])
    if rank:
        warnings.simplefilter("ignore")  # the first one gives them
    try:
        work(began["config"])
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        found = Reason(time.time(), rank, *explained(error))
        partial = folder / f"{rank}.partial"
        partial.write_text(json.dumps(found), "utf-8")
        partial.replace(folder / f"reason-{rank}.json")
        return WRONG if found.kind == USER else FAILED
    return 0


def work(config: dict[str, Any]) -> None:
    """Join the other processes and train."""
    from seq2att import launch, registry
    from seq2att.launch.place import joined

    registry.load(config["plugins"])
    processes = joined(config["trainer"], os.environ)
    assert processes is not None
    launch.join(config, processes, say=speak, account=lambda line: None)


def speak(line: str) -> None:
    """Print a line at once: the parent's lines go to the same place."""
    print(line, flush=True)


def explained(error: Exception) -> tuple[str, str]:
    """What kind of error it is, and what to show of it."""
    from seq2att.errors import UserError

    if isinstance(error, UserError):
        return USER, str(error)
    whole = "".join(traceback.format_exception(error)).rstrip()  # with the errors that it came from
    network = any(word in whole for word in ("torch.distributed.Dist", "gloo", "Gloo", "NCCL"))
    return LOST if network else BUG, whole


def follow(parent: int) -> None:
    """End, as by a signal, when the parent has gone: nobody would wait for this process any more."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)


def leave(code: int | str | None) -> None:
    """End with an exit code, whatever the threads of libraries do while Python takes itself down."""
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else FAILED if code else 0)


if __name__ == "__main__":
    try:
        leave(main(Path(sys.argv[1])))
    except SystemExit as end:
        leave(end.code)
