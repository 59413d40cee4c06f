"""The tables of what was measured: honest machines, and how many of the audits find each cheat."""

from collections.abc import Sequence

import numpy as np

from benchmarks.image_audits.rows import Rows, record_of
from crynux_validate.audits.bands import AuditBands
from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.image_bands import AlarmRates, ImageBands
from crynux_validate.calibration.audits.rates import accused, outside
from crynux_validate.calibration.audits.records import ImageRecord
from crynux_validate.calibration.intervals import Clustering, bounds

COUNTS = (1, 3, 5, 10)


def honest(bands: AuditBands) -> str:
    """Honest audits under the band that was made from them, and held out by kind and half of the prompts."""
    lines = [
        "| dtype | band | pictures | pairs of kinds | checks | alarms | at most | audits of 5 | alarms | at most |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for dtype, found in bands.images.items():
        for what, rates in (("from these", found.rates), ("other kinds and prompts", found.held_out)):
            if rates is not None:
                lines.append(f"| {dtype} | {what} | {_said(rates)} |")
    return "\n".join([*lines, ""])


def _said(rates: AlarmRates) -> str:
    numbers = (rates.things, rates.pairs, rates.checks, rates.outside, rates.outside_most, rates.audits, rates.accused)
    return " | ".join(map(str, (*numbers, rates.accused_most)))


def cheats(rows: Rows, bands: AuditBands) -> str:
    """How many of the audits with k drawn steps find each cheat."""
    lines = [
        "| dtype | cheat | pictures | first latent | k=1 | k=3 | k=5 | k=10 | known rounding: k=1 | k=5 | k=10 |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for dtype, fit in bands.images.items():
        own = [row for row in rows if row["dtype"] == dtype and row["cheat"] is not None]
        for cheat in dict.fromkeys(row["cheat"] for row in own):
            found = [row for row in own if row["cheat"] == cheat]
            first = sum(row["first"] == AuditFinding.CHEAT for row in found) / len(found)
            records = [record_of(row) for row in found]
            known = [record_of(row, against=True) for row in found]
            asked = any(len(record.values["against"]) for record in known)
            cells = [_rate(records, fit, count) for count in COUNTS]
            cells += [_rate(known, fit, count) if asked else "" for count in (1, 5, 10)]
            lines.append(f"| {dtype} | {cheat} | {len(records)} | {first:.0%} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _rate(records: Sequence[ImageRecord], fit: ImageBands, count: int) -> str:
    """The share of draws that find a cheat, with bounds by picture."""
    pictures: dict[object, list[float]] = {}
    for record in records:
        band = fit.band(record.scheduler)
        assert band is not None
        found = accused(record, band, count, outside(record, band))
        pictures.setdefault(record.origin.thing, []).append(float(np.mean(found)))
    means = np.array([[np.mean(of)] for of in pictures.values()])
    rate = bounds(len(means), {"picture": Clustering(means, np.ones(len(means)))})
    return f"{100 * rate.rate[0]:.4g}% ({100 * rate.low[0]:.3g} to {100 * rate.high[0]:.3g})"


__all__ = ["cheats", "honest"]
