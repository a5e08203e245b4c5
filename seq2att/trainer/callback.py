"""The protocol of callbacks: four calls during training, and a state that a resumed run restores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from seq2att.trainer.loop import Training


class Callback:
    """What else happens while a model trains. Override the calls that you need; every process of a run makes them.

    `training` (`seq2att.trainer.loop.Training`) gives access to everything: `training.model`, `.config`, `.corpora`,
    `.step`, `.progress` (epochs done), `.validation` and `.best` (figures of the last and the best validation),
    `.processes.first` (whether this process writes files), `.say(line)` and `.log({name: value})`.
    """

    shows_examples: ClassVar[bool] = False
    """Whether it shows examples after each validation; then those of `trainer.examples` are not shown too."""

    def on_start(self, training: Training) -> None:
        """Before the first batch, also when a run is resumed."""

    def on_batch(self, training: Training) -> None:
        """After each batch. `training.num_parts == 0` where it completed an optimizer step; gradients are still set."""

    def on_validation(self, training: Training) -> None:
        """After each validation, before the checkpoint is saved; the model is in evaluation mode, without gradients."""

    def on_end(self, training: Training) -> None:
        """After the last batch and validation, before the best weights are restored; not if a signal stopped the run.

        It is called again when a process ended between this call and the bundle, and the run is resumed.
        """

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: tensors, numbers, texts, and lists and dictionaries of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned, before `on_start`."""


def states(callbacks: list[Callback]) -> dict[str, dict[str, Any]]:
    """The non-empty states of callbacks by their names."""
    named = {name: callback.state_dict() for name, callback in by_name(callbacks).items()}
    return {name: state for name, state in named.items() if state}


def restore(callbacks: list[Callback], saved: dict[str, dict[str, Any]]) -> None:
    """Give callbacks the states that they had; one that is new keeps its own."""
    for name, callback in by_name(callbacks).items():
        if name in saved:
            callback.load_state_dict(saved[name])


def by_name(callbacks: list[Callback]) -> dict[str, Callback]:
    """The callbacks by the names of their classes, numbered where a class occurs more than once."""
    named: dict[str, Callback] = {}
    for callback in callbacks:
        name = type(callback).__qualname__
        same = sum(key.partition("#")[0] == name for key in named)
        named[f"{name}#{same + 1}" if same else name] = callback
    return named
