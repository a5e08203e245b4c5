"""Configuration: what is composed, what is refused and with which words, and that nothing leaks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from seq2att import registry
from seq2att.attention import Attention
from seq2att.config import (
    ConfigError,
    DataOptions,
    TrainerOptions,
    compose,
    describe_settings,
    folder,
    options_of,
    recipes,
    sweep,
)
from seq2att.config.override import parse_value, quote, split_commas, split_overrides
from seq2att.config.recipe import presets
from seq2att.config.slots import Slots
from seq2att.config.sweeping import folder_name
from seq2att.decoder import Decoder
from seq2att.encoder import Encoder
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.head import Head
from seq2att.registry import Factory, register
from tests.refusals import refused as raises

RECIPE = """
defaults:
  - config
  - override encoder: gru
  - override attention: additive
  - override source/tokenizer: char
  - _self_
seed: 7
encoder: {size: 64}
attention: {size: 128}
source: {embedding_size: 32, tokenizer: {lower: true}}
reader: {train: "${data.language}.tsv"}
data: {language: 한국}
trainer: {epochs: 3}
"""
registry.load()


def peek(*, rows: tuple[int, ...] = (), of: dict[str, int] | None = None) -> Any:
    """A callback with options."""


def ring(*, bell: str) -> Any:
    """A callback with an option that must be given."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder with a recipe `r.yaml`, a registry of our own, and a store of Hydra's that must stay as it is."""
    from hydra.core.config_store import ConfigStore
    from hydra.core.plugins import Plugins

    registry.load()
    request.getfixturevalue("own_registry")
    register("callback", "peek")(peek)
    register("callback", "ring")(ring)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE, "utf-8")
    Plugins.instance()
    before = names(ConfigStore.instance().repo)
    modules = set(sys.modules)
    yield tmp_path
    assert names(ConfigStore.instance().repo) == before
    for name in set(sys.modules) - modules:
        if "plugin" in name:
            del sys.modules[name]


def names(group: dict[str, Any]) -> dict[str, Any]:
    """What Hydra's store holds."""
    return {name: names(item) if isinstance(item, dict) else item for name, item in group.items()}


def problems_of(*overrides: str, recipe: str = "r.yaml") -> list[UserError]:
    """All that is wrong."""
    with pytest.raises(ConfigError) as caught:
        compose(recipe, overrides)
    return list(caught.value.problems)


def refused(*overrides: str, recipe: str = "r.yaml") -> list[tuple[str, str]]:
    """The code and the subject of all that is wrong."""
    return [(problem.code, problem.subject) for problem in problems_of(*overrides, recipe=recipe)]


def at(config: dict[str, Any], key: str) -> Any:
    """The value at a dotted key."""
    for name in key.split("."):
        config = config[name]
    return config


def write(text: str, name: str = "mine.yaml") -> str:
    """A recipe file."""
    Path(name).write_text(text, "utf-8")
    return name


# What is composed


def test_everything_has_its_place() -> None:
    config = compose("r.yaml")
    assert (
        list(config)
        == (
            "recipe seed run overwrite plugins share initialization metrics callbacks loggers metric head source "
            "target encoder decoder attention output search reader optimizer schedule data trainer"
        ).split()
    )
    assert (config["recipe"], config["seed"], config["run"], config["share"]) == ("r", 7, "runs/r", "nothing")
    assert config["metrics"] is None
    assert config["encoder"]["name"] == "gru"
    assert config["encoder"]["size"] == 64
    assert config["attention"] == {"name": "additive", "size": 128}
    assert config["source"]["embedding_size"] == 32
    assert config["source"]["tokenizer"] == {"name": "char", "min_count": 1, "unknown": "keep", "lower": True}
    assert config["target"]["tokenizer"]["name"] == "sentencepiece"
    assert config["reader"]["train"] == ["한국.tsv"]
    assert config["decoder"]["order"] == "luong"
    assert type(config["decoder"]["order"]) is str
    assert list(config["data"]) == [*options_of(DataOptions)]
    assert list(config["trainer"]) == [*options_of(TrainerOptions)]


def test_a_resolved_configuration_is_plain() -> None:
    def check(value: Any) -> None:
        if isinstance(value, dict):
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)
        else:
            assert type(value) in (str, int, float, bool, type(None))

    check(compose("r.yaml"))
    assert yaml.safe_load(yaml.safe_dump(compose("r.yaml"))) == compose("r.yaml")


@pytest.mark.parametrize("name", sorted(recipes()))
def test_our_recipes_compose_and_build(name: str) -> None:
    if name == "nsmc" and "korean" not in registry.entries("tokenizer"):
        pytest.skip("the plugin plugins/korean is not installed")
    config = compose(name)
    assert config["recipe"] == name
    for slot in {"encoder", "decoder", "attention", "output", "search", "reader", "schedule"}.intersection(config):
        entry = registry.find(slot, config[slot]["name"])
        assert set(config[slot]) == {"name", *entry.options}


