"""`train`: from a resolved configuration to a run folder that is a bundle."""

from __future__ import annotations

import functools
import logging
import math
import os
import platform
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

import seq2att
from seq2att import model as models
from seq2att import registry
from seq2att.audit import sampled_remarks
from seq2att.bundle import save
from seq2att.bundle.owner import sign
from seq2att.data import prepare
from seq2att.drawing import EXAMPLES
from seq2att.errors import UserError, is_out_of_memory
from seq2att.trainer import folder, record
from seq2att.trainer.callback import Callback
from seq2att.trainer.checkpoint import Interrupted, interruptible, read_checkpoint
from seq2att.trainer.checks import check_figures, gpus, known_figures
from seq2att.trainer.divergence import DivergedError
from seq2att.trainer.dry_run import check_run
from seq2att.trainer.evaluation import answer, measure, references
from seq2att.trainer.examples import draw_examples
from seq2att.trainer.failures import divergence, out_of_memory
from seq2att.trainer.initial import init_as_keras
from seq2att.trainer.lock import locked
from seq2att.trainer.loop import Training
from seq2att.trainer.processes import ALONE, Processes, seed
from seq2att.trainer.progress import Progress, Report
from seq2att.trainer.state import change_phase, read_state
from seq2att.trainer.validation import Validation, make_validator

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from seq2att.data import Corpus
    from seq2att.field import Field
    from seq2att.reader import Reader

WORTH_THREADS = 5_000_000  # parameters
PRECISION: dict[str, Any] = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}


class Ready(NamedTuple):
    """What a run needs before its model is made."""

    run: folder.Claim
    reader: Reader
    source: Field
    target: Field
    corpora: dict[str, Corpus]
    callbacks: list[Any]
    loggers: list[Any]


def train(
    config: Mapping[str, Any],
    callbacks: Sequence[Callback] = (),
    say: Callable[[str], None] = print,
    processes: Processes = ALONE,
    account: Callable[[str], None] | None = None,
    command: Sequence[str] = (),
) -> Path:
    """Prepare the data, train, and write the bundle into the run folder, which is returned.

    An unfinished run of the same configuration continues where it stopped, with the same numbers as if it had not.
    SIGINT and SIGTERM save and end: with KeyboardInterrupt and SystemExit. Raises UserError for what a user can
    correct. All the `processes` of a run call this; the first one writes and prints. `account` gets the lines about
    the data (default: `say`); `command` goes into the record of the run.
    """
    say, account = (say, account or say) if processes.first else (silent, silent)
    path = Path(config["run"])
    with ExitStack() as stack:
        processes.share(lambda: stack.enter_context(locked(path)))
        stack.enter_context(folder.saying_what_is_saved(path))
        ready = make_ready(config, account, processes)
        model = make_model(config, ready, say)
        higher_is_better = known_figures(config, model.head)  # a model's tags decide which metrics there are
        check_figures(config, higher_is_better)
        processes.share(lambda: folder.clean(path) if ready.run.resume else start(path, config, ready.corpora))
        processes.share(lambda: record.begin_run(config, ready.run, ready.reader, command, processes.size, callbacks))
        watching = [*ready.callbacks, *callbacks]
        training = fit(
            model, config, ready.corpora, higher_is_better, ready.run, watching, say, processes, ready.loggers
        )
        processes.share(lambda: finish(training, path, say))
    return path


def start(path: Path, config: Mapping[str, Any], corpora: Mapping[str, Corpus]) -> None:
    """Begin a new run folder, whose settings are this user's, with the account of its data."""
    folder.start(path, config, [corpus.report for corpus in corpora.values()])
    sign(path)


def make_model(config: Mapping[str, Any], ready: Ready, say: Callable[[str], None]) -> models.Model:
    """The model before training, and as many threads as help it."""
    threads = torch.get_num_threads()
    torch.manual_seed(config["seed"])
    torch.set_num_threads(1)  # an orthogonal matrix is rounded by the number of threads, and every machine begins alike
    model = models.make(config, ready.source, ready.target)
    if not ready.run.resume:
        if config["initialization"] == "keras":
            init_as_keras(model)
        init_embeddings(model, folder.data_root(config), say)
    torch.set_num_threads(useful_threads(model, threads) if config["trainer"]["threads"] is None else threads)
    return model


def init_embeddings(model: models.Model, root: Path | None, say: Callable[[str], None]) -> None:
    """Copy the pretrained vectors of the fields into the embeddings of both sides, and report how many there are."""
    source, target = model.embedding, getattr(model.head, "embedding", None)
    lines = [model.source.init_embedding(source, root)]
    if target is not None and (target is not source or lines == [None]):  # a shared one is initialised once
        lines.append(model.target.init_embedding(target, root))
    for line in filter(None, lines):
        say(line)


