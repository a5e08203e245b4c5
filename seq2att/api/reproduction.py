"""Reproducing a run: train again as its record says, and compare what came out.

On the same machine, with the same versions, a run on a CPU repeats to the last bit. Elsewhere sums are rounded in
another order, and training enlarges these differences from step to step.
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from seq2att import registry
from seq2att.bundle import open_bundle
from seq2att.bundle.manifest import WEIGHTS
from seq2att.bundle.owner import check_training
from seq2att.bundle.weights import read_header
from seq2att.errors import UserError
from seq2att.files.untrusted import read_figures
from seq2att.trainer.folder import CONFIG, FINISHED, TABLE, data_root
from seq2att.trainer.machine import environment
from seq2att.trainer.record import describe_data, describe_plugins, last_start, read_record

OF_ROW = " of row "  # between a column and the number of a row of `metrics.csv`
TIMES = ("tokens_per_second", "seconds")  # columns that no run repeats
COMPARED = ("versions", "system", "processor", "kernel", "git", "plugins", "processes", "threads", "device")
TOLERANCE = 0.05
"""The largest relative difference of the figure that chose the weights that counts as rounding, where machines differ.

Weights are no measure there: those that the loss does not depend on follow the rounding alone.
"""


class Comparison(NamedTuple):
    """How the values of one file differ between two runs."""

    num_values: int
    num_different: int
    largest: float  # relative difference; infinite where values are missing or not comparable
    place: str  # of the largest


class Reproduction(NamedTuple):
    """What came of reproducing a run.

    `files` compares the weights, the table of validations and the final figures; `environment` holds what differs
    between the machines, by name: then and now.
    """

    run: Path
    folder: Path
    files: dict[str, Comparison]
    difference: float  # of the figure that chose the weights, relative to its value
    environment: dict[str, tuple[Any, Any]]
    is_repeatable: bool  # whether the same machine gives the same bits

    @property
    def is_identical(self) -> bool:
        """Whether weights and figures are equal to the last bit."""
        return all(comparison.num_different == 0 for comparison in self.files.values())

    @property
    def is_reproduced(self) -> bool:
        """Whether the results are identical; where the machines differ, whether the figure is equal to rounding."""
        is_exact = not self.environment and self.is_repeatable
        return self.is_identical or (not is_exact and self.difference <= TOLERANCE)

    def to_json(self) -> dict[str, Any]:
        """The result in the types of JSON; an infinite difference is null."""
        files = {name: {**one._asdict(), "largest": finite(one.largest)} for name, one in self.files.items()}
        return {
            "run": str(self.run),
            "folder": str(self.folder),
            "reproduced": self.is_reproduced,
            "identical": self.is_identical,
            "difference": finite(self.difference),
            "tolerance": TOLERANCE,
            "files": files,
            "environment": {name: {"then": then, "now": now} for name, (then, now) in self.environment.items()},
        }


def reproduce(
    run: str | Path,
    into: str | Path | None = None,
    *,
    root: str | None = None,
    plugins: Iterable[str] = (),
    trust_data: bool = False,
    say: Callable[[str], None] = print,
    warn: Callable[[str], None] = print,
) -> Reproduction:
    """Train a finished run again in a fresh folder, and compare weights and figures.

    Args:
        run: the run folder.
        into: the new folder; None: `NAME-reproduced` in the parent folder of the run.
        root: where relative paths of the data start, in place of `data.root`.
        plugins: files, folders or modules to import in addition to those that the run names.
        trust_data: whether to use the files that the settings name where the run is that of someone else.
        say: receives the lines of the training.
        warn: receives what differs here from the machine of the run.

    Raises:
        UserError: the run is not finished or has no record, the folder is in use, or the data have changed.
    """
    from seq2att.config import compose
    from seq2att.launch import run as train

    run = Path(run)
    then = read_start(run)
    folder = Path(into) if into is not None else run.parent / f"{run.resolve().name}-reproduced"
    if (folder / FINISHED).is_file():
        raise UserError("E-run", f"{folder}", "holds a finished run", "delete it, or choose another by --into FOLDER")
    config = compose(str(run.resolve()), changed_settings(folder, root, list(plugins)))
    if not trust_data:
        check_training(str(run.resolve()), config)
    repeat_processes(config["trainer"], then)
    check_data(then["data"], config)
    for line in warnings(config, then):
        warn(line)
    train(config, say=say, command=["seq2att", "reproduce", str(run)])
    now = last_start(read_record(folder) or {"starts": []})
    is_repeatable = then["device"] == "cpu" or bool(config["trainer"]["deterministic"])
    difference = value_difference(*(chosen_figure(path) for path in (run, folder)))
    return Reproduction(run, folder, compare(run, folder), difference, dict(changes(then, now)), is_repeatable)


def changed_settings(folder: Path, root: str | None, plugins: list[str]) -> list[str]:
    """The settings of a reproduction that are not those of the run."""
    overrides = [f"run={folder}", "overwrite=false", "trainer.resume=true"]
    overrides += [f"data.root={root}"] if root is not None else []
    return overrides + ([f"plugins={json.dumps(plugins)}"] if plugins else [])


def read_start(run: Path) -> dict[str, Any]:
    """What the run in a folder depended on; `E-run` unless it is finished and has a record."""
    if not (run / CONFIG).is_file():
        raise UserError("E-run", f"{run}", "holds no run", "name a folder that seq2att train made")
    if not (run / FINISHED).is_file():
        raise UserError("E-run", f"{run}", "is not finished", "finish it by the command that began it")
    read_weights(run)  # whole?
    start = last_start(read_record(run) or {"starts": []})
    missing = [name for name in ("data", "threads", "callbacks", *COMPARED) if name not in start]
    if missing:
        problem = f"its record lacks {', '.join(missing)}" if start else "has no record.json, as runs before 0.2"
        raise UserError("E-run", f"{run}", problem, "train it anew with seq2att train")
    return start


def repeat_processes(options: dict[str, Any], then: Mapping[str, Any]) -> None:
    """Set the threads and processes that the run had, which its settings may leave to the machine."""
    options["threads"] = then["threads"]
    if then["processes"] > 1:
        options["devices"] = then["processes"] // options["num_nodes"]


def check_data(then: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """Raise `E-data` for the first file, or split, that is not what the run read."""
    root = data_root(config)
    reader = registry.build("reader", config)
    reader.check(root)
    now = describe_data(reader, config, root)
    remedy = "restore it, or name the folder of the data as they were by --root DIR"
    for name in {**then, **now}:
        old, new = then.get(name, {}), now.get(name, {})
        old_files, new_files = old.get("files", []), new.get("files", [])
        for one, other in zip(old_files, new_files, strict=False):
            if one["sha256"] != other["sha256"]:
                problem = f"differs from what the run read ({describe(one)}; here {describe(other)})"
                raise UserError("E-data", f"{other['file']}", problem, remedy)
        is_same_commit = old.get("commit") is not None and old.get("commit") == new.get("commit")
        if len(old_files) != len(new_files) or not (is_same_commit or old.get("fingerprint") == new.get("fingerprint")):
            raise UserError("E-data", f"reader.{name}", "the rows are not those that the run read", remedy)


def describe(file: Mapping[str, Any]) -> str:
    """The size and digest of a file, in short."""
    return f"{file['bytes']:,} bytes, sha256 {file['sha256'][:12]}"


def warnings(config: Mapping[str, Any], then: Mapping[str, Any]) -> Iterator[str]:
    """What may keep the run from repeating, known before it starts."""
    device = torch.device("cuda" if then["device"] == "cuda" and torch.cuda.is_available() else "cpu")
    now = {**then, **environment(device), "device": device.type, "plugins": describe_plugins(config["plugins"])}
    for name, (old, new) in changes(then, now):
        yield f"{name} was {old}, here it is {new}"
    for name in then["callbacks"]:
        yield f"the run had a callback object that no setting names ({name}); here it is missing"
    if (minutes := config["trainer"]["max_minutes"]) is not None:
        yield f"trainer.max_minutes={minutes}: the run may have ended by the clock, which does not repeat"


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """What differs between two environments, by name: then and now."""
    old, new = (flatten({name: start.get(name) for name in COMPARED}) for start in (then, now))
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            yield name, (old.get(name), new.get(name))


def chosen_figure(run: Path) -> Any:
    """The figure that chose the weights of a run."""
    figures = final_figures(run / FINISHED)
    return (figures["validation"] or figures)[figures["best_by"]]


def finite(value: float) -> float | None:
    """A number as JSON has it."""
    return value if math.isfinite(value) else None


def flatten(value: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted names."""
    leaves: dict[str, Any] = {}
    for name, item in value.items():
        path = f"{key}.{name}" if key else str(name)
        leaves |= flatten(item, path) if isinstance(item, Mapping) else {path: item}
    return leaves