def test_a_run_folder_is_a_recipe(here: Path) -> None:
    config = compose("r.yaml", ["source/tokenizer=word", "trainer=debug", "metrics=[bleu]", "run=runs/x"])
    (here / "runs/x").mkdir(parents=True)
    (here / "runs/x/config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), "utf-8")
    assert compose("runs/x") == compose("runs/x/config.yaml") == config
    assert at(compose("runs/x", ["encoder=lstm"]), "encoder.size") == 64


def test_two_recipes_in_a_row_and_the_first_again() -> None:
    write(
        "defaults: [config, override reader: parallel, override attention: additive]\nencoder: {layers: 2}\n", "b.yaml"
    )
    first, second = compose("r.yaml"), compose("b.yaml")
    assert (second["attention"]["size"], second["encoder"]["name"], second["trainer"]["epochs"]) == (256, "lstm", 20)
    assert (second["seed"], second["data"]["language"]) == (1, None)
    assert compose("r.yaml") == first


BLEU = {"lowercase": False, "tokenize": "13a"}
OVERRIDES = {
    ("attention=none",): {"attention": {"name": "none"}},
    ("attention=dot",): {"attention": {"name": "dot", "scaled": False}},
    ("attention=additive", "attention.size=32"): {"attention": {"name": "additive", "size": 32}},
    ("encoder=lstm",): {"encoder.size": 64},
    ("encoder=lstm", "encoder=gru"): {"encoder.size": 64},
    ("source/tokenizer=word",): {"source.tokenizer.name": "word", "source.tokenizer.lower": False},
    ("source.tokenizer.min_count=2",): {
        "source.tokenizer": {"name": "char", "min_count": 2, "unknown": "keep", "lower": True}
    },
    ("seed=1", "seed=2"): {"seed": 2},
    ("+encoder.size=3", "++encoder.layers=2"): {"encoder.size": 3, "encoder.layers": 2},
    ("optimizer.learning_rate=1e-4",): {"optimizer.learning_rate": 1e-4},
    ("optimizer.learning_rate=1",): {"optimizer.learning_rate": 1.0},
    ("trainer.limit_train_batches=3",): {"trainer.limit_train_batches": 3},
    ("trainer.limit_train_batches=0.5",): {"trainer.limit_train_batches": 0.5},
    ("trainer.precision=32",): {"trainer.precision": "32"},
    ("metrics=[bleu, chrf]",): {"metrics": ["bleu", "chrf"]},
    ("metrics=bleu",): {"metrics": ["bleu"]},
    ("metrics=null", "loggers=[]"): {"metrics": None, "loggers": []},
    ("metrics=[bleu]", "metric.bleu.tokenize=char"): {"metric": {"bleu": {**BLEU, "tokenize": "char"}}},
    ("metrics=[exact, bleu]",): {"metric": {"exact": {}, "bleu": BLEU}},
    ("metric.ter.lowercase=true",): {"metrics": None, "metric.ter.lowercase": True, "metric.exact": {}},
    ("callbacks=peek", "callback.peek.rows=[1,5]"): {"callback": {"peek": {"rows": [1, 5], "of": None}}},
    ("callbacks=[peek]", "callback.peek.rows=3"): {"callback.peek.rows": [3]},
    ("callbacks=[peek]", "callback.peek.of.a=1"): {"callback.peek.of": {"a": 1}},
    ("loggers=[csv]",): {"logger": {"csv": {}}},
    ("seed=${encoder.size}", "decoder.size=${encoder.size}"): {"seed": 64, "decoder.size": 64},
    ("reader.train=${data.language}/${seed}",): {"reader.train": ["한국/7"]},
    ("recipe=other",): {"run": "runs/other"},
    ("trainer=gpu",): {"trainer.accelerator": "gpu", "trainer.epochs": 3},
    ("trainer=debug",): {"trainer.epochs": 1},
    ("trainer=debug", "trainer.epochs=2"): {"trainer.epochs": 2},
    ("reader=huggingface", "reader.path=x", "reader.files={train: 가.csv}"): {"reader.files": {"train": "가.csv"}},
    ("reader=huggingface", "reader.path=x", "reader.files.train=가.csv"): {"reader.files": {"train": "가.csv"}},
}


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_overrides(overrides: tuple[str, ...]) -> None:
    config = compose("r.yaml", overrides)
    assert {key: at(config, key) for key in OVERRIDES[overrides]} == OVERRIDES[overrides]


TEXTS = [
    "한국어", "~x", "a<b", "(", "a)", "=", "a=b", "it's", '"', "a b", " a ", "a,b", "[0-9]{2,}\\d", "x\\", "'a", "\\'",
    "{", "no", "true", "1.10", "1e5", "0123", "1_000", "", "#", "a: b", "שלום", "null?", "a\tb", "a\nb", "%$&|;!",
    "choice(a,b)", "-", "é",
]  # fmt: skip


@pytest.mark.parametrize("start", range(0, len(TEXTS), 5))
def test_a_text_is_what_stands_after_the_equal_sign(start: int) -> None:
    keys = ("source.remove", "target.remove", "data.cache", "data.root", "run")
    texts = dict(zip(keys, TEXTS[start : start + 5], strict=False))
    config = compose("r.yaml", [f"{key}={text}" for key, text in texts.items()])
    assert {key: at(config, key) for key in texts} == texts


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"[^\\w]|br": " "}', {r"[^\w]|br": " "}),  # as JSON has it
        (r'{"[^\w]|br": " "}', {r"[^\w]|br": " "}),  # as one writes it
        (r"{'[^\w]|br': ' '}", {r"[^\w]|br": " "}),
        (r'{"<br />":"\n", "\u00e9": "e"}', {"<br />": "\n", "\u00e9": "e"}),
        ('{[^a-z]: " ", a: NaN, no: 1.10, http://x: y}', {"[^a-z]": " ", "a": "NaN", "no": "1.10", "http://x": "y"}),
        ("{}", {}),
    ],
)
def test_a_mapping_of_texts_is_json_or_less(text: str, value: dict[str, str]) -> None:
    assert parse_value(text, dict[str, str] | None) == value
    assert compose_value(f"source.replace={text}") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[NaN]", ["NaN"]),
        ("[NA, N/A, 1.10, 1e3, no, null, ~, -]", ["NA", "N/A", "1.10", "1e3", "no", "null", "~", "-"]),
        (r'["\\w", "\w", "a, b", "[", ""]', [r"\w", r"\w", "a, b", "[", ""]),
        (r"['it\'s', 'a''b', it's]", ["it's", "a'b", "it's"]),
        ("[!, ?, *, &, %, @, `, 그]", ["!", "?", "*", "&", "%", "@", "`", "그"]),
        ('["a",\n "b",\n]', ["a", "b"]),
        ("[0-9]*.tsv", "[0-9]*.tsv"),  # patterns of files
        ("[ab][cd]", "[ab][cd]"),
    ],
)
def test_a_list_of_texts_is_json_or_less(text: str, value: Any) -> None:
    assert parse_value(text, list[str]) == value
    assert compose_value(f"data.missing={text}") == ([value] if isinstance(value, str) else value)


