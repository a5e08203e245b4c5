"""Optimizers: how the weights follow their gradients.

A plugin is a function: `@register("optimizer", "lion") def lion(parameters, *, learning_rate: float = 1e-4) -> ...`.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn, optim
from torch.optim import Optimizer

from seq2att.registry import kind, register

FUSED = ("cpu", "cuda")  # where PyTorch's one-pass Adam exists; on a CPU it takes a third of the time


@kind("optimizer")
def optimizer(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """An optimizer over the parameters; its option `learning_rate` is the peak that the schedule scales."""
    raise NotImplementedError


def fused(parameters: list[nn.Parameter]) -> bool:
    """Whether the parameters are where the one-pass step exists."""
    return all(parameter.device.type in FUSED for parameter in parameters)


@register("optimizer", "adam")
def adam(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adam (Kingma and Ba 2015); `weight_decay` is added to the gradient."""
    kept = list(parameters)
    return optim.Adam(kept, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=fused(kept))


@register("optimizer", "adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.01,
) -> Optimizer:
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019)."""
    kept = list(parameters)
    return optim.AdamW(kept, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=fused(kept))


@register("optimizer", "sgd")
def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Stochastic gradient descent, with momentum if asked (Sutskever et al. 2013)."""
    return optim.SGD(parameters, learning_rate, momentum, weight_decay=weight_decay, nesterov=nesterov)


@register("optimizer", "rmsprop")
def rmsprop(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float = 1e-3,
    decay: float = 0.99,
    epsilon: float = 1e-8,
    momentum: float = 0.0,
    centered: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """RMSprop (Hinton 2012): gradients over a running mean of their size, forgotten at the rate `decay`."""
    return optim.RMSprop(parameters, learning_rate, decay, epsilon, weight_decay, momentum, centered)


@register("optimizer", "adagrad")
def adagrad(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float = 0.01,
    initial: float = 0.0,
    epsilon: float = 1e-10,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adagrad (Duchi et al. 2011); `initial` is what every sum of squares starts from."""
    return optim.Adagrad(
        parameters, learning_rate, weight_decay=weight_decay, initial_accumulator_value=initial, eps=epsilon
    )


@register("optimizer", "adadelta")
def adadelta(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: float = 1.0,
    decay: float = 0.9,
    epsilon: float = 1e-6,
    weight_decay: float = 0.0,
) -> Optimizer:
    """Adadelta (Zeiler 2012): steps in the unit of the weights, hence the rate of 1."""
    return optim.Adadelta(parameters, learning_rate, decay, epsilon, weight_decay)
