"""How far a node's step is from the auditor's, in numbers (`crynux_validate.audits.image.Errors`)."""

import math
from dataclasses import dataclass

import torch

from crynux_validate.audits.image import DIRECTED_FROM, REUSED_FROM, Along, Errors

FIELD = 4
"""Values to a side of a field that is averaged."""


@dataclass(frozen=True)
class Computed:
    """What an auditor computed of one step.

    Parameters
    ----------
    again
        The prediction that the node's is compared with, shape (1, channels, height, width): in float32.
    own
        The same in the task's dtype; None where that is float32.
    guidance
        The prediction with the prompt less that without; None without guidance.
    other
        The prediction of another model; None where none is asked for.
    """

    again: torch.Tensor
    own: torch.Tensor | None
    guidance: torch.Tensor | None
    other: torch.Tensor | None


def compare(told: torch.Tensor, before: torch.Tensor | None, computed: Computed, latent: float) -> Errors:
    """Compare a prediction with the auditor's, of which some bits are other than in the task's dtype.

    Parameters
    ----------
    told
        The node's, shape (1, channels, height, width).
    before
        The node's of the step before; None in the first step.
    computed
        The auditor's.
    latent
        How far the latent is off that follows.
    """
    again = wide(computed.again)
    off, length = wide(told) - again, norm(again)
    rounding = 0.0 if computed.own is None else norm(wide(computed.own) - again)
    unit = rounding if computed.own is not None else length
    shortest = DIRECTED_FROM * length

    def along(direction: torch.Tensor | None, least: float = shortest) -> Along | None:
        size = 0.0 if direction is None else norm(direction)
        if direction is None or not size > least:
            return None
        inner = float((off * direction).sum())
        return Along(share(inner / size, unit), inner / size**2)

    return Errors(
        equal=False,
        length=share(norm(off), length),
        prediction=share(norm(off), unit),
        smooth=share(norm(smooth(off)) * FIELD, unit),
        latent=latent,
        guidance=along(None if computed.guidance is None else wide(computed.guidance)),
        reuse=along(None if before is None else wide(before) - again, max(shortest, REUSED_FROM * rounding)),
        against=along(None if computed.other is None else wide(computed.other) - again, 0.0),
    )


def smooth(values: torch.Tensor) -> torch.Tensor:
    """The means of fields of `FIELD` x `FIELD` values; what is left over at the edges is left out."""
    sides = [min(FIELD, side) for side in values.shape[-2:]]
    return torch.nn.functional.avg_pool2d(values, sides)


def wide(values: torch.Tensor) -> torch.Tensor:
    """Values as float64 on the CPU."""
    return values.detach().cpu().double()


def norm(values: torch.Tensor) -> float:
    """The length of values."""
    return float(wide(values).norm())


def share(part: float, whole: float) -> float:
    """A part of a whole; infinite where the auditor got no numbers, or nothing."""
    if part == 0:
        return 0.0
    return part / whole if whole and math.isfinite(part) and math.isfinite(whole) else math.inf
