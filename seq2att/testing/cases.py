"""Small models around a component, in the surroundings that could make a difference to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from seq2att import registry
from seq2att.errors import UserError
from seq2att.field import Field
from seq2att.head import Head
from seq2att.model import Model, make, make_fields
from seq2att.types import Batch, Column, select

LETTERS = "abcdefg"
SOURCE_LENGTHS = (5, 2, 3, 1)
TARGET_LENGTHS = (4, 6, 0, 3)

Config = dict[str, Any]
T = TypeVar("T")
D = TypeVar("D")


class Case(NamedTuple):
    """A small model in float64 around the component under test, and a ragged batch for it."""

    config: Config
    model: Model
    batch: Batch

    @property
    def target(self) -> Column:
        """The target of the batch."""
        assert self.batch.target is not None
        return self.batch.target

    @property
    def label(self) -> str:
        """The components that differ from the default case, with their options, for messages."""
        changed = {slot: options for slot, options in self.config.items() if options != DEFAULTS[slot]}
        return " ".join(f"{slot}={format_options(options)}" for slot, options in changed.items()) or "default case"

    @property
    def shapes(self) -> str:
        """The shapes of the batch, for messages."""
        return f"source {list(self.batch.source.values.shape)}, target {list(self.target.values.shape)}"


def format_options(options: Mapping[str, Any]) -> str:
    """A component's name with the options that are set."""
    rest = [f"{key}={value}" for key, value in options.items() if key != "name" and not isinstance(value, dict)]
    return f"{options['name']}({', '.join(rest)})" if rest else str(options["name"])


DEFAULTS: Config = {
    "source": {"name": "text", "embedding_size": 3, "tokenizer": {"name": "char"}},
    "target": {"name": "text", "embedding_size": 4, "tokenizer": {"name": "char"}},
    "encoder": {"name": "lstm", "size": 4},
    "decoder": {"name": "lstm", "size": 8},
    "attention": {"name": "general"},
    "output": {"name": "linear"},
    "head": {"name": "translation"},
    "search": {"name": "beam", "size": 3, "n_best": 2, "max_length": 7},
}
SMALL: dict[str, Config] = {  # sizes that fit together, for the components that have such options
    "encoder": {"size": 4, "channels": (4, 6), "pools": 1, "patch": 2},
    "decoder": {"size": 8},
    "attention": {"size": 5},
    "search": {"size": 3, "n_best": 2, "max_length": 7},
}


def text_of(length: int, random: np.random.Generator) -> str:
    """Letters."""
    return "".join(random.choice(list(LETTERS), length))


def features_of(length: int, random: np.random.Generator) -> str:
    """Letters, then two features after a tab, which count as items."""
    if length < 2:
        return text_of(length, random)
    return f"{text_of(length - 2, random)}\tV;{random.choice(['PST', 'PRS'])}"


def tags_of(length: int, random: np.random.Generator) -> str:
    """Tags of spans in a valid order."""
    tags = ["O"]
    for _ in range(length):
        inside = [] if tags[-1] == "O" else [f"I{tags[-1][1:]}"]
        tags.append(str(random.choice(["O", "B-x", "B-y", *inside])))
    return " ".join(tags[1:])


