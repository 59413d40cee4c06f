"""Exact numbers: what comes in becomes a fraction, and what goes out a float, once."""

import math
from fractions import Fraction

from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError

Number = int | float | Fraction
"""A float counts as it is written: 0.1 is a tenth."""


def exact(value: Number, what: str) -> Fraction:
    """Return a finite number, at least 0, as a fraction."""
    if isinstance(value, bool) or not isinstance(value, int | float | Fraction) or not _is_finite(value) or value < 0:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a finite number, at least 0")
    return Fraction(str(float(value))) if isinstance(value, float) else Fraction(value)


def as_float(value: Fraction, what: str) -> float:
    """Return a fraction as the nearest float64; one that is too large is an error."""
    try:
        return float(value)
    except OverflowError as error:
        raise InvalidInputError(f"{what} is beyond the range of a float64; give other units or rates") from error


def _is_finite(value: Number) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
