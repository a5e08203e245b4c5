"""Modules that stand for others when nothing learns: the same weights, packed once."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seq2att import kernels
from seq2att.kernels import Matrix
from seq2att.output import Linear, Output
from seq2att.recurrence import Layer
from seq2att.recurrence.reference import Run
from seq2att.types import length_mask


class FastLinear(nn.Module):
    """Stands for a `torch.nn.Linear`; its parameters are those of the model."""

    def __init__(self, linear: nn.Linear, quantize: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.matrix = Matrix(linear.weight, linear.bias, quantize)

    def forward(self, inputs: Tensor) -> Tensor:
        """`[..., K]` to `[..., M]`; without gradients."""
        return self.matrix(inputs.detach().reshape(-1, self.in_features)).view(*inputs.shape[:-1], self.out_features)


class FastOutput(Output):
    """Stands for the linear output layer."""

    def __init__(self, output: Linear, quantize: bool) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = output.weight, output.bias
        self.matrix = Matrix(output.weight, output.bias, quantize)

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        """The loss without smoothing, which is for training."""
        return -self.log_probs(outputs).gather(1, targets.unsqueeze(1)).sum()

    def log_probs(self, outputs: Tensor) -> Tensor:
        return kernels.log_softmax(self.matrix(outputs.detach()))


class FastLayer(Layer):
    """Stands for one recurrent layer in one direction."""

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
        """As of `Layer`, but without gradients and dropout."""
        inputs = inputs.detach()
        batch, steps, width = inputs.shape
        order = None
        if lengths is not None and bool((lengths[1:] > lengths[:-1]).any()):  # the loop wants the longest first
            order = lengths.argsort(descending=True, stable=True)
            inputs, lengths = inputs.index_select(0, order), lengths.index_select(0, order)
            state = tuple(part.index_select(0, order) for part in state)
        gates = self.inputs(inputs.reshape(-1, width)).view(batch, steps, self.inputs.outputs)
        final = tuple(part.detach().clone(memory_format=torch.contiguous_format) for part in state)
        outputs = inputs.new_empty(batch, steps, self.size)
        if lengths is not None:
            lengths = lengths.contiguous()
            outputs.masked_fill_(~length_mask(lengths, steps).unsqueeze(2), 0.0)
        kernels.recur(self.cell, self.hidden, self.new_bias, gates, final, lengths, backwards, outputs)
        if order is None:
            return Run(outputs, final)
        back = order.argsort()
        return Run(outputs.index_select(0, back), tuple(part.index_select(0, back) for part in final))


def input_bias(layer: Layer) -> Tensor:
    """What is added to `W x` `[G*H]`: both biases, but the GRU's `new_bias`."""
    bias = layer.input_bias.detach() + layer.hidden_bias.detach()
    if layer.cell == "gru":
        bias[2 * layer.size :] = layer.input_bias.detach()[2 * layer.size :]
    return bias


def new_bias(layer: Layer) -> Tensor | None:
    """The GRU's bias inside its reset gate `[H]`."""
    return layer.hidden_bias.detach()[2 * layer.size :].clone() if layer.cell == "gru" else None
