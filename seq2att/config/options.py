"""The settings that belong to no component, and what a value must be to fit an option."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, Literal

from seq2att.errors import UserError
from seq2att.registry import MISSING, Option, schema_field


class ConfigError(UserError):
    """Everything that is wrong with a configuration, said at once."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = list(dict.fromkeys(problems))
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        super().__init__(
            self.problems[0] if len(self.problems) == 1 else f"{len(self.problems)} wrong settings:{lines}"
        )


@dataclass
class Settings:
    """What a configuration says beside its components; `metrics: null` is the head's own list."""

    recipe: str  # the recipe's name
    seed: int = 1
    run: str = "runs/${recipe}"  # the run folder
    overwrite: bool = False  # whether a finished or different run in that folder may be replaced
    plugins: list[str] = field(default_factory=list)  # files, folders or modules to import first
    share: Literal["nothing", "tokenizer", "embedding"] = "nothing"  # what both sides have in common
    metrics: list[str] | None = None
    callbacks: list[str] = field(default_factory=list)
    loggers: list[str] = field(default_factory=list)  # beside metrics.csv, which is always written


@dataclass
class DataOptions:
    """How rows become batches: `batch_size` of `batch_by`, from pools of `bucket` batches sorted by length.

    `max_length` counts tokens of either side, and `too_long` says what happens beyond it: `cut` keeps the start or the
    end (`keep`). Rows with an empty side are `empty: drop` in training, and in every split where no label, no number or
    no tags are left to measure; the texts of `missing` (NA, say) are empty.
    A split that the reader does not name is cut off the training split by its fraction: at random by `split_seed`, so
    that runs with different seeds train and test on the same rows, or at the `end`, first validation, then test: so a
    running text is cut. At random, rows with an equal source (`split_by: target`: an equal target) never fall on both
    sides; `stratify` takes the same fraction of each class of targets, but never its last row from training.
    `root` is the folder of relative paths, `cache` where encoded data are kept, `language` free for recipes to use.
    `batching: stream` is for language models: all rows are one running text (each with an end symbol, if `row_ends`),
    read in `batch_size` parallel streams, of which every batch takes `steps` tokens and the next one goes on.
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
    """How long, on what and how carefully to train: epochs, validation, early stopping, devices.

    `validate_every` counts epochs; training stops after `patience` validations in which `monitor` did not improve by
    `min_delta`; the kept best is by `best` (empty: the same as `monitor`). `clip: 0` clips no gradient;
    `validation_rows` bounds what is decoded during training (null: everything).
    Each of the `devices` of each of `num_nodes` machines is a process with its part of every batch: on a CPU that many
    processes, on GPUs one for each (-1: all). `threads` are those of a process (null: the processes share the cores;
    one thread is enough for a model of less than 5 million parameters).
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
    log_every: int = 10
    limit_train_batches: float | int = 1.0
    limit_validation_batches: float | int = 1.0


def options_of(settings: type) -> dict[str, Option]:
    """The fields of a dataclass as options."""
    hints = typing.get_type_hints(settings)
    options = {}
    for item in fields(settings):
        default = MISSING if item.default is NO_DEFAULT else item.default
        if item.default_factory is not NO_DEFAULT:
            default = item.default_factory()
        options[item.name] = Option(hints[item.name], default)
    return options


def schema_of(settings: type) -> type:
    """The dataclass as OmegaConf can hold it: with an Enum where it says Literal."""
    return make_dataclass(settings.__name__, [schema_field(name, o) for name, o in options_of(settings).items()])


def convert(annotation: Any, value: Any) -> Any:
    """The value as its option holds it; ValueError says what is allowed. Interpolations and `???` pass.

    One text or number stands for a list of one.
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
    raise ValueError(f"allowed is {describe(annotation)}")


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
            raise ValueError(f"{error}{' or null' if str(error).startswith('allowed is ') else ''}") from None
    if type(value) in rest:
        return value
    raise ValueError(f"allowed is {describe(annotation)}")


def convert_text(annotation: Any, value: Any) -> str:
    """The value as text, or as one of the choices; what YAML took for something else must be quoted."""
    choices = typing.get_args(annotation)
    if isinstance(value, bool):
        raise ValueError('YAML reads no, off, yes, on, true and false as truth values; quote the text, as in "no"')
    if isinstance(value, float):
        raise ValueError('YAML reads this as a number, which is written anew; quote the text, as in "1.10"')
    text = str(value) if isinstance(value, int) else value
    if not isinstance(text, str) or (choices and text not in choices):
        close = difflib.get_close_matches(str(text), choices, 1)
        raise ValueError(f"allowed is {describe(annotation)}" + (f"; did you mean {close[0]!r}?" if close else ""))
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
