"""Each optimizer makes the step of its paper."""

import math

import pytest
import torch

from seq2att import registry
from seq2att.optimizer import optimizer as base

pytestmark = pytest.mark.usefixtures("float64")
START, GRADIENTS = 2.0, (0.3, -0.7, 0.2)


@pytest.fixture(autouse=True)
def loaded():
    import seq2att.optimizer  # noqa: F401


def steps(name, **options):
    """The weight after each gradient."""
    weight = torch.nn.Parameter(torch.tensor([START]))
    optimizer = registry.build("optimizer", {"optimizer": {"name": name, **options}}, [weight])
    seen = []
    for gradient in GRADIENTS:
        weight.grad = torch.tensor([gradient])
        optimizer.step()
        seen.append(weight.item())
    return seen


def adam(decay_in_gradient, decay, rate=0.1, beta1=0.8, beta2=0.9, epsilon=1e-6):
    weight, first, second, seen = START, 0.0, 0.0, []
    for number, gradient in enumerate(GRADIENTS, 1):
        if decay_in_gradient:
            gradient = gradient + decay * weight
        else:
            weight -= rate * decay * weight
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        size = math.sqrt(second / (1 - beta2**number)) + epsilon
        weight -= rate * first / (1 - beta1**number) / size
        seen.append(weight)
    return seen


@pytest.mark.parametrize(("name", "decay_in_gradient"), [("adam", True), ("adamw", False)])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adam_steps(name, decay_in_gradient, decay):
    options = {"learning_rate": 0.1, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-6, "weight_decay": decay}
    assert steps(name, **options) == pytest.approx(adam(decay_in_gradient, decay), rel=1e-10)


def test_adam_is_fused_on_a_cpu():
    weight = torch.nn.Parameter(torch.zeros(1))
    for name in ("adam", "adamw"):
        assert registry.build("optimizer", {"optimizer": {"name": name}}, [weight]).defaults["fused"]


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_steps(nesterov):
    weight, velocity, seen = START, 0.0, []
    for gradient in GRADIENTS:
        gradient = gradient + 0.01 * weight
        velocity = 0.9 * velocity + gradient
        weight -= 0.1 * (gradient + 0.9 * velocity if nesterov else velocity)
        seen.append(weight)
    options = {"learning_rate": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.01}
    assert steps("sgd", **options) == pytest.approx(seen, rel=1e-10)


def test_rmsprop_steps():
    weight, square, seen = START, 0.0, []
    for gradient in GRADIENTS:
        square = 0.9 * square + 0.1 * gradient**2
        weight -= 0.01 * gradient / (math.sqrt(square) + 1e-6)
        seen.append(weight)
    assert steps("rmsprop", learning_rate=0.01, decay=0.9, epsilon=1e-6) == pytest.approx(seen, rel=1e-10)


@pytest.mark.parametrize("momentum", [0.0, 0.5])
@pytest.mark.parametrize("centered", [False, True])
def test_rmsprop_steps_of_keras(momentum, centered):
    weight, square, mean, move, seen = START, 0.0, 0.0, 0.0, []
    for gradient in GRADIENTS:
        gradient = gradient + 0.01 * weight
        square = 0.9 * square + 0.1 * gradient**2
        mean = 0.9 * mean + 0.1 * gradient
        move = momentum * move + 0.01 * gradient / math.sqrt(square - centered * mean**2 + 1e-3)
        weight -= move
        seen.append(weight)
    options = {"epsilon": 1e-3, "epsilon_in_root": True, "momentum": momentum, "centered": centered}
    options |= {"learning_rate": 0.01, "decay": 0.9, "weight_decay": 0.01}
    assert steps("rmsprop", **options) == pytest.approx(seen, rel=1e-10)


def test_adagrad_steps():
    weight, square, seen = START, 0.5, []
    for gradient in GRADIENTS:
        square += gradient**2
        weight -= 0.1 * gradient / (math.sqrt(square) + 1e-6)
        seen.append(weight)
    assert steps("adagrad", learning_rate=0.1, initial=0.5, epsilon=1e-6) == pytest.approx(seen, rel=1e-10)


def test_adadelta_steps():
    weight, square, moved, seen = START, 0.0, 0.0, []
    for gradient in GRADIENTS:
        square = 0.9 * square + 0.1 * gradient**2
        move = math.sqrt(moved + 1e-6) / math.sqrt(square + 1e-6) * gradient
        moved = 0.9 * moved + 0.1 * move**2
        weight -= move
        seen.append(weight)
    assert steps("adadelta", decay=0.9, epsilon=1e-6) == pytest.approx(seen, rel=1e-10)


def test_every_optimizer_lowers_a_loss():
    entries = registry.entries("optimizer")
    assert {"adam", "adamw", "sgd", "rmsprop", "adagrad", "adadelta"} <= set(entries)
    for name in entries:
        weight = torch.nn.Parameter(torch.ones(3))
        optimizer = registry.build("optimizer", {"optimizer": {"name": name}}, iter([weight]))  # any iterable
        for _ in range(20):
            optimizer.zero_grad()
            weight.square().sum().backward()
            optimizer.step()
        assert weight.square().sum() < 3 - 1e-4, name


def test_the_base_makes_nothing():
    with pytest.raises(NotImplementedError):
        base([])
