"""The loop of a decoder with feedback equals the equations of the decoder step by step, gradients included."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from seq2att import registry
from seq2att.attention import Additive, Attention, Dot, General, NoAttention
from seq2att.decoder import GRUDecoder, LSTMDecoder, RecurrentDecoder, RNNDecoder
from seq2att.recurrence import Dense, Layer, Stack, choice, feedback, native
from seq2att.types import Attended, Decoded, Encoding, Memory, State, length_mask
from tests.refusals import refused

CELLS: dict[str, Any] = {
    "tanh": RNNDecoder,
    "relu": partial(RNNDecoder, nonlinearity="relu"),
    "lstm": LSTMDecoder,
    "gru": GRUDecoder,
}
ATTENTIONS: dict[str, Any] = {
    "none": NoAttention,
    "dot": Dot,
    "scaled": partial(Dot, scaled=True),
    "general": General,
    "additive": partial(Additive, size=5),
}
KINDS = {"luong": ("luong", True), "bahdanau": ("bahdanau", False), "both": ("bahdanau", True)}
ROWS, STEPS, POSITIONS, INPUT, SIZE = 5, 6, 4, 3, 8
LENGTHS = torch.tensor([3, 0, 6, 1, 5])
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest value


@pytest.fixture(params=["cpp"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "cpp" and not native.is_available():
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("SEQ2ATT_KERNEL", request.param)
    return str(request.param)


def make(cell: str, attention: str, kind: str, size: int = SIZE, **options: Any) -> RecurrentDecoder:
    torch.manual_seed(4)
    order, feeding = KINDS[kind]
    decoder: RecurrentDecoder = CELLS[cell](
        INPUT, size, ATTENTIONS[attention], size=size, order=order, input_feeding=feeding, **options
    ).double()
    for parameter in decoder.parameters():
        nn.init.uniform_(parameter, -5 / (size + 2), 5 / (size + 2))
    return decoder


class Arguments(NamedTuple):
    """What a decoder is called with; everything has a gradient."""

    inputs: Tensor
    outputs: Tensor
    mask: Tensor
    final: tuple[Tensor, ...]

    def encoding(self) -> Encoding:
        return Encoding(self.outputs, self.mask, self.final)


def make_arguments(decoder: RecurrentDecoder, rows: int = ROWS, positions: int = POSITIONS) -> Arguments:
    """Ragged memories: one is empty, some have holes."""
    generator = torch.Generator().manual_seed(5)
    like = next(decoder.parameters())

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(*shape, generator=generator, dtype=torch.float64)
        return drawn.to(like.dtype).requires_grad_()

    size, layers = decoder.stack.size, len(decoder.stack.layers)
    mask = torch.rand(rows, positions, generator=generator) > 0.3
    mask[:1] = False
    final = (draw(rows, layers, size), draw(rows, layers, size))
    return Arguments(draw(rows, STEPS, INPUT), draw(rows, positions, size), mask, final)


def run(decoder: RecurrentDecoder, data: Arguments, lengths: Tensor | None, looped: bool) -> dict[str, Tensor]:
    """All that a call says of real positions, and all gradients of a function of it."""
    decoder.zero_grad()
    for tensor in (data.inputs, data.outputs, *data.final):
        tensor.grad = None
    torch.manual_seed(6)
    memory, start = decoder.start(data.encoding())
    start = start._replace(fed=start.fed + 0.3)
    dropped = decoder.draw(data.inputs)
    if looped:
        decoded = decoder.loop(data.inputs, memory, start, lengths, dropped)
        assert decoded is not None
    else:
        decoded = decoder.steps(data.inputs, memory, start, dropped)
    rows, steps = data.inputs.shape[:2]
    real = length_mask(torch.full((rows,), steps) if lengths is None else lengths, steps).unsqueeze(2)
    found = {"outputs": decoded.outputs * real}
    if decoded.weights is not None:
        found["weights"] = decoded.weights * real
    if lengths is None:
        found.update({"state": decoded.state.layers[0], "last": decoded.state.layers[-1], "fed": decoded.state.fed})
    total = torch.zeros((), dtype=data.inputs.dtype)
    for number, tensor in enumerate(found.values()):
        factor = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
        total = total + (tensor * factor.to(tensor.dtype)).sum()
    total.backward()  # type: ignore[no-untyped-call]
    leaves = {"inputs": data.inputs, "memory": data.outputs, "h": data.final[0], "c": data.final[1]}
    for name, tensor in {**leaves, **dict(decoder.named_parameters())}.items():
        found[f"gradient of {name}"] = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
    return {name: tensor.detach().clone() for name, tensor in found.items()}


def compare(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        if tensor.numel():
            gap = float((found[name] - tensor).abs().max())
            assert gap <= tolerance * max(float(tensor.abs().max()), 1e-2), f"{name} differs by {gap}"


def check(decoder: RecurrentDecoder, lengths: Tensor | None, **sizes: int) -> dict[str, Tensor]:
    """The loop and the steps say the same, with the same gradients."""
    data = make_arguments(decoder, **sizes)
    expected = run(decoder, data, lengths, looped=False)
    compare(run(decoder, data, lengths, looped=True), expected, TOLERANCE[data.inputs.dtype])
    return expected


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_is_its_steps(cell: str, attention: str, kind: str, kernel: str) -> None:
    for layers, readout in itertools.product((1, 2), (None, 7)):
        decoder = make(cell, attention, kind, layers=layers, readout=readout, residual=True)
        if decoder.feeds_back:
            expected = check(decoder, None)
            unused = {"gradient of c", *({"gradient of memory"} if attention == "none" else ())}
            assert {name for name, tensor in expected.items() if tensor.numel() and not tensor.any()} <= unused
            check(decoder, LENGTHS)
    assert decoder.feeds_back or (attention, kind) == ("none", "bahdanau")


def test_every_registered_decoder_and_attention_is_compared_here() -> None:
    registry.load()
    attentions = {getattr(attention, "func", attention) for attention in ATTENTIONS.values()}
    decoders = {getattr(decoder, "func", decoder) for decoder in CELLS.values()}
    for kind, tested in (("attention", attentions), ("decoder", decoders)):
        targets = {entry.target for entry in registry.entries(kind).values()}
        assert {target for target in targets if target.__module__.startswith("seq2att.")} <= tested


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_loop_is_its_steps_with_dropout(cell: str, kind: str, locked: bool, kernel: str) -> None:
    for residual in (False, True):
        decoder = make(
            cell, "additive", kind, layers=3, dropout=0.5, locked=locked, weight_drop=0.3 * locked, residual=residual
        )
        expected = check(decoder, LENGTHS)
        assert bool((expected["outputs"][2] == 0).any())
        assert float(expected["outputs"].abs().max()) > 0


@pytest.mark.parametrize(("attention", "kind"), [("general", "luong"), ("additive", "bahdanau"), ("none", "luong")])
@pytest.mark.parametrize("cell", CELLS)
def test_the_loop_is_its_steps_in_float32(cell: str, attention: str, kind: str, kernel: str) -> None:
    check(make(cell, attention, kind, layers=2).float(), LENGTHS)
    large = make(cell, attention, kind, size=192).float()  # large enough for the products of other libraries
    check(large, torch.tensor([3, 0, 6, 1, 5] * 6), rows=30)


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_memory_gives_no_context(kind: str, kernel: str) -> None:
    for attention in ("general", "additive"):
        check(make("lstm", attention, kind), LENGTHS, positions=0)


@pytest.mark.parametrize("kind", KINDS)
def test_no_row_and_no_step_are_no_loop(kind: str, kernel: str) -> None:
    decoder = make("lstm", "general", kind)
    data = make_arguments(decoder)
    decoded = decoder(data.inputs, *decoder.start(data.encoding()), torch.zeros(ROWS, dtype=torch.long))
    assert decoded.outputs.shape == (ROWS, STEPS, SIZE)
    assert decoder(data.inputs[:, :0], *decoder.start(data.encoding())).outputs.shape == (ROWS, 0, SIZE)
    none = Arguments(data.inputs[:0], data.outputs[:0], data.mask[:0], tuple(part[:0] for part in data.final))
    assert decoder(none.inputs, *decoder.start(none.encoding()), LENGTHS[:0]).outputs.shape == (0, STEPS, SIZE)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_past_the_end_of_a_row_is_computed(kind: str, kernel: str) -> None:
    decoder = make("gru", "additive", kind, layers=2)
    data = make_arguments(decoder)
    expected = run(decoder, data, LENGTHS, looped=True)
    padding = ~length_mask(LENGTHS, STEPS)
    poisoned = data._replace(inputs=data.inputs.detach().clone())
    poisoned.inputs[padding] = torch.nan
    found = run(decoder, poisoned._replace(inputs=poisoned.inputs.requires_grad_()), LENGTHS, looped=True)
    compare(found, expected, 0.0)
    assert float(expected["gradient of inputs"][padding].abs().max()) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cell", CELLS)
def test_the_state_at_the_end_is_that_of_a_rows_last_step(cell: str, kind: str, kernel: str) -> None:
    decoder = make(cell, "general", kind, layers=2)
    data = make_arguments(decoder)
    memory, start = decoder.start(data.encoding())
    decoded = decoder(data.inputs, memory, start, LENGTHS)
    for row, length in enumerate(LENGTHS.tolist()):
        state = start
        for step in range(length):
            state = decoder(data.inputs[:, step : step + 1], memory, state).state
        for found, expected in zip((*decoded.state.layers, decoded.state.fed), (*state.layers, state.fed), strict=True):
            torch.testing.assert_close(found[row], expected[row], rtol=1e-10, atol=1e-12)
        assert not decoded.outputs[row, length:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loop_may_be_entered_anywhere(kind: str, kernel: str) -> None:
    decoder = make("lstm", "additive", kind, layers=2)
    data = make_arguments(decoder)
    memory, start = decoder.start(data.encoding())
    whole = decoder(data.inputs, memory, start)
    first = decoder(data.inputs[:, :4], memory, start)
    second = decoder(data.inputs[:, 4:], memory, first.state)
    torch.testing.assert_close(torch.cat([first.outputs, second.outputs], 1), whole.outputs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(second.state.layers, whole.state.layers, rtol=1e-10, atol=1e-12)


def test_a_decoder_drops_the_same_with_and_without_a_loop(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = make("lstm", "general", "both", layers=2, dropout=0.5)
    data = make_arguments(decoder)

    def outputs() -> Tensor:
        torch.manual_seed(7)
        decoded: Decoded = decoder(data.inputs, *decoder.start(data.encoding()), LENGTHS)
        return decoded.outputs * length_mask(LENGTHS, STEPS).unsqueeze(2)

    looped = outputs()
    monkeypatch.setenv("SEQ2ATT_KERNEL", "torch")
    torch.testing.assert_close(outputs(), looped, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kept_graph_gives_its_gradients_again(kind: str, kernel: str) -> None:
    decoder = make("lstm", "additive", kind, layers=2)
    data = make_arguments(decoder)
    outputs = decoder(data.inputs, *decoder.start(data.encoding()), LENGTHS).outputs
    parameters = [*decoder.parameters()]
    first = torch.autograd.grad(outputs.sum(), parameters, retain_graph=True, allow_unused=True)
    torch.testing.assert_close(torch.autograd.grad(outputs.sum(), parameters, allow_unused=True), first)
    with pytest.raises(RuntimeError, match="second time"):  # nothing that was kept is left
        torch.autograd.grad(outputs.sum(), parameters, allow_unused=True)


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_no_second_derivatives(kind: str, kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = make("gru", "general", kind)
    data = make_arguments(decoder)
    for name in ("cpp", "torch"):
        monkeypatch.setenv("SEQ2ATT_KERNEL", name)
        outputs = decoder(data.inputs, *decoder.start(data.encoding()), LENGTHS).outputs
        (first,) = torch.autograd.grad(outputs.square().sum(), [data.inputs], create_graph=True)
        with refused("E-kernel", "create_graph") if name == "cpp" else contextlib.nullcontext():
            first.sum().backward()


def test_without_gradients_nothing_is_kept(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = make("lstm", "additive", "both", layers=2)
    data = make_arguments(decoder)
    with_gradients = decoder(data.inputs, *decoder.start(data.encoding())).outputs
    loops = []
    build = feedback.build_loop
    monkeypatch.setattr(feedback, "build_loop", lambda *data: loops.append(build(*data)) or loops[-1])
    with torch.no_grad():
        without = decoder(data.inputs, *decoder.start(data.encoding())).outputs
    torch.testing.assert_close(without, with_gradients)
    buffers = [
        loops[0].query,
        *(part for level in loops[0].levels for part in (level.previous, level.extra, level.below)),
    ]
    assert buffers == [None] * len(buffers)


# When the loop is not taken


def looped(decoder: RecurrentDecoder, dtype: torch.dtype = torch.float64) -> bool:
    data = make_arguments(decoder.to(dtype))
    memory, start = decoder.start(data.encoding())
    return decoder.loop(data.inputs, memory, start, LENGTHS, decoder.draw(data.inputs)) is not None


class Doubled(General):
    """Scores twice as high."""

    def score(self, query: Tensor, keys: State) -> Tensor:
        return 2 * super().score(query, keys)


class Shifted(Additive):
    """Gives another context."""

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        found = super().forward(query, memory, state)
        return found._replace(context=found.context + 1)


@pytest.mark.parametrize("changed", [Doubled, Shifted])
def test_an_attention_of_ones_own_is_asked_itself(changed: type[Attention], monkeypatch: pytest.MonkeyPatch) -> None:
    base = changed.__mro__[1]
    assert changed(SIZE, SIZE).fused() is None
    assert base(SIZE, SIZE).fused() is not None  # type: ignore[attr-defined]
    monkeypatch.setitem(ATTENTIONS, "own", changed)
    monkeypatch.setitem(ATTENTIONS, "base", base)
    own, plain = make("lstm", "own", "luong"), make("lstm", "base", "luong")
    data = make_arguments(own)
    found, expected = (decoder(data.inputs, *decoder.start(data.encoding())).outputs for decoder in (own, plain))
    assert float((found - expected).detach().abs().max()) > 1e-3
    assert looped(plain)
    assert not looped(own)


class Louder(LSTMDecoder):
    """Says everything louder."""

    def finish(self, *parts: Any) -> Decoded:
        decoded = LSTMDecoder.finish(self, *parts)
        return decoded._replace(outputs=2 * decoded.outputs)


def test_a_decoder_of_ones_own_goes_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CELLS, "own", Louder)
    own, plain = make("own", "general", "bahdanau"), make("lstm", "general", "bahdanau")
    data = make_arguments(own)
    found, expected = (decoder(data.inputs, *decoder.start(data.encoding())).outputs for decoder in (own, plain))
    torch.testing.assert_close(found, 2 * expected)


@pytest.mark.parametrize("part", ["attention", "attention.energy", "stack", "stack.layers.0", "readout", "dropout"])
def test_a_hook_sees_every_step(part: str) -> None:
    decoder = make("lstm", "additive", "luong")
    assert looped(decoder)
    calls: list[int] = []
    handle = decoder.get_submodule(part).register_forward_hook(lambda *_: calls.append(1))
    assert not looped(decoder)
    data = make_arguments(decoder)
    decoder(data.inputs, *decoder.start(data.encoding()))
    assert len(calls) == (0 if part == "dropout" else STEPS)
    handle.remove()
    assert looped(decoder)


def test_a_hook_on_all_modules_sees_every_step() -> None:
    decoder = make("lstm", "general", "luong")
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert not looped(decoder)
    finally:
        handle.remove()
    assert looped(decoder)


class Halved(Layer):
    """Halves its outputs."""

    def forward(self, *data: Any, **options: Any) -> Any:
        result = super().forward(*data, **options)
        return result._replace(outputs=result.outputs / 2)


class Negated(Layer):
    """Negates its recurrent matrix."""

    def weights(self, hidden_mask: Tensor | None = None) -> Any:
        weights = Layer.weights(self, hidden_mask)
        return weights._replace(hidden=-weights.hidden)


def replace_layer(decoder: RecurrentDecoder, kind: type[Layer]) -> None:
    layer = decoder.stack.layers[0]
    changed = kind(layer.cell, layer.input_weight.size(1), SIZE)
    changed.load_state_dict(layer.state_dict())
    decoder.stack.layers[0] = changed


CHANGES: dict[str, Callable[[Any], Any]] = {
    "a parametrization": lambda decoder: nn.utils.parametrizations.weight_norm(decoder.readout),
    "a readout of another class": lambda decoder: setattr(
        decoder, "readout", nn.Sequential(decoder.readout, nn.ReLU())
    ),
    "a readout with a bias": lambda decoder: setattr(decoder, "readout", Dense(2 * SIZE, SIZE)),
    "a layer's forward": lambda decoder: replace_layer(decoder, Halved),
    "a layer's weights": lambda decoder: replace_layer(decoder, Negated),
    "a method of an instance": lambda decoder: setattr(
        decoder.stack.layers[0], "weights", Negated.weights.__get__(decoder.stack.layers[0])
    ),
    "a method of the decoder": lambda decoder: setattr(decoder, "finish", Louder.finish.__get__(decoder)),
    "a stack's forward": lambda decoder: setattr(
        decoder.stack, "forward", lambda *inputs: Stack.forward(decoder.stack, *inputs)
    ),
    "another dropout": lambda decoder: setattr(decoder.stack, "dropout", nn.AlphaDropout(0.5)),
    "a query with a bias": lambda decoder: setattr(decoder.attention, "query", Dense(SIZE, 5)),
    "a query of another class": lambda decoder: setattr(decoder.attention, "query", nn.Linear(SIZE, 5, bias=False)),
    "an energy with a bias": lambda decoder: setattr(decoder.attention, "energy", Dense(5, 1)),
    "a score of an instance": lambda decoder: setattr(
        decoder.attention, "score", lambda query, keys: 2 * Additive.score(decoder.attention, query, keys)
    ),
    "an attention of another class": lambda decoder: setattr(
        decoder, "attention", type("Own", (Additive,), {})(SIZE, SIZE, size=5)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_never_gets_the_loop_of_its_class(
    change: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoder = make("lstm", "additive", "luong").eval()
    assert looped(decoder)
    torch.manual_seed(9)
    CHANGES[change](decoder)
    decoder.double()
    assert not looped(decoder)
    data = make_arguments(decoder)
    found = decoder(data.inputs, *decoder.start(data.encoding()), LENGTHS).outputs
    monkeypatch.setenv("SEQ2ATT_KERNEL", "torch")
    expected = decoder(data.inputs, *decoder.start(data.encoding()), LENGTHS).outputs
    real = length_mask(LENGTHS, STEPS).unsqueeze(2)
    torch.testing.assert_close(found * real, expected * real)


def test_without_a_way_to_see_global_hooks_there_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "torch_private", lambda name, default: default)
    assert not looped(make("lstm", "general", "luong"))


def test_only_plain_tensors_are_looped(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = make("lstm", "general", "luong")
    assert looped(decoder)
    assert looped(decoder, torch.float32)
    assert not looped(decoder, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert not looped(decoder, torch.float32)
    monkeypatch.setenv("SEQ2ATT_KERNEL", "torch")
    assert not looped(decoder, torch.float32)


def test_transforms_go_step_by_step() -> None:
    decoder = make("gru", "general", "luong")
    data = make_arguments(decoder)

    def total(inputs: Tensor) -> Tensor:
        decoded: Decoded = decoder(inputs, *decoder.start(data.encoding()))
        return decoded.outputs.sum()

    expected = torch.autograd.grad(total(data.inputs), data.inputs)[0]
    torch.testing.assert_close(torch.func.grad(total)(data.inputs.detach()), expected)
