"""The gate of the C boundary: legal calls pass; no others, whatever they are, read or write outside their tensors.

`make sanitize` runs this file over a library with AddressSanitizer and UndefinedBehaviorSanitizer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from seq2att import kernels
from seq2att.recurrence.native import ArgumentError, functions
from seq2att.recurrence.native.functions import CELLS
from seq2att.recurrence.native.gate import (
    SUFFIXES,
    TYPES,
    Array,
    Function,
    Prepared,
    Struct,
    packed_size,
)
from seq2att.recurrence.reference import GATES

pytestmark = pytest.mark.skipif(not kernels.is_native(torch.float32), reason="there is no C++ compiler")
ROUNDS = int(os.environ.get("SEQ2ATT_FUZZ_ROUNDS", "40"))
SANITIZED = "asan" in os.environ.get("LD_PRELOAD", "")
FENCE, CANARY = 64, 85  # bytes on both sides of a tensor, and what stands in each
KINDS = {torch.float32: "f32", torch.float64: "f64"}


class Random:
    """Random choices, and tensors between two fences."""

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.fences: list[tuple[Tensor, int]] = []
        self.dtype = self.choose([torch.float32, torch.float64])

    def integer(self, low: int, high: int) -> int:
        """From `low` to `high`."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def choose(self, choices: list[Any]) -> Any:
        """One of them."""
        return choices[self.integer(0, len(choices) - 1)]

    def memory(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """A tensor of zeros; a sanitizer puts fences of its own around what is allocated by itself."""
        if SANITIZED:
            return torch.zeros(shape, dtype=dtype)
        size = torch.Size(shape).numel() * dtype.itemsize
        whole = torch.full((FENCE + size + FENCE,), CANARY, dtype=torch.uint8)
        self.fences.append((whole, size))
        return whole[FENCE : FENCE + size].view(dtype).view(shape).zero_()

    def tensor(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """A tensor of small numbers, a few of them not finite."""
        numbers = self.memory(dtype, *shape)
        if dtype.is_floating_point:
            numbers.normal_(generator=self.generator)
            if numbers.numel() and self.integer(0, 9) == 0:
                numbers.view(-1)[0] = self.choose([float("nan"), float("inf"), -1e30, 1e-42])
        return numbers

    def indices(self, *shape: int, below: int) -> Tensor:
        """Integers from 0 to below `below`."""
        return self.memory(torch.int64, *shape).random_(0, max(1, below), generator=self.generator)

    def descending(self, count: int, most: int) -> Tensor:
        """Integers of at most `most`, none larger than the one before it."""
        numbers = self.indices(count, below=most + 1)
        return numbers.copy_(numbers.sort(descending=True).values)

    def check_fences(self) -> None:
        """Nothing was written beside a tensor."""
        for whole, size in self.fences:
            assert bool((whole[:FENCE] == CANARY).all()), "something was written before a tensor"
            assert bool((whole[FENCE + size :] == CANARY).all()), "something was written behind a tensor"

    def fill(self, struct: Struct, sizes: dict[str, int], /, **known: Any) -> dict[str, Any]:
        """A value for every field of a struct: those known, and tensors of these sizes."""
        values = dict(known)
        for name, field in struct.arrays:
            if name not in values:
                assert isinstance(field, Array)
                dtype = TYPES.get(field.type, self.dtype)
                values[name] = self.tensor(dtype, *(sizes[size] for size in field.sizes))
        return values


class Call(NamedTuple):
    """A legal call."""

    function: Function
    prepared: Prepared | None
    values: dict[str, Any]


def product(random: Random) -> Call:
    sizes = {name: random.integer(0, 70) for name in ("rows", "columns", "inputs")}
    values = random.fill(functions.PRODUCT.struct, sizes)
    if random.integer(0, 1):
        values["a"] = random.tensor(random.dtype, sizes["inputs"], sizes["rows"]).t()
    return Call(functions.PRODUCT, None, values)


def cross_entropy(random: Random) -> Call:
    sizes = {"rows": random.integer(0, 70), "size": random.integer(1, 90), "marks": random.integer(0, 3)}
    targets = random.indices(sizes["rows"], sizes["marks"], below=sizes["size"])
    return Call(
        functions.CROSS_ENTROPY, None, random.fill(functions.CROSS_ENTROPY.struct, sizes, targets=targets, uniform=0.1)
    )


def layer(random: Random) -> Call:
    cell, size, rows, steps = random.choose(list(CELLS)), *(random.integer(1, 20) for _ in range(3))
    alive = random.descending(steps, rows)
    sizes = {"rows": rows, "steps": steps, "size": size, "width": GATES[cell] * size, "total": int(alive.sum())}
    struct, backward = functions.LAYER.struct, random.integer(0, 1)
    numbers = {"cell": CELLS[cell], "backwards": random.integer(0, 1), "backward": backward}
    return Call(functions.LAYER, None, random.fill(struct, sizes, sizes=alive, **numbers))


def feedback(random: Random) -> Call:
    cell, size, rows, steps = random.choose(list(CELLS)), *(random.integer(1, 12) for _ in range(3))
    score, alive = random.integer(0, 2), random.descending(steps, rows)
    sizes = {"rows": rows, "steps": steps, "size": size, "width": GATES[cell] * size, "total": int(alive.sum())}
    sizes |= {name: random.integer(0, 9) for name in ("fed_size", "source", "key_size", "value_size")}
    if score == 1:
        sizes["key_size"] = size
    levels = [random.fill(functions.LEVEL, sizes) for _ in range(random.integer(1, 3))]
    numbers = {name: random.integer(0, 1) for name in ("query_first", "residual", "backward")}
    nothing = dict.fromkeys(("context_weight", "readout_context") if score == 0 else ())
    struct = functions.FEEDBACK.struct
    values = random.fill(struct, sizes, sizes=alive, levels=levels, cell=CELLS[cell], score=score, **numbers, **nothing)
    if values["padding"].numel():
        values["padding"].random_(0, 2, generator=random.generator)
    return Call(functions.FEEDBACK, None, values)


def pack(random: Random) -> Call:
    outputs, inputs = random.integer(0, 70), random.integer(0, 40)
    function = random.choose([functions.PACK, functions.PACK_INT8])
    room = packed_size("i8" if function is functions.PACK_INT8 else KINDS[random.dtype], outputs, inputs)
    return Call(function, None, random.fill(function.struct, {"outputs": outputs, "inputs": inputs, "room": room}))


def matrix(random: Random, outputs: int, inputs: int) -> Prepared:
    """A packed matrix, in float or int8."""
    weight = random.tensor(random.dtype, outputs, inputs).nan_to_num_()
    bias = random.choose([None, random.tensor(random.dtype, outputs)])
    packed = kernels.Matrix(weight, bias, quantize=bool(random.integer(0, 1))).packed
    assert packed is not None
    return packed


def packed_product(random: Random) -> Call:
    sizes = {name: random.integer(0, 70) for name in ("rows", "inputs", "outputs")}
    prepared = matrix(random, sizes["outputs"], sizes["inputs"])
    function = functions.PACKED_PRODUCT
    return Call(function, prepared, random.fill(function.struct, sizes, mode=random.integer(0, 3)))


def recurrence(random: Random) -> Call:
    cell, size, rows, steps = random.choose(list(CELLS)), *(random.integer(0, 20) for _ in range(3))
    sizes = {"rows": rows, "steps": steps, "inputs": size, "outputs": GATES[cell] * size}
    lengths = random.choose([None, random.descending(rows, steps)])
    numbers = {"cell": CELLS[cell], "backwards": random.integer(0, 1)}
    struct = functions.RECURRENCE.struct
    prepared = matrix(random, sizes["outputs"], size)
    return Call(functions.RECURRENCE, prepared, random.fill(struct, sizes, lengths=lengths, **numbers))


def attend(random: Random) -> Call:
    sizes = {name: random.integer(1, 20) for name in ("sentences", "source", "key_size", "value_size", "rows")}
    padding = random.memory(torch.bool, sizes["sentences"], sizes["source"]).random_(0, 2, generator=random.generator)
    memory = random.fill(functions.MEMORY, sizes, padding=padding, score=random.integer(1, 2))
    which = random.indices(sizes["rows"], below=sizes["sentences"])
    return Call(
        functions.ATTEND,
        functions.MEMORY.prepare(**memory),
        random.fill(functions.ATTEND.struct, sizes, which=which),
    )


def log_softmax(random: Random) -> Call:
    sizes = {"rows": random.integer(0, 20), "size": random.integer(1, 200)}
    return Call(functions.LOG_SOFTMAX, None, random.fill(functions.LOG_SOFTMAX.struct, sizes))


def best(random: Random) -> Call:
    sizes = {"batch": random.integer(0, 5), "width": random.integer(0, 5)}
    sizes |= {"size": random.integer(0, 200), "count": random.integer(1, 40), "rows": sizes["batch"] * sizes["width"]}
    return Call(functions.BEST, None, random.fill(functions.BEST.struct, sizes))


SAMPLES: list[Callable[[Random], Call]] = [
    product,
    cross_entropy,
    layer,
    feedback,
    pack,
    packed_product,
    recurrence,
    attend,
    log_softmax,
    best,
]
samples = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: str(sample.__name__))


def damaged_tensor(random: Random, tensor: Tensor) -> Any:
    """Something else in the place of a tensor: another type, shape, layout, device or content, or no tensor."""
    choices: list[Callable[[], Any]] = [
        lambda: None,
        lambda: 3,
        lambda: tensor.tolist(),
        lambda: tensor.to("meta"),
        lambda: tensor.to(random.choose([torch.bfloat16, torch.float32, torch.float64, torch.int32, torch.int64])),
        lambda: tensor.unsqueeze(0),
        lambda: tensor.reshape(-1)[: random.integer(0, tensor.numel())],
        lambda: tensor.as_subclass(Odd),
        lambda: random.memory(tensor.dtype),
    ]
    if tensor.dim():
        axis = random.integer(0, tensor.dim() - 1)
        choices += [
            lambda: tensor.narrow(axis, 0, random.integer(0, tensor.size(axis))),
            lambda: torch.cat([tensor, tensor], axis),
            lambda: tensor.transpose(axis, -1),
            lambda: torch.stack([tensor, tensor], -1)[..., 0],
            lambda: tensor.narrow(axis, 0, min(1, tensor.size(axis))).expand_as(tensor),
        ]
    if tensor.dtype == torch.int64:
        high = random.choose([1, 5, 1 << 40])
        choices += 6 * [lambda: random.indices(*tensor.shape, below=high).sub_(random.integer(0, 3))]
    return random.choose(choices)()


class Odd(Tensor):
    """A tensor whose memory is nobody's business."""


def damage(random: Random, call: Call) -> Call:
    """The call with one value exchanged."""
    values = dict(call.values)
    name = random.choose(list(values))
    value = values[name]
    if isinstance(value, list) and value:  # one of the records
        number = random.integer(0, len(value) - 1)
        record = dict(value[number])
        inner = random.choose(list(record))
        record[inner] = damaged_tensor(random, record[inner])
        values[name] = random.choose([[*value[:number], record, *value[number + 1 :]], [], None])
    elif isinstance(value, Tensor):
        values[name] = damaged_tensor(random, value)
    else:
        values[name] = random.choose([-1, 2, 5, 99, 1 << 40, 1 << 70, 0.5, None, "x", torch.ones(3)])
    return call._replace(values=values)


@samples
def test_a_legal_call_passes(sample: Callable[[Random], Call]) -> None:
    for seed in range(ROUNDS):
        random = Random(seed)
        function, prepared, values = sample(random)
        function(*[prepared] * (prepared is not None), **values)
        random.check_fences()


@samples
def test_no_other_call_leaves_its_tensors(sample: Callable[[Random], Call]) -> None:
    refused = 0
    for seed in range(8 * ROUNDS):
        random = Random(seed)
        function, prepared, values = damage(random, sample(random))
        try:
            function(*[prepared] * (prepared is not None), **values)
        except (ArgumentError, IndexError):
            refused += 1
        random.check_fences()
    assert refused > 3 * ROUNDS


@samples
def test_a_call_names_what_it_takes(sample: Callable[[Random], Call]) -> None:
    function, prepared, values = sample(Random(1))
    name = next(iter(values))
    for wrong in ({**values, "more": None}, {key: value for key, value in values.items() if key != name}):
        with pytest.raises(TypeError, match=name):
            function(*[prepared] * (prepared is not None), **wrong)
    with pytest.raises(ArgumentError, match="prepared"):
        function(*[functions.LEVEL.prepare(**level())] if prepared is None else [], **values)


def level() -> dict[str, Any]:
    """The values of a record that no function takes first."""
    sizes = dict.fromkeys(("total", "width", "size", "rows"), 2)
    return Random(2).fill(functions.LEVEL, sizes)


def test_every_function_is_fuzzed_and_no_name_means_two_things() -> None:
    declared = [value for value in vars(functions).values() if isinstance(value, Function)]
    assert {sample(Random(seed)).function for sample in SAMPLES for seed in range(9)} == set(declared)
    for function in declared:
        for first in function.after or (Struct(),):
            fields = {**first.fields, **function.struct.fields}
            assert len(fields) == len(first.fields) + len(function.struct.fields)
            shapes = {size for field in fields.values() if isinstance(field, Array) for size in field.sizes}
            assert not fields.keys() & shapes
            assert shapes <= {*first.slots, *function.struct.slots}


def test_a_refusal_says_what_was_expected() -> None:
    packed = kernels.Matrix(torch.zeros(3, 5)).packed
    assert packed is not None
    x = torch.zeros(2, 5, dtype=torch.bfloat16)
    with pytest.raises(ArgumentError) as caught:
        functions.PACKED_PRODUCT(packed, mode=0, x=x, y=torch.zeros(2, 3))
    assert str(caught.value) == (
        "inference_product: x must be float32 [rows=any, inputs=5] on the CPU, rows contiguous, "
        "got bfloat16 [2, 5] on cpu"
    )


def test_there_is_no_function_for_other_types() -> None:
    assert set(SUFFIXES) == {torch.float32, torch.float64, None}
    with pytest.raises(ArgumentError, match=r"no native function for torch\.float16"):
        functions.LOG_SOFTMAX(values=torch.zeros(2, 3, dtype=torch.float16))
