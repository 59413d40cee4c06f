"""torch in the arithmetic of a card: every product has its bits, and nothing is computed otherwise unseen."""

import itertools
import math
import re
import shutil
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch as typed_torch

import crynux_validate as cv
from crynux_validate.errors import DeterminismError, FakeHardwareError, InvalidInputError
from crynux_validate.pipelines.guard.determinism import deterministic, numerics
from crynux_validate.tasks import ModelRef
from crynux_validate.testing import tensor_cores, tiny_image_model, tiny_sdxl_model, tiny_text_model
from crynux_validate.testing.gpu import products
from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES, SPLITS, multiply

torch: Any = typed_torch
functional = torch.nn.functional

CONTEXTS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "grad": torch.enable_grad,
}
HALVES = (torch.float16, torch.bfloat16)


def numbers(*shape: int, dtype: Any = torch.bfloat16, seed: int = 0) -> Any:
    random = np.random.default_rng((seed, *shape))
    return torch.from_numpy(random.standard_normal(shape)).to(dtype)


def expected(a: Any, b: Any, architecture: str = "hopper", splits: int = 1) -> Any:
    """The float32 product of matrices or stacks of them, by the arithmetic alone."""
    name = {torch.float16: "float16", torch.bfloat16: "bfloat16", torch.float32: "tf32"}[a.dtype]
    before = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left, right = (
        part.expand(*before, *part.shape[-2:]).reshape(-1, *part.shape[-2:]).float().numpy() for part in (a, b)
    )
    found = multiply(left, right, architecture=architecture, dtype=name, splits=splits)
    return torch.from_numpy(found).reshape(*before, a.shape[-2], b.shape[-1])


def same(found: Any, wanted: Any) -> bool:
    return found.dtype == wanted.dtype and found.shape == wanted.shape and bool((found == wanted).all())


def each_product(dtype: Any) -> dict[str, tuple[Callable[[], Any], Any]]:
    """Ways to ask torch for a product, and what they must give."""
    x, y = numbers(3, 5, 70, dtype=dtype), numbers(3, 70, 6, dtype=dtype)
    deep = numbers(2, 3, 4, 70, dtype=dtype)
    weight, bias, row = numbers(6, 70, dtype=dtype), numbers(6, dtype=dtype), numbers(70, dtype=dtype)
    added = numbers(5, 6, dtype=dtype)
    plain = expected(deep, weight.T)
    with_bias = (plain + bias.float()).to(dtype)
    return {
        "matrix": (lambda: x[0] @ y[0], expected(x[0], y[0]).to(dtype)),
        "batched": (lambda: torch.bmm(x, y), expected(x, y).to(dtype)),
        "batched by matmul": (lambda: x @ y, expected(x, y).to(dtype)),
        "broadcast": (lambda: deep @ y[None, :, :, :], expected(deep, y).to(dtype)),
        "linear": (lambda: functional.linear(deep, weight), plain.to(dtype)),
        "linear with bias": (lambda: functional.linear(deep, weight, bias), with_bias),
        "einsum": (lambda: torch.einsum("abck,dk->abcd", deep, weight), plain.to(dtype)),
        "tensordot": (lambda: torch.tensordot(deep, weight, ([3], [1])), plain.to(dtype)),
        "vector": (lambda: weight @ row, expected(weight, row[:, None])[:, 0].to(dtype)),
        "dot": (lambda: row @ row, expected(row[None], row[:, None])[0, 0].to(dtype)),
        "alpha and beta": (
            lambda: torch.addmm(added, x[0], y[0], alpha=0.5, beta=3),
            (expected(x[0], y[0]) * 0.5 + added.float() * 3).to(dtype),
        ),
        "beta 0": (
            lambda: torch.addmm(torch.full_like(added, math.nan), x[0], y[0], beta=0),
            expected(x[0], y[0]).to(dtype),
        ),
        "batched with alpha": (
            lambda: torch.baddbmm(added[None], x, y, alpha=2),
            (expected(x, y) * 2 + added.float()).to(dtype),
        ),
        "vector with beta": (
            lambda: torch.addmv(bias, weight, row, beta=2),
            (expected(weight, row[:, None])[:, 0] + bias.float() * 2).to(dtype),
        ),
        "module": (lambda: _linear(weight)(deep).detach(), plain.to(dtype)),
    }


