"""The command: `python -m benchmarks`."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.settings import TINY, Settings

if TYPE_CHECKING:
    from benchmarks.machine import Peak
    from benchmarks.report import Section
    from benchmarks.timing import Result, Row

DEFAULT = (
    "training-luong,training-bahdanau,training-plain,training-luong-gru,training-luong-rnn,training-luong-2,"
    "training-bahdanau-gru,training-plain-2,classifier-120,classifier-8,decode,decode-one,threads"
)
EXAMPLE = """\
examples:
  python -m benchmarks                                        the default rows, about ten minutes
  python -m benchmarks --rows training-luong,decode --quick   two rows, about a minute
  python -m benchmarks --rows 'training-*-gru*'               patterns
  python -m benchmarks --list                                 the names of all rows
  python -m benchmarks --growth                               growth with lengths and corpora
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(
        "python -m benchmarks",
        description="Measure seq2att side by side with frozen baselines, and with the machine's own limits.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("--rows", default=DEFAULT, help="names or patterns, with commas (default: a choice of all)")
    add("--only", default="*", help="of every row, the contenders that these patterns fit; the first is the baseline")
    add("--list", action="store_true", help="print the names of all rows")
    add("--data", metavar="DIR", help="Multi30k (train.de, train.en, ...) in place of made-up sentences")
    add("--model", metavar="RUN", help="a trained bundle to decode with in place of a crafted model; needs --data")
    add("--threads", type=int, default=1, help="threads of the process (default: 1)")
    add("--device", default="cpu", help="cpu or cuda; on cuda, batches of 64 and of 1,024")
    add("--batch", type=int, help="sentences of a batch (default: 64)")
    add("--seconds", type=float, default=20.0, help="to measure a row for, warm-up apart (default: 20)")
    add("--seed", type=int, default=1, help="of weights and made-up data (default: 1)")
    add("--cpu-time", action="store_true", help="count seconds on a core, not by the clock: where others compute too")
    add("--quick", action="store_true", help="fewer rounds, no memory; growth: fewer sizes")
    add("--tiny", action="store_true", help="tiny sizes and one round: shows that everything runs, measures nothing")
    add("--no-memory", action="store_true", help="leave out the processes that measure peak memory")
    add("--growth", action="store_true", help="the growth rows, in place of the default ones")
    add("--profile", action="store_true", help="where the time goes, in place of timing")
    peer = "keras, opennmt or joeynmt, by the Python of the environment that it is installed in"
    add("--peer", action="append", default=[], metavar="NAME=PYTHON", help=peer)
    add("--json", metavar="FILE", help="write all figures there too")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 2 on a wrong option."""
    options = parser().parse_args(arguments)
    # Before torch is loaded: its libraries read it then.
    os.environ["OMP_NUM_THREADS"] = str(max(1, options.threads))
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")  # as the command line of the package does, for everybody
    from seq2att.errors import UserError

    with tempfile.TemporaryDirectory(prefix="seq2att-benchmarks-") as folder:
        try:
            return run(options, shlex.join(["python", "-m", "benchmarks", *(arguments or sys.argv[1:])]), folder)
        except UserError as error:
            print(f"benchmarks: {error}", file=sys.stderr)
            return 2


def settings_of(options: argparse.Namespace, folder: str) -> Settings:
    """The options as settings."""
    import torch

    from seq2att.errors import UserError

    peers = []
    for peer in options.peer:
        name, separator, python = peer.partition("=")
        if not separator:
            raise UserError("E-syntax", f"--peer {peer}", "is not NAME=PYTHON", "write it as in keras=venv/bin/python")
        peers.append((name, python))
    if options.data is not None and not (Path(options.data) / "train.de").is_file():
        raise UserError("E-file", f"--data {options.data}", "has no train.de", "name the folder of Multi30k")
    if options.device != "cpu" and not (options.device.startswith("cuda") and torch.cuda.is_available()):
        raise UserError(
            "E-device", f"--device {options.device}", "is not available here", "use cpu, or cuda where there is a GPU"
        )
    if options.cpu_time and (options.threads > 1 or options.device != "cpu"):
        raise UserError(
            "E-conflict", "--cpu-time", "counts the seconds of all threads together", "leave out --threads and --device"
        )
    if options.model is not None and options.data is None:
        raise UserError(
            "E-missing", "--model", "needs sentences to translate", "add --data DIR, the folder of Multi30k"
        )
    if options.json is not None and not Path(options.json).absolute().parent.is_dir():
        raise UserError("E-file", f"--json {options.json}", "is in no folder that exists", "name another file")
    if options.threads < 1:
        raise UserError("E-size", f"--threads {options.threads}", "must be at least 1")
    found = Settings(
        folder,
        batch=options.batch or 64,
        threads=options.threads,
        device=options.device,
        seed=options.seed,
        data=options.data,
        model=options.model,
        seconds=options.seconds / 4 if options.quick else options.seconds,
        memory=not (options.no_memory or options.quick),
        cpu_time=options.cpu_time,
        peers=tuple(peers),
    )
    return found._replace(sizes=TINY, batch=options.batch or 4, rounds=(1, 1)) if options.tiny else found


def run(options: argparse.Namespace, command: str, folder: str) -> int:
    """Measure the rows that are asked for, then print the report; Ctrl-C prints what there is."""
    import torch

    from benchmarks import growth, machine, rows

    settings = settings_of(options, folder)
    names = [*rows.ROWS, "threads", *growth.GROWTH]
    if options.list:
        print("\n".join(names))
        return 0
    chosen = rows.chosen(["growth-*"] if options.growth else options.rows.split(","), names)
    torch.set_num_threads(settings.threads)
    torch.set_flush_denormal(True)
    began, found = time.monotonic(), Found(machine.peak(settings))
    try:
        for batched in [settings] if options.batch or settings.device == "cpu" else batches(settings):
            for name in chosen:
                say(f"{name} ...")
                if options.profile:
                    print(profile_row(name, batched), flush=True)
                else:
                    measure(name, batched, options, found)
                    found.peak = found.peak.joined(machine.peak(batched, 2))
    except KeyboardInterrupt:
        say("interrupted; this is what there is")
    if not options.profile:
        conclude(options, settings, command, found)
    say(f"{time.monotonic() - began:.0f} seconds")
    return 0


class Found:
    """What a run has measured so far."""

    def __init__(self, peak: Peak) -> None:
        self.peak = peak
        self.rows: list[tuple[Row, list[Result], str]] = []
        self.tables: list[Section] = []  # of growth and threads


def measure(name: str, settings: Settings, options: argparse.Namespace, found: Found) -> None:
    """One row, added to what was found."""
    from benchmarks import growth, rows, threads

    if name in rows.ROWS:
        row, results, check = measure_row(name, settings, options.only.split(","))
        found.rows.append((row, results, check))
        for result in results:
            say(f"  {result.name}: {result.why or f'{result.rate:,.0f} {row.unit}, ratio {result.ratio:.2f}'}")
    else:
        table = threads.measure(settings) if name == "threads" else growth.GROWTH[name](settings, options.quick)
        found.tables.append(table)
        say(table.markdown())


def conclude(options: argparse.Namespace, settings: Settings, command: str, found: Found) -> None:
    """Print the report, and write the JSON file if one is asked for."""
    from benchmarks import machine, report

    described, copy = machine.describe(settings), machine.copy_bandwidth(settings)
    data = f"sentences of {Path(settings.data).name}" if settings.data else "made-up sentences with Multi30k's lengths"
    print(report.header(described, command, settings.seed, data, found.peak, copy))
    print(report.summary([(row, results) for row, results, _ in found.rows], found.peak))
    sections = [report.section(*row, found.peak) for row in found.rows] + found.tables
    print("\n".join(section.markdown() for section in sections), flush=True)
    if options.json:
        whole = {"machine": described, "command": command, "seed": settings.seed, "copy": copy}
        parts = [{"name": one.name, "title": one.title, "note": one.note, "values": one.values} for one in sections]
        text = json.dumps({**whole, "peak": found.peak._asdict(), "sections": parts}, indent=1)
        Path(options.json).write_text(text + "\n", "utf-8")


def batches(settings: Settings) -> list[Settings]:
    """On a GPU a batch of 64 leaves most of it idle, so both are measured."""
    return [settings, settings._replace(batch=1024)]


def measure_row(name: str, settings: Settings, only: Sequence[str]) -> tuple[Row, list[Result], str]:
    """A row's figures, after its check, with the memory of every contender."""
    import fnmatch

    from benchmarks import machine, rows, timing
    from seq2att.errors import UserError

    row = rows.ROWS[name](settings)
    kept = [one for one in row.contenders if any(fnmatch.fnmatch(one.name, pattern) for pattern in only)]
    if not kept:
        raise UserError(
            "E-choice",
            f"--only {','.join(only)}",
            f"matches no contender of {name}",
            f"known: {'; '.join(one.name for one in row.contenders)}",
        )
    row = row._replace(contenders=kept)
    check = row.check()
    results = timing.summarize(row, timing.measure(row, settings))
    if settings.memory and settings.device == "cpu":
        for place, one in enumerate(row.contenders):
            if not (results[place].why or results[place].memory):
                _, memory = machine.apart(rows.work_once, name, one.name, settings)
                results[place] = results[place]._replace(memory=memory)
    return row, results, check


def profile_row(name: str, settings: Settings) -> str:
    """The profile of a row; nothing where it is a table of growth or threads."""
    from benchmarks import profiling, rows

    return profiling.table(rows.ROWS[name](settings), settings) if name in rows.ROWS else ""


def say(message: str) -> None:
    """Tell the one who waits."""
    print(message, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
