"""The benchmarks measure what they say: the same work on both sides, the useful operations, taking turns."""

import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import crafted, flops, growth, lengths, ours, peer, report, rows, textbook, threads, timing
from benchmarks.__main__ import EXAMPLE, main, parser
from benchmarks.machine import Peak, peak
from benchmarks.rows.training import CELLS, KINDS, book
from benchmarks.settings import TINY, Settings, Sizes
from benchmarks.timing import Contender, Result, Row, Times, UnavailableError, Work
from seq2att.errors import UserError
from seq2att.types import Column

ROOT = Path(__file__).resolve().parent.parent
DESIGNS = [
    design._replace(cell=cell, layers=layers) for design, _ in KINDS.values() for cell in CELLS for layers in (1, 2)
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path), TINY, batch=4, rounds=(1, 1), memory=False)


# --- both sides do the same work ---


@pytest.mark.parametrize("name", list(rows.ROWS))
def test_every_tier_gives_the_textbooks_loss_or_answers(name: str, settings: Settings) -> None:
    said = rows.ROWS[name](settings).check()
    assert "seq2att, torch" in said


@pytest.mark.parametrize("name", ["training-luong", "classifier-8"])
def test_other_work_is_refused(name: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "copy_layer", lambda *given: None)
    with pytest.raises(RuntimeError, match="not the same work"):
        rows.ROWS[name](settings).check()


def test_other_answers_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crafted, "EDGE", 50.0)
    row = rows.ROWS["decode"](settings)  # the baseline ends every sentence at once
    monkeypatch.setattr(crafted, "EDGE", -50.0)
    (Path(settings.folder) / "bundle" / "metrics.json").unlink(missing_ok=True)
    with pytest.raises(RuntimeError, match="not the same work"):
        row.check()


def test_a_step_of_ours_is_a_step_of_the_textbooks(settings: Settings) -> None:
    """After a few steps the losses are still equal: clipping and Adam do the same."""
    design = textbook.Design(cell="gru")
    (batch, *_) = lengths.sentence_batches(settings)
    theirs = textbook.Training(book(settings, design))
    mine = ours.Training(ours.copy_weights(theirs.model, ours.translator(TINY, design)))
    for _ in range(3):
        theirs.step(*ours.textbook_inputs(batch))
        mine.step(batch)
    assert theirs.loss(*ours.textbook_inputs(batch)).item() == pytest.approx(mine.loss(batch).item(), rel=1e-4)


def test_one_call_computes_what_the_loop_does(settings: Settings) -> None:
    design = textbook.Design(feeding=False, layers=2)
    inputs, _ = ours.textbook_inputs(lengths.sentence_batches(settings)[0])
    loop, call = (book(settings, design, kind)(*inputs) for kind in (textbook.Decoder, textbook.OneCallDecoder))
    torch.testing.assert_close(call, loop)


# --- useful operations ---


@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: "-".join(map(str, design)))
def test_useful_operations_are_those_that_torch_counts(design: textbook.Design) -> None:
    sizes = Sizes(vocabulary=30, embedding=6, encoder=4, decoder=8, attention=5)
    source, target = torch.full((3,), 5), torch.full((3,), 8)  # no padding
    batch = lengths.made(Column(torch.randint(4, 30, (3, 5)), source), Column(torch.randint(4, 30, (3, 8)), target))
    (values, real, given), _ = ours.textbook_inputs(batch)
    model = textbook.Translator(sizes, design).double()  # oneDNN's LSTM is float32 only, and not counted
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(values, real, given)
    keys = 2 * 15 * 2 * sizes.encoder * (sizes.decoder if design.attention == "general" else sizes.attention)
    again = (given.size(1) - 1) * keys  # which the textbook computes at every step: no useful work
    assert counter.get_total_flops() == flops.forward(sizes, design, batch) + again


