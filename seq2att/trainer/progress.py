"""What a run shows: one line while it goes, a few after each validation, a row of `metrics.csv` and the curves."""

from __future__ import annotations

import csv
import io
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from seq2att.field.text import join_words
from seq2att.files import write_file
from seq2att.trainer.callback import Callback
from seq2att.trainer.evaluation import references
from seq2att.trainer.folder import CURVES, TABLE

if TYPE_CHECKING:
    from seq2att.trainer.loop import Training
    from seq2att.trainer.validation import Validator
    from seq2att.types import Prediction

MAX_NUMBERS = 8  # of a source that are shown
MAX_CHARACTERS = 100  # of a line of an example
REDRAWN_AFTER = 10.0  # seconds: a drawing takes some tenths, as long as a whole epoch of a small run


class Report(Callback):
    """After each validation: a row of the table, the curves, and lines with the figures and some examples.

    The curves are drawn after the last validation, and before it not more often than every `REDRAWN_AFTER` seconds.
    """

    def on_start(self, training: Training) -> None:
        self.drawn_at = time.monotonic()
        drop_after(training.folder / TABLE, training.step)  # rows of a part of the run that is now done again

    def on_validation(self, training: Training) -> None:
        """Show the figures of a validation, with examples."""
        validation, best = training.validation, training.best
        assert validation is not None and best is not None
        trained = {"train_loss": validation.train_loss, **training.named_accuracy(validation.train_accuracy)}
        row = {
            "epoch": f"{validation.epoch:.6g}",
            "step": validation.step,
            **{name: f"{value:.6g}" for name, value in {**trained, **validation.values}.items()},
            "learning_rate": f"{training.stepper.learning_rate:.6g}",
            "tokens_per_second": round(training.tokens_per_second),
            "seconds": round(training.seconds(), 1),
        }
        append_row(training.folder / TABLE, row)
        figures = "  ".join(f"{name} {value:.4g}" for name, value in {**trained, **validation.values}.items())
        is_best = best is validation and not math.isnan(training.value(best))
        mark = f"  (best {training.best_by})" if is_best else ""
        training.say(f"epoch {row['epoch']}  step {row['step']:,}  {figures}{mark}  {clock(training.seconds())}")
        if not any(callback.shows_examples for callback in training.callbacks):
            for line in dict.fromkeys(example_lines(training.validator)):
                training.say(line)
        if training.is_done or time.monotonic() - self.drawn_at >= REDRAWN_AFTER:
            from seq2att.drawing import curves

            curves(training.folder / TABLE, training.folder / CURVES, best=best.epoch)
            self.drawn_at = time.monotonic()


class Progress(Callback):
    """One line with epoch, step, loss, speed and time left: rewritten on a terminal, now and then in a log."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.is_terminal = self.stream.isatty()
        self.interval = 0.2 if self.is_terminal else 30.0  # seconds between lines
        self.written_at = self.start_time = time.monotonic()
        self.first_step = 0  # of this start

    def on_start(self, training: Training) -> None:
        self.written_at = self.start_time = time.monotonic()
        self.first_step = training.step

    def on_batch(self, training: Training) -> None:
        """Draw the bar anew."""
        if self.is_terminal and (training.is_validation_due() or training.step == training.num_steps):
            self.write("validating ...")
            return
        now = time.monotonic()
        if now - self.written_at < self.interval:
            return
        self.written_at = now
        step, num_steps = training.step, training.num_steps
        left = (now - self.start_time) / max(step - self.first_step, 1) * (num_steps - step)
        limit = training.options["max_minutes"]
        left = left if limit is None else min(left, max(0.0, limit * 60 - training.seconds()))
        self.write(
            f"epoch {math.ceil(training.progress)}/{training.options['epochs']}  step {step:,}/{num_steps:,}  "
            f"{running_figures(training)}{clock(left)} left"
        )

    def on_validation(self, training: Training) -> None:
        self.clear()

    def clear(self) -> None:
        """Empty the line of a terminal, for what is printed next."""
        if self.is_terminal:
            self.write("")

    def write(self, line: str) -> None:
        """Write over the line on a terminal, below it in a log."""
        width = shutil.get_terminal_size().columns - 1
        end = "" if self.is_terminal else "\n"
        print(f"\r\x1b[K{line[:width]}" if self.is_terminal else line, end=end, file=self.stream, flush=True)


def running_figures(training: Training) -> str:
    """Loss and accuracy of the batches since the last validation, and the speed, when they were last logged."""
    running = training.running_sum
    if not running.count:
        return ""
    accuracy = "".join(f"{name[6:]} {value:.1f}  " for name, value in training.named_accuracy(running.accuracy).items())
    return f"loss {running.mean:.3f}  {accuracy}{training.tokens_per_second:,.0f} tokens/s  "


def example_lines(validator: Validator) -> list[str]:
    """The examples of a validation: source, the model's answer, a right answer."""
    rows = np.array([row for row, _ in validator.examples], np.int64)
    if not len(rows):
        return []
    sources = validator.corpus.values("source", rows)
    right = references(validator.model, validator.corpus, rows, validator.config["data"])
    predictions = [prediction for _, prediction in validator.examples]
    return [f"  {example(*parts)}" for parts in zip(sources, predictions, right, strict=True)]


def example(source: Any, prediction: Prediction, right: Sequence[str] = ()) -> str:
    """One line: the source, if there is one, the model's answer, how likely a class is, a right answer."""
    likely = (prediction.probabilities or {}).get(prediction.text)
    start = "" if source is None else f"{one_line(abbreviated(source))} -> "
    share = "" if likely is None else f" ({likely:.2f})"
    end = f"   (right: {one_line(right[0])})" if right else ""
    return f"{start}{one_line(prediction.text)}{share}{end}"


def abbreviated(source: Any) -> Any:
    """A source as it is shown: words as a text, and how many numbers there are in place of many numbers."""
    if isinstance(source, list) and all(isinstance(item, str) for item in source):
        return join_words(source)
    if isinstance(source, bytes):
        return "[picture]"
    if isinstance(source, list) and source and isinstance(source[0], bytes):
        return f"[{len(source)} frames]"
    if isinstance(source, list) and (len(source) > MAX_NUMBERS or any(isinstance(item, list) for item in source)):
        return f"[{len(source)} {'vectors' if isinstance(source[0], list) else 'numbers'}]"
    return source


def one_line(value: Any) -> str:
    """The value as one line of text that is not too long."""
    text = " ".join(str(value).split())
    return text if len(text) <= MAX_CHARACTERS else f"{text[: MAX_CHARACTERS - 3]}..."


def clock(seconds: float) -> str:
    """Seconds as `h:mm:ss`, without hours where there are none."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def append_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a table, which is made with its first row."""
    write_table(path, [*read_table(path), row])


def drop_after(path: Path, step: int) -> None:
    """Drop the rows of a table after a step."""
    rows = read_table(path)
    if kept := [row for row in rows if int(row["step"]) <= step]:
        write_table(path, kept)
    elif rows:
        path.unlink()


def read_table(path: Path) -> list[dict[str, Any]]:
    """The rows of a table, none if it is not there."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a table, which appears whole."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue())
