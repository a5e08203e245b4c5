"""`seq2att train`: a recipe and overrides become a trained model in a run folder."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from seq2att.cli.model import Commands, add_parser
from seq2att.errors import UserError
from seq2att.files.untrusted import read_figures

EXAMPLES = """examples:
  seq2att train reverse
  seq2att train reverse encoder=lstm encoder.size=64 run=runs/lstm
  seq2att train reverse --multirun attention=none,dot,additive
  seq2att train reverse --info
  seq2att train reverse --cfg job

RECIPE is one of ours (seq2att list recipe), a YAML file, a run folder, to train anew as it was trained, or `config`,
the defaults that every recipe starts from, as in seq2att train config reader.train=pairs.tsv.
Components and their options: seq2att list."""
MAX_WIDTH = 50  # of a setting, beside which its place stands in a column
COSTS = ("seconds", "parameters")  # of a run, in the table of a sweep


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = add_parser(commands, "train", "train a model by a recipe, with overrides as key=value", EXAMPLES)
    add = parser.add_argument
    add("recipe", metavar="RECIPE", nargs="?", help="a recipe's name or YAML file")
    add("overrides", metavar="key=value", nargs="*", default=[], help="settings in place of the recipe's")
    add("--multirun", "-m", action="store_true", help="train for every value of a=x,y, each in a folder")
    add("--trust-data", action="store_true", help="use the files that a RUN of somebody else names")
    add("--info", action="store_true", help="print components and settings with the file that set each; do not train")
    add("--cfg", choices=("job", "hydra", "all"), help="print the configuration (job: ours) and do not train")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train, sweep, or print the configuration."""
    from seq2att.config import compose, sweep

    recipe, overrides = arguments.recipe, [*arguments.plugins, *arguments.overrides]
    if recipe is None or "=" in recipe:
        remedy = "give one, as in seq2att train reverse; seq2att list recipe shows them all"
        raise UserError("E-missing", "RECIPE", "train needs a recipe", remedy)
    for word in (recipe, *overrides):
        if not is_utf8(word):  # the configuration that is saved could not hold it
            raise UserError("E-encoding", word, "is not UTF-8", "give a name in UTF-8")
    if arguments.info:
        print_info(recipe, overrides)
    elif arguments.cfg == "job":
        print_config(compose(recipe, [one for one in overrides if not one.startswith("hydra.mode=")]))
    elif arguments.cfg:
        sweep(recipe, overrides, partial(measure, command=arguments.words), flags=("--cfg", arguments.cfg))
    elif arguments.multirun or "hydra.mode=MULTIRUN" in overrides:
        run_all(recipe, overrides, arguments.trust_data, arguments.words)
    else:
        config = compose(recipe, overrides)
        check_trust(recipe, config, arguments.trust_data)
        start(config, arguments.words)


def is_utf8(word: str) -> bool:
    """Whether an argument was given in UTF-8; Python escapes other bytes."""
    return word.encode("utf-8", "replace") == word.encode("utf-8", "surrogatepass")


def check_trust(recipe: str, config: dict[str, Any], trust_data: bool) -> None:
    """Refuse to use the files that the settings of somebody else's run name, unless the user trusts them."""
    from seq2att.bundle.owner import check_training

    if not trust_data:
        check_training(recipe, config)


def start(config: dict[str, Any], command: Sequence[str] = ()) -> Path:
    """Train what a configuration describes; returns the run folder."""
    from seq2att import launch

    return launch.run(config, command=command)


def run_all(recipe: str, overrides: list[str], trust_data: bool, command: Sequence[str] = ()) -> None:
    """Train every job of a sweep, and show the results of those that finished, also when one of them fails."""
    from seq2att.config import sweep
    from seq2att.trainer.dry_run import check_run

    done: list[dict[str, Any]] = []

    def job(config: dict[str, Any]) -> float:
        """One job of the sweep."""
        check_trust(recipe, config, trust_data)
        value = measure(config, command)
        done.append(config)
        return value

    try:
        sweep(recipe, overrides, job, check=check_run)
    finally:
        if done and os.environ.get("RANK", "0") == "0":  # under torchrun every process comes here
            print("\n".join(table(done)))


def measure(config: dict[str, Any], command: Sequence[str] = ()) -> float:
    """Train; returns the loss or metric that chose the best model, which a sweeper such as Optuna optimizes.

    A run that finished before with the same settings is not trained again.
    """
    from seq2att.trainer.folder import finished

    if finished(config):
        print(f"{config['run']}: finished before with the same settings; not trained again")
    else:
        start(config, command)
    metrics = results(config)
    return figures_of(metrics)[metrics["best_by"]]


def results(config: dict[str, Any]) -> dict[str, Any]:
    """The metrics of a finished run."""
    return read_figures(Path(config["run"]) / "metrics.json")


def table(jobs: list[dict[str, Any]]) -> list[str]:
    """The finished jobs of a sweep as lines, the best one first: epoch of the best model, metrics, cost, overrides."""
    from seq2att import registry

    finished = {Path(config["run"]).name: results(config) for config in jobs}
    by = next(iter(finished.values()))["best_by"]
    is_metric = by in registry.entries("metric")  # else a loss: less is better
    sign = -1 if is_metric and registry.build_listed("metric", jobs[0], by).higher_is_better else 1
    metrics = {job: figures_of(finished[job]) for job in finished}
    order = sorted(finished, key=lambda job: (by not in metrics[job], sign * metrics[job].get(by, 0)))
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    costs = {Path(config["run"]).name: cost(config, finished[Path(config["run"]).name]) for config in jobs}
    shown = [name for name in COSTS if any(name in of_job for of_job in costs.values())]
    rows = [["epoch", *names, *shown, f"best by {by}"]]
    for job in order:
        values = [finished[job].get("epoch"), *(metrics[job].get(name) for name in names)]
        cells = ["" if value is None else f"{value:.4g}" for value in values]
        cells += [f"{costs[job][name]:,.0f}" if name in costs[job] else "" for name in shown]
        rows.append([*cells, distinctive_part(job, order)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([*map(str.rjust, row[:-1], widths), row[-1]]) for row in rows]


def figures_of(metrics: dict[str, Any]) -> dict[str, float]:
    """What the validation of a finished run measured; its loss in training if it had no validation rows."""
    return metrics["validation"] or {"train_loss": metrics["train_loss"]}


def cost(config: dict[str, Any], figures: dict[str, Any]) -> dict[str, float]:
    """The seconds that a finished run took, by its table of validations, and its trainable parameters."""
    from seq2att.drawing.learning import read_table

    found = {"parameters": figures["parameters"]} if "parameters" in figures else {}
    path = Path(config["run"]) / "metrics.csv"
    columns = read_table(path).columns if path.is_file() else {}
    return {"seconds": float(columns["seconds"][-1]), **found} if "seconds" in columns else found


def distinctive_part(name: str, names: list[str]) -> str:
    """The overrides in the name of a job that not all jobs have."""
    common = set.intersection(*(set(other.split(",")) for other in names))
    return ",".join(part for part in name.split(",") if part not in common) or name


def print_info(recipe: str, overrides: Sequence[str]) -> None:
    """Print the components and the settings that were made, as a shell takes them, each with its place."""
    from seq2att.config import describe_settings

    lines = [(shlex.quote(setting), place) for setting, place in describe_settings(recipe, overrides)]
    width = max(min(len(setting), MAX_WIDTH) for setting, _ in lines)
    for setting, place in lines:
        print(f"{setting:{width}}  {place}")


def print_config(config: dict[str, Any]) -> None:
    """Print a configuration as YAML."""
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(OmegaConf.create(config)), end="")
