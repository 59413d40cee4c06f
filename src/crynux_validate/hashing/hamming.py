"""The distance of two hashes, in pure Python.

For a few blocks of 8 bytes, importing numpy would take longer than comparing them. For thousands of hashes see
:mod:`crynux_validate.hashing.many`.
"""

from numbers import Integral
from typing import SupportsIndex

from crynux_validate.algorithms import HASH_BITS, HASH_BYTES
from crynux_validate.encoding import parse_score, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.hashing.perceptual import PerceptualHash, degenerate_bits

SingleHash = PerceptualHash | bytes | str | SupportsIndex
"""One 64-bit hash: as an object, 8 bytes, 16 hexadecimal digits (also after ``0x`` or ``p:``), or an integer in
0..2^64-1 (numpy's as well)."""


def hamming(a: SingleHash, b: SingleHash) -> int:
    """Count the bits in which two single hashes differ.

    Parameters
    ----------
    a, b
        Each a :class:`PerceptualHash`, 8 bytes, 16 hexadecimal digits, or an integer in 0..2^64-1 (bytes and digits
        are big-endian).

    Returns
    -------
    int
        0 (equal) to 64. Unrelated pictures have a distance of 32 on average. ``phash/1`` sets half of the bits, except
        of degenerate pictures, so distances are even.

    Raises
    ------
    InvalidInputError
        For a value that is not one hash, and for two :class:`PerceptualHash` of different algorithms.
    """
    if isinstance(a, PerceptualHash) and isinstance(b, PerceptualHash) and a.algorithm != b.algorithm:
        raise two_algorithms("a", a.algorithm, "b", b.algorithm)
    return (single_bits(a, "a") ^ single_bits(b, "b")).bit_count()


def block_distances(a: bytes, b: bytes) -> list[int]:
    """Return the distance of each pair of 8-byte blocks of two scores. Distances are never summed (protocol A3).

    Parameters
    ----------
    a, b
        Scores of one or more images, 8 bytes each, of equal length.

    Returns
    -------
    list of int
        One distance for each block, in order, each 0..64.

    Raises
    ------
    InvalidInputError
        For a score that is not bytes or is empty, different lengths, and a length that is not a multiple of 8.
    """
    if not isinstance(a, bytes) or not isinstance(b, bytes):
        raise InvalidInputError(f"the scores are {type(a).__name__} and {type(b).__name__}; expected bytes")
    length = len(a)
    if len(b) != length or not length or length % HASH_BYTES:
        raise InvalidInputError(
            f"the scores have {length} and {len(b)} bytes; expected the same number, a multiple of {HASH_BYTES}"
        )
    difference = int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
    if length == HASH_BYTES:  # one image is the common case
        return [difference.bit_count()]
    blocks = difference.to_bytes(length, "big")
    return [int.from_bytes(blocks[i : i + HASH_BYTES], "big").bit_count() for i in range(0, length, HASH_BYTES)]


def is_degenerate(block: bytes) -> bool:
    """Whether one 8-byte block is degenerate: the picture is too plain to tell from others (protocol A2).

    Raises
    ------
    InvalidInputError
        If the block is not 8 bytes.
    """
    if not isinstance(block, bytes) or len(block) != HASH_BYTES:
        raise InvalidInputError(f"the block is {block!r}; expected {HASH_BYTES} bytes")
    return degenerate_bits(block)


def single_bits(value: SingleHash, what: str) -> int:
    """Return one hash as an integer; `what` names the value in an error message."""
    if isinstance(value, PerceptualHash):
        return int.from_bytes(value.bits, "big")
    if isinstance(value, bytes) and len(value) == HASH_BYTES:
        return int.from_bytes(value, "big")
    if isinstance(value, str):
        return int.from_bytes(parse_score(value, what, HASH_BYTES, perceptual=True), "big")
    if isinstance(value, int | Integral) and not isinstance(value, bool) and 0 <= int(value) < 1 << HASH_BITS:
        return int(value)
    raise InvalidInputError(
        f"{what} is {shorten(value)}; expected one hash: a PerceptualHash, {HASH_BYTES} bytes, {2 * HASH_BYTES}"
        f" hexadecimal digits, or an integer in 0..2^{HASH_BITS}-1 (for scores of several images: block_distances)"
    )


def two_algorithms(a: str, algorithm: str, b: str, other: str) -> InvalidInputError:
    """Return the error for two hashes of different algorithms."""
    return InvalidInputError(
        f"{a} is {algorithm} and {b} is {other}; expected one algorithm: hash both pictures with the same"
    )
