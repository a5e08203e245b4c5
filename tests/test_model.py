"""Models and their bundles: shared parts, empty sources, what loading refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from seq2att import registry, testing
from seq2att.attention import General
from seq2att.errors import UserError
from seq2att.model import load, make, make_fields, parameter_count, read_config, save
from seq2att.search import Greedy
from seq2att.types import Column

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
    with pytest.raises(UserError, match=r"share=embedding needs source.embedding_size equal to target.embedding_size"):
        make(config, source, target)


def test_what_a_field_refuses_is_told_with_its_side() -> None:
    pattern = {"name": "word", "pattern": "("}
    for side, options, message in (
        ("source", {"dropout": 2.0}, r"source\.dropout=2\.0 is no probability below 1; set 0 or more"),
        ("target", {"embedding_size": 0}, r"target\.embedding_size=0 is no size; set 1 or more"),
        ("target", {"tokenizer": pattern}, r"target\.tokenizer\.pattern='\(' is no regular expression"),
        ("source", {"name": "label", "tokenizer": {}, "embedding_size": 0}, r"source\.embedding_size=0 is no size"),
    ):
        field = {**TEXT, **options}
        if field["name"] == "label":
            field.pop("tokenizer")
        with pytest.raises(UserError, match=f"^{message}"):
            make_fields({**testing.DEFAULTS, "source": TEXT, "target": TEXT, side: field})


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
    with pytest.raises(
        UserError, match=r"is no bundle: config.yaml and model.safetensors missing; name a finished run"
    ):
        load(tmp_path)
    with pytest.raises(UserError, match=r"there is no folder .*nowhere; known: none; train one with seq2att train"):
        load(tmp_path / "nowhere")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"model.safetensors missing \(its training has not finished: resume it\)"):
        load(tmp_path)


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("format: 99\n")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match=r"of a newer format than this seq2att reads .*upgrade seq2att"):
        read_config(tmp_path)


@pytest.mark.usefixtures("own_registry")
def test_a_bundle_imports_no_plugin_but_names_it(tmp_path: Path) -> None:
    registry.register("attention", "mine")(type("Mine", (General,), {}))
    case = testing.make_case({"attention": {"name": "mine"}})
    save(case.model, {**case.config, "plugins": ["mine.py"]}, tmp_path, {})
    assert load(tmp_path)[0] is not None
    del registry.component._entries["attention"]["mine"]
    with pytest.raises(
        UserError,
        match=r"no attention has this name; it was trained with plugins=\[mine.py\]: give 'plugins=\[mine.py\]'",
    ):
        load(tmp_path)


def test_float64_stays_float64(tmp_path: Path) -> None:
    case = testing.make_case()
    save(case.model, case.config, tmp_path, {})
    assert next(load(tmp_path)[0].parameters()).dtype == torch.float64