def test_a_step_takes_three_times_its_forward(settings: Settings) -> None:
    """Within what has no gradient: the first states, and the first layer's inputs do have one."""
    design = textbook.Design(feeding=False)
    sizes = Sizes(vocabulary=500, embedding=20, encoder=8, decoder=16)
    source, target = torch.full((8,), 20), torch.full((8,), 20)
    batch = lengths.made(Column(torch.randint(4, 500, (8, 20)), source), Column(torch.randint(4, 500, (8, 20)), target))
    inputs, wanted = ours.textbook_inputs(batch)
    training = textbook.Training(textbook.Translator(sizes, design, textbook.OneCallDecoder).double())
    with FlopCounterMode(display=False) as counter:
        training.loss(inputs, wanted).backward()
    assert counter.get_total_flops() == pytest.approx(3 * flops.forward(sizes, design, batch), rel=0.02)


def test_useful_operations_of_a_classifier() -> None:
    model = textbook.Classifier(50, 6, 5, 3).double()
    texts, real = torch.randint(4, 50, (2, 7)), torch.full((2,), 7)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(texts, real)
    assert counter.get_total_flops() == flops.classifier(14, 2, 6, 5, 3)


def test_peak_is_measured(settings: Settings) -> None:
    found = peak(settings, repeats=1)
    assert found.best == max(found.mm, found.onednn, found.ours) > 0
    assert found.joined(Peak(mm=1e20, shape=(1, 2, 3))) == Peak(1e20, found.onednn, found.ours, (1, 2, 3))


# --- lengths ---


def test_made_up_lengths_are_those_of_multi30k() -> None:
    source, target = lengths.sentence_lengths(50_000, np.random.default_rng(0))
    assert target.mean() == pytest.approx(14.7, abs=0.3)  # measured on its English side
    assert source.mean() == pytest.approx(15.2, abs=0.3)  # and on its German one
    assert np.corrcoef(np.log(source), np.log(target))[0, 1] == pytest.approx(0.836, abs=0.02)


def test_batches_hold_short_and_long_sentences_of_similar_length(tmp_path: Path) -> None:
    batches = lengths.sentence_batches(Settings(str(tmp_path), batch=8))
    means = [float(batch.target.lengths.float().mean()) for batch in batches if batch.target is not None]
    assert min(means) < 0.8 * means[0] < 1.2 * means[0] < max(means)
    assert all(batch.target.lengths.float().std() < 2 for batch in batches if batch.target is not None)


def test_the_crafted_model_ends_where_a_translation_would(tmp_path: Path) -> None:
    sizes = Sizes(vocabulary=300, embedding=64, encoder=64, decoder=128)
    torch.manual_seed(0)
    model = crafted.follow_source(textbook.Translator(sizes, textbook.Design())).eval()
    random = np.random.default_rng(0)
    source = lengths.ragged(lengths.sentence_lengths(64, random)[0], 300, random).gather(np.arange(64))
    said = textbook.beam_search(textbook.Speaker(model), source.values, source.lengths)
    found = np.array([len(ids) for ids in said])
    assert found.mean() / float(source.lengths.float().mean()) == pytest.approx(0.964, abs=0.12)  # Multi30k's ratio
    assert np.corrcoef(found, source.lengths)[0, 1] > 0.75  # Multi30k's: 0.84


# --- taking turns ---


def recorded(log: list[str], name: str, seconds: float) -> Callable[[], Callable[[int], float]]:
    def build() -> Callable[[int], float]:
        def run(number: int) -> float:
            log.append(name)
            return seconds

        return run

    return build


def test_contenders_take_turns_and_slow_ones_stop_early(settings: Settings) -> None:
    log: list[str] = []
    contenders = [Contender(name, recorded(log, name, took)) for name, took in (("a", 10.0), ("b", 2.0), ("c", 1.5))]
    row = Row("row", "title", contenders, [Work(30, 0.0)], lambda: "")
    times = timing.measure(row, settings._replace(seconds=14.0, rounds=(3, 9)))
    assert "".join(log) == "abc" + "abc" * 2 + "bc" * 2  # warm-up; 14 s hold four rounds of b and c
    results = timing.summarize(row, times)
    assert [result.rounds for result in results] == [2, 4, 4]
    assert [result.ratio for result in results] == [1.0, 5.0, pytest.approx(10 / 1.5)]


