"""Optimizers: how gradients change the weights.

A plugin is a function: `@register("optimizer", "lion") def lion(parameters, *, learning_rate: Positive = 1e-4) -> ...`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn, optim
from torch.optim import Optimizer

from seq2att.errors import UserError
from seq2att.registry import NonNegative, Positive, Rate, kind, register

FUSED_DEVICES = ("cpu", "cuda")  # where PyTorch has Adam in one pass; on a CPU it takes a third of the time


@kind("optimizer")
def optimizer(parameters: Iterable[nn.Parameter]) -> Optimizer:
    """An optimizer of these parameters; its option `learning_rate` is the peak that the schedule scales."""
    raise NotImplementedError


def can_fuse(parameters: list[nn.Parameter]) -> bool:
    """Whether PyTorch has a fused step for the devices of the parameters."""
    return all(parameter.device.type in FUSED_DEVICES for parameter in parameters)


@register("optimizer", "adam")
def adam(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: Positive = 1e-3,
    beta1: Rate = 0.9,
    beta2: Rate = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Adam (Kingma and Ba 2015).

    Args:
        learning_rate: peak of the step size.
        beta1: decay of the running mean of the gradients.
        beta2: decay of the running mean of the squared gradients.
        epsilon: added to the denominator for stability.
        weight_decay: L2 penalty, added to the gradient as this multiple of the weights.
    """
    weights = list(parameters)
    return optim.Adam(weights, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=can_fuse(weights))


@register("optimizer", "adamw")
def adamw(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: Positive = 1e-3,
    beta1: Rate = 0.9,
    beta2: Rate = 0.999,
    epsilon: Positive = 1e-8,
    weight_decay: NonNegative = 0.01,
) -> Optimizer:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Args:
        learning_rate: peak of the step size.
        beta1: decay of the running mean of the gradients.
        beta2: decay of the running mean of the squared gradients.
        epsilon: added to the denominator for stability.
        weight_decay: share of the weights, times the learning rate, that each step takes off them.
    """
    weights = list(parameters)
    return optim.AdamW(weights, learning_rate, (beta1, beta2), epsilon, weight_decay, fused=can_fuse(weights))


@register("optimizer", "sgd")
def sgd(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: Positive = 0.1,
    momentum: Rate = 0.0,
    nesterov: bool = False,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Stochastic gradient descent, with or without momentum (Sutskever et al. 2013).

    Args:
        learning_rate: peak of the step size.
        momentum: share of the previous step that is added to this one.
        nesterov: look ahead along the momentum (Nesterov 1983); needs `momentum` above 0.
        weight_decay: L2 penalty, added to the gradient as this multiple of the weights.
    """
    if nesterov and not momentum:
        problem, remedy = "needs momentum", "set optimizer.momentum=0.9, or optimizer.nesterov=false"
        raise UserError("E-conflict", "optimizer.nesterov=true", problem, remedy)
    return optim.SGD(parameters, learning_rate, momentum, weight_decay=weight_decay, nesterov=nesterov)


@register("optimizer", "rmsprop")
def rmsprop(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: Positive = 1e-3,
    decay: Rate = 0.99,
    epsilon: Positive = 1e-8,
    epsilon_in_root: bool = False,
    momentum: Rate = 0.0,
    centered: bool = False,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """RMSprop (Hinton 2012): gradients divided by the root of their running mean square.

    Args:
        learning_rate: peak of the step size.
        decay: decay of the running mean of the squared gradients.
        epsilon: added to the denominator for stability.
        epsilon_in_root: add it under the root, as Keras does since 2.11; its default there is 1e-7, that of decay 0.9.
        momentum: share of the previous step that is added to this one.
        centered: divide by an estimate of the gradient's standard deviation instead (Graves 2013).
        weight_decay: L2 penalty, added to the gradient as this multiple of the weights.
    """
    kind = RMSpropInRoot if epsilon_in_root else optim.RMSprop
    return kind(parameters, learning_rate, decay, epsilon, weight_decay, momentum, centered)


class RMSpropInRoot(optim.RMSprop):
    """RMSprop whose epsilon stands under the root: rare features, whose gradients are small, move slowly."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure, which some methods evaluate
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.update(parameter, group)

    def update(self, parameter: nn.Parameter, group: Mapping[str, Any]) -> None:
        """Update one parameter: `v = decay * v + (1 - decay) * g^2`, a step of `g / sqrt(v + epsilon)`."""
        state, gradient = self.state[parameter], parameter.grad
        assert gradient is not None
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        if not state:
            names = ("square_avg", *["grad_avg"] * group["centered"], *["momentum_buffer"] * (group["momentum"] > 0))
            state.update({name: torch.zeros_like(parameter) for name in names})
        variance = state["square_avg"].mul_(group["alpha"]).addcmul_(gradient, gradient, value=1 - group["alpha"])
        if group["centered"]:
            mean = state["grad_avg"].lerp_(gradient, 1 - group["alpha"])
            variance = variance.addcmul(mean, mean, value=-1)
        change = gradient / variance.add(group["eps"]).sqrt_()
        if group["momentum"]:
            change = state["momentum_buffer"].mul_(group["momentum"]).add_(change)
        parameter.add_(change, alpha=-group["lr"])


@register("optimizer", "adagrad")
def adagrad(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: Positive = 0.01,
    initial: NonNegative = 0.0,
    epsilon: Positive = 1e-10,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Adagrad (Duchi et al. 2011): gradients divided by the root of the sum of all their squares so far.

    Args:
        learning_rate: peak of the step size.
        initial: start of every sum of squares.
        epsilon: added to the denominator for stability.
        weight_decay: L2 penalty, added to the gradient as this multiple of the weights.
    """
    return optim.Adagrad(
        parameters, learning_rate, weight_decay=weight_decay, initial_accumulator_value=initial, eps=epsilon
    )


@register("optimizer", "adadelta")
def adadelta(
    parameters: Iterable[nn.Parameter],
    *,
    learning_rate: Positive = 1.0,
    decay: Rate = 0.9,
    epsilon: Positive = 1e-6,
    weight_decay: NonNegative = 0.0,
) -> Optimizer:
    """Adadelta (Zeiler 2012): steps in the unit of the weights.

    Args:
        learning_rate: factor of the steps, which need none: 1 as in the paper.
        decay: decay of the running means of squared gradients and steps.
        epsilon: added under both roots; it sets the size of the first steps.
        weight_decay: L2 penalty, added to the gradient as this multiple of the weights.
    """
    return optim.Adadelta(parameters, learning_rate, decay, epsilon, weight_decay)
