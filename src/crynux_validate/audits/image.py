"""What an audit says of an image: from the numbers of each step to a finding (protocol U5)."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from crynux_validate.answers import ImageScore
from crynux_validate.audits.findings import AuditFinding, answer_hex, shown_band, told_band
from crynux_validate.audits.image_bands import PREDICTION, SIGNED, Band
from crynux_validate.encoding import summary
from crynux_validate.shown import Shown
from crynux_validate.tasks import ImageTask

DIRECTED_FROM: Final = 0.01
"""A direction is looked at where it has at least this share of the prediction's length.

Where both prompts are nearly the same, or two steps, honest noise is many times the way between their predictions.
"""

REUSED_FROM: Final = 2.0
"""The prediction of the step before is looked at where it is at least so many roundings away.

It is the node's own claim, so that its rounding is a part of this direction.
"""


class Direction(StrEnum):
    """In which direction a step that is no honest one is off."""

    GUIDANCE = "guidance"
    """Its prediction is that of another guidance scale."""
    REUSE = "fewer steps"
    """Its prediction is that of the step before, or near to it: it was not computed."""
    AGAINST = "hypothesis"
    """Its prediction is that of the other model that the auditor was asked to compare with."""
    SCHEDULER = "scheduler"
    """Its prediction is right, and the latent does not follow from it."""
    OTHER = "other"
    """Anything else: another model or prompt, rounded weights, predictions that were made up."""


@dataclass(frozen=True)
class Along:
    """How far an error lies in a known direction.

    Parameters
    ----------
    off
        In units of `Errors`; below 0 the other way.
    times
        As a multiple of the direction: a difference of guidance scales, a share of the way to another prediction.
    """

    off: float
    times: float


@dataclass(frozen=True)
class Errors:
    """How far a node's step is from the auditor's.

    In float32 the unit of distances is the length of the auditor's prediction. In float16 and bfloat16 the auditor
    computes each prediction twice, in the task's dtype and in float32; the node is compared with the latter, and the
    unit is the distance of these two: what the auditor's own machine rounds away in this very step.

    Parameters
    ----------
    equal
        Whether all bits are equal. All distances are 0 then.
    length
        Distance of the predictions, as a share of the length of the auditor's.
    prediction
        The same in units.
    smooth
        The distance that is left of it when fields of 4 x 4 values are averaged, times 4, in units: of the same size
        for noise that is different everywhere times 1/4.
    latent
        Distance of the latents that follow, both from the node's prediction, as a share of the auditor's length, or of
        what the step moved where that is more.
    guidance
        Along the direction of guidance; None without guidance, and where it changes little (`DIRECTED_FROM`).
    reuse
        Along the way to the prediction of the step before; None in the first step, and where that is near
        (`REUSED_FROM`).
    against
        Along the way to the prediction of another model; None where none is asked for.
    """

    equal: bool
    length: float
    prediction: float
    smooth: float
    latent: float
    guidance: Along | None = None
    reuse: Along | None = None
    against: Along | None = None

    def of(self, name: str) -> float | None:
        """Return a statistic by its name in `crynux_validate.audits.image_bands`, None where there is none."""
        found = getattr(self, name)
        return found.off if isinstance(found, Along) else found

    def shared(self, name: str) -> float | None:
        """Return what a mean of several steps takes: as `of`, and of a direction the share of the error, -1 to 1.

        The errors of honest machines are larger in some steps, in every direction: shares are not.
        """
        found = self.of(name)
        if found is None or name not in SIGNED:
            return found
        return found / self.prediction if self.prediction else 0.0


SAME: Final = Errors(equal=True, length=0.0, prediction=0.0, smooth=0.0, latent=0.0)
"""Of a step with equal bits."""


@dataclass(frozen=True)
class PartAudit:
    """What is said of a part that is no step: the first latent, or the picture.

    Parameters
    ----------
    finding
        What is said of it.
    off
        How far it is off: of the first latent as a share of its length, of the picture the root mean square in levels
        of 0 to 255; None where it was not computed.
    reason
        Why, in words, where the finding alone does not say it.
    peak
        Of a picture the largest distance of a sample, in levels.
    times
        How far it is off, as a multiple of what honest machines may be: of its numbers the one that is furthest. Above
        1 it is a ``CHEAT``; None where that cannot be said.
    """

    finding: AuditFinding
    off: float | None
    reason: str = ""
    peak: int | None = None
    times: float | None = None


@dataclass(frozen=True)
class StepAudit:
    """What is said of one step.

    Parameters
    ----------
    step
        The step, counted from 0.
    finding
        What is said of it.
    errors
        The numbers that it follows from.
    direction
        Of a ``CHEAT``: in which direction it is off.
    reason
        Why, in words.
    times
        How far it is off, as a multiple of what honest machines may be: of its numbers the one that is furthest. Above
        1 it is a ``CHEAT``; None where that cannot be said.
    """

    step: int
    finding: AuditFinding
    errors: Errors
    direction: Direction | None = None
    reason: str = ""
    times: float | None = None


@dataclass(frozen=True)
class TogetherAudit:
    """What is said of all drawn steps together that have other bits.

    Parameters
    ----------
    finding
        What is said of them.
    steps
        How many they are.
    direction
        Of a ``CHEAT``: in which direction their mean is off.
    reason
        Why, in words.
    times
        How far it is off, as a multiple of what honest machines may be: of its numbers the one that is furthest. Above
        1 it is a ``CHEAT``; None where that cannot be said.
    """

    finding: AuditFinding
    steps: int
    direction: Direction | None = None
    reason: str = ""
    times: float | None = None


@dataclass(frozen=True)
class ImageAudit(Shown):
    """What an audit of one image says.

    Parameters
    ----------
    task
        The task.
    answer
        The answer that was audited.
    image
        The number of the image.
    steps
        What is said of each drawn step.
    together
        What is said of their mean: small errors that all steps share show there. None where fewer than two steps have
        other bits, and without a band.
    first
        Whether the first latent is that of the task's seed.
    picture
        Whether the picture is what the last latent decodes to, and its hash that of the answer.
    uncalibrated
        Why the band was not made for what was audited (other versions, model or kinds of machine), or why there is
        none; empty where it was made for it.
    kinds
        The names of the node's kind of machine and of the auditor's; None where they were not given.
    versions
        Of the auditor's packages.
    """

    task: ImageTask
    answer: ImageScore
    image: int
    steps: tuple[StepAudit, ...]
    together: TogetherAudit | None
    first: PartAudit
    picture: PartAudit
    uncalibrated: str = ""
    kinds: tuple[str, str] | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def calibrated(self) -> bool:
        """Whether the band was made for what was audited."""
        return not self.uncalibrated

    @property
    def finding(self) -> AuditFinding:
        """The gravest of all findings: ``CHEAT``, then ``INCOMPARABLE``, ``NOISE``, ``MATCH``.

        A picture that the proof does not show is ``INCOMPARABLE``, or a node with a false one would not show it.
        """
        found = {self.first.finding, self.picture.finding, *(step.finding for step in self.steps)}
        found |= set() if self.together is None else {self.together.finding}
        return next(one for one in _GRAVEST_FIRST if one in found)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "task_digest": self.task.digest,
            "task": self.task.to_dict(),
            "answer": answer_hex(self.answer),
            "image": self.image,
            "finding": self.finding.value,
            **told_band(self.uncalibrated, self.kinds, self.versions),
            "first": _part(self.first),
            "steps": [_step(step) for step in self.steps],
            "together": None if self.together is None else _together(self.together),
            "picture": _part(self.picture),
        }

    def __repr__(self) -> str:
        return summary(self, f"of image {self.image}", self.finding, f"task {self.task.digest[:12]}")

    def __str__(self) -> str:
        lines = [f"image {self.image}: {self.finding}{shown_band(self.uncalibrated)}"]
        lines.append(_line("first latent", self.first.finding, self.first.reason))
        lines += [_line(f"step {step.step}", step.finding, step.reason) for step in self.steps]
        if self.together is not None:
            lines.append(_line(f"{self.together.steps} steps", self.together.finding, self.together.reason))
        return "\n".join([*lines, _line("picture", self.picture.finding, self.picture.reason)])


_GRAVEST_FIRST: Final = (AuditFinding.CHEAT, AuditFinding.INCOMPARABLE, AuditFinding.NOISE, AuditFinding.MATCH)


def judge_step(step: int, errors: Errors, band: Band | None) -> StepAudit:
    """Say what a step's errors mean, with the band of its dtype, scheduler and pair of kinds."""
    if errors.equal:
        return StepAudit(step, AuditFinding.MATCH, errors, times=0.0)
    if band is None:
        reason = "other bits, and no band for such tasks (dtype, scheduler, pictures)"
        return StepAudit(step, AuditFinding.INCOMPARABLE, errors, None, reason)
    found = {name: value for name in _judged(band) if (value := errors.of(name)) is not None}
    off, followed = {name: band.times(name, found[name]) for name in found}, band.times("latent", errors.latent)
    times, outside = max(*off.values(), followed), [name for name in found if off[name] > 1]
    finding = band.finding(times)
    if outside:
        direction, how = _direction(errors, band)
        spread = band.spreads[outside[0]]
        reason = f"{_said(_WHAT[outside[0]], found[outside[0]], spread.centre, spread.limit() * band.room)}; {how}"
    elif followed > 1:
        direction = Direction.SCHEDULER
        said = f"{errors.latent:.2g} of its length, honest machines by {band.most('latent'):.2g}"
        reason = f"the latent does not follow from the prediction: off by {said}"
    else:
        return StepAudit(step, finding, errors, None, f"off by {errors.length:.2g}, as honest machines are", times)
    if finding is AuditFinding.INCOMPARABLE:
        return StepAudit(step, finding, errors, None, f"{reason}{_DOUBT}", times)
    return StepAudit(step, finding, errors, direction, reason, times)


