"""How far honest machines are off in one step, and in several together: measured, and kept in a file with versions."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

SCHEMA: Final = "crynux-validate/audit-bands/3"

SIGNED: Final = ("guidance", "reuse", "against")
"""Statistics of a prediction that lie on both sides of honest ones."""

PREDICTION: Final = ("prediction", "smooth", *SIGNED)
"""Statistics of a prediction; their mean over several steps is judged as well."""

PICTURE: Final = ("picture", "peak")
"""Statistics of a picture."""


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
    room
        The limit is so many times as wide.
    cut
        In a mean of several steps a value further from the centre counts as one at that distance, or a single honest
        step that is far off would make the limit of all means wide. Infinite where nothing is cut.
    """

    centre: float
    between: float
    within: float
    reach: float
    least: float = 0.0
    room: float = 1.0
    cut: float = math.inf

    def mean(self, values: Sequence[float]) -> float:
        """Return the mean of values, each cut at its largest distance from the centre; NaN where one is NaN."""
        most = self.cut * self.room
        return sum(
            value if math.isnan(value) else self.centre + min(max(value - self.centre, -most), most) for value in values
        ) / len(values)

    def limit(self, steps: int = 1) -> float:
        """Return how far from the centre the mean of so many steps may be."""
        measured = self.reach * math.sqrt(self.between**2 + self.within**2 / steps)
        return max(measured, self.least) * self.room

    def times(self, value: float, steps: int = 1, *, signed: bool = False) -> float:
        """Return how many times the limit a mean of so many steps is from the centre: above 1 no honest machine.

        Parameters
        ----------
        value
            The mean; infinite or NaN are infinitely far.
        steps
            Of how many steps.
        signed
            Whether less than the centre counts as well.
        """
        off, limit = value - self.centre, self.limit(steps)
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
    calibrated
        Whether the pair of kinds was measured.
    """

    spreads: Mapping[str, Spread]
    means: Mapping[str, Spread]
    calibrated: bool

    def times(self, name: str, value: float) -> float:
        """Return how many times its limit a statistic of one step is from honest ones."""
        return self.spreads[name].times(value, signed=name in SIGNED)

    def times_together(self, name: str, values: Sequence[float]) -> float:
        """Return how many times its limit the mean of several steps is from honest ones."""
        spread = self.means[name]
        return spread.times(spread.mean(values), len(values), signed=name in SIGNED)

    def most(self, name: str) -> float:
        """Return the largest value of a statistic of one step that is honest."""
        spread = self.spreads[name]
        return spread.centre + spread.limit()


def band_for(dtype: str, scheduler: str, kinds: tuple[str, str] | None = None) -> Band | None:
    """Return the band of a dtype and scheduler.

    It is made from all pairs of kinds that were measured together; kinds that are not among them get the same one,
    marked as not calibrated. Where all cheats are many times further off than honest machines, in float32, the limits
    are wider by the dtype's room: other models round otherwise.

    Parameters
    ----------
    dtype, scheduler
        The task's.
    kinds
        The names of the node's kind and of the auditor's, as in the file; None where they are not known.

    Returns
    -------
    Band or None
        None where nothing was measured with this dtype and scheduler.
    """
    row = load()["bands"].get(dtype)
    if row is None or scheduler not in row["latents"]:
        return None
    measured = {**row["statistics"], "latent": row["latents"][scheduler]}
    calibrated = kinds is not None and sorted(kinds) in row["kinds"]
    # One level of one sample is the same for every model.
    rooms = {name: 1.0 if name == "peak" else row["room"] for name in measured}
    spreads = {name: Spread(**numbers, room=rooms[name]) for name, numbers in measured.items()}
    means = {name: Spread(**numbers, room=row["room"]) for name, numbers in row["means"].items()}
    return Band(spreads, means, calibrated)


@cache
def load() -> Mapping[str, Any]:
    """Return the file of bands, ``bands.json`` beside this module: `python -m benchmarks.image_audits` writes it."""
    text = files("crynux_validate.audits").joinpath("bands.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


__all__ = ["PICTURE", "PREDICTION", "SCHEMA", "SIGNED", "Band", "Spread", "band_for", "load"]
