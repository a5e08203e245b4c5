"""The command line: what it prints, what it refuses, what it loads, and what a pipe gets."""

from __future__ import annotations

import io
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
import yaml

import seq2att
from seq2att import api, cli, launch, registry
from seq2att.cli import evaluate, output, searching, show
from seq2att.config import compose, recipes
from seq2att.errors import UserError
from seq2att.types import Prediction


def check_error(result: Result, code: str, subject: str) -> None:
    """An error of the user is one line with its code and its subject, and the exit code is 2."""
    assert result.code == 2
    last = result.err.splitlines()[-1]
    assert last.startswith(f"seq2att: error [{code}]: {subject}"), result.err
    assert "Traceback" not in result.err


class FakePredictor:
    """Says the text backwards, and remembers how it was asked."""

    task = "translate"
    model = SimpleNamespace(
        source=SimpleNamespace(encode=lambda _: np.zeros(2, np.int32), picture=lambda _: None, has_values=True),
        encoder=SimpleNamespace(grid=lambda _: None),
    )
    config: ClassVar[dict[str, Any]] = {"data": {}}

    has_source = True

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def load(self, path: str, plugins: Sequence[str] = ()) -> FakePredictor:
        self.loaded = (path, *plugins)
        return self

    def translate(self, texts: str | Sequence[str], **options: Any) -> Any:
        self.calls.append({"texts": texts, **options})
        if isinstance(texts, str):
            return answer(texts, options)
        if "refuse me" in texts:
            raise UserError("E-length", "line 1", "is too long")
        return [answer(text, options) for text in texts]

    def classify(self, texts: str | Sequence[str], **options: Any) -> Any:
        found = self.translate(texts, **options)
        several = found if isinstance(found, list) else [found]
        classes = [one._replace(probabilities={one.text: 0.75, "other": 0.25}) for one in several]
        return classes if isinstance(found, list) else classes[0]

    tag = estimate = generate = translate

    def score(self, pairs: Sequence[tuple[str, str]], **options: Any) -> list[Any]:
        self.calls.append({"pairs": list(pairs), **options})
        return [api.Scored(-float(len(target)), len(target) + 1) for _, target in pairs]


def answer(text: str, options: dict[str, Any]) -> Prediction:
    """The text backwards, with the same text in capitals as the next best."""
    weights = torch.eye(2) if text != "blind" else None
    others = tuple(Prediction(text.upper(), -2.0) for _ in range(options.get("n_best", 1) - 1))
    return Prediction(text[::-1], -1.0, ("x", "</s>"), ("a", "b"), weights, (), others)


class Result(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> FakePredictor:
    """A model in the place of every run folder."""
    fake = FakePredictor()
    monkeypatch.setattr(api, "load", fake.load)
    monkeypatch.setattr(output, "fingerprint", lambda arguments, options: {"model": "fake", **options})
    return fake


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that we are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capfdbinary: pytest.CaptureFixture[bytes], *argv: str) -> Result:
    """The exit code and the output of one command, in this process."""
    try:
        code = cli.main(argv)
    except SystemExit as exit:  # argparse
        code = exit.code if isinstance(exit.code, int) else 1
    captured = capfdbinary.readouterr()
    return Result(code, captured.out.decode(), captured.err.decode())


