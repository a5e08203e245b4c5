"""`seq2att check` as plugin authors meet it: what its mistakes are told, and how the command ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2att import (
    Attended,
    Attention,
    Callback,
    Decoded,
    Encoder,
    Encoding,
    Memory,
    Row,
    State,
    length_mask,
    registry,
    testing,
)
from seq2att.cli import main
from tests.refusals import refused

registry.load()
General = registry.find("attention", "general").target
Linear = registry.find("output", "linear").target
LSTM = registry.find("decoder", "lstm").target
Char = registry.find("tokenizer", "char").target
Text = registry.find("field", "text").target
Reverse = registry.find("reader", "reverse").target
Exact = registry.find("metric", "exact").target
Greedy = registry.find("search", "greedy").target


class LooksAtPadding(Attention):
    """Softmax without a mask."""

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        weights = (query.mean(2, keepdim=True) * memory.values.mean(2).unsqueeze(1)).softmax(2)
        return Attended(weights @ memory.values, weights, state)


class WrongShape(General):
    """Product of tensors that do not fit."""

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return query @ keys


class Frozen(General):
    """Parameter that the gradient does not reach."""

    def keys(self, outputs: Tensor) -> Tensor:
        return self.key(outputs).detach()


class ReadsPadding(Encoder):
    """Convolution over padding."""

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size)
        self.output_size = 4
        self.convolution = nn.Conv1d(input_size, 4, 3, padding=1)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        return Encoding(self.convolution(inputs.mT).mT, length_mask(lengths, inputs.size(1)), ())


class ReturnsTensor(Encoder):
    """Tensor where an Encoding is due."""

    def __init__(self, input_size: int) -> None:
        super().__init__(input_size)
        self.output_size = input_size

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        return inputs  # type: ignore[return-value]


class StartsAnew(LSTM):  # type: ignore[misc,valid-type]
    """State that is thrown away."""

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        decoded = super().forward(inputs, memory, state, lengths)
        return decoded._replace(state=state)


class Unnormalised(Linear):  # type: ignore[misc,valid-type]
    """Logits in place of log-probabilities, in the loss as well."""

    def log_probs(self, outputs: Tensor) -> Tensor:
        return super().log_probs(outputs) + 0.5

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        return -self.log_probs(outputs).gather(1, targets.unsqueeze(1)).sum()


class LosesSpaces(Char):  # type: ignore[misc,valid-type]
    """Spaces that do not come back."""

    def decode(self, pieces: Any) -> str:
        return "".join(pieces).replace(" ", "")


class ForgetsFiles(Text):  # type: ignore[misc,valid-type]
    """Values that are read backwards after restoring."""

    def restore(self, files: Any) -> None:
        super().restore(files)
        self.tokenizer.pieces = self.tokenizer.pieces[::-1]


class NoPlace(Reverse):  # type: ignore[misc,valid-type]
    """Rows numbered from 0."""

    def read(self, split: str, root: Path | None) -> Iterator[Row]:
        for row in super().read(split, root):
            yield row._replace(line=row.line - 1)


class Pairs(Reverse):  # type: ignore[misc,valid-type]
    """Bare pairs in place of rows."""

    def read(self, split: str, root: Path | None) -> Iterator[Any]:
        for row in super().read(split, root):
            yield tuple(row.values)


class WithoutSize(Encoder):
    """Encoder that does not set its output size."""


class Misspelled(Callback):
    """Call that nobody makes."""

    def on_validaton(self, training: Any) -> None:
        pass


class BareNumber(Exact):  # type: ignore[misc,valid-type]
    """Number in place of a Score."""

    def measure(self, predictions: Any, references: Any) -> Any:
        return super().measure(predictions, references).value


class NoEnd(Greedy):  # type: ignore[misc,valid-type]
    """Lengths without the end symbol."""

    def __call__(self, *arguments: Any) -> Any:
        result = super().__call__(*arguments)
        return result._replace(lengths=result.lengths - 1)


def no_return(parameters: Iterable[nn.Parameter], *, learning_rate: float = 0.1) -> Any:
    """Optimizer that is made and not returned."""
    torch.optim.SGD(parameters, learning_rate)


def bare_scheduler(optimizer: Any, steps: int, steps_per_epoch: int) -> Any:
    """Scheduler in place of a dictionary."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)


