"""The settings that belong to no component."""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from seq2att.errors import UserError
from seq2att.registry import (
    MISSING,
    Count,
    NonNegative,
    Option,
    Positive,
    Range,
    Seed,
    Share,
    Size,
    parse_args,
)
from seq2att.registry.value import shorten_value

Batches = Annotated[int, Range(1)] | Annotated[float, Range(above=0, high=1)]
"""A number of batches, or a share of them."""


class ConfigError(UserError):
    """Something that is wrong with a configuration."""

    @classmethod
    def of(cls, problems: Iterable[UserError]) -> ConfigError:
        """One error for all problems: the only one, or a list of all with the code of the first."""
        first, *others = distinct = list({str(problem): problem for problem in problems}.values())
        if not others:
            return cls(first.code, first.subject, first.problem, first.remedy)
        error = cls(first.code, "", f"{len(distinct)} wrong settings:" + "".join(f"\n  {each}" for each in distinct))
        error.parts = distinct
        return error

    parts: Sequence[UserError] = ()

    @property
    def problems(self) -> Sequence[UserError]:
        """Each of the problems, itself where there is one."""
        return self.parts or [self]


@dataclass
class Settings:
    """The settings of a run as a whole.

    Args:
        recipe: the recipe's name.
        seed: the seed of all random numbers.
        run: the run folder.
        overwrite: whether a run that is finished, or has other settings, may be replaced in this folder.
        plugins: files, folders or modules that are imported first.
        share: what the source and the target have in common.
        initialization: how the weights begin: as each part says, or as the layers of `keras` do.
        metrics: the metrics of a validation and an evaluation; null for those of the head.
        callbacks: the callbacks of the training.
        loggers: the loggers in addition to metrics.csv, which is always written.
    """

    recipe: str
    seed: Seed = 1
    run: str = "runs/${recipe}"
    overwrite: bool = False
    plugins: list[str] = field(default_factory=list)
    share: Literal["nothing", "tokenizer", "embedding"] = "nothing"
    initialization: Literal["default", "keras"] = "default"
    metrics: list[str] | None = None
    callbacks: list[str] = field(default_factory=list)
    loggers: list[str] = field(default_factory=list)


@dataclass
class DataOptions:
    """How rows are read, split and cut into batches.

    Args:
        root: the folder of relative paths; null for the current one.
        batch_size: rows of a batch, tokens (`batch_by=tokens`) or parallel streams (`batching=stream`).
        batch_by: whether `batch_size` counts rows or tokens.
        batching: `stream` is for language models: all rows are one running text, read in parallel streams.
        steps: tokens that each batch of `batching=stream` takes of every stream.
        row_ends: whether `batching=stream` puts an end symbol after each row.
        bucket: batches that are sorted by length together.
        weights: how much of an epoch is drawn from each of the names that `reader.train` lists, which has as many rows
            as they have together; null reads each row once.
        max_length: tokens that a source or a target may have; null for any number.
        too_long: what happens to a row beyond `max_length`.
        keep: the part of a row that `too_long=cut` keeps.
        empty: what happens to a training row with an empty side, and to any row without a label, number or tags.
        missing: texts that stand for an empty value, such as NA.
        validation_fraction: the share of the training rows for validation, where the reader names none; 0 trains
            without validation.
        validation_of: what `validation_fraction` is a share of: `all` training rows, or the `rest` that the test
            leaves, of which `shuffle` and `end` then take the last rows, as `validation_split` of Keras does.
        test_fraction: the share of the training rows for the test, where the reader names none.
        split: which rows these are: `random` (by a hash: rows of equal `split_by` stay together, sizes are about
            right), `shuffle` (those of scikit-learn's `train_test_split`; sizes are exact; the data are read twice, and
            13 bytes of memory a row are needed, 42 with `stratify`), or the `end` of the rows (`shuffle=False` there):
            first validation, then test.
        split_by: rows with an equal source (or target) stay on one side of a `random` split.
        split_seed: the seed of a `random` split, the `random_state` of a `shuffle`; it does not depend on `seed`.
        stratify: whether a `random` split or a `shuffle` takes the same share of each class of targets.
        language: free for recipes to use, as in `${data.language}`.
        cache: the folder of encoded data; null for the user's cache.
    """

    root: str | None = None
    batch_size: Size = 64
    batch_by: Literal["sentences", "tokens"] = "sentences"
    batching: Literal["rows", "stream"] = "rows"
    steps: Size = 35
    row_ends: bool = True
    bucket: Size = 100
    weights: list[Positive] | None = None
    max_length: Size | None = None
    too_long: Literal["refuse", "drop", "cut"] = "refuse"
    keep: Literal["start", "end"] = "start"
    empty: Literal["refuse", "drop"] = "drop"
    missing: list[str] = field(default_factory=list)
    validation_fraction: Share = 0.05
    validation_of: Literal["all", "rest"] = "all"
    test_fraction: Share = 0.05
    split: Literal["random", "shuffle", "end"] = "random"
    split_by: Literal["source", "target"] = "source"
    split_seed: Seed = 1
    stratify: bool = False
    language: str | None = None
    cache: str | None = None


