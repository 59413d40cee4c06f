"""Random numbers with the same bits on every processor, keyed by what they are for.

torch's generators do not give that: ``torch.randn`` on a CPU differs between instruction sets, and on CUDA between
models of GPU. Here a value depends on nothing but (seed, purpose, image, draw, position), so that image *i* does not
depend on the images before it, and anyone can compute any value alone (protocol, "Bytes").

The bits are specified as follows; another implementation that follows it gives the same values.

**Words.** Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011; the test vectors of
Random123 hold). The key is the seed as two u32, low word first. The counter is four u32: (block, draw, image, purpose).
Block *b* = 0, 1, 2, ... gives four words, which are words 4b to 4b+3 of the draw.

**Uniform.** Value *j* is (r + 0.5) * 2^-32 of word *j*, exact in float64, never 0 or 1.

**Normal** (Box-Muller, float64, rounded to float32 at the end). Words 2j and 2j+1, call them *r* and *s*, give values
2j and 2j+1::

    radius = sqrt(-2 * log((r + 0.5) * 2^-32))
    value 2j   = float32(radius * cosine(s))
    value 2j+1 = float32(radius * sine(s))          sine(s) is that of the angle 2 pi (s + 0.5) * 2^-32

Every operation below is one IEEE 754 double operation rounded to nearest even, in the order in which it is written,
without fusing. ``p(c; y)`` is Horner's scheme ``(...((c[n] * y + c[n-1]) * y + c[n-2])...) * y + c[0]``, a coefficient
is the double next to the fraction::

    log(u), 0 < u < 1:   u = m * 2^e with sqrt(1/2) < m <= 0x1.6a09e667f3bcdp+0
                         f = (m - 1) / (m + 1);  y = f * f
                         log = e * 0x1.62e42fee00000p-1 + ((2 * f) * p(1, 1/3, .., 1/23; y) + e * 0x1.a39ef35793c76p-33)
    sine, cosine of s:   q = floor((s + 2^29) / 2^30)         the nearest quarter turn; it counts modulo 4
                         x = (s - q * 2^30 + 0.5) * 0x1.921fb54442d18p-30;  y = x * x
                         sin x = x * p(1, -1/3!, 1/5!, ..., 1/17!; y);  cos x = p(1, -1/2!, 1/4!, ..., 1/16!; y)
                         (cosine, sine) = (cos x, sin x), (-sin x, cos x), (-cos x, -sin x), (sin x, -cos x)
                         for q = 0, 1, 2, 3

Only + - * / and the square root are used, which IEEE 754 fixes to the bit (numpy's float64 ``sqrt`` is the processor's
own, correctly rounded; its ``log``, ``sin`` and ``cos`` are not, and differ between instruction sets). numpy runs each
operation as a loop of its own, so no compiler can fuse a multiplication and an addition.
"""

import math
import operator
from collections.abc import Iterator
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate.encoding import MAX_SAFE_INTEGER
from crynux_validate.errors import InvalidInputError

Float64s = npt.NDArray[np.float64]
Words = npt.NDArray[np.uint64]
FourWords = tuple[Words, Words, Words, Words]

MAX_VALUES: Final = 2**31
"""The most values of one draw; beyond it somebody has mistaken a shape."""

_MASK: Final = np.uint64(0xFFFFFFFF)
_HALF_WORD: Final = np.uint64(32)
_MULTIPLIERS: Final = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL: Final = (0x9E3779B9, 0xBB67AE85)
_ROUNDS: Final = 10
# Blocks that are computed together: the intermediate arrays stay in a processor's cache. No bit depends on it.
_BLOCKS_AT_ONCE: Final = 8192

_SQRT_2: Final = float.fromhex("0x1.6a09e667f3bcdp+0")
_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
_QUARTER_TURN: Final = float.fromhex("0x1.921fb54442d18p-30")
_LOG: Final = tuple(1.0 / k for k in range(1, 24, 2))
_SIN: Final = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_COS: Final = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(9))


class Purpose(IntEnum):
    """What random numbers are for: the last word of the counter. A number is never given to another purpose."""

    IMAGE = 0
    """Latents (draw 0) and what a scheduler draws (draws 1, 2, ...)."""
    TOKEN = 1
    """Sampling of tokens: the draw is the step, the image is the sequence."""
    WEIGHTS = 2
    """Weights of tiny models for tests."""


