"""From measured texts to bands, error rates and detection: pure arithmetic."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.text_audits.measure import Measured
from benchmarks.text_audits.plan import HONEST
from crynux_validate.audits.text_bands import TextBand

FALSE_ALARMS: Final = 1e-6
"""The false alarms of a text that the limit of the margins allows, where tokens are independent."""

RATES: Final = {"bfloat16": 50.0, "float16": 400.0, "float32": 5_000.0}
"""For each dtype one over the margins that count: honest ones are a few hundredths in bfloat16, an eighth of that in
float16, and a few hundred-thousandths in float32."""

SAFETY: Final = 2.0
"""How many times the slope that was measured a band has."""

RANGE: Final = 4.0
"""Standard deviations of the rows that a band allows."""

POSITIONS: Final = 32

TAIL_FROM: Final = 0.9
"""The quantile from which on a tail is fitted."""
AGAIN: Final = 500
"""How often texts are drawn again for an interval."""


def band_of(texts: Sequence[Measured], dtype: str) -> TextBand:
    """Make a band from honest texts of one dtype: the noisiest kind of machine decides."""
    rate, start = RATES[dtype], math.log(1 / FALSE_ALARMS) / RATES[dtype]
    clip = 0.7 * start
    slopes, means, between = [], [], []
    for kind in sorted({each.kind for each in texts}):
        margins = [np.minimum(each.margins, clip) for each in texts if each.kind == kind]
        # Token by token, and text by text, in which tokens may depend on one another.
        slopes.append(math.log(np.exp(rate * np.concatenate(margins)).mean()) / rate)
        slopes.append(math.log(np.mean([math.exp(rate * found.sum()) for found in margins])) / rate / len(margins[0]))
        rows = np.array([each.rows.mean() for each in texts if each.kind == kind])
        means.append(rows.mean())
        between.append(rows.std())
    within = math.sqrt(np.mean([each.rows.var() for each in texts]))
    low, high = min(means), max(means)
    return TextBand(
        clip=_rounded(clip),
        slope=_rounded(SAFETY * max(slopes)),
        start=_rounded(start),
        rate=rate,
        top_mean=_rounded((low + high) / 2),
        top_between=_rounded(math.hypot(max(between), (high - low) / 2)),
        top_within=_rounded(within),
        top_range=RANGE,
    )


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")


def crossing(margins: npt.NDArray[np.float64], band: TextBand) -> int | None:
    """After how many tokens an audit by this band finds a cheat; None where it does not."""
    over = np.flatnonzero(height(margins, band) > band.start)
    return int(over[0]) + 1 if len(over) else None


def height(margins: npt.NDArray[np.float64], band: TextBand) -> npt.NDArray[np.float64]:
    """How far the sum of the margins is above the slope, after each token."""
    return np.asarray(np.cumsum(np.minimum(margins, band.clip)) - band.slope * np.arange(1, len(margins) + 1))


def peak(margins: npt.NDArray[np.float64], band: TextBand) -> float:
    """The largest height: what is compared with the band's start."""
    return float(height(margins, band).max())


def drawn(each: Measured, positions: int = POSITIONS) -> npt.NDArray[np.float64]:
    """The rows of positions that are drawn: others for each text, and always the same."""
    rng = np.random.default_rng(each.text.number)
    return each.rows[rng.choice(len(each.rows), min(positions, len(each.rows)), replace=False)]


def by_rows(each: Measured, band: TextBand, positions: int = POSITIONS) -> bool:
    """Whether an audit finds a text's drawn rows too far from the reference's, or too near."""
    rows = drawn(each, positions)
    low, high = band.top_limits(len(rows))
    return not low <= rows.mean() <= high


def auc(honest: Sequence[float], cheats: Sequence[float]) -> float:
    """How often a cheat has more than an honest text; ties count half."""
    ordered = np.sort(honest)
    less = np.searchsorted(ordered, cheats, "left") + np.searchsorted(ordered, cheats, "right")
    return float(less.mean() / 2 / len(ordered))


def held_out(texts: Sequence[Measured], dtype: str) -> list[tuple[Measured, TextBand]]:
    """Give each honest text a band that was made without its kind of machine and without its half of the prompts.

    Texts that a kind wrote one by one and those that it wrote at once are left out together.
    """
    honest = [each for each in texts if each.text.who == HONEST and each.text.way.startswith(dtype)]
    found = []
    for machine in sorted({each.machine for each in honest}):
        for half in (0, 1):
            others = [each for each in honest if each.machine != machine and each.text.half != half]
            tested = [each for each in honest if each.machine == machine and each.text.half == half]
            if others and tested:
                band = band_of(others, dtype)
                found += [(each, band) for each in tested]
    return found


def upper_bound(alarms: int, count: int) -> float:
    """The exact upper end of a 95% interval (Clopper-Pearson)."""
    from scipy.stats import binomtest

    return float(binomtest(alarms, count).proportion_ci(0.95, method="exact").high) if count else 1.0


def clustered_bound(alarms: dict[str, tuple[int, int]]) -> float:
    """The upper bound of a rate over pairs of kinds: the larger of the exact one and that of resampled pairs.

    Parameters
    ----------
    alarms
        For each pair false alarms and texts.
    """
    counts = np.array(list(alarms.values()), dtype=np.float64)
    exact = upper_bound(int(counts[:, 0].sum()), int(counts[:, 1].sum()))
    picks = np.random.default_rng(0).integers(0, len(counts), (10_000, len(counts)))
    sums = counts[picks].sum(axis=1)
    return max(exact, float(np.quantile(sums[:, 0] / sums[:, 1], 0.975)))


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
