"""How far honest machines are apart in one step: measured, and kept in a file that says with which versions."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

SCHEMA: Final = "crynux-validate/audit-bands/1"
PARTS: Final = ("prediction", "latent", "guidance", "reuse", "picture", "peak")
"""What is measured of honest machines."""

FLOOR: Final = 0.1
"""A pair's own band is at least this share of the widest: a pair that was never apart was not measured often enough."""


@dataclass(frozen=True)
class Band:
    """What honest machines of two kinds may be apart.

    Parameters
    ----------
    prediction
        The distance of two predictions, as a share of the length of the auditor's.
    latent
        The distance of two latents that follow from the same prediction, as a share of their length, or of what the
        step moved where that is more.
    guidance
        The error along the direction of guidance, as a difference of guidance scales.
    reuse
        The error along the way to the prediction of the step before, as a share of this way.
    picture, peak
        The root mean square and the largest of the distances of two pictures' samples, in levels of 0 to 255.
    calibrated
        Whether it was measured on this pair of kinds; otherwise it is the widest of its dtype and scheduler.
    """

    prediction: float
    latent: float
    guidance: float
    reuse: float
    picture: float
    peak: float
    calibrated: bool


def band_for(dtype: str, scheduler: str, kinds: tuple[str, str] | None = None) -> Band | None:
    """Return the band of a pair of kinds, or else the widest of the dtype and scheduler, marked as not calibrated.

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
    found = [row for row in load()["bands"] if (row["dtype"], row["scheduler"]) == (dtype, scheduler)]
    own = [row for row in found if kinds is not None and sorted(row["kinds"]) == sorted(kinds)]
    if not found:
        return None
    margins = load()["margins"][dtype]
    widest = {part: max(row[part] for row in found) for part in PARTS}
    measured = {part: max((row[part] for row in own), default=widest[part]) for part in PARTS}
    return Band(
        **{part: margins[part] * max(measured[part], widest[part] * FLOOR) for part in PARTS}, calibrated=bool(own)
    )


@cache
def load() -> Mapping[str, Any]:
    """Return the file of bands, ``bands.json`` beside this module: `python -m benchmarks.image_audits` writes it."""
    text = files("crynux_validate.audits").joinpath("bands.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


__all__ = ["FLOOR", "PARTS", "SCHEMA", "Band", "band_for", "load"]
