"""Pairs of parts of different pictures below each threshold, and how far the true rates can lie from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.photographs.record import Record
from crynux_validate.algorithms import HASH_BITS
from crynux_validate.calibration.intervals import alike, exact
from crynux_validate.hashing import hamming_matrix, hash_array, is_degenerate

CONFIDENCE: Final = 0.95
RESAMPLES: Final = 2_000

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Counts:
    """Pairs of parts, by pair of pictures.

    Parameters
    ----------
    at
        Shape (pictures, pictures, 65): at [i, j, d] how many parts of picture i lie d bits from one of j, for
        i > j; elsewhere 0. A part is never compared with one of its own picture.
    """

    at: Integers

    @cached_property
    def below(self) -> Integers:
        """Shape (65,): pairs of parts with a distance below each threshold from 0 to 64."""
        return np.concatenate([[0], self.at.sum((0, 1)).cumsum()])[: HASH_BITS + 1]

    @property
    def pairs(self) -> int:
        """Pairs of parts."""
        return int(self.at.sum())

    @property
    def pictures(self) -> int:
        """Pairs of pictures of which parts were compared: the n of every interval."""
        return int((self.at.sum(2) > 0).sum())

    def rate(self, threshold: int) -> float:
        """The share of pairs of parts with a distance below a threshold."""
        return float(self.below[threshold] / self.pairs)

    def interval(self, threshold: int) -> tuple[float, float]:
        """The exact interval of Clopper and Pearson, as if each pair of pictures had been asked once.

        The parts of a pair of pictures are not independent, so n is `pictures` and k is n times the rate, which need
        not be an integer.
        """
        low, high = exact(self.rate(threshold), self.pictures, CONFIDENCE)
        return float(low), float(high)

    def alike(self, threshold: int) -> float:
        """An upper end where some pictures are alike, so that pairs of pictures are not independent either."""
        both = self.at + self.at.transpose(1, 0, 2)
        own = int((both.sum((1, 2)) > 0).sum())
        touched = np.array([(both[:, :, :threshold].sum((1, 2)) > 0).sum()])
        high = np.array([self.interval(threshold)[1]])
        return float(alike(high, [touched, touched], [own, own], CONFIDENCE)[0])

    @cached_property
    def resampled(self) -> npt.NDArray[np.float64]:
        """Shape (2, 65): the interval of the rate below each threshold, over pictures drawn again with replacement.

        A picture that is drawn several times is not compared with itself.
        """
        one, other = np.tril_indices(len(self.at), -1)
        below = self.at[one, other].cumsum(1).astype(float)  # pairs of pictures, distances
        source = np.random.default_rng(0)
        drawn = np.array([_drawn(len(self.at), source) for _ in range(RESAMPLES)], float)
        found = (drawn[:, one] * drawn[:, other]) @ below
        some = found[found[:, -1] > 0]  # of very few pictures one can be all that is drawn
        rest = (1 - CONFIDENCE) / 2
        ends = np.quantile(some / some[:, -1:], (rest, 1 - rest), axis=0)
        return np.concatenate([np.zeros((2, 1)), ends], axis=1)[:, : HASH_BITS + 1]


def _drawn(count: int, source: np.random.Generator) -> Integers:
    """How often each of `count` is drawn in as many draws with replacement."""
    return np.bincount(source.integers(0, count, count), minlength=count)


def count(record: Record, algorithm: str, *, degenerate: bool) -> Counts:
    """Compare the parts of every two pictures; without `degenerate` those whose hashes are telling."""
    kept = [[bits for bits in hashed.hashes[algorithm] if degenerate or not is_degenerate(bytes.fromhex(bits))]
            for hashed in record.pictures]  # fmt: skip
    arrays = [hash_array(hashes) for hashes in kept]
    at = np.zeros((len(arrays), len(arrays), HASH_BITS + 1), np.int64)
    for i, one in enumerate(arrays):
        for j, other in enumerate(arrays[:i]):
            at[i, j] = np.bincount(hamming_matrix(one, other).ravel(), minlength=HASH_BITS + 1)
    return Counts(at)


def most_of_one_part(record: Record, algorithm: str, threshold: int) -> float:
    """The largest share of parts of other pictures that a single part agrees with: what a cheat could choose."""
    hashes = hash_array([bits for hashed in record.pictures for bits in hashed.hashes[algorithm]])
    owner = np.repeat(np.arange(len(record.pictures)), [len(each.hashes[algorithm]) for each in record.pictures])
    other = owner[:, None] != owner
    near = (hamming_matrix(hashes, hashes) < threshold) & other
    return float((near.sum(1) / other.sum(1)).max())


def upper_end(counts: Sequence[Counts], threshold: int) -> float:
    """The largest upper end of several counts, exact or resampled: what a chance of agreement is taken from."""
    return max(max(each.interval(threshold)[1], float(each.resampled[1, threshold])) for each in counts)
