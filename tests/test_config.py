"""Configuration: what is composed, what is refused and with which words, and that nothing leaks."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from seq2att import registry
from seq2att.attention import Attention
from seq2att.config import ConfigError, DataOptions, TrainerOptions, compose, folder, options_of, recipes, sweep
from seq2att.config.override import commas, read_value, render
from seq2att.config.slots import Slots, presets
from seq2att.config.sweeping import folder_name
from seq2att.decoder import Decoder
from seq2att.encoder import Encoder
from seq2att.field import Field
from seq2att.head import Head
from seq2att.registry import Factory, register

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


def known(kind: str) -> str:
    """The components of a kind as a message lists them."""
    return f"known: {', '.join(sorted(registry.entries(kind)))}"


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


def refused(*overrides: str, recipe: str = "r.yaml") -> list[str]:
    """All that is wrong."""
    with pytest.raises(ConfigError) as caught:
        compose(recipe, overrides)
    return caught.value.problems


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
            "recipe seed run overwrite plugins share metrics callbacks loggers metric head source target encoder "
            "decoder attention output search reader optimizer schedule data trainer"
        ).split()
    )
    assert (config["recipe"], config["seed"], config["run"], config["share"]) == ("r", 7, "runs/r", "nothing")
    assert config["metrics"] is None
    assert config["encoder"]["name"] == "gru"
    assert config["encoder"]["size"] == 64
    assert config["attention"] == {"name": "additive", "size": 128}
    assert config["source"]["embedding_size"] == 32
    assert config["source"]["tokenizer"] == {"name": "char", "min_count": 1, "lower": True}
    assert config["target"]["tokenizer"]["name"] == "sentencepiece"
    assert config["reader"]["train"] == "한국.tsv"
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
    ("source.tokenizer.min_count=2",): {"source.tokenizer": {"name": "char", "min_count": 2, "lower": True}},
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
    ("reader.train=${data.language}/${seed}",): {"reader.train": "한국/7"},
    ("recipe=other",): {"run": "runs/other"},
    ("hydra.job.name=x", "++hydra.job.env_set.A=한국"): {"seed": 7},
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
    keys = ("source.remove", "target.remove", "reader.train", "data.root", "run")
    texts = dict(zip(keys, TEXTS[start : start + 5], strict=False))
    config = compose("r.yaml", [f"{key}={text}" for key, text in texts.items()])
    assert {key: at(config, key) for key in texts} == texts


def test_texts_can_be_quoted_and_null_is_nothing() -> None:
    texts = {"'a,b'": "a,b", '"null"': "null", "null": None, "NULL": None, r"'it\'s'": "it's"}
    for written, text in texts.items():
        assert compose("r.yaml", [f"data.root={written}"])["data"]["root"] == text


@pytest.mark.parametrize("text", [*TEXTS, "a'b\"c\\", "\\\\'"])
def test_what_is_rendered_is_read_back(text: str) -> None:
    assert read_value(render(text), str) == text
    assert read_value(render([text, "x"]), list[str]) == [text, "x"]


def test_lists_of_odd_texts() -> None:
    assert read_value("[한국/a.py, b c, '[']", list[str]) == ["한국/a.py", "b c", "["]
    assert commas("a,[b,c],'d,e',f(g,h)") == ["a", "[b,c]", "'d,e'", "f(g,h)"]


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
    assert refused(recipe=mine) == [
        "mine.yaml: metric.chrf: chrf is not in metrics (the list is [bleu]); add it, as in metrics=[bleu,chrf], "
        "or leave its options out"
    ]
    assert refused("metrics=[bleu]", "metric.chrf.beta=3") == [
        "metric.chrf: chrf is not in metrics (the list is [bleu]); add it, as in metrics=[bleu,chrf], "
        "or leave its options out"
    ]


def test_listed_components_are_built_with_their_options() -> None:
    config = compose("r.yaml", ["metrics=[bleu,exact]", "metric.bleu.tokenize=char"])
    assert registry.build_listed("metric", config, "bleu").tokenize == "char"
    assert registry.build_listed("metric", config, "exact").higher_is_better
    old = {"metrics": ["bleu"]}  # the configuration of a bundle made before these options
    assert registry.build_listed("metric", old, "bleu").tokenize == "13a"
    with pytest.raises(registry.RegistryError, match=r"metric.bleu.beta: metric.bleu=bleu has no option 'beta'; known"):
        registry.build_listed("metric", {"metric": {"bleu": {"beta": 1}}}, "bleu")


def test_a_sweep_over_options_of_a_listed_component(here: Path) -> None:
    jobs: list[dict[str, Any]] = []
    sweep("r.yaml", ["metrics=[bleu]", "metric.bleu.tokenize=char,none", "run=runs/s"], jobs.append)
    assert [job["metric"]["bleu"]["tokenize"] for job in jobs] == ["char", "none"]
    assert Path(jobs[1]["run"]).name == "metrics=['bleu'],metric.bleu.tokenize=none"


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
    unused = (
        "{0}: nothing here uses a {1} (head=answer); leave {0} out, or choose another head",
        "source/tokenizer: nothing here uses a tokenizer (source=nothing); leave source/tokenizer out, "
        "or choose another source",
    )
    assert refused("head=answer", "decoder.size=3") == [unused[0].format("decoder", "decoder")]
    assert refused("head=answer", "search=beam", "attention=dot") == [
        unused[0].format("search", "search"),
        unused[0].format("attention", "attention"),
    ]
    assert refused("source=nothing", "source.tokenizer.size=3", "source/tokenizer=char") == [unused[1]]
    mine = write("defaults: [r, override head: answer, override decoder: gru]\noutput: {tie: true}")
    assert refused(recipe=mine) == [
        f"mine.yaml: {unused[0].format('decoder', 'decoder')}",
        f"mine.yaml: {unused[0].format('output', 'output')}",
    ]


def test_a_plugin_may_bring_a_slot() -> None:
    register("decoder", "twofold")(Twofold)
    assert "second" not in compose("r.yaml")
    config = compose("r.yaml", ["decoder=twofold", "second=additive", "second.size=9"])
    assert config["second"] == {"name": "additive", "size": 9}
    assert config["attention"] == {"name": "additive", "size": 128}
    assert compose("r.yaml", ["decoder=twofold"])["second"] == {"name": "general"}
    assert refused("decoder=twofold", "second=adative")[0].startswith(
        "second=adative: no attention is called 'adative'"
    )


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
    assert refused("encoder=gated") == ["encoder/gate: must be chosen: encoder/gate=NAME; known: open, shut"]
    assert compose("r.yaml", ["encoder=gated", "encoder/gate=shut"])["encoder"]["gate"] == {"name": "shut"}
    assert "gate" not in compose("r.yaml")["encoder"]


def annotated(**hints: Any) -> dict[str, Any]:
    """A class body whose constructor has these annotations."""

    def constructor(self: Any, *, width: int = 1) -> None: ...

    constructor.__annotations__ = hints
    return {"__init__": constructor}


# What is wrong

GRU = f"known: {', '.join(sorted(registry.find('encoder', 'gru').options))}"
PLUGIN_HINT = "; a component of your own needs plugins=[your_file.py]"
SEVERAL = "these are several values; add --multirun to train with one after the other"
WRONG = {
    "encoder=grru": "encoder=grru: no encoder is called 'grru'; known: gru, lstm, none, rnn; did you mean 'gru'?"
    + PLUGIN_HINT,
    "encoder=한국": "encoder=한국: no encoder is called '한국'; known: gru, lstm, none, rnn" + PLUGIN_HINT,
    "source/tokenizer=chars": "source/tokenizer=chars: no tokenizer is called 'chars'; "
    f"{known('tokenizer')}; did you mean 'char'?" + PLUGIN_HINT,
    "encodr=gru": "encodr: there is no setting 'encodr'; did you mean 'encoder'?",
    "size=3": "size: there is no setting 'size'; did you mean "
    "encoder.size or decoder.size or attention.size or search.size?",
    "encoder.sise=3": f"encoder.sise: encoder=gru has no option 'sise'; {GRU}; did you mean 'size'?",
    "source.tokenizer.sise=3": "source.tokenizer.sise: source/tokenizer=char has no option 'sise'; "
    "known: lower, min_count",
    "data.batchsize=3": "data.batchsize: data has no option 'batchsize'; known: "
    + ", ".join(sorted(options_of(DataOptions)))
    + "; did you mean 'batch_size'?",
    "encoder.size=big": "encoder.size=big: allowed is a whole number",
    "encoder.size=2.5": "encoder.size=2.5: allowed is a whole number",
    "encoder.size=": "encoder.size='': allowed is a whole number",
    "encoder.size=true": "encoder.size=true: allowed is a whole number",
    "encoder.size=null": "encoder.size=null: allowed is a whole number",
    "encoder.dropout=a": "encoder.dropout=a: allowed is a number",
    "encoder.bidirectional=yes": "encoder.bidirectional=yes: allowed is true or false",
    "search.max_length=none": "search.max_length=none: allowed is a whole number or null",
    "trainer.limit_train_batches=true": "trainer.limit_train_batches=true: allowed is a number or a whole number",
    "decoder.order=luongg": "decoder.order=luongg: allowed is luong or bahdanau; did you mean 'luong'?",
    "trainer.precision=33": "trainer.precision=33: allowed is 32, bf16, 16 or 64",
    "metrics=[bleu,chrff]": f"metrics: no metric is called 'chrff'; {known('metric')}; did you mean 'chrf'?",
    "metrics={a: b}": "metrics={a: b}: allowed is a list, as in [a, b], each a text or null",
    "metrics=bleu,chrf": f"metrics=bleu,chrf: {SEVERAL}, or write one list: metrics=[bleu,chrf]",
    "attention=none,dot": f"attention=none,dot: {SEVERAL}",
    "encoder.size=1,2": f"encoder.size=1,2: {SEVERAL}",
    "encoder.size=range(1,3)": f"encoder.size=range(1,3): {SEVERAL}",
    "trainer=gpuu": "trainer=gpuu: there is no conf/trainer/gpuu.yaml; known: cpu, debug, gpu, gpus; "
    "did you mean 'gpu'?",
    "decoder=null": "decoder=null: a slot is never empty, and what the head does not use drops out by itself; "
    "known: gru, lstm, rnn",
    "~decoder": "~decoder: a setting cannot be removed; what the head does not use drops out by itself",
    "=3": "=3: an override is written key=value, as in encoder=gru",
    "gru": "gru: an override is written key=value, as in encoder=gru",
    "source.tokenizer=word": "source.tokenizer=word: a component is chosen by source/tokenizer=word",
    "encoder.name=gru": "encoder.name=gru: a component is chosen by encoder=gru",
    "encoder/size=3": "encoder/size=3: an option is written with dots: encoder.size=3",
    "data=3": "data=3: data is a block of options; set them one by one, as in data.NAME=VALUE",
    "seed.x=3": "seed.x: seed is one value and has no part 'x'",
    "reader=csv": "reader.train: missing; reader=csv needs it: add reader.train=VALUE, or choose another reader "
    "(seq2att list reader)",
    "data.root=${data.rot}": "data.root: Interpolation key 'data.rot' not found",
    "seed=${encoder.dropout}": "seed=0.0: allowed is a whole number",
    "plugins=[no.py]": "plugins: there is no file 'no.py'; name a file.py, a folder or an installed module",
    "metric.bleu.tokenise=char": "metric.bleu.tokenise: metric.bleu has no option 'tokenise'; known: lowercase, "
    "tokenize; did you mean 'tokenize'?",
    "metric.bleu.tokenize=chars": "metric.bleu.tokenize=chars: allowed is 13a, intl, char, zh or none; "
    "did you mean 'char'?",
    "metric.blue.tokenize=char": f"metric.blue: no metric is called 'blue'; {known('metric')}; did you mean 'bleu'?",
    "tokenize=char": "tokenize: there is no setting 'tokenize'; did you mean metric.bleu.tokenize?",
    "metric=bleu": "metric=bleu: metrics are listed, as in metrics=[NAME]; metric holds their options, as in "
    "metric.NAME.OPTION=VALUE",
    "metric.bleu=char": "metric.bleu=char: metric.bleu is a block of options; set them one by one, as in "
    "metric.bleu.NAME=VALUE",
    "callback.peek.rows=[1]": "callback.peek: peek is not in callbacks (the list is empty); add it, as in "
    "callbacks=[peek], or leave its options out",
    "callbacks=[ring]": "callback.ring.bell: missing; ring in callbacks needs it: add callback.ring.bell=VALUE, or "
    "leave ring out of callbacks (seq2att list callback)",
    "share=tokenizer": "share=tokenizer: the tokenizers are char and sentencepiece; make them equal, as in "
    "target/tokenizer=char",
}


@pytest.mark.parametrize("override", WRONG)
def test_wrong_overrides(override: str) -> None:
    assert refused(override) == [WRONG[override]]


def test_everything_wrong_is_said_at_once() -> None:
    write(RECIPE.replace("seed: 7", "seed: x").replace("lower: true", "lowr: true"))
    with pytest.raises(ConfigError) as caught:
        compose("mine.yaml", ["decoder=gruu", "decoder.sise=3", "reader=csv", "nonsense=1"])
    assert str(caught.value) == (
        "6 wrong settings:\n"
        "  mine.yaml: seed=x: allowed is a whole number\n"
        "  mine.yaml: source.tokenizer.lowr: source/tokenizer=char has no option 'lowr'; known: lower, min_count; "
        "did you mean 'lower'?\n"
        "  decoder=gruu: no decoder is called 'gruu'; known: gru, lstm, rnn; did you mean 'gru'?" + PLUGIN_HINT + "\n"
        "  decoder.sise: decoder=lstm has no option 'sise'; known: bridge, dropout, input_dropout, "
        "input_feeding, layers, locked, order, readout, residual, size, weight_drop; did you mean 'size'?\n"
        "  nonsense: there is no setting 'nonsense'; known: attention, callback, callbacks, data, decoder, encoder, "
        "head, logger, loggers, metric, metrics, optimizer, output, overwrite, plugins, reader, recipe, run, schedule, "
        "search, seed, share, source, target, trainer\n"
        "  reader.train: missing; reader=csv needs it: add reader.train=VALUE, or choose another reader "
        "(seq2att list reader)"
    )


QUOTE = 'YAML reads no, off, yes, on, true and false as truth values; quote the text, as in "no"'
TUNED = "reader: {train: x}\n"
WRONG_RECIPES = {
    "data: {language: no}": [f"mine.yaml: data.language=false: {QUOTE}"],
    "decoder: {order: yes}": [f"mine.yaml: decoder.order=true: {QUOTE}"],
    "metrics: [no]": [f"mine.yaml: metrics=[false]: {QUOTE}"],
    "data: {language: 1.10}": [
        'mine.yaml: data.language=1.1: YAML reads this as a number, which is written anew; quote the text, as in "1.10"'
    ],
    "encoder: gru": [
        "mine.yaml: encoder=gru: a component is chosen by `encoder=gru`, in a recipe by `- override encoder: gru`"
    ],
    "source: {tokenizer: char}": [
        "mine.yaml: source.tokenizer=char: a component is chosen by `source/tokenizer=char`, "
        "in a recipe by `- override source/tokenizer: char`"
    ],
    "data: 3": ["mine.yaml: data=3: data is a block of options; set them one by one, as in data.NAME=VALUE"],
    "encoder: {sise: 3, name: gru}": [
        f"mine.yaml: encoder.sise: encoder=gru has no option 'sise'; {GRU}; did you mean 'size'?"
    ],
    "defaults: 3": ["mine.yaml: defaults is no list; write `defaults:` and below it `  - config`"],
    "defaults: [3, override encoder: 4]": [
        "mine.yaml: defaults: 3 is no choice; write `- override encoder: gru`",
        "mine.yaml: defaults: `override encoder: 4` is no choice; write `- override encoder: NAME`",
    ],
    "defaults: [override decoder: null]": [
        "mine.yaml: defaults: `override decoder: null` is no choice; write `- override decoder: NAME`"
    ],
    "defaults: [override encodr: gru, override decoder: gruu]": [
        "mine.yaml: defaults: there is no slot 'encodr'; known: attention, decoder, encoder, head, optimizer, output, "
        "reader, schedule, search, source, source/tokenizer, target, target/tokenizer, trainer; "
        "did you mean 'encoder'?",
        "mine.yaml: decoder=gruu: no decoder is called 'gruu'; known: gru, lstm, rnn; did you mean 'gru'?"
        + PLUGIN_HINT,
    ],
    "defaults: [config, r, reverse]": ["mine.yaml: defaults: a recipe starts from one other, not from r and reverse"],
    "defaults: [mine]": ["mine.yaml: the recipe starts from itself; mend its defaults list"],
    "seed: [1": ["mine.yaml:1: no YAML: expected ',' or ']', but got '<stream end>'; mend the line"],
    "seed: 1\nseed: 2": ["mine.yaml:2: no YAML: found duplicate key seed; mend the line"],
    "plugins: {a: b}": ["mine.yaml: plugins={a: b}: allowed is a list, as in [a, b], each a text"],
    "defaults: [override encoder: gru]\nencoder: {name: lstm}": [
        "mine.yaml: encoder: the defaults list says gru, the block lstm; leave one out"
    ],
    "plugins: [no.py]": ["plugins: there is no file 'no.py'; name a file.py, a folder or an installed module"],
}


@pytest.mark.parametrize("text", WRONG_RECIPES)
def test_wrong_recipes(text: str) -> None:
    extra = "" if text.startswith("seed") else f"\n{TUNED}"
    assert refused(recipe=write(text + extra)) == WRONG_RECIPES[text]


def test_recipes_that_are_no_mapping(here: Path) -> None:
    assert refused(recipe=write("- a")) == ["mine.yaml: a recipe is a mapping, as in `seed: 1`, not a list"]
    (here / "mine.yaml").write_bytes(b"# a\n# caf\xe9")
    assert refused(recipe="mine.yaml") == ["mine.yaml:2: no UTF-8; save the file as UTF-8"]


def test_missing_recipes() -> None:
    known = ", ".join(sorted(recipes()))
    assert refused(recipe="revers") == [
        f"there is no recipe 'revers'; known: {known}; did you mean 'reverse'?; "
        "a recipe of your own is named by its path, as in my.yaml"
    ]
    assert refused(recipe="no/such.yaml") == [
        f"there is no recipe file no/such.yaml; give the path of a YAML file, or one of {known}"
    ]


def test_sharing_needs_equal_sides() -> None:
    same = ["target/tokenizer=char", "target.tokenizer.lower=true"]
    assert compose("r.yaml", ["share=tokenizer", *same])["share"] == "tokenizer"
    assert refused("share=tokenizer", same[0]) == [
        "share=tokenizer: source.tokenizer.lower=True but target.tokenizer.lower=False; "
        "make them equal, or share=nothing"
    ]
    assert refused("share=embedding", *same) == [
        "share=embedding: source.embedding_size=32 but target.embedding_size=256; make them equal, or share=nothing"
    ]


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
    assert (config["recipe"], config["run"], config["reader"]["train"]) == ("레시피", "실행/레시피", "데이터/학습.tsv")


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


LIGHTNING = {  # our name -> Lightning's; the rest is done by our own callbacks
    "epochs": "max_epochs",
    "max_steps": "max_steps",
    "validate_every": "val_check_interval",
    "clip": "gradient_clip_val",
    "accumulate": "accumulate_grad_batches",
    "precision": "precision",
    "accelerator": "accelerator",
    "devices": "devices",
    "num_nodes": "num_nodes",
    "deterministic": "deterministic",
    "progress": "enable_progress_bar",
    "log_every": "log_every_n_steps",
    "limit_train_batches": "limit_train_batches",
    "limit_validation_batches": "limit_val_batches",
}
OURS = set("validation_rows max_minutes patience min_delta monitor best restore_best threads resume".split())


def test_trainer_options_are_lightnings() -> None:
    from lightning.pytorch import Trainer
    from lightning.pytorch.callbacks import EarlyStopping

    known = inspect.signature(Trainer.__init__).parameters
    assert set(LIGHTNING.values()) <= set(known)
    assert set(LIGHTNING) | OURS == set(options_of(TrainerOptions))
    assert not set(LIGHTNING) & OURS
    for ours, theirs in LIGHTNING.items():
        default = options_of(TrainerOptions)[ours].default
        kinds = str(known[theirs].annotation)
        assert default is None or type(default).__name__ in kinds or f"'{default}'" in kinds, (ours, kinds)
    assert {"patience", "min_delta", "monitor"} <= set(inspect.signature(EarlyStopping.__init__).parameters)


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
    assert caught.value.problems == [
        "encoder.size=x: allowed is a whole number",
        "attention=dott: no attention is called 'dott'; known: additive, dot, general, none; did you mean 'dot'?"
        + PLUGIN_HINT,
    ]
    assert not started


def test_an_error_in_a_job_reaches_us(here: Path) -> None:
    def fail(config: dict[str, Any]) -> None:
        raise ConfigError([f"no {config['seed']}"])

    with pytest.raises(ConfigError, match="no 1"):
        sweep("r.yaml", ["seed=1,2"], fail)


def test_names_of_run_folders() -> None:
    assert folder_name(["encoder=gru", "hydra.job.num=1", "run=x", "data.root=/a", "seed=1"]) == "encoder=gru,seed=1"
    assert (
        folder_name(["reader.train=../a b/c", "source/tokenizer=char"]) == "reader.train=.._a_b_c,source.tokenizer=char"
    )
    long = folder_name([f"source.remove={'가' * 300}"])
    assert len(long.encode()) < 255
    assert long != folder_name([f"source.remove={'가' * 299}"])


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


def test_composing_touches_neither_lightning_nor_datasets() -> None:
    code = (
        "import sys; from seq2att.config import compose; compose('reverse')\n"
        "try: compose('reverse', ['encoder=x'])\n"
        "except Exception: pass\n"
        "print({'lightning', 'datasets', 'matplotlib', 'sentencepiece', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_the_store_holds_structured_configs() -> None:
    """Hydra itself refuses what our checks would let pass."""
    from seq2att.config import composing

    plan = composing.make_plan("r.yaml")
    with composing.stored(plan), pytest.raises(ConfigError, match="could not be converted to Integer"):
        composing.compose_hydra(["encoder.size=big"])
    with composing.stored(plan):
        assert OmegaConf.get_type(composing.compose_hydra([]).source.tokenizer).__name__ == "tokenizer_char"


def test_components_of_one_family_are_related() -> None:
    find = registry.find
    assert registry.is_interchangeable(find("encoder", "lstm"), find("encoder", "gru"))
    assert registry.is_interchangeable(find("decoder", "rnn"), find("decoder", "lstm"))
    assert not registry.is_interchangeable(find("encoder", "lstm"), find("encoder", "none"))
    assert not registry.is_interchangeable(find("attention", "dot"), find("attention", "additive"))
    assert not registry.is_interchangeable(find("optimizer", "adam"), find("optimizer", "sgd"))
