"""Output layers: from a decoder's output to a distribution over the target vocabulary.

Half of all the work of a training step is here, so it runs once, on real positions only.
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seq2att.errors import UserError
from seq2att.recurrence import product
from seq2att.recurrence.choice import is_compiled, is_traced
from seq2att.recurrence.native import softmax
from seq2att.recurrence.native.gate import SUFFIXES
from seq2att.registry import Size, kind, register
from seq2att.types import SPECIALS

BLOCK = 1 << 19  # numbers that are worked on together without C++: 2 MB
NARROWEST = 16  # a projection of the decoder's output


@kind("output")
class Output(nn.Module):
    """Turns a decoder's outputs into a distribution over the target vocabulary.

    Args:
        input_size: D, the width of the decoder's outputs.
        size: V, the number of entries of the target vocabulary.
        embedding: the embedding of the target, whose matrix may be shared.
    """

    counts_correct: ClassVar[bool] = False
    """Whether training calls `loss_and_correct` in place of `loss`; a class that defines `loss` alone has False."""

    def __init__(self, input_size: int, size: int, embedding: nn.Module) -> None:
        super().__init__()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "loss" in vars(cls) and "loss_and_correct" not in vars(cls):  # its loss is not that of its base class
            cls.counts_correct = False

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """The summed negative log-likelihood of `targets` `[N]` from `outputs` `[N, D]`, real positions only.

        With smoothing e the target distribution is (1 - e) at the target plus e / V everywhere (Szegedy et al. 2016).
        """
        raise NotImplementedError

    def loss_and_correct(self, outputs: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """The same, and how many of the targets are the likeliest entries; where that costs nothing."""
        raise NotImplementedError

    def log_probs(self, outputs: Tensor) -> Tensor:
        """Normalised log-probabilities `[N, V]` of `outputs` `[N, D]`."""
        raise NotImplementedError


def cross_entropy(logits: Tensor, targets: Tensor, weights: Tensor, uniform: float) -> tuple[Tensor, Tensor, Tensor]:
    """Turn `logits` `[N, V]` into the gradient of their summed cross-entropy.

    Returns that sum, the sum of the rows `[V]`, and how many rows have their first target as the largest logit. The
    target distribution of row n has `weights[n]` `[M]` at `targets[n]` `[M]`, and `uniform` divided evenly over all V.
    With logits z and mass m (all weights and `uniform`) a row's loss is m logsumexp(z) - sum_i w_i z_i - uniform
    mean(z), and its gradient m softmax(z) - w - uniform / V.
    """
    if type(logits) is Tensor and logits.is_cpu and logits.dtype in SUFFIXES and is_compiled() and not is_traced():
        return softmax.cross_entropy(logits, targets, weights, uniform)
    size = logits.size(1)
    total, sums = logits.new_zeros(()), logits.new_zeros(size)
    correct = torch.zeros((), dtype=torch.int64, device=logits.device)
    mass = weights.sum(1, keepdim=True) + uniform  # [N, 1]
    block = max(1, BLOCK // size if logits.is_cpu else logits.size(0))  # rows that stay in the cache
    parts = zip(*(tensor.split(block) for tensor in (logits, targets, weights, mass)), strict=True)
    for part, places, shares, row_mass in parts:
        expected = (part.gather(1, places) * shares).sum(1, keepdim=True) + uniform * part.mean(1, keepdim=True)
        best = first_largest(part)  # [N, 1]
        largest = part.gather(1, best)
        correct += (best == places[:, :1]).sum()
        normalizer = part.sub_(largest).exp_().sum(1, keepdim=True)
        total += (row_mass * (largest + normalizer.log()) - expected).sum()
        part.mul_(row_mass / normalizer).sub_(uniform / size).scatter_add_(1, places, -shares)
        sums += part.sum(0)
    return total, sums, correct


def first_largest(logits: Tensor) -> Tensor:
    """The place of the first of the largest numbers of every row of `[N, V]`: `[N, 1]`."""
    if type(logits) is Tensor and logits.is_cpu and not is_traced():  # several times as fast as PyTorch's
        return torch.from_numpy(logits.numpy().argmax(1, keepdims=True))
    return logits.argmax(1, keepdim=True)


class CrossEntropy(torch.autograd.Function):
    """A linear layer, softmax and cross-entropy in one, holding one `[N, V]` tensor: logits, then their gradient.

    The loss is one number, so its gradient is known up to a factor in the forward pass: the logits become it at once,
    while they are in the cache, and the backward pass is two products.
    """

    @staticmethod
    def forward(
        context: Any, outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor, uniform: float
    ) -> tuple[Tensor, Tensor]:
        """From `[N, D]`, `[V, D]`, `[V]`, `[N, M]`, `[N, M]` to the sum and the correct rows; see `cross_entropy`."""
        logits = product.matmul(outputs, weight, bias)  # [N, V]
        context.dtype = logits.dtype
        logits = logits.to(weights.dtype)  # a loss in half precision would be none
        total, sums, correct = cross_entropy(logits, targets, weights, uniform)
        context.save_for_backward(outputs, weight, logits, sums)
        context.mark_non_differentiable(correct)
        return total, correct

    @staticmethod
    def backward(context: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradients of outputs, weight and bias."""
        if torch.is_grad_enabled():  # it would be a constant to whoever wants a gradient of it
            raise RuntimeError("the loss of an output layer can be differentiated once only")
        outputs, weight, delta, sums = context.saved_tensors
        for_bias = sums * gradient
        if delta.dtype != context.dtype:  # half precision: small numbers are scaled before they are rounded
            delta, gradient = (delta * gradient).to(context.dtype), torch.ones_like(gradient, dtype=context.dtype)
        outputs, weight = outputs.to(delta.dtype), weight.to(delta.dtype)
        for_outputs, for_weight, *_ = context.needs_input_grad
        return (
            product.matmul(delta, weight.t()) * gradient if for_outputs else None,
            product.matmul(delta.t(), (outputs * gradient).t()) if for_weight else None,
            for_bias,
            *(None, None, None),
        )


