"""What a sweep shows at its end, and what it does when it is started again."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2att import launch, registry
from seq2att.cli import main
from seq2att.cli.train import distinctive_part, table
from seq2att.config import compose, sweep
from seq2att.errors import UserError
from tests.refusals import refused

PLUGIN = """
from seq2att.registry import register

@register("callback", "probe")
def probe(*, rows: tuple[int, ...] = (), sizes: dict[str, int] | None = None, note: str | None = None):
    ...
"""
RECIPE = """
defaults: [config, override source/tokenizer: word]
reader: {train: x}
plugins: [sweep_plugin.py]
callbacks: [probe]
"""
registry.load()
KINDS = {  # two values of every kind of override
    "head=classification target=label head.pool": ("attend", "[last,max]"),
    "target=label head=classification head.pool": ("[attend]", "[mean, 'max']"),
    "reader=csv reader.train": ("r.csv", "한국/~a b(1).csv"),
    "reader=csv reader.train=r.csv reader.source": ("review", "['2','a,b']"),
    "encoder": ("rnn", "gru"),
    "attention": ("none", "additive"),
    "source": ("text", "features"),
    "source/tokenizer": ("char", "word"),
    "source.tokenizer.min_count": ("2", "3"),
    "target/tokenizer=char target.tokenizer.lower": ("true", "false"),
    "source.tokenizer.pattern": (r"'[^\\W\\d]+|\\d'", "null"),
    "optimizer.learning_rate": ("1e-4", "1"),
    "trainer": ("debug", "gpu"),
    "trainer.precision": ("16", "bf16"),
    "trainer.patience": ("null", "3"),
    "trainer.limit_train_batches": ("3", "0.5"),
    "metrics": ("[bleu,chrf]", "null"),
    "metrics=[bleu] metric.bleu.tokenize": ("char", "none"),
    "data.language": ("한국", "1.10"),
    "data.root": ("null", "'a b'"),
    "data.missing": ("NA", "[NA, '', \"it's\"]"),
    "source.remove": ("'x,y'", "{"),
    "source.replace": ("{a: b}", "null"),
    "source.replace.a": ("b", "~"),
    "decoder.size": ("${encoder.size}", "7"),
    "callback.probe.rows": ("[1,2]", "3"),
    "callback.probe.sizes": ("{가: 1}", "null"),
    "callback.probe.sizes.a": ("1", "2"),
    "callback.probe.note": ("a=b", '"quoted, text"'),
    "share=nothing run": ("x/${encoder.name}", "y"),
}
FIGURES = {"none": (0.9, 10.0), "dot": (0.5, 30.0), "additive": (0.7, 90.0)}  # loss, exact


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The attentions that were trained, in runs that take no time; the recipe sets what the best is chosen by."""
    monkeypatch.chdir(tmp_path)
    found: list[str] = []

    def train(config: dict[str, Any], command: object = None) -> Path:
        name, path = config["attention"]["name"], Path(config["run"])
        if name == "additive" and "additive" in found:
            raise UserError("E-data", "attention=additive", "no more additive")
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
    assert found.err.splitlines()[-1] == "seq2att: error [E-data]: attention=additive: no more additive"
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
    assert [distinctive_part(name, names) for name in names] == ["seed=2,y", "seed=3,z"]
    assert distinctive_part("a=1,b=2", ["a=1,b=2"]) == "a=1,b=2"
    assert distinctive_part("a=1", ["a=1", "a=1,b=2"]) == "a=1"


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("kind", KINDS)
def test_a_job_is_composed_as_a_single_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep_plugin.py").write_text(PLUGIN)
    Path("r.yaml").write_text(RECIPE)
    *fixed, key = kind.split()
    jobs: list[dict[str, Any]] = []
    sweep("r.yaml", [*fixed, f"{key}={','.join(KINDS[kind])}"], jobs.append)
    sweep("r.yaml", [*fixed, f"{key}={KINDS[kind][0]}", "seed=1,2"], jobs.append)
    overrides = [[f"{key}={value}"] for value in KINDS[kind]]
    overrides += [[*overrides[0], f"seed={seed}"] for seed in (1, 2)]
    singles = [compose("r.yaml", [*fixed, *job]) for job in overrides]
    assert len({job["run"] for job in jobs}) == len(jobs) == len(singles)
    for job, single in zip(jobs, singles, strict=True):
        assert job.pop("run").startswith(f"{single.pop('run')}/")
        assert job == single


def test_a_sweep_of_a_recipe_and_of_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.yaml").write_text("defaults: [reverse]\nhydra: {sweeper: {params: {seed: '1,2', decoder: 'gru,lstm'}}}\n")
    jobs: list[dict[str, Any]] = []
    sweep("s.yaml", ["seed=3", "attention=glob(d*)", "encoder.size=range(1,3)"], jobs.append)
    found = [(job["seed"], job["decoder"]["name"], job["attention"]["name"], job["encoder"]["size"]) for job in jobs]
    assert sorted(found) == [(3, decoder, "dot", size) for decoder in ("gru", "lstm") for size in (1, 2)]
    with refused("E-syntax", "encoder.size=range(x,)"):
        sweep("s.yaml", ["encoder.size=range(x,)"], jobs.append)


@pytest.mark.parametrize("override", ["hydra/launcher=none_such", "hydra.none_such=1", "encoder.size=interval(1,3)"])
def test_what_hydra_refuses_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str) -> None:
    monkeypatch.chdir(tmp_path)
    with refused("E-argument", "--multirun"):
        sweep("reverse", ["seed=1,2", override], lambda config: pytest.fail("trained"))


def test_the_table_of_a_sweep_says_what_each_run_cost(tmp_path: Path) -> None:
    jobs = []
    for name, facts in {"a=1": {"parameters": 1234}, "a=2": {}, "a=3": {"parameters": 56}}.items():
        (tmp_path / name).mkdir()
        facts |= {"validation": {"loss": 1.0 + len(jobs)}, "best_by": "loss"}
        (tmp_path / name / "metrics.json").write_text(json.dumps(facts))
        (tmp_path / name / "metrics.csv").write_text("epoch,loss,seconds\n1,2.0,3.2\n2,1.0,4567.8\n")
        jobs.append({"run": str(tmp_path / name)})
    (tmp_path / "a=3" / "metrics.csv").unlink()
    assert table(jobs) == [
        "epoch  loss  seconds  parameters  best by loss",
        "          1    4,568       1,234  a=1",
        "          2    4,568              a=2",
        "          3                   56  a=3",
    ]
