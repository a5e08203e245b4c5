"""The record of a run and its reproduction: what a run depended on is noted, and the same again gives the same bits."""

import json
import shlex
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import seq2att
from seq2att import cli, launch
from seq2att.api.reproduction import reproduce, summarize, tensor_difference, value_difference
from seq2att.cli.reproduce import EXAMPLES
from seq2att.files.description import describe_file, short_path, without_home
from seq2att.reader.hub import hub_commit
from seq2att.trainer import machine, record
from seq2att.trainer.revision import git, revision
from tests.refusals import refused

QUIET = ["trainer.progress=false", "trainer.examples=0"]
CLASSES = """
defaults: [config, override head: classification, override target: label, override source/tokenizer: char,
  override reader: tsv, _self_]
reader: {train: data/train.tsv, validation: data/validation.tsv, test: null}
data: {test_fraction: 0}
source: {embedding_size: 8}
encoder: {size: 8}
trainer: {epochs: 2}
"""


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, its data and a finished run."""
    folder = tmp_path_factory.mktemp("classifier")
    (folder / "data").mkdir()
    (folder / "data" / "train.tsv").write_text("ab\tA\nabba\tA\nba\tA\ncd\tC\ncdc\tC\ndd\tC\n")
    (folder / "data" / "validation.tsv").write_text("aab\tA\nccd\tC\n")
    (folder / "small.yaml").write_text(CLASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        seq2att.train("small.yaml", ["run=runs/small", *QUIET])
    return folder


@pytest.fixture
def here(classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that folder, which is the current one."""
    shutil.copytree(classifier, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def again(run: str = "runs/small", **options: Any) -> Any:
    """Reproduce a run, silently."""
    return reproduce(run, say=lambda line: None, **{"warn": lambda line: None, **options})


# What is noted


def test_the_record_holds_what_a_run_depends_on(classifier: Path) -> None:
    saved = record.read_record(classifier / "runs" / "small")
    assert saved is not None
    start = record.last_start(saved)
    assert start["command"] == ["seq2att.train", "small.yaml", "run=runs/small", *QUIET]
    assert (start["recipe"], start["seed"], start["processes"], start["device"]) == ("small", 1, 1, "cpu")
    assert start["versions"]["torch"] == torch.__version__
    assert start["processor"]["model"]
    assert start["kernel"]["tier"] in ("cpp", "torch")
    (file,) = start["data"]["train"]["files"]
    assert file == {**describe_file(classifier / "data" / "train.tsv", classifier), "file": "data/train.tsv"}
    assert saved["starts"][0]["time"] <= saved["ended"]


def test_the_record_names_neither_user_nor_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    monkeypatch.setenv("SEQ2ATT_TEST_TOKEN", "hf_verysecret")
    assert cli.main(["train", str(here / "small.yaml"), f"run={here / 'runs' / 'other'}", "trainer.epochs=1"]) == 0
    text = (here / "runs" / "other" / "record.json").read_text("utf-8")
    assert str(here) not in text
    assert "verysecret" not in text
    assert "~/small.yaml" in text


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("/folders/ann", "~"),
        ("data.root=/folders/ann/data", "data.root=~/data"),
        ("[/folders/ann/a.py,/folders/ann/b.py]", "[~/a.py,~/b.py]"),
        ("/folders/anna/x", "/folders/anna/x"),
        ("/mnt/folders/ann/x", "/mnt/folders/ann/x"),
    ],
)
def test_the_home_folder_is_shortened(text: str, short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: "/folders/ann")
    assert without_home(text) == short


def test_files_are_named_from_the_root_of_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert short_path(tmp_path / "a" / "b", tmp_path / "a") == "b"
    assert short_path(tmp_path / "a" / "b") == "a/b"


def test_a_resumed_run_notes_what_changed(tmp_path: Path) -> None:
    record.begin(tmp_path, {"seed": 1, "threads": 2}, is_resumed=False)
    record.begin(tmp_path, {"seed": 1, "threads": 4}, is_resumed=True)
    record.begin(tmp_path, {"seed": 1, "threads": 4}, is_resumed=True)
    saved = record.read_record(tmp_path)
    assert saved is not None
    assert [sorted(start) for start in saved["starts"]] == [["seed", "threads", "time"], ["threads", "time"], ["time"]]
    assert record.last_start(saved)["threads"] == 4
    record.begin(tmp_path, {"seed": 2}, is_resumed=False)  # another run in this folder
    assert len(record.read_record(tmp_path)["starts"]) == 1  # type: ignore[index]


