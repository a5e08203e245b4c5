"""The recurrence equals the textbook equations in NumPy float64, and torch.nn's modules, by every kernel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from seq2att.encoder import GRUEncoder, LSTMEncoder, RecurrentEncoder, RNNEncoder
from seq2att.recurrence import GATES, STATES, CellName, Draws, Dropout, Layer, Stack, choice, native

CELLS: list[CellName] = ["tanh", "relu", "lstm", "gru"]
LENGTHS = torch.tensor([5, 2, 1, 0, 4])
Array = npt.NDArray[np.float64]


@pytest.fixture(autouse=True, params=choice.KERNELS)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "cpp" and not native.is_available():
        pytest.skip("no C++ compiler")
    monkeypatch.setenv(choice.VARIABLE, request.param)
    torch.manual_seed(3)


def logistic(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def textbook_step(cell: CellName, x: Array, state: list[Array], layer: dict[str, Array]) -> list[Array]:
    """One step of the equations at the top of `seq2att/recurrence/reference.py`."""
    h = state[0]
    from_input = layer["input_weight"] @ x + layer["input_bias"]
    from_hidden = layer["hidden_weight"] @ h + layer["hidden_bias"]
    if cell == "tanh":
        return [np.tanh(from_input + from_hidden)]
    if cell == "relu":
        return [np.maximum(0, from_input + from_hidden)]
    if cell == "lstm":
        i, f, g, o = np.split(from_input + from_hidden, 4)
        c = logistic(f) * state[1] + logistic(i) * np.tanh(g)
        return [logistic(o) * np.tanh(c), c]
    (xr, xz, xn), (hr, hz, hn) = np.split(from_input, 3), np.split(from_hidden, 3)
    r, z = logistic(xr + hr), logistic(xz + hz)
    return [(1 - z) * np.tanh(xn + r * hn) + z * h]


def make_layer(cell: CellName, input_size: int = 3, size: int = 4) -> Layer:
    layer = Layer(cell, input_size, size).double()
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.9, 0.9)
    return layer


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_layer_is_the_textbook(cell: CellName, backwards: bool) -> None:
    layer = make_layer(cell)
    inputs = torch.randn(5, 6, 3, dtype=torch.float64)  # one position of padding in the longest row
    start = tuple(torch.randn(5, 4, dtype=torch.float64) for _ in range(STATES[cell]))
    outputs, final = layer(inputs, start, LENGTHS, backwards=backwards)
    arrays = {name: parameter.detach().numpy() for name, parameter in layer.named_parameters()}
    for row, length in enumerate(LENGTHS.tolist()):
        state = [part[row].numpy() for part in start]
        expected = np.zeros((6, 4))
        for position in reversed(range(length)) if backwards else range(length):
            state = textbook_step(cell, inputs[row, position].numpy(), state, arrays)
            expected[position] = state[0]
        np.testing.assert_allclose(outputs[row].detach().numpy(), expected, rtol=1e-10, atol=1e-12)
        for ours, theirs in zip(final, state, strict=True):
            np.testing.assert_allclose(ours[row].detach().numpy(), theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_steps_one_by_one_are_the_whole_sequence(cell: CellName) -> None:
    layer = make_layer(cell)
    inputs = torch.randn(5, 6, 3, dtype=torch.float64)
    start = layer.start(inputs, 5)
    whole, final = layer(inputs, start)
    steps = []
    for step in inputs.split(1, dim=1):
        output, start = layer(step, start)
        steps.append(output)
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(start, final, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_are_those_of_finite_differences(cell: CellName) -> None:
    layer = make_layer(cell, 2, 3)
    inputs = torch.randn(3, 4, 2, dtype=torch.float64, requires_grad=True)
    start = tuple(torch.randn(3, 3, dtype=torch.float64, requires_grad=True) for _ in range(STATES[cell]))

    def function(inputs: Tensor, *start: Tensor) -> tuple[Tensor, ...]:
        outputs, final = layer(inputs, start, torch.tensor([4, 2, 0]))
        return (outputs, *final)

    assert torch.autograd.gradcheck(function, (inputs, *start))


def torch_twin(cell: CellName, layers: int, bidirectional: bool) -> nn.RNNBase:
    sizes = {"input_size": 3, "hidden_size": 4, "num_layers": layers}
    options = {**sizes, "bidirectional": bidirectional, "batch_first": True, "dtype": torch.float64}
    if cell in ("tanh", "relu"):
        return nn.RNN(nonlinearity=cell, **options)  # type: ignore[arg-type]
    return (nn.LSTM if cell == "lstm" else nn.GRU)(**options)  # type: ignore[arg-type]


def copy_weights(layer: Layer, twin: nn.RNNBase, suffix: str) -> None:
    names = {
        "input_weight": "weight_ih",
        "hidden_weight": "weight_hh",
        "input_bias": "bias_ih",
        "hidden_bias": "bias_hh",
    }
    with torch.no_grad():
        for ours, theirs in names.items():
            getattr(twin, f"{theirs}_{suffix}").copy_(getattr(layer, ours))


def make_encoder(cell: CellName, layers: int, bidirectional: bool) -> RecurrentEncoder:
    if cell in ("tanh", "relu"):
        return RNNEncoder(3, size=4, layers=layers, bidirectional=bidirectional, nonlinearity=cell).double()  # type: ignore[arg-type]
    kind = LSTMEncoder if cell == "lstm" else GRUEncoder
    return kind(3, size=4, layers=layers, bidirectional=bidirectional).double()


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_an_encoder_is_torchs_module_over_packed_rows(cell: CellName, layers: int, bidirectional: bool) -> None:
    encoder, twin = make_encoder(cell, layers, bidirectional), torch_twin(cell, layers, bidirectional)
    for level in range(layers):
        copy_weights(encoder.forwards[level], twin, f"l{level}")
        if bidirectional:
            copy_weights(encoder.backwards[level], twin, f"l{level}_reverse")
    lengths = torch.tensor([6, 2, 1, 4])  # torch packs no empty rows
    inputs = torch.randn(4, 6, 3, dtype=torch.float64)
    packed = nn.utils.rnn.pack_padded_sequence(inputs, lengths, batch_first=True, enforce_sorted=False)
    packed_outputs, final = twin(packed)
    outputs, _ = nn.utils.rnn.pad_packed_sequence(packed_outputs, batch_first=True, total_length=6)
    found = encoder(inputs, lengths)
    torch.testing.assert_close(found.outputs, outputs, rtol=1e-10, atol=1e-12)
    directions = 2 if bidirectional else 1
    for ours, theirs in zip(found.final, final if cell == "lstm" else (final,), strict=True):
        shaped = theirs.view(layers, directions, 4, -1).permute(2, 0, 1, 3).flatten(2)  # [B, L, directions * H]
        torch.testing.assert_close(ours, shaped, rtol=1e-10, atol=1e-12)


def test_residual_layers_add_their_input() -> None:
    stack = Stack("gru", 4, 4, layers=2, residual=True).double()
    plain = Stack("gru", 4, 4, layers=2).double()
    plain.load_state_dict(stack.state_dict())
    inputs = torch.randn(2, 5, 4, dtype=torch.float64)
    start = (torch.zeros(2, 2, 4, dtype=torch.float64),)
    first, _ = stack.layers[0](inputs, (start[0][:, 0],))
    torch.testing.assert_close(stack(inputs, start).outputs, plain(inputs, start).outputs + first)


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_sequence_leaves_the_state(cell: CellName) -> None:
    layer = make_layer(cell)
    start = tuple(torch.randn(2, 4, dtype=torch.float64) for _ in range(STATES[cell]))
    outputs, final = layer(torch.zeros(2, 0, 3, dtype=torch.float64), start)
    assert outputs.shape == (2, 0, 4)
    torch.testing.assert_close(final, start)


@pytest.mark.parametrize("cell", CELLS)
def test_layers_start_as_documented(cell: CellName) -> None:
    layer = Layer(cell, 5, 4)
    for gate in layer.hidden_weight.split(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4), rtol=0, atol=1e-5)
    assert layer.input_weight.shape == (GATES[cell] * 4, 5)
    expected = torch.zeros(GATES[cell] * 4)
    if cell == "lstm":
        expected[4:8] = 1
    torch.testing.assert_close(layer.input_bias.detach(), expected)


# Dropout


@pytest.mark.parametrize("cell", CELLS)
def test_weight_drop_sets_numbers_of_the_recurrent_matrix_to_0_in_training_only(cell: CellName) -> None:
    layer = Layer(cell, 3, 40, weight_drop=0.25).double()
    inputs, start = torch.randn(2, 5, 3, dtype=torch.float64), layer.start(torch.zeros(1, dtype=torch.float64), 2)
    mask = layer.draw()
    assert mask is not None
    assert set(mask.unique().tolist()) == {0, 1 / 0.75}
    assert abs(float((mask == 0).double().mean()) - 0.25) < 0.05
    plain = Layer(cell, 3, 40).double()
    plain.load_state_dict(layer.state_dict())
    with torch.no_grad():
        plain.hidden_weight.mul_(mask)
    torch.manual_seed(1)
    drawn = layer.draw()
    torch.manual_seed(1)
    dropped = layer(inputs, start).outputs
    torch.testing.assert_close(layer(inputs, start, hidden_mask=drawn).outputs, dropped)
    torch.testing.assert_close(layer(inputs, start, hidden_mask=mask).outputs, plain(inputs, start).outputs)
    assert not torch.allclose(layer(inputs, start).outputs, dropped)  # another draw
    layer.eval()
    assert layer.draw() is None
    plain.load_state_dict(layer.state_dict())
    assert torch.equal(layer(inputs, start).outputs, plain(inputs, start).outputs)


def test_weight_drop_has_the_gradient_of_the_dropped_matrix() -> None:
    layer = Layer("lstm", 3, 6, weight_drop=0.5).double()
    mask = layer.draw()
    assert mask is not None
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    layer(inputs, layer.start(inputs, 2), hidden_mask=mask).outputs.square().sum().backward()
    assert layer.hidden_weight.grad is not None
    assert torch.equal(layer.hidden_weight.grad == 0, mask == 0)


def test_a_locked_mask_is_the_same_at_every_step() -> None:
    dropout = Dropout(0.3, locked=True)
    found = dropout(torch.ones(20, 7, 50))
    torch.testing.assert_close(found.unique(), torch.tensor([0, 1 / 0.7]))
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert abs(float((found == 0).float().mean()) - 0.3) < 0.05
    assert len(found[:, 0].unique(dim=0)) == 20  # another for every row
    free = Dropout(0.3)(torch.ones(20, 7, 50))
    assert not torch.equal(free, free[:, :1].expand_as(free))
    assert torch.equal(dropout.eval()(free), free)


@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_step_by_step_drops_what_it_drops_at_once(cell: CellName, locked: bool) -> None:
    stack = Stack(cell, 3, 4, layers=3, dropout=0.5, locked=locked, weight_drop=0.5).double()
    inputs = torch.randn(2, 5, 3, dtype=torch.float64)
    state = tuple(torch.zeros(2, 3, 4, dtype=torch.float64) for _ in range(STATES[cell]))
    torch.manual_seed(1)
    draws = stack.draw(inputs)
    torch.manual_seed(1)
    whole = stack(inputs, state)
    assert isinstance(draws, Draws)
    assert draws.below[0] is None
    assert {tuple(mask.shape) for mask in draws.below[1:] if mask is not None} == {(2, 1 if locked else 5, 4)}
    outputs = []
    for step in range(5):
        output, state = stack(inputs[:, step : step + 1], state, draws=draws.at(step))
        outputs.append(output)
    torch.testing.assert_close(torch.cat(outputs, 1), whole.outputs, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(state, whole.final, rtol=1e-10, atol=1e-12)


def test_dropout_between_layers_draws_as_torch_does() -> None:
    stack = Stack("gru", 3, 4, layers=2, dropout=0.5)
    inputs, start = torch.randn(2, 5, 3), torch.zeros(2, 4)
    below = stack.layers[0](inputs, (start,)).outputs
    torch.manual_seed(1)
    expected = stack.layers[1](torch.nn.functional.dropout(below.contiguous(), 0.5), (start,)).outputs
    torch.manual_seed(1)
    torch.testing.assert_close(stack(inputs, (torch.zeros(2, 2, 4),)).outputs, expected)


@pytest.mark.parametrize("locked", [False, True])
def test_an_encoder_drops_the_same_units_at_every_position_when_locked(locked: bool) -> None:
    encoder = LSTMEncoder(3, size=20, dropout=0.4, locked=locked)
    outputs = encoder(torch.randn(3, 6, 3), torch.tensor([6, 6, 6])).outputs
    dropped = outputs == 0
    assert dropped.any()
    assert torch.equal(dropped, dropped[:, :1].expand_as(dropped)) is locked
