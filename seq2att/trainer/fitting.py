"""`train`: from a resolved configuration to a run folder that is a bundle."""

from __future__ import annotations

import logging
import platform
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seq2att import model as models
from seq2att import registry
from seq2att.data import prepare
from seq2att.errors import UserError
from seq2att.trainer import folder

if TYPE_CHECKING:
    from lightning.pytorch import Callback, Trainer

    from seq2att.data import Corpus
    from seq2att.trainer.module import Training

PRECISION = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def train(config: Mapping[str, Any], callbacks: Sequence[Callback] = (), say: Callable[[str], None] = print) -> Path:
    """Prepare the data, train, and write the bundle into the run folder, which is returned.

    An unfinished run of the same configuration goes on where it stopped, with the same numbers as if it had not.
    SIGINT and SIGTERM save and end: with KeyboardInterrupt and SystemExit. Raises UserError for what a user can mend.
    """
    check_trainer(config["trainer"])
    higher = known_figures(config)
    check_figures(config, higher)
    reader = registry.build("reader", config)
    reader.check(Path(config["data"]["root"]).expanduser() if config["data"]["root"] else None)
    run = folder.claim(config)
    source, target = models.make_fields(config)
    corpora = prepare(config, source, target, reader, say)
    torch.manual_seed(config["seed"])
    model = models.make(config, source, target)
    if not run.resume:
        folder.start(run.path, config)
    training = fit(model, config, corpora, higher, run, callbacks, say)
    finish(training, run.path, say)
    return run.path


def known_figures(config: Mapping[str, Any]) -> dict[str, bool]:
    """Every figure of a validation, and whether more of it is better."""
    head: Any = registry.find("head", config["head"]["name"]).target
    names = config["metrics"] or head.metrics
    metrics = {name: registry.build("metric", {"metric": {"name": name}}) for name in names}
    return {"loss": False, "perplexity": False, **{name: metric.higher_is_better for name, metric in metrics.items()}}


def check_figures(config: Mapping[str, Any], known: Mapping[str, bool]) -> None:
    """Refuse to watch a figure that no validation gives."""
    options = config["trainer"]
    watched = {
        "trainer.monitor": options["monitor"],
        "trainer.best": options["best"] or options["monitor"],
        "schedule.monitor": config["schedule"].get("monitor", "loss"),
    }
    for key, name in watched.items():
        if name not in known:
            raise UserError(
                f"{key}={name}: no figure of a validation, unless added to metrics{registry.known(name, known)}"
            )


def check_trainer(options: Mapping[str, Any]) -> None:
    """Refuse what no run can do."""
    every = options["validate_every"]
    if every <= 0 or (every > 1 and every != int(every)):
        raise UserError(f"trainer.validate_every={every}: allowed is a part of an epoch (0.25) or whole epochs (2)")
    if options["precision"] == "16" and options["accelerator"] == "cpu":
        raise UserError("trainer.precision=16 needs a GPU; on a CPU set trainer.precision=32 (or bf16)")
    for name in ("epochs", "accumulate", "log_every"):
        if options[name] < 1:
            raise UserError(f"trainer.{name}={options[name]}: allowed is 1 or more")


def fit(
    model: models.Model,
    config: Mapping[str, Any],
    corpora: Mapping[str, Corpus],
    higher: Mapping[str, bool],
    run: folder.Claim,
    callbacks: Sequence[Callback],
    say: Callable[[str], None],
) -> Training:
    """Train with Lightning until the run's end, or until a signal."""
    from seq2att.trainer.checkpoint import Interrupted, interruptible
    from seq2att.trainer.keeping import Checkpoints
    from seq2att.trainer.module import Training
    from seq2att.trainer.progress import Report

    greedy = registry.build("search", {"search": {"name": "greedy"}}) if "search" in config else None
    with quiet(), interruptible() as interruption:
        training = Training(model, config, corpora, greedy, higher, interruption)
        watching = [*chosen(config, higher), Report(run.path, say), *callbacks, Checkpoints(run.path, interruption)]
        trainer = make_trainer(config, watching)
        say(opening(training, run))
        try:
            trainer.fit(training, ckpt_path=run.path / folder.LAST if run.resume else None, weights_only=True)
        except Interrupted as stop:
            raise ended(stop, training, say) from None
        except torch.OutOfMemoryError as error:
            raise UserError(out_of_memory(training, error)) from error
    return training


def chosen(config: Mapping[str, Any], higher: Mapping[str, bool]) -> Iterator[Callback]:
    """The callbacks that the configuration asks for."""
    from lightning.pytorch.callbacks import EarlyStopping

    from seq2att.trainer.progress import Progress

    options = config["trainer"]
    if options["progress"]:
        yield Progress()
    if options["patience"] is not None:
        mode = "max" if higher[options["monitor"]] else "min"
        yield EarlyStopping(
            options["monitor"], options["min_delta"], options["patience"], mode=mode, check_on_train_epoch_end=False
        )
    for name in config["callbacks"]:
        yield registry.build("callback", {"callback": {"name": name}})


def make_trainer(config: Mapping[str, Any], callbacks: Sequence[Callback]) -> Trainer:
    """Lightning's trainer; what it does by itself and we do otherwise is switched off."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException
    from lightning.pytorch import Trainer

    options, path = config["trainer"], Path(config["run"])
    minutes = options["max_minutes"]
    try:
        return Trainer(
            accelerator=options["accelerator"],
            devices=options["devices"],
            num_nodes=options["num_nodes"],
            precision=PRECISION[options["precision"]],  # type: ignore[arg-type]
            deterministic=options["deterministic"],
            max_epochs=options["epochs"],
            max_time=None if minutes is None else timedelta(minutes=minutes),
            accumulate_grad_batches=options["accumulate"],
            log_every_n_steps=options["log_every"],
            logger=[registry.build("logger", {"logger": {"name": name}}, path) for name in config["loggers"]],
            callbacks=list(callbacks),
            default_root_dir=path,
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
    figures = "  ".join(f"{name} {value:.4g}" for name, value in kept.values.items())
    say(f"finished: {path} (epoch {kept.epoch:.4g}, step {kept.step:,}: {figures})")


def facts(training: Training, kept: Any) -> dict[str, Any]:
    """What `metrics.json` says of the weights that were kept."""
    return {
        "validation": kept.values,
        "signatures": kept.signatures,
        "search": "greedy",
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
        ):
            warnings.filterwarnings("ignore", message)
        try:
            for name in names:
                logging.getLogger(name).setLevel(logging.WARNING)
            yield
        finally:
            for name, level in before.items():
                logging.getLogger(name).setLevel(level)
