"""From rates to two thresholds: the lowest that keep honest machines from being rejected and slashed.

Thresholds are tried from the top down, and the first that fails ends it: then one confidence covers the choice (a fixed
sequence of tests). Each of the two thresholds uses one end of an interval, so that both hold together with its
confidence.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.encoding import MAX_SAFE_INTEGER

if TYPE_CHECKING:
    from crynux_validate.calibration.result import Rate


@dataclass(frozen=True)
class Recommendation:
    """Two thresholds that honest groups pass.

    Parameters
    ----------
    threshold
        The lowest at which at most `false_reject_rate` of honest groups have a member that is not paid.
    slash_threshold
        The lowest from there on at which at most `false_slash_rate` of honest groups have a member that is slashed.
    """

    threshold: int
    slash_threshold: int

    def __str__(self) -> str:
        return f"recommended: threshold {self.threshold}, slash threshold {self.slash_threshold}"


@dataclass(frozen=True)
class NotEnough:
    """No threshold keeps the rates that were asked for.

    Parameters
    ----------
    what
        Which rate could not be kept: ``false_reject_rate`` or ``false_slash_rate``.
    pictures
        How many pictures there are.
    needed
        How many more pictures it takes if they are like those that were measured; None where no number is enough, since
        the rate itself is too high.
    """

    what: str
    pictures: int
    needed: int | None

    def __str__(self) -> str:
        rate = self.what.replace("_", "-").removesuffix("-rate")
        if self.needed is None:
            return f"no threshold keeps the {rate} rate: honest machines differ too much, and more pictures do not help"
        return f"not enough data: {self.needed} more pictures are needed for the {rate} rate"


def lowest(rate_at: Callable[[int], "Rate"], limit: float, least: int = 1) -> int | None:
    """Return the lowest threshold, tried from 64 down to `least`, whose rate has an upper bound of at most `limit`.

    None where 64 itself has not.
    """
    found = None
    for threshold in range(HASH_BITS, least - 1, -1):
        if rate_at(threshold).high > limit:
            break
        found = threshold
    return found


def more_pictures(rate: "Rate", limit: float, confidence: float) -> int | None:
    """Return how many more pictures bring the upper bound of a rate to `limit`, or None where none do.

    The rate is taken to stay as it is. The exact bound says how many it takes; where a wider one counts, its distance
    from the rate is taken to shrink with the root of the number of pictures. No more than 2^53 - 1 are said.
    """
    from crynux_validate.calibration.intervals import exact

    if rate.rate >= limit:
        return None
    wanted = rate.n * max(1.0, ((rate.high - rate.rate) / (limit - rate.rate)) ** 2) if rate.by != "exact" else rate.n
    low, high = rate.n, rate.n
    while high < MAX_SAFE_INTEGER and exact(rate.rate, high, confidence)[1] > limit:
        low, high = high, min(2 * high, MAX_SAFE_INTEGER)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if exact(rate.rate, middle, confidence)[1] <= limit else (middle, high)
    return max(1, max(high, int(min(wanted, MAX_SAFE_INTEGER - 1)) + 1) - rate.n)