def image_of(length: int, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Coloured noise, so wide where the width of the field is free."""
    return random.integers(0, 256, (32, max(1, length), 3), np.uint8)


VALUES: dict[str, Callable[[int, np.random.Generator], Any]] = {
    "text": text_of,
    "features": features_of,
    "label": lambda length, random: str(random.choice(["calm", "glad", "sad"])),
    "number": lambda length, random: float(random.normal()),
    "numbers": lambda length, random: random.normal(size=length).tolist(),
    "vector": lambda length, random: random.normal(size=3).tolist(),
    "vectors": lambda length, random: random.normal(size=(length, 3)).tolist(),
    "tags": tags_of,
    "image": image_of,
    "frames": lambda length, random: random.integers(0, 256, (length, 32, 32, 3), np.uint8),
}
"""Makes a value of a given length for every field, as a reader gives it; fields without an entry read text."""

HEADS: dict[str, Config] = {
    "translation": {},
    "classification": {"target": {"name": "label"}},
    "regression": {"target": {"name": "number"}},
    "tagging": {"target": {"name": "tags"}},
    "generation": {"source": {"name": "vectors"}, "encoder": {"name": "none"}},
    "language_model": {
        "source": {"name": "none"},
        "encoder": {"name": "none"},
        "decoder": {"name": "lstm", "size": 8, "bridge": "zeros"},
        "attention": {"name": "none"},
    },
}
"""What differs from `DEFAULTS` in the smallest model of every head; other heads are like their base class."""


def make_case(changes: Mapping[str, Mapping[str, Any]] | None = None) -> Case:
    """A case with some slots changed."""
    config: Config = {slot: dict(options) for slot, options in DEFAULTS.items()}
    for slot, options in (changes or {}).items():
        config[slot] = dict(options)
    torch.manual_seed(1)
    source, target = make_fields(config)
    for slot, field in (("source", source), ("target", target)):
        random = np.random.default_rng(1)
        value_of = nearest("field", config[slot]["name"], VALUES, text_of)
        field.fit([value_of(length, random) for length in range(12, 36)])
    model = make(config, source, target).double().eval()
    for parameter in model.parameters():  # nothing starts at 0, so that every part counts
        torch.nn.init.uniform_(parameter, -0.7, 0.7)
    return Case(config, model, make_batch(config, source, target))


def make_batch(config: Config, source: Field, target: Field) -> Batch:
    """Rows of several lengths; the padding is noise, which must not matter."""
    random = np.random.default_rng(2)

    def column(slot: str, field: Field, lengths: tuple[int, ...]) -> Column:
        value_of = nearest("field", config[slot]["name"], VALUES, text_of)
        rows = [torch.from_numpy(field.encode(value_of(length, random))) for length in lengths]
        noise = [torch.from_numpy(field.encode(value_of(3 * max(lengths), random))) for _ in rows]
        size = max(map(len, rows)) + int(field.is_sequence and field.has_values)
        values = torch.stack([torch.cat(pair)[:size] for pair in zip(rows, noise, strict=True)])
        values = values.double() if values.is_floating_point() else values.long()
        return Column(values, torch.tensor([len(row) for row in rows]))

    target_lengths = SOURCE_LENGTHS if target.is_aligned else TARGET_LENGTHS
    columns = column("source", source, SOURCE_LENGTHS), column("target", target, target_lengths)
    rows = torch.arange(len(SOURCE_LENGTHS))
    return Batch(*columns, rows, torch.zeros(len(rows), dtype=torch.bool))


def row_of(batch: Batch, row: int) -> Batch:
    """One row of a batch by itself, without padding."""
    part: Batch = select(batch, torch.tensor([row]))
    assert part.target is not None
    source = Column(part.source.values[:, : int(part.source.lengths)], part.source.lengths)
    return part._replace(
        source=source, target=Column(part.target.values[:, : int(part.target.lengths)], part.target.lengths)
    )


def cases(
    kind: str, name: str, options: Mapping[str, Any], around: Mapping[str, Mapping[str, Any]] | None = None
) -> Iterator[Case]:
    """Small models around a component, in the surroundings that could make a difference to it."""
    entry = registry.find(kind, name)
    component = {kind: with_sizes(kind, {"name": name, **options})}
    others = {slot: with_sizes(slot, options) for slot, options in (around or {}).items()}
    head = head_slots(entry) if kind == "head" else {}
    for surroundings in SURROUNDINGS[kind](entry):
        changes = {**surroundings, **head, **others, **component}
        if kind in surroundings:
            changes[kind] = {**component[kind], **surroundings[kind]}
        yield make_case(changes)


def with_sizes(kind: str, options: Mapping[str, Any]) -> Config:
    """The options of a component with small sizes for those that are not set."""
    known = registry.find(kind, options["name"]).options if kind in SMALL else {}
    return {**{key: value for key, value in SMALL.get(kind, {}).items() if key in known}, **options}


def head_slots(entry: registry.Entry) -> Config:
    """The slots of a model with this head: those of its base class, else the first target field that it accepts."""
    slots = nearest("head", entry.name, HEADS, None)
    if slots is not None:
        return slots
    assert isinstance(entry.target, type) and issubclass(entry.target, Head)
    for slots in HEADS.values():
        _, target = make_fields({**DEFAULTS, **slots})
        try:
            entry.target.check(target)
        except UserError:
            continue
        return slots
    return {}


def nearest(kind: str, name: str, table: Mapping[str, T], default: D) -> T | D:
    """The table's entry for a component, else for the nearest base class that has one, else the default."""
    if name in table:
        return table[name]
    classes = {registry.find(kind, other).target: value for other, value in table.items()}
    bases = getattr(registry.find(kind, name).target, "__mro__", ())
    return next((classes[base] for base in bases if base in classes), default)


def choices(entry: registry.Entry, **values: tuple[Any, ...]) -> Iterator[Config]:
    """All combinations of these options, of those that the component has."""
    existing = {key: options for key, options in values.items() if key in entry.options}
    for combination in itertools.product(*existing.values()):
        yield dict(zip(existing, combination, strict=True))


def around_encoder(entry: registry.Entry) -> Iterator[Config]:
    """Layers and directions, each with decoders that start from all states."""
    decoders = [{"name": "lstm", "size": 8}, {"name": "gru", "size": 8, "layers": 2}]
    for options in choices(entry, layers=(1, 2), bidirectional=(True, False), residual=(False, True)):
        for decoder in decoders:
            yield {"encoder": options, "decoder": decoder}


def around_decoder(entry: registry.Entry) -> Iterator[Config]:
    """Layers, orders, feedback and bridges, each with several attentions."""
    for attention in ("none", "general", "additive"):
        for options in choices(entry, order=("luong", "bahdanau"), input_feeding=(False, True), layers=(1, 2)):
            yield {"decoder": options, "attention": {"name": attention}}
    for options in choices(entry, bridge=("dense", "copy", "zeros"), readout=(None, 5), residual=(False, True)):
        yield {"decoder": {**options, "layers": 2} if "layers" in entry.options else options}
        yield {"decoder": options, "encoder": {"name": "none"}, "source": {**DEFAULTS["source"], "embedding_size": 8}}


def around_attention(entry: registry.Entry) -> Iterator[Config]:
    """Both orders, with and without feedback, over each cell; a single-valued memory too."""
    for cell, order, feeding in itertools.product(("rnn", "lstm", "gru"), ("luong", "bahdanau"), (False, True)):
        yield {"decoder": {"name": cell, "size": 8, "order": order, "input_feeding": feeding}}


def around_output(entry: registry.Entry) -> Iterator[Config]:
    """Tied and not."""
    for options in choices(entry, tie=(False, True)):
        yield {"output": options, "decoder": {"name": "lstm", "size": 8, "readout": 4}}


def around_search(entry: registry.Entry) -> Iterator[Config]:
    """Several sizes, limits and decoders."""
    for options in choices(entry, size=(1, 3, 40), n_best=(1,), min_length=(0, 2), max_length=(0, 5, None)):
        if options.get("max_length") is not None and "min_length" in options:
            options["min_length"] = min(options["min_length"], options["max_length"])
        yield {"search": options, "decoder": {"name": "gru", "size": 8, "input_feeding": True}}
    for attention in ("none", "additive"):
        yield {"attention": {"name": attention}}


POOLS = (("last",), ("mean",), ("max",), ("attend",), ("last", "attend"))


def around_head(entry: registry.Entry) -> Iterator[Config]:
    """Every pooling, with and without transitions, in both directions; as it is where it has no such option."""
    for options in choices(entry, pool=POOLS, transitions=(False, True)):
        for bidirectional in (False, True):
            yield {"head": options, "encoder": {"name": "lstm", "size": 4, "bidirectional": bidirectional}}


SURROUNDINGS: dict[str, Callable[[registry.Entry], Iterator[Config]]] = {
    "encoder": around_encoder,
    "decoder": around_decoder,
    "attention": around_attention,
    "output": around_output,
    "search": around_search,
    "head": around_head,
}
