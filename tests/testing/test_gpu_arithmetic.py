"""The arithmetic of tensor cores: the fast way gives the bits of exact fractions."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crynux_validate.errors import InvalidInputError
from crynux_validate.testing.gpu import arithmetic
from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES, multiply
from tests.testing import tensor_core_reference as reference

CASES = [(name, dtype) for name, found in ARCHITECTURES.items() for dtype in found.at_once]
KINDS = ("bits", "near", "far", "opposite", "subnormal", "tiny", "zeros", "whole", "large", "odd")


def words(dtype: str, kind: str, size: int, draw: np.random.Generator) -> list[int]:
    """Bits of numbers of a dtype: anything, near 1, of very different size, integers, ..."""
    width, fraction = reference.FORMATS[dtype]
    bias = (1 << (width - 1)) - 1
    total = 1 + width + fraction
    found = draw.integers(0, 1 << total, size)
    field = {
        "near": draw.integers(bias - 2, bias + 2, size),
        "far": draw.integers(max(1, bias - 40), min(2 * bias, bias + 40) + 1, size),
        "subnormal": draw.integers(0, 3, size),
        "tiny": draw.integers(max(1, bias - 80), max(2, bias - 60), size),
        "large": draw.integers(2 * bias - 6, 2 * bias + 1, size),
    }.get(kind, draw.integers(1, 2 * bias + 1, size))
    signs_and_fractions = found & ((1 << fraction) - 1 | 1 << (total - 1))
    finite = signs_and_fractions | field << fraction
    if kind == "zeros":
        finite = np.where(draw.random(size) < 0.8, found & 1 << (total - 1), finite)
    if kind == "whole":
        finite = np.where(draw.random(size) < 0.5, bias + draw.integers(0, 4, size) << fraction, bias << fraction)
        finite |= found & 1 << (total - 1)
    if kind == "odd":
        finite = np.where(draw.random(size) < 0.1, found | ((1 << width) - 1) << fraction, finite)
        finite = np.where(draw.random(size) < 0.1, ((1 << width) - 1) << fraction, finite)
    return [int(word) for word in (found if kind == "bits" else finite)]


def floats(bits: Any, dtype: str) -> Any:
    """The numbers that the bits stand for, as float32."""
    found = np.asarray(bits, np.uint32)
    if dtype == "float16":
        return found.astype(np.uint16).view(np.float16).astype(np.float32)
    return (found << 16 if dtype == "bfloat16" else found).view(np.float32)


@st.composite
def products(draw: Any) -> tuple[str, str, int, list[int], list[int], int]:
    name, dtype = draw(st.sampled_from(CASES))
    kind, other = draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS))
    k, splits = draw(st.integers(0, 70)), draw(st.sampled_from(arithmetic.SPLITS))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    a, b = words(dtype, kind, k, random), words(dtype, other, k, random)
    if kind == "opposite":
        half = k // 2
        sign = 1 << sum(reference.FORMATS[dtype])
        a[half : 2 * half], b[half : 2 * half] = [word ^ sign for word in a[:half]], b[:half]
    # The accumulator begins with anything, or so near to the sum that only the ends are left.
    begin = draw(st.sampled_from((0, 1 << 31, words("float32", draw(st.sampled_from(KINDS)), 1, random)[0])))
    return name, dtype, splits, a, b, begin


@settings(max_examples=1500, deadline=None)
@given(products())
def test_the_bits_are_those_of_exact_fractions(product: tuple[str, str, int, list[int], list[int], int]) -> None:
    name, dtype, splits, a, b, begin = product
    c = np.array([[begin]], np.uint32).view(np.float32)
    rows, columns = floats(a, dtype)[None], floats(b, dtype)[:, None]
    found = multiply(rows, columns, c, architecture=name, dtype=dtype, splits=splits)
    expected = reference.dot(a, b, begin, architecture=name, dtype=dtype, splits=splits)
    assert f"{found.view(np.uint32)[0, 0]:08x}" == f"{expected:08x}"


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_sum_of_negative_zeros_is_zero(name: str, dtype: str) -> None:
    a, b = np.full((1, 20), -0.0, np.float32), np.ones((20, 1), np.float32)
    for k in (0, 20):
        found = multiply(a[:, :k], b[:k], np.full((1, 1), -0.0, np.float32), architecture=name, dtype=dtype)
        assert found.tobytes() == bytes(4)


ENDS = (0x7F7FFFFF, 0xFF7FFFFF, 0x7F000000, 0x7E800000, 0x7F800000, 0xFF800000, 0x00000001, 0x80000001)
"""The largest float32, 2^127, 2^126, infinity, the smallest, and some of them negative."""


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("begin", ENDS, ids=hex)
def test_an_accumulator_may_begin_at_an_end_of_float32(name: str, dtype: str, begin: int) -> None:
    random = np.random.default_rng(begin)
    at_once = ARCHITECTURES[name].at_once[dtype]
    both = [[words(dtype, kind, 3 * at_once, random) for _ in range(2)] for kind in ("near", "large", "tiny", "zeros")]
    if dtype != "float16":
        # The first instruction goes beyond the largest number, the second would come back.
        width, fraction = reference.FORMATS[dtype]
        up, back, minus = ((127 + 52) << fraction, (127 + 60) << fraction, 1 << (width + fraction))
        both.append([[up] * at_once + [back] * at_once, [up] * at_once + [back | minus] * at_once])
    for a, b in both:
        c = np.array([[begin]], np.uint32).view(np.float32)
        found = multiply(floats(a, dtype)[None], floats(b, dtype)[:, None], c, architecture=name, dtype=dtype)
        expected = reference.dot(a, b, begin, architecture=name, dtype=dtype)
        assert f"{found.view(np.uint32)[0, 0]:08x}" == f"{expected:08x}"


@pytest.mark.parametrize(("name", "dtype"), CASES)
@pytest.mark.parametrize("shape", [(2, 3, 5, 40), (1, 17, 4, 9), (3, 1, 9, 33), (1, 1, 1, 64)])
def test_every_output_is_a_dot_product_of_its_own(
    monkeypatch: pytest.MonkeyPatch, name: str, dtype: str, shape: tuple[int, int, int, int]
) -> None:
    """However the work is cut into tiles."""
    batch, m, n, k = shape
    random = np.random.default_rng(sum(shape))
    left = np.array(words(dtype, "far", batch * m * k, random)).reshape(batch, m, k)
    right = np.array(words(dtype, "near", batch * k * n, random)).reshape(batch, k, n)
    expected = [
        [[reference.dot(row, column, architecture=name, dtype=dtype) for column in other.T.tolist()] for row in one]
        for one, other in zip(left.tolist(), right, strict=True)
    ]
    for tile in (2**16, 64):
        monkeypatch.setattr(arithmetic, "_PRODUCTS", tile)
        monkeypatch.setattr(arithmetic, "_COLUMNS", tile // 16)
        found = multiply(floats(left, dtype), floats(right, dtype), architecture=name, dtype=dtype)
        assert found.shape == (batch, m, n)
        assert found.view(np.uint32).tolist() == expected


def test_the_drawing_of_the_documentation() -> None:
    """Of three products, 1, 2^-24 + 2^-25 and 2^-25, Ada loses the bits of 2^-25, and Hopper adds them up."""
    a, b = np.array([[1, 1.5 * 2**-24, 2**-25]], np.float32), np.ones((3, 1), np.float32)
    found = {name: multiply(a, b, architecture=name, dtype="bfloat16")[0, 0] for name in ("ada", "hopper")}
    assert found == {"ada": 1, "hopper": 1 + 2**-23}


def test_which_architectures_differ() -> None:
    """Turing, Ampere and Ada are one arithmetic, Hopper and Blackwell another; Volta and CDNA3 are alone."""
    random = np.random.default_rng(5)
    found = {}
    for dtype in ("float16", "bfloat16"):
        a, b = (floats(np.reshape(words(dtype, "near", 64 * 64, random), (64, 64)), dtype) for _ in range(2))
        for name, architecture in ARCHITECTURES.items():
            if dtype in architecture.at_once:
                found[dtype, name] = multiply(a, b, architecture=name, dtype=dtype).tobytes()
    alike = [("turing", "ampere", "ada"), ("hopper", "blackwell"), ("volta",), ("cdna3",)]
    for dtype in ("float16", "bfloat16"):
        groups = [{found[dtype, name] for name in names if (dtype, name) in found} for names in alike]
        assert all(len(group) <= 1 for group in groups)
        kinds = [next(iter(group)) for group in groups if group]
        assert len(set(kinds)) == len(kinds)


def test_splitting_k_is_another_order() -> None:
    random = np.random.default_rng(6)
    a, b = (floats(np.reshape(words("bfloat16", "near", 8 * 256, random), shape), "bfloat16")
            for shape in ((8, 256), (256, 8)))  # fmt: skip
    found = [multiply(a, b, architecture="hopper", dtype="bfloat16", splits=n).tobytes() for n in arithmetic.SPLITS]
    assert len(set(found)) == 3
    halves = [multiply(a[:, at : at + 128], b[at : at + 128], architecture="hopper", dtype="bfloat16")
              for at in (0, 128)]  # fmt: skip
    assert found[1] == (halves[0] + halves[1]).tobytes()


@pytest.mark.parametrize(
    ("change", "words_of_the_error"),
    [
        ({"architecture": "pascal"}, r"the architecture is 'pascal'; expected one of volta, turing, ampere, ada, "),
        ({"architecture": None}, "the architecture is None; expected one of"),
        ({"architecture": "turing", "dtype": "bfloat16"}, "turing has no tensor cores for 'bfloat16'; it has them for"),
        ({"dtype": "float8_e4m3fn"}, "hopper has no tensor cores for 'float8_e4m3fn'"),
        ({"splits": 3}, "splits is 3; k is split over 1, 2, 4 blocks"),
        ({"splits": True}, "splits is True"),
        ({"a": np.ones((2, 3))}, "a is float64 of 2 dimensions; expected float32 matrices"),
        ({"a": np.ones(3, np.float32)}, "a is float32 of 1 dimensions"),
        ({"a": np.ones((2, 4), np.float32)}, r"a has the shape \(2, 4\), b \(3, 2\)"),
        ({"a": np.ones((1, 2, 3), np.float32)}, r"a has the shape \(1, 2, 3\), b \(3, 2\)"),
        ({"c": np.ones((2, 3), np.float32)}, "c must have the shape of the result"),
        ({"a": np.full((2, 3), 1 + 2**-8, np.float32)}, "a holds numbers that bfloat16 does not have; round them"),
    ],
)
def test_bad_input_is_named(change: dict[str, Any], words_of_the_error: str) -> None:
    given: dict[str, Any] = {"a": np.ones((2, 3), np.float32), "b": np.ones((3, 2), np.float32)}
    given |= {"architecture": "hopper", "dtype": "bfloat16"} | change
    with pytest.raises(InvalidInputError, match=words_of_the_error):
        multiply(given.pop("a"), given.pop("b"), **given)


@pytest.mark.parametrize("shape", [(4, 64, 40_000), (2000, 64, 2000), (1, 200_000, 64), (40_000, 64, 4)])
def test_memory_is_bounded(shape: tuple[int, int, int]) -> None:
    m, k, n = shape
    a, b = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
    tracemalloc.start()
    try:
        multiply(a, b, architecture="hopper", dtype="float16")
        assert tracemalloc.get_traced_memory()[1] < 128 * 2**20
    finally:
        tracemalloc.stop()