def philox(counter: FourWords, key: tuple[int, int]) -> FourWords:
    """Encrypt counters with Philox4x32-10.

    Parameters
    ----------
    counter
        Four arrays of equal shape that hold u32 values as uint64, so that a product of two fits.
    key
        Two u32.

    Returns
    -------
    tuple of four arrays
        u32 values as uint64, in the order of Random123.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        first, second = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1 = (second >> _HALF_WORD) ^ c1 ^ np.uint64(k0), second & _MASK
        c2, c3 = (first >> _HALF_WORD) ^ c3 ^ np.uint64(k1), first & _MASK
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return c0, c1, c2, c3


def uniform(
    seed: int, *, image: int = 0, draw: int = 0, shape: int | tuple[int, ...], purpose: Purpose = Purpose.IMAGE
) -> Float64s:
    """Draw numbers between 0 and 1, exclusive; parameters, layout and errors as in `normal`.

    Returns
    -------
    array of float64
        Multiples of 2^-33 with 33 significant bits at most.
    """
    shape, values = _begin(seed, image, draw, shape)
    out = np.empty(-(-values // 4) * 4, dtype=np.float64)
    for start, words in _blocks(seed, image, draw, purpose, values):
        for column, word in enumerate(words):
            out[start + column : start + 4 * len(word) : 4] = _to_unit(word)
    return out[:values].reshape(shape)


def normal(
    seed: int, *, image: int = 0, draw: int = 0, shape: int | tuple[int, ...], purpose: Purpose = Purpose.IMAGE
) -> npt.NDArray[np.float32]:
    """Draw standard normal numbers with the same bits on every processor.

    Parameters
    ----------
    seed
        The task's seed, 0 to 2^53-1.
    image
        The number of the image (or of the sequence), 0 to 2^32-1.
    draw
        The number of the draw within that image, 0 to 2^32-1: 0 are the latents.
    shape
        The shape of the result, filled in C order (the last axis first); at most 2^31 values.
    purpose
        What the numbers are for.

    Returns
    -------
    array of float32
        Values between -6.77 and 6.77, bit-identical everywhere (see the module's docstring).

    Raises
    ------
    InvalidInputError
        For what lies outside the ranges above.
    """
    shape, values = _begin(seed, image, draw, shape)
    out = np.empty(-(-values // 4) * 4, dtype=np.float32)
    for start, words in _blocks(seed, image, draw, purpose, values):
        stop = start + 4 * len(words[0])
        for column, (first, second) in enumerate((words[:2], words[2:])):
            radius = np.sqrt(-2.0 * _log(_to_unit(first)))
            cosine, sine = _cosine_sine(second)
            # Assignment rounds float64 to float32, to nearest even.
            out[start + 2 * column : stop : 4] = radius * cosine
            out[start + 2 * column + 1 : stop : 4] = radius * sine
    return out[:values].reshape(shape)


def _begin(seed: int, image: int, draw: int, shape: int | tuple[int, ...]) -> tuple[tuple[int, ...], int]:
    """Check what a caller passed; return the shape and the number of values."""
    _check("seed", seed, MAX_SAFE_INTEGER)
    _check("image", image, 0xFFFFFFFF)
    _check("draw", draw, 0xFFFFFFFF)
    sides = shape if isinstance(shape, tuple) else (shape,)
    for side in sides:
        _check("a side of shape", side, MAX_VALUES)
    values = math.prod(sides)
    if values > MAX_VALUES:
        raise InvalidInputError(f"the shape {sides} has {values} values; one draw has at most {MAX_VALUES}")
    return sides, values


def _check(name: str, value: int, most: int) -> None:
    """Refuse what is no integer (booleans included) or outside 0 to `most`."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not 0 <= number <= most:
        raise InvalidInputError(f"{name} is {value!r}; expected an integer from 0 to {most}")


def _blocks(seed: int, image: int, draw: int, purpose: Purpose, values: int) -> Iterator[tuple[int, FourWords]]:
    """Yield the index of the first value and the four words of each block, some blocks at a time."""
    key = (int(seed) & 0xFFFFFFFF, int(seed) >> 32)
    total = -(-values // 4)
    for first in range(0, total, _BLOCKS_AT_ONCE):
        block = np.arange(first, min(first + _BLOCKS_AT_ONCE, total), dtype=np.uint64)
        counter = (block, np.full_like(block, draw), np.full_like(block, image), np.full_like(block, purpose))
        yield 4 * first, philox(counter, key)


def _to_unit(word: Words) -> Float64s:
    return (word.astype(np.float64) + 0.5) * 2.0**-32


def _polynomial(coefficients: tuple[float, ...], y: Float64s) -> Float64s:
    """Horner's scheme, lowest coefficient first; every step is rounded on its own."""
    result = np.full_like(y, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result *= y
        result += coefficient
    return result


def _log(u: Float64s) -> Float64s:
    """Natural logarithm of positive normal numbers, as the module's docstring specifies it."""
    bits = u.view(np.int64)
    exponent = (bits >> 52) - 1023
    mantissa = ((bits & ((1 << 52) - 1)) | (1023 << 52)).view(np.float64)
    large = mantissa > _SQRT_2
    mantissa = np.where(large, mantissa * 0.5, mantissa)
    e = (exponent + large).astype(np.float64)
    f = (mantissa - 1.0) / (mantissa + 1.0)
    result = (f * 2.0) * _polynomial(_LOG, f * f)
    result += e * _LN2_LOW
    result += e * _LN2_HIGH
    return result


def _cosine_sine(word: Words) -> tuple[Float64s, Float64s]:
    """Cosine and sine of the angle 2 pi (word + 0.5) * 2^-32, as the module's docstring specifies them."""
    turns = word.astype(np.int64)
    quarter = (turns + (1 << 29)) >> 30
    x = ((turns - (quarter << 30)).astype(np.float64) + 0.5) * _QUARTER_TURN
    y = x * x
    sine, cosine = _polynomial(_SIN, y), _polynomial(_COS, y)
    sine *= x
    odd = (quarter & 1).astype(bool)
    cosine, sine = np.where(odd, sine, cosine), np.where(odd, cosine, sine)
    # Signs: (+, +), (-, +), (-, -), (+, -) for quarters 0 to 3; a product with -1 is exact.
    cosine *= 1.0 - ((quarter + 1) & 2)
    sine *= 1.0 - (quarter & 2)
    return cosine, sine
