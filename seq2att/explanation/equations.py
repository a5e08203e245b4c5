"""The equations beside the numbers, in the letters of the glossary."""

from __future__ import annotations

import re

from torch import nn

from seq2att.attention import Attention, Dot
from seq2att.field.embedding import OneHotEmbedding, TextEmbedding
from seq2att.field.label import LabelEmbedding
from seq2att.recurrence import CellName

LSTM = {
    **{
        f"{name}_gate": f"{letter}_t = {function}(W_{letter} x_t + U_{letter} h_{{t-1}} + b_{letter})"
        for name, letter, function in zip(
            ("input", "forget", "cell", "output"), "ifgo", ("σ", "σ", "tanh", "σ"), strict=True
        )
    },
    "cell_state": "c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t",
    "hidden_state": "h_t = o_t ⊙ tanh(c_t)",
}
GRU = {
    "reset_gate": "r_t = σ(W_r x_t + U_r h_{t-1} + b_r)",
    "update_gate": "z_t = σ(W_z x_t + U_z h_{t-1} + b_z)",
    "new_gate": "n_t = tanh(W_n x_t + b_n + r_t ⊙ (U_n h_{t-1} + d_n))",
    "hidden_state": "h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_{t-1}",
}
CELL_EQUATIONS: dict[CellName, dict[str, str]] = {
    "lstm": LSTM,
    "gru": GRU,
    "tanh": {"hidden_state": "h_t = tanh(W x_t + U h_{t-1} + b)"},
    "relu": {"hidden_state": "h_t = relu(W x_t + U h_{t-1} + b)"},
}
TABLES = (TextEmbedding, OneHotEmbedding, LabelEmbedding)
"""The layers that embed by looking up a row of a table."""
SOFTMAX = "α_ts = exp(e_ts) / Σ_k exp(e_tk)"
SCORE = re.compile(r"score = (.*?)(?=, | \(|\.$|$)", re.MULTILINE)


def score_equation(attention: Attention) -> str:
    """The equation of the scores, from the docstring of the attention; "" where it has none."""
    match = SCORE.search(type(attention).__doc__ or "")
    scale = " / √Q" if is_scaled(attention) else ""
    return f"e_ts = {match[1]}{scale}" if match else ""


def is_scaled(attention: Attention) -> bool:
    """Whether the scores are divided by the square root of the size of the query."""
    return isinstance(attention, Dot) and attention.scale != 1


def embedding_equation(embedding: nn.Module, equation: str) -> str:
    """The equation of a table of vectors; "" of what embeds otherwise, such as numbers, pictures or spelled words."""
    return equation if isinstance(embedding, TABLES) else ""
