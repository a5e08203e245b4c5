"""The loop of a decoder with feedback in Python: of every step, the operations that no other step can share.

Additive scores are v . tanh(x) with tanh(x) = 2 s(2 x) - 1: torch's logistic function s is ten times quicker than its
tanh, and the softmax does not see the constant.
"""

from __future__ import annotations

import torch
from torch import Tensor

from seq2att.recurrence.feedback_buffers import Level, Loop, Slopes
from seq2att.recurrence.product import Prepared
from seq2att.recurrence.steps import gru, gru_back, lstm, lstm_back, sigmoid_backward, spans, tanh_backward


class Products:
    """The matrices of a loop, prepared for one direction."""

    def __init__(self, loop: Loop, back: bool) -> None:
        self.back, rows = back, loop.sizes[0]
        feeds = [weight for weight in (loop.fed_weight, loop.context_weight) if weight is not None]
        below = [feeds if level.below_weight is None else [level.below_weight] for level in loop.levels]
        self.split = loop.cell == "gru"  # its U h is wanted by itself
        self.hidden = [self.prepare([level.hidden_weight], rows) for level in loop.levels] if self.split else []
        if not self.split:
            below = [[level.hidden_weight, *weights] for level, weights in zip(loop.levels, below, strict=True)]
        self.inputs = [self.prepare(weights, rows) for weights in below]
        readout = [weight for weight in (loop.readout_top, loop.readout_context) if weight is not None]
        self.readout = self.prepare(readout, rows) if readout else None
        self.query = None if loop.query_weight is None else self.prepare([loop.query_weight], rows)
        self.keys = loop.keys * 2 if loop.keys is not None and loop.energy is not None else loop.keys

    def prepare(self, weights: list[Tensor], rows: int) -> Prepared:
        """Matrices `[M, K1]`, `[M, K2]`, ... as one `[M, K1 + K2 + ...]`, turned on the way back."""
        weight = beside(weights)
        return Prepared(weight.t() if self.back else weight, rows)


def beside(parts: list[Tensor]) -> Tensor:
    """Matrices side by side."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


# Forward


def forward(loop: Loop) -> None:
    """Fill the loop's buffers."""
    products = Products(loop, back=False)
    for rows, n in spans(loop.sizes, backwards=False):
        if loop.query_first:
            attend(loop, products, loop.levels[-1].hidden[:n], rows)
        feeds = [] if loop.fed is None else [loop.fed[:n]]
        if loop.context_weight is not None and loop.context is not None:
            feeds.append(loop.context[rows])
        given = None
        for number, level in enumerate(loop.levels):
            if given is not None:
                feeds = [read(level, given, rows)]
            hidden = climb(loop, products, number, feeds, rows)
            given = hidden + given if given is not None and loop.residual else hidden
        assert given is not None
        if loop.top is not loop.levels[-1].outputs:
            loop.top[rows] = given
        if not loop.query_first:
            attend(loop, products, given, rows)
        if loop.out is not None:
            say(loop, products, given, rows)


def read(level: Level, given: Tensor, rows: slice) -> Tensor:
    """What a layer reads of what the layer below gave."""
    below = given if level.mask is None else given * level.mask[rows]
    if level.below is not None:
        level.below[rows] = below
    return below


def climb(loop: Loop, products: Products, number: int, feeds: list[Tensor], rows: slice) -> Tensor:
    """One step of one layer, which reads `feeds` besides what was known before: h `[n, H]`."""
    level, inputs = loop.levels[number], products.inputs[number]
    gates, outputs = level.gates[rows], level.outputs[rows]
    hidden = level.hidden[: outputs.size(0)]
    kept = () if level.previous is None or level.extra is None else (level.previous[rows], level.extra[rows])
    if loop.cell == "gru":
        assert level.new_bias is not None
        inputs.add_to(gates, beside(feeds))
        gru(gates, products.hidden[number](hidden), level.new_bias, hidden, kept, outputs)
    else:
        inputs.add_to(gates, beside([hidden, *feeds]))
        if loop.cell == "lstm":
            assert level.memory is not None
            lstm(gates, level.memory[: outputs.size(0)], kept, outputs)
        else:
            outputs.copy_(gates.tanh_() if loop.cell == "tanh" else gates.relu_())
    return hidden.copy_(outputs)


def attend(loop: Loop, products: Products, query: Tensor, rows: slice) -> None:
    """Weights and context of the queries `[n, H]`."""
    if products.keys is None or loop.values is None or loop.weights is None or loop.context is None:
        return
    n = query.size(0)
    keys = products.keys[:n]  # [n, S, A]
    if loop.energy is None:
        scores = torch.bmm(query.unsqueeze(1), keys.mT).squeeze(1)  # [n, S]
    else:
        assert products.query is not None
        query = products.query(query)  # [n, A]
        if loop.query is not None:
            loop.query[rows] = query
        units = torch.add(keys, query.unsqueeze(1), alpha=2).sigmoid_()  # [n, S, A]
        scores = torch.mv(units.flatten(0, 1), loop.energy * 2).view(n, -1)
    if loop.holes is not None:
        scores.masked_fill_(loop.holes[:n], torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, 1, out=loop.weights[rows])
    if loop.holes is not None:
        weights.masked_fill_(loop.holes[:n], 0.0)  # where a memory is empty
    torch.bmm(weights.unsqueeze(1), loop.values[:n], out=loop.context[rows].unsqueeze(1))