def test_a_contender_that_cannot_run_is_named(settings: Settings) -> None:
    def build() -> Callable[[int], None]:
        raise UnavailableError("no compiler")

    row = Row("row", "title", [Contender("a", build), Contender("b", recorded([], "b", 2.0))], [Work(30, 0.0)], str)
    results = timing.summarize(row, timing.measure(row, settings))
    assert [(result.why, result.rate) for result in results] == [("no compiler", 0.0), ("", 15.0)]
    text = report.section(row, results, "equal", Peak(1.0)).markdown()
    assert "Not measured: a (no compiler)." in text


def test_figures_are_medians_and_ratios_of_the_same_round() -> None:
    work = [Work(10, 4.0), Work(20, 8.0)]
    first, other = Contender("a", str), Contender("b", str)
    row = Row("row", "title", [first, other], work, str)
    found = timing.summarize(row, [Times(first, [1.0, 2.0, 8.0]), Times(other, [1.0, 1.0, 2.0])])[1]
    assert found == Result(
        "b", rate=10.0, best=20.0, milliseconds=1e3, ratio=2.0, least=1.0, greatest=4.0, flops=4.0, rounds=3
    )


def test_other_work_on_the_machine_is_told() -> None:
    row = Row("row", "title", [Contender("a", str)], [Work(1, 0.0)], str)
    quiet, busy = (report.section(row, [Result("a", share=share)], "Equal", Peak(1.0)).note for share in (0.99, 0.6))
    assert quiet == "Equal."
    assert busy == "Equal. Disturbed: other work on the machine left a contender 60% of its core."


