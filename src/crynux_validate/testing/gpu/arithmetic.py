"""How the tensor cores of each architecture multiply and add, to the bit, on any processor.

A tensor core takes some products and the accumulator at once. It aligns all of them to the largest exponent among them,
cuts each one off behind a fixed number of fractional bits, adds what is left exactly, and cuts the sum off to float32.
Cutting off is toward zero. In full, for one output::

    accumulator   float32, 0 at first (or a number that is given)
    instruction   the next products in the order of k, as many as the architecture takes at once; zeros fill the last
    exponents     that of a product is the sum of those of its factors, not that of the product itself. A subnormal
                  number has the exponent of the smallest normal one of its dtype; a product or accumulator that is zero
                  counts with -126
    NVIDIA        E = the largest exponent of the products and the accumulator
                  sum = each of them, cut off to a multiple of 2^(E - bits); added exactly
                  accumulator = sum, cut off to float32
    CDNA3         e = the largest exponent of the products; sum = each product, cut off to a multiple of 2^(e - 24)
                  E = the larger of e and the accumulator's exponent
                  accumulator = (sum, rounded down to a multiple of 2^(E - 31)) + (accumulator, rounded down to a
                  multiple of 2^(E - 24)), rounded to float32 to nearest even; products from 2^128 on are infinite

What is too large for float32 becomes infinite; infinities and NaN spread as in IEEE 754, and every NaN is 0x7fffffff. A
sum that is zero is +0; one that is cut off or rounded to zero keeps its sign. The rules are those of MMA-Sim (arXiv
2511.10909), whose authors compared them with real cards.

float64 holds every product of two float16, bfloat16 or TF32 numbers exactly, and every sum of an instruction. So plain
operations of numpy compute the rule as it stands; powers of two are built from their bits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]
Int16s = npt.NDArray[np.int16]
Int64s = npt.NDArray[np.int64]
UInt64s = npt.NDArray[np.uint64]

DTYPES: Final = ("float16", "bfloat16", "tf32")

SPLITS: Final = (1, 2, 4)
"""Into how many blocks k can be split."""

BLOCK: Final = 32
"""The length of a block of k is a multiple of this."""


@dataclass(frozen=True)
class Architecture:
    """How the tensor cores of a generation of cards add.

    Parameters
    ----------
    name, cards
        Its name, and cards that have it.
    bits
        How many fractional bits are kept behind the largest exponent.
    at_once
        How many products an instruction adds at once, by dtype; a dtype that is not here has no tensor cores.
    stages
        1 where products and accumulator are aligned together (NVIDIA), 2 where the products come first (CDNA3).
    """

    name: str
    cards: str
    bits: int
    at_once: Mapping[str, int]
    stages: int = 1


ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    found.name: found
    for found in (
        Architecture("volta", "V100", 23, {"float16": 4}),
        Architecture("turing", "T4, RTX 20", 24, {"float16": 8}),
        Architecture("ampere", "A100, RTX 30", 24, {"float16": 8, "bfloat16": 8, "tf32": 4}),
        Architecture("ada", "RTX 40, L4, L40S", 24, {"float16": 8, "bfloat16": 8, "tf32": 4}),
        Architecture("hopper", "H100, H200", 25, {"float16": 16, "bfloat16": 16, "tf32": 8}),
        Architecture("blackwell", "B200, RTX 50", 25, {"float16": 16, "bfloat16": 16, "tf32": 8}),
        Architecture("cdna3", "MI300", 24, {"float16": 8, "bfloat16": 8, "tf32": 4}, stages=2),
    )
}
"""Every architecture by its name."""


def find_architecture(name: object) -> Architecture:
    """Return an architecture by its name, or raise `InvalidInputError` with the names there are."""
    found = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if found is None:
        raise InvalidInputError(f"the architecture is {shorten(name)}; expected one of {', '.join(ARCHITECTURES)}")
    return found


def check_splits(splits: object) -> int:
    """Return the number of blocks of k, or raise `InvalidInputError`."""
    if type(splits) is not int or splits not in SPLITS:
        raise InvalidInputError(f"splits is {shorten(splits)}; k is split over {', '.join(map(str, SPLITS))} blocks")
    return splits


def multiply(
    a: Float32s, b: Float32s, c: Float32s | None = None, *, architecture: str, dtype: str, splits: int = 1
) -> Float32s:
    """Multiply matrices as the tensor cores of an architecture do.

    Parameters
    ----------
    a, b
        Shapes (batch, m, k) and (batch, k, n), or (m, k) and (k, n): float32 arrays of numbers of the dtype. For
        ``tf32`` the low 13 bits of each number are ignored, as the cards ignore them.
    c
        What the accumulators begin with, shape (batch, m, n) or (m, n); 0 if left out.
    architecture
        A key of `ARCHITECTURES`.
    dtype
        ``float16``, ``bfloat16`` or ``tf32``.
    splits
        How many blocks k is split over: 1, 2 or 4. Blocks have equal lengths, rounded up to a multiple of 32; each has
        an accumulator of its own. The accumulators are added in float32, the first block's first. `c` is where the
        first block begins.

    Returns
    -------
    array
        float32, shape (batch, m, n) or (m, n). Beside it nothing larger than about 64 MB is made.

    Raises
    ------
    InvalidInputError
        For an unknown architecture, a dtype that it has no tensor cores for, numbers that are not of the dtype, and
        shapes that do not fit.
    """
    rule = find_architecture(architecture)
    if dtype not in rule.at_once:
        known = ", ".join(rule.at_once)
        raise InvalidInputError(f"{rule.name} has no tensor cores for {shorten(dtype)}; it has them for {known}")
    check_splits(splits)
    left, right, begin = _checked(a, b, c, dtype)
    batch, m, k = left.shape
    n = right.shape[2]
    result = np.zeros((batch, m, n), np.float32) if begin is None else begin.copy()
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for number, (start, end) in enumerate(_blocks(k, splits)):
            found = result if number == 0 else np.zeros_like(result)
            part, beside = left[:, :, start:end], right[:, start:end]
            # The longer side of the result lies in the rows of numpy's loops. Factors can be exchanged.
            if n >= m:
                _multiply(rule, dtype, part, beside, found)
            else:
                _multiply(rule, dtype, beside.swapaxes(1, 2), part.swapaxes(1, 2), found.swapaxes(1, 2))
            if number:
                result += found
    result[np.isnan(result)] = _NAN
    return result.reshape(*a.shape[:-1], n)


def from_hex(text: str, dtype: str) -> Float32s:
    """Read numbers from their bits: 4 hexadecimal digits each, 8 for ``float32`` and ``tf32``."""
    if dtype in {"float32", "tf32"}:
        return np.frombuffer(bytes.fromhex(text), ">u4").astype(np.uint32).view(np.float32)
    halves = np.frombuffer(bytes.fromhex(text), ">u2")
    if dtype == "float16":
        return halves.astype(np.uint16).view(np.float16).astype(np.float32)
    return (halves.astype(np.uint32) << 16).view(np.float32)


def _blocks(k: int, splits: int) -> Iterator[tuple[int, int]]:
    """Where the blocks of k begin and end; there is one at least."""
    length = -(-k // (splits * BLOCK)) * BLOCK or BLOCK
    for start in range(0, max(k, 1), length):
        yield start, min(start + length, k)


_NAN: Final = np.array(0x7FFFFFFF, np.uint32).view(np.float32)
_TF32_MASK: Final = np.int32(-1 << 13)
_LOWEST: Final = {"float16": -14, "bfloat16": -126, "tf32": -126}
"""The exponent of the smallest normal number of each dtype."""

_LOW_BITS: Final = {"float16": 13, "bfloat16": 16}
"""How many low bits of a float32 are zero for a number of each dtype."""


def _checked(a: Float32s, b: Float32s, c: Float32s | None, dtype: str) -> tuple[Float32s, Float32s, Float32s | None]:
    """Return the operands as stacks of matrices."""
    for name, operand in (("a", a), ("b", b), ("c", c)):
        if operand is not None and (operand.dtype != np.float32 or operand.ndim not in {2, 3}):
            raise InvalidInputError(
                f"{name} is {operand.dtype} of {operand.ndim} dimensions; expected float32 matrices, or a stack of them"
            )
    shapes = f"a has the shape {a.shape}, b {b.shape}, c {None if c is None else c.shape}"
    if a.ndim != b.ndim or a.shape[-1] != b.shape[-2] or a.shape[:-2] != b.shape[:-2]:
        raise InvalidInputError(f"{shapes}; expected (m, k) and (k, n), or stacks of as many of them")
    if c is not None and c.shape != (*a.shape[:-1], b.shape[-1]):
        raise InvalidInputError(f"{shapes}; c must have the shape of the result")
    if a.ndim == 2:
        a, b, c = a[None], b[None], None if c is None else c[None]
    if dtype == "tf32":
        return _cut_tf32(a), _cut_tf32(b), c
    low = np.int32((1 << _LOW_BITS[dtype]) - 1)
    for name, operand in (("a", a), ("b", b)):
        if np.bitwise_or.reduce(operand.view(np.int32).ravel("K")) & low:
            raise InvalidInputError(f"{name} holds numbers that {dtype} does not have; round them to it first")
    return a, b, c


def _cut_tf32(values: Float32s) -> Float32s:
    bits = np.ascontiguousarray(values).view(np.int32) & _TF32_MASK
    found: Float32s = bits.view(np.float32)
    # A NaN whose payload is in the bits that are cut off stays one.
    return np.where(np.isnan(values), np.float32(np.nan), found)


# ------------------------------------------------------------------------------------------------ the fast way

_PRODUCTS: Final = 2**16
"""How many products are made at once: 512 KiB, which the caches of a processor hold."""

_COLUMNS: Final = 2048
_OPERAND: Final = 2**22
"""The most numbers of an operand that are prepared at once: 32 MiB of float64."""

_FACTOR_BIAS: Final = 127
_BIAS: Final = 1023
_FROM_FACTORS: Final = _BIAS - 2 * _FACTOR_BIAS
"""What makes the biased exponent of a float64 out of the sum of those of two factors."""

_ZERO: Final = -10_000
"""The biased exponent of a factor that is zero, or not finite: no product with it decides an alignment."""

_EXPONENT: Final = np.uint64(0x7FF << 52)
"""Leaves of a float64 the bits of its exponent: those of a power of two."""

_LEAST: Final = -126 + _BIAS
"""The biased exponent of a product or an accumulator that is zero."""

_CUT: Final = np.int64(-1 << 29)
"""Leaves of a float64 the bits that a normal float32 has."""


def _multiply(rule: Architecture, dtype: str, a: Float32s, b: Float32s, result: Float32s) -> None:
    """Add the products of (batch, m, k) and (batch, k, n) to the result, tile by tile."""
    batch, m, k = a.shape
    n = b.shape[2]
    at_once = rule.at_once[dtype]
    columns = max(1, min(n, _COLUMNS, _OPERAND // max(k, 1)))
    rows = max(1, min(m, _PRODUCTS // (at_once * columns), _OPERAND // max(k, 1)))
    matrices = max(1, min(batch, _PRODUCTS // (at_once * columns * rows), _OPERAND // (max(k, 1) * max(columns, rows))))
    for first in range(0, batch, matrices):
        some = slice(first, first + matrices)
        for left in range(0, n, columns):
            right = _Factors.of(b[some, None, :, left : left + columns], dtype, at_once)
            for top in range(0, m, rows):
                tile = (some, slice(top, top + rows), slice(left, left + columns))
                factors = _Factors.of(a[some, top : top + rows, :, None], dtype, at_once)
                result[tile] = _accumulate(rule, factors, right, result[tile])


@dataclass(frozen=True)
class _Factors:
    """A part of an operand, shapes (instructions, at once, ...): values, and biased exponents that can be added."""

    values: Float64s
    exponents: Int16s

    @staticmethod
    def of(part: Float32s, dtype: str, at_once: int) -> "_Factors":
        """Put k first, fill the last instruction with zeros, and find the exponents. k is the third of four axes."""
        ordered = np.moveaxis(part, 2, 0)
        k = len(ordered)
        whole = np.zeros((-(-k // at_once) * at_once, *ordered.shape[1:]), np.float32)
        whole[:k] = ordered
        exponents = (whole.view(np.int32) >> 23).astype(np.int16)
        exponents &= 0xFF
        lowest = _LOWEST[dtype] + _FACTOR_BIAS
        if exponents.min(initial=lowest) < lowest or exponents.max(initial=0) == 0xFF:
            nothing = (whole == 0) | (exponents == 0xFF)
            np.maximum(exponents, lowest, out=exponents)
            exponents[nothing] = _ZERO
        shape = (len(whole) // at_once, at_once, *whole.shape[1:])
        return _Factors(whole.astype(np.float64).reshape(shape), exponents.reshape(shape))

    @property
    def largest(self) -> int:
        return int(self.exponents.max(initial=_ZERO))

    @property
    def smallest(self) -> int:
        """Of those that are not zero: as unsigned numbers, zeros are the largest."""
        return int(self.exponents.view(np.uint16).min(initial=2**16 - 1))


def _accumulate(rule: Architecture, one: _Factors, other: _Factors, begin: Float32s) -> Float32s:
    """Return what the accumulators of a tile hold after all instructions."""
    accumulator = begin.astype(np.float64)
    count, at_once = one.values.shape[:2]
    if not count:
        return begin + np.float32(0)
    careful = _leaves_normal_numbers(one, other, accumulator)
    # Small tiles: the products of several instructions at once, so that numpy is called less often.
    group = max(1, _PRODUCTS // (at_once * max(accumulator.size, 1)))
    for start in range(0, count, group):
        some = slice(start, start + group)
        products = one.values[some] * other.values[some]
        exponents = one.exponents[some] + other.exponents[some]
        largest = exponents.max(axis=1).astype(np.int64)
        largest += _FROM_FACTORS
        # An accumulator's exponent is _LEAST or more, so no alignment with one is to less than this.
        least = _powers(np.maximum(largest, _LEAST))
        if rule.stages == 1:
            for these, lowest in zip(products, least, strict=True):
                accumulator = _step_in_one(rule.bits, accumulator, these, lowest, careful=careful)
        else:
            sums = _sums(rule.bits, products, largest, careful=careful)
            for total, lowest in zip(sums, least, strict=True):
                accumulator = _step_in_two(rule.bits, accumulator, total, lowest)
    return accumulator.astype(np.float32)


def _leaves_normal_numbers(one: _Factors, other: _Factors, accumulator: Float64s) -> bool:
    """Whether a sum may be too large for float32, or subnormal and not a multiple of the smallest float32."""
    products = one.values.shape[0] * one.values.shape[1]
    exponent = one.largest + other.largest - 2 * _FACTOR_BIAS
    begin = np.abs(accumulator).max(initial=0.0)
    if not begin < 2.0**126 or exponent + 2 + products.bit_length() > 126:
        return True
    # A product has at most 20 bits behind its exponent, and is a multiple of 2^-149 then.
    return one.smallest + other.smallest - 2 * _FACTOR_BIAS < -126


def _powers(biased: Int64s) -> UInt64s:
    """The bits of the powers of two that have these biased exponents."""
    return biased.view(np.uint64) << np.uint64(52)


def _larger(accumulator: Float64s, powers: UInt64s) -> UInt64s:
    """The larger ones of some powers of two and of those in the accumulator's exponents, as bits."""
    found: UInt64s = accumulator.view(np.uint64) & _EXPONENT
    np.maximum(found, powers, out=found)
    return found