def judge_together(steps: Iterable[Errors], band: Band | None) -> TogetherAudit | None:
    """Say what the mean of several steps' errors says; None for fewer than two with other bits, and without a band.

    A value that is far off counts for less in the mean (`MeanSpread`): single steps are judged by `judge_step`.
    """
    other = [errors for errors in steps if not errors.equal]
    if band is None or len(other) < 2:
        return None
    worst, mean, count, times = furthest_mean(other, band)
    spread, finding = band.means[worst], band.finding(times)
    what = f"{_WHAT[worst]}, in shares of each error," if worst in SIGNED else _WHAT[worst]
    said = _said(what, mean, spread.centre, spread.limit(count) * band.room)
    if finding is AuditFinding.CHEAT:
        return TogetherAudit(finding, len(other), _NAMED.get(worst, Direction.OTHER), said, times)
    reason = "as honest machines are" if finding is AuditFinding.NOISE else f"{said}{_DOUBT}"
    return TogetherAudit(finding, len(other), None, reason, times)


def furthest_mean(steps: Sequence[Errors], band: Band) -> tuple[str, float, int, float]:
    """Return the statistic of which the mean is furthest off: name, mean, number of steps, and times its limit."""
    found = []
    for name in band.means:
        values = [value for errors in steps if (value := errors.shared(name)) is not None]
        if len(values) > 1:
            found.append((name, band.mean(name, values), len(values), band.times_together(name, values)))
    return max(found, key=lambda one: one[3])