def compare(run: Path, other: Path) -> dict[str, Comparison]:
    """The weights and figures of two runs, by file."""
    one, two = (read_weights(folder) for folder in (run, other))
    weights = {name: tensor_difference(one.get(name), two.get(name)) for name in {**one, **two}}
    tables = [table_values(folder / TABLE) for folder in (run, other)]
    finals = [flatten(final_figures(folder / FINISHED)) for folder in (run, other)]
    return {WEIGHTS: summarize(weights), TABLE: compare_values(*tables), FINISHED: compare_values(*finals)}


def read_weights(run: Path) -> dict[str, Tensor]:
    """The weights of a run by name."""
    from safetensors.torch import load

    bundle = open_bundle(run)
    content = bundle.read(WEIGHTS, bundle.size(WEIGHTS))
    bundle.check_tensors(read_header(run / WEIGHTS))
    return load(bytes(content))


def tensor_difference(one: Tensor | None, other: Tensor | None) -> float:
    """The largest difference of two tensors relative to their largest value; 0 for equal bits only."""
    if one is None or other is None or one.shape != other.shape or one.dtype != other.dtype:
        return math.inf
    if one.numpy().tobytes() == other.numpy().tobytes():
        return 0.0
    largest = float(torch.maximum(one.abs(), other.abs()).double().max())
    difference = float((one.double() - other.double()).abs().max()) / (largest or 1.0)
    return max(difference, sys.float_info.min) if math.isfinite(difference) else math.inf  # -0.0 is not 0.0