def _linear(weight: Any) -> Any:
    found = torch.nn.Linear(*reversed(weight.shape), bias=False, dtype=weight.dtype)
    found.weight = torch.nn.Parameter(weight)
    return found


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_every_product_has_the_bits_of_the_arithmetic(context: str, dtype: Any) -> None:
    for name, (compute, wanted) in each_product(dtype).items():
        with CONTEXTS[context](), tensor_cores("hopper") as cores:
            found = compute()
        assert same(found, wanted), name
        assert cores.multiply_adds > 0, name


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "3x3": ((2, 5, 9, 8), (4, 5, 3, 3), {"padding": 1}),
    "1x1": ((1, 33, 6, 5), (7, 33, 1, 1), {}),
    "stride": ((1, 4, 11, 9), (3, 4, 3, 3), {"stride": 2, "padding": 1}),
    "uneven": ((1, 4, 11, 9), (3, 4, 3, 2), {"stride": (1, 3), "padding": (0, 2), "dilation": (2, 1)}),
    "groups": ((1, 6, 7, 7), (9, 2, 3, 3), {"groups": 3, "padding": 1}),
    "depthwise": ((1, 6, 7, 7), (6, 1, 3, 3), {"groups": 6}),
    "one dimension": ((2, 6, 19), (4, 6, 5), {"stride": 2, "padding": 2}),
    "three dimensions": ((1, 3, 5, 6, 4), (2, 3, 2, 3, 2), {"padding": 1}),
    "same": ((1, 4, 8, 8), (3, 4, 3, 3), {"padding": "same"}),
}


