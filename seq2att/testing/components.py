"""The laws of components that are no part of a model: tokenizers, fields, readers, metrics, optimizers and others."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from seq2att import registry
from seq2att.types import END, SPECIALS

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
    one.fit(TEXTS)
    other.restore(one.files())
    assert other.size == one.size, f"field={name}: the restored size differs"
    for text, ids in zip(TEXTS, one.encode_batch(TEXTS), strict=True):
        assert one.decode([*ids, END]) == text, f"field={name}: {text!r} comes back changed"
        assert len(SPECIALS) <= min(ids) and max(ids) < one.size, f"field={name}: {text!r} has ids out of range"
        assert list(other.encode(text)) == list(ids), f"field={name}: {text!r} is encoded differently after restoring"
    embedded = one.embed()(torch.tensor([[5, 0]]))
    assert embedded.shape[:2] == (1, 2), f"field={name}: the embedding has shape {tuple(embedded.shape)}"


def reader_laws(name: str, options: Mapping[str, Any]) -> None:
    """Reading again gives the same rows, each with its place, and the same fingerprint."""
    one, other = (registry.build("reader", {"reader": {"name": name, **options}}) for _ in range(2))
    assert "train" in one.splits(), f"reader={name}: names no training split"
    for split in one.splits():
        rows = list(one.read(split, None))
        assert rows and rows == list(other.read(split, None)), f"reader={name}: {split} is read differently again"
        assert all(found.file and found.line > 0 for found in rows), f"reader={name}: a row of {split} has no place"
        same = one.fingerprint(split, None) == other.fingerprint(split, None)
        assert same, f"reader={name}: the fingerprint of {split} changes"


def metric_laws(name: str, options: Mapping[str, Any]) -> None:
    """Right answers beat wrong ones, any right answer will do, and the order of rows does not matter."""
    metric = registry.build("metric", {"metric": {"name": name, **options}})
    right = [("a b c d e", "a b c d f"), ("g h i j k",), ("l m n o p", "q r s t u", "l")]
    best = metric([answers[-1] for answers in right], right)
    mixed = ["a b c d e", "g h x y z", "none of these"]
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