def linear_loss(
    outputs: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, weights: Tensor, uniform: float
) -> tuple[Tensor, Tensor]:
    """The summed cross-entropy of a linear layer's softmax, and its correct rows; see `cross_entropy`."""
    both: tuple[Tensor, Tensor] = CrossEntropy.apply(outputs, weight, bias, targets, weights, uniform)  # type: ignore[no-untyped-call]
    return both


def full_precision(tensor: Tensor) -> torch.dtype:
    """The type that losses of such a tensor are computed in."""
    return torch.promote_types(tensor.dtype, torch.float32)


@register("output", "linear")
class Linear(Output):
    """A linear layer and a softmax: log p = log softmax(W x + b).

    Args:
        tie: share W with the target's embedding, which must be as wide as the decoder's output (Press & Wolf 2017).
    """

    counts_correct = True

    def __init__(self, input_size: int, size: int, embedding: nn.Module, *, tie: bool = False) -> None:
        super().__init__(input_size, size, embedding)
        if tie:
            table = getattr(embedding, "weight", None)
            if not isinstance(table, nn.Parameter) or table.dim() != 2:
                width = getattr(embedding, "output_size", 0)
                problem = (
                    f"W needs a matrix of {size:,} x {input_size:,}, and the target's vectors of {width:,} numbers "
                    "come from none (one-hot vectors have a 1 and zeros)"
                )
                remedy = f"set output.tie=false, or target.embedding=trained and target.embedding_size={input_size}"
                raise UserError("E-conflict", "output.tie=true", problem, remedy)
            if table.shape != (size, input_size):
                raise UserError(
                    "E-conflict",
                    "output.tie=true",
                    f"the target embedding has width {table.size(1)}, the decoder's output {input_size}",
                    f"set decoder.readout={table.size(1)} or target.embedding_size={input_size}",
                )
            self.weight = table  # [V, D]
        else:
            self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(size, input_size)))
        self.bias = nn.Parameter(torch.zeros(size))

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """The summed cross-entropy, whose log-probabilities are never all in memory."""
        return self.loss_and_correct(outputs, targets, smoothing)[0]

    def loss_and_correct(self, outputs: Tensor, targets: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
        """The same, and how many of the targets are the likeliest entries."""
        targets = targets.unsqueeze(1)  # [N, 1]
        weights = torch.full_like(targets, 1 - smoothing, dtype=full_precision(outputs))
        return linear_loss(outputs, self.weight, self.bias, targets, weights, smoothing)

    def log_probs(self, outputs: Tensor) -> Tensor:
        """The log-softmax of W x + b: `[N, V]`."""
        return product.linear(outputs, self.weight, self.bias).log_softmax(-1)


class Entries(nn.Module):
    """A softmax over some entries of a vocabulary, or over clusters of them."""

    def __init__(self, input_size: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(size, input_size)))
        self.bias = nn.Parameter(torch.zeros(size))

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor, uniform: float) -> Tensor:
        """The summed cross-entropy with the distribution that `cross_entropy` describes."""
        return linear_loss(outputs, self.weight, self.bias, targets, weights, uniform)[0]

    def forward(self, outputs: Tensor) -> Tensor:
        """Log-probabilities."""
        return product.linear(outputs, self.weight, self.bias).log_softmax(-1)


