"""How often the intervals of a calibration hold the true rate: simulated runs whose truth is known.

``python -m benchmarks.coverage`` prints a table: for each kind of truth how many of 2,000 intervals of 95% held it.
``--runs`` takes fewer.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from crynux_validate.calibration.counting import count_unrelated
from crynux_validate.calibration.intervals import Bounds, Clustering, bounds

RUNS = 2_000
CONFIDENCE = 0.95

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
        Draws data and returns bounds of one rate.
    """

    name: str
    rate: float
    measure: Callable[[np.random.Generator], Bounds]


def honest(pictures: int, kinds: int, fragile: float, share: float, spread: float = 0.0) -> Truth:
    """Honest pairs: a share of the pictures is fragile, and of those each pair of kinds rejects some.

    `spread` is by how much pairs of kinds differ: their factors are gamma distributed with the mean 1 and this standard
    deviation, and are drawn anew for each run, so that the truth holds for all kinds that there could be.
    """
    pairs = kinds * (kinds - 1) // 2

    def measure(rng: np.random.Generator) -> Bounds:
        factor = rng.gamma(1 / spread**2, spread**2, pairs) if spread else np.ones(pairs)
        chance = np.minimum(share * factor, 1) * (rng.random(pictures) < fragile)[:, None]
        events = (rng.random((pictures, pairs)) < chance).astype(np.float64)
        return bounds(
            pictures,
            {
                "picture": Clustering(events.mean(axis=1, keepdims=True), np.ones(pictures)),
                "pair of kinds": Clustering(events.sum(axis=0)[:, None] / pairs, np.full(pairs, pictures / pairs)),
            },
            confidence=CONFIDENCE,
            seed=int(rng.integers(2**31)),
        )

    rate = fragile * share
    if spread:  # factors are cut where a chance would be above 1
        factors = np.random.default_rng(0).gamma(1 / spread**2, spread**2, 4_000_000)
        rate = fragile * float(np.minimum(share * factors, 1).mean())
    differ = f", pairs of kinds differ by {spread:.0%}" if spread else ""
    name = f"honest: {pictures} pictures, {kinds} kinds, {fragile:.1%} fragile, which reject {share:.0%}{differ}"
    return Truth(name, rate, measure)


def balanced(rng: np.random.Generator, count: int) -> npt.NDArray[np.uint64]:
    """Hashes with 32 set bits."""
    bits = np.argsort(rng.random((count, 64)), axis=1) < 32
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def smooth(pictures: int, share: float, parts: int = 1, of_parts: float = 1.0) -> Truth:
    """Unrelated pictures: a share of them is alike, with all of their parts or some; all others never agree.

    Compared as `calibrate` does it, below 8, where hashes that are drawn at random hardly ever agree.
    """

    def measure(rng: np.random.Generator) -> Bounds:
        picture = np.repeat(np.arange(pictures), parts)
        alike = (rng.random(pictures) < share)[picture] & (rng.random(len(picture)) < of_parts)
        hashes = np.where(alike, np.uint64(0xFFFFFFFF), balanced(rng, len(picture)))
        return _unrelated(hashes, picture, 8, int(rng.integers(2**31)))

    chance = _below(8)
    rate = (share * of_parts) ** 2
    name = f"unrelated: {pictures} pictures of {parts} parts, {share:.1%} alike in {of_parts:.0%} of the parts"
    return Truth(name, rate + (1 - rate) * chance, measure)


def independent(pictures: int, threshold: int) -> Truth:
    """Unrelated pictures whose hashes have nothing in common."""

    def measure(rng: np.random.Generator) -> Bounds:
        return _unrelated(balanced(rng, pictures), np.arange(pictures), threshold, int(rng.integers(2**31)))

    name = f"unrelated: {pictures} pictures, independent, below {threshold}"
    return Truth(name, _below(threshold), measure)


def _unrelated(hashes: npt.NDArray[np.uint64], picture: npt.NDArray[np.int64], threshold: int, seed: int) -> Bounds:
    found = count_unrelated(hashes[:, None], picture, seed=seed)
    below = found.distances[:, :threshold].sum(axis=1, keepdims=True).astype(np.float64)
    weights = found.distances.sum(axis=1).astype(np.float64)
    touched = found.nearest[:threshold].sum(keepdims=True)
    return bounds(
        found.pairs_of_pictures,
        {"picture": Clustering(below, weights, order=2)},
        confidence=CONFIDENCE,
        seed=seed,
        touched=[touched, touched],
        pictures=[found.pictures, found.pictures],
    )


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
    for pictures in (20, 58, 200):
        for share in (0.02, 0.05, 0.1, 0.3):
            yield smooth(pictures, share)
    yield smooth(58, 0.1, 9, 0.3)
    yield smooth(58, 0.3, 9, 0.1)
    for threshold in (16, 20, 24, 32):
        yield independent(58, threshold)
    yield independent(200, 20)


def coverage(truth: Truth, runs: int, seed: int = 0) -> tuple[float, float, float]:
    """Return how often the interval held the truth, how often it was too low, and the median upper bound."""
    held = below = 0
    highs = []
    for run in range(runs):
        found = truth.measure(np.random.default_rng([seed, run]))
        low, high = float(found.low[0]), float(found.high[0])
        held += low <= truth.rate <= high
        below += high < truth.rate
        highs.append(high)
    return held / runs, below / runs, float(np.median(highs))


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
