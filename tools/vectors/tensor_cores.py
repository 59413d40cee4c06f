"""Vectors of products as tensor cores compute them."""

import hashlib
import json
import struct
from importlib.resources import files
from typing import Any

from tools.vectors.common import Vector, vector

from crynux_validate.testing.gpu.arithmetic import ARCHITECTURES, from_hex, multiply


def tensor_core_vectors() -> list[Vector]:
    """Products of tensor cores: those of another program as they stand, then what it has none of."""
    text = (files("crynux_validate") / "vectors" / "tensor-cores.json").read_text(encoding="utf-8")
    vectors = [found for found in json.loads(text)["vectors"] if found["source"] != "crynux_validate"]
    words = {
        "float16": {"inf": "7c00", "nan": "7e01", "one": "3c00", "-one": "bc00", "largest": "7bff"},
        "bfloat16": {"inf": "7f80", "nan": "7fc1", "one": "3f80", "-one": "bf80", "largest": "7f7f"},
    }
    both = ("float16", "bfloat16")
    everywhere = dict.fromkeys(range(32), "largest")
    cases: list[tuple[str, str, tuple[str, ...], int, int, dict[int, str], dict[int, str], str]] = [
        ("split-2", "k in two blocks, whose accumulators are added in float32", both, 128, 2, {}, {}, "00000000"),
        ("split-4", "k in four blocks", both, 256, 4, {}, {}, "00000000"),
        ("split-uneven", "three blocks of 64 and a short one", both, 200, 4, {}, {}, "00000000"),
        ("split-begin", "the first of two blocks begins with a number", both, 64, 2, {}, {}, "c2f6e979"),
        ("short-k", "zeros fill the last instruction", both, 37, 1, {}, {}, "00000000"),
        ("infinity", "an infinite factor", both, 32, 1, {7: "inf"}, {7: "-one"}, "00000000"),
        ("infinity-times-zero", "NaN", both, 32, 1, {20: "inf"}, {20: "0000"}, "00000000"),
        ("infinities", "infinities of both signs, in instructions of their own: NaN", both, 32, 1,
         {1: "inf", 30: "inf"}, {1: "one", 30: "-one"}, "00000000"),
        ("nan", "a factor that is NaN", both, 32, 1, {31: "nan"}, {}, "00000000"),
        ("infinite-begin", "the accumulator begins with minus infinity", both, 32, 1, {}, {}, "ff800000"),
        ("nan-begin", "the accumulator begins with a NaN of other bits", both, 32, 1, {}, {}, "ffc12345"),
        ("overflow", "a sum that float32 does not have", ("bfloat16",), 32, 1, everywhere, everywhere, "7f7fffff"),
        ("large-product", "a product of 2^128 or more, which CDNA3 takes for infinity", ("bfloat16",), 32, 1,
         {0: "largest", 1: "largest"}, {0: "7f7f", 1: "ff7f"}, "00000000"),
        ("subnormal-result", "a sum below the smallest normal float32", ("bfloat16",), 32, 1,
         dict.fromkeys(range(32), "0081"), {at: f"{0x3381 + 9 * at:04x}" for at in range(32)}, "80000003"),
    ]  # fmt: skip
    for name, why, dtypes, k, splits, first, second, begin in cases:
        for dtype in dtypes:
            sides = [near_one(f"{name} {dtype} {side}", dtype, k) for side in "ab"]
            for side, changes in zip(sides, (first, second), strict=True):
                for at, word in changes.items():
                    side[at] = words[dtype].get(word, word)
            a, b = map("".join, sides)
            given: dict[str, Any] = {"dtype": dtype, "splits": splits, "a": a, "b": b, "c": begin}
            found = tensor_core_results(**given)
            vectors.append(vector(f"tensor-core/{dtype}-{name}", why, source="crynux_validate", **given, result=found))
    return vectors


def near_one(seed: str, dtype: str, count: int) -> list[str]:
    """The bits of numbers between 1/8 and 8, whose signs and fractions are those of SHAKE-128 of the seed."""
    words = struct.unpack(f">{count}H", hashlib.shake_128(seed.encode()).digest(2 * count))
    fraction, bias = {"float16": (10, 15), "bfloat16": (7, 127)}[dtype]
    kept = 0x8000 | (1 << fraction) - 1
    return [f"{word & kept | bias - 3 + at * 5 % 6 << fraction:04x}" for at, word in enumerate(words)]


def tensor_core_results(*, dtype: str, splits: int, a: str, b: str, c: str) -> dict[str, str]:
    """What each architecture that has the dtype gives."""
    rows, columns, begin = from_hex(a, dtype)[None], from_hex(b, dtype)[:, None], from_hex(c, "float32")[None]
    found = {
        name: multiply(rows, columns, begin, architecture=name, dtype=dtype, splits=splits)
        for name, architecture in ARCHITECTURES.items()
        if dtype in architecture.at_once
    }
    return {name: result.astype(">f4").tobytes().hex() for name, result in found.items()}
