"""A model optimized for inference gives the same answers, to the last bit beside any neighbours, in float and int8."""

from __future__ import annotations

import copy
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from seq2att import kernels, registry, testing
from seq2att.attention import Attention
from seq2att.decoder import LSTMDecoder
from seq2att.head import Generator, Translation
from seq2att.inference import FastGenerator, FastLayer, FastLinear, generator, optimize_for_inference, weights_version
from seq2att.kernels import AttentionMemory, Matrix
from seq2att.model import Model
from seq2att.recurrence import Layer
from seq2att.recurrence.reference import CellName
from seq2att.search import Beam, Greedy, Search
from seq2att.testing.models import distribution, empty, equal, searching
from seq2att.types import Batch, Column, Decoded, Encoding, Hypotheses, Shared, State, select

registry.load()
BOTH = pytest.mark.parametrize("quantize", [False, True], ids=["exact", "int8"])
needs_compiler = pytest.mark.skipif(not kernels.is_native(torch.float32), reason="there is no C++ compiler")
DECODERS: dict[str, tuple[dict[str, Any], str]] = {  # options of the decoder, attention
    "lstm luong general": ({"name": "lstm"}, "general"),
    "gru luong additive fed": ({"name": "gru", "input_feeding": True, "layers": 2}, "additive"),
    "lstm bahdanau additive": ({"name": "lstm", "order": "bahdanau"}, "additive"),
    "rnn bahdanau dot fed": ({"name": "rnn", "order": "bahdanau", "input_feeding": True, "readout": 5}, "dot"),
    "relu residual": ({"name": "rnn", "nonlinearity": "relu", "layers": 3, "residual": True}, "general"),
    "gru residual bahdanau": ({"name": "gru", "order": "bahdanau", "layers": 2, "residual": True}, "dot"),
    "no attention": ({"name": "lstm", "layers": 2, "bridge": "copy"}, "none"),
    "no attention, bahdanau": ({"name": "gru", "order": "bahdanau", "bridge": "zeros"}, "none"),
}
decoders = pytest.mark.parametrize("decoder", DECODERS)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch does it all."""
    monkeypatch.setenv("SEQ2ATT_KERNEL", "torch")


def case_of(decoder: str, **changes: dict[str, Any]) -> testing.Case:
    options, attention = DECODERS[decoder]
    return testing.make_case({"decoder": {"size": 8, **options}, "attention": {"name": attention}, **changes})


# Laws


@decoders
@BOTH
def test_an_optimized_model_keeps_the_laws_of_searching(decoder: str, quantize: bool) -> None:
    case = case_of(decoder)
    case = case._replace(model=optimize_for_inference(case.model, quantize))
    assert isinstance(case.model.head, FastGenerator)
    for law in (searching, distribution):
        law(case)


@pytest.mark.parametrize("kind", ["encoder", "decoder", "attention", "output", "head", "search"])
def test_every_component_keeps_the_law_of_searching_in_int8(kind: str) -> None:
    for name in registry.entries(kind):
        for case in list(testing.cases(kind, name, {}))[::6]:
            if isinstance(case.model.head, Generator):
                searching(case._replace(model=optimize_for_inference(case.model, True)))


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("decoder", list(DECODERS)[1:4])
@BOTH
def test_without_a_compiler_it_keeps_them_too(decoder: str, quantize: bool) -> None:
    case = case_of(decoder)
    searching(case._replace(model=optimize_for_inference(case.model, quantize)))


@decoders
def test_it_finds_what_its_model_finds(decoder: str) -> None:
    case = case_of(decoder, encoder={"name": "gru", "size": 4, "layers": 2})
    same_answers(case, optimize_for_inference(case.model))


def same_answers(case: testing.Case, other: Model) -> None:
    """Both encode, score and search alike."""
    search = registry.build("search", case.config)
    encodings = [model.encode(case.batch.source) for model in (other, case.model)]
    equal(encodings[0].outputs, encodings[1].outputs, "outputs")
    equal(encodings[0].final, encodings[1].final, "last states")
    found, expected = (
        search(model.head, encoding) for model, encoding in zip((other, case.model), encodings, strict=True)
    )
    equal(found, expected, "hypotheses")
    equal(other.score(case.batch), case.model.score(case.batch), "scores")
    equal(other(case.batch).total, case.model(case.batch).total, "loss")


@BOTH
def test_nothing_in_nothing_out(quantize: bool) -> None:
    case = testing.make_case()
    ready = optimize_for_inference(case.model, quantize)
    none: Batch = select(case.batch, torch.tensor([], dtype=torch.long))
    assert ready.predict(none, Beam()) == []
    nothing = torch.zeros(4, dtype=torch.long)
    batch = case.batch._replace(target=Column(torch.zeros(4, 0, dtype=torch.long), nothing))
    assert bool(ready.score(batch).isfinite().all())
    source = Column(case.batch.source.values[:, :0], nothing)
    assert bool(ready.score(batch._replace(source=source)).isfinite().all())
    empty(case)  # the model itself is as it was


@needs_compiler
@BOTH
@pytest.mark.parametrize(
    "decoder", ["lstm luong general", "gru luong additive fed", "lstm bahdanau additive", "gru residual bahdanau"]
)
def test_in_float32_an_answer_is_the_same_to_the_last_bit_beside_any_neighbours(decoder: str, quantize: bool) -> None:
    options, attention = DECODERS[decoder]
    changes = {"decoder": {**options, "size": 96}, "attention": {"name": attention}}
    case = testing.make_case({**changes, "encoder": {"name": "lstm", "size": 48}})
    ready = optimize_for_inference(case.model.float(), quantize)
    lengths = torch.tensor([21, 20, 17, 17, 12, 9, 8, 8, 5, 3, 1])
    rows = torch.arange(len(lengths))
    values = torch.randint(4, ready.source.size, (len(rows), 21), generator=torch.Generator().manual_seed(3))

    def answers(chosen: Tensor) -> list[Any]:
        some = lengths[chosen]
        source = Column(values[chosen, : int(some.max())], some)
        batch = Batch(source, None, chosen, torch.zeros(len(chosen), dtype=torch.bool))
        return ready.predict(batch, Beam(size=4, max_length=12, n_best=2))

    whole = answers(rows)
    for company in (rows[:1], rows[2:5], rows[4:], rows[[10, 3]], *rows.split(1)):
        for row, found in zip(company.tolist(), answers(company), strict=True):
            assert found.token_scores == whole[row].token_scores
            assert found.tokens == whole[row].tokens
            assert found.attention is not None
            assert torch.equal(found.attention, whole[row].attention)
            assert [other.token_scores for other in found.others] == [other.token_scores for other in whole[row].others]


@BOTH
def test_an_int8_model_is_near_its_model_but_not_it(quantize: bool) -> None:
    case = testing.make_case({"encoder": {"name": "lstm", "size": 16}, "decoder": {"name": "lstm", "size": 32}})
    scores = [model.score(case.batch).detach() for model in (optimize_for_inference(case.model, quantize), case.model)]
    gap = float((scores[0] - scores[1]).abs().max())
    assert 1e-6 < gap < 0.1 if quantize else gap < 1e-10


# What becomes of the model


@BOTH
def test_it_shares_the_parameters_and_leaves_its_model_as_it_is(quantize: bool) -> None:
    case = testing.make_case()
    before = copy.deepcopy(case.model.state_dict())
    kinds = [type(module) for module in case.model.modules()]
    ready = optimize_for_inference(case.model, quantize)
    ready.predict(case.batch._replace(target=None), Greedy())
    assert [type(module) for module in case.model.modules()] == kinds
    assert all(torch.equal(case.model.state_dict()[name], value) for name, value in before.items())
    ours = {parameter.data_ptr() for parameter in case.model.parameters()}
    assert {parameter.data_ptr() for parameter in ready.parameters()} <= ours
    assert ready.source is case.model.source


def change_data(model: Model) -> None:
    """Numbers that change behind the back of PyTorch's version counter."""
    next(model.parameters()).data.mul_(2)


