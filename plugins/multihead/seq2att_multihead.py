"""Multi-head attention (Vaswani et al. 2017) over a recurrent encoder.

Several heads each look at the memory in their own way; the context is a layer over what they found side by side.
"""

from __future__ import annotations

from torch import Tensor, nn

from seq2att import Attention, Size, UserError, register
from seq2att.types import Attended, Memory, State


@register("attention", "multihead")
class MultiHead(Attention):
    """Heads of scaled dot products: context = O [W_1 V_1 ; ... ; W_h V_h], W_i = softmax(Q_i q . K_i m / sqrt(d)).

    Args:
        heads: heads; must divide the size of the query.
    """

    def __init__(self, query_size: int, memory_size: int, *, heads: Size = 4) -> None:
        super().__init__(query_size, memory_size)
        if query_size % heads:
            problem = f"must divide the size of the query, {query_size}"
            raise UserError("E-size", f"attention.heads={heads}", problem, "choose another number of heads")
        self.heads = heads
        self.query = nn.Linear(query_size, query_size, bias=False)
        self.key = nn.Linear(memory_size, query_size, bias=False)
        self.value = nn.Linear(memory_size, query_size, bias=False)
        self.context = nn.Linear(query_size, memory_size, bias=False)

    def keys(self, outputs: Tensor) -> State:
        """Keys and values of every head, both `[B, heads, S, d]`."""
        return self.split(self.key(outputs)), self.split(self.value(outputs))

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        """The weights that it shows are the mean of its heads'."""
        keys, values = memory.keys
        queries = self.split(self.query(query)) * keys.size(3) ** -0.5  # [B, heads, T, d]
        scores = queries @ keys.mT  # [B, heads, T, S]
        weights = self.normalize(scores, memory.mask)
        outputs = (weights @ values).transpose(1, 2).flatten(2)  # [B, T, heads * d]
        return Attended(self.context(outputs), weights.mean(1), state)

    def split(self, tensor: Tensor) -> Tensor:
        """The heads of `[B, S, heads * d]`: `[B, heads, S, d]`."""
        return tensor.unflatten(2, (self.heads, -1)).transpose(1, 2)
