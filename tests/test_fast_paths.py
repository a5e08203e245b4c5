"""Every fast path equals the reference: for every registered component, as it is and changed in every way."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from seq2att import registry, testing
from seq2att.attention import Attention
from seq2att.decoder import LSTMDecoder
from seq2att.head import Generator
from seq2att.inference import FastGenerator, FastLayer, FastLinear, FastOutput, optimize_for_inference
from seq2att.model import Model
from seq2att.registry import Factory
from seq2att.search import Beam
from seq2att.testing.cases import HEADS
from seq2att.testing.models import equal
from seq2att.types import State, tree_map

registry.load()
INTERNAL = {"loop", "can_loop", "fused", "reset"}  # fast paths themselves, and what only happens before training
SETTINGS: dict[str, list[dict[str, Any]]] = {  # so that each attention is fused and each loop is run
    "decoder": [
        {"attention": {"name": "general"}, "decoder": {"input_feeding": True, "layers": 2, "size": 8}},
        {"attention": {"name": "additive"}, "decoder": {"order": "bahdanau", "size": 8}},
    ],
    "attention": [{"decoder": {"name": "lstm", "size": 8, "input_feeding": True}}],
    "head": [{"head": {"pool": ("attend", "mean")}}],
    "encoder": [{"encoder": {"layers": 2, "size": 4}}],
    "output": [{}],
}


class Double(nn.Module):
    """A parametrization that doubles a parameter."""

    def forward(self, tensor: Tensor) -> Tensor:
        return 2 * tensor


class Weighted(nn.Sequential):
    """More than one layer, with the `weight` of the first."""

    @property
    def weight(self) -> Any:
        return self[0].weight

    @property
    def bias(self) -> Any:
        return self[0].bias


def scaled(result: State) -> State:
    """The floating-point tensors of a result times 1.5; what is no tree of tensors as it is."""
    try:
        return tree_map(lambda tensor: 1.5 * tensor if tensor.is_floating_point() else tensor, result)
    except TypeError:
        return result


def methods(module: nn.Module) -> list[str]:
    """The names of what a module's classes define."""
    names: set[str] = set()
    for kind in type(module).__mro__:
        if kind.__module__.startswith("torch."):
            names |= {"forward"} & vars(kind).keys()
        elif issubclass(kind, nn.Module):
            names |= {name for name, value in vars(kind).items() if inspect.isfunction(value) and name[:2] != "__"}
    return sorted(names - INTERNAL)


def override(module: nn.Module, name: str) -> None:
    """A subclass that scales what a method gives."""
    kind: type = type(module)
    inherited = getattr(kind, name)
    module.__class__ = type("Changed", (kind,), {name: lambda self, *a, **k: scaled(inherited(self, *a, **k))})


def patch(module: nn.Module, name: str) -> None:
    """The same by an attribute of the instance."""
    method = getattr(module, name)
    setattr(module, name, lambda *arguments, **named: scaled(method(*arguments, **named)))


def hook(module: nn.Module, _: str) -> None:
    """The same by a hook."""
    module.register_forward_hook(lambda module, inputs, result: scaled(result))


def halve(module: nn.Module, _: str) -> None:
    """Another type."""
    module.float()


def replace(module: nn.Module, name: str) -> None:
    """Two layers in the place of one."""
    setattr(module, name, Weighted(getattr(module, name), nn.Tanh()))


def double(module: nn.Module, name: str) -> None:
    """A parametrization."""
    parametrize.register_parametrization(module, name, Double())


def scale_data(module: nn.Module, name: str) -> None:
    """Other numbers behind the back of PyTorch."""
    getattr(module, name).data.mul_(1.5)


def changes(module: nn.Module) -> Iterator[tuple[Callable[[nn.Module, str], None], str]]:
    """All ways to change a module."""
    yield hook, ""
    yield halve, ""
    for name in methods(module):
        yield override, name
        yield patch, name
    for name, _ in module.named_children():
        yield replace, name
    for name, _ in module.named_parameters(recurse=False):
        yield double, name
        yield scale_data, name


class Outcome(NamedTuple):
    """What a model computes."""

    encoding: State
    predictions: State
    scores: State
    loss: State


