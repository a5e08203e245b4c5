"""What a run shows: one line while it goes, a few after each validation, a row of `metrics.csv` and the curves."""

from __future__ import annotations

import csv
import math
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lightning.pytorch import Callback, Trainer

from seq2att.field.text import join_words
from seq2att.trainer.evaluation import references
from seq2att.trainer.folder import CURVES, TABLE
from seq2att.trainer.module import spread

if TYPE_CHECKING:
    from seq2att.trainer.module import Training

FIRST = ("epoch", "step", "train_loss", "loss", "perplexity")  # columns before and after those of the metrics
FEW = 8  # numbers that are shown
LAST = ("learning_rate", "tokens_per_second", "seconds")


class Report(Callback):
    """After each validation: a row of the table, the curves, and lines with the figures and two examples."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder, self.say = folder, say
        self.started = self.resumed = time.monotonic()  # of this start; of training, after a validation
        self.before = 0.0  # seconds of the run until this start
        self.trained = 0.0  # seconds of training between the last validation and this start
        self.speed = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The time used, so that a resumed run adds to it."""
        return {"seconds": self.seconds(), "trained": self.trained + time.monotonic() - self.resumed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Add to that time."""
        self.before, self.trained = state_dict["seconds"], state_dict["trained"]

    def seconds(self) -> float:
        """How long the run has taken."""
        return self.before + time.monotonic() - self.started

    def on_train_start(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Forget rows of a part of the run that is now done again."""
        keep_until(self.folder / TABLE, trainer.global_step)
        self.started = self.resumed = time.monotonic()

    def on_validation_start(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Measure the speed of the training before."""
        self.speed = module.tokens_since() / max(self.trained + time.monotonic() - self.resumed, 1e-9)

    def on_validation_end(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Write and say what was found."""
        assert module.figures is not None
        values = module.figures.values
        row = {
            "epoch": f"{module.figures.epoch:.6g}",
            "step": module.figures.step,
            "train_loss": shown(module.figures.train_loss),
            **{name: shown(value) for name, value in values.items()},
            "learning_rate": shown(module.learning_rate),
            "tokens_per_second": round(self.speed),
            "seconds": round(self.seconds(), 1),
        }
        append(self.folder / TABLE, row)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        best = f"  (best {module.chooses})" if module.best is module.figures else ""
        self.say(f"epoch {row['epoch']}  step {row['step']:,}  {figures}{best}  {clock(self.seconds())}")
        for line in examples(module):
            self.say(line)
        from seq2att.drawing import curves

        curves(self.folder / TABLE, self.folder / CURVES, best=None if module.best is None else module.best.epoch)
        self.resumed, self.trained = time.monotonic(), 0.0


class Progress(Callback):
    """One line with epoch, step, loss, speed and time left: rewritten on a terminal, now and then in a log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.rewrites = self.stream.isatty()
        self.every = 0.2 if self.rewrites else 30.0  # seconds between lines
        self.shown = self.started = time.monotonic()
        self.first = 0  # the step of this start

    def on_train_start(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Measure from here."""
        self.shown = self.started = time.monotonic()
        self.first = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, module: Training, *_: Any) -> None:  # type: ignore[override]
        """Show the line if the last one is old."""
        now = time.monotonic()
        if now - self.shown < self.every:
            return
        self.shown = now
        step, steps = trainer.global_step, module.steps
        left = (now - self.started) / max(step - self.first, 1) * (steps - step)
        limit = module.options["max_minutes"]
        left = left if limit is None else min(left, max(0.0, limit * 60 - (now - self.started)))
        known = module.train_loss == module.train_loss  # not so until training has looked at it
        loss = f"loss {module.train_loss:.3f}  {module.speed:,.0f} tokens/s  " if known else ""
        self.write(
            f"epoch {math.ceil(module.progress)}/{module.options['epochs']}  step {step:,}/{steps:,}  "
            f"{loss}{clock(left)} left"
        )

    def on_validation_start(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Say why nothing moves."""
        if self.rewrites:
            self.write("validating ...")

    def on_validation_end(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Leave the line to what is said about the validation."""
        self.clear()

    def on_exception(self, trainer: Trainer, module: Training, exception: BaseException) -> None:  # type: ignore[override]
        """Leave the line to the message."""
        self.clear()

    def clear(self) -> None:
        """Empty the line of a terminal."""
        if self.rewrites:
            self.write("")

    def write(self, line: str) -> None:
        """Write over the line on a terminal, below it in a log."""
        width = shutil.get_terminal_size().columns - 1
        print(f"\r\x1b[K{line[:width]}" if self.rewrites else line, end="" if self.rewrites else "\n", file=self.stream)
        self.stream.flush()


def examples(module: Training) -> list[str]:
    """What the model says to two sources of the validation split, and a right answer."""
    corpus, rows = module.corpora["validation"], spread(module.asked())[: len(module.examples)]
    lines = []
    answers = references(module.model, corpus, rows, module.config["data"])
    for source, said, right in zip(corpus.source_values(rows), module.examples, answers, strict=True):
        asked = f"{one_line(described(source))} -> " if source is not None else ""
        lines.append(f"  {asked}{one_line(said.text)}   (right: {one_line(right[0])})")
    return lines


def described(value: Any) -> Any:
    """The value; words as a text, and in the place of many numbers, how many there are."""
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return join_words(value)
    if isinstance(value, list) and (len(value) > FEW or any(isinstance(item, list) for item in value)):
        return f"[{len(value)} {'vectors' if isinstance(value[0], list) else 'numbers'}]"
    return value


def one_line(value: Any) -> str:
    """The value as one line of text that is not too long."""
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."


def shown(value: float) -> str:
    """A figure for the table."""
    return f"{value:.6g}"


def clock(seconds: float) -> str:
    """Seconds as `h:mm:ss`, without hours where there are none."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def append(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a table, which is made with its first row."""
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)


def keep_until(path: Path, step: int) -> None:
    """Drop the rows of a table beyond a step."""
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    kept = path.with_suffix(".partial")
    kept.unlink(missing_ok=True)
    for row in rows:
        if int(row["step"]) <= step:
            append(kept, row)
    if kept.exists():
        kept.replace(path)
    else:
        path.unlink()
