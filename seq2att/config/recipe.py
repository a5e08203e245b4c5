"""Recipes: a defaults list that chooses components, and values that tune them."""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from seq2att.config.options import ConfigError
from seq2att.config.saved import CONFIG, read_saved
from seq2att.errors import UserError
from seq2att.registry import suggestion
from seq2att.registry.value import shorten_value

OF_RUNS = (
    "manifest.json",
    "model.safetensors",
    "checkpoints",
    "metrics.csv",
)  # in the folder of a run, with its settings
BASE = "config"  # the start of every defaults list: conf/config.yaml


class Layer(NamedTuple):
    """One source of settings: a file of a recipe, or the command line."""

    origin: str  # the file as messages name it; empty for the command line
    choices: dict[str, str]  # slot -> component
    values: dict[str, Any]
    hydra: list[dict[str, Any]]  # entries of the defaults list that are Hydra's own
    is_saved: bool = False  # the record of a run, which someone else may have written: it imports no plugin


class Recipe(NamedTuple):
    """A recipe with the recipes that it starts from, the most general first."""

    name: str
    files: tuple[Path, ...]
    layers: tuple[Layer, ...]


def folder(name: str) -> Path:
    """The folder `conf` or `recipes`: inside an installed package, or next to the package of a checkout."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / name, package.parent / name):
        if place.is_dir():
            return place
    raise UserError("E-file", f"{name}/", f"the folder is missing next to {package}", "install seq2att again")


def recipes() -> dict[str, Path]:
    """The recipes that come with seq2att, by name."""
    return {file.stem: file for file in sorted(folder("recipes").glob("*.yaml"))}


@functools.cache
def base_layer() -> Layer:
    """What every recipe starts from: conf/config.yaml."""
    return read_layer(folder("conf") / f"{BASE}.yaml")[0]


@functools.cache
def presets() -> dict[str, dict[str, Any]]:
    """The settings of every file in conf/trainer, by name."""
    return {file.stem: read_yaml(file) for file in sorted((folder("conf") / "trainer").glob("*.yaml"))}


def read_recipe(recipe: str) -> Recipe:
    """The recipe of a name or path with all that it starts from; an error names the file and the line."""
    files: list[Path] = []
    layers: list[Layer] = []
    name, file = recipe, cast("Path | None", find(recipe, Path.cwd()))
    while file is not None:
        if is_saved(file, name):
            files.insert(0, file)
            layers.insert(0, saved_layer(file))
            break
        if file.resolve() in [other.resolve() for other in files]:
            raise ConfigError("E-recipe", show(file), "the recipe starts from itself", "correct its defaults list")
        layer, base = read_layer(file)
        files.insert(0, file)
        layers.insert(0, layer)
        name, file = base or "", find(base, file.parent) if base else None
    return Recipe(str(layers[-1].values.get("recipe", files[-1].stem)), tuple(files), tuple(layers))


def find(recipe: str, parent: Path) -> Path:
    """The file of a recipe: one of ours by name, `config` for the defaults of all, or a path from a folder.

    A run folder is the recipe that it was made by.
    """
    ours = recipes()
    if recipe in ours:
        return ours[recipe]
    if recipe == BASE:
        return folder("conf") / f"{BASE}.yaml"
    for path in (parent / recipe, parent / f"{recipe}.yaml", parent / recipe / "config.yaml"):
        if path.is_file():
            return path
    if recipe.endswith((".yaml", ".yml")):
        raise ConfigError("E-recipe", recipe, f"there is no such file in {parent}", "correct the path of the recipe")
    remedy = f"{suggestion(recipe, ours)}; for a recipe of your own give the path of its file, as in my.yaml"
    raise ConfigError("E-recipe", recipe, "there is no such recipe", remedy)


def saved_folders(recipe: str) -> list[Path]:
    """The run folders and bundles that a recipe stands for or starts from."""
    source = read_recipe(recipe)
    return [file.parent for file, layer in zip(source.files, source.layers, strict=True) if layer.is_saved]


def is_saved(file: Path, name: str) -> bool:
    """Whether the file that a name stands for holds the settings of a run folder or a bundle, and is no recipe."""
    is_named = Path(name).with_suffix("").name == Path(CONFIG).stem  # else the name is that of its folder
    return file.name == CONFIG and (not is_named or any((file.parent / other).exists() for other in OF_RUNS))


def saved_layer(file: Path) -> Layer:
    """The settings of a run folder or a bundle as a recipe: what replaces another run is left out."""
    values = read_saved(file).values
    values.pop("overwrite", None)
    return Layer(show(file), {}, values, [], is_saved=True)


def read_layer(file: Path) -> tuple[Layer, str | None]:
    """One file of a recipe, and the name of the recipe that it starts from, if any."""
    values, origin = read_yaml(file), show(file)
    defaults = values.pop("defaults", [])
    if not isinstance(defaults, list):
        raise ConfigError(
            "E-recipe", f"{origin}: defaults", "must be a list", "write `defaults:`, below it `  - config`"
        )
    layer, bases = Layer(origin, {}, values, []), []
    problems: list[UserError] = []
    for item in defaults:
        if isinstance(item, str) and item not in ("_self_", BASE):
            bases.append(item)
        elif isinstance(item, Mapping) and len(item) == 1:
            problems += choose(layer, *next(iter(item.items())))
        elif not isinstance(item, str):
            subject, remedy = f"{origin}: defaults: {shorten_value(item)}", "write `- override encoder: gru`"
            problems.append(ConfigError("E-recipe", subject, "chooses no component", remedy))
    if len(bases) > 1:
        problem = f"a recipe starts from one other, not from {' and '.join(bases)}"
        problems.append(ConfigError("E-recipe", f"{origin}: defaults", problem, "keep one of them"))
    if problems:
        raise ConfigError.of(problems)
    return layer, bases[0] if bases else None


def choose(layer: Layer, key: Any, option: Any) -> list[UserError]:
    """Add one choice of a defaults list (`override encoder: gru`) to a layer; returns what is wrong with it."""
    slot = str(key).removeprefix("override ").strip().removeprefix("/")
    if slot.startswith("hydra/"):
        layer.hydra.append({key: option})
    elif "@" in slot or slot.startswith("optional ") or not isinstance(option, str):
        subject = f"{layer.origin}: defaults: {key}: {shorten_value(option)}"
        return [ConfigError("E-recipe", subject, "chooses no component", f"write `- override {slot}: NAME`")]
    else:
        layer.choices[slot] = option
    return []


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file; an error names the line."""
    from omegaconf import OmegaConf
    from yaml import MarkedYAMLError, YAMLError

    try:
        content = file.read_bytes()
        config = OmegaConf.load(io.StringIO(content.decode("utf-8-sig")))
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError("E-syntax", f"{show(file)}{line}", f"not valid YAML: {error.problem}") from error
    except UnicodeDecodeError as error:
        number = content[: error.start].count(b"\n") + 1
        raise ConfigError("E-encoding", f"{show(file)}:{number}", "not UTF-8 text", "save the file as UTF-8") from error
    except (YAMLError, OSError) as error:
        raise ConfigError("E-file", show(file), f"cannot be read ({error})") from error
    values = OmegaConf.to_container(config, resolve=False)
    if not isinstance(values, dict):
        raise ConfigError("E-recipe", show(file), "must be a mapping, as in `seed: 1`, not a list")
    return {str(key): value for key, value in values.items()}


def show(file: Path) -> str:
    """A file as a message names it: from the current folder where it is below it."""
    path = file.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(file)
