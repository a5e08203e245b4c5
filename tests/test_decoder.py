"""Decoders are the equations of Luong and of Bahdanau, written out step by step; bridges start them as documented."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2att.attention import Additive, General, NoAttention
from seq2att.decoder import Bridge, GRUDecoder, LSTMDecoder, RecurrentDecoder, RNNDecoder
from seq2att.types import Encoding, Memory
from tests.refusals import refused

CELLS = {"rnn": RNNDecoder, "lstm": LSTMDecoder, "gru": GRUDecoder}
INPUT, MEMORY, SIZE = 3, 6, 5


def make(cell: str, attention: Any, **options: Any) -> RecurrentDecoder:
    torch.manual_seed(4)
    decoder: RecurrentDecoder = CELLS[cell](INPUT, MEMORY, attention, size=SIZE, **options).double()
    for parameter in decoder.parameters():
        torch.nn.init.uniform_(parameter, -0.8, 0.8)
    return decoder


def encoding(states: int = 2, layers: int = 1) -> Encoding:
    generator = torch.Generator().manual_seed(5)
    outputs = torch.randn(2, 4, MEMORY, dtype=torch.float64, generator=generator)
    final = tuple(torch.randn(2, layers, MEMORY, dtype=torch.float64, generator=generator) for _ in range(states))
    return Encoding(outputs, torch.tensor([[True] * 4, [True, True, False, False]]), final)


def inputs() -> Tensor:
    return torch.randn(2, 3, INPUT, dtype=torch.float64, generator=torch.Generator().manual_seed(6))


def cell_step(decoder: RecurrentDecoder, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """One step of the only layer, by torch's own cell."""
    layer = decoder.stack.layers[0]
    weights = (layer.input_weight, layer.hidden_weight, layer.input_bias, layer.hidden_bias)
    if isinstance(decoder, LSTMDecoder):
        return tuple(torch.lstm_cell(x, state, *weights))
    function = torch.gru_cell if isinstance(decoder, GRUDecoder) else torch.rnn_tanh_cell
    return (function(x, state[0], *weights),)