def useful_threads(model: models.Model, most: int) -> int:
    """How many threads help a model: the steps of a small one are too short to be divided.

    With two threads a model of 6 million parameters took 0.9 times as long, one of 3 million 0.9 to 1.1 times, and ones
    of 0.9 and 0.07 million 1.05 and 1.3 times; where another program used the second core, the small ones took
    several times as long, because each operation waits for its slower half.
    """
    return most if models.parameter_count(model) >= WORTH_THREADS else 1


def make_ready(config: Mapping[str, Any], say: Callable[[str], None], processes: Processes = ALONE) -> Ready:
    """Check what needs no data, claim the run folder, and then read the data, from the cache if they are there."""
    check_run(config)
    reader = registry.build("reader", config)
    source, target = models.make_fields(config)
    root = folder.data_root(config)
    reader.check(root)
    source.check("source", root)
    target.check("target", root)
    run = processes.share(lambda: folder.claim(config))
    callbacks, loggers = make_callbacks(config), make_loggers(config)
    corpora = processes.in_turn(lambda: prepare(config, source, target, reader, say))
    if processes.first:
        for line in sampled_remarks(config, {"source": source, "target": target}, reader, corpora):
            say(line)
    return Ready(run, reader, source, target, corpora, callbacks, loggers)


def make_callbacks(config: Mapping[str, Any]) -> list[Any]:
    """The callbacks that the configuration names; wrong options are errors now."""
    return [registry.build_listed("callback", config, name) for name in config["callbacks"]]


def make_loggers(config: Mapping[str, Any]) -> list[Any]:
    """The loggers that the configuration names; a package that is not installed is an error now."""
    path = Path(config["run"])
    return [registry.build_listed("logger", config, name, path) for name in config["loggers"]]


def silent(line: str) -> None:
    """Print nothing."""


def fit(
    model: models.Model,
    config: Mapping[str, Any],
    corpora: Mapping[str, Corpus],
    higher_is_better: Mapping[str, bool],
    run: folder.Claim,
    callbacks: Sequence[Callback],
    say: Callable[[str], None],
    processes: Processes = ALONE,
    loggers: Sequence[Any] = (),
) -> Training:
    """Train until the run's end, or until a signal."""
    if not processes.first:
        seed(config["seed"] + processes.rank)  # the model is the same in all processes, its dropout is not
    fabric = make_fabric(config["trainer"], processes)
    validator = make_validator(model, config, corpora.get("validation"), higher_is_better, fabric, processes)
    progress = Progress() if config["trainer"]["progress"] and processes.first else None
    watching = [*filter(None, [progress, Report() if processes.first else None]), *checked_callbacks(callbacks)]
    with interruptible() as interruption, deterministic(config["trainer"]["deterministic"]):
        training = Training(
            config, corpora, validator, fabric, interruption, watching, loggers if processes.first else (), say
        )
        if run.resume:
            resume(training, run.resume.path(run.path))
        say(start_message(training, run))
        status = "failed"
        try:
            training.run()
            status = "success"
        except Interrupted as stop:
            raise exit_of(stop, training) from None
        except DivergedError as stop:
            raise processes.share(functools.partial(end_of_divergence, training, stop)) from None
        except Exception as error:
            if is_out_of_memory(error):
                raise out_of_memory(training, error) from error
            raise
        finally:
            if progress:
                progress.clear()
            training.flush_log()
            for logger in training.loggers:
                logger.finalize(status)
    return training


def make_fabric(options: Mapping[str, Any], processes: Processes) -> Fabric:
    """The device and the precision of this process; it neither starts nor looks for other processes."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    accelerator, precision = options["accelerator"], options["precision"]
    devices: Any = [processes.local_rank] if gpus(accelerator) and not processes.alone else 1
    log = logging.getLogger("lightning_fabric")
    level = log.level
    log.setLevel(logging.WARNING)  # without its banners
    try:
        return Fabric(
            accelerator=accelerator,
            devices=devices,
            precision=PRECISION[precision],
            plugins=[LightningEnvironment()],
        )
    except (MisconfigurationException, ValueError) as error:
        raise UserError(
            "E-device", f"trainer.accelerator={accelerator} trainer.precision={precision}", str(error)
        ) from error
    finally:
        log.setLevel(level)


def checked_callbacks(callbacks: Sequence[Any]) -> list[Callback]:
    """The callbacks; raises UserError for what is none, such as a callback of Lightning's Trainer."""
    for callback in callbacks:
        if not isinstance(callback, Callback):
            name = f"{type(callback).__module__}.{type(callback).__qualname__}"
            remedy = "derive it from seq2att.callback.Callback (on_start, on_batch, on_validation, on_end)"
            raise UserError("E-contract", "callbacks", f"{name} is not a callback of seq2att", remedy)
    return list(callbacks)