def table_values(path: Path) -> dict[str, Any]:
    """The values of `metrics.csv`, by row and column, without times."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        f"{name}{OF_ROW}{number}": value
        for number, row in enumerate(rows, start=1)
        for name, value in row.items()
        if name not in TIMES
    }


def final_figures(path: Path) -> dict[str, Any]:
    """What `metrics.json` holds, without the versions, which the record compares."""
    return {name: value for name, value in read_figures(path).items() if name != "versions"}


def compare_values(one: Mapping[str, Any], other: Mapping[str, Any]) -> Comparison:
    """How far values of the same name differ; a figure that one version of seq2att does not measure is left out."""
    shared = set(map(figure_of, one)) & set(map(figure_of, other))
    names = [name for name in {**one, **other} if figure_of(name) in shared]
    return summarize({name: value_difference(one.get(name), other.get(name)) for name in names})


def figure_of(name: str) -> str:
    """The figure that a value is of: its column, where it is in a table."""
    return name.partition(OF_ROW)[0]


def value_difference(one: Any, other: Any) -> float:
    """The relative difference of two numbers; infinite for unequal values that are no numbers."""
    if one == other or str(one) == str(other):  # NaN is NaN
        return 0.0
    try:
        old, new = float(one), float(other)
    except (TypeError, ValueError):
        return math.inf
    difference = abs(old - new) / max(abs(old), abs(new))
    return difference if math.isfinite(difference) else math.inf


def summarize(differences: Mapping[str, float]) -> Comparison:
    """The differences by name as one comparison."""
    place = max(differences, key=lambda name: differences[name], default="")
    largest = differences.get(place, 0.0)
    different = sum(difference > 0 for difference in differences.values())
    return Comparison(len(differences), different, largest, place if different else "")
