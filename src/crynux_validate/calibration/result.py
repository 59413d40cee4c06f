"""What a calibration says: rates for every threshold, with bounds, and what follows from them.

Needs neither numpy nor scipy: who sets a policy or a stake reads a saved calibration and asks it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from crynux_validate.algorithms import ImageAlgorithm
from crynux_validate.answers import check_threshold
from crynux_validate.calibration.fields import (
    MAX_NAMES,
    NO_OTHERS,
    Count,
    Limit,
    Positive,
    Role,
    Text,
    Texts,
    Threshold,
)
from crynux_validate.calibration.rates import (
    CheatRates,
    Curves,
    HonestRates,
    PairRates,
    Rates,
    place_of,
    slash_place,
)
from crynux_validate.calibration.recommendation import NotEnough, Recommendation
from crynux_validate.encoding import shorten, summary
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import CentreRule
from crynux_validate.judging.verdict import check_group_size
from crynux_validate.shown import Shown
from crynux_validate.tasks import MAX_IMAGES


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

    role: Role
    rule: Text
    margin: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] | None
    pairs: Count
    excluded: Count
    events: tuple[Count, ...]
    excluded_events: tuple[Count, ...]


@dataclass(frozen=True, repr=False)
class Calibration(Shown):
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

    __pydantic_config__: ClassVar = NO_OTHERS

    algorithm: ImageAlgorithm
    images: Annotated[int, Field(strict=True, ge=1, le=MAX_IMAGES)]
    group_size: Annotated[int, AfterValidator(check_group_size)]
    safety_checker: Annotated[bool, Field(strict=True)]
    confidence: Annotated[float, Field(strict=True, ge=0.5, le=0.9999)]
    false_reject_rate: Limit
    false_slash_rate: Limit
    models: Texts
    kinds: Texts
    merged: Mapping[Text, Texts] = field(hash=False)
    pictures: Mapping[Role, Positive] = field(hash=False)
    thresholds: tuple[Threshold, ...]
    groups: Mapping[Role, Curves] = field(hash=False)
    pairs: Mapping[Role, Curves] = field(hash=False)
    left_out: Annotated[tuple[Excluded, ...], Field(max_length=MAX_NAMES)]
    recommendation: Recommendation | NotEnough
    warnings: Texts
    versions: Mapping[Text, Text] = field(hash=False)
    seed: Count

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
        slash = CentreRule(threshold, slash_threshold).slashes_from
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
        """Return the rates of one cheat per group; raises `InvalidInputError` for one that was not measured."""
        if name not in self.cheats:
            known = ", ".join(self.cheats) or "none"
            raise InvalidInputError(f"the cheat {shorten(name)} was not measured; this calibration has {known}")
        return self.rates(threshold, slash_threshold).cheats[name]

    def place(self, threshold: int) -> int:
        """Return which of `thresholds`, from 0, stands for a threshold; raises `InvalidInputError` for what is none."""
        check_threshold(threshold, "threshold")
        return place_of(self.thresholds, threshold)

    def check_fits(
        self, *, algorithm: str | None = None, group_size: int | None = None, images: int | None = None
    ) -> None:
        """Raise `InvalidInputError` where it is used for something else than was measured; None does not matter."""
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
        """Read what `to_dict` made; raises `InvalidInputError` for fields or numbers that do not go together."""
        from crynux_validate.calibration.stored import from_dict

        return from_dict(value)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as JSON, whole or not at all; raises `InvalidInputError` where that is impossible."""
        from crynux_validate.calibration.stored import save

        save(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> "Calibration":
        """Read a file that `save` wrote; raises `InvalidInputError` where that is impossible, and as `from_dict`."""
        from crynux_validate.calibration.stored import load

        return load(path)

    def __repr__(self) -> str:
        found = f"{self.pictures['honest']} pictures, {len(self.kinds)} kinds"
        return summary(self, self.algorithm, f"groups of {self.group_size}", found, str(self.recommendation))

    def __str__(self) -> str:
        from crynux_validate.calibration.shown import text_of

        return text_of(self)
