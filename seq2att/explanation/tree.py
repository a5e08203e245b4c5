"""The tree of a search: every beginning that it followed, seen through the generator that it calls."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from seq2att.explanation.result import Node
from seq2att.field import Field
from seq2att.search import Generates
from seq2att.types import BEGIN, END, Encoding, Hypotheses, Memory, State, Step

ROOT = -1  # what the first node continues


class TreeState(NamedTuple):
    """The state of a generator, and which node of the tree it is after."""

    inner: State
    nodes: Tensor  # [N]
    log_probs: Tensor  # [N, V] of the next token; [N, 1] at first


class SearchTree:
    """A generator that notes what a search asks it; any search can use it, for one row.

    A search takes rows of the state to follow a beginning, so the state itself says which beginning is continued.
    """

    def __init__(self, generator: Generates, target: Field) -> None:
        self.generator = generator
        self.target = target
        self.nodes: list[Node] = []
        self.index: dict[tuple[int, int], int] = {}  # of a node, by its parent and its last token
        self.end_log_probs: list[float] = []  # of every node

    def start(self, encoding: Encoding) -> tuple[Memory, State]:
        """Start the generator."""
        memory, state = self.generator.start(encoding)
        rows = encoding.mask.size(0)
        nodes = torch.full((rows,), ROOT, device=encoding.mask.device)
        return memory, TreeState(state, nodes, encoding.outputs.new_zeros(rows, 1))

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        """Compute the step after `tokens` `[N]`, and note each of them under the node that it continues."""
        step = self.generator.step(tokens, memory, state.inner)
        parents, ids = state.nodes.tolist(), tokens.tolist()
        places = tokens.clamp(max=state.log_probs.size(1) - 1).unsqueeze(1)
        log_probs = state.log_probs.gather(1, places).squeeze(1).tolist()
        nodes = [self.node(*row) for row in zip(parents, ids, log_probs, strict=True)]
        for node, ends in zip(nodes, step.log_probs[:, END].tolist(), strict=True):
            self.end_log_probs += [ends] * (node == len(self.end_log_probs))
        after = TreeState(step.state, tokens.new_tensor(nodes), step.log_probs.clone())  # a search writes into it
        return step._replace(state=after)

    def node(self, parent: int, token: int, log_prob: float) -> int:
        """The node of a token after another node; a new one where the search has not been there."""
        if (parent, token) not in self.index:
            self.index[parent, token] = len(self.nodes)
            (piece,) = self.target.pieces([token])
            before = Node(ROOT, None, "", -1, 0.0, 0.0, False) if parent == ROOT else self.nodes[parent]
            log_prob = 0.0 if parent == ROOT else log_prob
            identity = (len(self.nodes), None if parent == ROOT else parent, piece, before.step + 1)
            self.nodes.append(Node(*identity, log_prob, before.score + log_prob, token == END))
        return self.index[parent, token]

    def finish(self, hypotheses: Hypotheses) -> tuple[Node, ...]:
        """All nodes, with the ends of the hypotheses of the one row."""
        for rank, length in enumerate(hypotheses.lengths[0].tolist()):
            node = self.index.get((ROOT, BEGIN))
            for token in hypotheses.tokens[0, rank, : max(length - 1, 0)].tolist():
                node = None if node is None else self.index.get((node, token))
            if node is None or length == 0:  # of a search that made it without asking
                continue
            end = self.node(node, END, self.end_log_probs[node])
            if self.nodes[end].rank is None:
                ranked_by = float(hypotheses.scores[0, rank])
                self.nodes[end] = self.nodes[end]._replace(rank=rank, ranked_by=ranked_by)
        return tuple(self.nodes)


__all__ = ["SearchTree", "TreeState"]
