"""Every registered component keeps the laws of its kind, and every law fails on a mutant planted for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from seq2att import registry, testing
from seq2att.attention import Additive, General
from seq2att.decoder import DecoderState, LSTMDecoder
from seq2att.encoder import LSTMEncoder
from seq2att.errors import UserError
from seq2att.field import LabelField, NumberField, TagsField
from seq2att.head import Classification, Regression, Tagging, Translation
from seq2att.head.pooling import Pooled
from seq2att.output import Linear
from seq2att.recurrence.feedback import Fused
from seq2att.search import Beam
from seq2att.types import (
    Attended,
    CarriedState,
    Column,
    Decoded,
    Encoding,
    Loss,
    Memory,
    State,
    Step,
    length_mask,
    select,
)

registry.load()
FILES = {  # readers need a file to read: its name, its content, the options that name it
    "tsv": ("x.tsv", "a\tb\nc\td\n", {"train": "x.tsv"}),
    "csv": ("x.csv", "source,target\na,b\n", {"train": "x.csv"}),
    "jsonl": ("x.jsonl", '{"source": "a", "target": "b"}\n', {"train": "x.jsonl"}),
    "lines": ("x.txt", "a b\n\nc\n", {"train": "x.txt"}),
    "document": ("x.txt", "a b\n\nc\n", {"train": "x.txt", "piece": 3}),
    "folder": ("x.txt", "a\nb\n", {}),
    "given": ("x.txt", "", {"train": ["a\tb"]}),
    "conll": ("x.txt", "a B-X\nb O\n\nc O\n", {"train": "x.txt"}),
    "conllu": ("x.conllu", "# c\n1\ta\ta\tX\t_\t_\t0\troot\t_\t_\n", {"train": "x.conllu"}),
}
ALL = [(kind, name) for kind in registry.kinds() for name in registry.entries(kind)]
IN_READER_TESTS = {"parallel", "parquet", "huggingface", "package"}  # need more than one text file


@pytest.mark.parametrize(("kind", "name"), ALL, ids=lambda value: value)
def test_every_component_keeps_the_laws(kind: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {"tokenizer": {"sentencepiece": {"size": 14}}}.get(kind, {}).get(name, {})
    if kind == "reader" and name in FILES:
        file, content, options = FILES[name]
        (tmp_path / file).write_text(content)
        monkeypatch.chdir(tmp_path)
    elif kind == "reader" and name in IN_READER_TESTS:
        options = write_data(name, tmp_path)
    testing.check(kind, name, options)


def write_data(name: str, folder: Path) -> dict[str, Any]:
    """A small data set for a reader that needs more than one text file."""
    if name == "parallel":
        for side in ("de", "en"):
            (folder / f"train.{side}").write_text("a\nb\n")
        return {"train": str(folder / "train"), "validation": None, "test": None, "source": "de", "target": "en"}
    if name == "package":
        pytest.importorskip("sacrebleu")
        return {"package": "sacrebleu", "path": "metrics/__init__.py", "pattern": r"(?P<source>.*)(?P<target>.?)$"}
    import datasets

    data = datasets.Dataset.from_dict({"source": ["a", "b"], "target": ["c", "d"]})
    if name == "parquet":
        data.to_parquet(str(folder / "x.parquet"))
        return {"train": str(folder / "x.parquet"), "source": "source", "target": "target"}
    datasets.DatasetDict({"train": data}).save_to_disk(str(folder / "set"))
    return {"path": str(folder / "set"), "validation": None, "test": None, "source": "source", "target": "target"}


def test_every_kind_has_laws() -> None:
    assert set(registry.kinds()) == set(testing.SURROUNDINGS) | set(testing.COMPONENT_LAWS)


# ---- mutants: each breaks one law, which must say so


class Unmasked(General):
    """Looks at padding."""

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        weights = self.score(query, memory.keys).softmax(-1)
        return Attended(weights @ memory.values, weights, state)


class Unnormalised(General):
    """Weights that do not sum to 1."""

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        found = super().forward(query, memory, state)
        return found._replace(weights=2 * found.weights)


class Infinite(General):
    """Fills padding with -inf, so that an empty memory gives NaN."""

    def forward(self, query: Tensor, memory: Memory, state: State = ()) -> Attended:
        scores = self.score(query, memory.keys).masked_fill(~memory.mask.unsqueeze(1), -torch.inf)
        weights = scores.softmax(-1)
        return Attended(weights @ memory.values, weights, state)


class Unused(Additive):
    """Has a parameter that nothing depends on."""

    def __init__(self, query_size: int, memory_size: int, *, size: int = 256) -> None:
        super().__init__(query_size, memory_size, size=size)
        self.more = torch.nn.Parameter(torch.zeros(3))


class Forgetful(LSTMDecoder):
    """Ignores its state."""

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        fresh = DecoderState(tuple(torch.zeros_like(part) for part in state.layers), state.attention, state.fed)
        return super().forward(inputs, memory, fresh, lengths)


class Mixing(LSTMDecoder):
    """Lets the rows of a batch see each other."""

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        return super().forward(inputs + inputs.sum(0, keepdim=True), memory, state, lengths)


class Hasty(LSTMDecoder):
    """Leaves out the last step of every row."""

    def forward(self, inputs: Tensor, memory: Memory, state: State, lengths: Tensor | None = None) -> Decoded:
        return super().forward(inputs, memory, state, None if lengths is None else (lengths - 1).clamp(min=0))


class Lying(General):
    """Says that it scores otherwise than it does."""

    def fused(self) -> Fused:
        return Fused("dot", scale=2.0)


class Padded(LSTMEncoder):
    """Reads padding as if it were text."""

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        found = super().forward(inputs, torch.full_like(lengths, inputs.size(1)))
        return found._replace(mask=length_mask(lengths, inputs.size(1)))


class Mean(Translation):
    """A mean where a sum is due."""

    def loss(self, *arguments: Any) -> Loss:
        found = super().loss(*arguments)
        return found._replace(total=found.total / found.count)


class Overcounting(Translation):
    """Counts padding as targets."""

    def loss(self, *arguments: Any) -> Loss:
        found = super().loss(*arguments)
        return found._replace(count=found.count + 1)


class Truncated(Translation):
    """Leaves the first token out of the token scores, and not out of the score."""

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        return super().token_scores(encoding, target).sum(1)

    def token_scores(self, encoding: Encoding, target: Column) -> Tensor:
        return super().token_scores(encoding, target)[:, 1:]


class Optimistic(Translation):
    """Counts padding as predicted right."""

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        found = super().loss(encoding, target, state)
        assert found.correct is not None
        return found._replace(correct=found.correct + (~target.mask()).sum())


class Neighbourly(Tagging):
    """Takes padding for the end of a row."""

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        full = torch.full_like(target.lengths, target.values.size(1))
        return super().loss(encoding._replace(mask=torch.ones_like(encoding.mask)), target._replace(lengths=full))

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        full = torch.full_like(target.lengths, target.values.size(1))
        return super().score(encoding._replace(mask=torch.ones_like(encoding.mask)), target._replace(lengths=full))


class Improper(Tagging):
    """Counts every row twice."""

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        found = super().loss(encoding, target)
        return found._replace(total=2 * found.total)


class Generous(Linear):
    """Log-probabilities that promise too much, in the loss as well."""

    def loss(self, outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        return -self.log_probs(outputs).gather(1, targets.unsqueeze(1)).sum()

    def log_probs(self, outputs: Tensor) -> Tensor:
        return super().log_probs(outputs) + 0.1


class Amnesiac(registry.find("head", "language_model").target):  # type: ignore[misc]
    """Forgets what it read of a running text."""

    def loss(self, encoding: Encoding, target: Column, state: State = ()) -> Loss:
        forgotten = CarriedState((), state.continues) if isinstance(state, CarriedState) else state
        return super().loss(encoding, target, forgotten)


class Unreordered(Translation):
    """Stands for a search that forgets to reorder: the state always comes back as it was for the first rows."""

    def step(self, tokens: Tensor, memory: Memory, state: State) -> Step:
        said = super().step(tokens, memory, state)
        shifted = torch.arange(tokens.numel()).roll(1)
        return said._replace(state=select(said.state, shifted))


class Endless(Beam):
    """Does not say the end."""

    def __call__(self, *arguments: Any) -> Any:
        found = super().__call__(*arguments)
        return found._replace(lengths=found.lengths - 1)


class Lossy(LSTMEncoder):
    """Holds a number outside its parameters, which no bundle carries."""

    def __init__(self, input_size: int, *, size: int = 256) -> None:
        super().__init__(input_size, size=size)
        self.factor = next(COUNTER)

    def forward(self, inputs: Tensor, lengths: Tensor) -> Encoding:
        found = super().forward(inputs, lengths)
        return found._replace(outputs=found.outputs * self.factor)


def counter() -> Iterator[float]:
    """A different number each time."""
    number = 1.0
    while True:
        number += 0.1
        yield number


COUNTER = counter()


class Reversed(TagsField):
    """Comes back from its files with another order."""

    def restore(self, files: Mapping[str, bytes]) -> None:
        super().restore(files)
        self.set_names(self.names[::-1])


class CaseFolding(registry.find("tokenizer", "char").target):  # type: ignore[misc]
    """Loses capitals, stands for a tokenizer that loses anything."""

    def decode(self, pieces: Any) -> str:
        return str(super().decode(pieces)).replace("b", "d")


class Hurried(registry.find("tokenizer", "word").target):  # type: ignore[misc]
    """Leaves out the last piece where there is more than one text."""

    def encode_batch(self, texts: Any) -> list[list[str]]:
        return [self.encode(text)[: -1 if len(texts) > 1 and len(text) > 5 else None] for text in texts]


class Restless(registry.find("reader", "reverse").target):  # type: ignore[misc]
    """Has another fingerprint whenever it is asked."""

    def fingerprint(self, split: str, root: Path | None) -> str:
        return f"{super().fingerprint(split, root)} {id(self)}"


class Sourceless(registry.find("reader", "reverse").target):  # type: ignore[misc]
    """Says that its rows have no source, and gives one."""

    absent = frozenset({"source"})


class Backwards(registry.find("metric", "exact").target):  # type: ignore[misc]
    """Says that less is better when more is."""

    higher_is_better = False


class Overlooking(Classification):
    """Scores a row by its likeliest label, whatever the right one is, but for the loss."""

    def score(self, encoding: Encoding, target: Column) -> Tensor:
        return self.outputs(encoding).values.amax(1)


class Diluted(Regression):
    """Divides by the length of the longest source."""

    def outputs(self, encoding: Encoding) -> Pooled:
        outputs = super().outputs(encoding)
        return outputs._replace(values=outputs.values + encoding.outputs.mean((1, 2)))


class Unordered(LabelField):
    """Forgets the order of its classes."""

    def restore(self, files: Mapping[str, bytes]) -> None:
        super().restore(files)
        self.set_classes(dict(zip(reversed(self.classes), self.counts, strict=True)))


class Drifting(NumberField):
    """Gives numbers back in another unit."""

    def decode(self, ids: Sequence[Any]) -> float:
        return super().decode(ids) + 1


def uphill(parameters: Any, *, learning_rate: float = 0.01) -> torch.optim.Optimizer:
    """Goes up the gradient."""
    return torch.optim.SGD(parameters, lr=learning_rate, maximize=True)


def speechless() -> None:
    """Gives no callback."""


def negative(optimizer: Any, steps: int, steps_per_epoch: int) -> dict[str, Any]:
    """A rate that falls below 0."""
    return {"scheduler": torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / 10)}


MUTANTS: list[tuple[str, Callable[..., Any], str]] = [
    ("attention", Unmasked, "padding law"),
    ("attention", Unnormalised, "padding law"),
    ("attention", Infinite, "empty law"),
    ("attention", Unused, "gradient law"),
    ("decoder", Forgetful, "chunk law"),
    ("attention", Lying, "chunk law"),
    ("decoder", Mixing, "row law"),
    ("decoder", Hasty, "padding law"),
    ("encoder", Padded, "padding law"),
    ("encoder", Lossy, "bundle law"),
    ("head", Mean, "padding law"),
    ("head", Overcounting, "loss law"),
    ("head", Truncated, "loss law.*token_scores"),
    ("head", Optimistic, "loss law"),
    ("head", Unreordered, "searching law"),
    ("head", Amnesiac, "running law"),
    ("head", Neighbourly, "padding law"),
    ("head", Improper, "loss law"),
    ("output", Generous, "distribution law"),
    ("search", Endless, "searching law"),
    ("tokenizer", CaseFolding, "comes back changed"),
    ("tokenizer", Hurried, "unknown pieces in its own training data|a batch is cut differently"),
    ("field", Reversed, "differently after restoring"),
    ("reader", Restless, "the fingerprint of train changes"),
    ("reader", Sourceless, "on a side that `absent` names"),
    ("metric", Backwards, "right answers score"),
    ("head", Overlooking, "loss law"),
    ("head", Diluted, "padding law"),
    ("field", Unordered, "encoded differently after restoring"),
    ("field", Drifting, "comes back changed"),
    ("optimizer", uphill, "do not lower the loss"),
    ("schedule", negative, "rates"),
    ("callback", speechless, "returns NoneType"),
]


@pytest.mark.parametrize(("kind", "mutant", "law"), MUTANTS, ids=lambda value: getattr(value, "__name__", value))
@pytest.mark.usefixtures("own_registry")
def test_a_mutant_breaks_its_law(kind: str, mutant: Callable[..., Any], law: str) -> None:
    registry.register(kind, "mutant")(mutant)
    with pytest.raises(AssertionError, match=law):
        testing.check(kind, "mutant")


def test_an_unknown_component_is_named() -> None:
    with pytest.raises(UserError, match=r"attention=addtive: no attention has this name.*did you mean 'additive'"):
        testing.check("attention", "addtive")


@pytest.mark.parametrize("name", sorted(registry.entries("attention")))
def test_in_float32_neighbours_change_a_score_by_rounding_only(name: str) -> None:
    for options in ({"order": "luong"}, {"order": "bahdanau", "input_feeding": True}):
        case = testing.make_case({"attention": {"name": name}, "decoder": {"name": "lstm", "size": 8, **options}})
        model = case.model.float()
        together = model.score(case.batch)
        alone = torch.cat([model.score(testing.row_of(case.batch, row)) for row in case.batch.rows.tolist()])
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
