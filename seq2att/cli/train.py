"""`seq2att train`: a recipe and overrides become a trained model in a run folder."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

EXAMPLES = """examples:
  seq2att train reverse
  seq2att train reverse encoder=lstm encoder.size=64 run=runs/lstm
  seq2att train reverse --multirun attention=none,dot,additive
  seq2att train reverse --cfg job

RECIPE is one of ours (seq2att list recipe), a YAML file, or a run folder, to train anew as it was trained.
Components and their options: seq2att list."""


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "train",
        help="train a model by a recipe",
        description="Train a model by a recipe, with overrides as key=value.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("recipe", metavar="RECIPE", help="a recipe's name or YAML file")
    parser.add_argument(
        "overrides", metavar="key=value", nargs="*", default=[], help="settings in place of the recipe's"
    )
    parser.add_argument(
        "--multirun", "-m", action="store_true", help="train for every value of a=x,y, each in a folder"
    )
    parser.add_argument(
        "--cfg", choices=("job", "hydra", "all"), help="print the configuration (job: ours) and do not train"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Train, sweep, or print the configuration."""
    from seq2att.config import compose, sweep

    recipe, overrides = arguments.recipe, [*arguments.plugins, *arguments.overrides]
    if arguments.cfg == "job":
        print_config(compose(recipe, [one for one in overrides if not one.startswith("hydra.mode=")]))
    elif arguments.cfg:
        sweep(recipe, overrides, measure, flags=("--cfg", arguments.cfg))
    elif arguments.multirun or "hydra.mode=MULTIRUN" in overrides:
        run_all(recipe, overrides)
    else:
        start(compose(recipe, overrides))


def start(config: dict[str, Any]) -> Path:
    """Train what a configuration describes, and give the run folder; only now Lightning is loaded."""
    from seq2att import launch

    return launch.run(config)


def run_all(recipe: str, overrides: list[str]) -> None:
    """Train every job of a sweep, and show what came of those that finished, also when one of them fails."""
    from seq2att.config import sweep

    done: list[dict[str, Any]] = []

    def job(config: dict[str, Any]) -> float:
        """One job of the sweep."""
        figure = measure(config)
        done.append(config)
        return figure

    try:
        sweep(recipe, overrides, job)
    finally:
        if done and os.environ.get("RANK", "0") == "0":  # under torchrun every process comes here
            print("\n".join(table(done)))


def measure(config: dict[str, Any]) -> float:
    """Train, and give the figure that the best model was kept by: what a sweeper such as Optuna looks at.

    What was trained before with the same settings is not trained again.
    """
    from seq2att.trainer.folder import finished

    if finished(config):
        print(f"{config['run']}: finished before with the same settings; not trained again")
    else:
        start(config)
    figures = results(config)
    return float(figures["validation"][figures["best_by"]])


def results(config: dict[str, Any]) -> dict[str, Any]:
    """What is known of a finished run."""
    figures: dict[str, Any] = json.loads((Path(config["run"]) / "metrics.json").read_text("utf-8"))
    return figures


def table(jobs: list[dict[str, Any]]) -> list[str]:
    """The finished jobs of a sweep as lines, the best one first: epoch of the best model, its figures, what was set."""
    from seq2att import registry

    found = {Path(config["run"]).name: results(config) for config in jobs}
    by = next(iter(found.values()))["best_by"]
    is_metric = by in registry.entries("metric")  # else the loss, or what a head tells of it: less is better
    higher = is_metric and registry.build_listed("metric", jobs[0], by).higher_is_better
    figures = {name: found[name]["validation"] for name in found}
    order = sorted(found, key=lambda name: (by not in figures[name], figures[name].get(by, 0) * (-1 if higher else 1)))
    names = list(dict.fromkeys(name for values in figures.values() for name in values))
    rows = [["epoch", *names, f"best by {by}"]]
    for job in order:
        values = [found[job].get("epoch"), *(figures[job].get(name) for name in names)]
        rows.append([*("" if value is None else f"{value:.4g}" for value in values), different(job, order)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join([*map(str.rjust, row[:-1], widths), row[-1]]) for row in rows]


def different(name: str, names: list[str]) -> str:
    """What sets the name of a job apart from the others'."""
    common = set.intersection(*(set(other.split(",")) for other in names))
    return ",".join(part for part in name.split(",") if part not in common) or name


def print_config(config: dict[str, Any]) -> None:
    """Print a configuration as YAML."""
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(OmegaConf.create(config)), end="")
