"""The model card: the README of a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seq2att.model import Model, parameter_count


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
    ]
    values = metrics.get("validation", metrics)
    lines += ["| metric on the validation split | value |", "|---|---|"] if values else []
    lines += [f"| {name} | {value:.4g} |" for name, value in values.items() if isinstance(value, int | float)]
    return "\n".join(lines) + "\n"
