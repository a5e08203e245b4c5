"""Other systems, each in an environment of its own: a script of `benchmarks/peers` run by the Python that is given.

The script stays alive and does a round when told to, so a peer takes turns with everybody else; it measures itself, so
that talking to it costs nothing. It gets the same sentences in the same batches, and starts from weights of its own.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import ours
from benchmarks.lengths import classifier_batch, sentence_batches
from benchmarks.settings import Settings
from benchmarks.textbook import Design
from benchmarks.timing import Contender, Run, UnavailableError
from seq2att.errors import UserError

SCRIPTS = Path(__file__).parent / "peers"
TRANSLATORS = ("opennmt", "joeynmt")
CLASSIFIERS = ("keras",)


class Peer:
    """A script that does rounds in a process of its own."""

    def __init__(self, name: str, python: str, threads: int, task: dict[str, Any]) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "TF_NUM_INTRAOP_THREADS": str(threads)}
        environment.pop("PYTHONPATH", None)
        self.errors = Path(task.pop("folder")) / f"{name}.log"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [python, str(SCRIPTS / f"run_{name}.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**environment, "TF_NUM_INTEROP_THREADS": "1"},
            )
        self.version = self.ask(json.dumps(task))["name"]

    def ask(self, line: str) -> dict[str, Any]:
        """Send a line and wait for the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: there is no answer either
        for said in self.process.stdout:
            if said.startswith("@"):
                answer: dict[str, Any] = json.loads(said[1:])
                return answer
        self.process.wait()
        last = self.errors.read_text("utf-8", "replace").strip().splitlines()[-1:]
        raise UnavailableError(f"stopped: {' '.join(last)}")

    def __call__(self, number: int) -> float:
        """The seconds of a round."""
        return float(self.ask(str(number))["seconds"])

    def close(self) -> float:
        """End the process; the peak of its memory in MiB."""
        memory = float(self.ask("memory")["memory"])
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        return memory


def training(settings: Settings, design: Design) -> list[Contender]:
    """The peers that train translators."""
    task = functools.partial(translator_task, settings, design)
    return [peer(settings, name, task) for name in asked(settings, TRANSLATORS)]


def classifier(settings: Settings, shape: Any) -> list[Contender]:
    """The peers that train classifiers."""
    task = functools.partial(classifier_task, settings, shape)
    return [peer(settings, name, task) for name in asked(settings, CLASSIFIERS)]


def asked(settings: Settings, known: tuple[str, ...]) -> list[str]:
    """The peers of a sort that the command line names."""
    for name, python in settings.peers:
        if name not in (*TRANSLATORS, *CLASSIFIERS):
            raise UserError(
                "E-choice", f"--peer {name}", "has no script", f"known: {', '.join((*CLASSIFIERS, *TRANSLATORS))}"
            )
        if not Path(python).is_file():
            raise UserError("E-file", f"--peer {name}={python}", "does not exist", "give the Python of its environment")
    return [name for name, _ in settings.peers if name in known]


def peer(settings: Settings, name: str, task: Callable[[], dict[str, Any]]) -> Contender:
    """A peer as a contender; it is not on a GPU."""

    def build() -> Run:
        if settings.device != "cpu":
            raise UnavailableError("peers run on the CPU")
        return Peer(name, dict(settings.peers)[name], settings.threads, task())

    return Contender(name, build)


def common(settings: Settings) -> dict[str, Any]:
    """What every task says."""
    return {
        "folder": settings.folder,
        "threads": settings.threads,
        "seed": settings.seed,
        "cpu_time": settings.cpu_time,
    }


def translator_task(settings: Settings, design: Design) -> dict[str, Any]:
    """The model and the batches."""
    batches = []
    for batch in sentence_batches(settings):
        (source, lengths, given), wanted = ours.textbook_inputs(batch)
        sides = {"source": source, "lengths": lengths, "given": given, "wanted": wanted}
        batches.append({side: values.tolist() for side, values in sides.items()})
    sizes, design_ = settings.sizes._asdict(), design._asdict()
    return {**common(settings), "sizes": sizes, "design": design_, "batches": batches}


def classifier_task(settings: Settings, shape: Any) -> dict[str, Any]:
    """The model and the batch."""
    texts, labels = classifier_batch(settings, shape.vocabulary, shape.classes)
    rows = [row[:length] for row, length in zip(texts.values.tolist(), texts.lengths.tolist(), strict=True)]
    steps = settings.sizes.steps
    return {**common(settings), "shape": shape._asdict(), "steps": steps, "texts": rows, "labels": labels.tolist()}
