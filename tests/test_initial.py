"""A model that begins as Keras' layers do has weights of their distributions."""

import math
from pathlib import Path

import pytest
import torch

import seq2att
from seq2att.recurrence import Layer
from seq2att.types import PAD
from tests.tiny import CLASSES

STILL = ["optimizer=sgd", "optimizer.learning_rate=1e-12", "trainer.max_steps=1", "trainer.progress=false"]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_weights_of_keras(cell: str, tmp_path: Path) -> None:
    (tmp_path / "classes.yaml").write_text(CLASSES, "utf-8")
    parts = [f"run={tmp_path / 'run'}", f"encoder={cell}", "encoder.size=6", "encoder.layers=2", "head.pool=[last]"]
    sizes = ["encoder.bidirectional=false", "source.embedding_size=64", "initialization=keras"]
    model = seq2att.load(seq2att.train(str(tmp_path / "classes.yaml"), [*parts, *sizes, *STILL])).model.requires_grad_(
        False
    )
    words = model.embedding.weight
    assert words.abs().max() <= 0.05
    assert words[PAD + 1 :].std() == pytest.approx(0.05 / math.sqrt(3), rel=0.1)
    assert not words[PAD].any()
    layers = [module for module in model.modules() if isinstance(module, Layer)]
    assert len(layers) == 2
    for layer in layers:
        units, inputs = layer.input_weight.shape
        assert layer.input_weight.abs().max() <= math.sqrt(6 / (inputs + units))
        assert layer.input_weight.std() == pytest.approx(math.sqrt(2 / (inputs + units)), rel=0.15)
        torch.testing.assert_close(layer.hidden_weight.T @ layer.hidden_weight, torch.eye(6))
        bias = (layer.input_bias + layer.hidden_bias).view(-1, 6)  # [gates, units]
        assert bias.mean(1).tolist() == pytest.approx([0, 1, 0, 0] if cell == "lstm" else [0] * len(bias), abs=1e-6)
    assert model.head.output.weight.abs().max() <= math.sqrt(6 / (6 + 1))
    assert abs(model.head.output.bias.item()) < 1e-6
