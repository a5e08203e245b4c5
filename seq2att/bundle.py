"""The bundle: the folder that a trained model is saved in and shipped as.

It holds `config.yaml`, `model.safetensors`, the fields' files under `source/` and `target/`, `metrics.json` and a model
card. It holds no pickle, and loading it imports no plugin but those of seq2att's own recipes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seq2att import registry
from seq2att.errors import UserError
from seq2att.files import write_file
from seq2att.model import Model, make, make_fields, parameter_count

FORMAT = 1  # version of the bundle's format; raised when an earlier seq2att cannot read it


def save(model: Model, config: Mapping[str, Any], path: Path, metrics: Mapping[str, Any]) -> None:
    """Save a model as a bundle; each file appears whole, `metrics.json` last."""
    for name, content in contents(model, config, metrics).items():
        write_file(path / name, content)


def contents(model: Model, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> dict[str, bytes | str]:
    """The files of a bundle by their names in its folder."""
    from omegaconf import OmegaConf

    fields = {"source": model.source, "target": model.target}
    return {
        "config.yaml": OmegaConf.to_yaml(OmegaConf.create({"format": FORMAT, **config})),
        "model.safetensors": weights(model),
        **{f"{slot}/{name}": content for slot, field in fields.items() for name, content in field.files().items()},
        "README.md": card(model, config, metrics),
        "metrics.json": json.dumps(metrics, indent=2, ensure_ascii=False) + "\n",
    }


def weights(model: Model) -> bytes:
    """The weights of a model in the format of safetensors; a tensor of several names has the first in the alphabet."""
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    others: dict[str, str] = {}  # the other names
    first: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in sorted(model.state_dict().items()):
        place = (tensor.data_ptr(), tensor.shape)
        if tensor.numel() and place in first:
            others[name] = first[place]
        else:
            first[place], tensors[name] = name, tensor.contiguous()
    return save(tensors, metadata=others)


def load(path: Path, device: str = "cpu") -> tuple[Model, dict[str, Any]]:
    """Load the model of a bundle, ready to predict, and its configuration."""
    from safetensors import safe_open
    from safetensors.torch import load_model

    config = read_config(path)
    registry.load()
    registry.load_shipped(config.get("plugins") or [])
    try:
        source, target = make_fields(config)
        for slot, field in (("source", source), ("target", target)):
            # A field may have no files, and an empty folder gets lost on the way through git or an archive.
            field.restore({file.name: file.read_bytes() for file in sorted((path / slot).glob("*"))})
        model = make(config, source, target)
    except registry.RegistryError as error:
        raise missing_plugin(path, config, error) from error
    weights = str(path / "model.safetensors")
    with safe_open(weights, "pt") as file:
        model.to(file.get_tensor(next(iter(file.keys()))).dtype)  # float64 stays float64
    load_model(model, weights, device="cpu")
    return model.to(device).eval(), config


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a bundle."""
    from omegaconf import OmegaConf

    if not path.is_dir():
        near = sorted(str(item.parent) for item in path.parent.glob("*/model.safetensors"))
        remedy = f"{registry.suggestion(str(path), near)}; train one with seq2att train RECIPE"
        raise UserError("E-bundle", f"{path}", "there is no such folder", remedy)
    needed = [path / name for name in ("config.yaml", "model.safetensors")]
    missing = [file.name for file in needed if not file.is_file()]
    if missing:
        remedy = "resume its training" if (path / "checkpoints").is_dir() else "name the folder of a finished run"
        raise UserError("E-bundle", f"{path}", f"{' and '.join(missing)} is missing, so it is no bundle", remedy)
    config = OmegaConf.to_container(OmegaConf.load(path / "config.yaml"))
    assert isinstance(config, dict)
    if config.pop("format", 0) > FORMAT:
        problem = f"its format is newer than this seq2att reads ({FORMAT})"
        raise UserError("E-bundle", f"{path}/config.yaml", problem, "upgrade seq2att")
    return {str(key): value for key, value in config.items()}


def missing_plugin(path: Path, config: Mapping[str, Any], error: registry.RegistryError) -> UserError:
    """The error about a bundle with a component that is not installed."""
    plugins = config.get("plugins") or []
    remedy = "install the plugin that brings it"
    if plugins:
        names = ",".join(plugins)
        remedy = f"give 'plugins=[{names}]' on the command line, load(..., plugins=[...]) in Python, or install them"
    return UserError("E-plugin", f"{path}", f"{error.subject}: {error.problem}", remedy)


def card(model: Model, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The model card: components, usage and metrics."""
    has_attention = "decoder" in config or "attend" in config["head"].get("pool", ())
    slots = ("encoder", "decoder", *(["attention"] if has_attention else []))
    names = [f"{slot}={config[slot]['name']}" for slot in slots if slot in config]
    task = model.head.task
    argument = '"..."' if task != "generate" or not model.source.has_values else '["..."]'
    answer = "[0].text" if argument.startswith("[") else ".text"
    lines = [
        f"# {config.get('recipe', 'model')}",
        "",
        f"A seq2att model: head={config['head']['name']}, {', '.join(names)}, {parameter_count(model):,} parameters, "
        f"seed {config.get('seed')}.",
        "",
        "    import seq2att",
        f'    print(seq2att.load(".").{task}({argument}){answer})',
        "",
        "| metric on the validation split | value |",
        "|---|---|",
    ]
    values = metrics.get("validation", metrics)
    lines += [f"| {name} | {value:.4g} |" for name, value in values.items() if isinstance(value, int | float)]
    return "\n".join(lines) + "\n"


__all__ = ["load", "read_config", "save"]
