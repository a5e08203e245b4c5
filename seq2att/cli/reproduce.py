"""`seq2att reproduce`: train a run again from its record, and compare it bit for bit."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from seq2att.cli.model import Commands, add_parser, plugins
from seq2att.cli.text import put, standard_output

if TYPE_CHECKING:
    from seq2att.api.reproduction import Reproduction

EXAMPLES = """examples:
  seq2att reproduce runs/reverse
  seq2att reproduce runs/reverse --into runs/again --json

On the same machine a run on a CPU repeats to the last bit. Elsewhere sums are rounded in another order: there the
figure that chose the weights must be equal to 5 %, and what differs from the machine of the run is named. The exit code
is 0 if the run was reproduced, 1 if not, and 2 if it cannot be tried, as when the data have changed."""
NOT_REPRODUCED = 1


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(
        commands, "reproduce", "train a run again as its record says, and compare the results", EXAMPLES
    )
    parser.add_argument("model", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--into", metavar="FOLDER", help="the new run folder (default: RUN-reproduced)")
    parser.add_argument("--root", metavar="DIR", help="where relative paths of the data start (data.root)")
    parser.add_argument("--trust-data", action="store_true", help="use the files that a RUN of somebody else names")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON, and the training on stderr")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Reproduce the run and print the comparison."""
    from seq2att.api.reproduction import reproduce

    with output_to_stderr() if arguments.json else contextlib.nullcontext():
        result = reproduce(
            arguments.model,
            arguments.into,
            root=arguments.root,
            plugins=plugins(arguments),
            trust_data=arguments.trust_data,
            warn=print_warning,
        )
    if os.environ.get("RANK", "0") == "0":  # under torchrun every process comes here
        text = json.dumps(result.to_json(), ensure_ascii=False, indent=2)
        put(standard_output(), text.splitlines() if arguments.json else report(result))
    return 0 if result.is_reproduced else NOT_REPRODUCED


def print_warning(line: str) -> None:
    """Print a warning on stderr."""
    print(f"seq2att: warning: {line}", file=sys.stderr)


def report(result: Reproduction) -> list[str]:
    """The comparison in lines."""
    verdict = "equal to rounding" if result.is_reproduced else "NOT reproduced"
    lines = [f"{result.run} in {result.folder}: {'identical to the last bit' if result.is_identical else verdict}"]
    for name, one in result.files.items():
        largest = f", by at most {one.largest:.2g} of the value ({one.place})" if one.num_different else ""
        lines.append(f"  {name}: {one.num_different:,} of {one.num_values:,} differ{largest}")
    if not result.is_identical and not result.environment:
        lines.append("  versions, processor and kernels are those of the run")
    lines += [f"  {name}: {then}, here {now}" for name, (then, now) in result.environment.items()]
    return lines


@contextlib.contextmanager
def output_to_stderr() -> Iterator[None]:
    """Send what this process and its children print to stderr."""
    sys.stdout.flush()
    descriptor = sys.stdout.fileno()
    saved = os.dup(descriptor)
    os.dup2(sys.stderr.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        os.dup2(saved, descriptor)
        os.close(saved)
