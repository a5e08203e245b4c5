"""`train`: from a resolved configuration to a run folder that is a bundle."""

from __future__ import annotations

import logging
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from seq2att import model as models
from seq2att import registry
from seq2att.data import prepare
from seq2att.errors import UserError
from seq2att.trainer import folder
from seq2att.trainer.checks import check_figures, check_numbers, check_trainer, known_figures
from seq2att.trainer.evaluation import answer, measure, references
from seq2att.trainer.processes import ALONE, Processes, seed

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

    from seq2att.data import Corpus
    from seq2att.field import Field
    from seq2att.trainer.module import Training

WORTH_THREADS = 5_000_000  # parameters
PRECISION = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}


class Ready(NamedTuple):
    """What a run needs before its model is made."""

    run: folder.Claim
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
) -> Path:
    """Prepare the data, train, and write the bundle into the run folder, which is returned.

    An unfinished run of the same configuration goes on where it stopped, with the same numbers as if it had not.
    SIGINT and SIGTERM save and end: with KeyboardInterrupt and SystemExit. Raises UserError for what a user can mend.
    All the `processes` of a run call this; the first one writes and speaks. `account` hears of the data (as `say`).
    """
    say, account = (say, account or say) if processes.first else (silent, silent)
    ready = make_ready(config, account, processes)
    run = ready.run
    torch.manual_seed(config["seed"])
    model = models.make(config, ready.source, ready.target)
    higher = known_figures(config, model.head)  # of this model: what tags there are decides what is measured
    check_figures(config, higher)
    if not run.resume:
        warm(model, data_root(config), say)
    if config["trainer"]["threads"] is None:
        torch.set_num_threads(useful_threads(model, torch.get_num_threads()))
    if not run.resume:
        processes.share(lambda: folder.start(run.path, config))
    watching = [*ready.callbacks, *callbacks]
    training = fit(model, config, ready.corpora, higher, run, watching, say, processes, ready.loggers)
    processes.share(lambda: finish(training, run.path, say))
    return run.path


def warm(model: models.Model, root: Path | None, say: Callable[[str], None]) -> None:
    """Start the embeddings of both sides from what their fields know (pretrained vectors), and say what was found."""
    ours, theirs = model.embedding, getattr(model.head, "embedding", None)
    lines = [model.source.init_embedding(ours, root)]
    if theirs is not None and (theirs is not ours or lines == [None]):  # a shared one starts once
        lines.append(model.target.init_embedding(theirs, root))
    for line in filter(None, lines):
        say(line)


def useful_threads(model: models.Model, most: int) -> int:
    """How many of the threads help: the steps of a small model are too short to be divided.

    With two threads a model of 6 million parameters took 0.9 times as long, one of 3 million 0.9 to 1.1 times, and ones
    of 0.9 and 0.07 million 1.05 and 1.3 times; where another program needed the second core, the small ones took
    several times as long, for each operation waits for its slower half.
    """
    return most if models.parameter_count(model) >= WORTH_THREADS else 1


def make_ready(config: Mapping[str, Any], say: Callable[[str], None], processes: Processes = ALONE) -> Ready:
    """Check all that needs no data, claim the run folder, and then read the data, or take them from the cache."""
    check_trainer(config["trainer"])
    check_numbers(config)
    head: Any = registry.find("head", config["head"]["name"]).target
    check_figures(config, known_figures(config, head))
    reader = registry.build("reader", config)
    source, target = models.make_fields(config)
    root = data_root(config)
    reader.check(root)
    source.check("source", root)
    target.check("target", root)
    head.check(target)
    run = processes.share(lambda: folder.claim(config))
    callbacks, loggers = make_callbacks(config), make_loggers(config)
    corpora = processes.in_turn(lambda: prepare(config, source, target, reader, say))
    return Ready(run, source, target, corpora, callbacks, loggers)


def data_root(config: Mapping[str, Any]) -> Path | None:
    """Where relative paths of the data start, if it is set."""
    root = config["data"]["root"]
    return Path(root).expanduser() if root else None


def make_callbacks(config: Mapping[str, Any]) -> list[Any]:
    """The callbacks that the configuration asks for; what is wrong with their options is said now."""
    return [registry.build_listed("callback", config, name) for name in config["callbacks"]]