def convolved(x: Any, weight: Any, options: dict[str, Any]) -> Any:
    """Each output alone: a window in the order rows, columns, channels, times its kernel."""
    count = weight.ndim - 2
    groups = options.get("groups", 1)
    stride, dilation = ([*np.broadcast_to(options.get(name, 1), count)] for name in ("stride", "dilation"))
    padding = options.get("padding", 0)
    padding = [size // 2 for size in weight.shape[2:]] if padding == "same" else [*np.broadcast_to(padding, count)]
    padded = functional.pad(x.float(), [int(side) for size in reversed(padding) for side in (size, size)]).to(x.dtype)
    reach = [d * (size - 1) + 1 for d, size in zip(dilation, weight.shape[2:], strict=True)]
    out = [(size - r) // s + 1 for size, r, s in zip(padded.shape[2:], reach, stride, strict=True)]
    found = torch.empty(x.shape[0], weight.shape[0], *out)
    inputs, outputs = weight.shape[1], weight.shape[0] // groups
    for image, group in itertools.product(range(x.shape[0]), range(groups)):
        kernels = weight[group * outputs : (group + 1) * outputs].movedim(1, -1).flatten(1).T
        for place in itertools.product(*map(range, out)):
            window = padded[image, group * inputs : (group + 1) * inputs]
            for at, (p, s, d, r) in enumerate(zip(place, stride, dilation, reach, strict=True), 1):
                window = window.movedim(at, 0)[p * s : p * s + r : d].movedim(0, at)
            row = window.movedim(0, -1).flatten()[None]
            some = slice(group * outputs, (group + 1) * outputs)
            found[(image, some, *place)] = expected(row.contiguous(), kernels.contiguous())[0]
    return found


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_convolution_has_the_bits_of_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch, context: str, name: str
) -> None:
    shape, kernel, options = CONVOLUTIONS[name]
    x, weight, bias = numbers(*shape), numbers(*kernel), numbers(kernel[0])
    wanted = convolved(x, weight, options)
    convolution = {3: functional.conv1d, 4: functional.conv2d, 5: functional.conv3d}[x.ndim]
    for most in (2**24, 64):
        monkeypatch.setattr(products, "_MOST", most)
        with CONTEXTS[context](), tensor_cores("hopper") as cores:
            found = convolution(x, weight, bias, **options)
            alone = convolution(x, weight, **options)
        assert same(found, (wanted + bias.float().reshape(-1, *[1] * len(kernel[2:]))).to(x.dtype))
        assert same(alone, wanted.to(x.dtype))
        assert cores.multiply_adds == 2 * wanted.numel() * weight[0].numel()


TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "plain": ((2, 4, 5, 6), (4, 3, 3, 2), {}),
    "stride": ((1, 4, 5, 6), (4, 3, 4, 4), {"stride": 2, "padding": 1}),
    "uneven": ((1, 4, 5, 6), (4, 3, 3, 3), {"stride": (2, 3), "padding": (2, 1), "dilation": (2, 1),
                                            "output_padding": (1, 2)}),
    "more padding than kernel": ((1, 2, 7, 7), (2, 3, 2, 2), {"padding": 3}),
    "groups": ((1, 6, 4, 4), (6, 2, 3, 3), {"groups": 3, "stride": 2}),
    "one dimension": ((2, 4, 9), (4, 3, 5), {"stride": 2, "padding": 2, "output_padding": 1}),
    "three dimensions": ((1, 2, 3, 4, 3), (2, 3, 2, 2, 3), {"stride": 2}),
}  # fmt: skip


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("name", TRANSPOSED)
def test_a_transposed_convolution_is_one_of_its_input_with_zeros_between(
    monkeypatch: pytest.MonkeyPatch, context: str, name: str
) -> None:
    shape, kernel, options = TRANSPOSED[name]
    x, weight = numbers(*shape), numbers(*kernel)
    count, groups = len(kernel) - 2, options.get("groups", 1)
    transposed = {1: functional.conv_transpose1d, 2: functional.conv_transpose2d, 3: functional.conv_transpose3d}[count]
    native = transposed(x.float(), weight.float(), **options)
    stride, padding, dilation, more = (
        [int(one) for one in np.broadcast_to(options.get(key, start), count)]
        for key, start in (("stride", 1), ("padding", 0), ("dilation", 1), ("output_padding", 0))
    )
    wide = torch.zeros(*shape[:2], *((size - 1) * s + 1 for size, s in zip(shape[2:], stride, strict=True)))
    wide[(..., *(slice(None, None, s) for s in stride))] = x.float()
    reach = [d * (size - 1) - p for d, size, p in zip(dilation, kernel[2:], padding, strict=True)]
    sides = [side for r, m in zip(reversed(reach), reversed(more), strict=True) for side in (r, r + m)]
    turned = torch.cat([part.transpose(0, 1) for part in weight.chunk(groups)]).flip(*range(2, 2 + count))
    wanted = convolved(functional.pad(wide, sides).to(x.dtype), turned, {"groups": groups, "dilation": dilation})
    assert torch.allclose(wanted, native, rtol=1e-5, atol=1e-5)
    bias = numbers(kernel[1] * groups)
    for most in (2**24, 64):
        monkeypatch.setattr(products, "_MOST", most)
        with CONTEXTS[context](), tensor_cores("hopper") as cores:
            found = transposed(x, weight, bias, **options)
        assert same(found, (wanted + bias.float().reshape(-1, *[1] * count)).to(x.dtype))
        assert cores.multiply_adds == wanted.numel() * turned[0].numel()


def attended(query: Any, key: Any, value: Any, *, mask: Any = 0.0, scale: float | None = None) -> Any:
    scores = expected(query, key.mT) * (query.shape[-1] ** -0.5 if scale is None else scale) + mask
    return expected(torch.ops.aten._safe_softmax(scores, -1).to(query.dtype), value).to(query.dtype)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