def stdin(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """What standard input holds."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))


Capture = pytest.CaptureFixture[bytes]

# the commands that answer


@pytest.mark.parametrize("command", ["translate", "classify", "tag", "estimate", "generate"])
def test_every_command_that_answers_keeps_lines_and_their_order(
    command: str, predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, b"ab\n\nlast")
    result = run(capfdbinary, command, "runs/x", "--batch-size", "2")
    assert (result.code, result.out) == (0, "ba\n\ntsal\n")
    assert predictor.calls[0]["batch_size"] == 2
    assert predictor.calls[0]["first_line"] == 1


def test_every_class_with_its_probability(
    predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, b"ab\n")
    result = run(capfdbinary, "classify", "runs/x", "--probabilities")
    assert result.out == "ba\tba\t0.7500\tother\t0.2500\n"


def test_a_prompt_is_one_input_and_what_comes_of_it_may_have_several_lines(
    predictor: FakePredictor, capfdbinary: Capture
) -> None:
    result = run(capfdbinary, "generate", "runs/x", "--prompt", "a\nb", "--max-length", "5")
    assert result.out == "b\na\n"
    assert predictor.calls[0]["texts"] == "a\nb"
    assert predictor.calls[0]["search"] == {"max_length": 5}
    several = run(capfdbinary, "generate", "runs/x", "--prompt", "ab", "--n-best", "2")
    assert several.out == "1\t-1.0000\tba\n1\t-2.0000\tAB\n"


# translate


def test_lines_out_are_lines_in(
    predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, "\ufeffab\r\n\n한국\n null\tnan \"'\0\nשלום\x85\u2028x\r\r\nlast".encode())
    result = run(capfdbinary, "translate", "runs/x")
    assert (result.code, result.err) == (0, "")
    lines = ["ab", "", "한국", " null\tnan \"'\0", "שלום\x85\u2028x\r", "last"]
    assert [text for call in predictor.calls for text in call["texts"]] == lines
    assert result.out.split("\n") == [line[::-1].replace("\r", " ") for line in lines] + [""]


def test_a_line_end_in_an_answer_is_no_line_end(predictor: FakePredictor, capfdbinary: Capture, here: Path) -> None:
    (here / "in").write_bytes(b"a\rb\r\rc\n")
    assert run(capfdbinary, "translate", "runs/x", "in").out == "c  b a\n"


def test_a_pipe_is_answered_line_by_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_cli import FakePredictor\nfrom seq2att import api, cli\n"
        "api.load = FakePredictor().load\nsys.exit(cli.main(['translate', 'x']))"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in (b"abc\n", b"\n", "가나\n".encode()):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline().decode() == f"{line.decode().strip()[::-1]}\n"
        process.stdin.close()
        assert process.stdout.read() == b""
    assert process.returncode == 0


def test_files_go_by_in_pieces(
    predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    monkeypatch.setattr("seq2att.cli.text.CHUNK_BYTES", 64)
    lines = [f"줄 {number}" for number in range(100)]
    (here / "in").write_text("\n".join(lines) + "\n", "utf-8")
    result = run(capfdbinary, "translate", "runs/x", "in", "-o", "out", "--batch-size", "3", "--too-long", "cut")
    assert (result.code, result.out) == (0, "")
    assert re.fullmatch(r"100 lines in \d+\.\d s, [\d,]+ lines/s\n", result.err)
    assert (here / "out").read_text("utf-8").splitlines() == [line[::-1] for line in lines]
    assert len(predictor.calls) > 10
    assert [line for call in predictor.calls for line in call["texts"]] == lines
    firsts = [call["first_line"] for call in predictor.calls]
    assert firsts == [1 + sum(len(call["texts"]) for call in predictor.calls[:index]) for index in range(len(firsts))]
    assert {(call["batch_size"], call["too_long"]) for call in predictor.calls} == {(3, "cut")}


OPTIONS: dict[str, dict[str, Any]] = {
    "": {"beam": None, "n_best": 1, "search": None},
    "--beam 4 --min-length 1": {"beam": 4, "search": {"min_length": 1}},
    "--n-best 2 --length-penalty 0.5": {"n_best": 2, "search": {"length_penalty": 0.5}},
    "--sample --temperature 0.5 --top-k 3 --top-p 0.9 --seed 2": {
        "search": {"name": "sample", "temperature": 0.5, "top_k": 3, "top_p": 0.9, "seed": 2}
    },
}


@pytest.mark.parametrize("flags", OPTIONS)
def test_search_options(
    flags: str, predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    stdin(monkeypatch, b"a\n")
    assert run(capfdbinary, "translate", "runs/x", *flags.split()).code == 0
    assert {name: predictor.calls[0][name] for name in OPTIONS[flags]} == OPTIONS[flags]


def test_search_options_are_those_of_the_components() -> None:
    registry.load()
    assert set(searching.SAMPLING) <= set(registry.find("search", "sample").options)
    assert set(searching.LENGTHS) <= set(registry.find("search", "beam").options)


def test_the_options_of_a_sample_are_for_models_that_sample(
    tiny_run: Callable[[str], Path], capfdbinary: Capture, here: Path
) -> None:
    shutil.copytree(tiny_run("names"), here / "drawing")
    config = yaml.safe_load((here / "drawing/config.yaml").read_text())
    sample = {"name": "sample", "temperature": 1.0, "top_k": 0, "top_p": 1.0, "seed": 1, "n_best": 1}
    (here / "drawing/config.yaml").write_text(yaml.safe_dump(config | {"format": 1, "search": sample}))
    (here / "drawing/manifest.json").unlink()
    (here / "in").write_text("Irish\nItalian\n" * 4)
    capfdbinary.readouterr()  # what training said
    said = {}
    for flags in ("", "--seed 1", "--seed 4", "--sample --seed 4", "--temperature 1e-9", "--beam 1", "--top-k 1"):
        result = run(capfdbinary, "generate", "drawing", "in", *flags.split())
        assert result.code == 0, result.err
        said[flags] = result.out
    assert said[""] == said["--seed 1"] != said["--seed 4"] == said["--sample --seed 4"]
    assert said["--temperature 1e-9"] == said["--beam 1"] == said["--top-k 1"]
    names = str(tiny_run("names"))
    for flags, code, subject in (
        (f"{names} in --seed 4", "E-conflict", "--seed"),
        (f"{names} in --sample --temperature 0", "E-range", "search.temperature=0.0"),
        ("drawing in --length-penalty 0", "E-option", "search.length_penalty"),
        ("nowhere in --seed 4", "E-bundle", "nowhere"),
    ):
        check_error(run(capfdbinary, "generate", *flags.split()), code, subject)


def test_the_help_says_how_a_text_is_found(capfdbinary: Capture) -> None:
    said = " ".join(run(capfdbinary, "generate", "--help").out.split())
    assert "Without --beam and --sample the search is that of the model's recipe" in said
    assert "without it the search is that of the model's recipe" in said
    assert "in the order of the search: a beam ranks by these divided by the length" in said
    assert "seed of the sample; without it the same one every time" in said


def test_n_best_is_a_table(predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"ab\ncd\n")
    result = run(capfdbinary, "translate", "runs/x", "--n-best", "2")
    assert result.out == "1\t-1.0000\tba\n1\t-2.0000\tAB\n2\t-1.0000\tdc\n2\t-2.0000\tCD\n"


def test_conversation(predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["ab", "refuse me", "한국"])

    def ask(prompt: str) -> str:
        assert prompt == "> "
        try:
            return next(typed)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda self: True})())
    result = run(capfdbinary, "translate", "runs/x")
    assert result == (0, "ba\n국한\n", "Type a line; Ctrl-D ends.\nseq2att: error [E-length]: line 1: is too long\n\n")


def test_plugins_of_a_model(predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin(monkeypatch, b"a\n")
    assert run(capfdbinary, "translate", "plugins=[코.py, b]", "runs/x").out == "a\n"
    assert predictor.loaded == ("runs/x", "코.py", "b")


# score, evaluate, show


def test_score_of_texts_and_factors(
    predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    predictor.has_source = False
    stdin(monkeypatch, b"ab\n\tabc\n")
    assert run(capfdbinary, "score", "runs/x") == (0, "-2.000000\n-3.000000\n", "")
    (here / "texts").write_text("abc\n")
    assert run(capfdbinary, "score", "runs/x", "texts").out == "-3.000000\n"
    assert predictor.calls[1]["pairs"] == [("", "abc")]
    found = json.loads(run(capfdbinary, "score", "runs/x", "texts", "--json").out)
    assert found == {"score": -3.0, "tokens": 4, "perplexity": None}
    half = math.log(0.5)
    scored = api.Scored(2 * half, 2, 2.0, ("a", "</s>"), (half, half))
    monkeypatch.setattr(predictor, "score", lambda pairs, **options: [scored])
    lines = run(capfdbinary, "score", "runs/x", "texts", "--tokens").out.splitlines()
    assert [line.split() for line in lines[2:5]] == [
        ["a", "-0.693147", "0.5"],
        ["</s>", "-0.693147", "0.5"],
        ["product", "-1.386294", "0.25"],
    ]
    found = json.loads(run(capfdbinary, "score", "runs/x", "texts", "--tokens", "--json").out)
    assert (found["pieces"], found["token_scores"]) == (["a", "</s>"], [half, half])


def test_score_of_pairs(
    predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    stdin(monkeypatch, "a\tbb\n한국\t\n".encode())
    assert run(capfdbinary, "score", "runs/x") == (0, "-2.000000\n-0.000000\n", "")
    assert predictor.calls[0]["pairs"] == [("a", "bb"), ("한국", "")]
    (here / "s").write_text("a\nb\n")
    (here / "t").write_text("x\nyyy")
    assert run(capfdbinary, "score", "runs/x", "s", "t", "--batch-size", "2").out == "-1.000000\n-3.000000\n"
    monkeypatch.setattr("seq2att.cli.score.CHUNK", 1)
    assert run(capfdbinary, "score", "runs/x", "s", "t").out == "-1.000000\n-3.000000\n"
    assert [call["first_pair"] for call in predictor.calls] == [1, 1, 1, 2]  # errors name the pair of the file
    assert predictor.calls[1] == {"pairs": [("a", "x"), ("b", "yyy")], "batch_size": 2, "first_pair": 1}


def test_evaluate_prints_json(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def evaluate(run: str, **options: Any) -> dict[str, Any]:
        calls.append({"run": run, **options})
        return {"bleu": 40.0, "words": "한국"}

    monkeypatch.setattr(api, "evaluate", evaluate)
    result = run(capfdbinary, "evaluate", "runs/x", "--beam", "2")
    assert json.loads(result.out) == {"bleu": 40.0, "words": "한국"}
    assert "한국" in result.out
    assert calls == [{"run": "runs/x", "split": "test", "file": None, "root": None, "beam": 2, "plugins": []}]
    result = run(capfdbinary, "evaluate", "runs/x", "--test", "a", "b", "--root", "there", "--batch-size", "3")
    assert json.loads(result.out) == {"a": {"bleu": 40.0, "words": "한국"}, "b": {"bleu": 40.0, "words": "한국"}}
    assert [(call["file"], call["root"], call["batch_size"]) for call in calls[1:]] == [
        ("a", "there", 3),
        ("b", "there", 3),
    ]


def test_evaluate_draws_what_the_figures_tell(
    tiny_run: Callable[[str], Path], capfdbinary: Capture, here: Path
) -> None:
    runs = {name: str(tiny_run(name)) for name in ("classes", "numbers", "texts")}
    capfdbinary.readouterr()  # what their training said
    result = run(capfdbinary, "evaluate", runs["classes"], "--draw", "pictures")
    assert result.code == 0, result.err
    assert (here / "pictures/confusion.png").read_bytes().startswith(b"\x89PNG")
    assert re.search(r"^pos +\d+\.\d\d", result.err, re.MULTILINE)
    assert json.loads(result.out)["accuracy"] >= 0
    assert "details" not in json.loads(result.out)
    plain = run(capfdbinary, "evaluate", runs["classes"])
    assert json.loads(plain.out) == json.loads(result.out)
    assert re.search(r"\A +precision .*^pos +\d+\.\d\d.*\d\n\Z", plain.err, re.MULTILINE | re.DOTALL)
    whole = json.loads(run(capfdbinary, "evaluate", runs["classes"], "--details").out)
    assert whole["details"]["accuracy"]["confusion"]
    both = run(capfdbinary, "evaluate", runs["numbers"], "--draw", "pictures", "--quantize", "int8")
    assert both.code == 0, both.err
    assert both.err.endswith("drawn: pictures/scatter.png, pictures/series.png\n")
    assert all("details" not in block for block in json.loads(both.out).values())
    tags = run(capfdbinary, "evaluate", runs["texts"], "--draw", "pictures")
    assert "drawn: nothing: these metrics have no details\n" in tags.err


def test_the_frames_are_those_that_the_model_read() -> None:
    vectors = np.arange(10.0).reshape(5, 2)
    model = SimpleNamespace(source=SimpleNamespace(encode=np.asarray))
    start, end = {"max_length": 3}, {"max_length": 3, "keep": "end"}
    for data, kept in ({"max_length": None}, vectors), (start, vectors[:3]), (end, vectors[2:]):
        predictor: Any = SimpleNamespace(model=model, config={"data": data})
        assert np.array_equal(show.source_array(predictor, vectors), kept)


def test_brief_figures_keep_every_file() -> None:
    figures = {"rows": 2, "accuracy": 50.0, "details": {"accuracy": {"confusion": []}}}
    short = {"rows": 2, "accuracy": 50.0}
    assert evaluate.without_details({"details": figures, "other": figures}) == {"details": short, "other": short}


def test_flags_stand_before_or_after_the_file(predictor: FakePredictor, capfdbinary: Capture, here: Path) -> None:
    (here / "in").write_text("ab\n")
    for words in (["in", "--batch-size", "3"], ["--batch-size", "3", "in"]):
        result = run(capfdbinary, "translate", "runs/x", *words)
        assert (result.code, result.out) == (0, "ba\n"), result.err


def test_standard_input_and_output_are_no_one_file(
    predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"ab\n")))
    result = run(capfdbinary, "translate", "runs/x", "-", "-o", "-")
    assert (result.code, result.out) == (0, "ba\n"), result.err


def test_a_mistake_leaves_the_output_file_as_it_was(predictor: FakePredictor, capfdbinary: Capture, here: Path) -> None:
    (here / "in").write_text("refuse me\n")
    (here / "out").write_text("of yesterday\n")
    assert run(capfdbinary, "translate", "runs/x", "in", "-o", "out").code == 2
    assert (here / "out").read_text() == "of yesterday\n"
    (here / "in").write_text("ab\n")
    assert run(capfdbinary, "translate", "runs/x", "in", "-o", "out").code == 0
    assert (here / "out").read_text() == "ba\n"
    (here / "in").write_text("")
    assert run(capfdbinary, "translate", "runs/x", "in", "-o", "out").code == 0
    assert (here / "out").read_text() == ""


def test_show_prints_and_draws(predictor: FakePredictor, capfdbinary: Capture, here: Path) -> None:
    result = run(capfdbinary, "show", "runs/x", "가나", "-o", "map.png")
    assert result.code == 0, result.err
    assert result.out.startswith("나가\n\n")
    assert "</s>" in result.out
    assert result.err == "drawn into map.png\n"
    assert (here / "map.png").read_bytes().startswith(b"\x89PNG")
    blind = run(capfdbinary, "show", "runs/x", "blind")
    check_error(blind, "E-task", "runs/x")
    assert blind.out == "dnilb\n"


def test_show_searches_only_where_there_is_a_search(tiny_run: Callable[[str], Path], capfdbinary: Capture) -> None:
    classes = str(tiny_run("classes"))
    capfdbinary.readouterr()  # what training said
    check_error(run(capfdbinary, "show", classes, "good", "--beam", "2"), "E-task", "--beam=2")


def test_show_answers_a_row_of_the_data(
    predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def example(predictor: Any, row: int, **options: Any) -> api.Example:
        asked.append((row, options))
        return api.Example([[0.5], [0.25]], "three", "digits-test:3")

    monkeypatch.setattr(api, "example", example)
    monkeypatch.setattr(predictor, "translate", lambda inputs, **_: [answer(str(len(inputs[0])), {})])
    result = run(capfdbinary, "show", "runs/x", "--row", "3", "--split", "validation")
    assert result.out.startswith("digits-test:3: three\n2\n")
    assert asked == [(3, {"split": "validation", "root": None})]


# train


def test_train_runs_what_is_composed(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[Any] = []
    monkeypatch.setattr(launch, "run", lambda config, command: trained.append(config))
    assert run(capfdbinary, "train", "reverse", "encoder=gru", "seed=3") == (0, "", "")
    assert trained == [compose("reverse", ["encoder=gru", "seed=3"])]


def test_cfg_prints_and_trains_nothing(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setattr(launch, "run", lambda config, command: pytest.fail("trained"))
    result = run(capfdbinary, "train", "reverse", "seed=3", "--cfg", "job", "data.language=한국")
    assert result.code == 0
    assert yaml.safe_load(result.out) == compose("reverse", ["seed=3", "data.language=한국"])
    assert "language: 한국" in result.out
    (here / "again.yaml").write_text(result.out, "utf-8")
    assert compose("again.yaml") == yaml.safe_load(result.out)
    hydra = run(capfdbinary, "train", "reverse", "--cfg", "hydra")
    assert hydra.out.startswith("hydra:\n")


def test_multirun_by_the_command_line(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    trained: list[Any] = []

    def train(config: dict[str, Any], command: Sequence[str]) -> Path:
        trained.append(config)
        path = Path(config["run"])
        path.mkdir(parents=True)
        (path / "metrics.json").write_text('{"validation": {"loss": 0.5}, "best_by": "loss"}')
        return path

    monkeypatch.setattr(launch, "run", train)
    result = run(capfdbinary, "train", "reverse", "-m", "attention=none,dot,additive")
    assert result.code == 0, result.err
    assert [config["attention"]["name"] for config in trained] == ["none", "dot", "additive"]
    assert [config["run"] for config in trained] == [f"runs/reverse/attention={a}" for a in ("none", "dot", "additive")]
    assert cli.train.measure({**trained[0], "run": "runs/z"}) == 0.5
    run(capfdbinary, "train", "reverse", "hydra.mode=MULTIRUN", "seed=1,2")
    assert [config["seed"] for config in trained[4:]] == [1, 2]


# What is wrong

WRONG = {  # the code and the subject of the error
    "train reverse encoder=grru": ("E-component", "encoder=grru"),
    "train revers": ("E-recipe", "revers"),
    "translate runs/x no.txt": ("E-file", "no.txt"),
    "translate runs/x in -o no/out": ("E-file", "no/out"),
    "translate runs/x in -o ./in": ("E-argument", "--output=./in"),
    "score runs/x in other -o ./other": ("E-argument", "--output=./other"),
    "translate runs/x latin": ("E-encoding", "latin:2"),
    "translate runs/x in --top-k 3 --beam 2": ("E-conflict", "--top-k and --beam"),
    "translate runs/x in --sample --beam 3": ("E-conflict", "--sample and --beam"),
    "score runs/x in": ("E-missing", "in"),
    "score runs/x in longer": ("E-length", "in:1"),
    "score runs/x longer in": ("E-length", "in:1"),
    "score runs/x": ("E-row", "standard input:2"),
    "show runs/x": ("E-missing", "TEXT"),
    "show runs/x text --row 3": ("E-argument", "TEXT and --row"),
    "show runs/x ' '": ("E-empty", "TEXT"),
    "show runs/x a -o map.foo": ("E-argument", "--output=map.foo"),
    "list encodr": ("E-component", "encodr"),
}


@pytest.mark.parametrize("command", WRONG)
def test_mistakes_are_one_message_and_exit_code_2(
    command: str, predictor: FakePredictor, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, here: Path
) -> None:
    (here / "in").write_text("a\n")
    (here / "longer").write_text("a\nb\n")
    (here / "latin").write_bytes(b"a\ncaf\xe9\n")
    stdin(monkeypatch, b"a\tb\na\tb\tc\n")
    result = run(capfdbinary, *shlex.split(command))
    check_error(result, *WRONG[command])
    assert (here / "in").read_text() == "a\n"


USAGE = {
    "trian reverse": "no command is called 'trian'; known: baseline, check, classify, ",
    "clasify runs/x": "did you mean 'classify'?",
    "train": "error [E-missing]: RECIPE: train needs a recipe; give one, as in seq2att train reverse; seq2att list rec",
    "train encoder=gru": "[E-missing]: RECIPE",
    "train reverse --frobnicate": "unrecognized arguments: --frobnicate; see seq2att train --help",
    "score runs/x a b c": "unrecognized arguments: c; see seq2att score --help",
    "translate runs/x --beam 0": "argument --beam: '0' must be a whole number of at least 1",
    "translate runs/x --beam two": "argument --beam: 'two' must be a whole number of at least 1",
    "generate runs/x --max-length 0": "argument --max-length: '0' must be a whole number of at least 1",
}


@pytest.mark.parametrize("command", USAGE)
def test_wrong_usage(command: str, capfdbinary: Capture) -> None:
    result = run(capfdbinary, *command.split())
    assert result.code == 2
    assert USAGE[command] in result.err
    assert "Traceback" not in result.err


def test_alone_it_says_what_there_is(capfdbinary: Capture) -> None:
    result = run(capfdbinary)
    assert result.code == 2
    assert "start here:\n  seq2att train reverse" in result.err


@pytest.mark.usefixtures("own_registry")
def test_a_kind_without_components_is_listed(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.load()
    monkeypatch.setitem(registry.component._entries, "callback", {})
    assert run(capfdbinary, "list", "callback").out == "callback\n  no components; a plugin may add some\n"


def test_a_list_is_shown_with_what_it_may_hold(capfdbinary: Capture) -> None:
    text = " ".join(run(capfdbinary, "list", "head.classification").out.split())
    assert "pool: list[last|mean|max|attend] = [last]" in text


def test_interruption(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run", interrupt)
    assert run(capfdbinary, "train", "reverse") == (130, "", "seq2att: interrupted\n")


@pytest.mark.posix
def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    command = f"set -o pipefail; {shlex.quote(sys.executable)} -m seq2att list | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "encoder\n"
    assert done.stderr == ""
    code = (
        "import os, sys; from seq2att import cli, api\n"
        "read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "sys.exit(cli.main(['list', 'encoder']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


# list


def test_list_shows_every_component_in_one_line(capfdbinary: Capture) -> None:
    result = run(capfdbinary, "list")
    assert result.code == 0
    registry.load()
    lines = result.out.splitlines()
    for kind in registry.kinds():
        for name, entry in registry.entries(kind).items():
            assert any(re.fullmatch(rf"  {name} +{re.escape(entry.doc)}", line) for line in lines), name
            assert entry.doc
    assert ".py" not in result.out
    with_paths = run(capfdbinary, "list", "--paths").out
    for kind in registry.kinds():
        for entry in registry.entries(kind).values():
            assert f"[{entry.location}]" in with_paths
    assert len(with_paths.splitlines()) == len(lines)


def test_list_of_a_kind(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.chdir(root)
    registry.load()
    attentions = registry.entries("attention")
    result = run(capfdbinary, "list", "attention")
    title, *lines = result.out.splitlines()
    assert title == "attention"
    assert [line.split()[0] for line in lines] == list(attentions)
    text = (root / "seq2att/attention.py").read_text("utf-8")
    line = text[: text.index("class Additive")].count("\n") + 1
    path = f"seq2att/attention.py:{line}"
    assert path not in result.out
    assert run(capfdbinary, "list", "attention", "--paths").out.endswith(f"  [{path}]\n")


def test_list_of_a_component_shows_its_options(capfdbinary: Capture) -> None:
    registry.load()
    for pattern in ("attention.additive", "attention=additive"):
        entry = registry.find("attention", "additive")
        first, *lines = run(capfdbinary, "list", pattern).out.splitlines()
        assert first == f"attention.additive: {entry.doc}"
        assert lines[0] == "  size: int = 256"
        assert " ".join(" ".join(lines[1:]).split()) == entry.options["size"].meaning
    tokenizer = run(capfdbinary, "list", "tokenizer.char").out
    assert tokenizer.startswith("tokenizer.char (in the slots source/tokenizer, target/tokenizer): ")


def test_list_by_pattern_and_of_settings(capfdbinary: Capture) -> None:
    lstm = run(capfdbinary, "list", "*lstm*").out
    assert re.findall(r"^\S+|^  \S+", lstm, re.MULTILINE)[:4] == ["encoder", "  lstm", "decoder", "  lstm"]
    assert run(capfdbinary, "list", "encoder=lstm").out.startswith("encoder.lstm: ")
    settings = run(capfdbinary, "list", "trainer", "data").out
    assert "batch_by: sentences|tokens = sentences" in settings
    assert "max_length: int|null = null\n      tokens that a source or a target may have; null for any" in settings
    assert "precision: 32|bf16|16|64 = 32" in settings
    assert "train: list[str] (required)" in run(capfdbinary, "list", "reader.tsv").out
    assert [line.split()[0] for line in run(capfdbinary, "list", "settings").out.splitlines()] == [
        "settings", "run", "data", "trainer"
    ]  # fmt: skip
    assert run(capfdbinary, "list", "tokenizer").out.startswith(
        "tokenizer (in the slots source/tokenizer, target/tokenizer)\n"
    )
    assert set(re.findall(r"^  (\S+)", run(capfdbinary, "list", "recipe").out, re.MULTILINE)) == set(recipes())


def test_list_names_a_broken_plugin_in_one_line(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.component._broken, "seq2att-odd", "odd: RuntimeError: no")
    result = run(capfdbinary, "list", "attention")
    assert result.code == 0
    assert result.err == (
        "seq2att: the installed plugin seq2att-odd cannot be imported (odd: RuntimeError: no); "
        "install what it needs, or `pip uninstall seq2att-odd`\n"
    )


@pytest.mark.usefixtures("own_registry")
def test_list_with_a_plugin(capfdbinary: Capture, here: Path) -> None:
    (here / "plugin_l.py").write_text(
        "from seq2att.registry import register\n\n@register('metric', 'mine')\n"
        "def mine(*, 크기: int = 3):\n    'Mine.\\n\\n    Args:\\n        크기: Of it.'\n",
        "utf-8",
    )
    result = run(capfdbinary, "list", "mine", "plugins=[plugin_l.py]", "--paths")
    assert result.out == "metric\n  mine  Mine.  [plugin_l.py:3]\n"
    assert run(capfdbinary, "list", "metric.mine").out == "metric.mine: Mine.\n  크기: int = 3\n      Of it.\n"


# What is loaded

HEAVY = {"torch", "hydra", "omegaconf", "numpy", "lightning_fabric", "datasets"}
LATER = {"lightning_fabric", "datasets", "matplotlib", "sentencepiece", "pyarrow", "sacrebleu", "pandas"}
LOADS = {
    "--help": HEAVY,
    "--version": HEAVY,
    "train --help": HEAVY,
    "translate --help": HEAVY,
    "list": LATER | {"hydra"},
    "train reverse --cfg job": LATER,
    "train reverse encoder=grru": LATER,
    "train revers": LATER | {"torch", "hydra"},
}


@pytest.mark.parametrize("command", LOADS)
def test_commands_load_no_more_than_they_need(command: str) -> None:
    code = (
        "import sys\nfrom seq2att.cli import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED ")[2].split())
    assert "argparse" in loaded
    assert not LOADS[command] & loaded


def test_importing_the_package_loads_nothing_and_everything_is_there() -> None:
    code = (
        "import sys; before = set(sys.modules); import seq2att\n"
        "new = {name for name in set(sys.modules) - before if not name.startswith('seq2att')}\n"
        "assert not new & {'torch', 'numpy', 'hydra', 'argparse'}, new\n"
        "assert [name for name in dir(seq2att) if name in seq2att.__all__] == sorted(seq2att.__all__)\n"
        "print(*[callable(getattr(seq2att, name)) or name for name in seq2att.__all__], seq2att.__version__)\n"
        "try: seq2att.nothing\n"
        "except AttributeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert set(first.split()[:-1]) == {"True", "__version__", "PAD", "UNKNOWN", "BEGIN", "END"}
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", first.split()[-1])
    assert second == "module 'seq2att' has no attribute 'nothing'"


def test_type_checkers_see_the_names_that_the_package_exports() -> None:
    source = Path(seq2att.__file__).read_text("utf-8")
    imports = re.findall(r"^    from seq2att\.([\w.]+) import (\w+) as (\w+)$", source, re.MULTILINE)
    assert {name: module for module, name, alias in imports if name == alias} == seq2att.HOMES


def test_python_m_seq2att_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "seq2att", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"seq2att \S+\n", done.stdout)


# Help

COMMANDS = ("train", "translate", "evaluate", "score", "show", "list")
OTHERS = {  # commands whose examples name runs of other heads, and the tiny run that stands for each
    "classify": {"surname_origin": "classes"},
    "tag": {"atis_slots": "tags"},
    "estimate": {"number_sequence": "numbers"},
    "generate": {"shakespeare_char": "texts", "surname_invent": "names"},
    "evaluate": {"surname_origin": "classes"},
    "score": {"next_character": "texts"},
    "baseline": {"next_character": "texts"},
    "show": {"surname_origin": "classes"},
}


ALL_COMMANDS = sorted(cli.make_parser()[1])


@pytest.mark.parametrize("command", ALL_COMMANDS)
def test_every_command_has_an_example(command: str, capfdbinary: Capture) -> None:
    assert command in run(capfdbinary, "--help").out
    result = run(capfdbinary, command, "--help")
    assert result.code == 0
    assert examples(result.out)
    assert all(f"seq2att {command}" in example for example in examples(result.out))


def examples(text: str) -> list[str]:
    """The commands of a help text."""
    part = text.partition("examples:\n")[2].partition("\n\n")[0]
    return [line.strip().partition("   ")[0] for line in part.splitlines()]


def test_examples_of_train_follow_each_other(capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    runs: list[str] = []

    def train(config: dict[str, Any], command: Sequence[str]) -> Path:
        assert config["run"] not in runs, "holds a finished run"
        runs.append(config["run"])
        (here / config["run"]).mkdir(parents=True)
        (here / config["run"] / "metrics.json").write_text('{"validation": {"loss": 0.5}, "best_by": "loss"}')
        return Path(config["run"])

    monkeypatch.setattr(launch, "run", train)
    for example in examples(run(capfdbinary, "train", "--help").out):
        result = run(capfdbinary, *shlex.split(example)[1:])
        assert result.code == 0, (example, result.err)
    assert len(runs) == 5


@pytest.mark.posix
@pytest.mark.parametrize("command", [*COMMANDS[1:], *(command for command in OTHERS if command not in COMMANDS)])
def test_examples_work_as_pasted(command: str, reverse_run: Path, tiny_run: Callable[[str], Path], here: Path) -> None:
    (here / "runs").mkdir()
    (here / "runs/reverse").symlink_to(reverse_run)
    for name, tiny in OTHERS.get(command, {}).items():
        (here / "runs" / name).symlink_to(tiny_run(tiny))
    (here / "surnames.txt").write_text("good\n\nbad\n")
    (here / "sentences.txt").write_text("to paris\nto new york\n")
    (here / "windows.txt").write_text("1 2 3\n2 3 4\n")
    (here / "input.txt").write_text("a b c\n\nd e\n")
    (here / "source.txt").write_text("a b c\nd e\n")
    (here / "target.txt").write_text("c b a\ne d\n")
    (here / "bin").mkdir()
    (here / "bin/seq2att").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m seq2att "$@"\n')
    (here / "bin/seq2att").chmod(0o755)
    environment = {**os.environ, "PATH": f"{here / 'bin'}:{os.environ['PATH']}"}
    help_text = subprocess.run(
        [sys.executable, "-m", "seq2att", command, "--help"], capture_output=True, text=True, check=True
    ).stdout
    for example in examples(help_text):
        done = subprocess.run(
            ["bash", "-c", example],
            capture_output=True,
            text=True,
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, (example, done.stderr)
        assert "Traceback" not in done.stderr
    if command == "translate":
        lines = (here / "output.txt").read_text().split("\n")
        assert (len(lines), lines[1]) == (4, "")
