"""Each schedule against its closed formula."""

import math

import pytest
import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from seq2att import registry
from seq2att.schedule import schedule as base

RATE, STEPS = 0.5, 40


def rates(name, steps=STEPS, **options):
    """The learning rate of every step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    plan = registry.build("schedule", {"schedule": {"name": name, **options}}, optimizer, steps, 10)
    assert plan["interval"] == "step"
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        plan["scheduler"].step()
    return seen


def expected(factor):
    return pytest.approx([RATE * factor(step) for step in range(STEPS)], rel=1e-12)


@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_constant(warmup):
    seen = rates("constant", warmup_steps=warmup)
    assert seen == expected(lambda step: min(1.0, (step + 1) / max(1, warmup)))
    assert seen[max(warmup - 1, 0) :] == [RATE] * (STEPS - max(warmup - 1, 0))


@pytest.mark.parametrize("warmup", [0, 1, 9])
def test_inverse_square_root(warmup):
    peak = max(1, warmup)
    seen = rates("inverse_square_root", warmup_steps=warmup)
    assert seen == expected(lambda s: (s + 1) / peak if s + 1 < peak else math.sqrt(peak / (s + 1)))
    assert max(seen) == seen[peak - 1] == pytest.approx(RATE)


@pytest.mark.parametrize(("warmup", "final"), [(0, 0.0), (5, 0.1)])
def test_cosine(warmup, final):
    def factor(step):
        if step < warmup:
            return (step + 1) / warmup
        angle = math.pi * (step - warmup) / (STEPS - 1 - warmup)
        return final + (1 - final) * (1 + math.cos(angle)) / 2

    seen = rates("cosine", warmup_steps=warmup, final=final)
    assert seen == expected(factor)
    assert seen[-1] == pytest.approx(final * RATE)


@pytest.mark.parametrize(("warmup", "hold", "final"), [(0, 0.5, 0.02), (4, 0.25, 0.0), (0, 0.0, 0.1), (3, 1.0, 0.5)])
def test_linear(warmup, hold, final):
    start = max(warmup, round(hold * STEPS))

    def factor(step):
        if step < start or start >= STEPS:
            return min(1.0, (step + 1) / max(1, warmup))
        return 1 - (1 - final) * (step - start) / (STEPS - 1 - start)

    seen = rates("linear", warmup_steps=warmup, hold=hold, final=final)
    assert seen == expected(factor)
    assert seen[-1] == pytest.approx(RATE * (1.0 if hold == 1.0 else final))


@pytest.mark.parametrize("name", ["constant", "inverse_square_root", "cosine", "linear"])
def test_a_schedule_of_one_step_and_beyond_its_end(name):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    plan = registry.build("schedule", {"schedule": {"name": name}}, optimizer, 1, 1)
    for _ in range(5):  # a run may make a few more steps than were planned
        assert 0 <= optimizer.param_groups[0]["lr"] <= RATE
        optimizer.step()
        plan["scheduler"].step()


def test_plateau():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
    options = {"name": "plateau", "factor": 0.5, "patience": 1, "monitor": "bleu", "min_delta": 0.1, "minimum": 0.2}
    plan = registry.build("schedule", {"schedule": options}, optimizer, STEPS, 10)
    assert plan["monitor"] == "bleu"
    assert isinstance(plan["scheduler"], ReduceLROnPlateau)
    seen = []
    for value in (-3.0, -3.05, -3.08, -5.0, -4.0, -4.0, -4.0, -4.0):  # of a figure of which more is better
        plan["scheduler"].step(value)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2]


def test_a_schedule_goes_on_from_its_state():
    def make():
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], RATE)
        plan = registry.build("schedule", {"schedule": {"name": "cosine"}}, optimizer, STEPS, 10)
        return optimizer, plan["scheduler"]

    (optimizer, one), (resumed, other) = make(), make()
    for _ in range(11):
        optimizer.step()
        one.step()
    resumed.load_state_dict(optimizer.state_dict())
    other.load_state_dict(one.state_dict())
    for _ in range(5):
        assert resumed.param_groups == optimizer.param_groups
        for each, scheduler in ((optimizer, one), (resumed, other)):
            each.step()
            scheduler.step()


def test_the_base_makes_nothing():
    with pytest.raises(NotImplementedError):
        base(None, 1, 1)
