"""What can be known to be wrong is said before any data are read."""

from __future__ import annotations

import pytest
import torch

from seq2att import compose
from seq2att.cli import main
from seq2att.config import recipes
from seq2att.errors import UserError
from seq2att.trainer import dry_run, fitting
from tests.refusals import refused

REFUSED = {
    "encoder.size=200000": ("E-memory", "model"),
    "encoder.size=2147483647 encoder.layers=100": ("E-memory", "model"),
    "source.embedding_size=2000000000": ("E-memory", "model"),
    "attention=dot encoder.size=30": ("E-conflict", "attention=dot"),
    "search=beam search.n_best=7": ("E-conflict", "search.n_best=7"),
    "search.min_length=7 search.max_length=3": ("E-conflict", "search.min_length=7"),
    "optimizer=sgd optimizer.nesterov=true": ("E-conflict", "optimizer.nesterov=true"),
    "output.tie=true target.embedding_size=7": ("E-conflict", "output.tie=true"),
    "trainer.validate_every=1.5": ("E-range", "trainer.validate_every=1.5"),
    "trainer.monitor=blue": ("E-metric", "trainer.monitor=blue"),
    "reader.shortest=5 reader.longest=4": ("E-size", "reader.shortest=5"),
    "reader=tsv reader.train=x data.validation_fraction=0.5 data.test_fraction=0.5": (
        "E-split",
        "data.validation_fraction=0.5",
    ),
}


@pytest.mark.parametrize("overrides", REFUSED)
def test_what_cannot_work_is_refused_at_once(overrides: str) -> None:
    code, subject = REFUSED[overrides]
    with refused(code, subject) as info:
        dry_run.check_run(compose("reverse", overrides.split()))
    assert "\n" not in str(info.value)


def test_the_estimate_of_the_memory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dry_run.total_memory("cpu") > 1 << 20
    monkeypatch.setattr(dry_run, "total_memory", lambda _: 1 << 20)
    with refused("E-memory", "model") as info:
        dry_run.check_run(compose("reverse", ["decoder.size=400"]))
    assert "0.0 GiB of memory" in info.value.problem
    assert info.value.remedy == "lower decoder.size=400"


def test_a_dry_run_draws_no_random_number() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    dry_run.check_run(compose("reverse", []))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("recipe", [name for name in recipes() if name not in ("nsmc", "surname_origin")])
def test_every_recipe_passes(recipe: str) -> None:
    try:
        config = compose(recipe)
    except UserError as error:
        pytest.skip(str(error))
    dry_run.check_run(config)


def test_every_job_of_a_sweep_is_checked_before_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fitting, "prepare", lambda *_: pytest.fail("the data were read"))
    assert main(["train", "reverse", "-m", "search=beam", "search.n_best=1,7"]) == 2
    assert "search.n_best=7" in capsys.readouterr().err