def compose_value(override: str) -> Any:
    """The value that a configuration has after an override."""
    block, name = override.partition("=")[0].split(".")
    return compose("reverse", ["source/tokenizer=word", override])[block][name]


def test_lists_of_other_values_are_json_too() -> None:
    assert parse_value("[1, 2.5]", list[float]) == [1, 2.5]
    assert parse_value("[true]", list[bool]) == [True]
    assert parse_value('{"a": 1}', dict[str, int]) == {"a": 1}


@pytest.mark.parametrize(
    "text", ["[a, , b]", "[it's, that's]", "[[a]]", "[(, )]", '{"a" "b"}', "{a: [b]}", "{a, b: c}"]
)
def test_items_that_are_not_clear_are_refused(text: str) -> None:
    key = "source.replace" if text.startswith("{") else "data.missing"
    assert refused(f"{key}={text}") == [("E-syntax", f"{key}={text}")]


def test_texts_can_be_quoted_and_null_is_nothing() -> None:
    texts = {"'a,b'": "a,b", '"null"': "null", "null": None, "NULL": None, r"'it\'s'": "it's"}
    for written, text in texts.items():
        assert compose("r.yaml", [f"data.root={written}"])["data"]["root"] == text


@pytest.mark.parametrize("text", [*TEXTS, "a'b\"c\\", "\\\\'"])
def test_what_is_rendered_is_read_back(text: str) -> None:
    assert parse_value(quote(text), str) == text
    assert parse_value(f"[{quote(text)},x]", list[str]) == [text, "x"]


def test_lists_of_odd_texts() -> None:
    assert parse_value("[한국/a.py, b c, '[']", list[str]) == ["한국/a.py", "b c", "["]
    for text in ("{a: 가, b: http://x}", "{a:가,b: http://x}"):
        assert parse_value(text, dict[str, str]) == {"a": "가", "b": "http://x"}
    assert parse_value("{가: 1}", dict[str, int]) == {"가": 1}
    assert split_commas("a,[b,c],'d,e',f(g,h)") == ["a", "[b,c]", "'d,e'", "f(g,h)"]


# Listed components


def test_a_recipe_tunes_what_it_lists_and_overrides_list_anew() -> None:
    mine = write(
        "defaults: [config, override reader: reverse]\nmetrics: [bleu, chrf]\nmetric: {bleu: {tokenize: zh}}\n"
        "callbacks: [ring, peek]\ncallback: {ring: {bell: ding}}\n"
    )
    config = compose(mine)
    assert config["metric"]["bleu"] == {**BLEU, "tokenize": "zh"}
    assert list(config["metric"]) == ["bleu", "chrf"]
    assert config["callback"] == {"ring": {"bell": "ding"}, "peek": {"rows": [], "of": None}}
    assert "callback" not in compose(mine, ["callbacks=[]", "metrics=[bleu]"])
    assert compose(mine, ["metrics=[exact, bleu]"])["metric"] == {"exact": {}, "bleu": {**BLEU, "tokenize": "zh"}}
    assert compose(mine, ["metrics=[exact]"])["metric"] == {"exact": {}}
    again = write("defaults: [mine]\ncallback: {peek: {rows: [2]}, ring: {bell: dong}}\n", "again.yaml")
    assert compose(again)["callback"] == {"ring": {"bell": "dong"}, "peek": {"rows": [2], "of": None}}


