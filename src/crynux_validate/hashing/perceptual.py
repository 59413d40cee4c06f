"""The hash of a picture."""

import math
from dataclasses import dataclass, field

from crynux_validate.algorithms import DEGENERATE_OUTSIDE, HASH_BYTES, IMAGE_ALGORITHMS, ImageAlgorithm
from crynux_validate.encoding import shorten, summary
from crynux_validate.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class PerceptualHash:
    """A perceptual hash of one picture.

    Two hashes are equal if their bits and algorithms are equal. The margin does not matter.

    Parameters
    ----------
    bits
        8 bytes, the most significant bit first, row by row from the lowest frequency.
    algorithm
        The id of the algorithm. Hashes of two algorithms are never compared (protocol A1).
    margin
        The smallest gap between a coefficient and the median, 0 or more, in units of the algorithm's unscaled DCT-II
        (the first coefficient of a picture of 8-bit samples is 4096 times the picture's mean). The smaller the margin,
        the less noise flips a bit. Only a program that has the picture knows it (protocol A2).

    Raises
    ------
    InvalidInputError
        For bits that are not 8 bytes, an unknown algorithm, or a margin that is negative or not finite.
    """

    bits: bytes
    algorithm: ImageAlgorithm
    margin: float = field(compare=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        if not isinstance(self.bits, bytes) or len(self.bits) != HASH_BYTES:
            raise InvalidInputError(f"bits are {shorten(self.bits)}; expected {HASH_BYTES} bytes")
        if self.algorithm not in IMAGE_ALGORITHMS:
            raise unknown_algorithm(self.algorithm)
        if not (isinstance(self.margin, float) and math.isfinite(self.margin) and self.margin >= 0):
            raise InvalidInputError(f"margin is {shorten(self.margin)}; expected a finite float, 0 or more")

    @property
    def hex(self) -> str:
        """The bits as 16 lower-case hexadecimal digits, as ImageHash prints them."""
        return self.bits.hex()

    @property
    def degenerate(self) -> bool:
        """Whether the picture is too plain to tell from others: fewer than 24 or more than 40 bits are set (A2)."""
        return degenerate_bits(self.bits)

    def __repr__(self) -> str:
        degenerate = "degenerate" if self.degenerate else None
        return summary(self, f"{self.algorithm} {self.hex}", f"margin {self.margin:.3g}", degenerate)

    def __str__(self) -> str:
        """The hexadecimal form."""
        return self.hex

    def __bytes__(self) -> bytes:
        """The 8 bytes."""
        return self.bits


def degenerate_bits(bits: bytes) -> bool:
    """Whether fewer than 24 or more than 40 bits of the 8 bytes are set (protocol A2)."""
    low, high = DEGENERATE_OUTSIDE
    return not low <= int.from_bytes(bits, "big").bit_count() <= high


def unknown_algorithm(algorithm: object) -> InvalidInputError:
    """Return the error for an unknown algorithm, which names the known ones."""
    known = ", ".join(repr(name) for name in IMAGE_ALGORITHMS)
    return InvalidInputError(f"algorithm is {shorten(algorithm)}; expected one of {known}")
