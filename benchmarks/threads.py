"""What the second core brings: the same rows with one thread and with two, in processes that take turns."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.report import Section
from benchmarks.settings import TINY, Settings

ROW = "training-luong"
TURNS = 2
CONTENDERS = "textbook,seq2att*"


def measure(settings: Settings) -> Section:
    """A line a contender: tokens a second with one thread and with two."""
    rates: dict[str, dict[int, list[float]]] = {}
    for turn in range(1 if settings.sizes == TINY else TURNS):
        for threads in (1, 2):
            for name, rate in rates_of(settings, threads, turn).items():
                rates.setdefault(name, {1: [], 2: []})[threads].append(rate)
    lines, values = [], {}
    for name, found in rates.items():
        one, two = (statistics.median(found[threads] or [0.0]) for threads in (1, 2))
        values[name] = {"one": one, "two": two}
        lines.append([name, f"{one:,.0f}", f"{two:,.0f}", f"{two / one:.2f}" if one else ""])
    note = f"The row `{ROW}` in processes of their own; PyTorch's threads inside one process."
    columns = ["", "1 thread, tokens/s", "2 threads, tokens/s", "ratio"]
    return Section("threads", "the second core", note, columns, lines, values)


def rates_of(settings: Settings, threads: int, turn: int) -> dict[str, float]:
    """Tokens a second of every contender, from a run of this program."""
    kept = Path(settings.folder) / f"threads-{threads}-{turn}.json"
    command = [sys.executable, "-m", "benchmarks", "--rows", ROW, "--only", CONTENDERS, "--threads", str(threads)]
    command += ["--no-memory", "--seconds", str(settings.seconds / 2), "--seed", str(settings.seed)]
    command += ["--batch", str(settings.batch), "--json", str(kept)]
    command += ["--tiny"] if settings.sizes == TINY else []
    command += ["--data", settings.data] if settings.data else []
    root = Path(__file__).parent.parent
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")
    (row,) = json.loads(kept.read_text("utf-8"))["sections"]
    return {result["name"]: result["rate"] for result in row["values"] if not result["why"]}
