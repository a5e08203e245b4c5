"""Pooling and classification against PyTorch's own functions and equations written out."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from seq2att import testing
from seq2att.attention import Additive, Attention, NoAttention
from seq2att.field import LabelField, NumberField, TextField
from seq2att.head import Classification
from seq2att.head.pooling import Pool
from seq2att.tokenizer import CharTokenizer
from seq2att.types import Column, Encoding, length_mask
from tests.refusals import refused

LENGTHS = torch.tensor([4, 1, 0, 2])
M = 5


def attention(query_size: int, memory_size: int) -> Attention:
    return Additive(query_size, memory_size, size=3)


def label_field(*values: str, unseen: Any = "count") -> LabelField:
    field = LabelField(unseen=unseen)
    field.fit(values)
    return field


def encoding(final: bool = True) -> Encoding:
    torch.manual_seed(3)
    outputs = torch.randn(4, 4, M, dtype=torch.float64)
    return Encoding(outputs, length_mask(LENGTHS, 4), (torch.randn(4, 2, M, dtype=torch.float64),) * 2 if final else ())


def head(field: LabelField, pool: Any = ("mean",), **options: Any) -> Classification:
    torch.manual_seed(1)
    return Classification(M, field, attention, pool=pool, **options).double().eval()  # type: ignore[arg-type]


def column(*ids: int) -> Column:
    return Column(torch.tensor(ids).unsqueeze(1), torch.ones(len(ids), dtype=torch.long))


THREE = label_field("a", "a", "a", "b", "b", "c")


def test_pools_are_what_they_are_called() -> None:
    source = encoding()
    pool = Pool(M, ["last", "mean", "max", "attend"], attention).double()  # type: ignore[arg-type]
    found = pool(source)
    assert found.values.shape == (4, pool.output_size) == (4, 4 * M)
    assert found.weights is not None
    for row, length in enumerate(LENGTHS.tolist()):
        last, mean, largest, attended = found.values[row].split(M)
        real = source.outputs[row, :length]
        torch.testing.assert_close(last, source.final[0][row, 1])
        torch.testing.assert_close(mean, real.mean(0) if length else torch.zeros_like(mean))
        torch.testing.assert_close(largest, real.amax(0) if length else torch.zeros_like(mean))
        torch.testing.assert_close(attended, found.weights[row, :length] @ real)
        assert float(found.weights[row, :length].sum().detach()) == pytest.approx(float(length > 0))
        assert not found.weights[row, length:].any()


def test_attending_is_an_attention_with_one_query() -> None:
    source = encoding()
    pool = Pool(M, ["attend"], attention).double()  # type: ignore[arg-type]
    part: Any = pool.attention
    units = torch.tanh(pool.query @ part.query.weight.T + source.outputs @ part.key.weight.T + part.key.bias)
    energies = (units @ part.energy.weight[0]).masked_fill(~source.mask, -torch.inf)
    weights = energies.softmax(1).nan_to_num()
    torch.testing.assert_close(pool(source).weights, weights)
    torch.testing.assert_close(pool(source).values, (weights.unsqueeze(2) * source.outputs).sum(1))


def test_pools_that_cannot_be() -> None:
    with refused("E-choice", "head.pool=[]"):
        Pool(M, [], attention)  # type: ignore[arg-type]
    with refused("E-choice", "head.pool=['max', 'max']"):
        Pool(M, ["max", "max"], attention)  # type: ignore[arg-type]
    with refused("E-conflict", "head.pool=attend"):
        Pool(M, ["attend"], NoAttention)  # type: ignore[arg-type]
    with refused("E-conflict", "head.pool=last"):
        Pool(M, ["last"], attention)(encoding(final=False))  # type: ignore[arg-type]


def test_the_attention_is_made_only_where_it_is_used() -> None:
    assert not list(Pool(M, ["last", "mean"], attention).parameters())  # type: ignore[arg-type]


@pytest.mark.parametrize("hidden", [None, 6])
def test_the_loss_is_cross_entropy(hidden: int | None) -> None:
    model = head(THREE, hidden=hidden, activation="relu")
    values = model.pool(encoding()).values
    if model.hidden is not None:
        values = model.hidden(values).relu()
    logits = model.output(values)
    target = torch.tensor([0, 2, 1, 0])
    loss = model.loss(encoding(), column(*target.tolist()))
    torch.testing.assert_close(loss.total, functional.cross_entropy(logits, target, reduction="sum"))
    assert loss.count == 4


def test_two_classes_share_one_logit() -> None:
    field = label_field("neg", "pos")
    model = head(field)
    assert model.output.weight.shape == (1, M)
    logits = model.output(model.pool(encoding()).values).squeeze(1)
    target = torch.tensor([1, 0, 1, 1])
    expected = functional.binary_cross_entropy_with_logits(logits, target.double(), reduction="sum")
    torch.testing.assert_close(model.loss(encoding(), column(*target.tolist())).total, expected)
    chances = [(prediction.probabilities or {})["pos"] for prediction in model.predict(encoding())]
    assert chances == pytest.approx(logits.sigmoid().tolist())


@pytest.mark.parametrize("names", [("neg", "pos"), ("a", "b", "c")])
def test_right_labels_are_counted(names: tuple[str, ...]) -> None:
    model = head(label_field(*names), label_smoothing=0.3)
    predicted = [names.index(prediction.value) for prediction in model.predict(encoding())]
    assert model.loss(encoding(), column(*predicted)).correct == 4
    wrong = [(label + 1) % len(names) for label in predicted]
    assert model.loss(encoding(), column(predicted[0], -1, *wrong[2:])).correct == 1


def test_an_unseen_label_is_left_out_of_loss_and_score() -> None:
    model = head(THREE)
    loss, score = model.loss(encoding(), column(0, -1, 2, -1)), model.score(encoding(), column(0, -1, 2, -1))
    assert loss.count == 2
    assert score[1] == score[3] == 0
    torch.testing.assert_close(loss.total, -score.sum())
    missing = Column(torch.zeros(4, 0, dtype=torch.long), torch.zeros(4, dtype=torch.long))
    assert model.loss(encoding(), missing).count == 0
    assert model.loss(encoding(), missing).total == 0


def test_weights_and_smoothing_count_in_training_only() -> None:
    target = torch.tensor([0, 2, 1, 0])
    plain = head(THREE)
    heavy = head(THREE, class_weights="balanced", weights={"c": 7.0}, label_smoothing=0.2)
    wanted = column(*target.tolist())
    torch.testing.assert_close(heavy.loss(encoding(), wanted).total, plain.loss(encoding(), wanted).total)
    heavy.train()
    logits = heavy.output(heavy.pool(encoding()).values)
    weights = torch.tensor([6 / (3 * 3), 6 / (3 * 2), 7.0], dtype=torch.float64)
    torch.testing.assert_close(heavy.weights, weights)
    plain_loss = functional.cross_entropy(logits, target, reduction="none", label_smoothing=0.2)
    torch.testing.assert_close(heavy.loss(encoding(), wanted).total, (plain_loss * weights[target]).sum())
    assert heavy.loss(encoding(), wanted).count == 4
    assert "weights" not in heavy.state_dict()


def test_dropout_falls_in_training_only() -> None:
    model = head(THREE, hidden=40, dropout=0.5)
    same = model.features(encoding()).values
    torch.testing.assert_close(model.features(encoding()).values, same)
    model.train()
    assert (model.features(encoding()).values == 0).double().mean().item() == pytest.approx(0.5, abs=0.15)


def test_what_is_predicted() -> None:
    model = head(THREE, pool=("attend", "max"))
    found = model.predict(encoding())
    score = torch.stack([model.score(encoding(), column(*[number] * 4)) for number in range(3)], 1).detach()  # [B, C]
    for row, prediction in enumerate(found):
        assert prediction.value == prediction.text == THREE.classes[int(score[row].argmax())]
        assert prediction.score == pytest.approx(float(score[row].max()))
        assert prediction.token_scores == (prediction.score,)
        assert prediction.tokens == (prediction.value,)
        assert prediction.probabilities is not None
        chances = list(prediction.probabilities.values())
        assert next(iter(prediction.probabilities)) == prediction.value
        assert chances == sorted(chances, reverse=True)
        assert sum(chances) == pytest.approx(1)
        assert {name: pytest.approx(chance) for name, chance in prediction.probabilities.items()} == dict(
            zip(THREE.classes, score[row].exp().tolist(), strict=True)
        )
        assert prediction.attention is not None
        assert prediction.attention.shape == (1, int(LENGTHS[row]))
    assert head(THREE).predict(encoding())[0].attention is None


def test_settings_that_cannot_be() -> None:
    with refused("E-conflict", "target=text"):
        Classification(M, TextField(CharTokenizer), attention)  # type: ignore[arg-type]
    with refused("E-conflict", "target=number"):
        Classification(M, NumberField(), attention)  # type: ignore[arg-type]
    with refused("E-label", "head=classification"):
        head(label_field("spam"))
    with refused("E-label", "head.weights.d"):
        head(THREE, weights={"d": 1.0})


@pytest.mark.parametrize("source", ["vectors", "numbers"])
def test_sequences_of_numbers_are_classified_too(source: str) -> None:
    changes = {"source": {"name": source}, "target": {"name": "label"}, "head": {"name": "classification"}}
    case = testing.make_case({**changes, "attention": {"name": "additive", "size": 3}})
    for law in testing.MODEL_LAWS:
        if law.__name__ in ("padding", "gradient", "loss", "empty", "bundle"):
            law(case)
    answers = case.model.predict(case.batch._replace(target=None), None)
    assert {answer.value for answer in answers} <= {"calm", "glad", "sad"}
