"""When to save: after each validation, and the best one apart."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint

from seq2att.trainer.checkpoint import Interrupted, Interruption, link, save_last
from seq2att.trainer.folder import BEST, LAST
from seq2att.trainer.module import Training


class Checkpoints(Checkpoint):
    """After each validation saves `last.ckpt`, and keeps it as `best.ckpt` if it is the best so far."""

    def __init__(self, folder: Path, interruption: Interruption) -> None:
        super().__init__()
        self.folder, self.interruption = folder, interruption

    def on_validation_end(self, trainer: Trainer, module: Training) -> None:  # type: ignore[override]
        """Save, and stop here if a signal asked for it and the run would go on."""
        save_last(trainer, self.folder)
        if module.best is module.figures and trainer.is_global_zero:
            link(self.folder / LAST, self.folder / BEST)
        number = int(module.processes.largest(self.interruption.number or 0))
        if number and not trainer.should_stop:
            raise Interrupted(number, saved=True)
