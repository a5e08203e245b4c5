"""Output layers: from a decoder's output to a distribution over the target vocabulary.

Half of all the work of a training step is here, so it runs once, on real positions only.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from seq2att.errors import UserError
from seq2att.registry import kind, register


@kind("output")
class Output(nn.Module):
    """Scores `size` vocabulary entries from outputs of `input_size`; `embedding` is the target's, for tying."""

    def __init__(self, input_size: int, size: int, embedding: nn.Module) -> None:
        super().__init__()

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """The summed negative log-likelihood of `targets` `[N]` from `outputs` `[N, D]`, real positions only.

        With smoothing e the target distribution is (1 - e) at the target plus e / V everywhere (Szegedy et al. 2016).
        """
        raise NotImplementedError

    def log_probs(self, outputs: Tensor) -> Tensor:
        """Normalised log-probabilities `[N, V]` of `outputs` `[N, D]`."""
        raise NotImplementedError


class CrossEntropy(torch.autograd.Function):
    """A linear layer, softmax and smoothed cross-entropy in one, holding one `[N, V]` tensor instead of four.

    With logits z, target y and smoothing e the loss of a position is logsumexp(z) - (1 - e) z_y - e mean(z), and its
    gradient in z is softmax(z) - (1 - e) onehot(y) - e / V: the logits are overwritten by it on the way back.
    """

    @staticmethod
    def forward(
        context: Any, outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, smoothing: float
    ) -> Tensor:
        logits = torch.addmm(bias, outputs, weight.t())  # [N, V]
        normalizer = logits.logsumexp(1, keepdim=True)  # [N, 1]
        wanted = logits.gather(1, targets.unsqueeze(1))  # [N, 1]
        total = (normalizer - (1 - smoothing) * wanted).sum()
        if smoothing:
            total = total - smoothing * logits.mean(1).sum()
        context.save_for_backward(outputs, weight, logits, normalizer, targets)
        context.smoothing = smoothing
        return total

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        outputs, weight, logits, normalizer, targets = context.saved_tensors
        smoothing = context.smoothing
        delta = logits.sub_(normalizer).exp_()  # [N, V]
        if smoothing:
            delta -= smoothing / delta.size(1)
        delta.scatter_add_(1, targets.unsqueeze(1), delta.new_full((targets.numel(), 1), smoothing - 1))
        delta *= gradient
        return delta @ weight, delta.t() @ outputs, delta.sum(0), None, None


@register("output", "linear")
class Linear(Output):
    """A linear layer and a softmax; `tie` shares its matrix with the target's embedding (Press & Wolf 2017)."""

    def __init__(self, input_size: int, size: int, embedding: nn.Module, *, tie: bool = False) -> None:
        super().__init__(input_size, size, embedding)
        if tie:
            table = getattr(embedding, "weight", None)
            if not isinstance(table, nn.Parameter) or table.shape != (size, input_size):
                width = "no" if table is None else table.size(1)
                raise UserError(
                    f"output.tie=true needs a target embedding as wide as the decoder's output, but they are {width} "
                    f"and {input_size}; set decoder.readout={width} or target.embedding_size={input_size}"
                )
            self.weight = table  # [V, D]
        else:
            self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(size, input_size)))
        self.bias = nn.Parameter(torch.zeros(size))

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        total: Tensor = CrossEntropy.apply(outputs, self.weight, self.bias, targets, smoothing)  # type: ignore[no-untyped-call]
        return total

    def log_probs(self, outputs: Tensor) -> Tensor:
        return functional.linear(outputs, self.weight, self.bias).log_softmax(-1)
