"""Products by every library are the same, with the same gradients, and each is taken only where it may be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seq2att.recurrence import native
from seq2att.recurrence import product as module
from seq2att.recurrence.choice import VARIABLE
from seq2att.recurrence.product import linear, matmul

SHAPES = [
    (64, 64, 256),
    (33, 127, 401),
    (161, 99, 300),
    (300, 1100, 70),
    (20, 600, 1000),
    (161, 300, 99),
    (128, 161, 129),
    (129, 161, 128),
    (1, 512, 4100),
    (5, 513, 1025),
    (1, 3, 2),
    (0, 300, 300),
    (3, 0, 2),
    (3, 2, 0),
]


@pytest.fixture(autouse=True)
def not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's two libraries, unless a test asks for ours."""
    monkeypatch.setenv(VARIABLE, "torch")


@pytest.fixture(params=["ours", "oneDNN", "MKL"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every library on every processor."""
    if request.param == "ours":
        if not native.is_available():
            pytest.skip("no C++ compiler")
        monkeypatch.setenv(VARIABLE, "cpp")
    if request.param == "oneDNN" and not module.has_onednn():
        pytest.skip("this torch has no oneDNN product")
    monkeypatch.setattr(module, "prefers_onednn", lambda: request.param == "oneDNN")
    return str(request.param)


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    calls: list[tuple[int, ...]] = []
    onednn_matmul = module.onednn_matmul

    def counted(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        calls.append((*inputs.shape, weight.size(0)))
        return onednn_matmul(inputs, weight, bias)

    monkeypatch.setattr(module, "onednn_matmul", counted)
    return calls


def views(rows: int, columns: int) -> list[Tensor]:
    """The same matrix by rows, turned, and with gaps."""
    matrix = torch.randn(rows, columns)
    return [matrix, matrix.t().contiguous().t(), torch.cat([matrix, matrix], 1)[:, :columns]]


@pytest.mark.parametrize(("rows", "inner", "columns"), SHAPES)
@pytest.mark.usefixtures("library")
def test_a_product_is_that_of_float64(rows: int, inner: int, columns: int) -> None:
    bias = torch.randn(columns)
    for inputs in views(rows, inner):
        for weight in views(columns, inner):
            exact = inputs.double() @ weight.double().T
            for found, expected in ((matmul(inputs, weight), exact), (matmul(inputs, weight, bias), exact + bias)):
                assert found.is_contiguous()
                assert found._base is None  # it may be changed in place
                torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-4)


def test_the_libraries_are_chosen_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    if not module.has_onednn():
        pytest.skip("this torch has no oneDNN product")
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    calls = count_calls(monkeypatch)
    for rows, inner, columns in ((4, 512, 512), (3, 512, 1024), (3, 512, 4096), (64, 64, 128)):
        matmul(torch.zeros(rows, inner), torch.zeros(columns, inner))
    assert calls == [(4, 512, 512), (3, 512, 4096)]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("shape", [(64, 256), (4, 17, 257), (2, 0, 256), (256,)])
def test_linear_and_its_gradients_are_torchs(shape: tuple[int, ...], biased: bool, library: str) -> None:
    inputs, weight, bias = torch.randn(shape), torch.randn(513, shape[-1]), torch.randn(513) if biased else None
    direction = torch.randn(*shape[:-1], 513)
    found = gradients(linear, inputs, weight, bias, direction)
    expected = gradients(torch.nn.functional.linear, inputs, weight, bias, direction)
    assert all(tensor.is_contiguous() for tensor in found[:3])
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours - theirs).norm()) <= 1e-5 * float(theirs.norm())


def gradients(function: object, inputs: Tensor, weight: Tensor, bias: Tensor | None, direction: Tensor) -> list[Tensor]:
    """The result, the gradients, and the gradient with respect to `weight` of the length of the first gradient."""
    assert callable(function)
    leaves = [tensor.clone().requires_grad_() for tensor in (inputs, weight, bias) if tensor is not None]
    outputs = function(*leaves)
    found = torch.autograd.grad(outputs, leaves, direction, create_graph=True)
    second = torch.autograd.grad(found[0].square().sum(), leaves[1])
    return [outputs.detach(), *(gradient.detach() for gradient in found), *second]


def test_long_matrices_come_in_few_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    if not module.has_onednn():
        pytest.skip("this torch has no oneDNN product")
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    calls = count_calls(monkeypatch)
    lengths = range(127, 300, 7)
    for length in lengths:
        for weight in (torch.randn(128, 256), torch.randn(256, 128)):
            inputs = torch.randn(length, weight.size(1), requires_grad=True)
            linear(inputs, weight.requires_grad_()).backward(torch.randn(length, weight.size(0)))
    assert len(calls) == 6 * len(lengths)
    assert len(set(calls)) <= 6 * (300 // 32)


def test_linear_takes_the_quick_product_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    if not module.has_onednn():
        pytest.skip("this torch has no oneDNN product")
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    calls = count_calls(monkeypatch)
    inputs, weight = torch.randn(64, 256, requires_grad=True), torch.randn(512, 256, requires_grad=True)
    outputs = linear(inputs, weight)
    assert calls == [(64, 256, 512)]
    outputs.backward(torch.randn(64, 512))
    assert sorted(calls[1:]) == [(64, 512, 256), (256, 64, 512)]
    frozen = torch.randn(64, 256)
    linear(frozen, weight.detach())
    assert not linear(frozen, weight.detach()).requires_grad


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_what_is_watched_or_not_float32_is_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "prefers_onednn", lambda: True)
    calls = count_calls(monkeypatch)
    inputs, weight = torch.randn(128, 256), torch.randn(256, 256)
    assert matmul(inputs.double(), weight.double()).dtype == torch.float64
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(inputs, weight).dtype == torch.bfloat16
    batched = torch.func.vmap(linear, (0, None))(inputs.unsqueeze(1), weight)
    torch.testing.assert_close(batched.squeeze(1), inputs @ weight.T, rtol=0, atol=1e-3)
    torch.func.grad(lambda x: linear(x, weight).sum())(inputs)
    torch.jit.trace(lambda x: linear(x, weight), inputs, check_trace=False)
    exported = torch.export.export(Affine(weight), (inputs,))
    assert "mkldnn" not in str(exported.graph)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(inputs, torch.ones_like(inputs))
        tangent = torch.autograd.forward_ad.unpack_dual(linear(dual, weight)).tangent
        bias = torch.autograd.forward_ad.make_dual(torch.zeros(256), torch.ones(256))
        of_bias = torch.autograd.forward_ad.unpack_dual(linear(inputs, weight, bias)).tangent
    torch.testing.assert_close(tangent, torch.ones_like(inputs) @ weight.T)
    torch.testing.assert_close(of_bias, torch.ones(128, 256))
    assert matmul(inputs, weight.requires_grad_()).requires_grad
    assert calls == []


class Affine(torch.nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, inputs: Tensor) -> Tensor:
        return linear(inputs, self.weight)


def raising(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    raise NotImplementedError("no such operator")


def wrong(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.zeros(inputs.size(0), weight.size(0))


@pytest.mark.parametrize("operator", [raising, wrong])
def test_without_a_good_operator_torch_multiplies(operator: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "onednn_matmul", operator)
    monkeypatch.setattr(module, "processor", lambda: "vendor_id\t: AuthenticAMD")
    module.prefers_onednn.cache_clear()
    try:
        assert not module.prefers_onednn()
        inputs, weight = torch.randn(128, 256), torch.randn(256, 256)
        assert torch.equal(matmul(inputs, weight), inputs @ weight.T)
    finally:
        module.prefers_onednn.cache_clear()


def test_only_an_amd_processor_prefers_onednn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "has_onednn", lambda: True)
    try:
        for vendor, expected in (("AuthenticAMD", True), ("GenuineIntel", False), ("", False)):
            monkeypatch.setattr(module, "processor", lambda vendor=vendor: vendor)
            module.prefers_onednn.cache_clear()
            assert module.prefers_onednn() is expected
    finally:
        module.prefers_onednn.cache_clear()


def test_ours_is_taken_where_it_can_be_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    if not native.is_available():
        pytest.skip("no C++ compiler")
    calls: list[tuple[int, ...]] = []
    ours = native.matmul

    def counted(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(tuple(inputs.shape))
        return ours(inputs, weight, bias)

    monkeypatch.setattr(native, "matmul", counted)
    large, few, weight = torch.randn(64, 256), torch.randn(8, 2048), torch.randn(256, 256)
    for kernel, expected in (("torch", []), ("cpp", [(64, 256)])):
        monkeypatch.setenv(VARIABLE, kernel)
        matmul(large, weight)
        matmul(few, torch.randn(1024, 2048))
        assert calls == expected


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_divide_ours_without_changing_it(threads: int) -> None:
    if not native.is_available():
        pytest.skip("no C++ compiler")
    inputs, tall, wide = torch.randn(300, 401), torch.randn(70, 401), torch.randn(1000, 401)
    alone = [native.matmul(inputs, weight, None) for weight in (tall, wide)]
    torch.set_num_threads(threads)
    try:
        for weight, expected in zip((tall, wide), alone, strict=True):
            assert torch.equal(native.matmul(inputs, weight, None), expected)
    finally:
        torch.set_num_threads(1)