def look(decoder: RecurrentDecoder, query: Tensor, memory: Memory) -> Tensor:
    return decoder.attention(query.unsqueeze(1), memory).context.squeeze(1)


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("attention", [General, partial(Additive, size=4), NoAttention])
@pytest.mark.parametrize("cell", CELLS)
def test_luong_is_its_equations(cell: str, attention: Any, feeding: bool) -> None:
    decoder = make(cell, attention, order="luong", input_feeding=feeding, readout=7)
    memory, start = decoder.start(encoding())
    state, fed = tuple(part[:, 0] for part in start.layers), torch.zeros(2, 7 if feeding else 0, dtype=torch.float64)
    found = decoder(inputs(), memory, start)
    for step in range(3):
        state = cell_step(decoder, torch.cat([inputs()[:, step], fed], 1), state)
        context = look(decoder, state[0], memory)
        output = torch.tanh(torch.cat([state[0], context], 1) @ decoder.readout.weight.T)  # type: ignore[union-attr]
        fed = output if feeding else fed
        torch.testing.assert_close(found.outputs[:, step], output, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_bahdanau_is_its_equations(cell: str, feeding: bool) -> None:
    decoder = make(cell, partial(Additive, size=4), order="bahdanau", input_feeding=feeding)
    memory, start = decoder.start(encoding())
    state = tuple(part[:, 0] for part in start.layers)
    fed = torch.zeros(2, SIZE if feeding else 0, dtype=torch.float64)
    found = decoder(inputs(), memory, start)
    for step in range(3):
        embedded = inputs()[:, step]
        context = look(decoder, state[0], memory)
        state = cell_step(decoder, torch.cat([embedded, fed, context], 1), state)
        output = torch.tanh(torch.cat([state[0], context, embedded], 1) @ decoder.readout.weight.T)  # type: ignore[union-attr]
        fed = output if feeding else fed
        torch.testing.assert_close(found.outputs[:, step], output, rtol=1e-10, atol=1e-12)


def test_without_attention_the_output_is_the_state() -> None:
    decoder = make("gru", NoAttention)
    assert decoder.readout is None
    memory, start = decoder.start(encoding())
    found = decoder(inputs(), memory, start)
    torch.testing.assert_close(found.outputs[:, -1], found.state.layers[0][:, 0])


def test_only_feedback_goes_step_by_step() -> None:
    assert not make("lstm", General).feeds_back
    assert not make("lstm", NoAttention, order="bahdanau").feeds_back
    assert make("lstm", General, input_feeding=True).feeds_back
    assert make("lstm", General, order="bahdanau").feeds_back


def test_a_recurrent_attention_sees_what_the_step_before_attended_to() -> None:
    class Counting(General):
        recurrent = True

        def start(self, memory: Memory) -> Tensor:
            return memory.values.new_zeros(memory.values.size(0))

        def forward(self, query: Tensor, memory: Memory, state: Any = ()) -> Any:
            assert query.size(1) == 1
            return super().forward(query, memory)._replace(state=state + 1)

    decoder = make("gru", Counting)
    found = decoder(inputs(), *decoder.start(encoding()))
    assert found.state.attention.tolist() == [3, 3]


def test_the_dense_bridge_is_a_layer_of_each_last_state() -> None:
    bridge = Bridge("dense", MEMORY, SIZE, 1, states=2).double()
    given = encoding()
    hidden, cell = bridge(given)
    torch.testing.assert_close(hidden, torch.tanh(bridge.dense[0](given.final[0])))
    torch.testing.assert_close(cell, bridge.dense[1](given.final[1]))


def test_a_bridge_aligns_layers_at_the_top() -> None:
    bridge = Bridge("copy", MEMORY, MEMORY, 2, states=1)
    three = encoding(1, layers=3)
    torch.testing.assert_close(bridge(three)[0], three.final[0][:, 1:])
    one = encoding(1, layers=1)
    torch.testing.assert_close(bridge(one)[0], one.final[0].expand(-1, 2, -1))


def test_without_last_states_the_bridge_takes_the_mean_of_what_is_real() -> None:
    given = encoding(0)
    hidden, cell = Bridge("copy", MEMORY, MEMORY, 1, states=2)(given)
    expected = torch.stack([given.outputs[0].mean(0), given.outputs[1, :2].mean(0)]).unsqueeze(1)
    torch.testing.assert_close(hidden, expected)
    torch.testing.assert_close(cell, expected)


def test_zeros_start_from_nothing() -> None:
    assert all(float(part.abs().max()) == 0 for part in Bridge("zeros", MEMORY, SIZE, 2, states=2)(encoding()))


def test_copying_needs_equal_sizes() -> None:
    with refused("E-conflict", "decoder.bridge=copy"):
        Bridge("copy", MEMORY, SIZE, 1, states=1)


@pytest.mark.parametrize("options", [{}, {"input_feeding": True}, {"order": "bahdanau"}])
def test_locked_dropout_drops_the_same_units_at_every_step(options: dict[str, Any]) -> None:
    for locked in (True, False):
        decoder = make("gru", General, readout=40, dropout=0.5, locked=locked, **options)
        dropped = decoder(inputs(), *decoder.start(encoding())).outputs == 0  # [B, T, D]
        assert 0 < int(dropped[:, 0].sum()) < dropped[:, 0].numel()
        assert bool((dropped == dropped[:, :1]).all()) == locked
        assert not bool((dropped[0] == dropped[1]).all())


@pytest.mark.parametrize("options", [{}, {"input_feeding": True}, {"order": "bahdanau"}])
def test_input_dropout_is_dropout_of_the_embedded_tokens(options: dict[str, Any]) -> None:
    decoder = make("lstm", General, input_dropout=0.5, locked=True, **options)
    torch.manual_seed(3)
    found = decoder(inputs(), *decoder.start(encoding())).outputs
    torch.manual_seed(3)
    dropped = decoder.input_dropout(inputs())
    decoder.input_dropout.p = 0.0
    torch.testing.assert_close(found, decoder(dropped, *decoder.start(encoding())).outputs)
    assert bool((dropped == 0).any())


@pytest.mark.parametrize("options", [{}, {"input_feeding": True}, {"order": "bahdanau"}])
def test_dropped_weights_are_drawn_for_every_call_in_training(options: dict[str, Any]) -> None:
    decoder = make("lstm", General, weight_drop=0.5, **options)
    first, second = (decoder(inputs(), *decoder.start(encoding())).outputs for _ in range(2))
    assert float((first - second).detach().abs().max()) > 1e-3
    decoder.eval()
    first, second = (decoder(inputs(), *decoder.start(encoding())).outputs for _ in range(2))
    torch.testing.assert_close(first, second)


def test_dropped_weights_are_the_same_at_every_step() -> None:
    decoder = make("rnn", NoAttention, input_feeding=True, weight_drop=0.5)
    layer = decoder.stack.layers[0]
    torch.nn.init.zeros_(layer.input_weight)
    start = decoder.start(encoding())[1]
    torch.nn.init.eye_(layer.hidden_weight)
    torch.nn.init.zeros_(layer.hidden_bias)
    torch.nn.init.zeros_(layer.input_bias)
    found = decoder(inputs(), *decoder.start(encoding())).outputs  # a unit lives on at twice its size, or dies at once
    alive = found[:, 0] != 0
    assert 0 < int(alive[0].sum()) < SIZE
    expected = start.layers[0][:, 0]
    for step in range(3):
        expected = torch.tanh(2 * expected) * alive[0]
        torch.testing.assert_close(found[:, step], expected)


@pytest.mark.parametrize("feeding", [False, True])
def test_what_is_said_within_a_rows_length_does_not_depend_on_it(feeding: bool) -> None:
    decoder = make("lstm", General, input_feeding=feeding)
    whole = decoder(inputs(), *decoder.start(encoding())).outputs
    found = decoder(inputs(), *decoder.start(encoding()), torch.tensor([2, 3])).outputs
    torch.testing.assert_close(found[0, :2], whole[0, :2])
    torch.testing.assert_close(found[1], whole[1])
    assert bool(found.isfinite().all())
