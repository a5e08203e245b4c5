"""`seq2att train`: a recipe and overrides become a trained model in a run folder."""

from __future__ import annotations

import argparse
import json
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
    parser.add_argument("overrides", metavar="key=value", nargs="*", help="settings in place of the recipe's")
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
        sweep(recipe, overrides, measure)
    else:
        start(compose(recipe, overrides))


def start(config: dict[str, Any]) -> Path:
    """Train what a configuration describes, and give the run folder; only now Lightning is loaded."""
    from seq2att import launch

    return launch.run(config)


def measure(config: dict[str, Any]) -> float:
    """Train, and give the figure that the best model was kept by: what a sweeper such as Optuna looks at."""
    figures = json.loads((start(config) / "metrics.json").read_text("utf-8"))
    return float(figures["validation"][figures["best_by"]])


def print_config(config: dict[str, Any]) -> None:
    """Print a configuration as YAML."""
    from omegaconf import OmegaConf

    print(OmegaConf.to_yaml(OmegaConf.create(config)), end="")
