"""How far honest texts are from a float32 reference: what an audit of text takes for noise (docs/audits-of-texts.md).

The sum of the clipped margins of a text's first n tokens may be `start` + `slope` * n. `rate`, `slope` and `start`
belong together: where honest margins m have a mean of exp(rate * (m - slope)) of at most 1, whatever came before, the
sum crosses that line at any n with a probability of at most exp(-rate * start) (Ville's inequality). So one may look
after every token, and stop.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from pydantic import Field

from crynux_validate.audits.image_bands import AlarmRates, Count, Name, Number, Size

Above: TypeAlias = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]

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

    clip: Above
    slope: Size
    start: Above
    rate: Above
    top_mean: Number
    top_between: Size
    top_within: Size
    top_range: Above

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
    """What was measured of the texts of one dtype.

    Parameters
    ----------
    models
        The digests of the models.
    kinds
        The pairs of kinds of machine, each in alphabetical order.
    texts
        How many.
    tokens
        The least and the largest number of tokens of a text.
    band
        What the honest texts are like.
    rates, held_out
        As of `crynux_validate.audits.image_bands.ImageBands`.
    """

    models: tuple[Name, ...]
    kinds: tuple[tuple[Name, Name], ...]
    texts: Count
    tokens: tuple[Count, Count]
    band: TextBand
    rates: AlarmRates | None = None
    held_out: AlarmRates | None = None
