"""Work and memory are bounded: batches by tokens, limits that are said first, long rows in parts."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import seq2att
from seq2att import api
from seq2att.data import by_length
from seq2att.inference import FastLayer, modules
from seq2att.kernels import AttentionMemory
from seq2att.recurrence import Layer
from seq2att.search import LONGEST, Beam
from seq2att.types import Encoding
from tests.refusals import refused


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def model(reverse_run: Path, said: list[str]) -> api.Predictor:
    return seq2att.load(reverse_run, say=said.append)


@pytest.mark.parametrize("width", [1, 4, 20])
def test_batches_keep_every_row_once_and_their_tokens(width: int) -> None:
    lengths = np.random.default_rng(width).integers(0, 3000, 400) ** 2 // 3000
    found = [rows.tolist() for rows in by_length(lengths, 64, 5000, width)]
    assert sorted(itertools.chain.from_iterable(found)) == list(range(400))
    assert [lengths[rows[0]] for rows in found] == sorted((lengths[rows[0]] for rows in found), reverse=True)
    for rows in found:
        longest = int(lengths[rows].max())
        assert len(rows) == 1 or len(rows) * longest <= 5000 * 4 / max(4, width)
        assert len(rows) <= 64
        assert longest <= 256 or 2 * lengths[rows].min() >= longest


def test_an_answer_is_at_most_so_long_whatever_the_source() -> None:
    mask = torch.ones(3, 10_000, dtype=torch.bool)
    mask[1, 5:] = mask[2, 1008:] = False
    assert Beam().limits(Encoding(mask, mask, ())).tolist() == [LONGEST, 42, LONGEST]
    assert Beam(max_length=9000).limits(Encoding(mask, mask, ())).tolist() == [9000] * 3


def test_limits_are_said_before_the_work(model: api.Predictor, said: list[str]) -> None:
    long = " ".join("ab" * 1200)
    with refused("E-length", "line 2 (2,400 tokens)"):
        model.translate(["a b", long], max_source_length=2000)
    assert model.translate(long, max_source_length=9, too_long="cut", attention=False).source_tokens == tuple(
        "ababababa"
    )
    assert "max_source_length=9 tokens: line 1" in said.pop()
    model.translate(["a", long], first_line=7, search={"name": "greedy"})
    assert "max-length" in said[0]
    assert "line 8 (2,400 tokens)" in said.pop()
    model.translate(long, search={"name": "greedy", "max_length": 3})
    assert said == []
    with refused("E-size", "max_source_length=0"):
        model.translate("a", max_source_length=0)


def test_a_beginning_has_a_limit_too(tiny_run: Callable[[str], Path]) -> None:
    model = seq2att.load(tiny_run("texts"))
    with refused("E-length", "line 1"):
        model.generate("ab" * 9, max_source_length=3)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("lengths", [None, [4, 11, 0, 9]])
def test_a_layer_reads_a_long_row_in_parts(
    cell: str, backwards: bool, lengths: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(1)
    layer = Layer(cell, 3, 5)  # type: ignore[arg-type]
    fast = FastLayer(layer, quantize=False)
    inputs, ends = torch.randn(4, 11, 3), None if lengths is None else torch.tensor(lengths)
    whole = fast(inputs, layer.start(inputs, 4), ends, backwards)
    monkeypatch.setattr(modules, "PART", 12)
    parts = fast(inputs, layer.start(inputs, 4), ends, backwards)
    assert torch.equal(whole.outputs, parts.outputs)
    assert all(torch.equal(*each) for each in zip(whole.final, parts.final, strict=True))
    assert fast(inputs[:, :0], layer.start(inputs, 4), None, backwards).outputs.shape == (4, 0, 5)


def test_weights_that_nobody_keeps_take_their_memory_once() -> None:
    memory = AttentionMemory(torch.randn(2, 7, 3), torch.randn(2, 7, 4), torch.zeros(2, 7, dtype=torch.bool), None)
    assert memory.room(2).data_ptr() != memory.room(2).data_ptr() or memory.room(2).shape == (2, 7)
    memory.reuses_weights = True
    assert memory.room(6).shape == (6, 7)
    assert memory.room(4).data_ptr() == memory.room(6).data_ptr()