@pytest.mark.parametrize("content", ["", "[]", '{"format": 1}', '{"format": 99, "starts": []}', "[" * 100_000])
def test_a_file_that_is_no_record_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(content)
    with refused("E-run" if content[:1] == "{" or content == "[]" else "E-bundle", "record.json"):
        record.read_record(tmp_path)


def test_the_packages_are_the_dependencies(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    assert sorted(machine.PACKAGES) == sorted(
        name.partition(">")[0].partition("=")[0] for name in project["dependencies"]
    )


def test_the_commit_of_a_hub_data_set_is_known_by_its_addresses() -> None:
    addresses = {f"hf://datasets/x@{'a' * 40}/{name}.parquet": None for name in ("train", "test")}
    assert hub_commit(SimpleNamespace(info=SimpleNamespace(download_checksums=addresses))) == "a" * 40
    assert hub_commit(SimpleNamespace(info=SimpleNamespace(download_checksums=None))) is None


# Git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    if shutil.which("git") is None:
        pytest.skip("needs git")
    name = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], [*name, "commit", "-qm", "first"]):
        (tmp_path / "a.txt").write_text("one\n")
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_the_revision_says_whether_files_changed(repository: Path) -> None:
    clean = revision(repository)
    assert clean is not None
    assert clean == {"commit": git(repository, "rev-parse", "HEAD").strip(), "dirty": False}  # type: ignore[union-attr]
    (repository / "new.txt").write_text("not tracked")
    assert revision(repository, "a.txt") == clean
    assert revision(repository, "new.txt") is None  # a package in somebody else's repository
    (repository / "a.txt").write_text("two\n")
    assert revision(repository) == {**clean, "dirty": True}


@pytest.mark.posix
def test_git_runs_nothing_that_a_repository_names(repository: Path) -> None:
    program = repository / "planted"
    program.write_text(f"#!/bin/sh\ntouch {repository / 'ran'}\ncat\n")
    program.chmod(0o755)
    (repository / ".gitattributes").write_text("*.txt filter=x.y\n")
    keys = (
        "core.fsmonitor",
        "filter.x.y.clean",
        "filter.x.y.process",
        "filter.x.y.smudge",
        "core.pager",
        "core.editor",
    )
    for key in (*keys, "core.sshCommand"):
        subprocess.run(["git", "-C", str(repository), "config", key, str(program)], check=True)
    for hook in ("post-index-change", "pre-commit", "reference-transaction"):
        shutil.copy(program, repository / ".git" / "hooks" / hook)
    (repository / "a.txt").write_text("two\n")
    subprocess.run(["git", "-C", str(repository), "status", "--short"], check=False, capture_output=True)
    assert (repository / "ran").exists()  # an ordinary `git status` runs it
    (repository / "ran").unlink()
    assert revision(repository)["dirty"] is True  # type: ignore[index]
    assert not (repository / "ran").exists()


def test_without_git_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert revision(tmp_path) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert revision(Path(seq2att.__file__).parent) is None


# Reproducing


