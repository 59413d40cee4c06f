"""Logarithm, exponential, sine and cosine with the same bits on every processor.

numpy's and torch's own differ between instruction sets and libraries. Here every operation is one IEEE 754 double
operation rounded to nearest even, in the order in which it is written, without fusing. ``p(c; y)`` is Horner's scheme
``(...((c[n] * y + c[n-1]) * y + c[n-2])...) * y + c[0]``, a coefficient is the double next to the fraction::

    log(u), u > 0:       u = m * 2^e with sqrt(1/2) < m <= 0x1.6a09e667f3bcdp+0
                         f = (m - 1) / (m + 1);  y = f * f
                         log = e * 0x1.62e42fee00000p-1 + ((2 * f) * p(1, 1/3, .., 1/23; y) + e * 0x1.a39ef35793c76p-33)
    exp(x), x <= 0:      k = floor(x * 0x1.71547652b82fep+0 + 0.5)
                         y = (x - k * 0x1.62e42fee00000p-1) - k * 0x1.a39ef35793c76p-33
                         exp = p(1, 1, 1/2!, ..., 1/13!; y) * 2^k;  0 where x < -708
    sine, cosine of s:   q = floor((s + 2^29) / 2^30)         the nearest quarter turn; it counts modulo 4
                         x = (s - q * 2^30 + 0.5) * 0x1.921fb54442d18p-30;  y = x * x
                         sin x = x * p(1, -1/3!, 1/5!, ..., 1/17!; y);  cos x = p(1, -1/2!, 1/4!, ..., 1/16!; y)
                         (cosine, sine) = (cos x, sin x), (-sin x, cos x), (-cos x, -sin x), (sin x, -cos x)
                         for q = 0, 1, 2, 3

Only + - * / are used, which IEEE 754 fixes to the bit. numpy runs each operation as a loop of its own, so no compiler
can fuse a multiplication and an addition.
"""

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Float64s = npt.NDArray[np.float64]

_SQRT_2: Final = float.fromhex("0x1.6a09e667f3bcdp+0")
_PER_LN2: Final = float.fromhex("0x1.71547652b82fep+0")
_LN2_HIGH: Final = float.fromhex("0x1.62e42fee00000p-1")
_LN2_LOW: Final = float.fromhex("0x1.a39ef35793c76p-33")
_QUARTER_TURN: Final = float.fromhex("0x1.921fb54442d18p-30")
_SMALLEST: Final = -708.0

_LOG: Final = tuple(1.0 / k for k in range(1, 24, 2))
_EXP: Final = tuple(1.0 / math.factorial(k) for k in range(14))
_SIN: Final = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(9))
_COS: Final = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(9))


def log(u: Float64s) -> Float64s:
    """Natural logarithm of positive normal numbers."""
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


def exp(x: Float64s) -> Float64s:
    """Exponential of numbers that are not positive, minus infinity included; what is below 2^-1021 becomes 0."""
    kept = np.maximum(x, _SMALLEST)
    k = np.floor(kept * _PER_LN2 + 0.5)
    result = _polynomial(_EXP, (kept - k * _LN2_HIGH) - k * _LN2_LOW)
    result *= ((k.astype(np.int64) + 1023) << 52).view(np.float64)
    result[x < _SMALLEST] = 0.0
    return result


def cosine_sine(word: npt.NDArray[np.uint64]) -> tuple[Float64s, Float64s]:
    """Cosine and sine of the angle 2 pi (word + 0.5) * 2^-32, for words below 2^32."""
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


def _polynomial(coefficients: tuple[float, ...], y: Float64s) -> Float64s:
    """Horner's scheme, lowest coefficient first; every step is rounded on its own."""
    result = np.full_like(y, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result *= y
        result += coefficient
    return result
