"""What a sweep shows at its end, and what it does when it is started again."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2att import launch
from seq2att.cli import main
from seq2att.cli.train import different, table
from seq2att.errors import UserError

FIGURES = {"none": (0.9, 10.0), "dot": (0.5, 30.0), "additive": (0.7, 90.0)}  # loss, exact


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attentions that were trained, in runs that take no time; the recipe sets what the best is chosen by."""
    monkeypatch.chdir(tmp_path)
    found: list[str] = []

    def train(config: dict[str, Any]) -> Path:
        name, path = config["attention"]["name"], Path(config["run"])
        if name == "additive" and "additive" in found:
            raise UserError("no more additive")
        found.append(name)
        path.mkdir(parents=True)
        loss, exact = FIGURES[name]
        facts = {"validation": {"loss": loss, "exact": exact}, "epoch": 3.5, "best_by": config["trainer"]["best"]}
        (path / "metrics.json").write_text(json.dumps(facts))
        (path / "config.yaml").write_text(yaml.safe_dump(config))
        return path

    monkeypatch.setattr(launch, "run", train)
    return found


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What was printed, without what Hydra says."""
    return [line for line in capfd.readouterr().out.splitlines() if "HYDRA" not in line]


@pytest.mark.parametrize(("best", "order"), [("loss", "dot additive none"), ("exact", "additive dot none")])
def test_a_sweep_ends_with_a_table_the_best_first(
    trained: list[str], capfd: pytest.CaptureFixture[str], best: str, order: str
) -> None:
    assert main(["train", "reverse", "-m", "attention=none,dot,additive", f"trainer.best={best}"]) == 0
    head, *rows = lines(capfd)
    assert head == f"epoch  loss  exact  best by {best}"
    assert rows == [f"  3.5 {FIGURES[name][0]:5}  {FIGURES[name][1]:5.4g}  attention={name}" for name in order.split()]


def test_a_sweep_started_again_trains_what_is_missing(trained: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    command = ["train", "reverse", "trainer.best=loss", "-m"]
    assert main([*command, "attention=none,dot"]) == 0
    first = lines(capfd)
    assert main([*command, "attention=none,dot,additive"]) == 0
    assert trained == ["none", "dot", "additive"]
    again = lines(capfd)
    assert [line for line in again if "finished before" in line] == [
        f"runs/reverse/trainer.best=loss,attention={name}: finished before with the same settings; not trained again"
        for name in ("none", "dot")
    ]
    assert set(first) < set(again)


def test_a_sweep_that_fails_shows_what_it_has(trained: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    command = ["train", "reverse", "trainer.best=loss", "-m", "attention=dot,additive"]
    assert main([*command, "seed=1,2"]) == 2
    found = capfd.readouterr()
    assert found.err.splitlines()[-1] == "seq2att: error: no more additive"
    assert [line.split()[-1] for line in found.out.splitlines()[-3:]] == [
        "attention=dot,seed=1",
        "attention=dot,seed=2",
        "attention=additive,seed=1",
    ]


def test_only_the_first_of_several_processes_shows_the_table(
    trained: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert main(["train", "reverse", "trainer.best=loss", "-m", "attention=dot"]) == 0
    assert lines(capfd) == []


def test_runs_with_other_figures_fit_into_a_table(tmp_path: Path) -> None:
    """A job may have measured something else, and the one without the figure comes last."""
    jobs = []
    for name, facts in {
        "a=1": {"validation": {"loss": 1.0, "bleu": 20.0}, "epoch": 1, "best_by": "bleu"},
        "a=2": {"validation": {"loss": 0.5, "ter": 50.0}, "epoch": 12, "best_by": "ter"},
        "a=3": {"validation": {"loss": 2.0, "bleu": 25.0}, "best_by": "bleu"},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(facts))
        jobs.append({"run": str(tmp_path / name)})
    assert table(jobs) == [
        "epoch  loss  bleu  ter  best by bleu",
        "          2    25       a=3",
        "    1     1    20       a=1",
        "   12   0.5         50  a=2",
    ]


def test_a_job_is_called_by_what_sets_it_apart() -> None:
    names = ["a=1,seed=2,b=x,y", "a=1,seed=3,b=x,z"]
    assert [different(name, names) for name in names] == ["seed=2,y", "seed=3,z"]
    assert different("a=1,b=2", ["a=1,b=2"]) == "a=1,b=2"
    assert different("a=1", ["a=1", "a=1,b=2"]) == "a=1"