@dataclass
class TrainerOptions:
    """How long, on what and how carefully to train.

    Args:
        epochs: maximum number of passes over the training data.
        max_steps: steps at most; null for any number.
        max_minutes: minutes at most; null for any number.
        validate_every: epochs between two validations; a fraction is allowed.
        validation_rows: rows that a validation decodes for its metrics; null for all.
        patience: validations without progress after which training stops; null for never.
        min_delta: the least change of `monitor` that counts as progress.
        monitor: the loss or metric that `patience` watches.
        best: the loss or metric that chooses the best model; empty for that of `monitor`.
        restore_best: whether the bundle holds the best model rather than the last one.
        clip: the largest norm of the gradient; 0 clips nothing.
        on_memory: what happens when a training batch does not fit into memory: `split` computes it in halves, with the
            same gradient (dropout draws other units), `stop` ends the run.
        on_divergence: what happens when the loss or the gradient is not finite, or the loss is ten times its running
            median and above that of the first step, ten steps in a row: `stop` ends the run, `skip` leaves such steps
            out (each at once) until there are ten in a row, `lower` goes back to the best checkpoint, or to the start,
            with half the learning rate, up to five times.
        accumulate: batches of one step.
        precision: the number format: 32, 16 or 64 bits, or bf16 (bfloat16).
        accelerator: the hardware; auto takes a GPU where there is one.
        devices: processes on this machine: on GPUs one each (-1 for all GPUs), on a CPU any number.
        num_nodes: machines.
        threads: threads of a process; null for one with a small model, else an equal share of the cores.
        deterministic: whether only deterministic operations are allowed.
        resume: whether an unfinished run in the run folder continues.
        progress: whether progress is shown.
        examples: answers that are shown after each validation; 0 for none.
        log_every: steps between two lines of a logger.
        limit_train_batches: batches of an epoch at most, or the share of them.
        limit_validation_batches: batches of a validation at most, or the share of them.
    """

    epochs: Size = 20
    max_steps: Size | None = None
    max_minutes: Positive | None = None
    validate_every: Positive = 1.0
    validation_rows: Size | None = None
    patience: Count | None = None
    min_delta: NonNegative = 0.0
    monitor: str = "loss"
    best: str = ""
    restore_best: bool = True
    clip: NonNegative = 5.0
    on_memory: Literal["split", "stop"] = "split"
    on_divergence: Literal["stop", "skip", "lower"] = "stop"
    accumulate: Size = 1
    precision: Literal["32", "bf16", "16", "64"] = "32"
    accelerator: Literal["cpu", "gpu", "cuda", "mps", "auto"] = "cpu"
    devices: Annotated[int, Range(-1, 1024)] = 1
    num_nodes: Annotated[int, Range(1, 1024)] = 1
    threads: Annotated[int, Range(1, 1024)] | None = None
    deterministic: bool = False
    resume: bool = True
    progress: bool = True
    examples: Count = 2
    log_every: Size = 10
    limit_train_batches: Batches = 1.0
    limit_validation_batches: Batches = 1.0


def check_settings(config: Mapping[str, Any]) -> None:
    """Refuse a setting of a composed configuration that a program changed to what it cannot be."""
    for block, settings in BLOCKS.items():
        options, values = options_of(settings), config[block] if block else config
        for name in options.keys() & values.keys():
            key = ".".join(filter(None, (block, name)))
            options[name].convert(f"{key}={shorten_value(values[name])}", values[name])


BLOCKS = {"": Settings, "data": DataOptions, "trainer": TrainerOptions}


def options_of(settings: type) -> dict[str, Option]:
    """The fields of a dataclass as options, documented by its `Args:` section."""
    hints, docs = typing.get_type_hints(settings, include_extras=True), parse_args(settings.__doc__)
    options = {}
    for item in fields(settings):
        default = MISSING if item.default is NO_DEFAULT else item.default
        if item.default_factory is not NO_DEFAULT:
            default = item.default_factory()
        options[item.name] = Option(hints[item.name], default, docs.get(item.name, ""))
    return options