def change_one_number(model: Model) -> None:
    with torch.no_grad():
        list(model.parameters())[-1].view(-1)[-1] += 1e-9


def swap_rows(model: Model) -> None:
    weight = next(model.parameters()).data
    weight.copy_(weight.flip(0))


def replace_module(model: Model) -> None:
    head: Any = model.head
    head.decoder.input_dropout = nn.Tanh()


def change_setting(model: Model) -> None:
    head: Any = model.head
    head.decoder.stack.residual = True


def add_hook(model: Model) -> None:
    model.encoder.register_forward_hook(lambda *_: None)


def patch_method(model: Model) -> None:
    model.encoder.forward = lambda *_: None


@pytest.mark.parametrize(
    "change",
    [Model.float, change_data, change_one_number, swap_rows, replace_module, change_setting, add_hook, patch_method],
)
def test_the_version_changes_with_the_model(change: Callable[[Model], Any]) -> None:
    model = testing.make_case().model
    version = weights_version(model)
    assert weights_version(model) == version
    change(model)
    assert weights_version(model) != version


@pytest.mark.parametrize(
    "move",
    [Tensor.neg, lambda weight: weight.roll(2, 1), lambda weight: weight.roll(1, 0), lambda weight: weight.flip(1)],
)
@pytest.mark.parametrize("offset", [0, 1])
def test_the_version_of_a_large_weight_covers_what_pytorch_does_not_count(
    move: Callable[[Tensor], Tensor], offset: int
) -> None:
    linear = torch.nn.Linear(64, 600, bias=False)
    linear.weight = torch.nn.Parameter(torch.randn(offset + 600 * 64)[offset:].view(600, 64))
    version, number = weights_version(linear), linear.weight._version
    linear.weight.data.copy_(move(linear.weight.data))
    changed = weights_version(linear)
    assert linear.weight._version == number
    assert changed != version
    linear.weight.data[-1, -1] += 1
    assert weights_version(linear) != changed