def test_options_of_what_a_recipe_does_not_list_are_refused() -> None:
    mine = write("defaults: [config, override reader: reverse]\nmetrics: [bleu]\nmetric: {chrf: {beta: 3}}\n")
    assert refused(recipe=mine) == [("E-setting", "mine.yaml: metric.chrf")]
    assert refused("metrics=[bleu]", "metric.chrf.beta=3") == [("E-setting", "metric.chrf")]
    assert "metrics=[bleu,chrf]" in str(problems_of("metrics=[bleu]", "metric.chrf.beta=3")[0])


def test_listed_components_are_built_with_their_options() -> None:
    config = compose("r.yaml", ["metrics=[bleu,exact]", "metric.bleu.tokenize=char"])
    assert registry.build_listed("metric", config, "bleu").tokenize == "char"
    assert registry.build_listed("metric", config, "exact").higher_is_better
    old = {"metrics": ["bleu"]}  # the configuration of a bundle made before these options
    assert registry.build_listed("metric", old, "bleu").tokenize == "13a"
    with raises("E-option", "metric.bleu.beta"):
        registry.build_listed("metric", {"metric": {"bleu": {"beta": 1}}}, "bleu")


def test_a_sweep_over_options_of_a_listed_component(here: Path) -> None:
    jobs: list[dict[str, Any]] = []
    sweep("r.yaml", ["metrics=[bleu]", "metric.bleu.tokenize=char,none", "run=runs/s"], jobs.append)
    assert [job["metric"]["bleu"]["tokenize"] for job in jobs] == ["char", "none"]
    assert Path(jobs[1]["run"]).name == "metrics=[bleu],metric.bleu.tokenize=none"


# Slots


class Answer(Head):
    """Asks for no decoder."""

    def __init__(self, memory_size: int, target: Field, *, classes: int = 2) -> None: ...


class Twofold(Decoder):
    """Asks for two attentions."""

    def __init__(
        self,
        input_size: int,
        memory_size: int,
        attention: Factory[Attention],
        second: Factory[Attention],
        *,
        size: int = 1,
    ) -> None: ...


class Nothing(Field):
    """Asks for no tokenizer."""

    def __init__(self) -> None: ...


def test_slots_that_the_head_does_not_ask_for_are_left_out() -> None:
    register("head", "answer")(Answer)
    register("field", "nothing")(Nothing)
    config = compose("r.yaml", ["head=answer", "source=nothing"])
    assert not {"decoder", "attention", "output", "search"} & set(config)
    assert config["source"] == {"name": "nothing"}
    assert config["head"] == {"name": "answer", "classes": 2}


def test_slots_that_nothing_uses_are_refused_by_name() -> None:
    register("head", "answer")(Answer)
    register("field", "nothing")(Nothing)
    assert refused("head=answer", "decoder.size=3") == [("E-setting", "decoder")]
    assert refused("head=answer", "search=beam", "attention=dot") == [
        ("E-setting", "search"),
        ("E-setting", "attention"),
    ]
    tokenizer = [("E-setting", "source/tokenizer")]
    assert refused("source=nothing", "source.tokenizer.size=3", "source/tokenizer=char") == tokenizer
    assert "(source=nothing)" in str(problems_of("source=nothing", "source/tokenizer=char")[0])
    mine = write("defaults: [r, override head: answer, override decoder: gru]\noutput: {tie: true}")
    assert refused(recipe=mine) == [("E-setting", "mine.yaml: decoder"), ("E-setting", "mine.yaml: output")]


def test_a_plugin_may_bring_a_slot() -> None:
    register("decoder", "twofold")(Twofold)
    assert "second" not in compose("r.yaml")
    config = compose("r.yaml", ["decoder=twofold", "second=additive", "second.size=9"])
    assert config["second"] == {"name": "additive", "size": 9}
    assert config["attention"] == {"name": "additive", "size": 128}
    assert compose("r.yaml", ["decoder=twofold"])["second"] == {"name": "general"}
    assert refused("decoder=twofold", "second=adative") == [("E-component", "second=adative")]


def test_a_kind_of_a_plugin_is_nested_and_must_be_chosen_among_several() -> None:
    class Gate: ...

    class Gated(Encoder):
        def __init__(self, input_size: int, gate: Factory[Any], *, size: int = 1) -> None: ...

    registry.kind("gate")(Gate)
    Gated.__init__.__annotations__["gate"] = Factory[Gate]
    register("gate", "open")(type("Open", (), {"__init__": lambda self, *, width=1: None} | annotated(width=int)))
    register("encoder", "gated")(Gated)
    assert Slots().kinds["encoder/gate"] == "gate"
    assert compose("r.yaml", ["encoder=gated"])["encoder"] == {
        "name": "gated",
        "size": 1,
        "gate": {"name": "open", "width": 1},
    }
    register("gate", "shut")(type("Shut", (), {"__init__": lambda self: None}))
    assert refused("encoder=gated") == [("E-missing", "encoder/gate")]
    assert compose("r.yaml", ["encoder=gated", "encoder/gate=shut"])["encoder"]["gate"] == {"name": "shut"}
    assert "gate" not in compose("r.yaml")["encoder"]


