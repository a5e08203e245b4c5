"""What does not fit into memory is computed in parts: with the gradient and the answers of the whole batch."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import seq2att
from seq2att.errors import is_out_of_memory
from seq2att.memory import DoesNotFitError, in_parts, join
from seq2att.model import Model
from seq2att.trainer.evaluation import StreamState, likelihood
from seq2att.types import Batch, leaves
from tests.refusals import refused
from tests.test_language_model import corpus, equal, language_model, options, read
from tests.test_trainer import ToyModel, hook, make_config, toy, weights

ENOMEM = 12


def python() -> None:
    raise MemoryError


def numpy() -> None:
    np.empty(1 << 58)


def allocator() -> None:
    torch.empty(1 << 58)


def windows() -> None:
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you tried")


def gpu() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 TiB.")


def system() -> None:
    raise OSError(ENOMEM, "Cannot allocate memory")


SHORTAGES = (python, numpy, allocator, windows, gpu, system)


@pytest.mark.parametrize("shortage", SHORTAGES)
def test_every_kind_of_shortage_is_known(shortage: Callable[[], None]) -> None:
    with pytest.raises((MemoryError, RuntimeError, OSError)) as raised:
        shortage()
    assert is_out_of_memory(raised.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("size mismatch"),
        OSError(28, "No space left"),
        OSError(2, "No such file", "out of memory.txt"),
        ValueError("memory"),
    ],
)
def test_other_errors_are_none(error: Exception) -> None:
    assert not is_out_of_memory(error)


class Hungry(ToyModel):
    """A toy that needs too much memory for more than `most` rows, in the forward or in the backward pass."""

    def __init__(self, most: int, shortage: Callable[[], None] = python, where: str = "forward") -> None:
        super().__init__(dropout=0.0)
        self.most, self.shortage, self.where = most, shortage, where

    def forward(self, batch: Batch, state: Any = ()) -> Any:
        loss = super().forward(batch)
        if len(batch.rows) > self.most and self.training:
            if self.where == "forward":
                self.shortage()
            # The gradient of the output layer is there by then, that of the embedding is not.
            self.embedding_gradient(loss)
        return loss

    def embedding_gradient(self, loss: Any) -> None:
        self.hidden.register_hook(lambda gradient: self.shortage())

    def logits(self, batch: Batch) -> Tensor:
        self.hidden = torch.tanh(self.embedding(batch.source.values))
        logits: Tensor = self.output(self.hidden)
        return logits


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("most", [1])
def test_a_split_batch_has_the_gradient_of_the_whole(tmp_path: Path, most: int, where: str, accumulate: int) -> None:
    lines: list[str] = []
    settings = {"precision": "64", "accumulate": accumulate}
    whole = toy(make_config(tmp_path / "whole", **settings), model=Hungry(99).double())
    split = toy(make_config(tmp_path / "split", **settings), say=lines.append, model=Hungry(most, where=where).double())
    torch.testing.assert_close(weights(split), weights(whole), rtol=1e-10, atol=1e-12)
    assert split.best is not None
    assert whole.best is not None
    assert split.best.values == pytest.approx(whole.best.values, rel=1e-10)
    assert split.best.train_accuracy == whole.best.train_accuracy > 0
    named = [line for line in lines if "memory" in line]
    assert len(named) == 2, "once at the first, and their number at the end"
    assert "toy.tsv:" in named[0]
    assert split.stepper.num_split == 16
    assert "16 batches" in named[1]


def test_where_memory_runs_out_changes_no_random_number(tmp_path: Path) -> None:
    """Dropout draws other units for the parts than for the whole, but the same after any kind of failure."""

    def run(name: str, where: str) -> Tensor:
        model = Hungry(2, where=where)
        dropout = torch.nn.Dropout(0.3)
        logits = model.logits
        model.logits = lambda batch: dropout(logits(batch)) if model.training else logits(batch)
        return weights(toy(make_config(tmp_path / name), model=model))

    assert torch.equal(run("forward", "forward"), run("backward", "backward"))


def test_a_row_that_does_not_fit_alone_is_named(tmp_path: Path) -> None:
    with refused("E-memory", "toy.tsv:"):
        toy(make_config(tmp_path / "run"), model=Hungry(0))


def test_stopping_names_the_longest_row_and_what_goes_on(tmp_path: Path) -> None:
    model = Hungry(99)

    def shrink(training: Any) -> None:
        model.most = 2

    with refused("E-memory", "data.batch_size=4") as error:
        toy(make_config(tmp_path / "run", on_memory="stop"), [hook("on_validation", shrink)], model=model)
    assert "the longest of" in error.value.problem
    assert "goes on from step 8" in error.value.remedy
    resumed = toy(make_config(tmp_path / "run", on_memory="split"), model=Hungry(2))
    assert resumed.step == 16


def test_parts_of_running_text_carry_their_states() -> None:
    case = language_model()
    split, whole = StreamState(options()), StreamState(options())

    class Short:
        def __call__(self, batch: Batch, state: Any) -> Any:
            if len(batch.rows) > 2:
                raise MemoryError
            return case.model(batch, state)

    for batch in read(corpus(40), options(batch_size=5)):
        parts: list[Any] = split.losses(Short(), batch)  # type: ignore[arg-type]
        (loss,) = whole.losses(case.model, batch)
        assert len(parts) == 3
        assert sum(float(part.total.detach()) for part in parts) == pytest.approx(float(loss.total.detach()), rel=1e-10)
        assert sum(int(part.count) for part in parts) == int(loss.count)
        equal(leaves(split.state), leaves(whole.state), "the state")


def test_parts_keep_the_order_and_only_memory_splits() -> None:
    batch = read(corpus(40), options(batch_size=5))[0]

    def most(rows: int) -> list[list[int]]:
        def compute(part: Batch, state: Any) -> list[int]:
            if len(part.rows) > rows:
                raise MemoryError
            return part.rows.tolist()

        return in_parts(compute, batch)

    for rows in (1, 2, 3, 5):
        assert list(itertools.chain(*most(rows))) == batch.rows.tolist()
    with pytest.raises(DoesNotFitError):
        most(0)
    with pytest.raises(ZeroDivisionError):
        in_parts(lambda part, state: 1 / 0, batch)
    assert join([()]) == ()


def test_answers_do_not_depend_on_what_fits(reverse_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["a b c", "", "d e f g", "a", "l k j i h", "c c"]
    pairs = [(text, text) for text in texts]
    model = seq2att.load(reverse_run)
    answers, scores = model.translate(texts, beam=3), model.score(pairs)
    most = limit_rows(monkeypatch, 2)
    for one, other in zip(model.translate(texts, beam=3), answers, strict=True):
        assert (one.text, one.tokens) == (other.text, other.tokens)
        assert one.score == pytest.approx(other.score, rel=1e-5)
    assert [one.score for one in model.score(pairs)] == pytest.approx([one.score for one in scores], rel=1e-5)
    most[0] = 0
    with refused("E-memory", "line 15"):
        model.translate(["a"], first_line=15)
    with refused("E-memory", "pair 7"):
        model.score([("a", "a")], first_pair=7)


def test_an_evaluation_does_not_depend_on_what_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    case, text = language_model(), corpus(12)
    whole = likelihood(case.model, text, 4)
    limit_rows(monkeypatch, 2)
    assert float(likelihood(case.model, text, 4).total) == pytest.approx(float(whole.total), rel=1e-10)


def limit_rows(monkeypatch: pytest.MonkeyPatch, rows: int) -> list[int]:
    """Let memory suffice for so many rows only; the number may be changed."""
    most = [rows]
    for name in ("forward", "predict", "score"):
        method = getattr(Model, name)

        def limited(self: Model, batch: Batch, *rest: Any, method: Any = method) -> Any:
            if len(batch.rows) > most[0]:
                raise MemoryError
            return method(self, batch, *rest)

        monkeypatch.setattr(Model, name, limited)
    return most


ADDRESS_SPACE = """
import resource, sys
from pathlib import Path
import torch
from tests.test_trainer import ToyModel, make_config, toy

ROW = 1 << 30  # never touched; so large a block goes back to the system at once


class Large(ToyModel):
    def forward(self, batch, state=()):
        torch.empty(len(batch.rows), ROW, dtype=torch.uint8)
        return super().forward(batch)


toy(make_config(Path(sys.argv[1]) / "warm", max_steps=1))
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 11 * ROW // 4, -1))
training = toy(make_config(Path(sys.argv[1]) / "run", max_steps=3), model=Large(), say=print)
print("split", training.stepper.num_split)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits its address space")
def test_a_process_without_memory_goes_on_in_parts(tmp_path: Path, root: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", ADDRESS_SPACE, tmp_path]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "split 3"
    assert "with toy.tsv:" in done.stdout
