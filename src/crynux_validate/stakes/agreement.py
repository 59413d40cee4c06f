"""The chance f that a counterfeit agrees with an honest picture by luck."""

from fractions import Fraction
from functools import cache
from math import comb
from typing import Final, Literal

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import check_threshold
from crynux_validate.encoding import check_integer, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import MAX_IMAGES

Source = Literal["photographs", "binomial"]
"""The source of the chance that unrelated pictures agree.

``photographs``: parts of 58 photographs, the upper end at 95%. ``binomial``: 64 tosses of a fair coin, exact. The
former is larger at every threshold: pictures are not coins, and 58 photographs cannot show chances below 0.2%.
"""

SOURCES: Final[tuple[Source, ...]] = ("photographs", "binomial")

_PHOTOGRAPHS: Final = tuple(
    Fraction(hundred_thousandths, 100_000)
    for hundred_thousandths in (
        223, 223, 224, 224, 224, 226, 228, 238, 275, 433, 960, 2_503, 6_490, 14_787, 28_910, 47_772,
        67_456, 83_285, 93_120, 97_806, 99_505, 99_940, *[100_000] * 10,
    )
)  # fmt: skip
"""Below 2, 4, ..., 64: the share of pairs of parts of different photographs whose hashes are closer, its upper end.

The larger of ``phash/1`` and ``phash-go/1``. The interval is the two-sided one of Clopper and Pearson at 95%, with n =
1,653 pairs of photographs, not of parts, rounded up to five decimals; resampling by photograph gave less everywhere.
``benchmarks/photographs`` has the raw hashes (docs/measurements/chance.md).
"""


def false_accept_rate(threshold: int, *, images: int = 1, source: Source = "photographs") -> float:
    """Return the chance that unrelated pictures agree: the f of a blind counterfeit.

    This is not the chance of a counterfeit that is made from the task: the same picture at 8 pixels, scaled up, agreed
    at threshold 24 in every case that was measured. Its f is near 1, and no stake helps. Plain drawings agree more
    often than photographs (docs/measurements/chance.md): `calibrate` measures your own pictures.

    Parameters
    ----------
    threshold
        1 to 64. Two hashes with 32 set bits differ in an even number of bits, so with ``photographs`` an odd threshold
        has the rate of the next even one.
    images
        1 to 16. All images of a task must agree, so this is the exponent of the rate. That is right only for
        independent counterfeits.
    source
        ``photographs``, an upper bound that is never below 0.00223; or ``binomial``.

    Raises
    ------
    InvalidInputError
        For a threshold or a number of images out of range, and an unknown source.
    """
    return float(exact_false_accept_rate(threshold, images, source))


def exact_false_accept_rate(threshold: int, images: int, source: Source) -> Fraction:
    """`false_accept_rate` as a fraction."""
    check_threshold(threshold, "threshold")
    check_images(images)
    if source not in SOURCES:
        raise InvalidInputError(f"source is {shorten(source)}; expected one of {', '.join(SOURCES)}")
    rate = _binomial_below(threshold) if source == "binomial" else _PHOTOGRAPHS[(threshold - 1) // 2]
    return rate**images


def check_images(images: object) -> int:
    """Return `images` if it can be the number of a task's pictures."""
    return check_integer(images, "images", 1, MAX_IMAGES)


@cache
def _binomial_below(threshold: int) -> Fraction:
    """P(X < threshold) for X heads of 64 tosses of a fair coin."""
    return Fraction(sum(comb(HASH_BITS, bits) for bits in range(threshold)), 1 << HASH_BITS)