def test_a_model_made_in_inference_mode_has_a_version() -> None:
    with torch.inference_mode():
        linear = torch.nn.Linear(3, 2)
        assert weights_version(linear) == weights_version(linear)


@BOTH
def test_a_copy_of_an_optimized_model_outlives_it(quantize: bool) -> None:
    case = testing.make_case()
    ready = optimize_for_inference(case.model, quantize)
    expected = ready.score(case.batch)
    copied = copy.deepcopy(ready)
    del ready
    gc.collect()
    noise = [torch.full((size,), torch.nan) for size in range(1, 2000)]  # takes the memory that is free now
    equal(copied.score(case.batch), expected, "scores")
    assert noise


def test_a_model_with_hooks_is_not_replaced() -> None:
    model = testing.make_case().model
    handle = model.head.register_forward_pre_hook(lambda *_: None)
    assert optimize_for_inference(model) is model
    handle.remove()
    assert optimize_for_inference(model) is not model


class Cosine(Attention):
    """A plugin's attention, with a layer of its own."""

    def __init__(self, query_size: int, memory_size: int) -> None:
        super().__init__(query_size, memory_size)
        self.key = nn.Linear(memory_size, query_size)

    def keys(self, outputs: Tensor) -> State:
        return nn.functional.normalize(self.key(outputs), dim=2)

    def score(self, query: Tensor, keys: Tensor) -> Tensor:
        return nn.functional.normalize(query, dim=2) @ keys.mT


class Doubled(LSTMDecoder):
    """Has a forward of its own."""

    def forward(self, inputs: Tensor, memory: Any, state: State, lengths: Tensor | None = None) -> Decoded:
        return super().forward(2 * inputs, memory, state, lengths)


class Louder(Translation):
    """A head that changes its steps."""

    def step(self, tokens: Tensor, memory: Any, state: State) -> Any:
        step = super().step(tokens, memory, state)
        return step._replace(log_probs=(3 * step.log_probs).log_softmax(-1))


@pytest.mark.usefixtures("own_registry")
@pytest.mark.parametrize(
    ("slot", "plugin", "supported"), [("attention", Cosine, True), ("decoder", Doubled, False), ("head", Louder, False)]
)
def test_plugins_keep_their_own_answers(slot: str, plugin: type, supported: bool) -> None:
    registry.register(slot, "mine")(plugin)
    case = testing.make_case({slot: {"name": "mine"}})
    ready = optimize_for_inference(case.model)
    assert isinstance(ready.head, FastGenerator) is supported
    search = Beam(size=3, max_length=5)
    expected = search(case.model.head, case.model.encode(case.batch.source))
    equal(search(ready.head, ready.encode(case.batch.source)), expected, "hypotheses")
    rounded = optimize_for_inference(case.model, True)
    assert {FastLinear, FastLayer} <= {type(module) for module in rounded.modules()}
    assert not {nn.Linear, Layer} & {type(module) for module in rounded.modules()}
    if slot != "head":  # whose scores are not those of its steps
        searching(case._replace(model=rounded))


def test_a_table_that_would_be_too_large_is_a_product(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generator, "TABLE", 0)
    case = testing.make_case()
    ready = optimize_for_inference(case.model)
    assert isinstance(ready.head, FastGenerator)
    assert ready.head.table is None
    same_answers(case, ready)


