"""The drawings of a report, as SVG: distances on a line, and the bits of hashes."""

import math
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Final

from crynux_validate.algorithms import HASH_BITS

if TYPE_CHECKING:
    from crynux_validate.calibration.rates import Curve

GOOD, BAD, UNSURE = "#1a7f4b", "#c0262d", "#8a5a00"
INK, PALE, RULE = "#1c2430", "#5b6675", "#d5dae1"
_SET, _CLEAR = "#2f4d7a", "#e3e9f2"
_OTHERS: Final = ("#c0262d", "#2f4d7a", "#8a5a00", "#7a3e9d", "#00788a", "#5b6675")

_LEFT, _WIDTH, _ROW = 150, 640, 30


def distances(rows: Sequence[tuple[str, int | None, str]], threshold: int, slash_threshold: int) -> str:
    """Draw how far each member's answer is from the delivered one.

    Parameters
    ----------
    rows
        For each member its name as it may stand in a page, the distance in bits (None where there is none), and a
        colour.
    threshold, slash_threshold
        Where two images still count as the same, and where a slash begins.
    """

    def at(bits: float) -> float:
        return _LEFT + bits / HASH_BITS * _WIDTH

    high = 46 + _ROW * len(rows)
    parts = [
        f'<svg class="wide" viewBox="0 0 {_LEFT + _WIDTH + 20} {high + 40}" role="img" '
        'aria-label="distance of each answer from the delivered one">',
        box(at(0), 30, at(threshold) - at(0), high - 30, "#eaf5ee"),
        box(at(threshold), 30, at(slash_threshold) - at(threshold), high - 30, "#faf3e3"),
        box(at(slash_threshold), 30, at(HASH_BITS) - at(slash_threshold), high - 30, "#fbeaea"),
        words(at(0) + 4, 22, "counts as the same", GOOD),
    ]
    if slash_threshold - threshold >= 7:
        parts.append(words(at(threshold) + 4, 22, "no pay", UNSURE))
    parts.append(words(at(slash_threshold) + 4, 22, "far enough for a slash", BAD))
    for bits in range(0, HASH_BITS + 1, 8):
        parts.append(f'<line x1="{at(bits)}" y1="{high}" x2="{at(bits)}" y2="{high + 5}" stroke="{PALE}"/>')
        parts.append(words(at(bits), high + 20, str(bits), PALE, "middle"))
    parts.append(words(at(HASH_BITS / 2), high + 37, "bits that differ from the delivered hash", PALE, "middle"))
    for number, (name, apart, colour) in enumerate(rows):
        y = 46 + _ROW * number
        parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{_LEFT + _WIDTH}" y2="{y}" stroke="{RULE}"/>')
        parts.append(f'<text x="{_LEFT - 10}" y="{y + 5}" text-anchor="end" fill="{INK}">{name}</text>')
        if apart is None:
            parts.append(words(_LEFT + 6, y - 4, "no distance", PALE))
        else:
            parts.append(f'<circle cx="{at(apart)}" cy="{y}" r="7" fill="{colour}"/>')
            parts.append(words(at(apart) + 11, y - 5, str(apart), colour))
    return "".join([*parts, "</svg>"])


def bands(rows: "Sequence[tuple[str, Sequence[float] | None, str]]", names: Sequence[str], far: float) -> str:
    """Draw how far each member's values are from the delivered ones, a bar for each band.

    Parameters
    ----------
    rows
        For each member its name as it may stand in a page, the difference in multiples of the limit for each band (None
        where there is none), and a colour.
    names
        Of the bands.
    far
        Where a slash begins, in limits. What is beyond twice that is cut.
    """
    top, bar, most = 34, 13, 2 * far

    def at(limits: float) -> float:
        return _LEFT + limits / most * _WIDTH

    heights = [28 + bar * (len(names) if apart is not None else 0) for _, apart, _ in rows]
    high = top + sum(heights)
    parts = [
        f'<svg class="wide" viewBox="0 0 {_LEFT + _WIDTH + 60} {high + 40}" role="img" '
        'aria-label="difference of the values of each answer from the delivered ones, band by band">',
        box(at(0), top - 10, at(1) - at(0), high - top + 10, "#eaf5ee"),
        box(at(1), top - 10, at(far) - at(1), high - top + 10, "#faf3e3"),
        box(at(far), top - 10, at(most) - at(far), high - top + 10, "#fbeaea"),
        words(at(0) + 4, 16, "counts as the same", GOOD),
        words(at(1) + 4, 16, "no pay", UNSURE),
        words(at(far) + 4, 16, "far enough for a slash", BAD),
    ]
    for limits in range(round(most) + 1):
        parts.append(words(at(limits), high + 18, str(limits), PALE, "middle"))
    parts.append(words(at(far), high + 35, "difference, in multiples of the limit of each band", PALE, "middle"))
    y = top
    for (name, apart, colour), height in zip(rows, heights, strict=True):
        parts.append(f'<text x="4" y="{y + 10}" fill="{colour}" font-weight="bold" font-size="13">{name}</text>')
        if apart is None:
            parts.append(words(_LEFT + 6, y + 12, "no values", PALE))
        for place, (band, far_by) in enumerate(zip(names, apart or (), strict=False)):
            down = y + 16 + bar * place
            where = UNSURE if 1 < far_by <= far else BAD if far_by > far else GOOD
            shown_at = min(far_by, most)
            parts.append(
                f'<text x="{_LEFT - 6}" y="{down + 10}" text-anchor="end" font-size="10" fill="{PALE}">{band}</text>'
            )
            parts.append(box(at(0), down + 2, max(1.5, at(shown_at) - at(0)), bar - 4, where))
            if far_by > most:
                parts.append(
                    f'<text x="{at(most) + 4}" y="{down + 10}" font-size="10" fill="{BAD}">{far_by:.1f}</text>'
                )
        y += height
    return "".join([*parts, "</svg>"])