def change_weights(run: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Write other weights into a bundle, which then has no manifest, as those of format 1."""
    tensors = load_file(run / "model.safetensors")
    change(tensors)
    save_file(tensors, run / "model.safetensors")
    (run / "manifest.json").unlink()
    config = (run / "config.yaml").read_text("utf-8")
    (run / "config.yaml").write_text(config.replace("format: 2", "format: 1"), "utf-8")


def test_a_run_repeats_to_the_last_bit(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["reproduce", "runs/small"]) == 0
    output = capsys.readouterr()
    assert "identical to the last bit" in output.out
    assert output.err == ""
    weights = [here / "runs" / name / "model.safetensors" for name in ("small", "small-reproduced")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    with refused("E-run", "small-reproduced"):
        again()


def test_a_small_model_does_not_depend_on_the_threads_of_its_process(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = []
    for count in (1, 2):
        monkeypatch.setattr(launch.threads, "threads_per_process", lambda processes=1, count=count: count)
        seq2att.train("small.yaml", [f"run=runs/threads{count}", "encoder.size=256", "trainer.max_steps=1", *QUIET])
        weights.append(Path("runs", f"threads{count}", "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    assert again("runs/threads2").is_identical


def test_the_examples_of_the_help_work_as_pasted(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shutil.move("runs/small", "runs/reverse")
    examples = EXAMPLES.partition("\n\n")[0].splitlines()[1:]
    assert len(examples) == 2
    for example in examples:
        assert cli.main(shlex.split(example)[1:]) == 0, example


def test_a_translation_repeats(reverse_run: Path, tmp_path: Path) -> None:
    result = again(str(reverse_run), into=tmp_path / "again")
    assert (result.is_identical, result.is_reproduced, result.environment) == (True, True, {})
    assert {name: one.num_values > 5 for name, one in result.files.items()} == dict.fromkeys(result.files, True)


def test_threads_and_processes_are_those_of_the_run(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many processes as torchrun started, which no setting names; that their sums repeat is in `test_devices`."""
    record.begin(here / "runs" / "small", {"processes": 2, "threads": 3}, is_resumed=True)
    configs: list[Any] = []

    def train(config: dict[str, Any], **_: Any) -> None:
        configs.append(config)
        shutil.copytree("runs/small", config["run"])

    monkeypatch.setattr(launch, "run", train)
    assert again().is_identical
    assert (configs[0]["trainer"]["devices"], configs[0]["trainer"]["threads"]) == (2, 3)


def test_other_weights_on_the_same_machine_are_not_reproduced(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    names: list[str] = []

    def change(tensors: dict[str, torch.Tensor]) -> None:
        names.append(max(tensors))
        tensors[names[0]].view(-1)[0] += 1e-4

    change_weights(here / "runs" / "small", change)
    assert cli.main(["reproduce", "runs/small", "--json"]) == 1
    result = json.loads(capfd.readouterr().out)
    assert (result["reproduced"], result["identical"]) == (False, False)
    weights = result["files"]["model.safetensors"]
    assert (weights["num_different"], weights["place"]) == (1, names[0])
    assert 0 < weights["largest"] < 1e-2


def test_another_machine_is_named_and_reproduces_to_rounding(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "runs" / "small" / "record.json"
    saved = json.loads(path.read_text("utf-8"))
    saved["starts"][0]["versions"]["torch"] = "1.0"
    saved["starts"][0]["kernel"] = {"tier": "other"}
    path.write_text(json.dumps(saved))
    change_weights(path.parent, lambda tensors: next(iter(tensors.values())).mul_(1.0001))
    assert cli.main(["reproduce", "runs/small"]) == 0
    output = capsys.readouterr()
    assert "equal to rounding" in output.out
    assert "warning: versions.torch was 1.0" in output.err
    assert "warning: kernel.tier was other" in output.err


@pytest.mark.parametrize("name", ["train", "validation"])
def test_changed_data_are_refused_before_training(name: str, here: Path) -> None:
    file = here / "data" / f"{name}.tsv"
    content = file.read_text()
    file.write_text(content.replace("A", "B", 1))
    with refused("E-data", f"data/{name}.tsv"):
        again()
    assert not (here / "runs" / "small-reproduced").exists()
    (here / "elsewhere").mkdir()
    shutil.copytree(here / "data", here / "elsewhere" / "data")
    (here / "elsewhere" / "data" / f"{name}.tsv").write_text(content)
    assert again(root="elsewhere").is_identical


def test_what_is_no_finished_run_with_a_record_is_refused(here: Path) -> None:
    with refused("E-run", "data"):
        again("data")
    (here / "runs" / "small" / "record.json").rename(here / "old.json")
    with refused("E-run", "small"):
        again()
    (here / "old.json").rename(here / "runs" / "small" / "record.json")
    (here / "runs" / "small" / "metrics.json").unlink()
    with refused("E-run", "small"):
        again()


def test_differences_are_relative_and_bits_count() -> None:
    one = torch.tensor([2.0, -0.0, float("nan")])
    assert tensor_difference(one, one.clone()) == 0
    assert 0 < tensor_difference(torch.tensor([0.0]), torch.tensor([-0.0])) < 1e-300
    assert tensor_difference(torch.tensor([2.0, 1.0]), torch.tensor([2.0, 1.5])) == 0.25
    assert tensor_difference(torch.ones(2), torch.ones(3)) == float("inf")
    assert value_difference("nan", "nan") == 0 == value_difference(None, None)
    assert value_difference("4", 5) == pytest.approx(0.2)
    assert value_difference("loss", None) == float("inf")
    assert summarize({"a": 0.0, "b": 0.5, "c": 0.25}) == (3, 2, 0.5, "b")
    assert summarize({}) == (0, 0, 0.0, "")