def test_beams_share_one_memory() -> None:
    case = testing.make_case()
    ready = optimize_for_inference(case.model)
    memory, _ = ready.head.start(ready.encode(case.batch.source))  # type: ignore[operator]
    grown = select(memory, torch.tensor([0, 0, 3, 3, 3]))
    assert isinstance(grown, Shared)
    assert grown.tree is memory.tree
    assert grown.rows.tolist() == [0, 0, 3, 3, 3]


def test_greedy_and_beam_are_one_function_of_the_encoding() -> None:
    case = testing.make_case()
    ready = optimize_for_inference(case.model, True)

    def found(search: Search, encoding: Encoding) -> Hypotheses:
        return search(ready.head, encoding)  # type: ignore[arg-type]

    encoding = ready.encode(case.batch.source)
    first = found(Greedy(max_length=6), encoding)
    assert torch.equal(found(Beam(size=1, max_length=6), encoding).tokens, first.tokens)
    assert torch.equal(found(Greedy(max_length=6), encoding).log_probs, first.log_probs)


# Other types


POOLED = {"target": {"name": "label"}, "head": {"name": "classification", "pool": ("attend",)}}
TAGGED = {"target": {"name": "tags"}, "head": {"name": "tagging"}}


@BOTH
@pytest.mark.parametrize(
    "changes", [POOLED, TAGGED, {"output": {"name": "adaptive"}}], ids=["pooled", "tagged", "text"]
)
def test_under_autocast_the_weights_keep_their_type(changes: dict[str, Any], quantize: bool) -> None:
    """The kernels write numbers of the weight's type: into bfloat16 they would be written past the end."""
    case = testing.make_case(changes)
    ready = optimize_for_inference(case.model.float(), quantize)
    expected = ready.score(case.batch)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = ready.score(case.batch)
        predictions = ready.predict(case.batch._replace(target=None), Beam(size=2, max_length=4))
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    assert len(predictions) == 4


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64])
def test_inputs_of_another_type_are_converted(dtype: torch.dtype, quantize: bool) -> None:
    inputs, weight = torch.randint(-4, 5, (3, 2, 7)), torch.randn(5, 7)
    linear = nn.Linear(7, 5)
    linear.weight.data.copy_(weight)
    fast = FastLinear(linear, quantize)
    found = fast(inputs.to(dtype))
    assert found.dtype == torch.float32
    assert torch.equal(found, fast(inputs.float()))
    layer = FastLayer(Layer("gru", 7, 4), quantize)
    state = (torch.ones(3, 4),)
    equal(layer(inputs.to(dtype), (state[0].to(dtype),)), layer(inputs.float(), state), "layer")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_lengths_outside_the_sequence_are_clamped(cell: CellName, dtype: torch.dtype) -> None:
    fast, inputs = FastLayer(Layer(cell, 3, 4), False), torch.randn(4, 5, 3)
    state = tuple(torch.randn(4, 4) for _ in fast.start(inputs, 4))
    found = fast(inputs, state, torch.tensor([9, -2, 5, 1 << 30], dtype=dtype), backwards=True)
    equal(found, fast(inputs, state, torch.tensor([5, 0, 5, 5]), backwards=True), cell)


def test_a_wrong_width_or_index_is_an_error() -> None:
    linear = FastLinear(nn.Linear(8, 5), False)
    with pytest.raises(RuntimeError):
        linear(torch.zeros(4, 2, 4))  # as many numbers as four rows
    memory = AttentionMemory(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5), torch.zeros(2, 3, dtype=torch.bool), None)
    for sentence in (-3, 2):
        with pytest.raises((IndexError, RuntimeError)):
            kernels.attend(torch.zeros(1, 4), memory, torch.tensor([sentence]), torch.zeros(1, 5))


@pytest.mark.parametrize(("outputs", "inputs", "rows"), [(0, 3, 2), (3, 0, 2), (3, 4, 0), (0, 0, 0)])
@BOTH
def test_products_of_size_0(outputs: int, inputs: int, rows: int, quantize: bool) -> None:
    bias = torch.arange(float(outputs))
    found = Matrix(torch.zeros(outputs, inputs), bias, quantize)(torch.zeros(rows, inputs))
    assert torch.equal(found, bias.expand(rows, outputs))