def rates(
    places: Sequence[int],
    curves: "Sequence[tuple[str, Curve]]",
    members: Sequence[tuple[str, int]],
    threshold: int,
    slash_threshold: int,
) -> str:
    """Draw how often pairs of answers are a distance apart, on a logarithmic scale, with the members' distances.

    Parameters
    ----------
    places
        The thresholds of the curves.
    curves
        The first falls: honest pairs that are so far apart or farther. The others rise: answers of a cheat that are
        nearer to an honest one.
    members
        Names, and distances in bits.
    threshold, slash_threshold
        Where two images still count as the same, and where a slash begins.
    """
    top, high, least = 50, 330, 1e-5

    def at(bits: float) -> float:
        return _LEFT + bits / HASH_BITS * _WIDTH

    def up(rate: float) -> float:
        return top + (high - top) * math.log10(max(rate, least)) / math.log10(least)

    parts = [
        f'<svg class="wide" viewBox="0 0 {_LEFT + _WIDTH + 20} {high + 60 + 20 * len(curves)}" role="img" '
        'aria-label="how often pairs of answers are a distance apart">'
    ]
    for power in range(0, -6, -1):
        y = up(10.0**power)
        parts.append(f'<line x1="{_LEFT}" y1="{y:g}" x2="{_LEFT + _WIDTH}" y2="{y:g}" stroke="{RULE}"/>')
        parts.append(words(_LEFT - 8, y + 5, f"{10.0**power:g}" if power > -5 else "0.00001 or less", PALE, "end"))
    for bits in range(0, HASH_BITS + 1, 8):
        parts.append(words(at(bits), high + 18, str(bits), PALE, "middle"))
    parts.append(words(at(HASH_BITS / 2), high + 36, "distance in bits", PALE, "middle"))
    for bits, colour in ((threshold, UNSURE), (slash_threshold, BAD)):
        parts.append(line(at(bits), top, high, colour, "6 4"))
    for number, (name, curve) in enumerate(curves):
        colour = GOOD if not number else _OTHERS[(number - 1) % len(_OTHERS)]
        points = [
            (at(bits), up(curve.high[place]))
            for place, first in enumerate(places)
            for bits in (first, (*places, HASH_BITS + 1)[place + 1] - 1)
        ]
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{through}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        what = "honest pairs: so far apart or farther" if not number else f"{name}: nearer than this"
        y = high + 58 + 20 * number
        parts.append(box(_LEFT, y - 9, 22, 5, colour))
        parts.append(words(_LEFT + 30, y, what, INK))
    for number, (name, bits) in enumerate(members):
        parts.append(line(at(bits), top - 8, high, INK, "2 4"))
        parts.append(words(at(bits) + 4, 14 + 14 * (number % 3), f"{name} {bits}", INK))
    return "".join([*parts, "</svg>"])


def bits(own: int, delivered: int | None) -> str:
    """Draw the 64 bits of a hash, first bit at the top left; those that differ from the delivered one have a frame."""
    parts = ['<svg class="bits" viewBox="0 0 164 164" role="img" aria-label="64 bits of a hash">']
    for at in range(HASH_BITS):
        shift = HASH_BITS - 1 - at
        x, y = 2 + at % 8 * 20, 2 + at // 8 * 20
        fill = _SET if own >> shift & 1 else _CLEAR
        parts.append(box(x + 1, y + 1, 18, 18, fill))
        if delivered is not None and (own ^ delivered) >> shift & 1:
            parts.append(
                f'<rect x="{x + 2}" y="{y + 2}" width="16" height="16" fill="none" stroke="{BAD}" stroke-width="4"/>'
            )
    return "".join([*parts, "</svg>"])


def box(x: float, y: float, width: float, height: float, fill: str) -> str:
    """A filled rectangle."""
    return f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" fill="{fill}"/>'


def line(x: float, top: float, bottom: float, colour: str, dashes: str = "none") -> str:
    """An upright line."""
    return f'<line x1="{x:g}" y1="{top}" x2="{x:g}" y2="{bottom}" stroke="{colour}" stroke-dasharray="{dashes}"/>'


def words(x: float, y: float, text: str, fill: str, anchor: str = "start") -> str:
    """A text, which is escaped."""
    return f'<text x="{x:g}" y="{y:g}" fill="{fill}" font-size="13" text-anchor="{anchor}">{escape(text)}</text>'
