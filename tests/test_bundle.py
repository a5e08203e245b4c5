"""Bundles: those of earlier versions load; damaged and hostile ones are refused in one line; nothing is executed."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import seq2att
from seq2att.bundle import owner, read_config
from seq2att.bundle.manifest import MANIFEST
from seq2att.cli import main, make_parser
from seq2att.config import compose, saved
from seq2att.files.untrusted import parse_yaml, read_regular
from tests import corruptions, hostile
from tests.refusals import refused

DATA = Path(__file__).parent / "data"
SAMPLE = 40  # random corruptions in every run of the tests; `make hostile` tries 2,000


@pytest.fixture(autouse=True)
def executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is there once something of a bundle was executed."""
    monkeypatch.setenv("EXECUTED", str(tmp_path / "executed"))
    return tmp_path / "executed"


# -- versions --


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir()))
def test_bundles_of_every_format_load_with_their_recorded_answers(name: str) -> None:
    recorded = json.loads((DATA / name / "answers.json").read_text("utf-8"))
    predictor = seq2att.load(DATA / name)
    texts, answers, scores = zip(*recorded["answers"], strict=True)
    predictions = getattr(predictor, recorded["task"])(texts)
    assert [prediction.text for prediction in predictions] == list(answers)
    assert [prediction.score for prediction in predictions] == pytest.approx(scores, abs=1e-4)


def test_the_settings_of_every_format_are_a_recipe() -> None:
    for path in DATA.iterdir():
        config = compose(str(path), ["run=elsewhere"])
        assert config["encoder"] == {**config["encoder"], **read_config(path)["encoder"]}


def test_each_step_of_a_migration_is_taken_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "FORMAT", 4)
    steps = {number: lambda values, number=number: {**values, "steps": [*values["steps"], number]} for number in (2, 3)}
    monkeypatch.setattr(saved, "STEPS", {**saved.STEPS, **steps})
    assert saved.parse_saved(b"format: 1\nsteps: []\n", "x").values == {"steps": [2, 3]}
    assert saved.parse_saved(b"format: 3\nsteps: []\n", "x").values == {"steps": [3]}
    assert saved.parse_saved(b"format: 4\nsteps: []\n", "x").values == {"steps": []}


def test_every_earlier_format_has_a_migration() -> None:
    assert list(saved.STEPS) == list(range(1, saved.FORMAT))


# -- damage --


@pytest.mark.posix
@pytest.mark.parametrize("name", corruptions.LISTED)
def test_a_listed_corruption_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    hostile.try_listed(name, tmp_path / "bundle")


@pytest.mark.posix
@pytest.mark.parametrize("name", corruptions.HARMLESS)
def test_what_matters_to_no_answer_changes_none(name: str, tmp_path: Path) -> None:
    hostile.try_harmless(name, tmp_path / "bundle")


@pytest.mark.parametrize("seed", range(SAMPLE))
def test_a_random_corruption_is_refused_or_answers_are_right(seed: int, tmp_path: Path) -> None:
    hostile.try_random(seed, tmp_path / "bundle")


def test_there_are_as_many_corruptions_as_promised() -> None:
    assert len(corruptions.LISTED) >= 110


def test_the_law_notices_what_breaks_it(executed: Path) -> None:
    good = hostile.try_bundle(hostile.GOOD)
    hostile.check_outcome(good)
    for broken in (
        good._replace(seconds=2.0),
        good._replace(megabytes=600.0),
        good._replace(answers=(("a", float("nan")),)),
        good._replace(error=seq2att.UserError("E-bundle", "x", "a\nb")),
    ):
        with pytest.raises(hostile.BrokenLawError):
            hostile.check_outcome(broken)
    executed.touch()
    with pytest.raises(hostile.BrokenLawError, match="executed"):
        hostile.check_outcome(good)


def test_a_sentencepiece_model_that_is_none_is_refused(tmp_path: Path) -> None:
    from seq2att.tokenizer import SentencePieceTokenizer

    for garbage in (b"", b"garbage", bytes(1000)):
        with refused("E-bundle", "tokenizer.model"):
            SentencePieceTokenizer().restore({"tokenizer.model": garbage})


@pytest.mark.parametrize("text", ["a: &x 1", "a: !!str x", "[1]", "a: 1\na: 2", "a: 1\n---\nb: 1", ""])
def test_yaml_is_plain(text: str) -> None:
    with refused("E-bundle", "x.yaml"):
        parse_yaml(text.encode(), "x.yaml")