def make_loggers(config: Mapping[str, Any]) -> list[Any]:
    """The loggers that the configuration asks for; those that need what is not installed say so."""
    path = Path(config["run"])
    return [registry.build_listed("logger", config, name, path) for name in config["loggers"]]


def silent(line: str) -> None:
    """Say nothing."""


def fit(
    model: models.Model,
    config: Mapping[str, Any],
    corpora: Mapping[str, Corpus],
    higher: Mapping[str, bool],
    run: folder.Claim,
    callbacks: Sequence[Callback],
    say: Callable[[str], None],
    processes: Processes = ALONE,
    loggers: Sequence[Any] = (),
) -> Training:
    """Train with Lightning until the run's end, or until a signal."""
    from seq2att.trainer.checkpoint import Interrupted, interruptible
    from seq2att.trainer.keeping import Checkpoints
    from seq2att.trainer.module import Training
    from seq2att.trainer.progress import Report

    greedy = registry.build("search", {"search": greedily(config["search"])}) if "search" in config else None
    if config["trainer"]["precision"] == "64":
        model.double()  # Lightning does it only after it has loaded the checkpoint to go on from
    if not processes.first:
        seed(config["seed"] + processes.rank)  # the model is the same in all processes, its dropout is not
    with quiet(), interruptible() as interruption:
        training = Training(model, config, corpora, greedy, higher, interruption, processes)
        reports = [Report(run.path, say)] if processes.first else []
        shown = [*reports, *callbacks]  # what the callbacks say comes after the figures of a validation
        watching = [*chosen(config, higher, processes), *shown, Checkpoints(run.path, interruption)]
        trainer = make_trainer(config, watching, loggers, processes)
        say(opening(training, run))
        try:
            trainer.fit(training, ckpt_path=run.path / folder.LAST if run.resume else None, weights_only=True)
        except Interrupted as stop:
            raise ended(stop, training, say) from None
        except torch.OutOfMemoryError as error:
            raise UserError(out_of_memory(training, error)) from error
    return training


def greedily(search: Mapping[str, Any]) -> dict[str, Any]:
    """The greedy search of a validation, within the lengths of the configured one."""
    lengths = {name: search[name] for name in ("min_length", "max_length") if name in search}
    return {"name": "greedy", **lengths}


def chosen(config: Mapping[str, Any], higher: Mapping[str, bool], processes: Processes) -> Iterator[Callback]:
    """The callbacks that the trainer's options ask for."""
    from lightning.pytorch.callbacks import EarlyStopping

    from seq2att.trainer.progress import Progress

    options = config["trainer"]
    if options["progress"] and processes.first:
        yield Progress()
    if options["patience"] is not None:
        mode = "max" if higher[options["monitor"]] else "min"
        yield EarlyStopping(
            options["monitor"], options["min_delta"], options["patience"], mode=mode, check_on_train_epoch_end=False
        )


