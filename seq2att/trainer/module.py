"""What Lightning is told: the step, its normalisation, validation, and all that a resumed run must remember.

The step is normalised by the number of target tokens of the whole (global, accumulated) batch, which is known only
when its last part has been seen. So a part differentiates `total / SCALE`, and before clipping the gradients are
multiplied by `SCALE * parts * devices / tokens`.
"""

from __future__ import annotations

import itertools
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

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
from seq2att.trainer.evaluation import Rows, answer, mean, measure, perplexity
from seq2att.types import Batch, Loss, Prediction

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from seq2att.data import Corpus
    from seq2att.model import Model
    from seq2att.search import Search

SCALE = 1024.0  # near the tokens of a batch, so that half-precision gradients stay in range; dividing by it is exact
NEVER = sys.maxsize


class Figures(NamedTuple):
    """What a validation found."""

    values: dict[str, float]  # loss, perplexity and the metrics
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

    `higher` says of every figure of a validation whether more of it is better; all but loss and perplexity are metrics.
    """

    def __init__(
        self,
        model: Model,
        config: Mapping[str, Any],
        corpora: Mapping[str, Corpus],
        search: Search | None,
        higher: Mapping[str, bool],
        interruption: Interruption,
    ) -> None:
        super().__init__()
        self.model, self.config, self.options = model, config, config["trainer"]
        self.corpora, self.search, self.higher, self.interruption = corpora, search, higher, interruption
        self.loader: DataLoader[Any] = batches(corpora["train"], config["data"], config["seed"], shuffle=True)
        self.size = limited(len(self.loader), self.options["limit_train_batches"])  # batches of an epoch
        self.epoch = 0  # the epoch that the next batch belongs to
        self.taken = 0  # how many of its batches were taken
        self.parts = 0  # batches since the last step
        self.window = zero()  # their sum
        self.lately = zero()  # the sum since training looked at its loss
        self.since = (0.0, 0)  # loss and tokens from the last validation until then
        self.train_loss = math.nan  # the mean when training last looked
        self.speed, self.looked = 0.0, time.monotonic()  # tokens a second until then, and when that was
        self.heard = zero()  # the sum of this validation
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
        optimizer = registry.build("optimizer", self.config, self.model.parameters())
        plan = registry.build("schedule", self.config, optimizer, self.steps, self.steps_per_epoch)
        if "monitor" not in plan:
            return {"optimizer": optimizer, "lr_scheduler": plan}
        self.plateau = Plateau(plan["scheduler"], plan["monitor"])
        if self.restored:
            self.plateau.scheduler.load_state_dict(self.restored["plateau"])
        return optimizer

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a part of a step, as a sum."""
        loss: Loss = self.model(batch)
        kept = Loss(loss.total.detach(), loss.count)
        self.window, self.lately = plus(self.window, kept), plus(self.lately, kept)
        self.parts += 1
        return loss.total / SCALE

    def configure_gradient_clipping(
        self, optimizer: Optimizer, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        """Make the gradients those of the mean loss of a target token, then clip them by their norm."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # Lightning leaves it to such an optimizer, which would do it after clipping
        tokens = self.trainer.strategy.reduce(self.window.count, reduce_op="sum")
        parts = self.trainer.accumulate_grad_batches * self.trainer.world_size  # what Lightning divided by
        grouped = [parameter.grad for group in optimizer.param_groups for parameter in group["params"]]
        gradients = [gradient for gradient in grouped if gradient is not None]
        rescale(gradients, SCALE * parts, tokens, self.options["clip"])
        self.window, self.parts = zero(), 0

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Look at the loss now and then, see whether the run ends or validates, and obey a signal."""
        step, trainer = self.trainer.global_step, self.trainer
        if self.parts == 0 and step % self.options["log_every"] == 0:
            self.look()
        trainer.should_stop = trainer.should_stop or step >= self.steps
        due = self.due()
        trainer.val_check_batch = batch_idx + 1 if due else NEVER
        if self.interruption.number is not None and self.parts == 0 and not due:
            save_last(trainer, Path(self.config["run"]))
            raise Interrupted(self.interruption.number, saved=True)

    def look(self) -> None:
        """Fetch the sum of the losses from the device, log their mean, and stop when there is none."""
        total, count = float(self.lately.total), int(self.lately.count)
        self.lately = zero()
        self.since = (self.since[0] + total, self.since[1] + count)
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
        """How many target tokens training saw since the last validation."""
        return self.since[1] + int(self.lately.count)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    # -- validation --

    def val_dataloader(self) -> Remaining:
        """The validation split, short rows first."""
        loader = batches(self.corpora["validation"], self.config["data"], self.config["seed"], shuffle=False)
        return Remaining(loader, 0, limited(len(loader), self.options["limit_validation_batches"]))

    def on_validation_epoch_start(self) -> None:
        """Start a sum; what was not looked at yet belongs to this validation."""
        self.heard = zero()
        total, count = float(self.lately.total), int(self.lately.count)
        self.since, self.lately = (self.since[0] + total, self.since[1] + count), zero()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the likelihood of the right answers."""
        loss = self.model(batch)
        self.heard = plus(self.heard, Loss(loss.total, loss.count))

    def on_validation_epoch_end(self) -> None:
        """Let the model speak by itself, and say how good it is."""
        loss, step = mean(self.heard), self.trainer.global_step
        if not math.isfinite(loss):
            raise UserError(
                f"the validation loss is {loss} at step {step}; lower optimizer.learning_rate or trainer.clip"
            )
        corpus, rows = self.corpora["validation"], self.asked()
        with self.trainer.precision_plugin.val_step_context():
            said = answer(self.model, corpus, rows, self.search, rows_of_a_batch(self.config["data"]))
        metrics = [name for name in self.higher if name not in ("loss", "perplexity")]
        scores = measure(said, corpus.references(rows), metrics)
        values = {"loss": loss, "perplexity": perplexity(loss), **{name: score.value for name, score in scores.items()}}
        signatures = {name: score.signature for name, score in scores.items()}
        train_loss = self.since[0] / self.since[1] if self.since[1] else math.nan
        self.figures, self.since = Figures(values, signatures, step, self.progress, train_loss), (0.0, 0)
        self.examples = said[:2]
        self.best = self.figures if self.improved(self.figures) else self.best
        self.log_dict(values)
        if self.plateau is not None:
            value = values[self.plateau.monitor]
            self.plateau.scheduler.step(-value if self.higher[self.plateau.monitor] else value)

    def asked(self) -> Rows:
        """The rows that a validation decodes: every source once, or so many of them at equal distances."""
        rows, most = self.corpora["validation"].unique(), self.options["validation_rows"]
        return rows if most is None or most >= len(rows) else rows[:: math.ceil(len(rows) / most)]

    def improved(self, figures: Figures) -> bool:
        """Whether these are better than the best so far, in the figure that chooses the best."""
        name = self.options["best"] or self.options["monitor"]
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
            restore_random_states(self.restored["random"])
        self.interruption.listen()
        self.looked = time.monotonic()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add all that the rest of the run depends on."""
        as_epoch_start(checkpoint, self.epoch, self.trainer.global_step)
        checkpoint["seq2att"] = {
            "place": (self.epoch, self.taken),
            "since": self.since,
            "lately": (float(self.lately.total), int(self.lately.count)),
            "figures": None if self.figures is None else tuple(self.figures),
            "best": None if self.best is None else tuple(self.best),
            "plateau": None if self.plateau is None else self.plateau.scheduler.state_dict(),
            "stop": self.trainer.should_stop,
            "random": random_states(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there."""
        self.restored = checkpoint["seq2att"]
        self.epoch, self.taken = self.restored["place"]
        self.since = self.restored["since"]
        self.lately = Loss(*(torch.tensor(number) for number in self.restored["lately"]))
        self.figures = self.restored["figures"] and Figures(*self.restored["figures"])
        self.best = self.restored["best"] and Figures(*self.restored["best"])
        self.trainer.should_stop = self.restored["stop"]


class Plateau(NamedTuple):
    """A schedule that watches a figure."""

    scheduler: ReduceLROnPlateau
    monitor: str


def zero() -> Loss:
    """An empty sum."""
    return Loss(torch.tensor(0.0), torch.tensor(0))


def plus(one: Loss, other: Loss) -> Loss:
    """The sum of two sums, on the device of the second; waits for nothing."""
    device = other.total.device
    return Loss(one.total.to(device) + other.total, one.count.to(device) + other.count)


def rescale(gradients: list[Tensor], scale: float, tokens: Tensor, clip: float) -> None:
    """Multiply the gradients by `scale / tokens`, or by less where their norm would then exceed `clip` (0: no limit).

    One pass to measure and one to multiply, without waiting for the device.
    """
    if not gradients:
        return
    factor = scale / tokens.clamp(min=1).to(gradients[0].dtype)
    if clip > 0:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))) * factor
        factor = factor * (clip / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, factor)


def limited(size: int, limit: float) -> int:
    """So many batches of `size`: a whole number counts them, a fraction is of all."""
    return min(size, limit) if isinstance(limit, int) else max(1, math.ceil(size * limit))


def rows_of_a_batch(data: Mapping[str, Any]) -> int:
    """How many rows are decoded together."""
    return int(data["batch_size"]) if data["batch_by"] == "sentences" else 64
