"""From rates to two thresholds: the lowest that keep honest machines from being rejected and slashed.

Thresholds are tried from the top down, and the first that fails ends it: then one confidence covers the choice (a fixed
sequence of tests). Each of the two thresholds uses one end of an interval, so that both hold together with its
confidence.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.calibration.fields import NO_OTHERS, Positive, Threshold
from crynux_validate.calibration.rates import Curves, Rate, place_of, slash_place
from crynux_validate.encoding import MAX_SAFE_INTEGER


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

    __pydantic_config__: ClassVar = NO_OTHERS

    threshold: Threshold
    slash_threshold: Threshold

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

    __pydantic_config__: ClassVar = NO_OTHERS

    what: Literal["false_reject_rate", "false_slash_rate"]
    pictures: Positive
    needed: Positive | None

    def __str__(self) -> str:
        rate = self.what.replace("_", "-").removesuffix("-rate")
        if self.needed is None:
            return f"no threshold keeps the {rate} rate: honest machines differ too much, and more pictures do not help"
        return f"not enough data: {self.needed} more pictures are needed for the {rate} rate"


def lowest(
    honest: Curves, thresholds: tuple[int, ...], false_reject_rate: float, false_slash_rate: float
) -> tuple[int | None, int | None]:
    """Return the lowest threshold that keeps the first rate, and the lowest slash threshold that keeps both.

    None where no threshold does.

    Parameters
    ----------
    honest
        What becomes of honest groups at each of the thresholds.
    thresholds, false_reject_rate, false_slash_rate
        As of `Calibration`.
    """

    def first_of(rate_at: Callable[[int], Rate], limit: float, least: int) -> int | None:
        found = None
        for threshold in range(HASH_BITS, least - 1, -1):
            if rate_at(threshold).high > limit:
                break
            found = threshold
        return found

    threshold = first_of(lambda at: _reject(honest, thresholds, at), false_reject_rate, 1)
    if threshold is None:
        return None, None
    return threshold, first_of(lambda to: _slash(honest, thresholds, threshold, to), false_slash_rate, threshold)


def recommended(
    honest: Curves, thresholds: tuple[int, ...], false_reject_rate: float, false_slash_rate: float, confidence: float
) -> Recommendation | NotEnough:
    """Return the lowest thresholds that keep both rates, or how many more pictures it takes."""
    threshold, slash_threshold = lowest(honest, thresholds, false_reject_rate, false_slash_rate)
    if threshold is not None and slash_threshold is not None:
        return Recommendation(threshold, slash_threshold)
    failed: dict[Literal["false_reject_rate", "false_slash_rate"], tuple[Rate, float]] = {
        "false_reject_rate": (_reject(honest, thresholds, HASH_BITS), false_reject_rate),
        "false_slash_rate": (_slash(honest, thresholds, threshold or HASH_BITS, HASH_BITS), false_slash_rate),
    }
    needed = {
        what: more_pictures(rate, limit, confidence) for what, (rate, limit) in failed.items() if rate.high > limit
    }
    what = max(needed, key=lambda name: math.inf if (more := needed[name]) is None else more)
    return NotEnough(what, honest.passing.n, needed[what])


def _reject(honest: Curves, thresholds: tuple[int, ...], threshold: int) -> Rate:
    return honest.passing.at(place_of(thresholds, threshold))


def _slash(honest: Curves, thresholds: tuple[int, ...], threshold: int, slash_threshold: int) -> Rate:
    at, to = place_of(thresholds, threshold), place_of(thresholds, slash_threshold)
    return honest.slash.at(slash_place(len(thresholds), at, to))


def more_pictures(rate: Rate, limit: float, confidence: float) -> int | None:
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
