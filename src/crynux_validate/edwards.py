"""Points of edwards25519 (RFC 8032, section 5.1): used to refuse public keys that make signatures worthless.

Libraries that verify signatures accept any point as a key. For a key of small order, one signature can be valid for
every message.
"""

from typing import Final

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE: Final = pow(2, (_P - 1) // 4, _P)
_COFACTOR_BITS: Final = 3

Point = tuple[int, int]
"""Affine coordinates x, y."""

_IDENTITY: Final[Point] = (0, 1)


def decode_point(data: bytes) -> Point | None:
    """Return the point that 32 bytes encode, or None if they encode no point (RFC 8032, section 5.1.3).

    A y of 2^255-19 or more, and a sign of an x that is 0, are not valid.
    """
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (2**255 - 1)
    if y >= _P:
        return None
    square, below = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = square * pow(below, 3, _P) * pow(square * pow(below, 7, _P), (_P - 5) // 8, _P) % _P
    if below * x * x % _P != square:
        x = x * _ROOT_OF_MINUS_ONE % _P
        if below * x * x % _P != square:
            return None
    if x == 0 and sign:
        return None
    return (_P - x if x % 2 != sign else x), y


def has_small_order(point: Point) -> bool:
    """Whether eight times the point is the identity; 8 points are such."""
    for _ in range(_COFACTOR_BITS):
        point = _doubled(point)
    return point == _IDENTITY


def _doubled(point: Point) -> Point:
    """Return the point added to itself; the formulas are valid for every point of the curve."""
    x, y = point
    product = _D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, _P) % _P,
        (y * y + x * x) * pow(1 - product, -1, _P) % _P,
    )
