"""How often the intervals of a calibration hold the true rate: simulated runs whose truth is known.

``python -m benchmarks.coverage`` prints a table: for each kind of truth how many of 2,000 intervals of 95% held it.
``--runs`` takes fewer.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crynux_validate.calibration.intervals import Bounds, Clustering, bounds
from crynux_validate.calibration.unrelated import count_unrelated

RUNS = 2_000
CONFIDENCE = 0.95
AT_ONCE = 50
"""Runs that share the random numbers of the resampling, which saves time and changes no run's chance to be right."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Truth:
    """One kind of world.

    Parameters
    ----------
    name
        What it is.
    rate
        The true rate.
    measure
        Draws data of so many runs, and returns the bounds of each.
    """

    name: str
    rate: float
    measure: Callable[[np.random.Generator, int], Bounds]


def honest(pictures: int, kinds: int, fragile: float, share: float, spread: float = 0.0) -> Truth:
    """Honest pairs: a share of the pictures is fragile, and of those each pair of kinds rejects some.

    `spread` is by how much pairs of kinds differ: their factors are gamma distributed with the mean 1 and this standard
    deviation, and are drawn anew for each run, so that the truth holds for all kinds that there could be.
    """
    pairs = kinds * (kinds - 1) // 2

    def measure(rng: np.random.Generator, runs: int) -> Bounds:
        factor = rng.gamma(1 / spread**2, spread**2, (pairs, runs)) if spread else np.ones((pairs, runs))
        chance = np.minimum(share * factor, 1) * (rng.random((pictures, 1, runs)) < fragile)
        events = rng.random((pictures, pairs, runs)) < chance
        return bounds(
            pictures,
            {
                "picture": Clustering(events.mean(axis=1), np.ones(pictures)),
                "pair of kinds": Clustering(events.sum(axis=0) / pairs, np.full(pairs, pictures / pairs)),
            },
            confidence=CONFIDENCE,
            seed=int(rng.integers(2**31)),
        )

    rate = fragile * share
    if spread:  # factors are cut where a chance would be above 1
        factors = np.random.default_rng(0).gamma(1 / spread**2, spread**2, 4_000_000)
        rate = fragile * float(np.minimum(share * factors, 1).mean())
    name = f"honest: {pictures} pictures, {kinds} kinds, {100 * fragile:g}% fragile, which reject {100 * share:g}%"
    return Truth(name + (f", pairs of kinds differ by {spread:.0%}" if spread else ""), rate, measure)


def balanced(rng: np.random.Generator, count: int) -> npt.NDArray[np.uint64]:
    """Hashes with 32 set bits."""
    bits = np.argsort(rng.random((count, 64)), axis=1) < 32
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def smooth(pictures: int, share: float, parts: int = 1, of_parts: float = 1.0) -> Truth:
    """Unrelated pictures: a share of them is alike, with all of their parts or some; all others never agree.

    Compared as `calibrate` does it, below 8, where hashes that are drawn at random hardly ever agree.
    """

    picture = np.repeat(np.arange(pictures), parts)

    def draw(rng: np.random.Generator) -> npt.NDArray[np.uint64]:
        alike = (rng.random(pictures) < share)[picture] & (rng.random(len(picture)) < of_parts)
        return np.where(alike, np.uint64(0xFFFFFFFF), balanced(rng, len(picture)))

    chance = _below(8)
    rate = (share * of_parts) ** 2
    size = f"{pictures} pictures of {parts} parts" if parts > 1 else f"{pictures} pictures"
    name = f"unrelated: {size}, {100 * share:g}% alike" + (f" in {of_parts:.0%} of the parts" if parts > 1 else "")
    return Truth(name, rate + (1 - rate) * chance, _unrelated(draw, picture, 8))


def independent(pictures: int, threshold: int) -> Truth:
    """Unrelated pictures whose hashes have nothing in common."""

    name = f"unrelated: {pictures} pictures, independent, below {threshold}"
    measure = _unrelated(lambda rng: balanced(rng, pictures), np.arange(pictures), threshold)
    return Truth(name, _below(threshold), measure)


def _unrelated(
    draw: Callable[[np.random.Generator], npt.NDArray[np.uint64]], picture: npt.NDArray[np.int64], threshold: int
) -> Callable[[np.random.Generator, int], Bounds]:
    """Compare pictures as `calibrate` does."""

    def measure(rng: np.random.Generator, runs: int) -> Bounds:
        found = [count_unrelated(draw(rng)[:, None], picture) for _ in range(runs)]
        below = np.stack([one.distances[:, :threshold].sum(axis=1) for one in found], axis=1).astype(np.float64)
        touched = np.array([one.nearest[:threshold].sum() for one in found])
        return bounds(
            found[0].pairs_of_pictures,
            {"picture": Clustering(below, found[0].distances.sum(axis=1).astype(np.float64), order=2)},
            confidence=CONFIDENCE,
            seed=int(rng.integers(2**31)),
            touched=[touched, touched],
            pictures=[found[0].pictures] * 2,
        )

    return measure


def _below(threshold: int) -> float:
    """How likely two hashes of 32 set bits, drawn at random, are closer than a threshold."""
    from math import comb

    ways = [comb(32, common) * comb(32, 32 - common) for common in range(33)]
    return sum(count for common, count in enumerate(ways) if 64 - 2 * common < threshold) / sum(ways)


def truths() -> Iterator[Truth]:
    """All worlds."""
    for pictures, kinds in ((36, 8), (300, 3)):
        for fragile, share in ((0.003, 0.5), (0.03, 1.0), (0.1, 0.3), (1.0, 0.001), (1.0, 0.05), (0.5, 0.9)):
            yield honest(pictures, kinds, fragile, share)
    yield honest(2_000, 5, 0.005, 1.0)
    for kinds in (3, 5, 8):
        for spread in (0.3, 1.0):
            yield honest(300, kinds, 1.0, 0.1, spread)
    yield honest(300, 5, 0.2, 0.5, 0.5)
    for pictures in (20, 58):
        for share in (0.02, 0.05, 0.1, 0.3):
            yield smooth(pictures, share)
    yield smooth(200, 0.05)
    yield smooth(200, 0.3)
    yield smooth(58, 0.1, 9, 0.3)
    yield smooth(58, 0.3, 9, 0.1)
    for threshold in (16, 20, 24, 32):
        yield independent(58, threshold)


def coverage(truth: Truth, runs: int, seed: int = 0) -> tuple[float, float, float]:
    """Return how often the interval held the truth, how often it was too low, and the median upper bound."""
    found = []
    for start in range(0, runs, AT_ONCE):
        found.append(truth.measure(np.random.default_rng([seed, start]), min(AT_ONCE, runs - start)))
    low, high = (np.concatenate([getattr(one, end) for one in found]) for end in ("low", "high"))
    held = ((low <= truth.rate) & (truth.rate <= high)).mean()
    return float(held), float((high < truth.rate).mean()), float(np.median(high))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--only", default="", help="worlds whose name contains this")
    arguments = parser.parse_args()
    print(f"{'held':>6}  {'too low':>7}  {'true rate':>9}  {'median of the upper bounds':>26}")
    for truth in truths():
        if arguments.only in truth.name:
            held, below, high = coverage(truth, arguments.runs)
            print(f"{held:6.1%}  {below:7.2%}  {truth.rate:9.3g}  {high:26.3g}  {truth.name}", flush=True)


if __name__ == "__main__":
    main()