def _scale(powers: UInt64s, bits: int) -> Float64s:
    """Return factors that turn multiples of a power of two, divided by 2^bits, into whole numbers."""
    found: Float64s = (np.uint64(2 * _BIAS + bits << 52) - powers).view(np.float64)
    return found


def _step_in_one(bits: int, accumulator: Float64s, products: Float64s, least: UInt64s, *, careful: bool) -> Float64s:
    """One instruction of NVIDIA's. The products are used up."""
    scale = _scale(_larger(accumulator, least), bits)
    products *= scale
    np.trunc(products, out=products)
    total: Float64s = np.add.reduce(products, axis=0, initial=0.0)
    accumulator *= scale
    total += np.trunc(accumulator, out=accumulator)
    total /= scale
    if careful:
        return _cut_carefully(total)
    whole = total.view(np.int64)
    whole &= _CUT
    return total


def _cut_carefully(total: Float64s) -> Float64s:
    """Cut off to float32, also where the result is subnormal or infinite."""
    cut = (total.view(np.int64) & _CUT).view(np.float64)
    small = np.abs(total) < 2.0**-126
    cut[small] = np.trunc(total[small] * 2.0**149) * 2.0**-149
    cut[np.abs(cut) >= 2.0**128] *= np.inf
    return cut


def _sums(bits: int, products: Float64s, largest: Int64s, *, careful: bool) -> Float64s:
    """The first stage of CDNA3 for several instructions; it does not need the accumulator. The products are used up.

    Sums are returned times 2^(31 - bits): the second stage keeps so many bits more of them than of the accumulator.
    """
    if careful:
        products[np.abs(products) >= 2.0**128] *= np.inf
        # A zero among the products counts with -126, also where the others are smaller.
        aside = (products == 0) | ~np.isfinite(products)
        largest = np.maximum(largest, np.where(aside.any(axis=1), _LEAST, 0))
    else:
        largest = np.maximum(largest, _LEAST)
    scale = _scale(_powers(largest), bits)
    products *= scale[:, None]
    np.trunc(products, out=products)
    total: Float64s = np.add.reduce(products, axis=1, initial=0.0)
    total /= scale * 2.0 ** (bits - 31)
    return total


def _step_in_two(bits: int, accumulator: Float64s, total: Float64s, least: UInt64s) -> Float64s:
    """The second stage of CDNA3 for one instruction. The sum, as `_sums` returns it, is used up."""
    scale = _scale(_larger(accumulator, least), bits)
    total *= scale
    np.floor(total, out=total)
    total *= 2.0 ** (bits - 31)
    accumulator *= scale
    total += np.floor(accumulator, out=accumulator)
    total /= scale
    return total.astype(np.float32).astype(np.float64)