def say(loop: Loop, products: Products, top: Tensor, rows: slice) -> None:
    """The output, and what is fed."""
    assert loop.out is not None and loop.said is not None and loop.fed is not None
    said = loop.said[rows]
    if products.readout is None:
        said.copy_(top)
    else:
        mixed = [top] if loop.readout_context is None or loop.context is None else [top, loop.context[rows]]
        products.readout.add_to(said, beside(mixed)).tanh_()
    out = said if loop.out_mask is None else torch.mul(said, loop.out_mask[rows], out=loop.out[rows])
    loop.fed[: top.size(0)] = out


# Backward


def backward(loop: Loop, slopes: Slopes) -> None:
    """Fill the gradients; the gates become theirs."""
    products = Products(loop, back=True)
    for rows, n in spans(loop.sizes, backwards=True):
        top = hear(loop, slopes, products, rows)  # [n, H]
        if not loop.query_first:
            asked = attended(loop, slopes, products, rows, n)
            top = top if asked is None else top + asked
        context = descend(loop, slopes, products, top, rows)
        if loop.query_first and context is not None:
            assert slopes.context is not None
            slopes.context[rows] += context
            asked = attended(loop, slopes, products, rows, n)
            assert asked is not None
            slopes.levels[-1].hidden[:n] += asked


def hear(loop: Loop, slopes: Slopes, products: Products, rows: slice) -> Tensor:
    """The gradient of the top `[n, H]` by the outputs, and that of the context into its buffer."""
    if slopes.out is None or slopes.fed is None or loop.said is None:
        assert slopes.top is not None
        return slopes.top[rows]
    out = slopes.out[rows]
    out.add_(slopes.fed[: out.size(0)])
    if loop.out_mask is not None:
        out.mul_(loop.out_mask[rows])
    if products.readout is None:
        return out
    tanh_backward.grad_input(out, loop.said[rows], grad_input=out)
    mixed = products.readout(out)  # [n, H + C]
    size = loop.top.size(1)
    if slopes.context is not None:
        slopes.context[rows] += mixed[:, size:]
    return mixed[:, :size]


def attended(loop: Loop, slopes: Slopes, products: Products, rows: slice, n: int) -> Tensor | None:
    """The gradient of the query `[n, H]` by weights and context."""
    if products.keys is None or loop.values is None or loop.weights is None or slopes.context is None:
        return None
    assert slopes.scores is not None
    keys = products.keys[:n]
    weights = torch.bmm(slopes.context[rows].unsqueeze(1), loop.values[:n].mT).squeeze(1)  # [n, S]
    if slopes.weights is not None:
        weights.add_(slopes.weights[rows])
    scores = slopes.scores[rows]
    torch._softmax_backward_data(weights, loop.weights[rows], 1, scores.dtype, grad_input=scores)
    if loop.energy is None:
        return torch.bmm(scores.unsqueeze(1), keys).squeeze(1)
    assert loop.query is not None and slopes.query is not None and slopes.keys is not None
    assert slopes.energy is not None and products.query is not None
    # [n, S, A], computed again: memory stays small
    units = torch.add(keys, loop.query[rows].unsqueeze(1), alpha=2).sigmoid_()
    torch.bmm(scores.unsqueeze(1) * 2, units, out=slopes.energy[rows].unsqueeze(1))  # the scores' gradients sum to 0
    inner = sigmoid_backward(scores.unsqueeze(2) * (loop.energy * 4), units)  # tanh' = 4 s (1 - s)
    slopes.keys[:n] += inner
    return products.query(torch.sum(inner, 1, out=slopes.query[rows]))


def descend(loop: Loop, slopes: Slopes, products: Products, top: Tensor, rows: slice) -> Tensor | None:
    """Back through all layers; the gradient of a context that they read `[n, C]`."""
    n = top.size(0)
    for number in reversed(range(len(loop.levels))):
        level, slope = loop.levels[number], slopes.levels[number]
        hidden = slope.hidden[:n]
        hidden.add_(top)
        size = hidden.size(1)
        gates = level.gates[rows]
        if loop.cell == "gru":
            assert level.previous is not None and level.extra is not None
            gru_back(gates, slope.through[rows], hidden, level.previous[rows], level.extra[rows])
            products.hidden[number].add_to(hidden, slope.through[rows])
            inputs = products.inputs[number](gates)
        else:
            if loop.cell == "lstm":
                assert level.previous is not None and level.extra is not None and slope.memory is not None
                lstm_back(gates, hidden, slope.memory[:n], level.previous[rows], level.extra[rows])
            elif loop.cell == "tanh":
                tanh_backward.grad_input(hidden, gates, grad_input=gates)
            else:
                torch.mul(hidden, gates > 0, out=gates)
            mixed = products.inputs[number](gates)  # [n, H + ...]
            hidden.copy_(mixed[:, :size])
            inputs = mixed[:, size:]
        if number > 0:
            below = inputs if level.mask is None else inputs * level.mask[rows]
            top = below + top if loop.residual else below
    return leave(loop, slopes, inputs)


def leave(loop: Loop, slopes: Slopes, inputs: Tensor) -> Tensor | None:
    """Split the gradient of what the lowest layer read: the fed output's stays, the context's is returned."""
    fed = 0
    if slopes.fed is not None:
        fed = slopes.fed.size(1)
        slopes.fed[: inputs.size(0)] = inputs[:, :fed]
    return None if loop.context_weight is None else inputs[:, fed:]