@contextmanager
def deterministic(is_on: bool) -> Iterator[None]:
    """PyTorch's deterministic algorithms inside the block, if `trainer.deterministic` is set."""
    if not is_on:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def resume(training: Training, path: Path) -> None:
    """Continue from a checkpoint."""
    state = read_checkpoint(path)
    try:
        training.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        problem = f"does not fit this model ({str(error).splitlines()[0]})"
        raise UserError("E-checkpoint", str(path), problem, "set overwrite=true to train anew") from error


def start_message(training: Training, run: folder.Claim) -> str:
    """What is trained, on what, for how long, where."""
    corpora = training.corpora
    verb = "going on in" if run.resume else "training in"
    return (
        f"{verb} {run.path}: {models.parameter_count(training.model):,} parameters; {len(corpora['train']):,} rows, "
        f"{len(corpora.get('validation', ())):,} to validate; {training.num_steps:,} steps of "
        f"{training.steps_per_epoch:,} an epoch"
    )


def exit_of(stop: Interrupted, training: Training) -> BaseException:
    """The exception of a run that a signal stopped."""
    where = f"at step {training.step:,} of {training.num_steps:,}" if stop.is_saved else "since the last save"
    training.say(f"stopped {where}; the same command goes on from there")
    return KeyboardInterrupt() if stop.number == signal.SIGINT else SystemExit(128 + stop.number)


def finish(training: Training, path: Path, say: Callable[[str], None]) -> None:
    """Write the bundle, with the best weights and their figures."""
    config, model = training.config, training.model
    validation, best = training.validation, training.best
    assert validation is not None and best is not None
    restore_best = config["trainer"]["restore_best"] and bool(best.values)
    if best.values and math.isnan(training.value(best)):
        say(f"note: {training.best_by} was NaN in every validation; the bundle holds the last weights (trainer.best)")
        restore_best = False
    chosen = best if restore_best else validation
    state = read_state(path)
    assert state is not None
    checkpoint = state.best if restore_best else state.last
    assert checkpoint is not None
    change_phase(path, "finishing")
    model.load_state_dict(read_checkpoint(checkpoint.path(path))["model"])
    model.cpu()
    draw(training, path, say)
    draw_examples(model, training.corpora.get("validation"), training.validator.search, path / EXAMPLES)
    record.end(path)
    save(model, config, path, facts(training, chosen))
    change_phase(path, "finished")
    figures = "  ".join(f"{name} {value:.4g}" for name, value in shown_figures(chosen).items())
    say(f"finished: {path} (epoch {chosen.epoch:.4g}, step {chosen.step:,}: {figures})")


def end_of_divergence(training: Training, stop: DivergedError) -> UserError:
    """The error about a run that diverged, after its best weights were saved."""
    return divergence(training, stop, save_best(training))


def save_best(training: Training) -> str:
    """Save the best weights of a run that did not end well as a bundle of its own; says where they are."""
    best, state = training.best, read_state(training.folder)
    if best is None or state is None or state.best is None or math.isnan(training.value(best)):
        return "no weights are kept, as there was no validation before"
    path = training.folder / folder.BEST
    training.model.load_state_dict(read_checkpoint(state.best.path(training.folder))["model"])
    save(training.model.cpu(), training.config, path, facts(training, best))
    sign(path)
    return f"the best weights ({training.best_by} {training.value(best):.4g}, step {best.step:,}) are in {path}"


def draw(training: Training, path: Path, say: Callable[[str], None]) -> None:
    """Draw the answers to the validation split, where the metrics have details to show."""
    from seq2att.drawing import details_table, draw_details

    model, validator = training.model, training.validator
    if model.head.multiple_references or not validator.metrics:
        return
    corpus, rows = validator.corpus, validator.rows
    predictions = answer(model, corpus, rows, validator.search)
    right = references(model, corpus, rows, training.config["data"])
    scores = measure(predictions, right, validator.metrics, training.config)
    details = [score.details for score in scores.values()]
    draw_details(details, path, f"validation, {len(rows):,} row{'s' * (len(rows) != 1)}")
    if table := details_table(details):
        say(table)


def shown_figures(chosen: Validation) -> dict[str, float]:
    """The figures of a validation; the loss in training where there are no validation rows."""
    return chosen.values or {"train_loss": chosen.train_loss}


def facts(training: Training, chosen: Validation) -> dict[str, Any]:
    """What `metrics.json` holds about the weights in the bundle."""
    return {
        "validation": chosen.values,
        "signatures": chosen.signatures,
        **({} if training.validator.search is None else {"search": "greedy"}),
        "epoch": chosen.epoch,
        "step": chosen.step,
        **({"best_by": training.best_by} if chosen.values else {"best_by": "train_loss", **shown_figures(chosen)}),
        "seed": training.config["seed"],
        "parameters": models.parameter_count(training.model),
        "versions": {
            "seq2att": seq2att.__version__,  # not by the metadata: a source tree may not be installed
            "torch": torch.__version__,
            "lightning-fabric": version("lightning-fabric"),
            "python": platform.python_version(),
        },
    }
