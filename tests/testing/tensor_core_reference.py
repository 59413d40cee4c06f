"""The rule of each architecture's tensor cores for one dot product, in exact fractions: slow, and of its own.

Numbers are bits. Nothing here is taken from the library.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

FORMATS = {"float16": (5, 10), "bfloat16": (8, 7), "tf32": (8, 23), "float32": (8, 23)}
"""Bits of exponent and fraction; TF32 is written as a float32."""

RULES = {
    "volta": (23, {"float16": 4}),
    "turing": (24, {"float16": 8}),
    "ampere": (24, {"float16": 8, "bfloat16": 8, "tf32": 4}),
    "ada": (24, {"float16": 8, "bfloat16": 8, "tf32": 4}),
    "hopper": (25, {"float16": 16, "bfloat16": 16, "tf32": 8}),
    "blackwell": (25, {"float16": 16, "bfloat16": 16, "tf32": 8}),
    "cdna3": (24, {"float16": 8, "bfloat16": 8, "tf32": 4}),
}
"""Fractional bits, and products at once by dtype."""

Number = Fraction | float
"""A finite number exactly; infinities, NaN and -0 as float."""


def decode(bits: int, dtype: str) -> tuple[Number, int]:
    """A number and its exponent: that of the smallest normal number for a subnormal one."""
    width, fraction_bits = FORMATS[dtype]
    sign = -1 if bits >> (width + fraction_bits) else 1
    field = bits >> fraction_bits & (1 << width) - 1
    fraction = bits & (1 << fraction_bits) - 1
    if field == (1 << width) - 1:
        return (math.nan if fraction else sign * math.inf), 0
    if dtype == "tf32":
        fraction = fraction >> 13 << 13
    exponent = max(field, 1) - (1 << width - 1) + 1
    significand = fraction + (1 << fraction_bits if field else 0)
    return sign * significand * power(exponent - fraction_bits), exponent


def power(exponent: int) -> Fraction:
    return Fraction(2) ** exponent


def cut(value: Fraction, exponent: int) -> Fraction:
    """Cut off to a multiple of a power of two, toward zero."""
    return int(value / power(exponent)) * power(exponent)


def down(value: Fraction, exponent: int) -> Fraction:
    return math.floor(value / power(exponent)) * power(exponent)


def exponent_of(value: Fraction) -> int:
    """The exponent of a number as a float32; of zero and of subnormal numbers the smallest."""
    found = -126
    while abs(value) >= power(found + 1):
        found += 1
    return found


def to_float32(value: Fraction, *, nearest: bool) -> Number:
    unit = exponent_of(value) - 23
    rounded = round(value / power(unit)) * power(unit) if nearest else cut(value, unit)
    if abs(rounded) >= power(128):
        return math.copysign(math.inf, rounded)
    return -0.0 if not rounded and value < 0 else rounded


def add(values: Sequence[Number]) -> Number:
    """An exact sum; what is not finite spreads as in IEEE 754."""
    odd = [value for value in values if isinstance(value, float) and value]
    if odd:
        return sum(odd)
    if all(isinstance(value, float) for value in values):
        return -0.0
    return sum((Fraction(value) for value in values), Fraction(0))


def times(one: Number, other: Number) -> Number:
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one * other
    signs = [math.nan if value != value else 0 if value == 0 else math.copysign(1, value) for value in (one, other)]
    return signs[0] * signs[1] * math.inf


def instruction(architecture: str, pairs: list[tuple[Number, int]], accumulator: Number) -> Number:
    """One instruction: products with their exponents, and what was there before."""
    bits = RULES[architecture][0]
    if architecture == "cdna3":
        pairs = [(p if -(2**128) < p < 2**128 else p * math.inf, e) for p, e in pairs]
    special = add([*(p for p, _ in pairs), accumulator])
    if isinstance(special, float):
        return special
    products = [Fraction(p) for p, _ in pairs]
    before = Fraction(accumulator)
    exponents = [e if p else -126 for p, e in pairs]
    own = exponent_of(before)
    if architecture != "cdna3":
        top = max(*exponents, own)
        return to_float32(sum((cut(p, top - bits) for p in [*products, before]), Fraction(0)), nearest=False)
    first = max(exponents)
    found = sum((cut(p, first - bits) for p in products), Fraction(0))
    top = max(first, own)
    return to_float32(down(found, top - 31) + down(before, top - bits), nearest=True)


def dot(a: Sequence[int], b: Sequence[int], c: int = 0, *, architecture: str, dtype: str, splits: int = 1) -> int:
    """The bits of the float32 that an architecture gives for a dot product."""
    at_once = RULES[architecture][1][dtype]
    length = max(32, math.ceil(len(a) / splits / 32) * 32)
    parts: list[Number] = []
    for start in range(0, max(len(a), 1), length):
        accumulator: Number = decode(c, "float32")[0] if start == 0 else Fraction(0)
        for at in range(start, min(start + length, len(a)), at_once):
            pairs = []
            for i in range(at, at + at_once):
                (x, ex), (y, ey) = (decode(v[i] if i < len(a) else 0, dtype) for v in (a, b))
                pairs.append((times(x, y), ex + ey))
            accumulator = instruction(architecture, pairs, accumulator)
        parts.append(accumulator if a else add([accumulator, Fraction(0)]))
    total = parts[0]
    for part in parts[1:]:
        total = add([total, part])
        if isinstance(total, Fraction):
            total = to_float32(total, nearest=True)
    return encode(total)


def encode(value: Number) -> int:
    """The bits of a number that float32 has; every NaN is 0x7fffffff."""
    if value != value:
        return 0x7FFFFFFF
    sign = 0x80000000 if math.copysign(1, value) < 0 else 0
    if isinstance(value, float):
        return sign | (0x7F800000 if value else 0)
    exponent = exponent_of(value)
    significand = abs(value) / power(exponent - 23)
    assert significand.denominator == 1
    normal = significand >= 1 << 23
    return sign | ((exponent + 127 if normal else 0) << 23) | (int(significand) & (1 << 23) - 1)
