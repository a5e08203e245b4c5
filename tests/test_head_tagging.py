"""Tagging: what it says, how sure it is, the rules of spans, the errors."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from seq2att import registry, testing
from seq2att.field import TagsField
from seq2att.head import Tagging
from seq2att.head.transitions import marginals
from seq2att.testing.cases import Case
from seq2att.types import Batch, Column, Encoding, select
from tests.refusals import refused

CHAINS = [{}, {"transitions": True}, {"hidden": 5}, {"constrain": False}, {"transitions": True, "constrain": False}]


def tagging_case(source: str = "text", encoder: str = "lstm", **options: Any) -> Case:
    return testing.make_case(
        {
            "head": {"name": "tagging", **options},
            "target": {"name": "tags"},
            "source": {**testing.DEFAULTS["source"]} if source == "text" else {"name": source},
            "encoder": {"name": encoder, "size": 4} if encoder != "none" else {"name": "none"},
        }
    )


def head_for(tags: list[str], memory_size: int = 5, **options: Any) -> Tagging:
    field = TagsField()
    field.fit(tags)
    torch.manual_seed(1)
    return Tagging(memory_size, field, **options).double().eval()


def encoding_of(lengths: list[int], size: int = 5, scale: float = 3.0) -> Encoding:
    torch.manual_seed(2)
    outputs = torch.randn(len(lengths), max(lengths), size, dtype=torch.float64) * scale
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return Encoding(outputs, mask, ())


@pytest.mark.parametrize("options", CHAINS, ids=str)
def test_the_laws_hold_with_every_option(options: dict[str, Any]) -> None:
    testing.check("head", "tagging", options)


@pytest.mark.parametrize(("source", "encoder"), [("vectors", "lstm"), ("vectors", "none"), ("numbers", "gru")])
def test_frames_are_tagged(source: str, encoder: str) -> None:
    case = tagging_case(source, encoder, transitions=True)
    said = case.model.predict(case.batch, None)
    assert [len(prediction.tokens) for prediction in said] == case.batch.source.lengths.tolist()
    torch.testing.assert_close(case.model(case.batch).total, -case.model.score(case.batch).sum())


@pytest.mark.parametrize("options", CHAINS, ids=str)
def test_a_prediction_is_scored_as_the_head_scores_it(options: dict[str, Any]) -> None:
    case = tagging_case(**options)
    said = case.model.predict(case.batch, None)
    for row, prediction in enumerate(said):
        part = testing.row_of(case.batch, row)
        ids = torch.from_numpy(case.model.target.encode(prediction.value)).long().unsqueeze(0)
        score = case.model.score(part._replace(target=Column(ids, part.source.lengths)))
        assert prediction.score == pytest.approx(score.item(), abs=1e-12)
        alone = case.model.predict(part, None)[0]
        assert alone.value == prediction.value == prediction.text == " ".join(prediction.tokens)
        assert alone.score == pytest.approx(prediction.score, abs=1e-12)
        assert prediction.token_scores == pytest.approx(alone.token_scores, abs=1e-12)
        assert len(prediction.tokens) == len(prediction.token_scores) == len(prediction.source_tokens)
        assert max(prediction.token_scores) <= 1e-12
        if not options.get("transitions"):
            assert sum(prediction.token_scores) == pytest.approx(prediction.score)


@torch.no_grad()
def test_the_factors_of_a_crf_are_given_the_tags_before() -> None:
    """Brute force: the sums over all that may follow, after the right tag and after each of the others."""
    head = head_for(["O B-x I-x"], transitions=True)
    assert head.transitions is not None
    for parameter in head.transitions.parameters():
        parameter.normal_()
    lengths, tags = torch.tensor([4, 2]), torch.tensor([[2, 0, 1, 1], [1, 0, 0, 0]])
    encoding = encoding_of(lengths.tolist())
    found = head.token_scores(encoding, Column(tags, lengths))
    assert found[1, 2:].tolist() == [0, 0]
    for place in range(4):
        beginnings = [tags.masked_fill(torch.arange(4) >= place, -1) for _ in range(3)]
        for tag, one in enumerate(beginnings):
            one[:, place] = tag
        log_probs = torch.stack([head.score(encoding, Column(one, lengths)) for one in beginnings], 1).log_softmax(1)
        expected = log_probs.gather(1, tags[:, place : place + 1]).squeeze(1)
        real = place < lengths
        torch.testing.assert_close(found[real, place], expected[real], rtol=0, atol=1e-10)


@pytest.mark.parametrize("transitions", [False, True])
def test_no_answer_breaks_the_rules(transitions: bool) -> None:
    tags = ["O B-x I-x O B-y I-y", "B-x B-y O", "O O O"]
    lengths = [9, 4, 1, 7] * 8
    free = head_for(tags, transitions=transitions, constrain=False)
    bound = head_for(tags, transitions=transitions)
    bound.load_state_dict(free.state_dict())
    for module in (free, bound):
        if module.transitions is not None:
            torch.nn.init.constant_(module.transitions.pairs, 0.3)
    follow = free.target.valid_transitions()
    assert follow is not None
    assert not follow.all()

    def broken(head: Tagging) -> int:
        said = head.predict(encoding_of(lengths))
        ids = [[5, *free.target.encode(prediction.value), 5] for prediction in said]  # 5 tags: the last is the edge
        return sum(not follow[one, two] for row in ids for one, two in itertools.pairwise(row))

    assert broken(free) > 0
    assert broken(bound) == 0
    assert bound.follow is not None
    assert "follow" not in bound.state_dict()


def test_without_spans_there_is_nothing_to_constrain() -> None:
    head = head_for(["NOUN VERB", "DET NOUN"])
    assert head.follow is None
    assert head.metrics == ("tag_accuracy",)
    assert Tagging.metrics == head_for(["B-x O"]).metrics == ("tag_accuracy", "span_f1")


def test_an_empty_source_gets_an_empty_answer() -> None:
    for options in CHAINS:
        said = head_for(["B-x I-x O"], **options).predict(encoding_of([2, 0, 3]))
        assert [len(prediction.tokens) for prediction in said] == [2, 0, 3]
        assert (said[1].value, said[1].score, said[1].tokens, said[1].token_scores) == ("", 0.0, (), ())
    case = tagging_case()
    empty: Batch = select(case.batch, torch.tensor([0, 1]))
    empty = empty._replace(source=Column(empty.source.values, torch.tensor([0, 2])))
    assert case.model.predict(empty, None)[0].value == ""


@pytest.mark.parametrize("transitions", [False, True])
def test_unseen_tags_are_left_out(transitions: bool) -> None:
    head = head_for(["B-x I-x O"], transitions=transitions)
    if head.transitions is not None:
        torch.nn.init.normal_(head.transitions.pairs)
    encoding = encoding_of([3, 2])
    target = Column(torch.tensor([[0, -1, 2], [1, 0, 0]]), torch.tensor([3, 2]))
    loss, scores = head.loss(encoding, target), head.score(encoding, target)
    assert int(loss.count) == 4
    torch.testing.assert_close(loss.total, -scores.sum())
    each = [head.score(encoding, target._replace(values=torch.tensor([[0, k, 2], [1, 0, 0]])))[0] for k in range(3)]
    if transitions:
        torch.testing.assert_close(scores[0], torch.stack(each).logsumexp(0))
    else:
        log_probs = head.emissions(encoding).log_softmax(2)
        torch.testing.assert_close(scores[0], log_probs[0, 0, 0] + log_probs[0, 2, 2])


@pytest.mark.parametrize("transitions", [False, True])
def test_tags_that_are_the_likeliest_by_themselves_are_counted(transitions: bool) -> None:
    head = head_for(["B-x I-x O"], transitions=transitions)
    if head.transitions is not None:
        torch.nn.init.normal_(head.transitions.pairs, std=3.0)
    encoding, lengths = encoding_of([3, 2]), torch.tensor([3, 2])
    emissions = head.emissions(encoding)
    chances = emissions if head.transitions is None else marginals(emissions, lengths, head.transitions.chain())
    best = chances.argmax(2)
    assert head.loss(encoding, Column(best, lengths)).correct == 5
    other = best.clone()
    other[0, 0], other[1, 1] = (best[0, 0] + 1) % 3, -1
    assert head.loss(encoding, Column(other, lengths)).correct == 3


def test_float32_loses_little() -> None:
    for options in CHAINS:
        case = tagging_case(**options)
        wanted = case.model.score(case.batch)
        found = case.model.float().score(case.batch)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-4)
        assert case.model(case.batch).total.dtype == torch.float32


@pytest.mark.parametrize("transitions", [False, True])
def test_it_learns_what_depends_on_the_neighbour(transitions: bool) -> None:
    """After a B comes an I, which nothing but the tag before tells: the chain alone can know."""
    head = head_for(["B-x I-x O"], memory_size=1, transitions=transitions, constrain=False).float().train()
    row = torch.tensor([0, 1, 2, 2, 0, 1, 2, 0, 1])
    seen = torch.where(row == 1, 2, row).float()  # I-x looks as O does
    encoding = Encoding(seen.view(1, -1, 1), torch.ones(1, 9, dtype=torch.bool), ())
    target = Column(row.unsqueeze(0), torch.tensor([9]))
    optimizer = torch.optim.Adam(head.parameters(), 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        head.loss(encoding, target).total.backward()
        optimizer.step()
    assert (head.eval().predict(encoding)[0].value == "B-x I-x O O B-x I-x O B-x I-x") == transitions


def test_settings_that_cannot_be() -> None:
    field = registry.build("field", testing.DEFAULTS | {"field": testing.DEFAULTS["target"]})
    field.fit(["ab"])
    with refused("E-conflict", "target=text"):
        Tagging(3, field)


def test_lengths_that_differ_are_refused() -> None:
    head = head_for(["a b"])
    with refused("E-length", "head=tagging") as caught:
        head.loss(encoding_of([3, 2]), Column(torch.zeros(2, 3, dtype=torch.long), torch.tensor([3, 1])))
    assert "row 2 of a batch has 2 items in its source and 1 tags" in caught.value.problem
    with refused("E-length", "head=tagging"):
        head.score(encoding_of([3]), Column(torch.zeros(1, 4, dtype=torch.long), torch.tensor([4])))
