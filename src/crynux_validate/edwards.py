"""Which 32 bytes are a public key that a signature can be trusted with: points of edwards25519 (RFC 8032, section 5.1).

A library that verifies signatures takes any point. With a point of small order one signature can fit every message.
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
    """Return the point that 32 bytes encode, None where they encode none (RFC 8032, section 5.1.3).

    An encoding whose y is not below 2^255-19, or that gives the x of 0 a sign, is none.
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
    """Whether eight times a point is the identity: 8 points, the cofactor's."""
    for _ in range(_COFACTOR_BITS):
        point = _doubled(point)
    return point == _IDENTITY


def _doubled(point: Point) -> Point:
    """Add a point to itself; the formulas hold for every point of the curve."""
    x, y = point
    product = _D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, _P) % _P,
        (y * y + x * x) * pow(1 - product, -1, _P) % _P,
    )
