"""An audit finds every planted defect by its class and place, and nothing in clean data."""

import copy
import functools
import gzip
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from seq2att import model, registry
from seq2att.audit import DEFECTS, Report, audit, sampled_remarks, sampling, write_clean
from seq2att.cli import main
from seq2att.config import compose
from seq2att.data import prepare
from tests.planted import PLANTS, RECIPES, Plant, make, write
from tests.refusals import refused


@functools.cache
def configuration(corpus: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """The configuration of a corpus, composed once."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / f"{corpus}.yaml"
        recipe.write_text(RECIPES[corpus])
        return compose(str(recipe), list(settings))


def report_of(corpus: str, folder: Path, settings: tuple[str, ...] = ()) -> Report:
    config = copy.deepcopy(configuration(corpus, settings))
    config["data"]["root"] = str(folder)
    return audit(config)


def serious(report: Report) -> list[str]:
    return [f"{one.defect.name} {one.examples}" for one in report.findings if one.severity != "note"]


@pytest.mark.parametrize("corpus", RECIPES)
def test_clean_data_have_no_finding(corpus: str, tmp_path: Path) -> None:
    write(make(corpus), tmp_path)
    assert [one.defect.name for one in report_of(corpus, tmp_path).findings] == []


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{plant.defect} {plant.name}".strip().replace(" ", "-"))
def test_a_planted_defect_is_found_at_its_place(plant: Plant, tmp_path: Path) -> None:
    files = make(plant.corpus)
    place = plant.plant(files)
    write(files, tmp_path)
    report = report_of(plant.corpus, tmp_path, plant.settings)
    found = {one.defect.name: one for one in report.findings}
    assert plant.defect in found, {name: one.examples for name, one in found.items()}
    places = [example.place for example in found[plant.defect].examples]
    file, _, line = place.partition(":~")
    if line:
        found_line = int(places[0].rpartition(":")[2])
        assert places[0].startswith(file), places
        assert abs(found_line - int(line)) <= 10, places
    else:
        assert any(one == place or (":" not in place and one.startswith(place)) for one in places), (place, places)
    assert not [one.remedy for one in report.findings if "{side}" in one.remedy or "{value}" in one.remedy]


def test_every_defect_of_the_table_is_planted() -> None:
    assert set(DEFECTS) - {plant.defect for plant in PLANTS} == {"unreadable-file"}
    assert len(DEFECTS) >= 40


@pytest.mark.parametrize("corpus", RECIPES)
def test_cleaned_data_pass_the_audit(corpus: str, tmp_path: Path) -> None:
    for number, plant in enumerate(plant for plant in PLANTS if plant.corpus == corpus and not plant.settings):
        if not DEFECTS[plant.defect].cleaning:
            continue
        dirty, clean = tmp_path / f"dirty{number}", tmp_path / f"clean{number}"
        dirty.mkdir()
        files = make(corpus)
        plant.plant(files)
        write(files, dirty)
        report = report_of(corpus, dirty)
        list(write_clean(report, clean))
        assert serious(report_of(corpus, clean)) == [], plant
        assert {file.name for file in clean.iterdir()} == {*files, "left_out.tsv"}
        if any(one.severity != "note" and one.defect.name == plant.defect for one in report.findings):
            assert plant.defect in (clean / "left_out.tsv").read_text("utf-8"), plant


def test_what_is_not_left_out_is_copied_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "dirty").mkdir()
    files = make("classes")
    files["train.csv"][59] = f'"{files["train.csv"][59].rpartition(",")[0]}",pos'  # quotes that nobody needs stay
    files["train.csv"][9] += ",pos"
    write(files, tmp_path / "dirty")
    before = {file.name: file.read_bytes() for file in (tmp_path / "dirty").iterdir()}
    list(write_clean(report_of("classes", tmp_path / "dirty"), tmp_path / "clean"))
    del files["train.csv"][9]
    assert (tmp_path / "clean" / "train.csv").read_text("utf-8") == "".join(f"{line}\n" for line in files["train.csv"])
    assert (tmp_path / "clean" / "dev.csv").read_bytes() == before["dev.csv"]
    assert {file.name: file.read_bytes() for file in (tmp_path / "dirty").iterdir()} == before


def test_parallel_files_lose_the_line_of_both_sides(tmp_path: Path) -> None:
    (tmp_path / "dirty").mkdir()
    files = make("pairs")
    files["train.en"][13] = ""
    write(files, tmp_path / "dirty")
    list(write_clean(report_of("pairs", tmp_path / "dirty"), tmp_path / "clean"))
    for name in ("train.de", "train.en"):
        del files[name][13]
        assert (tmp_path / "clean" / name).read_text("utf-8").splitlines() == files[name]


# -- the command


@pytest.fixture
def recipe(tmp_path: Path) -> tuple[str, Path]:
    """A recipe with data in a folder beside it, of which one row is wrong."""
    data = tmp_path / "data"
    data.mkdir()
    files = make("classes")
    files["train.csv"][40] += ",pos"
    write(files, data)
    file = tmp_path / "classes.yaml"
    file.write_text(RECIPES["classes"])
    return str(file), data


def test_the_command_reports(recipe: tuple[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    file, data = recipe
    assert main(["data", file, f"data.root={data}"]) == 0
    text = capsys.readouterr().out
    assert "extra-column" in text
    assert "train.csv:41" in text
    assert "\033" not in text
    assert max(map(len, text.splitlines())) <= 120
    assert main(["data", file, f"data.root={data}", "--json", "--strict"]) == 1
    report = json.loads(capsys.readouterr().out)
    (finding,) = [one for one in report["findings"] if one["severity"] == "error"]
    assert (finding["defect"], finding["count"], finding["examples"][0]["place"]) == ("extra-column", 1, "train.csv:41")


def test_the_command_cleans(recipe: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, data = recipe
    assert main(["data", file, f"data.root={data}", "--write", str(tmp_path / "clean")]) == 0
    assert main(["data", file, f"data.root={tmp_path / 'clean'}", "--strict"]) == 0
    capsys.readouterr()
    assert main(["data", file, f"data.root={data}", "--write", str(tmp_path / "clean")]) == 2
    assert "E-file" in capsys.readouterr().err


def test_rows_without_a_text_file_are_not_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "reverse", "--write", str(tmp_path / "clean")]) == 2
    assert "E-conflict" in capsys.readouterr().err


# -- a training


def prepared(recipe: str, data: Path, cache: Path) -> tuple[list[str], list[str]]:
    """What a training says about its data, twice."""
    config = compose(recipe, [f"data.root={data}", f"data.cache={cache}"])
    reader = registry.build("reader", config)
    source, target = model.make_fields(config)
    corpora = prepare(config, source, target, reader, lambda line: None)
    first = sampled_remarks(config, {"source": source, "target": target}, reader, corpora)
    return first, sampled_remarks(config, {"source": source, "target": target}, reader, corpora)


@pytest.mark.parametrize("corpus", RECIPES)
def test_a_training_on_clean_data_says_nothing(corpus: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write(make(corpus), tmp_path / "data")
    (tmp_path / "one.yaml").write_text(RECIPES[corpus])
    assert prepared(str(tmp_path / "one.yaml"), tmp_path / "data", tmp_path / "cache") == ([], [])


def test_a_training_names_what_a_sample_shows_once_for_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    files = make("classes")
    files["train.csv"][30:60] = [line.rpartition(",")[0] + ",NA" for line in files["train.csv"][30:60]]
    write(files, tmp_path / "data")
    (tmp_path / "one.yaml").write_text(RECIPES["classes"])
    first, second = prepared(str(tmp_path / "one.yaml"), tmp_path / "data", tmp_path / "cache")
    assert first == second
    assert "data.missing=[NA]" in first[0]
    assert "train.csv:31" in first[0]
    monkeypatch.setattr(sampling, "examine", None)  # the cache has it
    assert prepared(str(tmp_path / "one.yaml"), tmp_path / "data", tmp_path / "cache")[0] == first


# -- remedies and files


def test_settings_in_remedies_are_settings(tmp_path: Path) -> None:
    """What a remedy says in the form key=value can be pasted behind the command."""
    recipe = tmp_path / "one.yaml"
    recipe.write_text(RECIPES["table"])
    settings = set()
    for defect in DEFECTS.values():
        remedy = defect.remedy.format(side="source", split="validation", value="2")
        words = [word.rstrip(";,:") for word in shlex.split(remedy.replace("one's", "ones"))]
        settings |= {(word, *(other for other in words if "=" in other)) for word in words if "=" in word}
    assert len(settings) > 20
    for words in settings:
        if not any(word.startswith(("reader.train and", "reader=csv")) for word in words):
            compose(str(recipe), list(dict.fromkeys(words)))
    compose(str(recipe), ["reader=csv", "reader.train=x.csv", 'reader.separator="\\t"'])


def test_a_truncated_archive_is_found_with_what_was_read(tmp_path: Path) -> None:
    write(make("table"), tmp_path)
    content = (tmp_path / "train.tsv").read_bytes()
    (tmp_path / "train.tsv").unlink()
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress(content)[:-40])
    report = report_of("table", tmp_path)
    (finding,) = [one for one in report.findings if one.defect.name == "unreadable-file"]
    assert (finding.severity, finding.examples[0].place) == ("error", "train.tsv.gz")


def test_a_compressed_file_is_cleaned_as_one(tmp_path: Path) -> None:
    (tmp_path / "dirty").mkdir()
    files = make("table")
    files["train.tsv"][16] = "no label"
    write(files, tmp_path / "dirty")
    train = tmp_path / "dirty" / "train.tsv"
    (tmp_path / "dirty" / "train.tsv.gz").write_bytes(gzip.compress(train.read_bytes()))
    train.unlink()
    list(write_clean(report_of("table", tmp_path / "dirty"), tmp_path / "clean"))
    del files["train.tsv"][16]
    text = gzip.decompress((tmp_path / "clean" / "train.tsv.gz").read_bytes()).decode()
    assert text.splitlines() == files["train.tsv"]
    assert serious(report_of("table", tmp_path / "clean")) == []


@pytest.mark.parametrize("suffix", ["de", "en"])
def test_a_file_in_another_encoding_is_one_finding_with_its_name_and_is_not_cleaned(
    suffix: str, tmp_path: Path
) -> None:
    write(make("pairs"), tmp_path)
    texts = [f"  나는 오늘  학교에 가고 있다 그리고 이야기를 했다 {number} " for number in range(40)]
    other = "en" if suffix == "de" else "de"
    (tmp_path / f"train.{suffix}").write_bytes("".join(f"{text}\n" for text in texts).encode("cp949"))
    (tmp_path / f"train.{other}").write_text("".join(f"word {number}\n" for number in range(40)), "utf-8")
    report = report_of("pairs", tmp_path)
    encoding = [one for one in report.findings if one.defect.name == "undecodable-bytes"]
    assert [one.count for one in encoding] == [40]
    assert "iconv -f CP949" in encoding[0].remedy
    assert encoding[0].examples[0].place.endswith(f"train.{suffix}:1")
    texts_judged = {one.defect.name for one in report.findings if one.split == "train" and one.side}
    assert not texts_judged & {"extra-space", "private-character", "odd-space", "unequal-lengths"}
    with refused("E-encoding", f"{tmp_path / 'train'}.{suffix}:1"):
        list(write_clean(report, tmp_path / "clean"))
    assert not (tmp_path / "clean").exists()


def test_a_line_is_counted_once_though_the_columns_are_read_before(tmp_path: Path) -> None:
    write(make("classes"), tmp_path)
    file = tmp_path / "train.csv"
    lines = file.read_bytes().splitlines(keepends=True)
    lines[5] = b"\xff" + lines[5]
    file.write_bytes(b"".join(lines))
    [finding] = [one for one in report_of("classes", tmp_path).findings if one.defect.name == "undecodable-bytes"]
    assert finding.count == 1
