from pathlib import Path

import numpy as np
import torch

from seq2att.registry import load_plugin
from seq2att.testing import check, make_case

PLUGIN = str(Path(__file__).parent.parent)  # also where it is not installed


def test_laws() -> None:
    load_plugin(PLUGIN)
    check("attention", "multihead")


def test_every_head_is_explained() -> None:
    """Its scores and weights are in an explanation, and make the context."""
    load_plugin(PLUGIN)
    case = make_case({"attention": {"name": "multihead", "heads": 2}})
    attention = case.model.head.decoder.attention
    parts = case.model.explain("abcab", target="abc")
    scores, weights = parts["attention.scores"], parts["attention.head_weights"]
    assert parts.axes["attention.scores"] == ("head", "target", "source")
    assert scores.shape == weights.shape == (2, 4, 5)
    powers = np.exp(scores)
    np.testing.assert_allclose(weights, powers / powers.sum(2, keepdims=True), rtol=1e-10)
    np.testing.assert_allclose(parts["attention.weights"], weights.mean(0), rtol=1e-10)
    _, values = attention.keys(torch.from_numpy(parts["encoder.outputs"]).unsqueeze(0))  # [1, heads, S, d]
    outputs = weights @ values[0].detach().numpy()  # [heads, T, d]
    context = outputs.transpose(1, 0, 2).reshape(4, -1) @ attention.context.weight.detach().numpy().T
    np.testing.assert_allclose(parts["attention.context"], context, rtol=1e-10)
    assert [parts.axes[f"attention.keys.{number}"] for number in (0, 1)] == [("head", "source", "unit")] * 2
