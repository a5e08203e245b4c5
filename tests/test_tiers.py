"""The two tiers of the recurrence agree, the reference in torch and the C++ kernels, in results and all gradients."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from seq2att.encoder import GRUEncoder, LSTMEncoder
from seq2att.recurrence import STATES, CellName, Layer, Stack, choice, layer_function, native
from seq2att.recurrence.native import build
from seq2att.recurrence.packing import Packing
from seq2att.types import length_mask
from tests.refusals import refused

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
def native_runs(monkeypatch: pytest.MonkeyPatch) -> list[CellName]:
    """The cells of the layers that the C++ kernel ran."""
    cells: list[CellName] = []
    run_native = layer_function.run_native

    def counted(settings: layer_function.LayerSettings, *arguments: Any) -> Any:
        cells.append(settings.cell)
        return run_native(settings, *arguments)

    monkeypatch.setattr(layer_function, "run_native", counted)
    return cells


Use = Callable[[str], None]


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Use:
    """Choose a tier by calling it with its name."""
    if not native.is_available():
        pytest.skip("no C++ compiler")
    monkeypatch.setenv(choice.VARIABLE, "cpp")
    return lambda name: monkeypatch.setenv(choice.VARIABLE, name)


def compare(case: Case, use: Use, wanted: tuple[int, ...] = (0, 1, 2)) -> None:
    use("torch")
    expected = numbers(case, wanted)
    use("cpp")
    assert_close(numbers(case, wanted), expected)
    assert any(part.abs().max() > 0 for part in expected if part.numel())


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("cell", CELLS)
def test_tiers_agree(
    cell: CellName, dtype: torch.dtype, lengths: str, backwards: bool, use: Use, native_runs: list[CellName]
) -> None:
    case = make_case(cell, dtype, LENGTHS[lengths], backwards)
    assert not case.inputs.is_contiguous()
    assert not case.start[0].is_contiguous()
    compare(case, use)
    assert native_runs == ([] if lengths == "no position" else [cell])


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_tiers_agree_where_products_are_large(
    cell: CellName, backwards: bool, use: Use, native_runs: list[CellName]
) -> None:
    lengths = torch.randint(0, 5, (290,)).tolist()
    compare(make_case(cell, torch.float32, lengths, backwards, (290, 4, 61, 67)), use)
    assert native_runs == [cell]


@pytest.mark.parametrize(
    ("cell", "wanted"), [("lstm", 0), ("lstm", 1), ("lstm", 2), ("gru", 0), ("gru", 1), ("relu", 1)]
)
def test_tiers_agree_when_some_results_go_unused(cell: CellName, wanted: int, use: Use) -> None:
    compare(make_case(cell, lengths=[5, 2, 1, 0, 4]), use, (wanted,))


@pytest.mark.parametrize("sizes", [(0, 3, 2, 4), (3, 0, 2, 4), (0, 0, 2, 4), (1, 1, 2, 4), (2, 1, 1, 1)])
@pytest.mark.parametrize("cell", CELLS)
def test_tiers_agree_on_next_to_nothing(cell: CellName, sizes: tuple[int, int, int, int], use: Use) -> None:
    case = make_case(cell, lengths=[sizes[1]] * sizes[0], sizes=sizes)
    use("torch")
    expected = numbers(case)
    use("cpp")
    assert_close(numbers(case), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_can_be_asked_for_twice(cell: CellName, use: Use) -> None:
    use("cpp")
    case = make_case(cell)
    run = case.layer(*case[1:])
    leaves = [case.inputs, *case.start, *case.layer.parameters()]
    first = torch.autograd.grad(run.outputs.sum(), leaves, retain_graph=True)
    assert_close(list(torch.autograd.grad(run.outputs.sum(), leaves)), list(first))


def test_results_can_be_changed_in_place(use: Use) -> None:
    use("cpp")
    case = make_case("lstm", lengths=[5, 2, 1, 0, 4])
    torch.manual_seed(7)
    expected = [2 * part for part in torch.autograd.grad(case.layer(*case[1:]).outputs.sum(), [case.inputs])]
    torch.manual_seed(7)
    run = case.layer(*case[1:])
    run.final[0].mul_(2)
    assert_close(list(torch.autograd.grad(run.outputs.mul_(2).sum(), [case.inputs])), expected)


def test_there_are_no_second_derivatives(use: Use) -> None:
    use("cpp")
    case = make_case("lstm")
    outputs = case.layer(*case[1:]).outputs
    (first,) = torch.autograd.grad(outputs.sum(), [case.inputs], create_graph=True)
    with refused("E-kernel", "create_graph"):
        first.sum().backward()
    use("torch")
    outputs = case.layer(*case[1:]).outputs
    (first,) = torch.autograd.grad(outputs.sum(), [case.inputs], create_graph=True)
    first.sum().backward()


def test_only_what_needs_a_gradient_gets_one(use: Use) -> None:
    case = make_case("gru", lengths=[5, 2, 1, 0, 4])
    for parameter in (case.layer.hidden_weight, case.layer.input_bias):
        parameter.requires_grad_(False)
    found = []
    for name in ("torch", "cpp"):
        use(name)
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
def test_nothing_is_kept_without_gradients(cell: CellName, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(cell, lengths=[5, 2, 1, 0, 4])
    use("torch")
    torch.manual_seed(7)
    expected = case.layer(*case[1:])
    use("cpp")
    forward, keeps = layer_function.forward, []

    def watched(*arguments: Any, keep: bool) -> Any:
        keeps.append(keep)
        result, saved = forward(*arguments, keep=keep)
        assert bool(saved) == keep
        return result, saved

    monkeypatch.setattr(layer_function, "forward", watched)
    for context in (torch.no_grad(), torch.inference_mode()):
        torch.manual_seed(7)
        with context:
            run = case.layer(*case[1:])
        assert not run.outputs.requires_grad
        assert_close(
            [run.outputs.clone(), *run.final], [expected.outputs.detach(), *(part.detach() for part in expected.final)]
        )
    case.layer(*case[1:])
    assert keeps == [False, False, True]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("locked", [False, True])
@pytest.mark.parametrize("kind", [LSTMEncoder, GRUEncoder])
def test_encoders_in_training_agree_under_one_seed(
    kind: type[LSTMEncoder], locked: bool, bidirectional: bool, use: Use, native_runs: list[CellName]
) -> None:
    options = {"size": 4, "layers": 2, "dropout": 0.4, "weight_drop": 0.3, "residual": True}
    encoder = kind(3, locked=locked, bidirectional=bidirectional, **options).double()  # type: ignore[arg-type]
    inputs, lengths = torch.randn(5, 6, 3, dtype=torch.float64), torch.tensor([5, 2, 1, 0, 4])
    found = []
    for name in ("torch", "cpp"):
        use(name)
        torch.manual_seed(5)
        encoding = encoder(inputs, lengths)
        loss = encoding.outputs.square().sum() + sum(part.sum() for part in encoding.final)
        found.append([encoding.outputs.detach(), *torch.autograd.grad(loss, list(encoder.parameters()))])
    assert_close(found[1], found[0])
    assert len(native_runs) == (4 if bidirectional else 2)


@pytest.mark.parametrize("cell", CELLS)
def test_a_stack_runs_live_rows_only(cell: CellName, use: Use) -> None:
    stack = Stack(cell, 3, 4, layers=2, residual=True).double()
    inputs, lengths = torch.randn(5, 6, 3, dtype=torch.float64), torch.tensor([5, 2, 1, 0, 4])
    start = tuple(torch.randn(5, 2, 4, dtype=torch.float64) for _ in range(STATES[cell]))
    use("cpp")
    found = stack(inputs, start, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = stack(inputs[row : row + 1, :length], tuple(part[row : row + 1] for part in start))
        torch.testing.assert_close(found.outputs[row : row + 1, :length], alone.outputs)
        torch.testing.assert_close(tuple(part[row : row + 1] for part in found.final), alone.final)


call_kernel = layer_function.call_kernel


def forget_final(settings: Any, backward: bool, *tensors: Any) -> None:
    """Loses the gradient of the final state."""
    if backward:
        for part in tensors[3]:
            part.zero_()
    call_kernel(settings, backward, *tensors)


def read_backwards(settings: Any, backward: bool, *tensors: Any) -> None:
    """Reads the rows in the wrong direction in the backward pass."""
    call_kernel(settings._replace(backwards=backward), backward, *tensors)


def roughly(settings: Any, backward: bool, *tensors: Any) -> None:
    """Gives outputs that are off by a little more than is allowed."""
    call_kernel(settings, backward, *tensors)
    tensors[4].mul_(1 + 1e-8)


@pytest.mark.parametrize("mutant", [forget_final, read_backwards, roughly])
@pytest.mark.parametrize("cell", CELLS)
def test_the_comparison_notices(cell: CellName, mutant: Any, use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(cell, lengths=[5, 2, 1, 0, 4])
    compare(case, use)
    monkeypatch.setattr(layer_function, "call_kernel", mutant)
    with pytest.raises(AssertionError):
        compare(case, use)


# Packing


@pytest.mark.parametrize("lengths", LENGTHS.values())
def test_packing_knows_the_position_before(lengths: list[int] | None) -> None:
    known = None if lengths is None else torch.tensor(lengths)
    packing = Packing.of(known, 5, 6)
    values, start = torch.randn(5, 6, 2), torch.randn(5, 2)
    mask = torch.ones(5, 6, dtype=torch.bool) if known is None else length_mask(known, 6)
    assert torch.equal(packing.unpack(packing.pack(values)), values * mask.unsqueeze(2))
    assert torch.equal(packing.unsort(packing.sort(start)), start)
    assert sum(packing.sizes) == int(mask.sum())
    assert packing.sizes == sorted(packing.sizes, reverse=True)
    for backwards in (False, True):
        if not packing.sizes:
            continue
        found = packing.unpack(packing.previous(packing.sort(start), packing.pack(values), backwards))
        for row, length in enumerate(mask.sum(1).tolist()):
            given = values[row, :length].flip(0) if backwards else values[row, :length]
            shifted = torch.cat([start[row : row + 1], given])[:length]
            assert torch.equal(found[row, :length], shifted.flip(0) if backwards else shifted)


def test_unpacking_has_the_gradient_of_packing() -> None:
    packing = Packing.of(torch.tensor([3, 0, 2]), 3, 4)
    packed = torch.randn(5, 2, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(3, 4, 2, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(packing.unpack(packed), packed, direction)
    assert torch.equal(gradient, packing.pack(direction))


# The choice


def uses_native(case: Case) -> bool:
    return layer_function.can_run_native(case.inputs, case.start, case.layer.weights(), case.lengths)


def test_a_tier_can_be_chosen(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case("lstm", torch.float32)
    assert uses_native(case)
    use("torch")
    assert not uses_native(case)
    use("")
    assert uses_native(case)
    monkeypatch.setattr(build, "failure", lambda: "no C++ compiler was found")
    assert not uses_native(case)


@pytest.mark.parametrize("name", ["fast", "python"])
def test_an_unknown_tier_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choice.VARIABLE, name)
    with refused("E-choice", "SEQ2ATT_KERNEL") as error:
        numbers(make_case("gru"))
    assert "torch, cpp" in str(error.value)


def test_a_tier_that_cannot_be_built_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "failure", lambda: "no C++ compiler was found")
    monkeypatch.setenv(choice.VARIABLE, "cpp")
    with refused("E-kernel", "SEQ2ATT_KERNEL") as error:
        numbers(make_case("gru"))
    assert "no C++ compiler was found" in str(error.value)


def test_a_small_step_is_torchs_cell(use: Use) -> None:
    assert not uses_native(make_case("lstm", torch.float32, sizes=(64, 1, 16, 256)))
    assert uses_native(make_case("lstm", torch.float32, sizes=(128, 1, 16, 256)))
    compare(make_case("lstm", torch.float32, sizes=(128, 1, 16, 256)), use)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_is_watched_or_of_another_type_is_left_to_torch(use: Use, native_runs: list[CellName]) -> None:
    use("cpp")
    layer = Layer("gru", 3, 4)
    inputs, start = torch.randn(2, 5, 3), (torch.zeros(2, 4),)
    expected = layer(inputs, start).outputs
    assert len(native_runs) == 1
    native_runs.clear()
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
    assert native_runs == []


PRIVATE = [
    "nn.modules.module._has_any_global_hook",
    "_C._len_torch_dispatch_stack",
    "_C._are_functorch_transforms_active",
    "_C._autograd._get_current_graph_task_keep_graph",
    "jit.is_tracing",
]


@pytest.mark.parametrize("name", PRIVATE)
def test_a_torch_without_a_private_function_gives_the_same(
    name: str, use: Use, native_runs: list[CellName], monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them is needed: neither for results and gradients, nor for gradients that are computed twice."""
    torch_private = choice.torch_private

    def without(function: str, default: Any) -> Any:
        return torch_private("_C.no_such_function" if function == name else function, default)

    monkeypatch.setattr(choice, "torch_private", without)
    case = make_case("lstm", lengths=[5, 2, 1, 0, 4])
    compare(case, use)
    assert len(native_runs) == 1
    outputs = case.layer(*case[1:]).outputs
    first = torch.autograd.grad(outputs.sum(), [case.inputs], retain_graph=True)
    assert_close(list(torch.autograd.grad(outputs.sum(), [case.inputs])), list(first))


def test_every_private_function_of_torch_is_guarded_and_known_here() -> None:
    """Any other private name of torch in the package must be guarded and named in `PRIVATE`."""
    sources = list(Path(choice.__file__).parent.rglob("*.py"))
    named = {name for path in sources for name in re.findall(r"torch_private\(\"([\w.]+)\"", path.read_text("utf-8"))}
    assert named == set(PRIVATE)
    direct = {name for path in sources for name in re.findall(r"torch(?:\.\w+)*\._\w+", path.read_text("utf-8"))}
    assert direct == {"torch.ops.mkldnn._linear_pointwise"}  # which `product.has_onednn` tries first
