"""The settings that belong to no component, and what a value must be to fit an option."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from seq2att.errors import UserError
from seq2att.registry import MISSING, Option, parse_args


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
        metrics: the metrics of a validation and an evaluation; null for those of the head.
        callbacks: the callbacks of the training.
        loggers: the loggers beside metrics.csv, which is always written.
    """

    recipe: str
    seed: int = 1
    run: str = "runs/${recipe}"
    overwrite: bool = False
    plugins: list[str] = field(default_factory=list)
    share: Literal["nothing", "tokenizer", "embedding"] = "nothing"
    metrics: list[str] | None = None
    callbacks: list[str] = field(default_factory=list)
    loggers: list[str] = field(default_factory=list)


@dataclass
class DataOptions:
    """How rows are read, split and cut into batches.

    Args:
        root: the folder of relative paths; null for the current one.
        batch_size: rows of a batch, tokens (`batch_by=tokens`) or parallel streams (`batching=stream`); at least 1.
        batch_by: whether `batch_size` counts rows or tokens.
        batching: `stream` is for language models: all rows are one running text, read in parallel streams.
        steps: tokens that each batch of `batching=stream` takes of every stream; at least 1.
        row_ends: whether `batching=stream` puts an end symbol after each row.
        bucket: batches that are sorted by length together; at least 1.
        max_length: tokens that a source or a target may have; null for any number.
        too_long: what happens to a row beyond `max_length`.
        keep: the part of a row that `too_long=cut` keeps.
        empty: what happens to a training row with an empty side, and to any row without a label, number or tags.
        missing: texts that stand for an empty value, such as NA.
        validation_fraction: the share of the training rows for validation, where the reader names none; 0 to 1.
        test_fraction: the share of the training rows for the test, where the reader names none; 0 to 1.
        split: whether these are random rows, or the end: first validation, then test.
        split_by: rows with an equal source (or target) stay on one side of a random split.
        split_seed: the seed of a random split; it does not depend on `seed`.
        stratify: whether a random split takes the same share of each class of targets.
        language: free for recipes to use, as in `${data.language}`.
        cache: the folder of encoded data; null for the user's cache.
    """

    root: str | None = None
    batch_size: int = 64
    batch_by: Literal["sentences", "tokens"] = "sentences"
    batching: Literal["rows", "stream"] = "rows"
    steps: int = 35
    row_ends: bool = True
    bucket: int = 100
    max_length: int | None = None
    too_long: Literal["refuse", "drop", "cut"] = "refuse"
    keep: Literal["start", "end"] = "start"
    empty: Literal["refuse", "drop"] = "drop"
    missing: list[str] = field(default_factory=list)
    validation_fraction: float = 0.05
    test_fraction: float = 0.05
    split: Literal["random", "end"] = "random"
    split_by: Literal["source", "target"] = "source"
    split_seed: int = 1
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
        accumulate: batches of one step; at least 1.
        precision: the number format: 32, 16 or 64 bits, or bf16 (bfloat16).
        accelerator: the hardware: cpu, gpu, cuda, mps or auto.
        devices: processes on this machine: on GPUs one each (-1 for all GPUs), on a CPU any number.
        num_nodes: machines.
        threads: threads of a process; null for one with a small model, else an equal share of the cores.
        deterministic: whether only deterministic operations are allowed.
        resume: whether an unfinished run in the run folder continues.
        progress: whether progress is shown.
        examples: answers that are shown after each validation; 0 for none.
        log_every: steps between two lines of a logger; at least 1.
        limit_train_batches: batches of an epoch at most, or the share of them.
        limit_validation_batches: batches of a validation at most, or the share of them.
    """

    epochs: int = 20
    max_steps: int | None = None
    max_minutes: float | None = None
    validate_every: float = 1.0
    validation_rows: int | None = None
    patience: int | None = None
    min_delta: float = 0.0
    monitor: str = "loss"
    best: str = ""
    restore_best: bool = True
    clip: float = 5.0
    accumulate: int = 1
    precision: Literal["32", "bf16", "16", "64"] = "32"
    accelerator: str = "cpu"
    devices: int = 1
    num_nodes: int = 1
    threads: int | None = None
    deterministic: bool = False
    resume: bool = True
    progress: bool = True
    examples: int = 2
    log_every: int = 10
    limit_train_batches: float | int = 1.0
    limit_validation_batches: float | int = 1.0


def options_of(settings: type) -> dict[str, Option]:
    """The fields of a dataclass as options, documented by its `Args:` section."""
    hints, docs = typing.get_type_hints(settings), parse_args(settings.__doc__)
    options = {}
    for item in fields(settings):
        default = MISSING if item.default is NO_DEFAULT else item.default
        if item.default_factory is not NO_DEFAULT:
            default = item.default_factory()
        options[item.name] = Option(hints[item.name], default, docs.get(item.name, ""))
    return options


def convert(annotation: Any, value: Any) -> Any:
    """The value as an option of this type holds it; interpolations and `???` pass.

    One text or number stands for a list of one. Raises ValueError with the problem and the remedy.
    """
    if isinstance(value, str) and ("${" in value or value == MISSING):
        return value
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return convert_union(annotation, value)
    if annotation is str or origin is Literal:
        return convert_text(annotation, value)
    if origin in (list, tuple):
        items = [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value
        if isinstance(items, list | tuple):
            return [convert(arguments[0], item) for item in items]
    elif origin is dict:
        if isinstance(value, Mapping):
            return {str(key): convert(arguments[1], item) for key, item in value.items()}
    elif isinstance(value, bool) == (annotation is bool):
        if isinstance(value, annotation):
            return value
        if annotation is float and isinstance(value, int):
            return float(value)
    raise ValueError(f"must be {describe(annotation)}", "")


def convert_union(annotation: Any, value: Any) -> Any:
    """The value as one of several types holds it; `X | None` takes null."""
    arguments = typing.get_args(annotation)
    if value is None and type(None) in arguments:
        return None
    rest = [argument for argument in arguments if argument is not type(None)]
    if len(rest) == 1:
        try:
            return convert(rest[0], value)
        except ValueError as error:
            problem, remedy = error.args
            raise ValueError(f"{problem} or null" if problem.startswith("must be") else problem, remedy) from None
    if type(value) in rest:
        return value
    raise ValueError(f"must be {describe(annotation)}", "")


def convert_text(annotation: Any, value: Any) -> str:
    """The value as text, or as one of the choices; what YAML reads as another type must be quoted."""
    choices = typing.get_args(annotation)
    if isinstance(value, bool):
        raise ValueError("YAML reads no, off, yes, on, true and false as truth values", 'quote the text, as in "no"')
    if isinstance(value, float):
        raise ValueError("YAML reads this text as a number and changes it", 'quote the text, as in "1.10"')
    text = str(value) if isinstance(value, int) else value
    if not isinstance(text, str) or (choices and text not in choices):
        close = difflib.get_close_matches(str(text), choices, 1)
        raise ValueError(f"must be {describe(annotation)}", f"did you mean {close[0]!r}?" if close else "")
    return text


def describe(annotation: Any) -> str:
    """What a value of this type is, in words."""
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", type(None): "null"}
    if annotation in words:
        return words[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(filter(None, (", ".join(arguments[:-1]), arguments[-1])))
    if origin in (list, tuple):
        return f"a list, as in [a, b], each {describe(arguments[0])}"
    if origin is dict:
        return f"a mapping, as in {{a: ..., b: ...}}, each {describe(arguments[1])}"
    return " or ".join(describe(argument) for argument in arguments)


def format_value(value: Any) -> str:
    """A value as it is written on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return f"[{','.join(map(format_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}: {format_value(item)}' for key, item in value.items())}}}"
    return str(value) if str(value).strip() else repr(value)
