"""How far honest machines are off in one step of an image, and in several together: what an audit takes for noise."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from pydantic import Field

from crynux_validate.audits.findings import AuditFinding

SIGNED: Final = ("guidance", "reuse", "against")
"""Statistics of a prediction that lie on both sides of honest ones."""

PREDICTION: Final = ("prediction", "smooth", *SIGNED)
"""Statistics of a prediction; their mean over several steps is judged as well."""

PICTURE: Final = ("picture", "peak")
"""Statistics of a picture."""

LEAST_PICTURES: Final = 10
"""A dtype needs so many pictures for a band, and a scheduler as many of its own to count as calibrated."""

_WIDEST_OFF: Final = {"float32": 16.0, "float16": 2.0, "bfloat16": 2.0}
"""How many times as far off as the band honest machines may be that it was not made for.

In float32 distances depend on the model, and cheats are hundreds of times further off. In 16 bits the unit is measured
in each step: honest schedulers, models and cards that had no part in a band stayed below twice its limits.
"""

Number: TypeAlias = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Size: TypeAlias = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=0)]
Rate: TypeAlias = Annotated[float, Field(strict=True, ge=0, le=1)]
Name: TypeAlias = Annotated[str, Field(strict=True, max_length=1000)]


@dataclass(frozen=True)
class Spread:
    """What honest machines have in one statistic, and where it ends.

    Parameters
    ----------
    centre
        The mean of all honest steps.
    between
        The standard deviation between pictures, each with its own kinds of machine.
    within
        The standard deviation between the steps of one picture.
    reach
        So many standard deviations are honest: a quantile of Student's distribution, or more.
    least
        No limit is narrower than this: what was never apart was not measured often enough.
    """

    centre: Number
    between: Size
    within: Size
    reach: Size
    least: Size = 0.0

    def limit(self) -> float:
        """Return how far from the centre a step may be."""
        return max(self.reach * math.hypot(self.between, self.within), self.least)

    def times(self, value: float, *, signed: bool = False) -> float:
        """Return how many times the limit a step is from the centre: above 1 no honest machine.

        Parameters
        ----------
        value
            Of the step; infinite or NaN are infinitely far.
        signed
            Whether less than the centre counts as well.
        """
        return _times(value - self.centre, self.limit(), signed=signed)


@dataclass(frozen=True)
class MeanSpread:
    """What the mean of several steps of honest machines may be, in one statistic.

    Parameters
    ----------
    centre
        The mean of all honest steps.
    cut
        A step further from the centre counts as one at that distance: one honest step that is far off would make the
        limits of all means wide.
    limits
        Pairs of a number of steps, 2 or more and ascending, and how far from the centre their mean may be. Numbers that
        are not named have the limit of the next smaller one.
    """

    centre: Number
    cut: Size
    limits: Annotated[tuple[tuple[Annotated[int, Field(strict=True, ge=2)], Size], ...], Field(min_length=1)]

    def limit(self, steps: int) -> float:
        """Return how far from the centre the mean of so many steps may be; 2 or more steps."""
        return [limit for count, limit in self.limits if count <= max(steps, self.limits[0][0])][-1]

    def mean(self, values: Sequence[float], room: float = 1.0) -> float:
        """Return the mean of several steps, each cut at so many times `cut`; NaN where one is NaN."""
        most = self.cut * room
        kept = [one if math.isnan(one) else self.centre + min(max(one - self.centre, -most), most) for one in values]
        return sum(kept) / len(kept)

    def times(self, mean: float, steps: int, *, signed: bool = False) -> float:
        """Return how many times the limit a mean of so many steps is from the centre, as `Spread.times`."""
        return _times(mean - self.centre, self.limit(steps), signed=signed)


def _times(off: float, limit: float, *, signed: bool) -> float:
    if math.isnan(off):
        return math.inf
    off = abs(off) if signed else max(off, 0.0)
    if off == 0:
        return 0.0
    return off / limit if limit else math.inf


@dataclass(frozen=True)
class Band:
    """What honest machines may be apart: a spread for each statistic.

    Parameters
    ----------
    spreads
        Of one step, by the names of `PREDICTION`, ``latent`` and `PICTURE`. A statistic of a prediction that is missing
        was not measured of honest machines, and is not judged.
    means
        Of the mean of several steps, by the names of `PREDICTION`.
    room
        Limits are so many times as wide (`ImageBands.room`); that of single samples of a picture is not.
    uncalibrated
        Why the band was not made for these machines, this model or these versions; empty where it was.
    doubt
        Up to so many times the limit nothing can be said, where the band was not made for what is audited.
    """

    spreads: Mapping[str, Spread]
    means: Mapping[str, MeanSpread]
    room: float = 1.0
    uncalibrated: str = ""
    doubt: float = 1.0

    def times(self, name: str, value: float) -> float:
        """Return how many times its limit a statistic of one step is from honest ones."""
        return self.spreads[name].times(value, signed=name in SIGNED) / self._room(name)

    def mean(self, name: str, values: Sequence[float]) -> float:
        """Return the mean of several steps, each cut (`MeanSpread`); NaN where one is NaN."""
        return self.means[name].mean(values, self.room)

    def times_together(self, name: str, values: Sequence[float]) -> float:
        """Return how many times its limit the mean of several steps is from honest ones."""
        mean = self.mean(name, values)
        return self.means[name].times(mean, len(values), signed=name in SIGNED) / self.room

    def most(self, name: str) -> float:
        """Return the largest value of a statistic of one step that is honest."""
        return self.spreads[name].centre + self.spreads[name].limit() * self._room(name)

    def finding(self, times: float) -> AuditFinding:
        """Say what so many times a limit are."""
        if times <= 1:
            return AuditFinding.NOISE
        return AuditFinding.CHEAT if times > self.doubt else AuditFinding.INCOMPARABLE

    def _room(self, name: str) -> float:
        return 1.0 if name == "peak" else self.room  # one level of one sample is the same for every model


@dataclass(frozen=True)
class AlarmRates:
    """How often honest answers are accused by a band; each bound is the upper end of a 95% interval.

    Parameters
    ----------
    things, pairs
        How many pictures or texts, and how many pairs of kinds.
    checks, outside, outside_most
        Of images single steps: how many, how many of them outside the band, and the bound by pictures and pairs of
        kinds. Of texts single texts by their bound rows.
    audits, accused, accused_most
        Audits of images with five steps, drawn many times from each picture; audits of texts.
    """

    things: Count
    pairs: Count
    checks: Count
    outside: Count
    outside_most: Rate
    audits: Count
    accused: Count
    accused_most: Rate

    def __str__(self) -> str:
        return (
            f"{self.accused} of {self.audits} audits accused (at most {self.accused_most:.2g}), {self.outside} of "
            f"{self.checks} checks outside (at most {self.outside_most:.2g}); {self.things} pictures or texts of "
            f"{self.pairs} pairs of kinds"
        )


@dataclass(frozen=True)
class ImageBands:
    """What was measured of the images of one dtype.

    Parameters
    ----------
    models
        The digests of the models.
    kinds
        The pairs of kinds of machine, each in alphabetical order.
    sizes
        Width and height of the pictures.
    pictures, steps
        How many.
    room
        All limits are so many times as wide. Above 1 where cheats were measured too, and are that far off: half the
        way to the nearest, in logarithms.
    statistics
        The spreads of `PREDICTION` and `PICTURE`.
    means
        The spreads of the means of several steps of `PREDICTION`.
    latents
        By scheduler, the spread of the latents that follow from a prediction.
    schedulers
        How many pictures each scheduler has.
    rates
        Of the very pictures that the band was made from.
    held_out
        Of pictures under bands that were made without their kind of machine and their half of the prompts; None where
        there are too few.
    """

    models: tuple[Name, ...]
    kinds: tuple[tuple[Name, Name], ...]
    sizes: tuple[tuple[Count, Count], ...]
    pictures: Count
    steps: Count
    room: Annotated[float, Field(ge=1, allow_inf_nan=False)]
    statistics: Mapping[Name, Spread]
    means: Mapping[Name, MeanSpread]
    latents: Mapping[Name, Spread]
    schedulers: Mapping[Name, Count]
    rates: AlarmRates | None = None
    held_out: AlarmRates | None = None

    def band(self, scheduler: str, uncalibrated: str = "", doubt: float = 1.0) -> Band | None:
        """Return the band of a scheduler; None where none of its steps were measured."""
        if scheduler not in self.latents:
            return None
        spreads = {**self.statistics, "latent": self.latents[scheduler]}
        return Band(spreads, self.means, self.room, uncalibrated, doubt)

    def doubt(self, dtype: str) -> float:
        """Return how many times the limit honest machines may be off that the band was not made for."""
        return max(1.0, _WIDEST_OFF[dtype] / self.room)
