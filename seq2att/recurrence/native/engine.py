"""The C++ loops behind the interface of an engine: the recurrence of one layer over packed rows."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from seq2att.recurrence.engine import Pass
from seq2att.recurrence.native.build import NativeError, library
from seq2att.recurrence.native.functions import CELLS, LAYER


class Engine:
    """Runs a layer's loops in C++; rows are divided over PyTorch's number of threads."""

    name = "cpp"

    def forward(
        self, over: Pass, state: tuple[Tensor, ...], keep: bool
    ) -> tuple[Tensor, tuple[Tensor, ...], tuple[Tensor, ...]]:
        final = tuple(part.clone(memory_format=torch.contiguous_format) for part in state)
        outputs = over.gates.new_empty(over.gates.size(0), over.hidden_weight.size(1))
        gated = over.cell in ("lstm", "gru")
        saved = (torch.empty_like(outputs), torch.empty_like(outputs)) if keep and gated else ()
        self.run(False, over, final, outputs, saved)
        return outputs, final, saved if gated else (outputs,)

    def backward(
        self, over: Pass, saved: tuple[Tensor, ...], d_outputs: Tensor, d_final: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        d_state = tuple(part.clone(memory_format=torch.contiguous_format) for part in d_final)
        through = torch.empty_like(over.gates) if over.cell == "gru" else None
        self.run(True, over, d_state, d_outputs.contiguous(), saved, through)
        return over.gates, over.gates if through is None else through, d_state

    def run(
        self,
        back: bool,
        over: Pass,
        state: tuple[Tensor, ...],
        outputs: Tensor,
        saved: tuple[Tensor, ...],
        through: Tensor | None = None,
    ) -> None:
        """Call the library; `state` and the gates are overwritten."""
        previous, extra = saved if len(saved) > 1 else (None, None)
        LAYER(
            cell=CELLS[over.cell],
            backwards=over.backwards,
            back=back,
            sizes=torch.tensor(over.sizes),
            weight=over.hidden_weight.contiguous(),
            new_bias=None if over.new_bias is None else over.new_bias.contiguous(),
            gates=over.gates,
            hidden=state[0],
            memory=state[1] if len(state) > 1 else None,
            outputs=outputs,
            previous=previous,
            extra=extra,
            through=through,
        )


@functools.cache
def engine() -> Engine | None:
    """The engine, or None where the library cannot be made."""
    try:
        library()
    except NativeError:
        return None
    return Engine()
