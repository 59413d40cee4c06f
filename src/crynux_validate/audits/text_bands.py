"""How far honest texts are from a float32 reference: what an audit of text takes for noise (docs/audits.md, "Texts").

The sum of the clipped margins of a text's first n tokens may be `start` + `slope` * n. `rate`, `slope` and `start`
belong together: where honest margins m have a mean of exp(rate * (m - slope)) of at most 1, whatever came before, the
sum crosses that line at any n with a probability of at most exp(-rate * start) (Ville's inequality). So one may look
after every token, and stop.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Self

from crynux_validate.encoding import check_type, parse_json, shorten
from crynux_validate.errors import InvalidInputError
from crynux_validate.tasks import DTYPES, TextTask

FORMAT: Final = "crynux-validate/text-bands/1"
MAX_BYTES: Final = 1_000_000

_ALONE: Final = 4.0
"""How many times what one token counts its margin may be: honest ones stay below once."""


@dataclass(frozen=True)
class TextBand:
    """What honest texts of one dtype are like.

    Parameters
    ----------
    clip
        The most that one token counts in the sum; less than `start`, so that no odd honest token condemns a text.
    slope, start, rate
        Of the sum of clipped margins, in logits; `rate` is one over logits.
    top_mean, top_between, top_within
        Of the logarithm of how far bound rows are from the reference's (root mean square, in logits): the mean, the
        standard deviation between texts, and that between the positions of a text.
    top_range
        How many standard deviations are honest, on both sides.
    """

    clip: float
    slope: float
    start: float
    rate: float
    top_mean: float
    top_between: float
    top_within: float
    top_range: float

    def most(self, tokens: int) -> float:
        """The largest honest sum of the margins of so many tokens."""
        return self.start + self.slope * tokens

    @property
    def alone(self) -> float:
        """The largest margin of a single token: far above any honest one, so that no token is the node's free choice.

        The sum alone would let one token of any margin pass, since it counts as `clip`: an end at the start, for one.
        """
        return _ALONE * self.clip

    @property
    def against(self) -> float:
        """By how much a second hypothesis may explain an honest text better than its task does: half of `start`."""
        return self.start / 2

    def top_limits(self, positions: int) -> tuple[float, float]:
        """The least and the largest honest mean logarithm of so many positions."""
        away = self.top_range * math.hypot(self.top_between, self.top_within / math.sqrt(positions))
        return self.top_mean - away, self.top_mean + away


@dataclass(frozen=True)
class TextBands:
    """Bands by dtype, and what they were made from.

    Parameters
    ----------
    bands
        For each dtype that was measured its band.
    made
        What they hold for, and what they were made from: JSON values. ``models`` are the digests of the models that
        were measured, ``versions`` those of the packages.
    """

    bands: Mapping[str, TextBand]
    made: Mapping[str, Any]

    def __post_init__(self) -> None:
        check_type(self.bands, Mapping, "bands", "a TextBand for each dtype")
        check_type(self.made, Mapping, "made", "a mapping of what they were made from")
        for dtype, band in self.bands.items():
            check_type(band, TextBand, f"the band {shorten(dtype)}", "a TextBand")

    def of(self, task: TextTask) -> tuple[TextBand, bool] | None:
        """Return the band for a task, and whether it was made from its model and dtype; None where there is none.

        A dtype without a band gets that of bfloat16, the noisiest.
        """
        check_type(task, TextTask, "the task", "a TextTask")
        band = self.bands.get(task.dtype)
        if band is not None:
            # Weights of 4 or 8 bits are another model: no band was made from one.
            return band, task.quantize_bits is None and task.model.digest in self.made.get("models", ())
        found = self.bands.get("bfloat16")
        return None if found is None else (found, False)

    def to_json(self) -> str:
        """Return what `from_json` reads."""
        bands = {dtype: vars(band) for dtype, band in self.bands.items()}
        try:
            return json.dumps({"format": FORMAT, "made": dict(self.made), "bands": bands}, indent=1) + "\n"
        except (TypeError, ValueError) as error:
            raise InvalidInputError(f"made is {shorten(self.made)}; expected JSON values") from error

    @classmethod
    def from_json(cls, data: str | bytes) -> Self:
        """Read bands; raises `InvalidInputError` for anything that `to_json` does not write."""
        value = parse_json(data, "the bands", MAX_BYTES)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InvalidInputError(
                f"the bands are not in the format {FORMAT}; python -m benchmarks.text_audits makes them"
            )
        made, bands = value.get("made"), value.get("bands")
        if not isinstance(made, dict) or not isinstance(bands, dict) or not bands:
            raise InvalidInputError("the bands have no made and bands; expected two objects")
        return cls({dtype: _band(dtype, band) for dtype, band in bands.items()}, made)


def _band(dtype: str, value: Any) -> TextBand:
    names = tuple(TextBand.__dataclass_fields__)
    if dtype not in DTYPES or not isinstance(value, dict) or set(value) != set(names):
        raise InvalidInputError(f"the band {shorten(dtype)} is {shorten(value)}; expected {', '.join(names)}")
    for name, number in value.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or (name != "top_mean" and number < 0):
            raise InvalidInputError(f"{name} of the band {dtype} is {shorten(number)}; expected a number of 0 or more")
    if not 0 < value["clip"] < value["start"]:
        raise InvalidInputError(
            f"clip of the band {dtype} is {value['clip']}; expected more than 0 and less than start"
        )
    return TextBand(**value)


@cache
def shipped_bands() -> TextBands:
    """Return the bands that this package carries."""
    return TextBands.from_json((files("crynux_validate") / "audits" / "text-bands.json").read_bytes())


def bands_or_shipped(bands: TextBands | None) -> TextBands:
    """Return the bands that a caller gave, or those of the package."""
    check_type(bands, (TextBands, type(None)), "bands", "TextBands, or None for those of this package")
    return shipped_bands() if bands is None else bands


__all__ = ["TextBand", "TextBands", "shipped_bands"]
