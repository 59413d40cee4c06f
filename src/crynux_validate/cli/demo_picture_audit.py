"""The audits of the demo's picture: how far each drawn step is off, beside what honest machines are off."""

import math
from typing import Final

from PIL import ImageDraw, ImageFont

from crynux_validate.audits.findings import AuditFinding
from crynux_validate.cli.audit_told import ToldAudit

INK, PALE, RULE = "#1c2430", "#5b6675", "#d5dae1"
GOOD, BAD, UNSURE = "#1a7f4b", "#c0262d", "#9a6700"
GOOD_ZONE, BAD_ZONE = "#eaf5ee", "#fbeaea"

MEANS: Final = {
    AuditFinding.MATCH: "equal bits",
    AuditFinding.NOISE: "off as honest machines are",
    AuditFinding.CHEAT: "not the work that was asked",
    AuditFinding.INCOMPARABLE: "it cannot be said",
}
_COLOURS: Final = {AuditFinding.MATCH: GOOD, AuditFinding.NOISE: GOOD, AuditFinding.CHEAT: BAD}

WIDE: Final = 256
_TOP, _ROW, _LABEL = 36, 22, 106
_LEAST, _MOST = 1e-2, 1e3
"""The ends of the scale, as multiples of the band."""


def audit_height(parts: int) -> int:
    """How high an audit of so many parts is."""
    return _TOP + parts * _ROW + 24


def draw_audit(pen: ImageDraw.ImageDraw, left: int, top: int, told: ToldAudit) -> None:
    """Draw an audit: a row for each part, with a dot where it is on a logarithmic scale."""
    colour = _COLOURS.get(told.finding, UNSURE)
    pen.text((left, top), str(told.finding), fill=colour, font=ImageFont.load_default(24))
    wide = pen.textlength(str(told.finding), font=ImageFont.load_default(24))
    pen.text((left + wide + 10, top + 9), MEANS[told.finding], fill=PALE, font=ImageFont.load_default(13))
    first, bottom = top + _TOP, top + _TOP + len(told.parts) * _ROW
    pen.rectangle((left + _LABEL, first, _at(left, 1), bottom), fill=GOOD_ZONE)
    pen.rectangle((_at(left, 1), first, left + WIDE, bottom), fill=BAD_ZONE)
    small = ImageFont.load_default(13)
    for number, part in enumerate(told.parts):
        y = first + number * _ROW + _ROW // 2
        colour = _COLOURS.get(part.finding, UNSURE)
        pen.text((left, y - 8), part.name, fill=INK, font=small)
        if part.times is None:
            pen.text((left + _LABEL + 6, y - 8), str(part.finding), fill=colour, font=small)
            continue
        pen.line((left + _LABEL, y, left + WIDE, y), fill=RULE)
        x = _at(left, part.times)
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
        if part.finding is AuditFinding.CHEAT and part.times > 1:
            many = f"x{part.times:,.{0 if part.times >= 10 else 1}f}" if math.isfinite(part.times) else "no number"
            fits = x - 10 - pen.textlength(many, font=small) > _at(left, 1) + 2
            pen.text((x - 10 if fits else x + 10, y - 8), many, fill=colour, font=small, anchor="ra" if fits else "la")
    pen.line((_at(left, 1), first, _at(left, 1), bottom + 4), fill=PALE, width=2)
    pen.text((_at(left, 1), bottom + 6), "honest up to here", fill=PALE, font=small, anchor="ma")


def _at(left: int, times: float) -> float:
    """Where a multiple of the band is."""
    share = math.log(min(max(times, _LEAST), _MOST) / _LEAST) / math.log(_MOST / _LEAST)
    return left + _LABEL + 6 + share * (WIDE - _LABEL - 12)