def outcome(model: Model, case: testing.Case, gradients: bool = False) -> Outcome | None:
    """What a model computes, with the gradients of its parameters; None where it raises."""
    try:
        encoding = model.encode(case.batch.source)
        if isinstance(model.head, Generator):
            predictions: State = Beam(size=2, max_length=4)(model.head, encoding)
        else:
            found = model.head.predict(encoding, None, case.batch.rows)
            predictions = torch.tensor([[prediction.score, *prediction.token_scores] for prediction in found])
            predictions = predictions if predictions.dim() == 2 else ()
        total = model(case.batch).total
        if gradients:
            total = tuple(torch.autograd.grad(total, list(model.parameters()), allow_unused=True))
        return Outcome((encoding.outputs, encoding.final), predictions, model.score(case.batch), total)
    except (AttributeError, RuntimeError, TypeError, ValueError, AssertionError, IndexError):
        return None


def component(model: Model, kind: str) -> nn.Module:
    """The component under test."""
    head: Any = model.head
    if kind == "encoder":
        return model.encoder
    if kind == "head":
        return model.head
    if kind == "attention":
        found: nn.Module = head.decoder.attention
        return found
    part: nn.Module = getattr(head, kind)
    return part


def cases(kind: str) -> Iterator[testing.Case]:
    """A small model around every registered component of a kind."""
    for name, entry in registry.entries(kind).items():
        for setting in SETTINGS[kind]:
            around = dict(HEADS.get(name, {})) if kind == "head" else {}
            options = {key: value for key, value in setting.get(kind, {}).items() if key in entry.options}
            yield testing.make_case({**around, **setting, kind: {"name": name, **options}})


def check(case: testing.Case, what: str) -> None:
    """The optimized model, and the model with C++, compute what the reference computes."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SEQ2ATT_KERNEL", "torch")
        expected = [outcome(case.model, case, gradients) for gradients in (False, True)]
    found = [outcome(optimize_for_inference(case.model), case), outcome(case.model, case, gradients=True)]
    for ours, theirs, path in zip(found, expected, ("optimized", "native"), strict=True):
        assert (ours is None) == (theirs is None), f"{what}: {path}: only one of the two raises"
        if ours is not None and theirs is not None:
            equal(ours, theirs, f"{what}: {path}")


@pytest.mark.parametrize("kind", SETTINGS)
def test_fast_equals_reference_for_every_component_however_it_is_changed(kind: str) -> None:
    seen: set[Any] = set()
    for case in cases(kind):
        check(case, case.label)
        for path, module in component(case.model, kind).named_modules():
            for change, name in changes(module):
                key = (type(module), type(getattr(module, name, None)), path.count("."), change, name)
                if key in seen:
                    continue
                seen.add(key)
                model = copy.deepcopy(case.model)
                change(component(model, kind).get_submodule(path), name)
                check(case._replace(model=model), f"{case.label}: {change.__name__} {path or kind}.{name}")
    assert len(seen) > 20


def test_the_fast_paths_are_taken() -> None:
    for kind in ("encoder", "decoder", "attention", "output"):
        for case in cases(kind):
            kinds = {type(module) for module in optimize_for_inference(case.model).modules()}
            assert {FastGenerator, FastLinear} <= kinds, case.label
            assert {FastLayer, FastOutput} & kinds


class Replaced(LSTMDecoder):
    """A plugin that builds another readout in its constructor."""

    def __init__(
        self, input_size: int, memory_size: int, attention: Factory[Attention], *, size: int = 8, weighted: bool = True
    ) -> None:
        super().__init__(input_size, memory_size, attention, size=size)
        readout: Any = self.readout
        second = nn.Linear(size, size)
        self.readout = Weighted(readout, second) if weighted else nn.Sequential(readout, second)  # type: ignore[assignment]


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize("weighted", [True, False])
def test_a_subclass_with_another_readout_is_called(weighted: bool) -> None:
    registry.register("decoder", "mine")(Replaced)
    case = testing.make_case({"decoder": {"name": "mine", "weighted": weighted}})
    assert not isinstance(optimize_for_inference(case.model).head, FastGenerator)
    check(case, case.label)
