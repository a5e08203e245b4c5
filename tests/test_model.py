"""Models and their bundles: shared parts, empty sources, what loading refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seq2att import registry, testing
from seq2att.attention import General
from seq2att.bundle import load, read_config, save
from seq2att.model import make, make_fields, parameter_count
from seq2att.search import Greedy
from seq2att.types import Column
from tests.refusals import refused

registry.load()
TEXT = {"name": "text", "embedding_size": 4, "tokenizer": {"name": "char"}}


def test_sharing_the_embedding_is_one_table() -> None:
    config = {**testing.DEFAULTS, "source": TEXT, "target": TEXT, "share": "embedding"}
    source, target = make_fields(config)
    assert source.tokenizer is target.tokenizer  # type: ignore[attr-defined]
    source.fit(["abc"])
    model = make(config, source, target)
    assert model.embedding is model.head.embedding
    separate = make({**config, "share": "tokenizer"}, source, target)
    assert parameter_count(separate) - parameter_count(model) == source.size * 4


def test_sharing_an_embedding_needs_equal_sizes() -> None:
    config = {**testing.DEFAULTS, "source": {**TEXT, "embedding_size": 5}, "target": TEXT, "share": "embedding"}
    source, target = make_fields(config)
    source.fit(["abc"])
    with refused("E-conflict", "share=embedding"):
        make(config, source, target)


def test_what_a_field_refuses_is_told_with_its_side() -> None:
    pattern = {"name": "word", "pattern": "("}
    for side, options, code, subject in (
        ("source", {"dropout": 2.0}, "E-range", "source.dropout=2.0"),
        ("target", {"embedding_size": 0}, "E-size", "target.embedding_size=0"),
        ("target", {"tokenizer": pattern}, "E-syntax", "target.tokenizer.pattern='('"),
        ("source", {"name": "label", "tokenizer": {}, "embedding_size": 0}, "E-size", "source.embedding_size=0"),
    ):
        field = {**TEXT, **options}
        if field["name"] == "label":
            field.pop("tokenizer")
        with refused(code, subject) as caught:
            make_fields({**testing.DEFAULTS, "source": TEXT, "target": TEXT, side: field})
        assert caught.value.subject.startswith(subject)


def test_an_empty_source_gets_an_empty_answer() -> None:
    case = testing.make_case()
    lengths = case.batch.source.lengths.clone()
    lengths[1] = 0
    batch = case.batch._replace(source=Column(case.batch.source.values, lengths))
    found = case.model.predict(batch, Greedy())
    assert found[1].text == ""
    whole = case.model.predict(case.batch, Greedy())
    assert [found[row].text for row in (0, 2, 3)] == [whole[row].text for row in (0, 2, 3)]
    assert found[0].source_tokens == tuple(case.model.source.pieces(case.batch.source.values[0, :5].tolist()))
    assert found[0].attention is not None
    assert found[0].attention.shape == (len(found[0].tokens), 5)


def test_a_bundle_is_text_and_weights_and_a_model_card(tmp_path: Path) -> None:
    case = testing.make_case()
    save(case.model, {**case.config, "recipe": "tiny", "seed": 1}, tmp_path, {"validation": {"loss": 1.25}})
    names = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert {"config.yaml", "model.safetensors", "metrics.json", "README.md"} < names
    assert all(name.startswith(("source/", "target/")) for name in names if "/" in name)
    card = (tmp_path / "README.md").read_text()
    assert "# tiny" in card
    assert "| loss | 1.25 |" in card


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with refused("E-bundle", f"{tmp_path}"):
        load(tmp_path)
    with refused("E-bundle", "nowhere"):
        load(tmp_path / "nowhere")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "checkpoints").mkdir()
    with refused("E-bundle", f"{tmp_path}") as caught:
        load(tmp_path)
    assert "resume" in caught.value.remedy


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("format: 99\n")
    (tmp_path / "model.safetensors").touch()
    with refused("E-bundle", "config.yaml"):
        read_config(tmp_path)


@pytest.mark.usefixtures("own_registry")
def test_a_bundle_imports_no_plugin_but_names_it(tmp_path: Path) -> None:
    registry.register("attention", "mine")(type("Mine", (General,), {}))
    case = testing.make_case({"attention": {"name": "mine"}})
    save(case.model, {**case.config, "plugins": ["mine.py"]}, tmp_path, {})
    assert load(tmp_path)[0] is not None
    del registry.component._entries["attention"]["mine"]
    with refused("E-plugin", f"{tmp_path}") as caught:
        load(tmp_path)
    assert "attention=mine" in caught.value.problem
    assert "plugins=[mine.py]" in caught.value.remedy


def test_float64_stays_float64(tmp_path: Path) -> None:
    case = testing.make_case()
    save(case.model, case.config, tmp_path, {})
    assert next(load(tmp_path)[0].parameters()).dtype == torch.float64
