"""What Lightning is told: the step, its normalisation, validation, and all that a resumed run must remember.

The step is normalised by the number of target tokens of the whole (global, accumulated) batch, which is known only
when its last part has been seen. So a part differentiates `total / SCALE`, and before clipping the gradients are
multiplied by `SCALE * parts * processes / tokens`: Lightning divides by the parts, and the average over the processes
by their number.

Every process works on its part of every batch, which may be empty. What they agree on at each step (how many tokens it
held, whether to stop) are the same numbers everywhere, so all of them stop, validate and save at the same step.
"""

from __future__ import annotations

import itertools
import math
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seq2att import registry
from seq2att.data import batches
from seq2att.errors import UserError
from seq2att.trainer.checkpoint import (
    Interrupted,
    Interruption,
    as_epoch_start,
    random_states,
    restore_random_states,
    save_last,
)
from seq2att.trainer.evaluation import Rows, StreamState, answer_together, asked, measure, references
from seq2att.trainer.gradients import SCALE, nothing_of, reached, rescale
from seq2att.trainer.processes import ALONE, Processes, seed
from seq2att.types import Batch, Loss, Prediction

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from seq2att.data import Corpus
    from seq2att.metric import Score
    from seq2att.model import Model
    from seq2att.search import Search

NEVER = sys.maxsize


class Figures(NamedTuple):
    """What a validation found."""

    values: dict[str, float]  # loss, the head's figures and the metrics
    signatures: dict[str, str]  # how each metric was computed
    step: int
    epoch: float  # in epochs done
    train_loss: float  # mean since the validation before


class Remaining:
    """The batches `start` to `size` of the loader's epoch."""

    def __init__(self, loader: Iterable[Batch], start: int, size: int) -> None:
        self.loader, self.start, self.size = loader, start, size

    def __len__(self) -> int:
        return self.size - self.start

    def __iter__(self) -> Iterator[Batch]:
        return itertools.islice(self.loader, self.start, self.size)


