"""How large a rate can be that was measured on few things: bounds for rates whose counts are not independent.

A few pictures make most of the disagreements, and a hundred pictures on one pair of machines are one pair of machines.
So what counts is the number of *clusters* (pictures, pairs of kinds), never the number of comparisons. Each cluster
has a mean between 0 and 1, the rate is the mean of those, and the bounds are the widest of

- the **exact** ones of Clopper and Pearson (1934) with n = clusters and k = rate x n. k may be fractional: the bounds
  are quantiles of beta distributions. Among all means between 0 and 1, those that are 0 or 1 scatter most, so that
  these bounds hold for others as well. They are the only ones that say something where nothing was seen: 0 of n is
  never 0;
- those of **resampling** by one clustering, or by two of them together, where the deviations that each makes are added
  (as in the pigeonhole bootstrap, Owen 2007). Few clusters resample too narrowly: deviations are widened by
  sqrt(m / (m - 1)) and by the ratio of Student's to the normal quantile with m - 1 degrees of freedom. Bounds are their
  quantiles, or those of the beta distribution with the same variance (Korn and Graubard 1998), whichever is wider:
  rates of few clusters are skewed, and their own quantiles cannot show it;
- for pairs of pictures, those of `alike` pictures.

It knows nothing of hashes, and is meant to be used for other measured rates as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from crynux_validate.encoding import check_integer, shorten
from crynux_validate.errors import InvalidInputError, needed_for

EXACT: Final = "exact"
ALIKE: Final = "alike pictures"

RESAMPLES: Final = 2_000
"""How often is resampled."""

_WHOLE: Final = 1e-6
"""Closer to a whole number, k is that number: sums of weights are not exact, and a beta distribution needs more."""

MOST_BLOCKS: Final = 2_000
"""So many clusters are resampled; more are put together at random into as many, so that memory does not grow."""

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clustering:
    """Events of many rates at once, added up by cluster, or by block of clusters.

    Parameters
    ----------
    events
        float64 of shape (clusters, rates).
    weights
        float64 of shape (clusters,): what `events` are a share of. The rate is the sum of `events` over that of
        `weights`.
    order
        How many of these clusters take part in each observation, if they do symmetrically: 2 for pairs of pictures by
        picture, 1 where each observation lies in one cluster. Deviations are multiplied by it (the first term of
        Hoeffding's decomposition).
    """

    events: Floats
    weights: Floats
    order: int = 1


@dataclass(frozen=True, eq=False)
class Bounds:
    """Rates and their bounds.

    Parameters
    ----------
    rate, low, high
        float64 of shape (rates,); 0 <= low <= rate <= high <= 1.
    by
        For each rate what made its upper bound, like ``exact``.
    """

    rate: Floats
    low: Floats
    high: Floats
    by: tuple[str, ...]


def check_confidence(value: object, what: str = "confidence") -> float:
    """Return `value` if it is a confidence that intervals can have: 0.5 to 0.9999."""
    if not isinstance(value, float) or not 0.5 <= value <= 0.9999:
        raise InvalidInputError(f"{what} is {shorten(value)}; expected a number from 0.5 to 0.9999, like 0.95")
    return value


def exact(rate: Floats | float, n: Integers | int, confidence: float = 0.95) -> tuple[Floats, Floats]:
    """Return the two-sided bounds of Clopper and Pearson for k = rate x n of n.

    Parameters
    ----------
    rate
        0 to 1, of any shape; k need not be whole.
    n
        At least 1, of a shape that goes with it.
    confidence
        0.5 to 0.9999. Each end alone holds with a confidence of (1 + confidence) / 2.

    Raises
    ------
    InvalidInputError
        For rates outside 0..1 or NaN, n below 1, and another confidence.
    MissingExtraError
        Without scipy.
    """
    with needed_for("exact intervals", "calibration"):
        from scipy.special import betaincinv

    tail = (1 - check_confidence(confidence)) / 2
    shares, sizes = np.asarray(rate, np.float64), np.asarray(n, np.float64)
    if not ((shares >= 0) & (shares <= 1)).all():
        raise InvalidInputError(f"rate is {shorten(rate)}; expected numbers from 0 to 1")
    if not (sizes >= 1).all():
        raise InvalidInputError(f"n is {shorten(n)}; expected at least 1: without observations there is no rate")
    k = shares * sizes
    k = np.where(np.abs(k - np.rint(k)) < _WHOLE, np.rint(k), k)
    rest = sizes - k
    low = np.where(k > 0, betaincinv(np.where(k > 0, k, 1), rest + 1, tail), 0.0)
    high = np.where(rest > 0, betaincinv(k + 1, np.where(rest > 0, rest, 1), 1 - tail), 1.0)
    low, high = np.where(np.isnan(low), 0.0, low), np.where(np.isnan(high), 1.0, high)  # where none could be computed
    return np.minimum(low, shares), np.maximum(high, shares)


def alike(high: Floats, touched: Sequence[Integers], pictures: Sequence[int], confidence: float = 0.95) -> Floats:
    """Return upper bounds for the rate at which two different pictures agree.

    n pictures make n (n - 1) / 2 pairs, which are not independent: where a share q of all pictures is alike (smooth
    skies), q^2 of all pairs agree, and how many of the n pictures are smooth decides whether any does. The exact bound
    with the number of pairs then is too low. This bound is that of q, squared, times that of the rate among the alike.
    Of n pictures, those that agree with another one are alike, and one more: a smooth picture alone agrees with none.

    It does not cover a picture that agrees with many which do not agree with each other. Under a threshold T these
    would lie less than 2T apart.

    Parameters
    ----------
    high
        float64 of shape (rates,): the exact bounds with the number of pairs.
    touched
        How many pictures agree with another one: integers of shape (rates,), twice for pairs among the same pictures,
        or for each side of the pairs.
    pictures
        How many there are on each side.
    confidence
        As of `exact`.
    """
    classes = np.ones_like(high)
    seen = np.ones_like(high)
    for found, size in zip(touched, pictures, strict=True):
        classes *= exact(np.minimum(found + 1, size) / size, size, confidence)[1]
        seen *= found / size
    within = np.divide(high, seen, where=seen > 0, out=np.ones_like(high))  # of what was not seen, nothing is known
    return np.minimum(1.0, classes * np.minimum(1.0, within))


def blocks_of(clusters: int, seed: int) -> Integers:
    """Return for each cluster the block that it is put into: its own, or with many clusters one at random.

    Integers of shape (clusters,), below `MOST_BLOCKS`; blocks differ by at most one cluster.
    """
    places = np.arange(clusters, dtype=np.int64)
    if clusters <= MOST_BLOCKS:
        return places
    return np.random.default_rng(seed).permutation(places) % MOST_BLOCKS


def bounds(
    n: int,
    clusterings: Mapping[str, Clustering],
    *,
    confidence: float = 0.95,
    seed: int = 0,
    touched: Sequence[Integers] = (),
    pictures: Sequence[int] = (),
) -> Bounds:
    """Return rates with the widest of all bounds.

    Parameters
    ----------
    n
        The number of clusters for the exact bound.
    clusterings
        By the name of each clustering; the first gives the rates, and those of all others must be the same.
    confidence
        Of each interval, two-sided.
    seed
        Of the resampling: equal seeds give equal bounds.
    touched, pictures
        For pairs of pictures, the arguments of `alike`.

    Raises
    ------
    InvalidInputError
        For no cluster, events outside 0..weight, NaN, and clusterings that contradict each other.
    """
    check_integer(n, "n", 1)
    first = _checked(clusterings)
    rate = np.clip(first.events.sum(axis=0) / first.weights.sum(), 0, 1)
    low, high = exact(rate, n, confidence)
    by = np.full(len(rate), EXACT, object)
    if touched:
        together = alike(high, touched, pictures, confidence)
        by[together > high] = ALIKE
        high = np.maximum(high, together)
    usable = [name for name, one in clusterings.items() if len(one.weights) > 1]
    if usable:
        several = [_deviations(clusterings[name], confidence, seed + at) for at, name in enumerate(usable)]
        least, most = _of_deviations(rate, np.sum(several, axis=0), confidence)
        by[most > high] = " and ".join(usable)
        low, high = np.minimum(low, least), np.maximum(high, most)
    return Bounds(rate, low, high, tuple(by))


def _of_deviations(rate: Floats, deviations: Floats, confidence: float) -> tuple[Floats, Floats]:
    """Bounds from resampled deviations: their quantiles, and those of the beta distribution with their variance."""
    ends = np.quantile(deviations, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    variance = deviations.var(axis=0)
    there = variance > 0
    size = np.divide(rate * (1 - rate), variance, where=there, out=np.ones_like(rate))
    skewed = exact(rate, np.maximum(size, 1), confidence)
    low = np.where(there, np.minimum(skewed[0], np.maximum(rate + ends[0], 0)), rate)
    high = np.where(there, np.maximum(skewed[1], np.minimum(rate + ends[1], 1)), rate)
    return low, high


def _checked(clusterings: Mapping[str, Clustering]) -> Clustering:
    if not clusterings:
        raise InvalidInputError("there are no clusterings; expected at least one, like that by picture")
    first = next(iter(clusterings.values()))
    for name, one in clusterings.items():
        if one.events.ndim != 2 or one.weights.shape != one.events.shape[:1]:
            raise InvalidInputError(
                f"{name}: events {one.events.shape} and weights {one.weights.shape}; expected (clusters, rates) and"
                " (clusters,)"
            )
        inside = (one.events >= -1e-9) & (one.events <= one.weights[:, None] * (1 + 1e-9) + 1e-9)
        if not inside.all() or not one.weights.sum() > 0:
            raise InvalidInputError(f"{name}: a cluster has events below 0, above its weight, or NaN")
        ours, theirs = (c.events.sum(axis=0) / c.weights.sum() for c in (one, first))
        if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-6, atol=1e-12):
            raise InvalidInputError(f"{name}: its rates are not those of the first clustering")
    return first


def _deviations(one: Clustering, confidence: float, seed: int) -> Floats:
    """How far resampled rates lie from the measured: float64 of shape (RESAMPLES, rates)."""
    from scipy.stats import norm, t

    clusters, total = len(one.weights), one.weights.sum()
    centred = one.events - one.weights[:, None] * (one.events.sum(axis=0) / total)
    chosen = np.random.default_rng(seed).integers(0, clusters, (RESAMPLES, clusters))
    chosen += np.arange(0, RESAMPLES * clusters, clusters)[:, None]
    drawn = np.bincount(chosen.reshape(-1), minlength=chosen.size).reshape(chosen.shape)
    student = t.ppf((1 + confidence) / 2, clusters - 1) / norm.ppf((1 + confidence) / 2)
    wider = one.order * student * np.sqrt(clusters / (clusters - 1))
    deviations: Floats = drawn.astype(np.float64) @ centred * (wider / total)
    return deviations
