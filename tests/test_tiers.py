"""The tiers of the recurrence agree: plain torch, the loop in Python, the loop in C++; in results and all gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from seq2att.encoder import GRUEncoder, LSTMEncoder
from seq2att.errors import UserError
from seq2att.recurrence import STATES, CellName, Layer, Stack, choice, forced, function, native, product, steps
from seq2att.recurrence.packing import pack
from seq2att.types import length_mask

CELLS: list[CellName] = ["tanh", "relu", "lstm", "gru"]
LENGTHS = {
    "all real": None,
    "equal": [6, 6, 6, 6, 6],
    "ragged": [5, 2, 1, 0, 4],
    "one step": [1, 1, 0, 1, 1],
    "no position": [0, 0, 0, 0, 0],
}
CLOSE = {torch.float32: 1e-4, torch.float64: 1e-9}


class Case(NamedTuple):
    """What a layer is given; every tensor may have gaps between its rows."""

    layer: Layer
    inputs: Tensor  # [B, T, I]
    start: tuple[Tensor, ...]  # [B, H] each
    lengths: Tensor | None
    backwards: bool = False


def make_case(
    cell: CellName,
    dtype: torch.dtype = torch.float64,
    lengths: list[int] | None = None,
    backwards: bool = False,
    sizes: tuple[int, int, int, int] = (5, 6, 3, 4),
) -> Case:
    rows, steps, width, size = sizes
    layer = Layer(cell, width, size, weight_drop=0.2).to(dtype)
    for parameter in layer.parameters():
        torch.nn.init.uniform_(parameter, -0.7, 0.7) if size < 20 else parameter.data.add_(0.01)
    turned = torch.randn(steps, rows, width, dtype=dtype).requires_grad_()
    stacked = torch.randn(rows, 2, size, STATES[cell], dtype=dtype).requires_grad_()
    start = tuple(stacked[:, 1, :, part] for part in range(STATES[cell]))
    return Case(layer, turned.transpose(0, 1), start, None if lengths is None else torch.tensor(lengths), backwards)


def numbers(case: Case, wanted: tuple[int, ...] = (0, 1, 2)) -> list[Tensor]:
    """Outputs, final state and the gradients of a sum over the wanted of them; zeros where there is no gradient."""
    torch.manual_seed(7)
    run = case.layer(*case[1:])
    results = [run.outputs, *run.final]
    parts = [part for number, part in enumerate(results) if number in wanted]
    loss = sum((part * torch.randn(part.shape, dtype=part.dtype)).sum() for part in parts)
    leaves = [case.inputs, *case.start, *case.layer.parameters()]
    found = torch.autograd.grad(loss, leaves, allow_unused=True)  # type: ignore[arg-type]
    gradients = [torch.zeros_like(leaf) if part is None else part for leaf, part in zip(leaves, found, strict=True)]
    return [part.detach() for part in (*results, *gradients)]


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    """Each pair within what its type allows, of the largest value."""
    for place, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert ours.shape == theirs.shape
        if ours.numel():
            largest = float(theirs.abs().max())
            assert float((ours - theirs).abs().max()) <= CLOSE[ours.dtype] * largest, f"tensor {place}"


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the engines that ran."""
    names: list[str] = []

    def recur(setting: function.Setting, *arguments: object) -> object:
        names.append(setting.engine.name)
        return function.recur(setting, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(choice, "recur", recur)
    return names


@pytest.fixture(params=["python", "cpp"])
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], str]:
    """Choose the tier under test by calling it with None, another with its name."""
    if request.param == "cpp" and not native.is_available():
        pytest.skip("no C++ compiler")

    def use(name: str | None) -> str:
        monkeypatch.setenv(forced.VARIABLE, name or request.param)
        return str(request.param)

    return use


Use = Callable[[str | None], str]


def compare(case: Case, kernel: Use, wanted: tuple[int, ...] = (0, 1, 2)) -> str:
    kernel("torch")
    expected = numbers(case, wanted)
    name = kernel(None)
    assert_close(numbers(case, wanted), expected)
    assert any(part.abs().max() > 0 for part in expected if part.numel())
    return name


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_tiers_agree(
    cell: CellName, dtype: torch.dtype, lengths: str, backwards: bool, kernel: Use, ran: list[str]
) -> None:
    case = make_case(cell, dtype, LENGTHS[lengths], backwards)
    assert not case.inputs.is_contiguous()
    assert not case.start[0].is_contiguous()
    name = compare(case, kernel)
    assert ran == ([] if lengths == "no position" else [name])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_tiers_agree_where_products_are_large(cell: CellName, backwards: bool, kernel: Use, ran: list[str]) -> None:
    lengths = torch.randint(0, 5, (290,)).tolist()  # enough rows for the recurrent matrix to be reordered
    compare(make_case(cell, torch.float32, lengths, backwards, (290, 4, 61, 67)), kernel)
    assert len(ran) == 1