@pytest.mark.parametrize("kernel", ["flash_attention", "math"])
def test_attention_has_the_bits_of_the_arithmetic(
    monkeypatch: pytest.MonkeyPatch, context: str, dtype: Any, kernel: str
) -> None:
    """Whichever kernel torch would take."""
    query, key, value = (numbers(2, 4, size, 16, dtype=dtype, seed=size) for size in (7, 9, 9))
    future = torch.full((7, 9), -math.inf).triu(1)
    mask = numbers(2, 1, 7, 9, dtype=dtype)
    nowhere = torch.zeros(7, 9, dtype=torch.bool)
    nowhere[1:, ::2] = True
    few_keys, few_values = (part[:, :2].repeat_interleave(2, 1) for part in (key, value))
    attend = functional.scaled_dot_product_attention
    ways = {
        "plain": (lambda: attend(query, key, value), attended(query, key, value)),
        "scale": (lambda: attend(query, key, value, scale=0.3), attended(query, key, value, scale=0.3)),
        "causal": (lambda: attend(query, key, value, is_causal=True), attended(query, key, value, mask=future)),
        "mask": (lambda: attend(query, key, value, mask), attended(query, key, value, mask=mask.float())),
        "bool": (
            lambda: attend(query, key, value, nowhere),
            attended(query, key, value, mask=torch.zeros(7, 9).masked_fill(~nowhere, -math.inf)),
        ),
        "groups": (
            lambda: attend(query, key[:, :2], value[:, :2], enable_gqa=True),
            attended(query, few_keys, few_values),
        ),
        "three dimensions": (lambda: attend(query[0], key[0], value[0]), attended(query[0], key[0], value[0])),
    }
    from torch.nn.attention import SDPBackend, sdpa_kernel

    backend = SDPBackend.MATH if kernel == "math" else SDPBackend.FLASH_ATTENTION
    for (name, (compute, wanted)), most in itertools.product(ways.items(), (2**24, 64)):
        monkeypatch.setattr(products, "_MOST", most)
        with CONTEXTS[context](), sdpa_kernel(backend), tensor_cores("hopper") as cores:
            found = compute()
        assert same(found, wanted), name
        assert cores.multiply_adds > 0


def test_modules_are_computed_also_with_gradients() -> None:
    layer = torch.nn.MultiheadAttention(32, 4, batch_first=True, dtype=torch.bfloat16).eval()
    x = numbers(2, 5, 32)
    found = {}
    for name, context in CONTEXTS.items():
        with context(), tensor_cores("ampere") as cores:
            found[name] = layer(x, x, x, need_weights=False)[0]
        assert cores.multiply_adds == 4 * 2 * 5 * 32 * 32 + 2 * 2 * 4 * 5 * 5 * 8
    assert same(found["no_grad"], found["inference_mode"])
    assert same(found["no_grad"], found["grad"].detach())
    assert found["grad"].requires_grad


def test_gradients_of_linear_layers_are_products_too() -> None:
    layer = torch.nn.Linear(64, 8, dtype=torch.bfloat16)
    x = numbers(5, 64)
    with tensor_cores("hopper") as cores:
        layer(x).sum().backward()
    assert cores.multiply_adds == 2 * 5 * 64 * 8
    assert same(layer.weight.grad, expected(torch.ones(8, 5, dtype=x.dtype), x).to(x.dtype))


