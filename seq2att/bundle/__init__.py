"""The bundle: the folder that a trained model is saved in and shipped as.

It holds `config.yaml`, `model.safetensors`, the fields' files under `source/` and `target/`, `manifest.json`,
`metrics.json` and a model card. It holds no pickle. Loading imports no plugin but those of seq2att's own recipes, opens
no file that is not in the folder, and checks everything against the manifest and the settings before it uses it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from seq2att import registry
from seq2att.bundle.card import card
from seq2att.bundle.manifest import MANIFEST, SIDES, WEIGHTS, Reader, format_manifest
from seq2att.bundle.owner import sign
from seq2att.bundle.weights import (
    SPARE,
    check_sizes,
    check_tensors,
    num_values,
    read_header,
    read_tensors,
    to_safetensors,
    without_memory,
)
from seq2att.config.loading import check_saved
from seq2att.config.saved import CONFIG, FORMAT
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.files import write_file
from seq2att.files.untrusted import COPY
from seq2att.model import Model, make, make_fields
from seq2att.registry.plugin import describe_error

FIELD_BYTES = 1 << 20  # that the files of a field may have beyond the size of the weights


def save(model: Model, config: Mapping[str, Any], path: Path, metrics: Mapping[str, Any]) -> None:
    """Save a model as a bundle; each file appears whole, `metrics.json` last."""
    for name, content in contents(model, config, metrics).items():
        write_file(path / name, content)
        if name == CONFIG:
            sign(path)


def contents(model: Model, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, bytes | str]:
    """The files of a bundle by their names in its folder."""
    from omegaconf import OmegaConf

    weights, tensors = to_safetensors(model)
    fields = {"source": model.source, "target": model.target}
    files = {
        CONFIG: OmegaConf.to_yaml(OmegaConf.create({"format": FORMAT, **config})).encode("utf-8"),
        WEIGHTS: weights,
        **{f"{slot}/{name}": content for slot, field in fields.items() for name, content in field.files().items()},
    }
    return {
        **files,
        "README.md": card(model, config, metrics),
        MANIFEST: format_manifest(files, tensors),
        "metrics.json": json.dumps(metrics, indent=2, ensure_ascii=False) + "\n",
    }


def load(path: Path, device: str = "cpu") -> tuple[Model, dict[str, Any]]:
    """Load the model of a bundle, ready to predict, and its configuration.

    Raises:
        UserError: `E-bundle` or the code of a wrong setting, before anything large is read or built.
    """
    reader = open_bundle(path)
    registry.load()
    registry.load_shipped(plugins_of(reader.saved.values))
    try:
        config = check_saved(reader.saved.values, f"{path / CONFIG}")
        with one_line_errors(path):
            model = build(reader, config)
    except registry.RegistryError as error:
        raise missing_plugin(path, reader.saved.values, error) from error
    return model.to(device).eval(), config


def build(reader: Reader, config: Mapping[str, Any]) -> Model:
    """The model of a bundle with its weights."""
    size, weights = reader.size(WEIGHTS), f"{reader.path / WEIGHTS}"
    places = read_header(reader.path / WEIGHTS)
    check_sizes(config, places, f"{reader.path / CONFIG}")
    source, target = make_fields(config)
    for side, field in zip(SIDES, (source, target), strict=True):
        restore(field, reader.field_files(side, size + FIELD_BYTES), f"{reader.path / side}")

    def refuse(count: int) -> UserError:
        problem = f"holds {num_values(places):,} numbers, but its settings make at least {count:,}"
        return UserError("E-bundle", weights, problem, COPY)

    with without_memory(SPARE * (num_values(places) + 1), refuse, tensors=SPARE * (len(places) + 1)):
        outline = make(config, source, target)
    reader.check_tensors(places)
    dtype = check_tensors(outline, places, weights)
    content = reader.read(WEIGHTS, size)
    model = make(config, source, target).to(dtype or torch.get_default_dtype())  # float64 stays float64
    return read_tensors(model, content, places, weights)


def restore(field: Field, files: Mapping[str, bytes], folder: str) -> None:
    """Make a field that which wrote the files; an error names the file."""
    try:
        field.restore(files)
    except KeyError as error:
        raise UserError("E-bundle", f"{folder}/{error.args[0]}", "is missing", COPY) from error
    except UserError as error:
        raise UserError(error.code, f"{folder}/{error.subject}", error.problem, error.remedy) from error


@contextmanager
def one_line_errors(path: Path) -> Iterator[None]:
    """Inside of the block, whatever a component raises for settings or files that it did not write is `E-bundle`."""
    try:
        yield
    except (UserError, KeyboardInterrupt):
        raise
    except MemoryError as error:
        raise UserError("E-memory", f"{path}", "its settings need more memory than there is", COPY) from error
    except Exception as error:
        problem = f"its settings and files make no model ({describe_error(error)[:200]})"
        raise UserError("E-bundle", f"{path}", problem, COPY) from error


def read_config(path: Path) -> dict[str, Any]:
    """Read the settings of a bundle; nothing else is opened."""
    return open_bundle(path).saved.values


def open_bundle(path: Path) -> Reader:
    """The reader of a bundle; `E-bundle` where the folder holds none."""
    if not path.is_dir():
        near = sorted(str(item.parent) for item in path.parent.glob(f"*/{WEIGHTS}"))
        remedy = f"{registry.suggestion(str(path), near)}; train one with seq2att train RECIPE"
        raise UserError("E-bundle", f"{path}", "there is no such folder", remedy)
    missing = [name for name in (CONFIG, WEIGHTS) if not os.path.lexists(path / name)]
    if missing:
        remedy = "resume its training" if (path / "checkpoints").is_dir() else "name the folder of a finished run"
        raise UserError("E-bundle", f"{path}", f"{' and '.join(missing)} is missing, so it is no bundle", remedy)
    return Reader(path)


def plugins_of(values: Mapping[str, Any]) -> list[str]:
    """The plugins that the settings of a bundle name."""
    names = values.get("plugins") or []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def missing_plugin(path: Path, config: Mapping[str, Any], error: registry.RegistryError) -> UserError:
    """The error about a bundle with a component that is not installed."""
    plugins = plugins_of(config)
    remedy = "install the plugin that brings it"
    if plugins:
        names = ",".join(plugins)
        remedy = f"give 'plugins=[{names}]' on the command line, load(..., plugins=[...]) in Python, or install them"
    return UserError("E-plugin", f"{path}", f"{error.subject}: {error.problem}", remedy)


__all__ = ["FORMAT", "load", "open_bundle", "read_config", "save"]