@needs_compiler
def test_int8_keeps_nan() -> None:
    rows = torch.zeros(3, 9)
    rows[1, 4], rows[2, 4] = torch.nan, torch.inf
    found = Matrix(torch.randn(5, 9), None, quantize=True)(rows)
    assert torch.equal(found[0], torch.zeros(5))
    assert bool(found[1:].isnan().all())


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="the limit of a process's memory is set as on Linux")
def test_memory_that_cannot_be_had_is_an_error() -> None:
    import resource

    matrix, inputs = Matrix(torch.zeros(1, 64), None, quantize=True), torch.zeros(1 << 20, 64)
    out = torch.empty(1 << 20, 1)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 24), before[1]))
    try:
        with pytest.raises(MemoryError, match="inference_product"):  # the inputs as int8 take 64 MB
            matrix(inputs, out=out)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


# Kernels


@pytest.mark.parametrize("outputs", [1, 5, 48, 100])
@pytest.mark.parametrize("inputs", [1, 3, 4, 64, 131, 1041, 3000])
def test_int8_sums_are_exact_with_and_without_a_compiler(outputs: int, inputs: int) -> None:
    random = torch.Generator().manual_seed(outputs * inputs)
    rows, weight = (torch.randint(-127, 128, (number, inputs), generator=random).float() for number in (19, outputs))
    rows[:, 0], weight[:, -1] = 127, -127  # so that every scale is 1
    if inputs > 2000:
        rows[:, :], weight[:, :] = 127, -127  # the largest sums there are
    exact = (rows.double() @ weight.double().t()).float()
    matrix = Matrix(weight, None, quantize=True)
    for number in (1, 2, 5, 8, 11, 19):
        assert torch.equal(matrix(rows[:number]), exact[:number])
    matrix.packed, matrix.weight = None, weight
    assert torch.equal(matrix(rows), exact)


def test_int8_of_any_numbers_is_the_same_with_and_without_a_compiler() -> None:
    random = torch.Generator().manual_seed(1)
    rows, weight = torch.randn(33, 70, generator=random), torch.randn(50, 70, generator=random)
    rows[3], rows[4, 1:], rows[5] = 0, 0, 1e-42
    bias = torch.randn(50, generator=random)
    compiled = Matrix(weight, bias, quantize=True)
    emulated = Matrix(weight, bias, quantize=True)
    emulated.packed, emulated.weight = None, kernels.to_int8(weight)[0]
    torch.testing.assert_close(compiled(rows), emulated(rows), rtol=1e-6, atol=1e-6)
    error = (compiled(rows) - (rows @ weight.t() + bias)).abs()
    assert 0 < float(error.max()) < 0.02 * 70**0.5 * float(rows.abs().max() * weight.abs().max())
    assert torch.equal(compiled(rows)[3], bias)