@pytest.mark.parametrize(
    ("cell", "wanted"), [("lstm", 0), ("lstm", 1), ("lstm", 2), ("gru", 0), ("gru", 1), ("relu", 1)]
)
def test_tiers_agree_when_some_results_go_unused(cell: CellName, wanted: int, kernel: Use) -> None:
    compare(make_case(cell, lengths=[5, 2, 1, 0, 4]), kernel, (wanted,))


@pytest.mark.parametrize("sizes", [(0, 3, 2, 4), (3, 0, 2, 4), (0, 0, 2, 4), (1, 1, 2, 4), (2, 1, 1, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_tiers_agree_on_next_to_nothing(cell: CellName, sizes: tuple[int, int, int, int], kernel: Use) -> None:
    case = make_case(cell, lengths=[sizes[1]] * sizes[0], sizes=sizes)
    kernel("torch")
    expected = numbers(case)
    kernel(None)
    assert_close(numbers(case), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_can_be_asked_for_twice(cell: CellName, kernel: Use) -> None:
    kernel(None)
    case = make_case(cell)
    run = case.layer(*case[1:])
    leaves = [case.inputs, *case.start, *case.layer.parameters()]
    first = torch.autograd.grad(run.outputs.sum(), leaves, retain_graph=True)
    assert_close(list(torch.autograd.grad(run.outputs.sum(), leaves)), list(first))


def test_results_can_be_changed_in_place(kernel: Use) -> None:
    kernel(None)
    case = make_case("lstm", lengths=[5, 2, 1, 0, 4])
    torch.manual_seed(7)
    expected = [2 * part for part in torch.autograd.grad(case.layer(*case[1:]).outputs.sum(), [case.inputs])]
    torch.manual_seed(7)
    run = case.layer(*case[1:])
    run.final[0].mul_(2)
    assert_close(list(torch.autograd.grad(run.outputs.mul_(2).sum(), [case.inputs])), expected)


def test_there_are_no_second_derivatives(kernel: Use) -> None:
    kernel(None)
    case = make_case("lstm")
    outputs = case.layer(*case[1:]).outputs
    (first,) = torch.autograd.grad(outputs.sum(), [case.inputs], create_graph=True)
    with pytest.raises(UserError) as error:
        first.sum().backward()
    assert str(error.value) == "the fast recurrence has no second derivatives; set SEQ2ATT_KERNEL=torch to have them"


def test_only_what_needs_a_gradient_gets_one(kernel: Use) -> None:
    case = make_case("gru", lengths=[5, 2, 1, 0, 4])
    for parameter in (case.layer.hidden_weight, case.layer.input_bias):
        parameter.requires_grad_(False)
    found = []
    for name in ("torch", None):
        kernel(name)
        case.layer.zero_grad()
        torch.manual_seed(7)
        case.layer(
            case.inputs.detach(), tuple(part.detach() for part in case.start), case.lengths
        ).outputs.sum().backward()
        assert case.layer.hidden_weight.grad is None
        assert case.layer.input_bias.grad is None
        found.append([case.layer.input_weight.grad, case.layer.hidden_bias.grad])
    assert_close(found[1], found[0])  # type: ignore[arg-type]


@pytest.mark.parametrize("cell", CELLS)
def test_nothing_is_kept_without_gradients(cell: CellName, kernel: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(cell, lengths=[5, 2, 1, 0, 4])
    kernel("torch")
    torch.manual_seed(7)
    expected = case.layer(*case[1:])
    engine = steps.Engine if kernel(None) == "python" else native.Engine
    forward, kept = engine.forward, []

    def watched(self: object, *arguments: object) -> object:
        kept.append(arguments[-1])
        return forward(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(engine, "forward", watched)
    for context in (torch.no_grad(), torch.inference_mode()):
        torch.manual_seed(7)
        with context:
            run = case.layer(*case[1:])
        assert not run.outputs.requires_grad
        assert_close(
            [run.outputs.clone(), *run.final], [expected.outputs.detach(), *(part.detach() for part in expected.final)]
        )
    case.layer(*case[1:])
    assert kept == [False, False, True]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("kind", [LSTMEncoder, GRUEncoder])
def test_encoders_in_training_agree_under_one_seed(
    kind: type[LSTMEncoder], locked: bool, bidirectional: bool, kernel: Use, ran: list[str]
) -> None:
    options = {"size": 4, "layers": 2, "dropout": 0.4, "weight_drop": 0.3, "residual": True}
    encoder = kind(3, locked=locked, bidirectional=bidirectional, **options).double()  # type: ignore[arg-type]
    inputs, lengths = torch.randn(5, 6, 3, dtype=torch.float64), torch.tensor([5, 2, 1, 0, 4])
    found = []
    for name in ("torch", None):
        kernel(name)
        torch.manual_seed(5)
        encoding = encoder(inputs, lengths)
        loss = encoding.outputs.square().sum() + sum(part.sum() for part in encoding.final)
        found.append([encoding.outputs.detach(), *torch.autograd.grad(loss, list(encoder.parameters()))])
    assert_close(found[1], found[0])
    assert len(ran) == (4 if bidirectional else 2)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_runs_live_rows_only(cell: CellName, kernel: Use) -> None:
    stack = Stack(cell, 3, 4, layers=2, residual=True).double()
    inputs, lengths = torch.randn(5, 6, 3, dtype=torch.float64), torch.tensor([5, 2, 1, 0, 4])
    start = tuple(torch.randn(5, 2, 4, dtype=torch.float64) for _ in range(STATES[cell]))
    kernel(None)
    found = stack(inputs, start, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = stack(inputs[row : row + 1, :length], tuple(part[row : row + 1] for part in start))
        torch.testing.assert_close(found.outputs[row : row + 1, :length], alone.outputs)
        torch.testing.assert_close(tuple(part[row : row + 1] for part in found.final), alone.final)


class Forgetful(steps.Engine):
    """Loses the gradient of the final state."""

    def backward(self, *arguments):  # type: ignore[no-untyped-def]
        return super().backward(*arguments[:3], tuple(torch.zeros_like(part) for part in arguments[3]))


class Late(steps.Engine):
    """Reads the rows in the wrong direction on the way back."""

    def backward(self, *arguments):  # type: ignore[no-untyped-def]
        return super().backward(arguments[0]._replace(backwards=not arguments[0].backwards), *arguments[1:])


class Rough(steps.Engine):
    """Gives outputs that are off by a little more than is allowed."""

    def forward(self, *arguments):  # type: ignore[no-untyped-def]
        outputs, final, saved = super().forward(*arguments)
        return outputs * (1 + 1e-8), final, saved


@pytest.mark.parametrize("mutant", [Forgetful, Late, Rough])
@pytest.mark.parametrize("cell", CELLS)
def test_the_comparison_notices(cell: CellName, mutant: type[steps.Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(cell, lengths=[5, 2, 1, 0, 4])
    monkeypatch.setenv(forced.VARIABLE, "torch")
    expected = numbers(case)
    monkeypatch.setattr(choice, "choose", lambda *arguments: mutant())
    with pytest.raises(AssertionError):
        assert_close(numbers(case), expected)


# Packing


@pytest.mark.parametrize("lengths", LENGTHS.values())
def test_packing_knows_the_position_before(lengths: list[int] | None) -> None:
    known = None if lengths is None else torch.tensor(lengths)
    packing = pack(known, 5, 6)
    values, start = torch.randn(5, 6, 2), torch.randn(5, 2)
    mask = torch.ones(5, 6, dtype=torch.bool) if known is None else length_mask(known, 6)
    assert torch.equal(packing.spread(packing.take(values)), values * mask.unsqueeze(2))
    assert torch.equal(packing.unsort(packing.sort(start)), start)
    assert sum(packing.sizes) == int(mask.sum())
    assert packing.sizes == sorted(packing.sizes, reverse=True)
    for backwards in (False, True):
        states = torch.cat([packing.sort(start), packing.take(values)])
        found = packing.spread(states[packing.previous_index(backwards)])
        for row, length in enumerate(mask.sum(1).tolist()):
            given = values[row, :length].flip(0) if backwards else values[row, :length]
            shifted = torch.cat([start[row : row + 1], given])[:length]
            assert torch.equal(found[row, :length], shifted.flip(0) if backwards else shifted)


# The choice


def chosen(cell: CellName, case: Case) -> str:
    weights = case.layer.weights()
    engine = choice.choose(cell, case.inputs, case.start, weights, case.lengths)
    return "torch" if engine is None else engine.name


def test_a_tier_can_be_forced(kernel: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("lstm", torch.float32)
    name = kernel(None)
    assert chosen("lstm", case) == name
    kernel("torch")
    assert chosen("lstm", case) == "torch"
    monkeypatch.setenv(forced.VARIABLE, "")
    assert chosen("lstm", case) == ("torch" if not native.is_available() else "cpp")


def test_an_unknown_tier_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(forced.VARIABLE, "fast")
    with pytest.raises(UserError) as error:
        numbers(make_case("gru"))
    expected = "SEQ2ATT_KERNEL=fast is no kernel; known: torch, python, cpp; unset it to have one chosen"
    assert str(error.value) == expected


def test_a_tier_that_cannot_be_built_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def library() -> None:
        raise native.NativeError("no C++ compiler was found")

    monkeypatch.setattr(native, "library", library)
    monkeypatch.setenv(forced.VARIABLE, "cpp")
    with pytest.raises(UserError) as error:
        numbers(make_case("gru"))
    assert str(error.value) == (
        "SEQ2ATT_KERNEL=cpp: the C++ kernels cannot be built (no C++ compiler was found); mend that, or set it to "
        "python or torch"
    )


def test_without_a_compiler_size_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(forced.VARIABLE, raising=False)
    monkeypatch.setattr(native, "engine", lambda: None)
    half = [30] + [15] * 63
    for cell, lengths, sizes, training, expected in (
        ("gru", None, (64, 16, 64, 64), True, "python"),
        ("gru", None, (2, 16, 64, 8), True, "torch"),
        ("gru", None, (64, 16, 64, 64), False, "torch"),
        ("gru", None, (64, 16, 64, 256), False, "python"),
        ("gru", None, (320, 1, 64, 512), True, "torch"),
        ("lstm", None, (64, 30, 64, 256), True, "torch"),
        ("lstm", half, (64, 30, 64, 256), True, "python"),
        ("lstm", half, (64, 30, 64, 256), False, "torch"),
        ("lstm", half, (64, 30, 16, 8), True, "torch"),
    ):
        case = make_case(cell, torch.float32, lengths, sizes=sizes)  # type: ignore[arg-type]
        with torch.set_grad_enabled(training):
            assert chosen(cell, case) == expected, (cell, sizes)  # type: ignore[arg-type]


def test_a_small_step_is_torchs_cell(kernel: Use) -> None:
    kernel(None)
    assert chosen("lstm", make_case("lstm", torch.float32, sizes=(64, 1, 16, 256))) == "torch"
    assert chosen("lstm", make_case("lstm", torch.float32, sizes=(128, 1, 16, 256))) != "torch"
    compare(make_case("lstm", torch.float32, sizes=(128, 1, 16, 256)), kernel)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_is_watched_or_of_another_type_is_left_to_torch(kernel: Use, ran: list[str]) -> None:
    kernel(None)
    layer = Layer("gru", 3, 4)
    inputs, start = torch.randn(2, 5, 3), (torch.zeros(2, 4),)
    expected = layer(inputs, start).outputs
    assert len(ran) == 1
    ran.clear()
    layer.bfloat16()(inputs.bfloat16(), (start[0].bfloat16(),))
    layer.float()
    with torch.autocast("cpu", torch.bfloat16):
        layer(inputs, start)
    with torch.autograd.forward_ad.dual_level():
        layer(torch.autograd.forward_ad.make_dual(inputs, inputs), start)
    torch.func.grad(lambda values: layer(values, start).outputs.sum())(inputs)
    compiled = torch.compile(layer, backend="eager")
    torch.testing.assert_close(compiled(inputs, start).outputs, expected, rtol=0.1, atol=0.1)  # once through bfloat16
    torch.export.export(layer, (inputs, start))
    assert ran == []


def test_the_reordered_matrix_is_not_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(product, "reorders", lambda: False)
    monkeypatch.setattr(product, "preferred", lambda: False)
    weight, inputs = torch.randn(512, 256), torch.randn(64, 256)
    assert torch.equal(product.Prepared(weight, 64)(inputs), inputs @ weight.T)


def test_a_reordered_matrix_multiplies_as_it_did() -> None:
    for weight in (torch.randn(512, 256), torch.randn(256, 512).t()):
        for rows in (64, 9, 1):
            inputs, sums = torch.randn(rows, 256), torch.randn(rows, 512)
            prepared = product.Prepared(weight, 64)
            torch.testing.assert_close(prepared(inputs), inputs @ weight.T, rtol=0, atol=2e-4)
            expected = sums + inputs @ weight.T
            torch.testing.assert_close(prepared.add_to(sums, inputs), expected, rtol=0, atol=2e-4)
