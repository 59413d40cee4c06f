"""How far texts come on the way to the limit, and what lies beyond it: pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from crynux_validate.audits.text_bands import TextBand
from crynux_validate.calibration.audits.rates import height

TAIL_FROM: Final = 0.9
"""The quantile from which on a tail is fitted."""
AGAIN: Final = 500
"""How often texts are drawn again for an interval."""


def peak(margins: npt.NDArray[np.float64], band: TextBand) -> float:
    """The largest height: what is compared with the band's start."""
    return float(height(margins, band).max())


def auc(honest: Sequence[float], cheats: Sequence[float]) -> float:
    """How often a cheat has more than an honest text; ties count half."""
    ordered = np.sort(honest)
    less = np.searchsorted(ordered, cheats, "left") + np.searchsorted(ordered, cheats, "right")
    return float(less.mean() / 2 / len(ordered))


@dataclass(frozen=True)
class Tail:
    """A generalised Pareto tail of how far honest texts come on the way to the limit, as a part of the way.

    Parameters
    ----------
    texts, beyond
        How many texts there are, and how many of them lie beyond the threshold.
    threshold
        From where on the tail is fitted.
    shape, scale
        Of the tail; with a shape below 0 it ends somewhere.
    rate, most
        How often an honest text passes the limit by this model, and the upper end of the 95% interval over texts that
        were drawn again.
    flat
        The same rate with a shape of 0, an exponential tail, which never ends.
    flat_most
        The upper end of its interval.
    """

    texts: int
    beyond: int
    threshold: float
    shape: float
    scale: float
    rate: float
    most: float
    flat: float
    flat_most: float


def tail(ways: Sequence[float]) -> Tail:
    """Fit the tail of how far texts came, each as a part of the way to the limit (1 is the limit)."""
    found = np.asarray(ways)
    drawn_again = np.random.default_rng(0).choice(found, (AGAIN, len(found)))
    fits = [_fitted(again) for again in drawn_again]
    threshold, shape, scale, rate, flat = _fitted(found)
    most, flat_most = (float(np.quantile([fit[at] for fit in fits], 0.975)) for at in (3, 4))
    return Tail(len(found), int((found > threshold).sum()), threshold, shape, scale, rate, most, flat, flat_most)


def _fitted(found: npt.NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """Threshold, shape, scale, and the rate beyond 1 of this tail and of an exponential one.

    By probability-weighted moments (Hosking and Wallis, Technometrics 29, 1987), which hold for few texts too.
    """
    from scipy.stats import genpareto

    threshold = float(np.quantile(found, TAIL_FROM))
    beyond = np.sort(found[found > threshold]) - threshold
    count = len(beyond)
    mean = float(beyond.mean())
    weighted = float((beyond * (count - 0.65 - np.arange(count)) / count).mean())
    shape, scale = 2 - mean / (mean - 2 * weighted), 2 * mean * weighted / (mean - 2 * weighted)
    rate = count / len(found) * float(genpareto.sf(1.0 - threshold, shape, 0.0, scale))
    return threshold, shape, scale, rate, count / len(found) * math.exp(-(1.0 - threshold) / mean)