def test_yaml_is_read_as_it_is_written() -> None:
    from omegaconf import OmegaConf

    text = "a: 1e-3\nb: [1, .5, 'x', ~, no]\nc: {d: 2020-01-01, e: 0x10, 1: -1.5e+10}\nf: |\n  text\n"
    assert parse_yaml(text.encode(), "x") == OmegaConf.to_container(OmegaConf.create(text.replace(" 1:", " '1':")))


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"12345")
    assert read_regular(tmp_path / "x", 5) == b"12345"
    assert read_regular(tmp_path / "x", 5, first=2) == b"12"
    with refused("E-bundle", f"{tmp_path / 'x'}"):
        read_regular(tmp_path / "x", 4)


# -- trust --


def hostile_recipe(path: Path, **reader: Any) -> Path:
    """A copy of a good bundle whose reader names files, and whose plugins lie beside it."""
    corruptions.setting("reader", {"name": "tsv", "train": "/etc/passwd", "test": "/etc/passwd", **reader})(path)
    corruptions.setting("plugins", ["evil.py", "evil"])(path)
    (path / "evil.py").write_text(corruptions.EVIL)
    (path / "evil").mkdir(exist_ok=True)
    (path / "evil/__init__.py").write_text(corruptions.EVIL)
    return path


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of somebody else, in the current folder."""
    shutil.copytree(hostile.GOOD, tmp_path / "bundle")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path / "bundle")  # as if started there
    return Path("bundle")


def test_printing_and_loading_import_no_plugin_of_a_bundle(bundle: Path, executed: Path, capsys: Any) -> None:
    hostile_recipe(bundle)
    for words in (["--cfg", "job"], ["--cfg", "all"], ["run=x"], ["-m", "seed=1,2", "run=y"]):
        main(["train", "bundle", *words])
        main(["train", "bundle/config.yaml", *words])
    assert "recipe: reverse" in capsys.readouterr().out
    for command in ("translate", "score"):
        Path("in").write_text("a b\tb a\n")
        main([command, "bundle", "in"])
    main(["show", "bundle", "a b"])
    main(["evaluate", "bundle"])
    assert not executed.exists()
    assert not Path("x").exists()
    assert [path.name for path in Path("y").iterdir()] == ["multirun.yaml"]
    assert main(["train", "bundle", "--cfg", "job", f"plugins=[{bundle / 'evil.py'}]"]) == 0
    assert executed.exists()  # named by the user


def test_the_data_of_a_bundle_of_others_are_not_opened(bundle: Path) -> None:
    hostile_recipe(bundle)
    with refused("E-bundle", "reader.test=/etc/passwd") as error:
        seq2att.evaluate(bundle)
    assert "--trust-data" in error.value.remedy
    with refused("E-bundle", "reader.test=/etc/passwd"):
        seq2att.evaluate(bundle, root="/etc")  # an absolute path leaves the root
    with refused("E-bundle", "reader.test=/etc/passwd"):
        seq2att.api.example(seq2att.load(bundle), 1)
    with refused("E-bundle", "bundle"):
        seq2att.train("bundle", ["run=x"])
    if os.path.exists("/etc/passwd"):
        with pytest.raises(seq2att.UserError) as opened:
            seq2att.evaluate(bundle, trust_data=True)
        assert opened.value.code != "E-bundle"


def test_data_that_the_user_names_are_opened(bundle: Path) -> None:
    Path("mine").mkdir()
    Path("mine/mine.tsv").write_text("a b\tb a\nc d\td c\n")
    hostile_recipe(bundle, train="mine.tsv", test="mine.tsv")
    assert seq2att.evaluate(bundle, file="mine/mine.tsv")["rows"] == 2
    assert seq2att.evaluate(bundle, root="mine")["rows"] == 2
    corruptions.setting("reader.test", "../mine/mine.tsv")(bundle)
    with refused("E-bundle", "reader.test=../mine/mine.tsv"):
        seq2att.evaluate(bundle, root="mine")


@pytest.mark.parametrize(
    ("words", "train", "flags"),
    [
        (["evaluate", "bundle"], "dates.tsv", {"--test", "--root", "--trust-data"}),
        (["evaluate", "bundle"], "/etc/passwd", {"--test", "--trust-data"}),  # a root changes no absolute path
        (["show", "bundle", "--row", "3"], "dates.tsv", {"--root", "--trust-data"}),
        (["show", "bundle", "--row", "3"], "/etc/passwd", {"--trust-data"}),
        (["train", "bundle", "run=x"], "dates.tsv", {"--trust-data"}),
    ],
)
def test_a_command_names_only_flags_that_it_has(
    bundle: Path, words: list[str], train: str, flags: set[str], capsys: Any
) -> None:
    hostile_recipe(bundle, train=train, test=None)
    corruptions.setting("plugins", [])(bundle)
    assert main(words) == 2
    message = capsys.readouterr().err
    assert set(re.findall(r"--[a-z-]+", message)) == flags
    assert flags <= set(re.findall(r"--[a-z-]+", make_parser()[1][words[0]].format_help()))
    assert f"reader.train={train}" in message or words[0] == "train"


def test_made_data_need_no_trust(bundle: Path) -> None:
    assert seq2att.evaluate(bundle)["rows"] == 40
    assert main(["show", "bundle", "--row", "1"]) == 0


def test_a_run_of_ones_own_is_known_wherever_it_lies(reverse_run: Path, tmp_path: Path) -> None:
    assert owner.is_own(reverse_run)
    shutil.copytree(reverse_run, tmp_path / "moved", ignore=shutil.ignore_patterns("checkpoints"))
    assert owner.is_own(tmp_path / "moved")
    corruptions.setting("reader.rows", 7)(tmp_path / "moved")
    assert not owner.is_own(tmp_path / "moved")  # its settings are not those that this user trained with


def test_a_signature_of_others_is_none(reverse_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert not owner.is_own(reverse_run)
    owner.sign(shutil.copytree(hostile.GOOD, tmp_path / "mine"))
    assert owner.is_own(tmp_path / "mine")
    assert not owner.is_own(reverse_run)
    if sys.platform != "win32":
        assert (tmp_path / "state/seq2att/key").stat().st_mode & 0o777 == 0o600
        (tmp_path / "state/seq2att/key").chmod(0o666)
        assert not owner.is_own(tmp_path / "mine")


def test_without_a_home_folder_nothing_is_signed_and_nothing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").write_text("a file")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    shutil.copytree(hostile.GOOD, tmp_path / "bundle")
    owner.sign(tmp_path / "bundle")
    assert not owner.is_own(tmp_path / "bundle")


def test_a_bundle_made_by_hand_is_accepted_without_its_manifest(tmp_path: Path) -> None:
    shutil.copytree(hostile.GOOD, tmp_path / "bundle")
    config = yaml.safe_load((tmp_path / "bundle/config.yaml").read_text())
    config["search"] = {**config["search"], "size": 2}
    (tmp_path / "bundle/config.yaml").write_text(yaml.safe_dump(config))
    with refused("E-bundle", "config.yaml") as error:
        seq2att.load(tmp_path / "bundle")
    assert "format: 1" in error.value.remedy
    (tmp_path / "bundle/config.yaml").write_text(yaml.safe_dump({**config, "format": 1}))
    (tmp_path / "bundle" / MANIFEST).unlink()
    assert seq2att.load(tmp_path / "bundle").config["search"]["size"] == 2


@pytest.mark.posix
def test_a_hostile_checkpoint_is_one_line(tmp_path: Path, executed: Path) -> None:
    import zipfile

    from seq2att.trainer.checkpoint import is_intact, read_checkpoint

    file = tmp_path / "1.ckpt"
    corrupted = {
        "pickle": lambda: file.write_bytes(pickle.dumps(corruptions.Evil())),
        "empty": lambda: file.write_bytes(b""),
        "text": lambda: file.write_text("hello"),
        "pipe": lambda: os.mkfifo(file),
        "link": lambda: file.symlink_to("/dev/zero"),
        "folder": lambda: file.mkdir(),
        "sparse": lambda: corruptions.sparse(7 << 30)(file),
    }
    for make in corrupted.values():
        make()
        with refused("E-checkpoint", f"{file}"):
            read_checkpoint(file)
        corruptions.remove(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(corruptions.Evil()))
        archive.writestr("archive/data/0", bytes(10_000_000))
    with refused("E-checkpoint", f"{file}"):
        read_checkpoint(file)
    corruptions.replace(file, os.mkfifo)
    assert not is_intact(file, "0" * 64)
    assert not executed.exists()


@pytest.mark.posix
def test_the_figures_of_a_run_are_read_under_limits(tmp_path: Path) -> None:
    from seq2att.files.untrusted import read_figures

    file = tmp_path / "metrics.json"
    file.write_text('{"perplexity": Infinity}')
    assert read_figures(file) == {"perplexity": float("inf")}
    for content in ("[" * 100_000, "[]", "{", '{"a": 1, "a": 2}', " " * (5 << 20)):
        file.write_text(content)
        with refused("E-bundle", f"{file}"):
            read_figures(file)
    corruptions.replace(file, os.mkfifo)
    with refused("E-bundle", f"{file}"):
        read_figures(file)


def test_a_key_whose_writer_was_killed_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    key = owner.user_key(create=True)
    assert key
    (tmp_path / "seq2att" / "key").write_bytes(b"")
    assert owner.user_key(create=False) is None
    assert owner.user_key(create=True) not in (None, key)
