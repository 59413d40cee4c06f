"""What an audit says of an image: from the numbers of each step to a finding (protocol U5)."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from crynux_validate.answers import ImageScore
from crynux_validate.audits.bands import Band
from crynux_validate.audits.findings import AuditFinding, answer_hex
from crynux_validate.encoding import summary

NAMED_FROM: Final = 0.9999
"""A direction is named where at least this share of the square of a prediction's error lies in it.

With another prompt the prediction of the step before is off alike (0.9996 was measured), and most of the error is along
guidance (0.997).
"""


DIRECTED_FROM: Final = 0.01
"""A direction is looked at where it has at least this share of the prediction's length.

Where both prompts are nearly the same, or two steps, honest noise is many times the way between their predictions.
"""


class Direction(StrEnum):
    """In which direction a step that is no honest one is off."""

    GUIDANCE = "guidance"
    """Its prediction is that of another guidance scale."""
    REUSE = "fewer steps"
    """Its prediction is that of the step before, or near to it: it was not computed."""
    SCHEDULER = "scheduler"
    """Its prediction is right, and the latent does not follow from it."""
    OTHER = "other"
    """Anything else: another model or prompt, rounded weights, predictions that were made up."""


@dataclass(frozen=True)
class Errors:
    """How far a node's step is from the auditor's.

    Parameters
    ----------
    equal
        Whether all bits are equal.
    prediction
        Distance of the predictions, as a share of the length of the auditor's.
    latent
        Distance of the latents that follow, both from the node's prediction, as a share of the auditor's length, or of
        what the step moved where that is more.
    guidance
        How much larger the node's guidance scale would have to be; None without guidance, and where it changes little
        (`DIRECTED_FROM`).
    reuse
        How far the node's prediction is on the way to that of the step before, 0 to 1; None in the first step, and
        where these two are nearly the same.
    guidance_share, reuse_share
        Which share of the square of the prediction's error lies in these directions; None where there is no such.
    """

    equal: bool
    prediction: float
    latent: float
    guidance: float | None
    reuse: float | None
    guidance_share: float | None
    reuse_share: float | None


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
    """

    finding: AuditFinding
    off: float | None
    reason: str = ""
    peak: int | None = None


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
    """

    step: int
    finding: AuditFinding
    errors: Errors
    direction: Direction | None = None
    reason: str = ""


@dataclass(frozen=True)
class ImageAudit:
    """What an audit of one image says.

    Parameters
    ----------
    task
        The task's digest.
    answer
        The answer that was audited.
    image
        The number of the image.
    steps
        What is said of each drawn step.
    first
        Whether the first latent is that of the task's seed.
    picture
        Whether the picture is what the last latent decodes to, and its hash that of the answer.
    band
        What honest machines may be apart; None where nothing was measured with this dtype and scheduler. Each of its
        limits is of the number of the same name.
    """

    task: str
    answer: ImageScore
    image: int
    steps: tuple[StepAudit, ...]
    first: PartAudit
    picture: PartAudit
    band: Band | None

    @property
    def calibrated(self) -> bool:
        """Whether the band is of this pair of kinds; otherwise it is the widest of its dtype and scheduler."""
        return self.band is not None and self.band.calibrated

    @property
    def finding(self) -> AuditFinding:
        """The gravest of all findings: ``CHEAT``, then ``INCOMPARABLE``, ``NOISE``, ``MATCH``.

        A picture that the proof does not show is ``INCOMPARABLE``, or a node with a false one would not show it.
        """
        found = {self.first.finding, self.picture.finding, *(step.finding for step in self.steps)}
        return next(one for one in _GRAVEST_FIRST if one in found)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "task_digest": self.task,
            "answer": answer_hex(self.answer),
            "image": self.image,
            "finding": self.finding.value,
            "calibrated": self.calibrated,
            "band": None if self.band is None else asdict(self.band),
            "first": _part(self.first),
            "steps": [_step(step) for step in self.steps],
            "picture": _part(self.picture),
        }

    def __repr__(self) -> str:
        return summary(self, f"of image {self.image}", self.finding, f"task {self.task[:12]}")

    def __str__(self) -> str:
        lines = [f"image {self.image}: {self.finding}{'' if self.calibrated else ', uncalibrated'}"]
        lines.append(_line("first latent", self.first.finding, self.first.reason))
        lines += [_line(f"step {step.step}", step.finding, step.reason) for step in self.steps]
        return "\n".join([*lines, _line("picture", self.picture.finding, self.picture.reason)])


_GRAVEST_FIRST: Final = (AuditFinding.CHEAT, AuditFinding.INCOMPARABLE, AuditFinding.NOISE, AuditFinding.MATCH)


def judge_step(step: int, errors: Errors, band: Band | None) -> StepAudit:
    """Say what a step's errors mean, with the band of its dtype, scheduler and pair of kinds."""
    if errors.equal:
        return StepAudit(step, AuditFinding.MATCH, errors)
    if band is None:
        return StepAudit(
            step, AuditFinding.INCOMPARABLE, errors, None, "other bits, and no band for this dtype and scheduler"
        )
    aside = max(_aside(errors, band), key=lambda one: one[0], default=(0.0, Direction.OTHER))
    if not errors.prediction <= band.prediction or aside[0] > 1:
        direction, how = _direction(errors, aside[1] if errors.prediction <= band.prediction else Direction.OTHER)
        said = (
            f"the prediction is off by {errors.prediction:.2g} of its length, honest machines by {band.prediction:.2g}"
        )
        return StepAudit(step, AuditFinding.CHEAT, errors, direction, f"{said}; {how}")
    if not errors.latent <= band.latent:
        said = f"{errors.latent:.2g} of its length, honest machines by {band.latent:.2g}"
        reason = f"the latent does not follow from the prediction: off by {said}"
        return StepAudit(step, AuditFinding.CHEAT, errors, Direction.SCHEDULER, reason)
    return StepAudit(step, AuditFinding.NOISE, errors, None, f"off by {errors.prediction:.2g}, as honest machines are")


