"""What of a run's settings can be refused before it starts, most of it before any data are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from seq2att import registry
from seq2att.errors import UserError, check_positive, check_size

if TYPE_CHECKING:
    pass

MANY = 0.1  # the share of targets out of reach with which no run makes sense


def known_figures(config: Mapping[str, Any], head: Any) -> dict[str, bool]:
    """Every figure of a validation of a head (or its class), and whether more of it is better."""
    names = head.metrics if config["metrics"] is None else config["metrics"]
    for name in names:
        check_metric(name, config["head"]["name"], head)
    metrics = {name: registry.build_listed("metric", config, name) for name in names}
    higher = {name: metric.higher_is_better for name, metric in metrics.items()}
    return {"loss": False, **dict.fromkeys(head.loss_metrics, False), **higher}


def check_metric(name: str, head_name: str, head: Any) -> None:
    """Refuse a metric that judges other answers than those of the head, or of this one among its kind."""
    tasks = {metric: getattr(entry.target, "tasks", ()) for metric, entry in registry.entries("metric").items()}
    fitting = {metric for metric, those in tasks.items() if not those or head.task in those} | set(head.metrics)
    fitting -= set(getattr(type(head), "metrics", ())) - set(head.metrics)  # of tags that mark no spans, say
    if name not in fitting:
        raise UserError(
            f"metrics: {name} does not judge what head={head_name} says; allowed is {', '.join(sorted(fitting))}, "
            f"or none at all (metrics=[])"
        )


def check_figures(config: Mapping[str, Any], known: Mapping[str, bool]) -> None:
    """Refuse to watch a figure that no validation gives."""
    options = config["trainer"]
    watched = {
        "trainer.monitor": options["monitor"],
        "trainer.best": options["best"] or options["monitor"],
        "schedule.monitor": config["schedule"].get("monitor", "loss"),
    }
    for key, name in watched.items():
        if name not in known:
            raise UserError(
                f"{key}={name}: no figure of a validation, unless added to metrics; {registry.suggestion(name, known)}"
            )


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuse what no run can do."""
    every = options["validate_every"]
    if every <= 0 or (every > 1 and every != int(every)):
        raise UserError(f"trainer.validate_every={every}: allowed is a part of an epoch (0.25) or whole epochs (2)")
    if options["precision"] == "16" and options["accelerator"] == "cpu":
        raise UserError("trainer.precision=16 needs a GPU; on a CPU set trainer.precision=32 (or bf16)")
    for name in ("epochs", "accumulate", "log_every", "threads"):
        if options[name] is not None and options[name] < 1:
            raise UserError(f"trainer.{name}={options[name]}: allowed is 1 or more")
    check_accelerator(options["accelerator"])


def check_numbers(config: Mapping[str, Any]) -> None:
    """Refuse sizes of batches and a learning rate that cannot be."""
    for name in ("batch_size", "bucket", "steps"):
        check_size(f"data.{name}", config["data"].get(name, 1))
    if config["optimizer"].get("learning_rate") is not None:
        check_positive("optimizer.learning_rate", config["optimizer"]["learning_rate"])


def check_accelerator(name: str) -> None:
    """Refuse to look for a GPU where there is none."""
    if name in ("gpu", "cuda") and not gpus(name):
        raise UserError(
            f"trainer.accelerator={name}: PyTorch {torch.__version__} finds no GPU here; "
            "set trainer=cpu to train on the processor, or install the GPU's driver and a PyTorch for it"
        )


def gpus(accelerator: str) -> int:
    """How many GPUs this machine has for the accelerator."""
    if accelerator == "gpu" and torch.backends.mps.is_available():
        return 1
    return torch.cuda.device_count() if accelerator in ("gpu", "cuda", "auto") else 0
