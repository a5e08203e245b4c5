"""The errors that end a training for want of memory or by divergence: what is kept, and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seq2att.errors import UserError
from seq2att.memory import DoesNotFitError
from seq2att.trainer.divergence import MOST_LOWERED, REPORT, DivergedError

if TYPE_CHECKING:
    from seq2att.trainer.loop import Training


def out_of_memory(training: Training, error: BaseException) -> UserError:
    """The error about a batch that did not fit into memory, or a row of it; what is kept, and what to do."""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    if not isinstance(error, DoesNotFitError):
        return UserError("E-memory", f"step {training.step}", f"memory ran out ({reason})", again(training))
    corpus, rows = training.corpora["train"], error.rows.cpu().numpy()
    lengths = corpus.source.lengths[rows] + (0 if corpus.target is None else corpus.target.lengths[rows])
    longest = int(lengths.argmax())
    place = corpus.place(int(rows[longest]))
    if len(rows) == 1:
        problem = f"this row of {lengths[0]:,} tokens does not fit into memory, though it was computed alone ({reason})"
        anew = "leave it out by a lower data.max_length and data.too_long=drop, with overwrite=true to train anew"
        return UserError("E-memory", place, problem, f"{anew}; with more memory, {again(training)}")
    return UserError(
        "E-memory",
        f"data.batch_size={training.config['data']['batch_size']}",
        f"out of memory in a batch of {len(rows)} rows, the longest of {lengths[longest]:,} tokens ({place}; {reason})",
        f"set trainer.on_memory=split: {again(training)}",
    )


def again(training: Training) -> str:
    """What the same command does next in the run folder."""
    step = training.saved_step
    return "the same command begins anew" if step is None else f"the same command goes on from step {step:,}"


def divergence(training: Training, error: DivergedError, best: str) -> UserError:
    """The error about a run that diverged; `best` says where the best weights are."""
    config, watch = training.config, training.watch
    rate, clip = config["optimizer"].get("learning_rate"), config["trainer"]["clip"]
    problem = f"training diverged: {error.reason}, with learning rate {training.stepper.learning_rate:.4g}"
    if watch.policy == "lower" and watch.lowered == MOST_LOWERED:
        problem += f", though it was lowered {MOST_LOWERED} times"
    remedy = (
        f"its rows are in {training.folder / REPORT}; {best}; begin a new run (run=NAME) with a lower "
        f"optimizer.learning_rate ({rate}) or {'a lower' if clip else 'a'} trainer.clip ({clip})"
    )
    if watch.policy == "stop":
        remedy += f", or set trainer.on_divergence=lower: {again(training)}"
    return UserError("E-loss", f"step {error.step}", problem, remedy)
