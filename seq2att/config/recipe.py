"""Recipes: a defaults list that picks components, and values that tune what it picks."""

from __future__ import annotations

import difflib
import functools
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seq2att.config.options import ConfigError
from seq2att.errors import UserError
from seq2att.registry import suggestion

NEWLINE = b"\n"
BASE = "config"  # the start of every defaults list: conf/config.yaml


class Layer(NamedTuple):
    """One file of a recipe: what it picks, and what it says."""

    file: Path
    choices: dict[str, str]  # slot -> component, from the defaults list
    hydra: list[dict[str, Any]]  # entries of the defaults list that are Hydra's own
    values: dict[str, Any]


class Recipe(NamedTuple):
    """A recipe with the recipes that it starts from, the most general first."""

    name: str
    layers: tuple[Layer, ...]


def folder(name: str) -> Path:
    """The folder `conf` or `recipes`: inside an installed package, else beside the package of a checkout."""
    package = Path(__file__).resolve().parent.parent
    for place in (package / name, package.parent / name):
        if place.is_dir():
            return place
    raise UserError(f"the folder {name}/ is missing beside {package}; install seq2att again")


def recipes() -> dict[str, Path]:
    """The recipes that come with seq2att, by name."""
    return {file.stem: file for file in sorted(folder("recipes").glob("*.yaml"))}


@functools.cache
def base_layer() -> Layer:
    """What every recipe starts from: conf/config.yaml."""
    return read_layer(folder("conf") / f"{BASE}.yaml")[0]


def read_recipe(recipe: str) -> Recipe:
    """The recipe of a name or path with all that it starts from; ConfigError names the file and the line."""
    layers: list[Layer] = []
    file: Path | None = find(recipe, Path.cwd())
    while file is not None:
        if file.resolve() in (layer.file.resolve() for layer in layers):
            raise ConfigError([f"{show(file)}: the recipe starts from itself; mend its defaults list"])
        layer, base = read_layer(file)
        layers.append(layer)
        file = find(base, file.parent) if base else None
    name = layers[0].values.get("recipe", layers[0].file.stem)
    return Recipe(str(name), tuple(reversed(layers)))


def find(recipe: str, beside: Path) -> Path:
    """The file of a recipe: one of ours by name, or a path from a folder; a run folder is the recipe it was made by."""
    ours = recipes()
    if recipe in ours:
        return ours[recipe]
    for path in (beside / recipe, beside / f"{recipe}.yaml", beside / recipe / "config.yaml"):
        if path.is_file():
            return path
    if "/" in recipe or recipe.endswith((".yaml", ".yml")):
        raise ConfigError(
            [f"there is no recipe file {recipe}; give the path of a YAML file, or one of {', '.join(ours)}"]
        )
    wrong = f"there is no recipe {recipe!r}; {suggestion(recipe, ours)}"
    raise ConfigError([f"{wrong}; a recipe of your own is named by its path, as in my.yaml"])


def read_layer(file: Path) -> tuple[Layer, str | None]:
    """One file of a recipe, and the name of the recipe that it starts from, if any."""
    values = read_yaml(file)
    values.pop("format", None)  # what a bundle says of itself
    defaults = values.pop("defaults", [])
    if not isinstance(defaults, list):
        raise ConfigError([f"{show(file)}: defaults is no list; write `defaults:` and below it `  - config`"])
    layer, bases, problems = Layer(file, {}, [], values), [], []
    for item in defaults:
        if isinstance(item, str) and item not in ("_self_", BASE):
            bases.append(item)
        elif isinstance(item, Mapping) and len(item) == 1:
            problems += pick(layer, *next(iter(item.items())))
        elif not isinstance(item, str):
            problems.append(f"{show(file)}: defaults: {item!r} is no choice; write `- override encoder: gru`")
    if len(bases) > 1:
        problems.append(f"{show(file)}: defaults: a recipe starts from one other, not from {' and '.join(bases)}")
    if problems:
        raise ConfigError(problems)
    return layer, bases[0] if bases else None


def pick(layer: Layer, key: Any, option: Any) -> list[str]:
    """Note one choice of a defaults list (`override encoder: gru`); what is wrong with it."""
    slot = str(key).removeprefix("override ").strip().removeprefix("/")
    if slot.startswith("hydra/"):
        layer.hydra.append({key: option})
    elif "@" in slot or slot.startswith("optional ") or not isinstance(option, str):
        return [
            f"{show(layer.file)}: defaults: `{key}: {show_value(option)}` is no choice; write `- override {slot}: NAME`"
        ]
    else:
        layer.choices[slot] = option
    return []


def read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a YAML file; ConfigError names the line where it is none."""
    from omegaconf import OmegaConf
    from yaml import MarkedYAMLError, YAMLError

    try:
        content = file.read_bytes()
        config = OmegaConf.load(io.StringIO(content.decode("utf-8-sig")))
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError([f"{show(file)}{line}: no YAML: {error.problem}; mend the line"]) from error
    except UnicodeDecodeError as error:
        place = f"{show(file)}:{content.count(NEWLINE, 0, error.start) + 1}"
        raise ConfigError([f"{place}: no UTF-8; save the file as UTF-8"]) from error
    except (YAMLError, OSError) as error:
        raise ConfigError([f"{show(file)}: cannot be read: {error}"]) from error
    values = OmegaConf.to_container(config, resolve=False)
    if not isinstance(values, dict):
        raise ConfigError([f"{show(file)}: a recipe is a mapping, as in `seed: 1`, not a list"])
    return {str(key): value for key, value in values.items()}


def show(file: Path) -> str:
    """A file as a message names it: from the folder where we are, when it is below."""
    path = file.resolve()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(file)


def show_value(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(show_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {show_value(item)}' for key, item in value.items())}}}"
    return str(value) if str(value).strip() else repr(value)


def nearest(name: str, names: list[str]) -> str:
    """The end of a message about a wrong name whose alternatives are too many to list."""
    close = difflib.get_close_matches(name, names, 1)
    return f"; did you mean {close[0]!r}?" if close else ""
