"""The laws of components that are no part of a model: tokenizers, fields, readers, metrics, optimizers and others."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seq2att import registry
from seq2att.data.corpus import Ragged
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.reader import Row
from seq2att.testing.cases import VALUES, nearest, text_of
from seq2att.testing.failure import require
from seq2att.types import END, SPECIALS, UNKNOWN

TEXTS = ("a bad cab", "bed", "face", "a", "dead bee")
DECODE = "`decode` does not undo `encode`"
RESTORE = "`files` or `restore` leave out something that `fit` learned"


def tokenizer_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """Decoding undoes encoding (up to white space), and a restored tokenizer encodes the same."""
    texts = list(examples) or list(TEXTS)
    slots = {"tokenizer": {"name": name, **options}}
    one, other = registry.build("tokenizer", slots), registry.build("tokenizer", slots)
    one.fit(texts)
    other.restore(one.files())
    is_unique = len(set(one.pieces)) == len(one.pieces) > 0
    require(is_unique, "pieces are missing or repeated", "`fit` sets `self.pieces` to a tuple of distinct pieces")
    require(other.pieces == one.pieces, "restored pieces differ", RESTORE)
    for text in texts:
        pieces = one.encode(text)
        is_known = set(pieces) <= set(one.pieces)
        require(is_known, f"{text!r} has unknown pieces in its own training data", "`fit` and `encode` cut differently")
        decoded = one.decode(pieces)
        require(decoded.split() == text.split(), f"{text!r} comes back changed: {decoded!r}", DECODE)
        require(other.encode(text) == pieces, f"{text!r} is cut differently after restoring", RESTORE)
    is_same = one.encode_batch(texts) == [one.encode(text) for text in texts]
    require(is_same, "a batch is cut differently", "`encode_batch` returns `encode` of every text")


def field_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """Decoding undoes encoding, ids lie within the size, and a restored field encodes the same."""
    slots = {"field": {"name": name, **options}, "tokenizer": {"name": "char"}}
    one, other = registry.build("field", slots), registry.build("field", slots)
    values = field_values(name, examples)
    try:
        one.fit(iter(values))
        arrays = one.encode_batch(values)
    except UserError as error:
        if examples:
            raise
        problem = f"refuses the kit's example values such as {values[0]!r} ({error})"
        remedy = f'call check("field", "{name}", examples=[...]) with values that it reads, or add --example VALUE'
        raise UserError("E-missing", f"field={name}", problem, remedy) from error
    other.restore(one.files())
    require(other.size == one.size, "the restored size differs", RESTORE)
    for value, array in zip(values, arrays, strict=True):
        cause = "`encode_batch` returns `encode` of every value"
        require(np.array_equal(one.encode(value), array), f"{value!r} is encoded differently in a batch", cause)
        is_same = np.array_equal(other.encode(value), array)
        require(is_same, f"{value!r} is encoded differently after restoring", RESTORE)
        if one.has_values:
            check_value(one, value, array)
        embedding = one.embed()
        embedded = embedding(Ragged.of([array]).gather([0]).values)
        shape = [1, len(array), embedding.output_size]
        cause = "`embed` returns a module from [B, S] ids or [B, S, F] numbers to [B, S, output_size]"
        actual = list(embedded.shape)
        require(actual == shape, f"{value!r}: the embedding has shape {actual}, expected {shape}", cause)


def field_values(name: str, examples: Sequence[Any]) -> list[Any]:
    """The examples, else values of the kit for the nearest known field."""
    value_of = nearest("field", name, VALUES, text_of)
    if examples or value_of is text_of:
        return list(examples) or list(TEXTS)
    random = np.random.default_rng(1)
    return [value_of(length, random) for length in (5, 2, 3, 1, 8)]


def check_value(field: Field, value: Any, array: npt.NDArray[Any]) -> None:
    """A value comes back from its array; ids lie within the size of the field, vectors have its width."""
    cause = "`is_sequence = False` promises one item for each row, `is_sequence = True` a sequence"
    require(field.is_sequence or len(array) == 1, f"{value!r} is {len(array)} items, but a row has one", cause)
    if array.dtype.kind in "fu":
        is_valid = array.ndim == 2 and array.shape[1] == field.size and bool(np.isfinite(array).all())
        cause = "`encode` returns finite numbers [S, F], and `size` is F"
        require(is_valid, f"{value!r} has shape {list(array.shape)}, expected [S, {field.size}]", cause)
        again = field.encode(field.decode(list(array)))
        is_same = again.shape == array.shape and np.allclose(again, array, rtol=1e-5, atol=1e-6)
        require(is_same, f"{value!r} comes back changed", DECODE)
        return
    has_specials = field.unknown_id == UNKNOWN  # ids follow those of the special tokens, and an end stops decoding
    decoded = field.decode([*array, END] if has_specials else array.tolist())
    require(decoded == field.text(value), f"{value!r} comes back changed: {decoded!r}", DECODE)
    first = len(SPECIALS) if has_specials else 0
    is_valid = first <= array.min() and array.max() < field.size
    require(is_valid, f"{value!r} has ids out of range", f"ids are from {first} to `size` - 1")


def reader_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """Reading again gives the same rows, each with its place, and the same fingerprint."""
    one, other = (registry.build("reader", {"reader": {"name": name, **options}}) for _ in range(2))
    require("train" in one.splits(), "names no training split", "`splits` returns a tuple of split names with train")
    for split in one.splits():
        rows = list(one.read(split, None))
        cause = "`read` is a generator: it yields every row anew at each call, in the order of the data"
        require(bool(rows) and rows == list(other.read(split, None)), f"{split} is read differently again", cause)
        for row in rows:
            expect_type(row, Row, "seq2att.Row", "yields")
        has_place = all(row.file and row.line > 0 for row in rows)
        require(has_place, f"a row of {split} has no place", "a Row names its file, and its line from 1")
        sides = [dict(zip(("source", "target"), row.values, strict=False)) for row in rows]
        is_absent = all(values.get(side) is None for values in sides for side in one.absent)
        problem = f"a row of {split} has a value on a side that `absent` names"
        require(is_absent, problem, "`absent` names the sides that no row has")
        is_same = one.fingerprint(split, None) == other.fingerprint(split, None)
        cause = "`fingerprint` is a hash of options and content: no ids, times or `hash()`"
        require(is_same, f"the fingerprint of {split} changes", cause)


Answers = tuple[list[tuple[str, ...]], list[str]]
TEXT_ANSWERS: Answers = (
    [("a b c d e", "a b c d f"), ("g h i j k",), ("l m n o p", "q r s t u", "l")],
    ["a b c d e", "g h x y z", "none of these"],
)
ANSWERS: dict[str, Answers] = {
    "estimate": ([("1", "1.5"), ("-2.25",), ("3e1", "40", "2")], ["1.0", "7", "-2.5"]),
    "tag": (
        [("B-x I-x O", "B-x O O"), ("O B-y O B-x",), ("B-x", "B-y", "B-z")],
        ["B-x I-x O", "O B-y O B-y", "O"],
    ),
}
"""Right answers for some rows, and worse predictions, by the task of a metric; those of other tasks compare texts."""


def metric_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """Right answers beat wrong ones, any right answer will do, and the order of rows does not matter."""
    metric = registry.build("metric", {"metric": {"name": name, **options}})
    references, wrong = next((ANSWERS[task] for task in metric.tasks if task in ANSWERS), TEXT_ANSWERS)
    best = metric([answers[-1] for answers in references], references)
    worse = metric(wrong, references)
    is_better = best.value > worse.value if metric.higher_is_better else best.value < worse.value
    cause = "the best of several right answers counts; set `higher_is_better = False` where less is better"
    require(is_better, f"right answers score {best.value}, wrong ones {worse.value}", cause)
    again = metric(wrong[::-1], references[::-1]).value
    require(again == worse.value, "the order of rows matters", "score rows one by one; sum with `math.fsum`")
    require(bool(best.signature), "no signature", "the signature names all that the value depends on except the texts")


def optimizer_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """A hundred steps approach the minimum of a parabola."""
    start = torch.tensor([3.0, -2.0])
    parameter = torch.nn.Parameter(start.clone())
    optimizer = registry.build("optimizer", {"optimizer": {"name": name, **options}}, [parameter])
    expect_type(optimizer, torch.optim.Optimizer, "torch.optim.Optimizer")
    for _ in range(100):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    is_nearer = float(parameter.detach().norm()) < float(start.norm())
    require(is_nearer, "a hundred steps do not lower the loss", "the sign of the update, or a state that is never set")


def schedule_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """The rate is finite and never negative, and is above 0 somewhere."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = registry.build("schedule", {"schedule": {"name": name, **options}}, optimizer, 50, 10)
    is_schedule = isinstance(schedule, dict) and "scheduler" in schedule
    cause = 'return {"scheduler": ..., "interval": "step" or "epoch"}, as `each_step` does'
    require(is_schedule, f"returns {type(schedule).__name__}, expected a dictionary with `scheduler`", cause)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step(*([1.0] if "monitor" in schedule else []))
    is_valid = all(0 <= rate < float("inf") for rate in rates) and max(rates) > 0
    require(is_valid, f"rates from {min(rates):.3g} to {max(rates):.3g}", "the factor is below 0 or not finite")