def _judged(band: Band) -> list[str]:
    """The statistics of a prediction that were measured of honest machines."""
    return [name for name in PREDICTION if name in band.spreads]


_NAMED: Final = {"guidance": Direction.GUIDANCE, "reuse": Direction.REUSE, "against": Direction.AGAINST}

_DOUBT: Final = "; too little to accuse a node by a band that was not made for this"

_WHAT: Final = {
    "prediction": "the prediction",
    "smooth": "the prediction, averaged over fields,",
    "guidance": "along guidance the prediction",
    "reuse": "on the way to the step before the prediction",
    "against": "on the way to the other model the prediction",
}


def _said(what: str, value: float, centre: float, limit: float) -> str:
    honest = f"{centre:.2g} and {limit:.2g} at most from it"
    return f"{what} is off by {value:.2g}, honest machines by {honest}"


def _direction(errors: Errors, band: Band) -> tuple[Direction, str]:
    """The direction in which an error is too large, where little more than honest noise is left without it."""
    found: list[tuple[float, str, Along]] = []
    for name in _NAMED:
        along: Along | None = getattr(errors, name)
        if along is not None and name in band.spreads and band.times(name, along.off) > 1:
            left = math.sqrt(max(errors.prediction**2 - along.off**2, 0.0))
            if not band.times("prediction", left) > 1:
                found.append((abs(along.off), name, along))
    if not found:
        return Direction.OTHER, "in no known direction"
    _, name, along = max(found, key=lambda one: one[0])
    how = {
        "guidance": f"as if the guidance scale were off by {along.times:+.2g}",
        "reuse": f"by {along.times:.0%} of the way to the prediction of the step before",
        "against": f"by {along.times:.0%} of the way to the prediction of the other model",
    }
    return _NAMED[name], how[name]


def _line(what: str, finding: AuditFinding, reason: str) -> str:
    return f"  {what:<12} {finding:<12} {reason}".rstrip()


def _part(part: PartAudit) -> dict[str, Any]:
    return {
        "finding": part.finding.value,
        "off": None if part.off is None else _number(part.off),
        "peak": part.peak,
        "times": _number(part.times),
        "reason": part.reason,
    }


def _step(step: StepAudit) -> dict[str, Any]:
    return {
        "step": step.step,
        "finding": step.finding.value,
        "times": _number(step.times),
        "length": _number(step.errors.length),
        "prediction": _number(step.errors.prediction),
        "smooth": _number(step.errors.smooth),
        "latent": _number(step.errors.latent),
        "direction": None if step.direction is None else step.direction.value,
        "guidance": _along(step.errors.guidance),
        "reuse": _along(step.errors.reuse),
        "against": _along(step.errors.against),
        "reason": step.reason,
    }


def _together(found: TogetherAudit) -> dict[str, Any]:
    return {
        "finding": found.finding.value,
        "steps": found.steps,
        "times": _number(found.times),
        "direction": None if found.direction is None else found.direction.value,
        "reason": found.reason,
    }


def _along(along: Along | None) -> dict[str, Any] | None:
    return None if along is None else {"off": _number(along.off), "times": _number(along.times)}


def _number(value: float | None) -> float | None:
    """A number as JSON has it: none that is infinite."""
    return value if value is not None and math.isfinite(value) else None