def annotated(**hints: Any) -> dict[str, Any]:
    """A class body whose constructor has these annotations."""

    def constructor(self: Any, *, width: int = 1) -> None: ...

    constructor.__annotations__ = hints
    return {"__init__": constructor}


# What is wrong

WRONG = {
    "hydra.job.name=x": ("E-setting", "hydra.job.name=x"),
    "optimizer.lr=1": ("E-option", "optimizer.lr"),
    "data.root=${": ("E-syntax", "data.root=${...}"),
    "seed=???": ("E-missing", "seed"),
    "encoder=grru": ("E-component", "encoder=grru"),
    "encoder=한국": ("E-component", "encoder=한국"),
    "source/tokenizer=chars": ("E-component", "source/tokenizer=chars"),
    "encodr=gru": ("E-setting", "encodr"),
    "size=3": ("E-setting", "size"),
    "encoder.sise=3": ("E-option", "encoder.sise"),
    "source.tokenizer.sise=3": ("E-option", "source.tokenizer.sise"),
    "data.batchsize=3": ("E-option", "data.batchsize"),
    "encoder.size=big": ("E-type", "encoder.size=big"),
    "encoder.size=2.5": ("E-type", "encoder.size=2.5"),
    "encoder.size=": ("E-type", "encoder.size=''"),
    "encoder.size=true": ("E-type", "encoder.size=true"),
    "encoder.size=null": ("E-type", "encoder.size=null"),
    "encoder.dropout=a": ("E-type", "encoder.dropout=a"),
    "encoder.bidirectional=yes": ("E-type", "encoder.bidirectional=yes"),
    "search.max_length=none": ("E-type", "search.max_length=none"),
    "trainer.limit_train_batches=true": ("E-type", "trainer.limit_train_batches=true"),
    "decoder.order=luongg": ("E-choice", "decoder.order=luongg"),
    "trainer.precision=33": ("E-choice", "trainer.precision=33"),
    "metrics=[bleu,chrff]": ("E-component", "metrics=chrff"),
    "metrics={a: b}": ("E-type", "metrics={a: b}"),
    "metrics=bleu,chrf": ("E-argument", "metrics=bleu,chrf"),
    "attention=none,dot": ("E-argument", "attention=none,dot"),
    "encoder.size=1,2": ("E-argument", "encoder.size=1,2"),
    "encoder.size=range(1,3)": ("E-argument", "encoder.size=range(1,3)"),
    "trainer=gpuu": ("E-choice", "trainer=gpuu"),
    "decoder=null": ("E-component", "decoder=null"),
    "~decoder": ("E-syntax", "~decoder"),
    "=3": ("E-syntax", "=3"),
    "gru": ("E-syntax", "gru"),
    "source.tokenizer=word": ("E-syntax", "source.tokenizer=word"),
    "encoder.name=gru": ("E-syntax", "encoder.name=gru"),
    "encoder/size=3": ("E-syntax", "encoder/size=3"),
    "data=3": ("E-type", "data=3"),
    "seed.x=3": ("E-setting", "seed.x"),
    "reader=csv": ("E-missing", "reader.train"),
    "data.root=${data.rot}": ("E-setting", "data.root=${data.rot}"),
    "seed=${encoder.dropout}": ("E-type", "seed=0.0"),
    "plugins=[no.py]": ("E-plugin", "plugins=no.py"),
    "metric.bleu.tokenise=char": ("E-option", "metric.bleu.tokenise"),
    "metric.bleu.tokenize=chars": ("E-choice", "metric.bleu.tokenize=chars"),
    "metric.blue.tokenize=char": ("E-component", "metric=blue"),
    "tokenize=char": ("E-setting", "tokenize"),
    "metric=bleu": ("E-type", "metric=bleu"),
    "metric.bleu=char": ("E-type", "metric.bleu=char"),
    "callback.peek.rows=[1]": ("E-setting", "callback.peek"),
    "callbacks=[ring]": ("E-missing", "callback.ring.bell"),
    "share=tokenizer": ("E-conflict", "share=tokenizer"),
}


@pytest.mark.parametrize("override", WRONG)
def test_wrong_overrides(override: str) -> None:
    assert refused(override) == [WRONG[override]]