def callback_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """It is a callback of ours, its calls have known names, and a checkpoint can keep its state."""
    from seq2att.callback import Callback

    one, other = (registry.build("callback", {"callback": {"name": name, **options}}) for _ in range(2))
    expect_type(one, Callback, "seq2att.Callback")
    calls = [call for call in dir(Callback) if call.startswith("on_")]
    unknown = [call for call in dir(one) if call.startswith("on_") and call not in calls]
    require(not unknown, f"{', '.join(unknown)} is never called", f"a typing error; known: {', '.join(calls)}")
    checkpoint = io.BytesIO()
    torch.save(one.state_dict(), checkpoint)
    checkpoint.seek(0)
    other.load_state_dict(torch.load(checkpoint, weights_only=True))


def logger_laws(name: str, options: Mapping[str, Any], examples: Sequence[Any]) -> None:
    """It has the interface of Lightning's loggers and takes figures."""
    from seq2att.logger import Logger

    with tempfile.TemporaryDirectory() as folder:
        made = registry.build("logger", {"logger": {"name": name, **options}}, Path(folder))
        expect_type(made, Logger, "an object with log_metrics and finalize")
        made.log_metrics({"loss": 1.0}, step=1)
        made.finalize("success")


def expect_type(component: object, expected: type, shown: str, verb: str = "returns") -> None:
    """Raise `LawError` unless a component's function returned, or yielded, this type."""
    cause = "the function has no `return`"
    problem = f"{verb} {type(component).__name__}, expected {shown}"
    require(isinstance(component, expected), problem, cause if component is None else "")


COMPONENT_LAWS: dict[str, Callable[[str, Mapping[str, Any], Sequence[Any]], None]] = {
    "tokenizer": tokenizer_laws,
    "field": field_laws,
    "reader": reader_laws,
    "metric": metric_laws,
    "optimizer": optimizer_laws,
    "schedule": schedule_laws,
    "callback": callback_laws,
    "logger": logger_laws,
}
