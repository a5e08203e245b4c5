"""Fast counterparts of modules for inference: the same parameters, packed once.

They compute in the type of their weights, under autocast too; inputs of another type are converted.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2att import kernels
from seq2att.kernels import Matrix
from seq2att.output import Linear, Output
from seq2att.recurrence import Layer
from seq2att.recurrence.reference import Run
from seq2att.types import length_mask

PART = 1 << 14  # positions that a layer reads at once: their gates are several times as large as its outputs


class FastLinear(nn.Module):
    """The counterpart of `torch.nn.Linear`."""

    def __init__(self, linear: nn.Linear, quantize: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.matrix = Matrix(linear.weight, linear.bias, quantize)

    def forward(self, inputs: Tensor) -> Tensor:
        """`[..., K]` to `[..., M]`; without gradients."""
        rows = inputs.detach().reshape(inputs.shape[:-1].numel(), inputs.size(-1))
        return self.matrix(rows).view(*inputs.shape[:-1], self.out_features)


class FastOutput(Output):
    """The counterpart of the linear output layer."""

    def __init__(self, output: Linear, quantize: bool) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = output.weight, output.bias
        self.matrix = Matrix(output.weight, output.bias, quantize)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """The summed loss without smoothing, which is for training."""
        return -self.log_probs(outputs).gather(1, targets.unsqueeze(1)).sum()

    def log_probs(self, outputs: Tensor) -> Tensor:
        """Normalised log-probabilities `[N, V]` of `outputs` `[N, D]`."""
        return kernels.log_softmax(self.matrix(outputs.detach()))


class FastLayer(Layer):
    """The counterpart of one recurrent layer in one direction."""

    def __init__(self, layer: Layer, quantize: bool) -> None:
        nn.Module.__init__(self)
        self.cell, self.size, self.weight_drop = layer.cell, layer.size, 0.0
        for name, parameter in layer.named_parameters():
            self.register_parameter(name, parameter)
        self.inputs = Matrix(layer.input_weight, input_bias(layer), quantize)
        self.hidden = Matrix(layer.hidden_weight, None, quantize)
        self.new_bias = new_bias(layer)

    def forward(
        self,
        inputs: Tensor,
        state: tuple[Tensor, ...],
        lengths: Tensor | None = None,
        backwards: bool = False,
        hidden_mask: Tensor | None = None,
    ) -> Run:
        """As `Layer.forward`, without gradients."""
        if hidden_mask is not None:
            return super().forward(inputs, state, lengths, backwards, hidden_mask)
        inputs, steps, order = inputs.detach(), inputs.size(1), None
        if lengths is not None:
            lengths = lengths.long().clamp(0, steps).contiguous()
            if bool((lengths[1:] > lengths[:-1]).any()):  # the kernel takes the longest first
                order = lengths.argsort(descending=True, stable=True)
                inputs, lengths = inputs.index_select(0, order), lengths.index_select(0, order)
                state = tuple(part.index_select(0, order) for part in state)
        dtype = self.inputs.dtype
        final = tuple(part.detach().to(dtype, memory_format=torch.contiguous_format, copy=True) for part in state)
        outputs = inputs.new_empty(inputs.size(0), steps, self.size, dtype=dtype)
        size = max(1, PART // max(1, inputs.size(0)))
        starts = range(0, max(steps, 1), size)
        for start in reversed(starts) if backwards else starts:
            part = slice(start, start + size)
            outputs[:, part] = self.read(inputs[:, part], start, final, lengths, backwards)
        if order is None:
            return Run(outputs, final)
        inverse = order.argsort()
        return Run(outputs.index_select(0, inverse), tuple(part.index_select(0, inverse) for part in final))

    def read(
        self, inputs: Tensor, start: int, state: tuple[Tensor, ...], lengths: Tensor | None, backwards: bool
    ) -> Tensor:
        """The outputs `[B, T, H]` of the positions from `start` on; `state` becomes the one after them."""
        batch, steps, width = inputs.shape
        gates = self.inputs(inputs.reshape(batch * steps, width)).view(batch, steps, self.inputs.outputs)
        outputs = gates.new_empty(batch, steps, self.size)
        if lengths is not None:
            lengths = (lengths - start).clamp(0, steps)
            outputs.masked_fill_(~length_mask(lengths, steps).unsqueeze(2), 0.0)
        kernels.recur(self.cell, self.hidden, self.new_bias, gates, state, lengths, backwards, outputs)
        return outputs


def input_bias(layer: Layer) -> Tensor:
    """The bias that is added to `W x` `[G*H]`: both biases, but the GRU's `new_bias`."""
    bias = layer.input_bias.detach() + layer.hidden_bias.detach()
    if layer.cell == "gru":
        bias[2 * layer.size :] = layer.input_bias.detach()[2 * layer.size :]
    return bias


def new_bias(layer: Layer) -> Tensor | None:
    """The GRU's bias inside its reset gate `[H]`."""
    return layer.hidden_bias.detach()[2 * layer.size :].clone() if layer.cell == "gru" else None