HINTS = {
    "optimizer.lr=1": ("did you mean optimizer.learning_rate?",),
    "encoder.hidden_size=3": ("did you mean encoder.size?",),
    "batch=3": ("did you mean data.batch_size?",),
    "lr_scheduler=cosine": ("did you mean schedule?",),
    "encoder=grru": ("did you mean 'gru'?", "plugins=[your_file.py]"),
    "size=3": ("encoder.size or decoder.size",),
    "tokenize=char": ("did you mean metric.bleu.tokenize?",),
    "encodr=gru": ("did you mean encoder?",),
    "encoder.sise=3": ("encoder=gru", "did you mean 'size'?"),
    "decoder.order=luongg": ("luong or bahdanau", "did you mean 'luong'?"),
    "trainer.epochs=x": ("a whole number, at least 1 (maximum number of passes over the training data)",),
    "metrics=bleu,chrf": ("--multirun", "metrics=[bleu,chrf]"),
    "source.tokenizer=word": ("write source/tokenizer=word",),
    "encoder/size=3": ("write encoder.size=3",),
    "reader=csv": ("add reader.train=VALUE", "seq2att list reader.csv"),
    "callbacks=[ring]": ("add callback.ring.bell=VALUE",),
    "callback.peek.rows=[1]": ("callbacks=[peek]",),
    "share=tokenizer": ("target/tokenizer=char",),
}


@pytest.mark.parametrize("override", HINTS)
def test_errors_show_the_way(override: str) -> None:
    (problem,) = problems_of(override)
    assert all(hint in str(problem) for hint in HINTS[override]), problem
    assert "\n" not in str(problem)


def test_everything_wrong_is_reported_at_once() -> None:
    write(RECIPE.replace("seed: 7", "seed: x").replace("lower: true", "lowr: true"))
    overrides = ["decoder=gruu", "decoder.sise=3", "reader=csv", "nonsense=1"]
    assert refused(*overrides, recipe="mine.yaml") == [
        ("E-type", "mine.yaml: seed=x"),
        ("E-option", "mine.yaml: source.tokenizer.lowr"),
        ("E-component", "decoder=gruu"),
        ("E-option", "decoder.sise"),
        ("E-setting", "nonsense"),
        ("E-missing", "reader.train"),
    ]
    with pytest.raises(ConfigError) as caught:
        compose("mine.yaml", overrides)
    lines = [f"  {problem}" for problem in caught.value.problems]
    assert str(caught.value).splitlines() == ["6 wrong settings:", *lines]


TUNED = "reader: {train: x}\n"
WRONG_RECIPES = {
    "data: {language: no}": [("E-type", "mine.yaml: data.language=false")],
    "decoder: {order: yes}": [("E-choice", "mine.yaml: decoder.order=true")],
    "metrics: [no]": [("E-type", "mine.yaml: metrics=[false]")],
    "data: {language: 1.10}": [("E-type", "mine.yaml: data.language=1.1")],
    "encoder: gru": [("E-syntax", "mine.yaml: encoder=gru")],
    "source: {tokenizer: char}": [("E-syntax", "mine.yaml: source.tokenizer=char")],
    "data: 3": [("E-type", "mine.yaml: data=3")],
    "encoder: {sise: 3, name: gru}": [("E-option", "mine.yaml: encoder.sise")],
    "defaults: 3": [("E-recipe", "mine.yaml: defaults")],
    "defaults: [3, override encoder: 4]": [
        ("E-recipe", "mine.yaml: defaults: 3"),
        ("E-recipe", "mine.yaml: defaults: override encoder: 4"),
    ],
    "defaults: [override decoder: null]": [("E-recipe", "mine.yaml: defaults: override decoder: null")],
    "defaults: [override encodr: gru, override decoder: gruu]": [
        ("E-setting", "mine.yaml: defaults: encodr"),
        ("E-component", "mine.yaml: decoder=gruu"),
    ],
    "defaults: [config, r, reverse]": [("E-recipe", "mine.yaml: defaults")],
    "defaults: [mine]": [("E-recipe", "mine.yaml")],
    "seed: [1": [("E-syntax", "mine.yaml:1")],
    "seed: 1\nseed: 2": [("E-syntax", "mine.yaml:2")],
    "plugins: {a: b}": [("E-type", "mine.yaml: plugins={a: b}")],
    "defaults: [override encoder: gru]\nencoder: {name: lstm}": [("E-conflict", "mine.yaml: encoder")],
    "plugins: [no.py]": [("E-plugin", "plugins=no.py")],
}


@pytest.mark.parametrize("text", WRONG_RECIPES)
def test_wrong_recipes(text: str) -> None:
    extra = "" if text.startswith("seed") else f"\n{TUNED}"
    assert refused(recipe=write(text + extra)) == WRONG_RECIPES[text]


def test_recipes_that_are_no_mapping(here: Path) -> None:
    assert refused(recipe=write("- a")) == [("E-recipe", "mine.yaml")]
    (here / "mine.yaml").write_bytes(b"# a\n# caf\xe9")
    assert refused(recipe="mine.yaml") == [("E-encoding", "mine.yaml:2")]


def test_missing_recipes() -> None:
    for name in ("revers", "no/such.yaml"):
        assert refused(recipe=name) == [("E-recipe", name)]
    assert "did you mean 'reverse'?" in str(problems_of(recipe="revers")[0])


def test_sharing_needs_equal_sides() -> None:
    same = ["target/tokenizer=char", "target.tokenizer.lower=true"]
    assert compose("r.yaml", ["share=tokenizer", *same])["share"] == "tokenizer"
    for overrides, problem in {
        ("share=tokenizer", same[0]): "source.tokenizer.lower=True but target.tokenizer.lower=False",
        ("share=embedding", *same): "source.embedding_size=32 but target.embedding_size=256",
    }.items():
        (error,) = problems_of(*overrides)
        assert (error.code, error.subject, error.problem) == ("E-conflict", overrides[0], problem)


