"""The laws of components that are no part of a model: tokenizers, fields, readers, metrics, optimizers and others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from seq2att import registry
from seq2att.data.corpus import Ragged
from seq2att.field import Field
from seq2att.testing.cases import VALUES, like, text_of
from seq2att.types import END, SPECIALS, UNKNOWN

TEXTS = ("a bad cab", "bed", "face", "a", "dead bee")


def tokenizer_laws(name: str, options: Mapping[str, Any]) -> None:
    """Decoding undoes encoding (up to white space), and what is restored encodes the same."""
    one = registry.build("tokenizer", {"tokenizer": {"name": name, **options}})
    one.fit(TEXTS)
    other = registry.build("tokenizer", {"tokenizer": {"name": name, **options}})
    other.restore(one.files())
    assert len(set(one.pieces)) == len(one.pieces) > 0, f"tokenizer={name}: pieces are missing or repeated"
    assert other.pieces == one.pieces, f"tokenizer={name}: restored pieces differ"
    for text in TEXTS:
        pieces = one.encode(text)
        assert set(pieces) <= set(one.pieces), f"tokenizer={name}: {text!r} has unknown pieces in its own training data"
        assert one.decode(pieces).split() == text.split(), f"tokenizer={name}: {text!r} comes back changed"
        assert other.encode(text) == pieces, f"tokenizer={name}: {text!r} is cut differently after restoring"
    assert one.encode_batch(TEXTS) == [one.encode(text) for text in TEXTS], (
        f"tokenizer={name}: a batch is cut differently"
    )


def field_laws(name: str, options: Mapping[str, Any]) -> None:
    """Decoding undoes encoding, ids lie within the size, and what is restored encodes the same."""
    slots = {"field": {"name": name, **options}, "tokenizer": {"name": "char"}}
    one, other = registry.build("field", slots), registry.build("field", slots)
    random, value_of = np.random.default_rng(1), like("field", name, VALUES, text_of)
    values = TEXTS if value_of is text_of else [value_of(length, random) for length in (5, 2, 3, 1, 8)]
    one.fit(iter(values))
    other.restore(one.files())
    assert other.size == one.size, f"field={name}: the restored size differs"
    for value, array in zip(values, one.encode_batch(values), strict=True):
        what = f"field={name}: {value!r}"
        assert np.array_equal(one.encode(value), array), f"{what} is encoded differently in a batch"
        assert np.array_equal(other.encode(value), array), f"{what} is encoded differently after restoring"
        if one.has_values:
            field_law_of_value(one, value, array, what)
        embedding = one.embed()
        embedded = embedding(Ragged.of([array]).gather([0]).values)
        shape = (1, len(array), embedding.output_size)
        assert embedded.shape == shape, f"{what}: the embedding has shape {tuple(embedded.shape)}, not {shape}"


def field_law_of_value(field: Field, value: Any, array: npt.NDArray[Any], what: str) -> None:
    """One value comes back; its ids lie within the size, its vectors are as wide as that."""
    assert field.is_sequence or len(array) == 1, f"{what} is {len(array)} items, but a row has one"
    if array.dtype.kind == "f":
        assert array.shape[1] == field.size and np.isfinite(array).all(), f"{what} has shape {array.shape}"
        again = field.encode(field.decode(list(array)))
        assert np.allclose(again, array, rtol=1e-5, atol=1e-6), f"{what} comes back changed"
        return
    said = field.unknown_id == UNKNOWN  # ids follow those of the special tokens, and an end stops reading
    first = len(SPECIALS) if said else 0
    decoded = field.decode([*array, END] if said else array.tolist())
    assert decoded == field.text(value), f"{what} comes back changed: {decoded!r}"
    assert first <= array.min() and array.max() < field.size, f"{what} has ids out of range"


def reader_laws(name: str, options: Mapping[str, Any]) -> None:
    """Reading again gives the same rows, each with its place, and the same fingerprint."""
    one, other = (registry.build("reader", {"reader": {"name": name, **options}}) for _ in range(2))
    assert "train" in one.splits(), f"reader={name}: names no training split"
    for split in one.splits():
        rows = list(one.read(split, None))
        assert rows and rows == list(other.read(split, None)), f"reader={name}: {split} is read differently again"
        assert all(found.file and found.line > 0 for found in rows), f"reader={name}: a row of {split} has no place"
        sides = [dict(zip(("source", "target"), found.values, strict=False)) for found in rows]
        absent = all(values.get(side) is None for values in sides for side in one.absent)
        assert absent, f"reader={name}: a row of {split} has a value on a side that is said to be absent"
        same = one.fingerprint(split, None) == other.fingerprint(split, None)
        assert same, f"reader={name}: the fingerprint of {split} changes"


TEXT_ANSWERS: list[tuple[str, ...]] = [("a b c d e", "a b c d f"), ("g h i j k",), ("l m n o p", "q r s t u", "l")]
TEXT_SAID = ["a b c d e", "g h x y z", "none of these"]
NUMBER_ANSWERS: list[tuple[str, ...]] = [("1", "1.5"), ("-2.25",), ("3e1", "40", "2")]
NUMBER_SAID = ["1.0", "7", "-2.5"]
TAG_ANSWERS: list[tuple[str, ...]] = [("B-x I-x O", "B-x O O"), ("O B-y O B-x",), ("B-x", "B-y", "B-z")]
TAG_SAID = ["B-x I-x O", "O B-y O B-y", "O"]
ANSWERS: dict[str, tuple[list[tuple[str, ...]], list[str]]] = {
    "mse": (NUMBER_ANSWERS, NUMBER_SAID),
    "mae": (NUMBER_ANSWERS, NUMBER_SAID),
    "pearson": (NUMBER_ANSWERS, NUMBER_SAID),
    "span_f1": (TAG_ANSWERS, TAG_SAID),
    "tag_accuracy": (TAG_ANSWERS, TAG_SAID),
}
"""Right answers for some rows, and worse ones, for every metric; one that is not named compares texts."""


def metric_laws(name: str, options: Mapping[str, Any]) -> None:
    """Right answers beat wrong ones, any right answer will do, and the order of rows does not matter."""
    metric = registry.build("metric", {"metric": {"name": name, **options}})
    right, mixed = like("metric", name, ANSWERS, (TEXT_ANSWERS, TEXT_SAID))
    best = metric([answers[-1] for answers in right], right)
    worse = metric(mixed, right)
    better = best.value > worse.value if metric.higher_is_better else best.value < worse.value
    assert better, f"metric={name}: right answers score {best.value}, wrong ones {worse.value}"
    assert metric(mixed[::-1], right[::-1]).value == worse.value, f"metric={name}: the order of rows matters"
    assert best.signature, f"metric={name}: no signature"


def optimizer_laws(name: str, options: Mapping[str, Any]) -> None:
    """A hundred steps bring a bowl's bottom nearer."""
    start = torch.tensor([3.0, -2.0])
    parameter = torch.nn.Parameter(start.clone())
    optimizer = registry.build("optimizer", {"optimizer": {"name": name, **options}}, [parameter])
    for _ in range(100):
        optimizer.zero_grad()
        parameter.square().sum().backward()
        optimizer.step()
    assert float(parameter.detach().norm()) < float(start.norm()), f"optimizer={name}: a hundred steps led nowhere"


