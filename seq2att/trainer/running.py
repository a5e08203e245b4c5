"""Running text: what a model remembers from one batch to the next, in training, in validation and over a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seq2att.data.streams import runs
from seq2att.types import Batch, Loss, Running, State, leaves

if TYPE_CHECKING:
    from seq2att.model import Model
    from seq2att.trainer.processes import Processes


class Reading:
    """A model that reads batches in order; of running text it goes on where the last one stopped.

    The state is cut from the graph of gradients: back-propagation through time is truncated at every batch.
    """

    def __init__(self, options: Mapping[str, Any] | None) -> None:
        self.runs = options is not None and runs(options)
        self.state: State = ()

    def __call__(self, model: Model, batch: Batch) -> Loss:
        """The loss of a batch."""
        if not self.runs:
            found: Loss = model(batch)
            return found
        found = model(batch, Running(self.state, batch.continues))
        self.state = found.state
        return found

    def saved(self, processes: Processes) -> list[list[Tensor]]:
        """The state of every process, as its leaves on the processor; all must call it, the first one gets it."""
        return processes.collect([leaf.cpu() for leaf in leaves(self.state)]) if self.runs else []

    def restore(self, parts: list[list[Tensor]], processes: Processes) -> None:
        """Go on from what was saved, also by another number of processes."""
        held = [part for part in parts if part]
        if not held:
            return
        rows = sum(part[0].size(0) for part in held)
        whole = [torch.cat(leaf).new_zeros(rows, *leaf[0].shape[1:]) for leaf in zip(*held, strict=True)]
        for rank, part in enumerate(parts):
            for leaf, mine in zip(whole, part, strict=False):
                leaf[rank :: len(parts)] = mine
        self.state = [leaf[processes.rank :: processes.size] for leaf in whole]
