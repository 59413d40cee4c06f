"""Rates that were measured, at one threshold and over all of them."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import Field

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.calibration.fields import Positive, Share

BY: Final = (
    "exact",
    "picture",
    "pair of kinds",
    "other picture",
    "picture and pair of kinds",
    "picture and other picture",
    "alike pictures",
)
"""What an upper bound can come from (`crynux_validate.calibration.intervals`)."""


@dataclass(frozen=True)
class Rate:
    """A rate that was measured.

    Parameters
    ----------
    rate
        The share of what was looked at, 0 to 1.
    low, high
        Bounds of the interval. Each end alone holds with (1 + confidence) / 2.
    n
        How many pictures it rests on; of unrelated pictures per pair, how many pairs of pictures.
    by
        What gave the upper bound, one of `BY`.
    """

    rate: float
    low: float
    high: float
    n: int
    by: str

    def __str__(self) -> str:
        return f"{self.rate:.3g} ({self.low:.3g} to {self.high:.3g}, n = {self.n}, {self.by})"


@dataclass(frozen=True)
class HonestRates:
    """What becomes of honest machines.

    Parameters
    ----------
    reject
        Per group: some member is not ``VALID``. Per pair: the two answers do not agree.
    slash
        Per group: some member is ``INVALID``. Per pair: one answer is far enough from the other to be slashed.
    """

    reject: Rate
    slash: Rate


@dataclass(frozen=True)
class CheatRates:
    """What becomes of a cheat.

    Parameters
    ----------
    accept
        Per group: the cheat is ``VALID``, with as many accomplices who hand in the same as help it most, less than a
        quorum. Per pair: its answer agrees with an honest one.
    slash
        Per group: the cheat is ``INVALID``, with as many accomplices as protect it best. Per pair: its answer is far
        enough from an honest one to be slashed.
    """

    accept: Rate
    slash: Rate


@dataclass(frozen=True)
class PairRates:
    """Rates of two answers that are compared.

    Parameters
    ----------
    honest
        Two honest kinds of machines.
    cheats
        By the cheat's name, beside an honest answer to the same task; ``unrelated`` is two unrelated pictures.
    """

    honest: HonestRates
    cheats: Mapping[str, CheatRates]


@dataclass(frozen=True)
class Rates:
    """All rates at one threshold and one slash threshold.

    Parameters
    ----------
    threshold, slash_threshold
        What was asked.
    honest, cheats
        Per group, which is what a recommendation and a stake take.
    pairs
        Per pair.
    """

    threshold: int
    slash_threshold: int
    honest: HonestRates
    cheats: Mapping[str, CheatRates]
    pairs: PairRates


@dataclass(frozen=True)
class Curve:
    """One rate at all places of a calibration's thresholds; columns of equal length.

    Parameters
    ----------
    n
        As of `Rate`.
    rate, low, high
        0 to 1.
    by
        Places in `BY`.
    """

    n: Positive
    rate: tuple[Share, ...]
    low: tuple[Share, ...]
    high: tuple[Share, ...]
    by: tuple[Annotated[int, Field(strict=True, ge=0, lt=len(BY))], ...]

    def at(self, place: int) -> Rate:
        """Return the rate at a place."""
        return Rate(self.rate[place], self.low[place], self.high[place], self.n, BY[self.by[place]])


@dataclass(frozen=True)
class Curves:
    """What becomes of one role at every threshold.

    Parameters
    ----------
    passing
        At each threshold: of honest machines the rate of rejects, of a cheat that of accepts.
    slash
        Per pair at each slash threshold. Per group at each threshold and, within it, each slash threshold that is not
        below it.
    """

    passing: Curve
    slash: Curve


def place_of(thresholds: Sequence[int], threshold: int) -> int:
    """Return which of some thresholds, ascending from 1, stands for a threshold: each stands for all up to the next."""
    return bisect_right(thresholds, threshold) - 1


def slash_place(thresholds: int, at: int, to: int) -> int:
    """Return where a threshold and a slash threshold, by their places, stand in a curve of slashes per group."""
    return at * thresholds - at * (at - 1) // 2 + to - at


def reps_of(even: bool) -> tuple[int, ...]:
    """Return the thresholds at which something can change: where all distances are even, every second one."""
    return tuple(range(1, HASH_BITS + 1, 2 if even else 1))
