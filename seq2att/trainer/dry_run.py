"""A dry run: what a run builds is built without data and without memory, so that what cannot work is said at once."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seq2att import model as models
from seq2att import registry
from seq2att.bundle.weights import without_memory
from seq2att.config.options import check_settings
from seq2att.data.preparing import Preparation
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.trainer.checks import check_figures, check_trainer, check_without_validation, known_figures
from seq2att.trainer.step import make_optimizer

VALUES = (("a", "b"), ("1", "2"), ("1 2", "2 1"), ("1 2; 2 1", "2 1; 1 2"))  # of every field, one of them
OF_DATA = ("E-empty", "E-label", "E-range", "E-vocabulary")  # codes of what depends on classes and vocabularies
CGROUP = Path("/sys/fs/cgroup/memory.max")
STEPS = 100


def check_run(config: Mapping[str, Any]) -> None:
    """Refuse all that can be known to be wrong before any data are read."""
    check_settings(config)
    check_trainer(config["trainer"])
    head: Any = registry.find("head", config["head"]["name"]).target
    check_figures(config, known_figures(config, head))
    reader = registry.build("reader", config)
    source, target = models.make_fields(config)
    head.check(target)
    preparation = Preparation(config, source, target, reader, print)
    preparation.check()
    if not preparation.has("validation"):
        check_without_validation(config)
    dry_run(config, source, target)


def dry_run(config: Mapping[str, Any], source: Field, target: Field) -> None:
    """Refuse components that do not go together, and a model that does not fit into memory.

    Args:
        config: the composed configuration.
        source: a source field that is not fitted yet; it gets a stand-in for what it learns.
        target: the same of the target.
    """
    if "search" in config:
        registry.build("search", config)
    with without_plugin_errors(), torch.random.fork_rng(devices=[]):
        optimizer = make_optimizer(config, nn.Linear(1, 1))
        registry.build("schedule", config, optimizer, STEPS, STEPS)
    if not (fit_stand_in(source) and fit_stand_in(target)):
        return
    size = torch.float64.itemsize if config["trainer"]["precision"] == "64" else torch.float32.itemsize
    memory = total_memory(config["trainer"]["accelerator"])

    def refuse(count: int) -> UserError:
        needed = f"has at least {count:,} parameters: {2 * size * count / 2**30:,.1f} GiB with their gradients"
        problem = f"{needed}, and there are {memory / 2**30:,.1f} GiB of memory"
        return UserError("E-memory", "model", problem, f"lower {largest_size(config)}")

    with without_plugin_errors(), torch.random.fork_rng(devices=[]):
        try:
            with without_memory(memory // (2 * size), refuse):
                models.make(config, source, target)
        except RuntimeError as error:
            if "overflow" in str(error):
                raise refuse(sys.maxsize) from error
        except UserError as error:
            if error.code not in OF_DATA:
                raise


@contextlib.contextmanager
def without_plugin_errors() -> Iterator[None]:
    """Let errors of the user pass; others are raised where the run itself builds the component, with its place."""
    try:
        yield
    except UserError:
        raise
    except Exception:  # such as a plugin that looks at the values of its parameters
        return


def fit_stand_in(field: Any) -> bool:
    """Give a field something that it could have learned, the least there is; False where it takes none of ours."""
    if hasattr(field, "tokenizer"):
        field.tokenizer.pieces = ("a",)
        return True
    for values in VALUES:
        with contextlib.suppress(Exception):
            field.fit(values)
            return True
    return False


def largest_size(config: Mapping[str, Any]) -> str:
    """The key of the largest number of units among the options."""
    sizes = {
        f"{slot}.{name}={value}": value
        for slot, options in config.items()
        if isinstance(options, Mapping) and "name" in options and slot != "reader"
        for name, value in options.items()
        if isinstance(value, int) and not isinstance(value, bool) and name.endswith(("size", "hidden", "readout"))
    }
    return max(sizes, key=lambda key: sizes[key], default="the sizes of the model")


def total_memory(accelerator: str) -> int:
    """The bytes of memory of the device, within the limit of the container; as much as can be where it is unknown."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    sizes = [sys.maxsize]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
        sizes.append(int(CGROUP.read_text("ascii")))
    return min(sizes)