class Tail(Entries):
    """A cluster of rare entries, which sees less of the decoder's output."""

    def __init__(self, input_size: int, width: int, size: int) -> None:
        super().__init__(width, size)
        self.projection = nn.Parameter(nn.init.xavier_uniform_(torch.empty(width, input_size)))

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor, uniform: float) -> Tensor:
        """The summed cross-entropy of the entries of the cluster, from the narrower outputs."""
        return super().loss(product.linear(outputs, self.projection), targets, weights, uniform)

    def forward(self, outputs: Tensor) -> Tensor:
        """Log-probabilities within the cluster."""
        return super().forward(product.linear(outputs, self.projection))


@register("output", "adaptive")
class Adaptive(Output):
    """The adaptive softmax (Grave et al. 2017), for large vocabularies: a cluster of rare entries is predicted first.

    Training computes a cluster only for targets in it; label smoothing needs all clusters. Ids must be in order of
    frequency, as those of the tokenizers `word`, `char` and sentencepiece's `unigram` are; with `bpe` the result is
    correct, but slower, and single characters get narrow projections.

    Args:
        cutoffs: ids at which clusters begin, rising, each below the vocabulary size; null: a 20th and a
            quarter of the vocabulary.
        shrink: cluster k reads a projection that is shrink^k times narrower than the decoder's output.
    """

    def __init__(
        self,
        input_size: int,
        size: int,
        embedding: nn.Module,
        *,
        cutoffs: tuple[Size, ...] | None = None,
        shrink: Size = 4,
    ) -> None:
        super().__init__(input_size, size, embedding)
        bounds = default_cutoffs(size) if cutoffs is None else tuple(cutoffs)
        if not bounds or any(low >= high for low, high in itertools.pairwise((0, *bounds, size))):
            raise UserError(
                "E-range",
                f"output.cutoffs={list(bounds)}",
                f"must be ids that rise, from 1 to below the target vocabulary size {size}",
                "set other cutoffs, or output=linear for a small vocabulary",
            )
        self.bounds = (0, *bounds, size)
        self.top = Entries(input_size, bounds[0] + len(bounds))  # the clusters are its last entries
        self.tails = nn.ModuleList(
            Tail(input_size, max(input_size // shrink**number, min(input_size, NARROWEST)), high - low)
            for number, (low, high) in enumerate(itertools.pairwise(self.bounds[1:]), 1)
        )

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """The summed loss of the first softmax, and of the clusters for the entries that lie in them."""
        first, size = self.bounds[1], self.bounds[-1]
        dtype = full_precision(outputs)
        number = torch.bucketize(targets, targets.new_tensor(self.bounds[1:-1]), right=True)  # [N] 0: no cluster
        clusters = torch.arange(first, first + len(self.tails), device=targets.device)
        expected = torch.where(number == 0, targets, first + number - 1).unsqueeze(1)  # [N, 1]
        weights = torch.full_like(expected, 1 - smoothing, dtype=dtype)
        sizes = [high - low for low, high in itertools.pairwise(self.bounds[1:])]
        if smoothing:  # a cluster has as large a part of it as it has entries, one of them by `uniform`
            parts = weights.new_tensor([smoothing * (entries - 1) / size for entries in sizes])  # [K]
            expected = torch.cat([expected, clusters.expand(len(targets), -1)], 1)  # [N, 1 + K]
            weights = torch.cat([weights, parts.expand(len(targets), -1)], 1)
        total: Tensor = self.top.loss(outputs, expected, weights, smoothing * (first + len(sizes)) / size)
        for cluster, tail in enumerate(self.tails, 1):
            assert isinstance(tail, Tail)
            inside = number == cluster  # [N]
            inputs, entries = outputs, (targets - self.bounds[cluster]).where(inside, 0)
            if not smoothing:
                rows = inside.nonzero().squeeze(1)
                inputs, entries, inside = inputs.index_select(0, rows), entries[rows], inside[rows]
            uniform = smoothing * sizes[cluster - 1] / size
            inside_weights = (1 - smoothing) * inside.unsqueeze(1).to(dtype)  # [N, 1]
            total = total + tail.loss(inputs, entries.unsqueeze(1), inside_weights, uniform)
        return total

    def log_probs(self, outputs: Tensor) -> Tensor:
        """Log p of every entry `[N, V]`; in a cluster that of the cluster and that of the entry within it."""
        top = self.top(outputs)  # [N, entries + clusters]
        first = self.bounds[1]
        parts = [top[:, first + number, None] + tail(outputs) for number, tail in enumerate(self.tails)]
        return torch.cat([top[:, :first], *parts], 1)


def default_cutoffs(size: int) -> tuple[int, ...]:
    """A 20th of the vocabulary, at least the special tokens and one piece; and a quarter where that is twice it."""
    first = max(len(SPECIALS) + 1, -(-size // 20))
    second = -(-size // 4)
    return (first, second) if second >= 2 * first else (first,)
