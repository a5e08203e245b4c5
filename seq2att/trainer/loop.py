"""The training loop: epochs, batches, steps, validations, checkpoints, and the reasons to stop.

Start reading at `Training.run`. Every process works on its rows of each batch, which may be none. At each step the
processes add up their gradients and their votes to stop (`step.py`), so all of them stop, validate and save alike.
"""

from __future__ import annotations

import itertools
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seq2att.data import batches
from seq2att.trainer import callback as protocol
from seq2att.trainer.checkpoint import Interrupted, Interruption, random_states, restore_random_states
from seq2att.trainer.divergence import MOST_LOWERED, PATIENCE, DivergedError, LossWatch
from seq2att.trainer.failures import return_to_best, write_report
from seq2att.trainer.processes import seed
from seq2att.trainer.state import save_checkpoint
from seq2att.trainer.step import Stepper
from seq2att.trainer.sums import LossSum, fetch, plus, restore, zero
from seq2att.trainer.validation import Validation, Validator, is_better, limited
from seq2att.types import Batch, Loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from seq2att.data import Corpus
    from seq2att.trainer.callback import Callback


class Training:
    """A model in training, and everything that a resumed run must restore."""

    def __init__(
        self,
        config: Mapping[str, Any],
        corpora: Mapping[str, Corpus],
        validator: Validator,
        fabric: Fabric,
        interruption: Interruption,
        callbacks: Sequence[Callback] = (),
        loggers: Sequence[Any] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self.config, self.options, self.folder, self.corpora = config, config["trainer"], Path(config["run"]), corpora
        self.validator, self.interruption, self.say = validator, interruption, say
        self.model, self.processes, self.device = validator.model, validator.processes, fabric.device
        self.callbacks, self.loggers = list(callbacks), list(loggers)
        only = None if self.processes.alone else self.processes.mine
        self.loader = batches(corpora["train"], config["data"], config["seed"], True, only)
        self.num_batches = limited(len(self.loader), self.options["limit_train_batches"])  # of an epoch
        self.watch = LossWatch(self.options["on_divergence"])
        self.stepper = Stepper(
            self.model, config, fabric, self.processes, self.num_steps, self.steps_per_epoch, self.watch
        )

        self.step = self.epoch = 0
        self.batch_index = 0  # batches of the epoch that are done
        self.last_rows: Tensor | None = None  # of the last batch
        self.step_rows: list[Tensor] = []  # of the batches of this step
        self.unjudged: list[tuple[int, Tensor, Loss]] = []  # steps that are judged when their losses are fetched
        self.is_done = False
        self.saved_step: int | None = None  # of the last checkpoint
        self.stop_votes = [0.0, 0.0, 0.0]  # how many processes want to stop for SIGINT, for SIGTERM, for the time

        self.unlogged_sum = zero(self.device)  # of the batches since the loss was last fetched, in this process
        self.validation_sum = LossSum()  # from the last validation until then, in all processes
        self.running_sum, self.tokens_per_second = LossSum(), 0.0  # the same, and the rate, when they were last logged
        self.pending_log: dict[str, float] = {}

        self.validation: Validation | None = None  # the last one
        self.best: Validation | None = None
        self.patience_best = math.nan  # the value of `trainer.monitor` that the next ones are compared with
        self.num_bad_validations = 0  # since that one

        self.start_time = self.last_log_time = time.monotonic()
        self.elapsed_before = self.validated_at = 0.0  # seconds before this start; and at the last validation
        self.saved_random: list[dict[str, Any]] | None = None  # random states to continue from, by process

    def run(self) -> None:
        """Train until the last step, `max_minutes` or `patience`; a signal saves and raises Interrupted."""
        self.notify("on_start")
        self.restore_random()
        self.start_time = self.last_log_time = time.monotonic()
        if self.watch.policy == "lower" and self.saved_step is None:
            self.save()  # to go back to
        while not self.is_done:
            try:
                self.run_epoch()
            except DivergedError as error:
                write_report(self, error)
                if self.watch.policy != "lower" or self.watch.lowered == MOST_LOWERED:
                    raise
                self.say(f"step {error.step:,}: {error.reason}")
                return_to_best(self)
        self.notify("on_end")
        self.say_counts()

    def run_epoch(self) -> None:
        """Train until the end of the epoch or of the run."""
        for batch in self.remaining_batches():
            self.accumulate(batch)
            if self.num_parts == self.options["accumulate"] or self.batch_index == 0:  # the epoch's last
                self.take_step()
            self.notify("on_batch")
            if self.num_parts:
                continue
            if self.processes.alone:
                self.stop_votes = self.votes()  # now; several processes learn at the next step
            if self.step % self.options["log_every"] == 0:
                self.log_train_loss()
            self.is_done = self.step >= self.num_steps or self.stop_votes[2] > 0
            if self.is_validation_due():
                self.validate()
            self.stop_on_signal()
            self.flush_log()
            if self.is_done:
                return

    def say_counts(self) -> None:
        """Say what became of batches that were no ordinary ones."""
        (num_split,) = self.processes.total(self.stepper.num_split)
        if num_split:
            self.say(
                f"{num_split:,.0f} batches did not fit into memory and were computed in parts; lower data.batch_size"
            )
        if self.watch.skipped:
            self.say(f"{self.watch.skipped:,} steps diverged and were left out (trainer.on_divergence=skip)")

    # -- batches --

    @property
    def num_steps(self) -> int:
        """How many optimizer steps the run makes, unless it stops early."""
        steps: int = self.options["epochs"] * self.steps_per_epoch
        most: int | None = self.options["max_steps"]
        return steps if most is None else min(steps, most)

    @property
    def steps_per_epoch(self) -> int:
        """How many optimizer steps an epoch makes; its last one may hold fewer batches."""
        parts: int = self.options["accumulate"]
        return math.ceil(self.num_batches / parts)

    @property
    def progress(self) -> float:
        """How many epochs are done."""
        return self.epoch + self.batch_index / self.num_batches

    @property
    def num_parts(self) -> int:
        """How many batches there were since the last optimizer step."""
        return self.stepper.num_parts

    def remaining_batches(self) -> Iterator[Batch]:
        """The rest of the epoch; its order depends on seed and epoch only."""
        self.loader.sampler.set_epoch(self.epoch)
        return itertools.islice(self.loader, self.batch_index, self.num_batches)

    def accumulate(self, batch: Batch) -> None:
        """Add the gradient of a batch to those of the step, and count it."""
        self.last_rows = batch.rows
        self.step_rows.append(batch.rows)
        num_split = self.stepper.num_split
        self.stepper.accumulate(batch)
        if self.stepper.num_split > num_split == 0:
            self.say(f"{self.describe(batch)} did not fit into memory and was computed in parts, as others will be")
        self.batch_index += 1
        if self.batch_index == self.num_batches:
            self.epoch, self.batch_index = self.epoch + 1, 0

    def take_step(self) -> None:
        """Update the weights by the batches since the last step; raises DivergedError, or leaves the step out."""
        loss, rows = self.stepper.step_sum, torch.cat(self.step_rows).cpu()
        self.stop_votes, problem = self.stepper.step(self.votes(), ends_epoch=self.batch_index == 0)
        self.step += 1
        self.step_rows = []
        if not problem:
            self.unlogged_sum = plus(self.unlogged_sum, loss)
            if not self.stepper.judges_at_once:
                self.unjudged.append((self.step, rows, loss))
            return
        error = DivergedError(problem, rows, self.step)
        if self.watch.policy != "skip" or self.watch.in_row >= PATIENCE:
            raise error
        self.watch.skipped += 1
        write_report(self, error)
        if self.watch.skipped == 1:
            self.say(f"step {self.step:,} was left out, as others will be: {problem} (trainer.on_divergence=skip)")

    def judge_late(self) -> None:
        """Judge the steps since the losses were last fetched, which waits for the device; raises DivergedError."""
        unjudged, self.unjudged = self.unjudged, []
        if not unjudged:
            return
        totals = torch.stack([loss.total for *_, loss in unjudged]).tolist()
        counts = torch.stack([loss.count for *_, loss in unjudged]).tolist()
        sums = self.processes.total(*totals, *counts)
        for (step, rows, _), total, count in zip(unjudged, sums[: len(unjudged)], sums[len(unjudged) :], strict=True):
            if count and (problem := self.watch.judge(total / count, 0.0)):
                raise DivergedError(problem, rows, step)

    def forget_step(self) -> None:
        """Forget the batches and losses since the checkpoint that the run goes back to."""
        self.stepper.forget()
        self.step_rows, self.unjudged, self.pending_log = [], [], {}
        self.unlogged_sum = zero(self.device)

    def describe(self, batch: Batch) -> str:
        """A batch in a message: its rows, and the first of them."""
        rows, corpus = batch.rows.tolist(), self.corpora["train"]
        return f"the batch of {len(rows):,} rows at step {self.step:,} (with {corpus.place(rows[0])})"

    def log_train_loss(self) -> None:
        """Log the mean loss of a target since the last time, and the accuracy."""
        new = self.fetch_loss()
        if new.count:
            now = time.monotonic()
            self.tokens_per_second, self.last_log_time = new.count / max(now - self.last_log_time, 1e-9), now
            self.running_sum = self.validation_sum
            self.log({"train_loss": new.mean, **self.named_accuracy(new.accuracy)})
            self.log({"learning_rate": self.stepper.learning_rate})

    def fetch_loss(self) -> LossSum:
        """The loss of all processes since the last call; waits for the device, raises DivergedError."""
        self.judge_late()
        new = fetch(self.unlogged_sum, self.processes)
        self.unlogged_sum = zero(self.device)
        self.validation_sum = self.validation_sum.plus(new)
        return new

    def named_accuracy(self, value: float) -> dict[str, float]:
        """The accuracy in training by its name; empty where the head does not count it."""
        name = self.model.head.accuracy
        return {f"train_{name}": value} if name and not math.isnan(value) else {}

    # -- validation --

    def is_validation_due(self) -> bool:
        """Whether to validate after this step: after so many epochs or parts of one, and at the end of the run."""
        every: float = self.options["validate_every"]
        if self.is_done:
            return True
        if self.batch_index == 0:
            return every < 1 or self.epoch % every == 0
        parts: int = self.options["accumulate"]
        num_validations = max(1, round(1 / every))  # of an epoch
        interval = math.ceil(self.num_batches / num_validations / parts) * parts  # never between the parts of a step
        return every < 1 and self.batch_index % interval == 0

    def validate(self) -> None:
        """Measure the model, adjust what depends on it, and save."""
        self.fetch_loss()
        trained, self.validation_sum = self.validation_sum, LossSum()
        self.tokens_per_second = trained.count / max(self.seconds() - self.validated_at, 1e-9)
        values, signatures = self.validator.run(self.step, self.watch)
        self.validation = Validation(values, signatures, self.step, self.progress, trained.mean, trained.accuracy)
        higher_is_better = self.validator.higher_is_better
        if (
            self.best is None
            or not values  # without validation rows the last weights count
            or is_better(self.value(self.validation), self.value(self.best), higher_is_better[self.best_by])
        ):
            self.best = self.validation
        if monitor := self.stepper.schedule.get("monitor"):
            sign = -1 if higher_is_better[monitor] else 1  # the scheduler looks for less
            self.stepper.schedule["scheduler"].step(sign * values[monitor])
        self.watch_patience(values)
        self.log(values)
        self.notify("on_validation")
        self.last_log_time, self.validated_at = time.monotonic(), self.seconds()
        self.save()
        self.stop_votes = self.processes.total(*self.votes())  # a validation may take long

    @property
    def best_by(self) -> str:
        """The figure that chooses the best weights."""
        return str(self.options["best"] or self.options["monitor"])

    def value(self, validation: Validation) -> float:
        """The figure of a validation that chooses the best weights; NaN without validation rows."""
        return validation.values.get(self.best_by, math.nan)

    def watch_patience(self, values: Mapping[str, float]) -> None:
        """End the run after `patience` validations in which `monitor` did not improve by `min_delta`."""
        if not values:
            return
        name, patience = self.options["monitor"], self.options["patience"]
        higher_is_better = self.validator.higher_is_better[name]
        if is_better(values[name], self.patience_best, higher_is_better, self.options["min_delta"]):
            self.patience_best, self.num_bad_validations = values[name], 0
        else:
            self.num_bad_validations += 1
        self.is_done = self.is_done or (patience is not None and self.num_bad_validations >= max(patience, 1))

    # -- stopping --

    def seconds(self) -> float:
        """How long the run has trained and validated since its first start; `max_minutes` bounds it."""
        return self.elapsed_before + time.monotonic() - self.start_time

    def votes(self) -> list[float]:
        """Whether this process wants to stop: for SIGINT, for SIGTERM, because the time is up."""
        number, minutes = self.interruption.number, self.options["max_minutes"]
        is_late = minutes is not None and self.seconds() >= minutes * 60
        return [float(number == signal.SIGINT), float(number == signal.SIGTERM), float(is_late)]

    def stop_on_signal(self) -> None:
        """Save and raise Interrupted if any process got a signal, unless the run ends anyway."""
        interrupt, terminate, _ = self.stop_votes
        if self.is_done or not (interrupt or terminate):
            return
        self.judge_late()
        if self.validation is None or self.validation.step != self.step:  # else it is saved
            self.save()
        raise Interrupted(signal.SIGINT if interrupt else signal.SIGTERM, is_saved=True)

    # -- callbacks and loggers --

    def notify(self, event: str) -> None:
        """Make a call of the callbacks."""
        for callback in self.callbacks:
            getattr(callback, event)(self)

    def log(self, values: Mapping[str, float]) -> None:
        """Give the loggers values of this step; all those of a step are one record."""
        self.pending_log.update(values)

    def flush_log(self) -> None:
        """Hand the values over to the loggers."""
        if self.pending_log:
            for logger in self.loggers:
                logger.log_metrics({"epoch": self.progress, **self.pending_log}, step=self.step)
        self.pending_log = {}

    # -- saving and resuming --

    def save(self) -> None:
        """Save a checkpoint in the first process; all must call it."""
        best_step = 0 if self.best is None else self.best.step
        state, is_best = self.state_dict(), self.step == best_step
        self.processes.share(lambda: save_checkpoint(self.folder, state, self.step, is_best))
        self.saved_step = self.step

    def state_dict(self) -> dict[str, Any]:
        """Everything that the rest of the run depends on; all processes must call it."""
        return {
            **self.stepper.state_dict(),
            "position": (self.step, self.epoch, self.batch_index),
            "unlogged": tuple(fetch(self.unlogged_sum, self.processes)),
            "validation_sum": tuple(self.validation_sum),
            "validation": None if self.validation is None else tuple(self.validation),
            "best": None if self.best is None else tuple(self.best),
            "patience": (self.patience_best, self.num_bad_validations),
            "is_done": self.is_done,
            "watch": self.watch.state_dict(),
            "seconds": (self.seconds(), self.validated_at),
            "random": self.processes.collect(random_states()),
            "callbacks": protocol.states(self.callbacks),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there, also with another number of processes."""
        self.stepper.load_state_dict(state)
        self.step, self.epoch, self.batch_index = state["position"]
        self.saved_step = self.step
        if self.processes.first:
            self.unlogged_sum = restore(LossSum(*state["unlogged"]), self.device)
        self.validation_sum = LossSum(*state["validation_sum"])
        self.validation = state["validation"] and Validation(*state["validation"])
        self.best = state["best"] and Validation(*state["best"])
        self.patience_best, self.num_bad_validations = state["patience"]
        self.is_done = state["is_done"]
        self.watch.load_state_dict(state["watch"])
        self.elapsed_before, self.validated_at = state["seconds"]
        self.saved_random = state["random"]
        protocol.restore(self.callbacks, state["callbacks"])

    def restore_random(self) -> None:
        """Continue with the random numbers of this process; one that there was not before starts its own."""
        if self.saved_random is None:
            return
        rank = self.processes.rank
        if rank < len(self.saved_random):
            restore_random_states(self.saved_random[rank])
        else:
            seed(self.config["seed"] + rank + 1000 * self.step)
