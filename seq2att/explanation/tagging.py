"""The path of a tagger: the scores of the CRF, and how the best path is found."""

from __future__ import annotations

import torch

from seq2att.explanation.recorder import Recorder
from seq2att.head import Tagging
from seq2att.head.transitions import log_partition, path_score, to_double, viterbi
from seq2att.types import Encoding


def note_path(recorder: Recorder, head: Tagging, encoding: Encoding) -> None:
    """Note the transitions, the search for the best path, and the score of the path."""
    emissions = recorder.get("head.emissions")
    if emissions is None:
        return
    emissions, lengths = emissions.detach().unsqueeze(0), encoding.mask.sum(1)  # [1, S, K], [1]
    tags, chain = head.best(emissions, lengths), head.chain()
    if head.transitions is not None:
        scores = head.transitions.chain()
        recorder.once("crf.start", scores.start.detach().unsqueeze(0), ("tag",))
        recorder.once("crf.transitions", scores.pairs.detach().unsqueeze(0), ("previous_tag", "tag"))
        recorder.once("crf.end", scores.end.detach().unsqueeze(0), ("tag",))
    if chain is not None:
        best = viterbi(emissions, chain).transpose(0, 1)  # [1, S, K]
        previous = (best[:, :-1].unsqueeze(3) + chain.pairs.detach()).argmax(2)  # [1, S - 1, K]
        previous = torch.cat([torch.full_like(best[:, :1], -1, dtype=torch.long), previous], 1)
        recorder.once("crf.viterbi_scores", best, ("source", "tag"), "δ_s(k) = e_s(k) + max_j (δ_{s-1}(j) + A_jk)")
        recorder.once("crf.backpointers", previous, ("source", "tag"), "argmax_j (δ_{s-1}(j) + A_jk)")
    recorder.once("head.best_path", tags, ("source",), "argmax")
    if head.transitions is not None:
        double = to_double(emissions)
        equation = "Σ_s e_s(y_s) + start(y_1) + Σ_s A(y_{s-1}, y_s) + end(y_S)"
        recorder.once("crf.path_score", path_score(double, lengths, tags, scores).detach(), (), equation)
        recorder.once("crf.log_partition", log_partition(double, lengths, scores).detach(), (), "log Σ_y exp(score(y))")
