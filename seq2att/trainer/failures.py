"""Where memory runs out or a run diverges: what is written down, what is kept, and how it goes on."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from seq2att.errors import UserError
from seq2att.files import write_file
from seq2att.memory import DoesNotFitError
from seq2att.trainer.checkpoint import read_checkpoint
from seq2att.trainer.divergence import MOST_LOWERED, DivergedError
from seq2att.trainer.folder import REPORT
from seq2att.trainer.state import read_state

if TYPE_CHECKING:
    from seq2att.trainer.loop import Training

RATE_FACTOR = 0.5  # of the learning rate, where it is lowered


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
    change = f"with a lower optimizer.learning_rate ({rate})"
    if watch.policy == "lower" and watch.lowered == MOST_LOWERED:
        problem += f", though it was lowered {MOST_LOWERED} times"
        change = "after you corrected these rows or left them out"
    change += "" if clip else f", or with a trainer.clip ({clip})"
    remedy = f"its rows are in {training.folder / REPORT}; {best}; begin a new run (run=NAME) {change}"
    if watch.policy == "stop":
        remedy += f", or set trainer.on_divergence=lower: {again(training)}"
    return UserError("E-loss", f"step {error.step}", problem, remedy)


def write_report(training: Training, error: DivergedError) -> None:
    """Write what is known about the step that diverged, and the rows of its batch; all processes must call it."""
    rows = error.rows if error.rows is not None else training.last_rows  # a validation blames the last step
    mine = np.zeros(0, np.int64) if rows is None else rows.cpu().numpy()
    parts = training.processes.collect(mine)
    if not training.processes.first:
        return
    watch, corpus = training.watch, training.corpora["train"]
    report = {
        "step": error.step,
        "epoch": training.progress,
        "problem": error.reason,
        "loss": watch.loss,
        "gradient_norm": watch.norm,
        "learning_rate": training.stepper.learning_rate,
        "on_divergence": watch.policy,
        "steps_left_out": watch.skipped,
        "learning_rate_lowered": watch.lowered,
        "first_loss": watch.first,
        "losses_before": list(watch.losses),
        "rows": [{"row": row, "place": corpus.place(row)} for part in parts for row in part.tolist()],
    }
    content = json.dumps({key: jsonable(value) for key, value in report.items()}, indent=1, ensure_ascii=False)
    write_file(training.folder / REPORT, content + "\n")


def jsonable(value: Any) -> Any:
    """A number that JSON has, or its name as a text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def return_to_best(training: Training) -> None:
    """Go back to the best checkpoint, or to the start, with a lower learning rate; all processes must call it.

    Not to the last one: where a run was interrupted, which changes nothing else, would change where it goes back to.
    """
    lowered, elapsed = training.watch.lowered + 1, training.seconds()
    state = training.processes.share(lambda: read_state(training.folder))
    assert state is not None
    checkpoint = state.best or state.last  # there is no best one where the policy changed before the first validation
    assert checkpoint is not None
    training.forget_step()
    training.load_state_dict(read_checkpoint(checkpoint.path(training.folder)))
    training.elapsed_before += elapsed - training.seconds()  # `max_minutes` counts what was in vain
    training.stepper.lower_rate(RATE_FACTOR)
    training.watch.lowered = lowered
    training.save()
    training.notify("on_start")  # as of a run that is resumed
    training.restore_random()
    training.say(
        f"went back to step {training.step:,} and lowered the learning rate to {training.stepper.learning_rate:.4g} "
        f"(trainer.on_divergence=lower, {lowered} of {MOST_LOWERED} times)"
    )