def schedule_laws(name: str, options: Mapping[str, Any]) -> None:
    """The rate is finite and never negative, and is above 0 somewhere."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    config = registry.build("schedule", {"schedule": {"name": name, **options}}, optimizer, 50, 10)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if "monitor" in config:
            config["scheduler"].step(1.0)
        else:
            config["scheduler"].step()
    assert all(0 <= rate < float("inf") for rate in rates) and max(rates) > 0, f"schedule={name}: rates {rates}"


def callback_laws(name: str, options: Mapping[str, Any]) -> None:
    """It is a Lightning callback."""
    from lightning.pytorch import Callback

    made = registry.build("callback", {"callback": {"name": name, **options}})
    assert isinstance(made, Callback), f"callback={name}: gives a {type(made).__name__}"


def logger_laws(name: str, options: Mapping[str, Any]) -> None:
    """It is a Lightning logger and takes figures."""
    from lightning.pytorch.loggers import Logger

    with tempfile.TemporaryDirectory() as folder:
        made = registry.build("logger", {"logger": {"name": name, **options}}, Path(folder))
        assert isinstance(made, Logger), f"logger={name}: gives a {type(made).__name__}"
        made.log_metrics({"loss": 1.0}, step=1)
        made.finalize("success")


COMPONENT_LAWS: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
    "tokenizer": tokenizer_laws,
    "field": field_laws,
    "reader": reader_laws,
    "metric": metric_laws,
    "optimizer": optimizer_laws,
    "schedule": schedule_laws,
    "callback": callback_laws,
    "logger": logger_laws,
}
