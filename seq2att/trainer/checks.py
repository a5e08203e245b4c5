"""Checks of a run's settings before it starts, most of them before any data are read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from seq2att import registry
from seq2att.errors import UserError
from seq2att.registry.value import format_value


def known_figures(config: Mapping[str, Any], head: Any) -> dict[str, bool]:
    """Every figure of a validation of a head (or its class), and whether more of it is better."""
    names = metric_names(config, head)
    for name in names:
        check_metric(name, config["head"]["name"], head)
    metrics = {name: registry.build_listed("metric", config, name) for name in names}
    higher = {name: metric.higher_is_better for name, metric in metrics.items()}
    accuracy = {head.accuracy: True} if head.accuracy else {}
    return {"loss": False, **dict.fromkeys(head.loss_metrics, False), **accuracy, **higher}


def metric_names(config: Mapping[str, Any], head: Any) -> list[str]:
    """The metrics of a run: those of the settings, else the head's own."""
    return list(head.metrics if config["metrics"] is None else config["metrics"])


def check_metric(name: str, head_name: str, head: Any) -> None:
    """Refuse a metric of other answers than the head's."""
    tasks = {metric: getattr(entry.target, "tasks", ()) for metric, entry in registry.entries("metric").items()}
    fitting = {metric for metric, those in tasks.items() if not those or head.task in those} | set(head.metrics)
    fitting -= set(getattr(type(head), "metrics", ())) - set(
        head.metrics
    )  # such as span metrics for tags without spans
    if name not in fitting:
        problem = f"does not fit head={head_name}; choose from {', '.join(sorted(fitting))}"
        raise UserError("E-metric", f"metrics=[{name}]", problem, "or set metrics=[] for none")


def check_figures(config: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuse to watch a figure that no validation measures."""
    options = config["trainer"]
    watched = {
        "trainer.monitor": options["monitor"],
        "trainer.best": options["best"] or options["monitor"],
        "schedule.monitor": config["schedule"].get("monitor", "loss"),
    }
    for key, name in watched.items():
        if name not in known:
            problem = f"no validation measures it; {registry.suggestion(name, known)}"
            raise UserError("E-metric", f"{key}={name}", problem, "choose one of them, or add it to metrics")


def check_without_validation(config: Mapping[str, Any]) -> None:
    """Refuse what a run without validation rows cannot do: to watch them, or to choose by them."""
    options, schedule = config["trainer"], config["schedule"]
    needs = {
        "trainer.patience": (options["patience"], None),
        "trainer.best": (options["best"], ""),
        "trainer.monitor": (options["monitor"], "loss"),
        "schedule": (schedule["name"], "constant") if "monitor" in schedule else ("", ""),
    }
    for key, (value, without) in needs.items():
        if value != without:
            remedy = f"set data.validation_fraction=0.1, name reader.validation, or set {key}={format_value(without)}"
            raise UserError("E-conflict", f"{key}={value}", "needs a validation, and there are no rows for one", remedy)


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuse what no run can do."""
    every = options["validate_every"]
    if every > 1 and every != int(every):
        problem = "must be a part of an epoch (0.25) or whole epochs (2)"
        raise UserError("E-range", f"trainer.validate_every={every}", problem)
    if options["precision"] == "16" and options["accelerator"] == "cpu":
        raise UserError(
            "E-device", "trainer.precision=16", "needs a GPU", "on a CPU set trainer.precision=32 (or bf16)"
        )
    check_accelerator(options["accelerator"])


def check_accelerator(name: str) -> None:
    """Refuse a GPU where there is none."""
    if name in ("gpu", "cuda") and not gpus(name):
        raise UserError(
            "E-device",
            f"trainer.accelerator={name}",
            f"PyTorch {torch.__version__} finds no GPU",
            "set trainer=cpu to train on the CPU, or install the GPU's driver and a PyTorch for it",
        )


def gpus(accelerator: str) -> int:
    """How many GPUs this machine has for the accelerator."""
    if accelerator == "gpu" and torch.backends.mps.is_available():
        return 1
    return torch.cuda.device_count() if accelerator in ("gpu", "cuda", "auto") else 0
