"""The record of a run, `record.json`: what it takes to run it again, and how to tell why the numbers differ.

Each start of the run adds an entry; the first one holds everything, the others what changed. It names no user, no host
and no environment variable. The folder of a run holds it, a bundle that is published does not need it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from seq2att.errors import UserError
from seq2att.files import find_file, write_file
from seq2att.files.description import describe_file, without_home
from seq2att.files.untrusted import parse_json, read_regular
from seq2att.reader import Reader
from seq2att.registry import shipped
from seq2att.trainer.checks import gpus
from seq2att.trainer.folder import RECORD, Claim, data_root
from seq2att.trainer.machine import environment

FORMAT = 1
MAX_BYTES = 1 << 26  # many data files, many starts


def begin_run(
    config: Mapping[str, Any],
    run: Claim,
    reader: Reader,
    command: Sequence[str],
    num_processes: int,
    callbacks: Sequence[object],
) -> None:
    """Note what this start of a run depends on.

    Args:
        config: the settings; they are in `config.yaml`, and not repeated.
        run: the run folder.
        reader: where the data come from.
        command: the command line, or the call in Python.
        num_processes: how many processes train the model.
        callbacks: callback objects that no setting names.
    """
    data = describe_data(reader, config, data_root(config))
    start = {"data": data, **describe_start(config, command, num_processes, callbacks)}
    begin(run.path, start, is_resumed=run.resume is not None)


def describe_start(
    config: Mapping[str, Any], command: Sequence[str], num_processes: int, callbacks: Sequence[object]
) -> dict[str, Any]:
    """What a start of a run depends on, except its data."""
    device = torch.device("cuda" if gpus(config["trainer"]["accelerator"]) else "cpu")
    return {
        "command": [without_home(str(word)) for word in command],
        "recipe": config["recipe"],
        "settings": "config.yaml",
        "folder": without_home(str(Path.cwd())),
        "seed": config["seed"],
        "processes": num_processes,
        "threads": torch.get_num_threads(),
        "device": device.type,
        "callbacks": [f"{type(one).__module__}.{type(one).__qualname__}" for one in callbacks],
        "plugins": describe_plugins(config["plugins"]),
        **environment(device),
    }


def describe_data(reader: Reader, config: Mapping[str, Any], root: Path | None) -> dict[str, Any]:
    """Where the rows of each split come from, and the pretrained vectors of the fields."""
    data = {split: reader.origin(split, root) for split in reader.splits()}
    for side in ("source", "target"):
        name = config.get(side, {}).get("vectors")
        if isinstance(name, str):
            data[f"{side}.vectors"] = {"files": [describe_file(find_file(f"{side}.vectors", name, root), root)]}
    return data


def describe_plugins(plugins: Sequence[str]) -> dict[str, Any]:
    """The source files of the plugins that the settings name; an installed module has none, but a version."""
    described: dict[str, Any] = {}
    for name in plugins:
        path = shipped(name) or Path(name)
        files = [path] if path.is_file() else sorted(path.rglob("*.py"))
        described[name] = [describe_file(file, path.parent) for file in files]
    return described


def begin(path: Path, start: Mapping[str, Any], is_resumed: bool) -> None:
    """Add a start to the record in a run folder, which is made with the first one."""
    record = read_record(path) if is_resumed else None
    record = record or {"format": FORMAT, "starts": [], "ended": None}
    record["ended"], known = None, last_start(record)
    changes = {key: value for key, value in start.items() if key not in known or known[key] != value}
    record["starts"].append({"time": now(), **changes})
    write(path, record)


def end(path: Path) -> None:
    """Note when the run ended."""
    record = read_record(path)
    if record is not None:
        write(path, {**record, "ended": now()})


def read_record(path: Path) -> dict[str, Any] | None:
    """The record in a run folder; None where there is none. Raises: `E-run` or `E-bundle` for what is no record."""
    file = path / RECORD
    if not os.path.lexists(file):
        return None
    record = parse_json(read_regular(file, MAX_BYTES), f"{file}")
    starts = record.get("starts") if isinstance(record, dict) else None
    if not isinstance(starts, list) or not all(isinstance(start, dict) for start in starts):
        raise UserError("E-run", f"{file}", "is no record of a run", "delete it, and the run cannot be reproduced")
    if record.get("format") != FORMAT:
        problem = f"its format is {str(record.get('format'))[:20]}, this seq2att reads {FORMAT}"
        raise UserError("E-run", f"{file}", problem, "use the seq2att that wrote it")
    return dict(record)


def last_start(record: Mapping[str, Any]) -> dict[str, Any]:
    """What the last start of a run depended on; empty before the first."""
    merged: dict[str, Any] = {}
    for start in record["starts"]:
        merged |= start
    return merged


def write(path: Path, record: Mapping[str, Any]) -> None:
    """Write the record; a crash leaves the one before."""
    write_file(path / RECORD, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
