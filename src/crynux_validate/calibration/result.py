"""What a calibration says: rates for every threshold, with bounds, and what follows from them.

Needs neither numpy nor scipy: who sets a policy or a stake reads a saved calibration and asks it.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any, Final

from crynux_validate.algorithms import HASH_BITS
from crynux_validate.answers import check_threshold
from crynux_validate.calibration.recommendation import NotEnough, Recommendation
from crynux_validate.encoding import shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import DEFAULT_SLASH_THRESHOLD

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

    n: int
    rate: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    by: tuple[int, ...]

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


@dataclass(frozen=True)
class Excluded:
    """What a rule would have left out that no hash should be trusted for.

    Parameters
    ----------
    role
        ``honest`` or ``unrelated``.
    rule
        In words, like ``degenerate`` or ``degenerate, or a margin below 0.12``.
    margin
        The least margin that the rule asks for; None where it asks for none.
    pairs, excluded
        How many pairs were compared, and how many of them the rule leaves out.
    events, excluded_events
        For each of the calibration's thresholds how many pairs of honest machines did not agree, or how many unrelated
        pictures agreed, and how many of these the rule leaves out.
    """

    role: str
    rule: str
    margin: float | None
    pairs: int
    excluded: int
    events: tuple[int, ...]
    excluded_events: tuple[int, ...]


@dataclass(frozen=True, repr=False)
class Calibration:
    """Error rates of honest machines and of cheats, for one hash, one number of images and one size of groups.

    Made by `calibrate`, or read with `load`.

    Parameters
    ----------
    algorithm, images
        The hash, and how many images each answer has.
    group_size
        3, 5, 7 or 9.
    safety_checker
        Under which rule for blank pictures it was judged (`CentreRule`).
    confidence
        Of every interval.
    false_reject_rate, false_slash_rate
        The highest rates per honest group that the recommendation was to keep.
    models
        Which models the answers are of.
    kinds
        The kinds of machines, those that give equal pixels once.
    merged
        For a kind of `kinds` the others that gave equal pixels.
    pictures
        How many pictures each role has: ``honest``, ``unrelated`` and the names of cheats. One picture that stands
        there many times counts once.
    thresholds
        The thresholds at which something changes, ascending from 1. Each stands for all up to the next.
    groups, pairs
        By role: ``honest``, and the names of cheats, ``unrelated`` among them.
    left_out
        What degeneracy and margins would have left out.
    recommendation
        The thresholds that keep the rates asked for, or that there are not enough data, and how many more it takes.
    warnings
        What limits these numbers, in sentences.
    versions
        Of the packages that made it.
    seed
        Of all that was drawn.
    """

    algorithm: str
    images: int
    group_size: int
    safety_checker: bool
    confidence: float
    false_reject_rate: float
    false_slash_rate: float
    models: tuple[str, ...]
    kinds: tuple[str, ...]
    merged: Mapping[str, tuple[str, ...]] = field(hash=False)
    pictures: Mapping[str, int] = field(hash=False)
    thresholds: tuple[int, ...]
    groups: Mapping[str, Curves] = field(hash=False)
    pairs: Mapping[str, Curves] = field(hash=False)
    left_out: tuple[Excluded, ...]
    recommendation: Recommendation | NotEnough
    warnings: tuple[str, ...]
    versions: Mapping[str, str] = field(hash=False)
    seed: int

    @property
    def cheats(self) -> tuple[str, ...]:
        """The names of the cheats that have rates per group."""
        return tuple(name for name in self.groups if name != "honest")

    def rates(self, threshold: int, slash_threshold: int | None = None) -> Rates:
        """Return all rates at a threshold.

        Parameters
        ----------
        threshold
            1 to 64.
        slash_threshold
            `threshold` to 64; left out, the larger of 24 and `threshold`, as of `CentreRule`.

        Raises
        ------
        InvalidInputError
            For thresholds outside their ranges.
        """
        check_threshold(threshold, "threshold")
        slash = max(DEFAULT_SLASH_THRESHOLD, threshold) if slash_threshold is None else slash_threshold
        check_threshold(slash, "slash_threshold")
        if slash < threshold:
            raise InvalidInputError(
                f"slash_threshold is {slash}, below the threshold {threshold}; raise it to the threshold or above"
            )
        at, to = self.place(threshold), self.place(slash)
        within = slash_place(len(self.thresholds), at, to)
        groups = {name: (one.passing.at(at), one.slash.at(within)) for name, one in self.groups.items()}
        pairs = {name: (one.passing.at(at), one.slash.at(to)) for name, one in self.pairs.items()}
        return Rates(
            threshold,
            slash,
            HonestRates(*groups.pop("honest")),
            {name: CheatRates(*found) for name, found in groups.items()},
            PairRates(HonestRates(*pairs.pop("honest")), {name: CheatRates(*found) for name, found in pairs.items()}),
        )

    def cheat(self, name: str, threshold: int, slash_threshold: int | None = None) -> CheatRates:
        """Return the rates of one cheat per group.

        Raises
        ------
        InvalidInputError
            For a cheat that was not measured, with the names of those that were; and as of `rates`.
        """
        if name not in self.cheats:
            known = ", ".join(self.cheats) or "none"
            raise InvalidInputError(f"the cheat {shorten(name)} was not measured; this calibration has {known}")
        return self.rates(threshold, slash_threshold).cheats[name]

    def place(self, threshold: int) -> int:
        """Return which of `thresholds` stands for a threshold, 1 to 64, counted from 0.

        Raises
        ------
        InvalidInputError
            For what is no threshold.
        """
        check_threshold(threshold, "threshold")
        return bisect_right(self.thresholds, threshold) - 1

    def check_fits(
        self, *, algorithm: str | None = None, group_size: int | None = None, images: int | None = None
    ) -> None:
        """Refuse to be used for something else than was measured; what is None does not matter.

        Raises
        ------
        InvalidInputError
            Names what was measured, and what was asked for.
        """
        asked = {"algorithm": algorithm, "group_size": group_size, "images": images}
        for name, value in asked.items():
            own = getattr(self, name)
            if value is not None and value != own:
                raise InvalidInputError(
                    f"the calibration was made with {name} {own}, not {shorten(value)}; make another one, or use this"
                    " one where it fits"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it for JSON, as `calibration.schema.json` describes it."""
        from crynux_validate.calibration.stored import to_dict

        return to_dict(self)

    @classmethod
    def from_dict(cls, value: object) -> "Calibration":
        """Read what `to_dict` made.

        Raises
        ------
        InvalidInputError
            For another schema or version, fields that are missing, unknown or out of range, and numbers that
            contradict each other.
        """
        from crynux_validate.calibration.stored import from_dict

        return from_dict(value)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON; a file that was there is replaced when the new one is whole.

        Raises
        ------
        InvalidInputError
            Where the file cannot be written.
        """
        from crynux_validate.calibration.stored import save

        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Calibration":
        """Read a file that `save` wrote.

        Raises
        ------
        InvalidInputError
            Where the file cannot be read, and as of `from_dict`.
        """
        from crynux_validate.calibration.stored import load

        return load(path)

    def __repr__(self) -> str:
        found = f"{self.pictures['honest']} pictures, {len(self.kinds)} kinds"
        return summary(self, self.algorithm, f"groups of {self.group_size}", found, str(self.recommendation))

    def __str__(self) -> str:
        from crynux_validate.calibration.shown import text_of

        return text_of(self)


def slash_place(thresholds: int, at: int, to: int) -> int:
    """Return where a threshold and a slash threshold, by their places, stand in a curve of slashes per group."""
    return at * thresholds - at * (at - 1) // 2 + to - at


def reps_of(even: bool) -> tuple[int, ...]:
    """Return the thresholds at which something can change: where all distances are even, every second one."""
    return tuple(range(1, HASH_BITS + 1, 2 if even else 1))