@pytest.mark.parametrize("splits", SPLITS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_and_order(name: str, splits: int) -> None:
    a, b = numbers(4, 300, dtype=torch.float16), numbers(300, 5, dtype=torch.float16)
    with tensor_cores(name, splits=splits) as cores:
        found = a @ b
    assert same(found, expected(a, b, name, splits).to(torch.float16))
    assert cores.to_dict() == {"architecture": name, "splits": splits, "tf32": False}
    order = f", splits={splits}" if splits > 1 else ""
    assert repr(cores) == f"<tensor_cores({name!r}{order}): 6000 multiply-adds>"


def test_float32_is_left_alone_unless_tf32_is_asked_for() -> None:
    a, b = numbers(64, 64, dtype=torch.float32), numbers(64, 64, dtype=torch.float32)
    for context in CONTEXTS.values():
        with context():
            native = a @ b
            with tensor_cores("ampere") as cores:
                assert same(a @ b, native)
            assert cores.multiply_adds == 0
            with tensor_cores("ampere", tf32=True) as cores:
                found = functional.linear(a, b.T)
            assert same(found, expected(a, b, "ampere"))
            assert not same(found, native)
            assert cores.multiply_adds == 64**3
    with (
        tensor_cores("turing", tf32=True),
        pytest.raises(InvalidInputError, match="turing has no tensor cores for 'tf3"),
    ):
        a @ b


def test_what_is_not_computed_is_refused() -> None:
    """In each way of calling torch; the message says what to do."""
    x = numbers(2, 4, 8, 8)
    square = numbers(8, 8)
    eighth = numbers(16, 16).to(torch.float8_e4m3fn)
    foreign = torch.library.Library("crynux_validate_tests", "DEF")
    foreign.define("product(Tensor a, Tensor b) -> Tensor")
    foreign.impl("product", lambda a, b: a @ b, "CompositeExplicitAutograd")
    cases: dict[str, Callable[[], Any]] = {
        "aten.addbmm.default": lambda: torch.addbmm(square, x[0], x[0]),
        "aten._trilinear.default": lambda: functional.bilinear(x, x, numbers(3, 8, 8)),
        "aten.mm.out": lambda: torch.mm(square, square, out=torch.empty(8, 8, dtype=torch.bfloat16)),
        "crynux_validate_tests.product.default": lambda: torch.ops.crynux_validate_tests.product(square, square),
        "aten._scaled_mm.default": lambda: torch._scaled_mm(eighth, eighth.T, torch.ones(()), torch.ones(())),
        "aten._weight_int8pack_mm.default": lambda: torch._weight_int8pack_mm(square, square.char(), square[0]),
        "attention with dropout": lambda: functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
        "a product of torch.float8_e5m2": lambda: torch.mm(square.to(torch.float8_e5m2), square.to(torch.float8_e5m2)),
    }
    for name, context in itertools.product(cases, CONTEXTS):
        with CONTEXTS[context](), tensor_cores("hopper") as cores, pytest.raises(FakeHardwareError) as caught:
            cases[name]()
        assert str(caught.value).startswith(name)
        assert cores.multiply_adds == 0
    with tensor_cores("hopper"), pytest.raises(RuntimeError, match=r"\(8, 8\) and \(4, 8\) cannot be multiplied"):
        square @ square[:4]


def test_the_list_of_operations_without_products_holds_none() -> None:
    """Every name on it is one of torch's, and nothing that is called like a product is let through."""
    from crynux_validate.testing.gpu import plain

    assert all(hasattr(torch.ops.aten, name.removeprefix("aten::")) for name in plain._LISTED)
    words = ("mm", "mv", "matmul", "conv", "dot", "attention", "linear", "addr", "ger", "rnn", "lstm", "gru", "cdist")
    otherwise = re.compile(r"_?upsample_|gamma|cummax|cummin|bessel|_gaussian|integer")
    let_through = [
        name
        for name in dir(torch.ops.aten)
        if any(word in name for word in words) and not otherwise.search(name)
        for overload in getattr(getattr(torch.ops.aten, name), "overloads", list)()
        if plain.has_no_product(getattr(getattr(torch.ops.aten, name), overload))
    ]
    assert let_through == []


def test_backward_of_attention_and_convolution_is_refused() -> None:
    x = numbers(1, 2, 4, 8).requires_grad_()
    ways: dict[str, Callable[[], Any]] = {
        "flash_attention_for_cpu_backward": lambda: functional.scaled_dot_product_attention(x, x, x),
        "aten.convolution_backward": lambda: functional.conv2d(x, numbers(3, 2, 3, 3)),
    }
    for name, compute in ways.items():
        with tensor_cores("hopper"):
            found = compute()
            with pytest.raises(FakeHardwareError, match=name):
                found.sum().backward()


class Watch(torch.utils._python_dispatch.TorchDispatchMode):  # type: ignore[misc]
    """Notes the largest tensor that is made, in bytes."""

    largest = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        given = {part.untyped_storage().data_ptr() for part in args if isinstance(part, torch.Tensor)}
        for tensor in found if isinstance(found, tuple | list) else (found,):
            if isinstance(tensor, torch.Tensor) and not tensor.is_meta:
                made = tensor.untyped_storage()
                self.largest = max(self.largest, 0 if made.data_ptr() in given else made.nbytes())
        return found


def test_no_temporary_is_larger_than_its_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that torch makes, besides the result: the bound is 64 MiB, and a small one here."""
    most = 2**12
    monkeypatch.setattr(products, "_MOST", most)
    wide, deep, long = numbers(1, 8, 70, 60), numbers(1, 4, 8, 20, 20), numbers(1, 2, 300, 8)
    flat, solid, mask = numbers(2, 8, 3, 3), numbers(2, 4, 3, 3, 3), numbers(1, 1, 300, 300)
    tall, small, stack, bias = numbers(300, 64), numbers(64, 2), numbers(2, 300, 64), numbers(300)
    ways: list[Callable[[], Any]] = [
        lambda: functional.conv2d(wide, flat, padding=1),
        lambda: functional.conv2d(wide, flat, padding=40, dilation=2),
        lambda: functional.conv3d(deep, solid),
        lambda: functional.scaled_dot_product_attention(long, long, long),
        lambda: functional.scaled_dot_product_attention(long, long, long, mask),
        lambda: tall @ small,
        lambda: small.T @ tall.T,
        lambda: functional.linear(stack, tall, bias),
    ]
    for compute in ways:
        with torch.no_grad(), Watch() as watch, tensor_cores("hopper"):
            found = compute()
        assert watch.largest <= max(4 * most, found.untyped_storage().nbytes())


def test_bad_input_is_named() -> None:
    a = numbers(4, 4)
    with pytest.raises(InvalidInputError, match="the architecture is 'pascal'"), tensor_cores("pascal"):
        pass
    with pytest.raises(InvalidInputError, match="splits is 3"), tensor_cores("hopper", splits=3):
        pass
    for context in CONTEXTS.values():
        with (
            context(),
            tensor_cores("turing"),
            pytest.raises(InvalidInputError, match="turing has no tensor cores for"),
        ):
            a @ a
    with tensor_cores("hopper"):
        for name in ("ampere", "hopper"):
            with pytest.raises(FakeHardwareError, match="entered inside <tensor_cores"), tensor_cores(name):
                pass
        assert same(a @ a, expected(a, a).to(a.dtype))


def test_tensors_elsewhere_and_of_other_classes_are_refused() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        on_card = torch.ones(3, 3, dtype=torch.bfloat16, device="cuda")
    with tensor_cores("hopper"), pytest.raises(FakeHardwareError, match="a tensor on cuda:0; tensor_cores computes on"):
        on_card @ on_card
    with FakeTensorMode():
        fake = torch.ones(3, 3, dtype=torch.bfloat16)
    with tensor_cores("hopper"), pytest.raises(FakeHardwareError, match="FakeTensor, which computes in its own way"):
        fake @ fake
    with tensor_cores("hopper") as cores:
        shape = (
            torch.ones(3, 5, dtype=torch.bfloat16, device="meta")
            @ torch.ones(5, 2, dtype=torch.bfloat16, device="meta")
        ).shape
    assert shape == (3, 2)
    assert cores.multiply_adds == 0


def test_another_thread_is_refused_while_the_context_lasts() -> None:
    a = numbers(4, 8)
    native = a @ a.T
    image, kernel = numbers(1, 3, 4, 4), numbers(2, 3, 3, 3)
    compute: list[Callable[[], Any]] = [
        lambda: a @ a.T, lambda: functional.linear(a[None], a), lambda: functional.conv2d(image, kernel),
        lambda: functional.scaled_dot_product_attention(image, image, image), lambda: a[0] @ a[1],
    ]  # fmt: skip

    def elsewhere(function: Callable[[], Any]) -> Any:
        found: list[Any] = []

        def run() -> None:
            for context in CONTEXTS.values():
                with context():
                    try:
                        found.append(function())
                    except FakeHardwareError as error:
                        found.append(str(error))

        thread = threading.Thread(target=run, name="other")
        thread.start()
        thread.join()
        return found

    with tensor_cores("hopper"):
        for function in compute:
            refused = elsewhere(function)
            assert len(refused) == 3
            assert all(
                "in the thread 'other' while another one is inside <tensor_cores('hopper')" in r for r in refused
            )
        assert all(found.dtype is torch.float32 for found in elsewhere(lambda: a.float() @ a.float().T))

        def itself() -> Any:
            with tensor_cores("ampere"):
                return a @ a.T

        assert all(same(found, expected(a, a.T, "ampere").to(a.dtype)) for found in elsewhere(itself))
        assert same(a @ a.T, expected(a, a.T).to(a.dtype))
    assert all(same(found, native) for found in elsewhere(compute[0]))
    assert same(a @ a.T, native)


def test_products_past_the_mode_are_refused() -> None:
    from torch.utils._python_dispatch import _disable_current_modes

    a = numbers(4, 8)
    image, kernel = numbers(1, 3, 4, 4), numbers(2, 3, 3, 3)
    compute: list[Callable[[], Any]] = [
        lambda: a @ a.T, lambda: functional.conv2d(image, kernel), lambda: a[0] @ a[1],
        lambda: torch._C._nn.scaled_dot_product_attention(image, image, image),
    ]  # fmt: skip
    for context, function in itertools.product(CONTEXTS.values(), compute):
        with context(), tensor_cores("hopper"):
            with _disable_current_modes(), pytest.raises(FakeHardwareError, match="is called past <tensor_cores"):
                function()
            with _disable_current_modes():
                a.float() @ a.float().T
            function()


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiled_functions_are_run_uncompiled(backend: str) -> None:
    """Also those that were compiled before; gradients of what ran compiled outside are computed here as well."""
    a = numbers(16, 64)
    layer = torch.nn.Linear(64, 8, bias=False, dtype=a.dtype)
    wanted = expected(a, layer.weight.detach().T, "ampere").to(a.dtype)
    for context, first in itertools.product(CONTEXTS.values(), (True, False)):
        torch._dynamo.reset()
        compiled = torch.compile(layer, backend=backend)
        with context():
            if first:
                compiled(a)
            with tensor_cores("ampere") as cores:
                assert same(compiled(a).detach(), wanted)
            assert cores.multiply_adds == 16 * 8 * 64
    outside = torch.compile(layer, backend=backend)(a)
    with tensor_cores("ampere") as cores:
        outside.sum().backward()
    assert cores.multiply_adds == 16 * 8 * 64
    assert same(layer.weight.grad, expected(torch.ones(8, 16, dtype=a.dtype), a, "ampere").to(a.dtype))
    with tensor_cores("ampere"), pytest.raises(RuntimeError, match="fullgraph"):
        torch.compile(layer, backend=backend, fullgraph=True)(a)


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a compiler")
@pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
def test_code_that_inductor_made_is_refused(tmp_path: Path) -> None:
    """It computes its products by itself, where no mode sees them."""
    a, b = numbers(16, 64), numbers(64, 8)

    class Product(torch.nn.Module):  # type: ignore[misc]
        def forward(self, left: Any, right: Any) -> Any:
            return left @ right

    package = torch._inductor.aoti_compile_and_package(
        torch.export.export(Product(), (a, b)), package_path=str(tmp_path / "product.pt2")
    )
    ahead = torch._inductor.aoti_load_package(package)
    directly = torch._inductor.compile(torch.fx.symbolic_trace(Product()), [a, b])
    for name, call in {"AOTIModelPackageLoader": ahead, "CompiledFxGraph": directly}.items():
        native = call(a, b)
        with tensor_cores("hopper"), pytest.raises(FakeHardwareError, match=rf"compiled code \({name}\) is called in"):
            call(a, b)
        assert same(call(a, b)[0], native[0])


def test_torchscript_is_computed_unless_a_part_of_it_was_fused() -> None:
    layers = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64)).bfloat16().eval()
    a = numbers(16, 64)
    with torch.no_grad():
        with tensor_cores("hopper"):
            wanted = layers(a)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            plain, fused = (torch.jit.freeze(torch.jit.trace(layers, (a,))) for _ in range(2))
            for _ in range(3):
                plain(a)
            torch.jit.enable_onednn_fusion(True)
            try:
                for _ in range(3):
                    native = fused(a)
            finally:
                torch.jit.enable_onednn_fusion(False)
            with tensor_cores("hopper") as cores:
                assert same(plain(a), wanted)
                assert cores.multiply_adds == 2 * 16 * 64 * 64
                with pytest.raises(
                    FakeHardwareError, match=r"TorchScript \(prim::oneDNNFusionGuard\) is called inside"
                ):
                    fused(a)
            assert same(fused(a), native)


def test_the_guard_allows_it_and_records_it() -> None:
    assert numerics()["tensor_cores"] is None
    with tensor_cores("hopper", splits=2) as cores:
        assert numerics()["tensor_cores"] == {"architecture": "hopper", "splits": 2, "tf32": False} == cores.to_dict()
        with deterministic():
            numbers(4, 4) @ numbers(4, 4)
        here = cv.local_environment("cpu")
    native = cv.local_environment("cpu")
    assert here.kernel_digest == native.kernel_digest
    assert here.numerics_digest != native.numerics_digest
    (line,) = [line for line in native.compare(here) if "architecture" in line]
    assert line.startswith("numerics.tensor_cores.architecture: nothing here, 'hopper' there; one of them emulates")
    with deterministic(), tensor_cores("ampere"):
        numbers(4, 4) @ numbers(4, 4)
    assert not [entry for entry in torch.library._impls if entry.endswith("mm/BackendSelect")]


def test_a_mode_that_derives_from_it_is_not_allowed() -> None:
    from crynux_validate.testing.gpu.mode import _Operations

    class Other(_Operations):  # type: ignore[no-untyped-call]
        pass

    with (
        tensor_cores("hopper") as cores,
        Other(cores),
        pytest.raises(DeterminismError, match="Other is active"),
        deterministic(),
    ):
        pass


def test_what_compares_a_real_card_finds_the_arithmetic_that_it_is_given() -> None:
    """It was never run on one; here an emulated card stands for it."""
    from crynux_validate.doctor.card import shares

    with tensor_cores("hopper"):
        for k in (16, 512):
            found = shares("cpu", "hopper", "float16", k)
            assert (found["compared"], found["equal"]["1"]) == ("rounded to float16", 1.0)
            assert k == 16 or shares("cpu", "cdna3", "float16", k)["equal"]["1"] < 1
        assert found["equal"]["2"] < 1


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ModelRef]:
    pytest.importorskip("diffusers")
    folder = tmp_path_factory.mktemp("models")
    return {
        "text": tiny_text_model(folder / "text"),
        "random text": tiny_text_model(folder / "random-text", random=True),
        "image": tiny_image_model(folder / "image"),
        "random image": tiny_image_model(folder / "random-image", random=True, safety_checker=True),
        "sdxl": tiny_sdxl_model(folder / "sdxl"),
    }


def task_of(name: str, model: ModelRef, dtype: Any) -> Any:
    if "text" in name:
        asked = [{"role": "user", "content": "And the king said"}]
        return cv.TextTask(
            model=model, messages=asked, dtype=dtype, max_new_tokens=6, binding="logits", eos_token_ids=[]
        )
    checked = name == "random image"
    given: dict[str, Any] = {"prompt": "a red star on sand", "steps": 1, "width": 64, "height": 64}
    return cv.ImageTask(model=model, dtype=dtype, safety_checker=checked, **given)


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["text", "random text", "image", "random image", "sdxl"])
def test_every_small_model_runs(models: dict[str, ModelRef], name: str, dtype: str) -> None:
    """The same task twice gives the same bits; architectures of one arithmetic give equal ones, others do not."""
    task = task_of(name, models[name], dtype)
    with cv.Runner.for_task(task, "cpu") as runner:
        native = runner.run(task)
        found = {}
        for architecture in ("ampere", "ada", "hopper"):
            with tensor_cores(architecture) as cores:
                found[architecture] = runner.run(task)
            assert cores.multiply_adds > 100_000
            assert found[architecture].environment.numerics["tensor_cores"] == cores.to_dict()
    assert native.environment.numerics["tensor_cores"] is None
    digests = {architecture: result.score.result_digest for architecture, result in found.items()}
    if "text" in name:  # that of the tokens may be equal, the logits are not
        digests = {architecture: result.score.score for architecture, result in found.items()}
    assert digests["ampere"] == digests["ada"]
    if (name, dtype) != ("text", "bfloat16"):  # whose logits are so coarse that few differ
        assert digests["ampere"] != digests["hopper"]


def test_the_canary_tells_cards_apart_by_their_arithmetic() -> None:
    challenge = b"the value of a beacon"
    found = {}
    for name in ("ampere", "ada", "hopper", "cdna3"):
        with tensor_cores(name):
            found[name] = cv.canary(challenge, "cpu")
    assert found["ampere"] == found["ada"]
    assert len({cv.canary(challenge, "cpu"), *found.values()}) == 4
    for name in ("volta", "turing"):
        with tensor_cores(name), pytest.raises(InvalidInputError, match=f"{name} has no tensor cores for 'bfloat16'"):
            cv.canary(challenge, "cpu")


def test_a_model_loaded_inside_is_recorded_by_where_it_runs(models: dict[str, ModelRef], tmp_path: Path) -> None:
    task = task_of("text", models["text"], "bfloat16")
    with tensor_cores("ampere"):
        runner = cv.Runner.for_task(task, "cpu")
    with runner:
        assert runner.run(task).environment.numerics["tensor_cores"] is None