def test_a_row_of_int8_does_not_see_the_others() -> None:
    rows, matrix = torch.randn(9, 40), Matrix(torch.randn(20, 40), None, quantize=True)
    whole = matrix(rows)
    rows[1:] *= 1000
    assert torch.equal(matrix(rows)[0], whole[0])
    rows[1:] = rows[1:].roll(1, 0)
    assert torch.equal(matrix(rows)[2], matrix(rows[2:3])[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_product_takes_what_is_there(dtype: torch.dtype) -> None:
    weight, bias = torch.randn(50, 33, dtype=dtype), torch.randn(50, dtype=dtype)
    wide = torch.randn(7, 60, dtype=dtype)
    rows, matrix = wide[:, 10:43], Matrix(weight, bias)
    tolerance = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(matrix(rows), rows @ weight.t() + bias, **tolerance)
    torch.testing.assert_close(matrix(wide.t()[:33].t()), wide[:, :33] @ weight.t() + bias, **tolerance)
    torch.testing.assert_close(matrix(rows, tanh=True), (rows @ weight.t() + bias).tanh(), **tolerance)
    place = torch.randn(7, 99, dtype=dtype)
    before = place.clone()
    matrix(rows, out=place[:, 20:70], add=True)
    torch.testing.assert_close(place[:, 20:70], before[:, 20:70] + rows @ weight.t(), **tolerance)
    assert torch.equal(place[:, :20], before[:, :20])
    assert torch.equal(place[:, 70:], before[:, 70:])


def test_several_threads_give_what_one_gives() -> None:
    matrices = [Matrix(torch.randn(500, 256), torch.randn(500), quantize) for quantize in (False, True)]
    rows = torch.randn(64, 256)
    layer = FastLayer(Layer("lstm", 16, 256), False)
    inputs, state = torch.randn(40, 6, 16), layer.start(rows, 40)

    def results() -> list[Tensor]:
        return [*(matrix(rows) for matrix in matrices), layer(inputs, state).outputs]

    one = results()
    torch.set_num_threads(3)
    try:
        assert all(torch.equal(found, expected) for found, expected in zip(results(), one, strict=True))
    finally:
        torch.set_num_threads(1)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("lengths", [None, [5, 5, 5, 5], [5, 2, 0, 4], [0, 0, 0, 0]])
@pytest.mark.parametrize("kernel", ["cpp", "torch"])
def test_a_fast_layer_is_the_layer(
    cell: CellName, backwards: bool, lengths: list[int] | None, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "torch" or kernels.is_native(torch.float64):
        monkeypatch.setenv("SEQ2ATT_KERNEL", kernel)
    layer = Layer(cell, 3, 7)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    fast = FastLayer(layer, False)
    inputs, known = torch.randn(4, 5, 3), None if lengths is None else torch.tensor(lengths)
    state = tuple(torch.randn(4, 7) for _ in layer.start(inputs, 4))
    kept = [part.clone() for part in state]
    with torch.no_grad():
        equal(fast(inputs, state, known, backwards), layer(inputs, state, known, backwards), cell)
    assert all(torch.equal(part, before) for part, before in zip(state, kept, strict=True))


def emulating(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What the function gives in PyTorch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQ2ATT_KERNEL", "torch")
        return function(*arguments, **named)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("additive", [False, True])
def test_attend_is_the_attention(dtype: torch.dtype, additive: bool) -> None:
    keys, values = torch.randn(3, 6, 20, dtype=dtype), torch.randn(3, 6, 37, dtype=dtype)
    holes = torch.tensor([[0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 1, 1], [1, 1, 1, 1, 1, 1]]).bool()
    seen = AttentionMemory(keys, values, holes, torch.randn(20, dtype=dtype) if additive else None)
    which, query = torch.tensor([1, 0, 1, 2, 0]), torch.randn(5, 20, dtype=dtype)
    outs = [torch.randn(5, 40, dtype=dtype) for _ in range(2)]
    weights = kernels.attend(query, seen, which, outs[0][:, :37])
    expected = emulating(kernels.attend, query, seen, which, outs[1][:, :37])
    torch.testing.assert_close(weights, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(outs[0][:, :37], outs[1][:, :37], rtol=1e-5, atol=1e-5)
    assert (weights[3] == 0).all()
    assert (outs[0][3, :37] == 0).all()
    assert (weights[0, [1, 4, 5]] == 0).all()
    torch.testing.assert_close(weights[[0, 1, 2, 4]].sum(1), torch.ones(4, dtype=dtype))


@needs_compiler
def test_attend_is_not_changed_by_the_padding() -> None:
    keys, values, query = torch.randn(1, 90, 20), torch.randn(1, 90, 30), torch.randn(1, 20)
    for size in (3, 16, 17, 33, 47):
        found = []
        for padded in (size, size + 1, 64, 90):
            holes, out = torch.arange(padded).unsqueeze(0) >= size, torch.empty(1, 30)
            seen = AttentionMemory(keys[:, :padded].contiguous(), values[:, :padded].contiguous(), holes, None)
            found.append((kernels.attend(query, seen, torch.tensor([0]), out)[:, :size], out))
        for weights, out in found[1:]:
            assert torch.equal(weights, found[0][0])
            assert torch.equal(out, found[0][1])


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_log_softmax_is_torchs(size: int) -> None:
    values = 10 * torch.randn(5, size)
    expected = values.log_softmax(1)
    torch.testing.assert_close(kernels.log_softmax(values), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("width", "size", "count"), [(1, 8, 8), (1, 200, 10), (5, 333, 10), (3, 64, 40)])
def test_the_best_are_the_largest(width: int, size: int, count: int) -> None:
    values, starts = torch.randn(4 * width, size), torch.randn(4, width)
    values[values < -1] = -torch.inf
    found, places = kernels.best(values, starts, count)
    totals = (starts.unsqueeze(2) + values.view(4, width, size)).flatten(1)
    assert torch.equal(found, totals.topk(count, 1).values)
    there = found > -torch.inf
    assert torch.equal(totals.gather(1, places)[there], found[there])
    assert all(len(set(row[kept].tolist())) == int(kept.sum()) for row, kept in zip(places, there, strict=True))


@needs_compiler
def test_of_equals_the_first_is_the_best() -> None:
    _, places = kernels.best(torch.zeros(2, 500), torch.zeros(1, 2), 4)
    assert places.tolist() == [[0, 1, 2, 3]]