# Recipes


def test_a_recipe_may_start_from_another() -> None:
    mine = write("defaults: [r, override encoder: lstm]\nencoder: {layers: 2}\nseed: 8\ntrainer: {patience: 2}\n")
    config = compose(mine)
    assert (config["recipe"], config["seed"], config["attention"]["size"]) == ("mine", 8, 128)
    assert (config["encoder"]["name"], config["encoder"]["size"], config["encoder"]["layers"]) == ("lstm", 64, 2)
    assert (config["trainer"]["epochs"], config["trainer"]["patience"]) == (3, 2)
    back = compose(mine, ["encoder=gru"])["encoder"]
    assert (back["size"], back["layers"]) == (64, 2)  # what tunes the lstm tunes the gru


def test_recipes_need_no_defaults_list_and_blocks_may_name_their_component() -> None:
    assert compose(write("reader: {train: x}\nencoder: {name: gru, size: 5}\n"))["encoder"]["size"] == 5
    assert compose(write("reader: {train: x}\nencoder:\n"))["encoder"]["name"] == "lstm"


def test_whole_numbers_may_stand_for_text() -> None:
    config = compose(write("data: {language: 3}\nreader: {train: x}\ntrainer: {precision: 16}"))
    assert (config["data"]["language"], config["trainer"]["precision"]) == ("3", "16")


def test_recipes_in_korean() -> None:
    mine = write("reader: {train: 데이터/학습.tsv}\nrun: 실행/${recipe}\n", "레시피.yaml")
    config = compose(mine)
    assert (config["recipe"], config["run"], config["reader"]["train"]) == (
        "레시피",
        "실행/레시피",
        ["데이터/학습.tsv"],
    )


# Plugins

COSINE = """
from seq2att.attention import Attention
from seq2att.registry import register
@register("attention", "{name}")
class Cosine(Attention):
    def __init__(self, query_size: int, memory_size: int, *, temperature: float = 0.1) -> None:
        super().__init__(query_size, memory_size)
"""


def test_plugins_are_imported_before_composing(here: Path) -> None:
    (here / "코사인.py").write_text(COSINE.format(name="cosine"), "utf-8")
    config = compose("r.yaml", ["plugins=[코사인.py]", "attention=cosine", "attention.temperature=0.2"])
    assert config["attention"] == {"name": "cosine", "temperature": 0.2}
    assert config["plugins"] == ["코사인.py"]
    assert compose("r.yaml", ["plugins=코사인.py"])["plugins"] == ["코사인.py"]


def test_a_recipe_finds_its_plugins_beside_itself(here: Path) -> None:
    (here / "deep").mkdir()
    (here / "deep/plugin_a.py").write_text(COSINE.format(name="a"))
    (here / "plugin_b.py").write_text(COSINE.format(name="b"))
    text = (
        "defaults: [override attention: a]\nplugins: [plugin_a.py]\nreader: {train: x}\nattention: {temperature: 0.5}\n"
    )
    config = compose(write(text, "deep/mine.yaml"), ["plugins=[plugin_b.py]"])
    assert config["plugins"] == ["deep/plugin_a.py", "plugin_b.py"]
    assert config["attention"] == {"name": "a", "temperature": 0.5}
    assert compose("deep/mine.yaml", ["plugins=[plugin_b.py]", "attention=b"])["attention"]["temperature"] == 0.1


# Trainer


def test_presets_say_what_they_are_called() -> None:
    known = options_of(TrainerOptions)
    assert sorted(presets()) == ["cpu", "debug", "gpu", "gpus"]
    for name, preset in presets().items():
        assert set(preset) <= set(known), name
    assert compose("r.yaml", ["trainer=gpus"])["trainer"]["devices"] == -1
    assert compose(write("defaults: [r, override trainer: debug]\ntrainer: {epochs: 5}"))["trainer"]["epochs"] == 5


# Sweeps


def jobs(*overrides: str, recipe: str = "r.yaml") -> dict[str, dict[str, Any]]:
    """The configurations of a sweep by their run folders."""
    found: list[dict[str, Any]] = []
    sweep(recipe, overrides, found.append)
    assert len({config["run"] for config in found}) == len(found)
    return {config["run"]: config for config in found}