@pytest.mark.parametrize("tier", ["cpp", None])
def test_the_tier_holds_inside_and_is_gone_after(tier: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv(ours.KERNEL, "torch")
    with ours.kernel(tier):
        assert os.environ[ours.KERNEL] == (tier or "torch")
    assert os.environ[ours.KERNEL] == "torch"


def test_seconds_on_a_core_do_not_count_waiting(settings: Settings) -> None:
    def build() -> Callable[[int], None]:
        return lambda number: time.sleep(0.05)

    row = Row("row", "title", [Contender("a", build)], [Work(1, 0.0)], str)
    (clock,) = timing.measure(row, settings)
    (core,) = timing.measure(row, settings._replace(cpu_time=True))
    assert clock.seconds[0] >= 0.05 > 0.04 > core.seconds[0]
    assert clock.share < 0.8


# --- peers ---

FAKE = """
import sys
from serve import serve

def prepare(task):
    def step(number):
        print("noise", number)
        if number == 7:
            sys.exit("out of luck")
    return step, f"Fake {task['batch']}"

serve(prepare)
"""


def test_a_peer_takes_its_turn_in_its_own_process(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(settings.folder)
    (folder / "serve.py").write_bytes((peer.SCRIPTS / "serve.py").read_bytes())
    (folder / "run_fake.py").write_text(FAKE, "utf-8")
    monkeypatch.setattr(peer, "SCRIPTS", folder)
    task: dict[str, Any] = {"folder": settings.folder, "batch": 64, "cpu_time": False}
    fake = peer.Peer("fake", sys.executable, 1, dict(task))
    assert fake.version == "Fake 64"
    assert 0 <= fake(0) < 1
    assert fake.close() > 1
    unlucky = peer.Peer("fake", sys.executable, 1, dict(task))
    with pytest.raises(UnavailableError, match="out of luck"):
        unlucky(7)
    unlucky.process.stdin.close()
    unlucky.process.stdout.close()


def test_every_peer_has_a_script() -> None:
    assert {path.stem.removeprefix("run_") for path in peer.SCRIPTS.glob("run_*.py")} == {
        *peer.TRANSLATORS,
        *peer.CLASSIFIERS,
    }


# --- the command ---


RUN = ["training-luong", "training-bahdanau-gru", "training-plain-2", "classifier-8", "decode", "decode-one"]


def test_rows_of_every_sort_run_tiny(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    names = [name for name in (*rows.ROWS, *growth.GROWTH) if name in RUN or name in growth.GROWTH]
    assert main(["--tiny", "--no-memory", "--rows", ",".join(names), "--json", str(file)]) == 0
    found = json.loads(file.read_text("utf-8"))
    assert [part["name"] for part in found["sections"]] == names
    for part in found["sections"]:
        assert part["values"], part["name"]
    printed = capsys.readouterr().out
    assert "Peak of this run" in printed
    assert all(f"### `{name}`" in printed for name in names)


def test_memory_is_that_of_a_fresh_process(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--rows", "training-luong", "--only", "textbook,*torch"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| seq2att, torch")]
    assert float(line.split("|")[-2].replace(",", "")) > 50  # MiB


def test_threads_are_measured_in_processes_of_their_own(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    rates = threads.rates_of(settings, 2, 0)
    assert {"textbook", "seq2att, torch"} <= rates.keys()
    assert all(rate > 0 for rate in rates.values())
    monkeypatch.setattr(threads, "rates_of", lambda settings, threads, turn: {"a": 10.0 * threads + turn})
    assert threads.measure(settings._replace(sizes=Sizes())).values == {"a": {"one": 10.5, "two": 20.5}}


def test_profile_names_operations(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", "--profile", "--rows", "training-luong"]) == 0
    assert "Self CPU" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "--device tpu: "),
        (["--rows", "training-loung"], "--rows training-loung: matches no row; known: training-luong,"),
        (
            ["--rows", "decode", "--only", "nobody"],
            "--only nobody: matches no contender of decode; known: plain batched beam;",
        ),
        (["--peer", "keras"], "--peer keras: is not NAME=PYTHON"),
        (["--rows", "training-luong", "--peer", "kers=python"], "--peer kers: has no script; known: keras, opennmt"),
        (["--rows", "classifier-8", "--peer", "keras=nowhere/python"], "--peer keras=nowhere/python: does not exist"),
        (
            ["--cpu-time", "--threads", "2"],
            "--cpu-time: counts the seconds of all threads together; leave out --threads",
        ),
        (["--data", "nowhere"], "--data nowhere: has no train.de"),
        (["--rows", "decode", "--model", "runs/x"], "--model: needs sentences to translate; add --data DIR"),
    ],
)
def test_mistakes_are_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--tiny", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_commands_of_the_readme_and_of_the_help_are_right() -> None:
    texts = [(ROOT / "benchmarks" / "README.md").read_text("utf-8"), EXAMPLE]
    lines = [line for text in texts for line in text.replace("\\\n", " ").splitlines()]
    asking = [line for line in map(str.strip, lines) if line.startswith("python -m benchmarks")]
    commands = [shlex.split(re.sub(r" {2,}(?!-).*| # .*", "", line))[3:] for line in asking]
    assert len(commands) > 10
    for command in commands:
        asked = parser().parse_args(command)
        rows.chosen(asked.rows.split(","), [*rows.ROWS, "threads", *growth.GROWTH])


def test_list_and_readme_name_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    names = capsys.readouterr().out.split()
    assert names == [*rows.ROWS, "threads", *growth.GROWTH]
    text = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    explained = re.findall(r"^\| `([a-z0-9-]+)`", text.partition("## Rows")[2].partition("\n## ")[0], re.M)
    assert [name for name in names if not name.endswith(("-gru", "-rnn", "-2"))] == explained


def test_modules_hold_one_idea() -> None:
    long = {path.name: len(path.read_text("utf-8").splitlines()) for path in (ROOT / "benchmarks").rglob("*.py")}
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_unknown_patterns_list_the_rows() -> None:
    with pytest.raises(UserError, match="known: a, b"):
        rows.chosen(["c*"], ["a", "b"])
    assert rows.chosen(["b*", "a"], ["a", "b", "b-2"]) == ["a", "b", "b-2"]


@pytest.mark.parametrize(
    ("given", "said"),
    [(["--json", "nowhere/figures.json"], "is in no folder that exists"), (["--threads", "0"], "must be at least 1")],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(
    given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--tiny", "--rows", "decode-one", *given]) == 2
    assert said in capsys.readouterr().err
