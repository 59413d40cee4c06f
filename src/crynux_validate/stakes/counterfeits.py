"""The counterfeits that a stake must deter: a blind one, or the cheats that a calibration measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from crynux_validate.calibration.recommendation import Recommendation
from crynux_validate.calibration.result import Calibration
from crynux_validate.encoding import check_type, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.judging import DEFAULT_THRESHOLD, CentreRule
from crynux_validate.stakes.agreement import SOURCES, Source, check_images, exact_false_accept_rate
from crynux_validate.stakes.numbers import exact

Threshold = int | Literal["default"] | None
"""1 to 64; None for text; ``default`` for 16, or for the recommendation of a calibration."""

DEFAULT_SOURCE: Final = SOURCES[0]
DEFAULT_GROUP_SIZE: Final = 3


@dataclass(frozen=True)
class Counterfeit:
    """The chances of a counterfeit in a group in which colluders are not a quorum.

    Parameters
    ----------
    threshold, slash_threshold, images, source
        The conditions of the chances; threshold and slash threshold are None for text, source also for a calibration.
    cheat
        The name of the cheat in the calibration; None for a blind counterfeit.
    f
        The chance that the counterfeit agrees with the honest answers.
    slashed
        The chance that it is slashed if the honest members that are present are a quorum.
    """

    threshold: int | None
    slash_threshold: int | None
    images: int
    source: Source | None
    cheat: str | None
    f: Fraction
    slashed: Fraction


def counterfeits(
    threshold: Threshold,
    slash_threshold: int | None,
    images: int | None,
    source: Source | None,
    calibration: Calibration | None,
    cheats: Sequence[str] | None,
) -> tuple[Counterfeit, ...]:
    """Return the counterfeits that a stake must deter: one blind one, or the given cheats; at least one.

    Parameters and errors as for `required_stake`.
    """
    if calibration is not None:
        return _measured(threshold, slash_threshold, images, source, calibration, cheats)
    if cheats is not None:
        raise InvalidInputError(
            f"cheats is {shorten(cheats)} without a calibration; give the calibration that measured them"
        )
    images = check_images(1 if images is None else images)
    if threshold is None:
        if slash_threshold is not None:
            raise InvalidInputError(
                f"slash_threshold is {shorten(slash_threshold)}, but there is no threshold; text tasks need neither"
            )
        return (Counterfeit(None, None, images, None, None, Fraction(0), Fraction(1)),)
    rule = CentreRule(DEFAULT_THRESHOLD if threshold == "default" else threshold, slash_threshold)
    source = DEFAULT_SOURCE if source is None else source
    near = exact_false_accept_rate(rule.threshold, images, source)
    far = 1 - exact_false_accept_rate(rule.slashes_from, images, source)
    return (Counterfeit(rule.threshold, rule.slashes_from, images, source, None, near, far),)


def _measured(
    threshold: Threshold,
    slash_threshold: int | None,
    images: int | None,
    source: Source | None,
    calibration: Calibration,
    cheats: Sequence[str] | None,
) -> tuple[Counterfeit, ...]:
    """The ends of the intervals that need the larger stake."""
    check_type(calibration, Calibration, "calibration", "a Calibration: of calibrate, or Calibration.load(file)")
    if threshold is None:
        raise InvalidInputError(
            "threshold is None, which means text tasks, but a calibration is for images; leave one of them out"
        )
    if source is not None:
        raise InvalidInputError(f"source is {shorten(source)}, and there is a calibration; leave one of them out")
    calibration.check_fits(images=images)
    if threshold == "default":
        found = recommended(calibration)
        threshold = found.threshold
        slash_threshold = found.slash_threshold if slash_threshold is None else slash_threshold
    rule = CentreRule(threshold, slash_threshold)
    names = calibration.cheats if cheats is None else _named(cheats)
    if not names:
        raise InvalidInputError("cheats is empty, or the calibration has no cheats; calibrate with answers of cheats")
    made = []
    for name in names:
        rates = calibration.cheat(name, rule.threshold, rule.slashes_from)
        near, far = exact(rates.accept.high, "a rate"), exact(rates.slash.low, "a rate")
        made.append(Counterfeit(rule.threshold, rule.slashes_from, calibration.images, None, name, near, far))
    return tuple(made)


def recommended(calibration: Calibration) -> Recommendation:
    """Return the thresholds that a calibration recommends.

    Raises
    ------
    InvalidInputError
        If the calibration recommends none.
    """
    found = calibration.recommendation
    if not isinstance(found, Recommendation):
        raise InvalidInputError(
            f"the calibration recommends no thresholds: {found}; collect more answers, or choose a threshold yourself"
        )
    return found


def _named(cheats: object) -> Sequence[str]:
    if isinstance(cheats, str) or not isinstance(cheats, Sequence):
        raise InvalidInputError(f"cheats is {shorten(cheats)}; expected a list of names")
    return cheats