def make_trainer(
    config: Mapping[str, Any], callbacks: Sequence[Callback], loggers: Sequence[Any], processes: Processes
) -> Trainer:
    """Lightning's trainer; what it does by itself and we do otherwise is switched off."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer

    options = config["trainer"]
    try:
        trainer = Trainer(
            **among(processes),
            accelerator=options["accelerator"],
            devices=processes.local_size,
            num_nodes=processes.nodes,
            precision=PRECISION[options["precision"]],  # type: ignore[arg-type]
            deterministic=options["deterministic"],
            max_epochs=options["epochs"],
            accumulate_grad_batches=options["accumulate"],
            log_every_n_steps=options["log_every"],
            logger=list(loggers),
            callbacks=list(callbacks),
            default_root_dir=Path(config["run"]),
            reload_dataloaders_every_n_epochs=1,  # each epoch's batches are a new iteration
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_autolog_hparams=False,
        )
    except MisconfigurationException as error:
        raise UserError(
            f"trainer.accelerator={options['accelerator']} trainer.precision={options['precision']}: {error}"
        ) from error
    if hasattr(trainer.fit_loop.epoch_loop, "_broadcast_sigterm_tensor"):
        # Signals are ours; before every batch Lightning would ask all processes for them, and wait for the GPU.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]
    return trainer


def among(processes: Processes) -> dict[str, Any]:
    """What Lightning is told of the processes, which it neither starts nor looks for."""
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning.pytorch.strategies import DDPStrategy

    if processes.alone:
        return {"plugins": LightningEnvironment()}
    return {"plugins": TorchElasticEnvironment(), "strategy": DDPStrategy(gradient_as_bucket_view=True)}


def opening(training: Training, run: folder.Claim) -> str:
    """What is about to be trained, on what, for how long, where."""
    corpora = training.corpora
    verb = "going on in" if run.resume else "training in"
    return (
        f"{verb} {run.path}: {models.parameter_count(training.model):,} parameters; {len(corpora['train']):,} rows, "
        f"{len(corpora['validation']):,} to validate; {training.steps:,} steps of {training.steps_per_epoch:,} an epoch"
    )


def ended(stop: Any, training: Training, say: Callable[[str], None]) -> BaseException:
    """What to raise when a signal stopped the run."""
    import signal

    where = f"at step {training.trainer.global_step:,} of {training.steps:,}" if stop.saved else "since the last save"
    say(f"stopped {where}; the same command goes on from there")
    return KeyboardInterrupt() if stop.number == signal.SIGINT else SystemExit(128 + stop.number)


def out_of_memory(training: Training, error: BaseException) -> str:
    """Which batch did not fit, and what to do."""
    if training.last_rows is None:
        return f"out of memory before the first batch ({error}); make the model smaller"
    corpus, rows = training.corpora["train"], training.last_rows.cpu().numpy()
    lengths = corpus.source.lengths[rows] + (0 if corpus.target is None else corpus.target.lengths[rows])
    longest = int(lengths.argmax())
    return (
        f"out of memory in a batch of {len(rows)} rows, the longest {lengths[longest]:,} tokens "
        f"({corpus.place(int(rows[longest]))}); lower data.batch_size, or set data.batch_by=tokens or data.max_length"
    )


def finish(training: Training, path: Path, say: Callable[[str], None]) -> None:
    """Write the bundle, with the best weights and what is known of them; it marks the run as finished."""
    config, model = training.config, training.model
    kept = training.best if config["trainer"]["restore_best"] else training.figures
    assert kept is not None
    name = folder.BEST if config["trainer"]["restore_best"] else folder.LAST
    weights = torch.load(path / name, map_location="cpu", weights_only=True)["state_dict"]
    model.load_state_dict({key.removeprefix("model."): value for key, value in weights.items()})
    models.save(model.float().cpu(), config, path, facts(training, kept))
    draw(training, path, say)
    figures = "  ".join(f"{name} {value:.4g}" for name, value in kept.values.items())
    say(f"finished: {path} (epoch {kept.epoch:.4g}, step {kept.step:,}: {figures})")


def draw(training: Training, path: Path, say: Callable[[str], None]) -> None:
    """Draw how the model answers the validation split, where its metrics tell more than a figure of that."""
    from seq2att.drawing import details_table, draw_details

    model = training.model
    if model.head.multiple_references or not training.metrics:
        return
    corpus, rows = training.corpora["validation"], training.asked()
    said = answer(model, corpus, rows, training.search)
    scores = measure(said, references(model, corpus, rows, training.config["data"]), training.metrics, training.config)
    details = [score.details for score in scores.values()]
    draw_details(details, path, f"validation, {len(rows):,} row{'s' * (len(rows) != 1)}")
    if table := details_table(details):
        say(table)


def facts(training: Training, kept: Any) -> dict[str, Any]:
    """What `metrics.json` says of the weights that were kept."""
    return {
        "validation": kept.values,
        "signatures": kept.signatures,
        **({} if training.search is None else {"search": "greedy"}),
        "epoch": kept.epoch,
        "step": kept.step,
        "best_by": training.options["best"] or training.options["monitor"],
        "seed": training.config["seed"],
        "parameters": models.parameter_count(training.model),
        "versions": {name: version(name) for name in ("seq2att", "torch", "lightning")}
        | {"python": platform.python_version()},
    }


@contextmanager
def quiet() -> Iterator[None]:
    """Lightning without its banners and without advice that does not fit our loaders; errors and the rest pass."""
    names = ("lightning.pytorch", "lightning.fabric")
    before = {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        for message in (
            ".*does not have many workers.*",
            ".*is smaller than the logging interval.*",
            ".*GPU available but not used.*",
            ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
            ".*when logging on epoch level in distributed setting.*",  # what we log is the same in all processes
        ):
            warnings.filterwarnings("ignore", message)
        try:
            for name in names:
                logging.getLogger(name).setLevel(logging.WARNING)
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