def test_a_sweep_trains_what_is_meant(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = jobs("attention=none,dot,additive", "seed=2")
    assert {run: config["attention"] for run, config in found.items()} == {
        "runs/r/attention=none,seed=2": {"name": "none"},
        "runs/r/attention=dot,seed=2": {"name": "dot", "scaled": False},
        "runs/r/attention=additive,seed=2": {"name": "additive", "size": 128},
    }
    assert all(config["seed"] == 2 for config in found.values())
    assert sys.argv[0] != "seq2att"


def test_a_sweep_over_odd_values(here: Path) -> None:
    found = jobs(
        "data.language=한국, 1.10,~", "encoder.size=range(1,3)", "source.remove='x,y'", "source/tokenizer=word,char"
    )
    assert len(found) == 12
    assert {config["data"]["language"] for config in found.values()} == {"한국", "1.10", "~"}
    assert {config["encoder"]["size"] for config in found.values()} == {1, 2}
    assert {config["source"]["remove"] for config in found.values()} == {"x,y"}
    assert "runs/r/data.language=한국,encoder.size=1,source.remove=x,y,source.tokenizer=word" in found


def test_a_sweep_over_heads_and_with_plugins(here: Path) -> None:
    register("head", "answer")(Answer)
    (here / "plugin_c.py").write_text(COSINE.format(name="c"))
    found = jobs("head=translation,answer", "plugins=[plugin_c.py]", "run=x")
    assert {"decoder" in config for config in found.values()} == {True, False}
    assert set(found) == {"x/head=translation", "x/head=answer"}
    assert jobs("attention=c,dot", "plugins=[plugin_c.py]")["runs/r/attention=c"]["attention"]["temperature"] == 0.1


def test_everything_wrong_in_a_sweep_is_said_before_its_first_job() -> None:
    started: list[Any] = []
    with pytest.raises(ConfigError) as caught:
        sweep("r.yaml", ["attention=none,dott", "encoder.size=1,x"], started.append)
    assert [(problem.code, problem.subject) for problem in caught.value.problems] == [
        ("E-type", "encoder.size=x"),
        ("E-component", "attention=dott"),
    ]
    assert not started


def test_an_error_in_a_job_reaches_us(here: Path) -> None:
    def fail(config: dict[str, Any]) -> None:
        raise UserError("E-loss", f"seed={config['seed']}", "diverged")

    with raises("E-loss", "seed=1"):
        sweep("r.yaml", ["seed=1,2"], fail)


def test_names_of_run_folders() -> None:
    def name(*overrides: str) -> str:
        return folder_name(split_overrides(overrides))

    assert name("encoder=gru", "seed=1") == "encoder=gru,seed=1"
    assert name("reader.train=../a b/c", "source/tokenizer=char") == "reader.train=.._a_b_c,source.tokenizer=char"
    long = name(f"source.remove={'가' * 300}")
    assert len(long.encode()) < 255
    assert long != name(f"source.remove={'가' * 299}")


# Laziness and place


def test_conf_and_recipes_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert (folder("conf") / "config.yaml").is_file()
    package = tmp_path / "site/seq2att"
    (package / "config").mkdir(parents=True)
    (package.parent / "conf").mkdir()
    monkeypatch.setattr("seq2att.config.recipe.__file__", str(package / "config/recipe.py"))
    assert folder("conf") == package.parent / "conf"  # a checkout
    (package / "conf").mkdir()
    assert folder("conf") == package / "conf"  # a wheel
    with pytest.raises(Exception, match="install seq2att again"):
        folder("recipes")


def test_composing_touches_neither_fabric_nor_datasets() -> None:
    code = (
        "import sys; from seq2att.config import compose; compose('reverse')\n"
        "try: compose('reverse', ['encoder=x'])\n"
        "except Exception: pass\n"
        "print({'lightning_fabric', 'datasets', 'matplotlib', 'sentencepiece', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_components_of_one_family_are_related() -> None:
    find = registry.find
    assert registry.is_interchangeable(find("encoder", "lstm"), find("encoder", "gru"))
    assert registry.is_interchangeable(find("decoder", "rnn"), find("decoder", "lstm"))
    assert not registry.is_interchangeable(find("encoder", "lstm"), find("encoder", "none"))
    assert not registry.is_interchangeable(find("attention", "dot"), find("attention", "additive"))
    assert not registry.is_interchangeable(find("optimizer", "adam"), find("optimizer", "sgd"))


def test_the_defaults_are_a_recipe_without_a_file() -> None:
    write("defaults: [config]\nseed: 9\n", "config.yaml")
    config = compose("config", ["reader.train=pairs.tsv"])
    assert (config["recipe"], config["seed"], config["reader"]["train"]) == ("config", 1, ["pairs.tsv"])
    assert compose("./config.yaml", ["reader.train=pairs.tsv"])["seed"] == 9
    assert refused(recipe="config") == [("E-missing", "reader.train")]


@pytest.mark.parametrize(
    ("recipe", "overrides"),
    [
        ("imdb_gru_stacked", ["encoder.size=16", 'source.replace={"a, b": "c", "d": " "}', "source.replace.x=y"]),
        ("next_character", ["trainer=gpus", "trainer.epochs=3", "data.missing=[NaN,1.10]"]),
        ("atis_slots", []),
    ],
)
def test_the_settings_that_are_described_make_the_configuration(recipe: str, overrides: list[str]) -> None:
    described = describe_settings(recipe, overrides)
    config = compose("config", [setting for setting, _ in described])
    assert {**config, "recipe": recipe, "run": f"runs/{recipe}"} == compose(recipe, overrides)
    places = {setting.partition("=")[0]: place for setting, place in described}
    assert {places[one.partition("=")[0]] for one in overrides if one.count(".") < 2} <= {"command line"}
    assert places["reader"].endswith(".yaml")
