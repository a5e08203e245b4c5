"""The equations beside the numbers, in the letters of the glossary."""

from __future__ import annotations

import re

from seq2att.attention import Attention
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
SCORE = re.compile(r"score = (.*?)(?=, | \(|\.$|$)", re.MULTILINE)


def score_equation(attention: Attention) -> str:
    """The equation of the scores, from the docstring of the attention; "" where it has none."""
    match = SCORE.search(type(attention).__doc__ or "")
    return f"e_ts = {match[1]}" if match else ""
