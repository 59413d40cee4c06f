"""The chance f that a counterfeit agrees with an honest picture by luck."""

from fractions import Fraction
from functools import cache
from math import comb
from typing import Final, Literal

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import check_threshold
from crynux_validate.encoding import shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import MAX_IMAGES

Source = Literal["measured", "binomial"]
"""Where the chance of an agreement between unrelated pictures comes from.

``measured``: 17.9 million pairs of 5,991 synthetic images, with ``phash/1``. ``binomial``: 64 tosses of a fair coin,
exact. Pictures are no coins: at 12 the measured chance is five times the binomial one.
"""

SOURCES: Final[tuple[Source, ...]] = ("measured", "binomial")

MEASURED: Final = {
    5: Fraction(0),
    8: Fraction(0),
    10: Fraction("6e-8"),
    12: Fraction("2.8e-7"),
    16: Fraction("2.2e-5"),
    20: Fraction("9.5e-4"),
    24: Fraction("1.76e-2"),
}
"""The share of pairs of unrelated pictures with a distance below each threshold (docs/measurements.md)."""


def false_accept_rate(threshold: int, *, images: int = 1, source: Source = "measured") -> float:
    """Return the chance that unrelated pictures agree, the f of a blind counterfeit.

    It says nothing of a counterfeit that is made from the task: the same picture at 8 pixels, scaled up, agreed at 24
    in every case that was measured. There f is near 1, and no stake helps.

    Parameters
    ----------
    threshold
        1 to 64; with ``measured`` 1 to 24. Between two measured thresholds the higher one's rate is returned, which is
        an upper bound; below 10 none of 17.9 million pairs agreed, and 0 is returned.
    images
        1 to 16. All of a task's pictures must agree, so that the rate is taken to this power: right only for
        counterfeits that are independent of one another.
    source
        ``measured`` or ``binomial``.

    Raises
    ------
    InvalidInputError
        For a threshold that is out of range or was not measured, and an unknown source.
    """
    return float(exact_false_accept_rate(threshold, images, source))


def exact_false_accept_rate(threshold: int, images: int, source: Source) -> Fraction:
    """`false_accept_rate` as a fraction."""
    check_threshold(threshold, "threshold")
    check_images(images)
    if source not in SOURCES:
        raise InvalidInputError(f"source is {shorten(source)}; expected one of {', '.join(SOURCES)}")
    if source == "binomial":
        return _binomial_below(threshold) ** images
    at = next((measured for measured in MEASURED if threshold <= measured), None)
    if at is None:
        raise InvalidInputError(
            f"no chance of agreement was measured at {threshold}, only up to {max(MEASURED)}; take source='binomial'"
        )
    return MEASURED[at] ** images


def check_images(images: object) -> int:
    """Return `images` if it can be the number of a task's pictures."""
    if type(images) is not int or not 1 <= images <= MAX_IMAGES:
        raise InvalidInputError(f"images is {shorten(images)}; expected an integer from 1 to {MAX_IMAGES}")
    return images


@cache
def _binomial_below(threshold: int) -> Fraction:
    """P(X < threshold) for X heads of 64 tosses of a fair coin."""
    return Fraction(sum(comb(HASH_BITS, bits) for bits in range(threshold)), 1 << HASH_BITS)