class Training(LightningModule):
    """A model in training.

    `higher` says of every figure of a validation whether more of it is better; all but the loss and those of the head
    are metrics.
    """

    def __init__(
        self,
        model: Model,
        config: Mapping[str, Any],
        corpora: Mapping[str, Corpus],
        search: Search | None,
        higher: Mapping[str, bool],
        interruption: Interruption,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__()
        self.model, self.config, self.options, self.processes = model, config, config["trainer"], processes
        self.corpora, self.search, self.higher, self.interruption = corpora, search, higher, interruption
        self.loader = self.batches("train", shuffle=True)
        self.size = limited(len(self.loader), self.options["limit_train_batches"])  # batches of an epoch
        self.epoch = 0  # the epoch that the next batch belongs to
        self.taken = 0  # how many of its batches were taken
        self.parts = 0  # batches since the last step
        self.window = zero()  # their sum
        self.told = torch.zeros(3)  # how many processes wished at the last step what `wishes` says
        self.shortened = torch.tensor(1.0)  # by what clipping multiplied the gradient of the last step
        self.unused: list[Tensor] | None = None  # parameters that a first batch did not reach
        self.lately = zero()  # the sum since training looked at its loss, of this process
        self.since = (0.0, 0)  # loss and tokens from the last validation until then, of all processes
        self.train_loss = math.nan  # the mean when training last looked
        self.speed, self.looked = 0.0, time.monotonic()  # tokens a second until then, and when that was
        self.spent, self.began = 0.0, time.monotonic()  # seconds of training before this start, and when that was
        self.reading = StreamState(config["data"])  # what training remembers of running text
        self.heard, self.hearing = (
            zero(),
            StreamState(config["data"]),
        )  # the sum of this validation, and what it remembers
        self.figures: Figures | None = None  # of the last validation
        self.best: Figures | None = None
        self.examples: list[Prediction] = []
        self.plateau: Plateau | None = None
        self.restored: dict[str, Any] = {}
        self.last_rows: Tensor | None = None

    # -- where in the data training is --

    @property
    def progress(self) -> float:
        """How many epochs are done."""
        return self.epoch + self.taken / self.size

    @property
    def steps(self) -> int:
        """How many optimizer steps the run makes, unless it stops early."""
        steps: int = self.options["epochs"] * self.steps_per_epoch
        most: int | None = self.options["max_steps"]
        return steps if most is None else min(steps, most)

    @property
    def steps_per_epoch(self) -> int:
        """How many optimizer steps an epoch makes: its last one may hold fewer batches."""
        parts: int = self.options["accumulate"]
        return math.ceil(self.size / parts)

    def batches(self, split: str, shuffle: bool) -> DataLoader[Any]:
        """The batches of a split, each the part of this process."""
        mine = None if self.processes.alone else self.processes.mine
        return batches(self.corpora[split], self.config["data"], self.config["seed"], shuffle, mine)

    def train_dataloader(self) -> Remaining:
        """The rest of the epoch; Lightning asks before every epoch."""
        self.loader.sampler.set_epoch(self.epoch)  # type: ignore[attr-defined]
        return Remaining(self.loader, self.taken, self.size)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Count the batch."""
        self.last_rows = batch.rows
        self.taken += 1
        if self.taken == self.size:
            self.epoch, self.taken = self.epoch + 1, 0

    def due(self) -> bool:
        """Whether to validate after this batch: after so many epochs or parts of one, and at the end of the run."""
        if self.trainer.should_stop:
            return True
        every: float = self.options["validate_every"]
        if self.taken == 0:
            return every < 1 or self.epoch % every == 0
        parts: int = self.options["accumulate"]
        often = max(1, round(1 / every))  # times an epoch
        interval = math.ceil(self.size / often / parts) * parts  # never between the parts of a step
        return every < 1 and self.taken % interval == 0

    # -- steps --

    def configure_optimizers(self) -> Any:
        """The optimizer and its schedule; a schedule that watches a figure is ours to step, so that it resumes."""
        try:
            optimizer = registry.build("optimizer", self.config, self.model.parameters())
        except ValueError as error:  # PyTorch's own, of a momentum below 0, say
            raise UserError(f"optimizer={self.config['optimizer']['name']}: {error}; correct that option") from error
        plan = registry.build("schedule", self.config, optimizer, self.steps, self.steps_per_epoch)
        if "monitor" not in plan:
            return {"optimizer": optimizer, "lr_scheduler": plan}
        self.plateau = Plateau(plan["scheduler"], plan["monitor"])
        if self.restored:
            self.plateau.scheduler.load_state_dict(self.restored["plateau"])
        return optimizer

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a part of a step, as a sum."""
        self.parts += 1
        if not self.processes.alone and not len(batch.rows):
            self.window, self.lately = plus(self.window, zero(self.device)), plus(self.lately, zero(self.device))
            return nothing_of(self.parameters())
        loss = self.reading.loss(self.model, batch)
        kept = Loss(loss.total.detach(), loss.count)
        self.window, self.lately = plus(self.window, kept), plus(self.lately, kept)
        total = loss.total / SCALE
        if self.processes.alone:
            return total
        if self.unused is None:  # the processes wait for the gradient of every parameter
            used = reached(total)
            self.unused = [parameter for parameter in self.parameters() if id(parameter) not in used]
        return total + nothing_of(self.unused) if self.unused else total

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Make the gradients those of the mean loss of a target token, then clip them by their norm."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves it to such an optimizer, which would do it after clipping
        tokens = self.agree(self.window.count)
        parts = self.trainer.accumulate_grad_batches * self.processes.size  # what Lightning and DDP divided by
        grouped = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [gradient for gradient in grouped if gradient is not None]
        self.shortened = rescale(gradients, SCALE * parts, tokens, self.options["clip"])
        self.window, self.parts = zero(), 0

    def agree(self, count: Tensor) -> Tensor:
        """The tokens of a step on all processes; in the same message they tell each other what they wish."""
        if self.processes.alone:
            return count
        told = torch.tensor([0, *self.wishes()], dtype=torch.float64, device=count.device)  # [1 + 3]
        told[0] = count
        torch.distributed.all_reduce(told)
        self.told = told[1:]
        return told[0]

    def wishes(self) -> tuple[bool, bool, bool]:
        """Whether SIGINT or SIGTERM asks this process for an end, and whether its time is up."""
        number, minutes = self.interruption.number, self.options["max_minutes"]
        return number == signal.SIGINT, number == signal.SIGTERM, minutes is not None and self.seconds() >= minutes * 60

    def agreed(self, step: int) -> tuple[int | None, bool]:
        """The signal that ends the run, and whether its time is up, for any of the processes: the same for all."""
        if self.parts:  # between the parts of a step
            return None, False
        if self.processes.alone:
            return self.interruption.number, self.wishes()[2]
        if self.told.is_cuda and step % self.options["log_every"]:  # looking makes the processor wait for the GPU
            return None, False
        interrupt, terminate, late = self.told.tolist()
        return signal.SIGINT if interrupt else signal.SIGTERM if terminate else None, bool(late)

    def seconds(self) -> float:
        """How long the run has trained, since `max_minutes` bounds it."""
        return self.spent + time.monotonic() - self.began

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Look at the loss now and then, see whether the run ends or validates, and obey a signal."""
        step, trainer = self.trainer.global_step, self.trainer
        if self.parts == 0 and step % self.options["log_every"] == 0:
            self.look()
        signalled, late = self.agreed(step)
        trainer.should_stop = trainer.should_stop or step >= self.steps or late
        due = self.due()
        trainer.val_check_batch = batch_idx + 1 if due else NEVER
        if due:  # what was not looked at yet belongs to this validation
            self.fetch()
        elif signalled is not None:
            save_last(trainer, Path(self.config["run"]))
            raise Interrupted(signalled, saved=True)

    def fetch(self) -> tuple[float, int]:
        """The losses and tokens of all processes since the last call; waits for the device."""
        total, count = self.processes.total(float(self.lately.total), int(self.lately.count))
        self.lately = zero()
        self.since = (self.since[0] + total, self.since[1] + int(count))
        return total, int(count)

    def look(self) -> None:
        """Log the mean of the losses since the last look, and stop when there is none."""
        total, count = self.fetch()
        if not math.isfinite(total):
            raise UserError(
                f"the training loss is {total} at step {self.trainer.global_step}; "
                f"lower optimizer.learning_rate ({self.config['optimizer'].get('learning_rate')}) or trainer.clip"
            )
        if count:
            now = time.monotonic()
            self.speed, self.looked = count / max(now - self.looked, 1e-9), now
            self.train_loss = total / count
            self.log("train_loss", self.train_loss)
            self.log("learning_rate", self.learning_rate)

    def tokens_since(self) -> int:
        """How many target tokens training had seen since the last validation when it last fetched them."""
        return self.since[1]

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    # -- validation --

    def val_dataloader(self) -> Remaining:
        """The validation split, short rows first."""
        loader = self.batches("validation", shuffle=False)
        return Remaining(loader, 0, limited(len(loader), self.options["limit_validation_batches"]))

    def on_validation_epoch_start(self) -> None:
        """Start a sum."""
        self.heard, self.hearing = zero(), StreamState(self.config["data"])

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the likelihood of the right answers."""
        if len(batch.rows):
            loss = self.hearing.loss(self.model, batch)
            self.heard = plus(self.heard, Loss(loss.total, loss.count))

    def on_validation_epoch_end(self) -> None:
        """Let the model speak by itself, and say how good it is; all processes learn the same figures."""
        total, count = self.processes.total(float(self.heard.total), int(self.heard.count))
        if not count:
            raise self.unknown_answers()
        loss, step = total / count, self.trainer.global_step
        if not math.isfinite(loss):
            raise UserError(
                f"the validation loss is {loss} at step {step}; lower optimizer.learning_rate or trainer.clip"
            )
        scores, self.examples = self.answers()
        values = {"loss": loss, **{name: figure(loss) for name, figure in self.model.head.loss_metrics.items()}}
        values |= {name: score.value for name, score in scores.items()}
        signatures = {name: score.signature for name, score in scores.items()}
        train_loss = self.since[0] / self.since[1] if self.since[1] else math.nan
        self.figures, self.since = Figures(values, signatures, step, self.progress, train_loss), (0.0, 0)
        self.best = self.figures if self.improved(self.figures) else self.best
        self.log_dict(values)
        if self.plateau is not None:
            value = values[self.plateau.monitor]
            self.plateau.scheduler.step(-value if self.higher[self.plateau.monitor] else value)

    def unknown_answers(self) -> UserError:
        """The error about a validation that has no right answer to judge the model by."""
        corpus, target = self.corpora["validation"], self.model.target
        (value,) = corpus.target_values([0])
        return UserError(
            f"validation: none of its right answers occurs in training (the first, of {corpus.place(0)}, is "
            f"{target.text(value)!r}), so that there is no loss; add such rows to training, or take a part of the "
            f"training rows at random (reader.validation=null, data.split=random)"
        )

    @property
    def metrics(self) -> list[str]:
        """The metrics of a validation."""
        return [name for name in self.higher if name != "loss" and name not in self.model.head.loss_metrics]

    def answers(self) -> tuple[dict[str, Score], list[Prediction]]:
        """How good the model's own answers are, where a metric asks for them, and the first of them."""
        metrics = self.metrics
        if not metrics:
            return {}, []
        corpus, rows = self.corpora["validation"], self.asked()
        with self.trainer.precision_plugin.val_step_context():
            size = rows_of_a_batch(self.config["data"])
            said = answer_together(self.model, corpus, rows, self.search, size, self.processes)
        data = self.config["data"]
        scores = self.processes.share(
            lambda: measure(said, references(self.model, corpus, rows, data), metrics, self.config)
        )
        return scores, [said[place] for place in spread(np.arange(len(said)))]

    def asked(self) -> Rows:
        """The rows that a validation decodes: every source once, or so many of them at equal distances."""
        rows, most = asked(self.model, self.corpora["validation"]), self.options["validation_rows"]
        return rows if most is None or most >= len(rows) else rows[:: math.ceil(len(rows) / most)]

    @property
    def chooses(self) -> str:
        """The figure that chooses the best."""
        return str(self.options["best"] or self.options["monitor"])

    def improved(self, figures: Figures) -> bool:
        """Whether these are better than the best so far, in the figure that chooses the best."""
        name = self.chooses
        if self.best is None:
            return True
        new, old = figures.values[name], self.best.values[name]
        return new > old if self.higher[name] else new < old

    # -- going on --

    def on_validation_end(self) -> None:
        """Measure the speed of training from here."""
        self.looked = time.monotonic()

    def on_train_start(self) -> None:
        """Let random numbers go on where they stopped, and take over the signals from Lightning."""
        if self.restored:
            self.restore_random(self.restored["random"])
        self.interruption.listen()
        self.looked = self.began = time.monotonic()

    def restore_random(self, states: Sequence[dict[str, Any]]) -> None:
        """Go on with the random numbers of this process; one that there was not before starts its own."""
        rank = self.processes.rank
        if rank < len(states):
            restore_random_states(states[rank])
        else:
            seed(self.config["seed"] + rank + 1000 * self.trainer.global_step)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add all that the rest of the run depends on."""
        as_epoch_start(checkpoint, self.epoch, self.trainer.global_step)
        total, count = self.processes.total(float(self.lately.total), int(self.lately.count))
        checkpoint["seq2att"] = {
            "place": (self.epoch, self.taken),
            "since": self.since,
            "lately": (total, int(count)),
            "seconds": self.seconds(),
            "figures": None if self.figures is None else tuple(self.figures),
            "best": None if self.best is None else tuple(self.best),
            "plateau": None if self.plateau is None else self.plateau.scheduler.state_dict(),
            "stop": self.trainer.should_stop,
            "random": self.processes.collect(random_states()),
            "reading": self.reading.gather(self.processes),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.restored = checkpoint["seq2att"]
        self.epoch, self.taken = self.restored["place"]
        self.since, self.spent = self.restored["since"], self.restored["seconds"]
        if self.processes.first:
            self.lately = Loss(*(torch.tensor(number) for number in self.restored["lately"]))
        self.figures = self.restored["figures"] and Figures(*self.restored["figures"])
        self.best = self.restored["best"] and Figures(*self.restored["best"])
        self.trainer.should_stop = self.restored["stop"]
        self.reading.restore(self.restored.get("reading", []), self.processes)


def spread(rows: Rows) -> Rows:
    """Two of the rows that stand for all: the first, and one from the middle, where classes differ."""
    return rows[[0, len(rows) // 2]] if len(rows) > 1 else rows


class Plateau(NamedTuple):
    """A schedule that watches a figure."""

    scheduler: ReduceLROnPlateau
    monitor: str


def zero(device: torch.device | str = "cpu") -> Loss:
    """An empty sum."""
    return Loss(torch.tensor(0.0, device=device), torch.tensor(0, device=device))


def plus(one: Loss, other: Loss) -> Loss:
    """The sum of two sums, on the device of the second; waits for nothing."""
    device = other.total.device
    return Loss(one.total.to(device) + other.total, one.count.to(device) + other.count)


def limited(size: int, limit: float) -> int:
    """So many batches of `size`: a whole number counts them, a fraction is of all."""
    return min(size, limit) if isinstance(limit, int) else max(1, math.ceil(size * limit))


def rows_of_a_batch(data: Mapping[str, Any]) -> int:
    """How many rows are decoded together."""
    return int(data["batch_size"]) if data["batch_by"] == "sentences" else 64