BROKEN: list[tuple[str, Callable[..., Any], list[str]]] = [
    ("attention", LooksAtPadding, ["padding law", "weights on padding", "apply `mask` in `forward`"]),
    ("attention", WrongShape, ["raises RuntimeError", "in score", "query [4, ", "keys [4, ", "input: source [4, "]),
    ("attention", Frozen, ["gradient law", "does not depend on head.decoder.attention.key", "`detach`"]),
    ("encoder", ReadsPadding, ["padding law", "scores in a batch and alone", "padding is read"]),
    ("encoder", ReturnsTensor, ["chunk law", "must return an Encoding, got Tensor", "docs/plugins/encoder.md"]),
    ("decoder", StartsAnew, ["chunk law", "returns something other than the state after its last step"]),
    ("output", Unnormalised, ["distribution law", "must end with `log_softmax`"]),
    ("search", NoEnd, ["searching law", "has no end symbol", "`lengths` count the end symbol"]),
    ("tokenizer", LosesSpaces, ["'a bad cab' comes back changed: 'abadcab'", "`decode` does not undo `encode`"]),
    ("field", ForgetsFiles, ["encoded differently after restoring", "`files` or `restore` leave out"]),
    ("reader", NoPlace, ["a row of train has no place", "its line from 1"]),
    ("reader", Pairs, ["yields tuple, expected seq2att.Row"]),
    ("encoder", WithoutSize, ["has no output_size", "set self.output_size"]),
    ("callback", Misspelled, ["on_validaton is never called", "on_validation"]),
    ("metric", BareNumber, ["must return a Score, got float", "docs/plugins/metric.md"]),
    ("optimizer", no_return, ["returns NoneType, expected torch.optim.Optimizer", "no `return`"]),
    ("schedule", bare_scheduler, ["returns LambdaLR", '"interval": "step"']),
]


@pytest.mark.parametrize(("kind", "component", "parts"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.usefixtures("own_registry")
def test_a_mistake_is_told_its_law_and_likeliest_cause(
    kind: str, component: Callable[..., Any], parts: list[str]
) -> None:
    registry.register(kind, "broken")(component)
    with pytest.raises(testing.LawError) as info:
        testing.check(kind, "broken")
    message = str(info.value)
    assert "\n" not in message
    assert [part for part in [f"{kind}=broken", *parts] if part not in message] == [], message


def test_every_mistake_has_a_message_of_its_own() -> None:
    assert len({tuple(parts) for _, _, parts in BROKEN}) == len(BROKEN) >= 12


def test_required_options_are_asked_for() -> None:
    with refused("E-missing", "reader=tsv") as info:
        testing.check("reader", "tsv")
    assert 'check("reader", "tsv", {"train": ...})' in info.value.remedy


@pytest.mark.usefixtures("own_registry")
def test_a_field_that_cannot_read_the_values_of_the_kit_asks_for_examples() -> None:
    class Digits(registry.find("field", "numbers").target.__mro__[1]):  # type: ignore[misc]
        expected, example = "digits", "12"

        def to_array(self, value: Any) -> Any:
            return [[int(digit)] for digit in value]

        def decode(self, ids: Any) -> str:
            return "".join(str(round(float(number))) for number in self.unstandardize(ids)[:, 0])

    registry.register("field", "digits")(Digits)
    with refused("E-missing", "field=digits") as info:
        testing.check("field", "digits")
    assert "examples=[...]" in info.value.remedy
    testing.check("field", "digits", examples=["12", "7", "350"])


MEAN = '''
import torch
from seq2att import Attention, register

@register("attention", "{name}")
class Mine(Attention):
    """Scores of 0."""

    def __init__(self, query_size: int, memory_size: int, *, factor: float = 0.0) -> None:
        super().__init__(query_size, memory_size)
        self.factor = factor

    def score(self, query, keys):
        return {scores}
'''


@pytest.mark.usefixtures("own_registry")
def test_the_command_ends_with_0_1_or_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"even": "self.factor * query.sum(2, keepdim=True) * keys.sum(2).unsqueeze(1)", "odd": "query @ keys"}
    for name, body in scores.items():
        (tmp_path / f"{name}.py").write_text(MEAN.format(name=name, scores=body))
    command = ["check", "attention", "even", "--plugin", str(tmp_path / "even.py")]
    assert main([*command, "factor=0.5", "output.tie=false"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "attention=even: all laws hold in 12 cases\n"
    assert len(printed.err.splitlines()) == 12
    assert "attention=even(factor=0.5)" in printed.err

    assert main(["check", "attention", "odd", f"plugins=[{tmp_path / 'odd.py'}]"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "broken law: chunk law: " in printed.err
    assert "in score" in printed.err

    for wrong, code in (("factr=1", "E-option"), ("factor=much", "E-type"), ("factor", "E-syntax")):
        assert main([*command, wrong]) == 2
        assert f"[{code}]" in capsys.readouterr().err


class Unwritten(Attention):
    """Lacks what every attention needs."""


def test_a_method_that_is_missing_is_all_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.component, "_entries", {k: dict(v) for k, v in registry.component._entries.items()})
    registry.register("attention", "unwritten")(Unwritten)
    with pytest.raises(testing.LawError) as info:
        testing.check("attention", "unwritten")
    assert str(info.value) == "Unwritten must define score(query, keys) -> [B, T, S]"
