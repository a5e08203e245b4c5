"""A component that returns the wrong thing is told what its base class promises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2att import contracts, registry, testing
from seq2att.search import Greedy, Search
from seq2att.types import Attended, Decoded, Encoding, Hypotheses, Loss, Memory, Prediction
from tests.refusals import refused

registry.load()
B, S, M, T, C = 3, 5, 4, 2, 6
OUTPUTS, MASK = torch.zeros(B, S, M), torch.ones(B, S, dtype=torch.bool)
INPUTS = torch.zeros(B, T, 7)


class Mine(torch.nn.Module):
    """Stands for a component of a plugin."""


def encoding(value: Any) -> Any:
    return contracts.check_encoding(Mine(), value, torch.zeros(B, S, 6), M)


def start(value: Any) -> Any:
    return contracts.check_start(Mine(), value, B)


def decoded(value: Any) -> Any:
    return contracts.check_decoded(Mine(), value, INPUTS, 9)


def attended(value: Any) -> Any:
    return contracts.check_attended(Mine(), value, INPUTS, C)


def hypotheses(value: Any) -> Any:
    return contracts.check_hypotheses(Mine(), value, B)


def loss(value: Any) -> Any:
    return contracts.check_loss(Mine(), value)


def scores(value: Any) -> Any:
    return contracts.check_scores(Mine(), value, B)


def predictions(value: Any) -> Any:
    return contracts.check_predictions(Mine(), value, B)


MEMORY = Memory((), OUTPUTS, MASK)
TOKENS = torch.zeros(B, 2, T, dtype=torch.long)
FOUND = Hypotheses(TOKENS, TOKENS[:, :, 0], torch.zeros(B, 2), torch.zeros(B, 2, T), None)
RIGHT: list[tuple[Callable[[Any], Any], Any]] = [
    (encoding, Encoding(OUTPUTS, MASK, ())),
    (encoding, Encoding(OUTPUTS, MASK, (torch.zeros(B, 1, M),))),
    (start, (MEMORY, ())),
    (start, (MEMORY, {"state": [torch.zeros(B, 2)]})),
    (decoded, Decoded(torch.zeros(B, T, 9), None, ())),
    (attended, Attended(torch.zeros(B, T, C), torch.zeros(B, T, S), ())),
    (hypotheses, FOUND),
    (hypotheses, FOUND._replace(weights=torch.zeros(B, 2, T, S))),
    (loss, Loss(torch.tensor(1.0), torch.tensor(3))),
    (scores, torch.zeros(B)),
    (predictions, [Prediction("a", 0.0)] * B),
]
WRONG: list[tuple[Callable[[Any], Any], Any, str]] = [
    (encoding, OUTPUTS, "must return an Encoding, got Tensor"),
    (encoding, (OUTPUTS, MASK), "must return an Encoding, got tuple"),
    (encoding, Encoding(OUTPUTS.transpose(0, 1), MASK, ()), "outputs [B, S, M] with B=3"),
    (encoding, Encoding(torch.zeros(B, S, M + 1), MASK, ()), "M=output_size=4, got a tensor of shape [3, 5, 5]"),
    (encoding, Encoding(OUTPUTS, MASK.float(), ()), "a bool mask of shape [3, 5], got a tensor"),
    (encoding, Encoding(OUTPUTS, MASK[:, 1:], ()), "a bool mask of shape [3, 5]"),
    (encoding, Encoding(OUTPUTS, MASK, OUTPUTS), "final as a tuple"),  # type: ignore[arg-type]
    (encoding, Encoding(OUTPUTS, MASK, (torch.zeros(1, B, M),)), "final states [B, L, M] with B=3"),
    (start, MEMORY, "start must return (Memory, state)"),
    (start, (MEMORY, torch.zeros(1, B, 2)), "dimension 0 is the batch (3)"),
    (start, (MEMORY, "nothing"), "a tree of tensors"),
    (decoded, (INPUTS, None), "must return a Decoded"),
    (decoded, Decoded(torch.zeros(T, B, 9), None, ()), "B=3, T=2 and D=output_size=9"),
    (decoded, Decoded(torch.zeros(B, T, 8), None, ()), "D=output_size=9, got a tensor of shape [3, 2, 8]"),
    (decoded, Decoded(torch.zeros(B, T, 9), torch.zeros(B, S), ()), "weights [B, T, S]"),
    (decoded, Decoded(torch.zeros(B, T, 9), None, torch.zeros(1, B, 9)), "dimension 0 is the batch (3)"),
    (attended, INPUTS, "must return an Attended"),
    (attended, Attended(torch.zeros(B, C), None, ()), "a context [B, T, C]"),
    (attended, Attended(torch.zeros(B, T, M), None, ()), "C=output_size=6, got a tensor of shape [3, 2, 4]"),
    (attended, Attended(torch.zeros(B, T, C), torch.zeros(B, S), ()), "weights [B, T, S]"),
    (hypotheses, TOKENS, "must return a Hypotheses, got Tensor"),
    (hypotheses, FOUND._replace(tokens=TOKENS.float()), "int64 tokens [B, K, T] with B=3"),
    (hypotheses, FOUND._replace(tokens=TOKENS[:2]), "int64 tokens [B, K, T] with B=3"),
    (hypotheses, FOUND._replace(lengths=torch.zeros(B)), "lengths of shape [3, 2]"),
    (hypotheses, FOUND._replace(scores=torch.zeros(B, 2, 1)), "scores of shape [3, 2]"),
    (hypotheses, FOUND._replace(log_probs=torch.zeros(B, 2, 1)), "log_probs of shape [3, 2, 2]"),
    (hypotheses, FOUND._replace(weights=torch.zeros(B, 2, S)), "weights [B, K, T, S]"),
    (loss, torch.tensor(1.0), "must return a Loss"),
    (loss, Loss(torch.zeros(B), torch.tensor(3)), "a scalar tensor as total"),
    (loss, Loss(torch.tensor(1.0), 3), "a scalar tensor as count, got int"),  # type: ignore[arg-type]
    (loss, Loss(torch.tensor(1.0), torch.tensor(3), correct=torch.zeros(B)), "a scalar tensor as correct"),
    (scores, torch.zeros(B, 1), "a tensor of shape [3], got a tensor of shape [3, 1]"),
    (predictions, Prediction("a", 0.0), "a list of Prediction"),
    (predictions, ["a"] * B, "a list of Prediction"),
    (predictions, [Prediction("a", 0.0)], "3 predictions, got 1"),
]


@pytest.mark.parametrize(("check", "value"), RIGHT)
def test_what_keeps_the_contract_is_returned(check: Callable[[Any], Any], value: Any) -> None:
    found = check(value)
    assert found is value or found == value


@pytest.mark.parametrize(("check", "value", "problem"), WRONG)
def test_what_breaks_the_contract_is_told(check: Callable[[Any], Any], value: Any, problem: str) -> None:
    with refused("E-contract", "=Mine") as caught:
        check(value)
    assert problem in str(caught.value)


def test_a_component_is_named_by_its_setting() -> None:
    from seq2att.attention import NoAttention

    assert contracts.setting_name("attention", NoAttention) == "attention=none"
    assert contracts.setting_name("encoder", Mine()) == "encoder=Mine"
    assert contracts.describe(Tensor()) == "a tensor of shape [0] and dtype float32"


# The checks stand where components meet: a component that breaks its contract, in a model with others

WRONG_PLUGINS: list[tuple[str, str, Callable[[Any], Any], str]] = [
    ("encoder", "forward", lambda encoding: encoding.outputs, "must return an Encoding, got Tensor"),
    ("encoder", "forward", lambda encoding: encoding._replace(mask=encoding.mask.int()), "a bool mask"),
    ("decoder", "start", lambda start: start[0], "start must return (Memory, state)"),
    ("decoder", "forward", lambda decoded: decoded.outputs, "must return a Decoded, got Tensor"),
    ("decoder", "forward", lambda decoded: decoded._replace(outputs=decoded.outputs[:, 1:]), "outputs [B, T, D]"),
    ("attention", "forward", lambda attended: tuple(attended), "must return an Attended, got tuple"),
    ("attention", "forward", lambda attended: attended._replace(context=attended.context.mT), "a context [B, T, C]"),
    ("head", "loss", lambda loss: loss.total, "must return a Loss, got Tensor"),
    ("head", "score", lambda scores: scores.unsqueeze(1), "score must return a tensor of shape [4]"),
    ("head", "step", lambda step: step.log_probs, "must return a Step, got Tensor"),
    ("head", "predict", lambda predictions: predictions[:1], "predict must return 4 predictions, got 1"),
    ("search", "__call__", lambda hypotheses: hypotheses.tokens, "must return a Hypotheses, got Tensor"),
]
PARENTS = {"encoder": "lstm", "decoder": "lstm", "attention": "general", "head": "translation", "search": "greedy"}


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("kind", "method", "change", "problem", "pool"),
    [(*wrong, False) for wrong in WRONG_PLUGINS]
    + [(*wrong, True) for wrong in WRONG_PLUGINS if wrong[0] == "attention"],
)
def test_a_wrong_plugin_in_a_model_is_told(
    kind: str, method: str, change: Callable[[Any], Any], problem: str, pool: bool
) -> None:
    parent = registry.find(kind, PARENTS[kind]).target
    right = getattr(parent, method)
    wrong = type("Wrong", (parent,), {method: lambda self, *args, **options: change(right(self, *args, **options))})
    registry.register(kind, "wrong")(wrong)
    changes: dict[str, Any] = {} if kind == "search" else {kind: {"name": "wrong"}}
    if pool:
        changes |= {"target": {"name": "label"}, "head": {"name": "classification", "pool": ("attend",)}}
    case = testing.make_case(changes)
    search: Search = wrong() if kind == "search" else Greedy(max_length=3)
    with refused("E-contract", f"{kind}=wrong") as caught:
        case.model(case.batch)
        case.model.score(case.batch)
        case.model.predict(case.batch, search)
    assert problem in caught.value.problem
    assert f"docs/plugins/{kind}.md" in caught.value.remedy