def _aside(errors: Errors, band: Band) -> Iterator[tuple[float, Direction]]:
    """How many times its band an error is in each known direction: a small error can lie in one direction whole."""
    if errors.guidance is not None:
        yield _times(errors.guidance, band.guidance), Direction.GUIDANCE
    if errors.reuse is not None:
        yield _times(errors.reuse, band.reuse), Direction.REUSE


def _times(error: float, band: float) -> float:
    if error == 0:
        return 0.0
    return abs(error) / band if band else math.inf


def _direction(errors: Errors, otherwise: Direction) -> tuple[Direction, str]:
    """The direction that most of the error lies in, with what it means."""
    direction = otherwise
    if (errors.guidance_share or 0) >= NAMED_FROM:
        direction = Direction.GUIDANCE
    if (errors.reuse_share or 0) >= NAMED_FROM:
        direction = Direction.REUSE
    if direction is Direction.GUIDANCE:
        return direction, f"as if the guidance scale were off by {errors.guidance:+.2g}"
    if direction is Direction.REUSE:
        return direction, f"by {errors.reuse:.0%} of the way to the prediction of the step before"
    return direction, "in no known direction"


def _line(what: str, finding: AuditFinding, reason: str) -> str:
    return f"  {what:<12} {finding:<12} {reason}".rstrip()


def _part(part: PartAudit) -> dict[str, Any]:
    return {"finding": part.finding.value, "off": part.off, "peak": part.peak, "reason": part.reason}


def _step(step: StepAudit) -> dict[str, Any]:
    return {
        "step": step.step,
        "finding": step.finding.value,
        "prediction": _number(step.errors.prediction),
        "latent": _number(step.errors.latent),
        "direction": None if step.direction is None else step.direction.value,
        "guidance": step.errors.guidance,
        "reuse": step.errors.reuse,
        "reason": step.reason,
    }


def _number(value: float) -> float | None:
    """A number as JSON has it: none that is infinite."""
    return value if math.isfinite(value) else None


__all__ = ["DIRECTED_FROM", "Direction", "Errors", "ImageAudit", "PartAudit", "StepAudit", "judge_step"]
