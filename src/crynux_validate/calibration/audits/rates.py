"""How often bands are wrong: about the audits that they were made from, and about others that were held out."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Final, TypeAlias, TypeVar

import numpy as np

from crynux_validate.audits.findings import AuditFinding
from crynux_validate.audits.image import Errors, furthest_mean, judge_step
from crynux_validate.audits.image_bands import AlarmRates, Band, ImageBands
from crynux_validate.audits.text_bands import TextBand, TextBands
from crynux_validate.calibration.audits.records import ImageRecord, Origin, TextRecord
from crynux_validate.calibration.intervals import Clustering, Floats, bounds

DRAWN: Final = 50
"""So often steps are drawn of one picture, where there are so many ways."""
STEPS: Final = 5
"""Of how many steps an audit of an image is."""
POSITIONS: Final = 32
"""Of how many rows an audit of a text is."""

Record = TypeVar("Record", ImageRecord, TextRecord)
Fit = TypeVar("Fit", ImageBands, TextBands)
_Judged: TypeAlias = tuple[Origin, Sequence[bool], Sequence[bool]]


def image_rates(judged: Sequence[tuple[ImageRecord, ImageBands]]) -> AlarmRates | None:
    """Return how often honest pictures are accused, each by the band beside it."""
    found = []
    for record, fit in judged:
        band = fit.band(record.scheduler)
        if band is not None:
            single = outside(record, band)
            found.append((record.origin, single, accused(record, band, STEPS, single)))
    return _rates(found)


def text_rates(judged: Sequence[tuple[TextRecord, TextBands]]) -> AlarmRates | None:
    """Return how often honest texts are accused, each by the band beside it."""
    found = []
    for record, fit in judged:
        rows = by_rows(record, fit.band)
        found.append((record.origin, [rows], [rows or crossing(record.margins, fit.band) is not None]))
    return _rates(found)


def held_out(records: Sequence[Record], fit: Callable[[Sequence[Record]], Fit | None]) -> Iterator[tuple[Record, Fit]]:
    """Give each audit the band that is made without its node's kind and without its half of the prompts.

    Where too little is left without its kind, only the prompts are held out. Where one kind audits all others, it is
    left in.
    """
    one_auditor = len({record.origin.auditor for record in records}) == 1
    for half in (0, 1):
        rest = [record for record in records if record.origin.half != half]
        for kind in sorted({record.origin.node for record in records if record.origin.half == half}):
            tested = [record for record in records if (record.origin.node, record.origin.half) == (kind, half)]
            others = [
                record
                for record in rest
                if kind != record.origin.node and (one_auditor or kind != record.origin.auditor)
            ]
            found = (fit(others) if others else None) or (fit(rest) if rest else None)
            if found is not None:
                yield from ((record, found) for record in tested)


def outside(record: ImageRecord, band: Band) -> list[bool]:
    """Whether each step is outside the band."""
    return [not step.equal and judge_step(0, step, band).finding is AuditFinding.CHEAT for step in record.steps]


def accused(record: ImageRecord, band: Band, count: int, single: Sequence[bool]) -> list[bool]:
    """Whether audits of so many drawn steps accuse the node; always the same draws. `single` is what `outside` says."""
    return [_accused(record.steps, single, chosen, band) for chosen in _draws(len(single), count)]


def _draws(steps: int, count: int) -> list[tuple[int, ...]]:
    if count == 1:
        return [(at,) for at in range(steps)]
    generator = np.random.default_rng([steps, count])
    count = min(count, steps)
    return [tuple(sorted(generator.choice(steps, count, replace=False))) for _ in range(DRAWN)]


def _accused(errors: Sequence[Errors], single: Sequence[bool], chosen: Sequence[int], band: Band) -> bool:
    if any(single[at] for at in chosen):
        return True
    other = [errors[at] for at in chosen if not errors[at].equal]
    return len(other) > 1 and furthest_mean(other, band)[3] > 1


def height(margins: Floats, band: TextBand) -> Floats:
    """How far the sum of the margins is above the slope, after each token; float64 of shape (tokens,)."""
    return np.asarray(np.cumsum(np.minimum(margins, band.clip)) - band.slope * np.arange(1, len(margins) + 1))


def crossing(margins: Floats, band: TextBand) -> int | None:
    """After how many tokens an audit by this band finds a cheat; None where it does not."""
    over = np.flatnonzero((height(margins, band) > band.start) | (margins >= band.alone))
    return int(over[0]) + 1 if len(over) else None


def drawn_rows(record: TextRecord, positions: int = POSITIONS) -> Floats:
    """The rows of positions that are drawn: always the same for a text."""
    rng = np.random.default_rng(len(record.rows))
    return record.rows[rng.choice(len(record.rows), min(positions, len(record.rows)), replace=False)]


def by_rows(record: TextRecord, band: TextBand, positions: int = POSITIONS) -> bool:
    """Whether an audit finds a text's drawn rows too far from the reference's, or too near."""
    rows = drawn_rows(record, positions)
    low, high = band.top_limits(len(rows))
    return not low <= rows.mean() <= high


def _rates(judged: Sequence[_Judged]) -> AlarmRates | None:
    if not judged:
        return None
    bounded = []
    for by in ("thing", "pair"):
        groups: dict[Hashable, list[tuple[float, float]]] = {}
        for origin, checks, audits in judged:
            groups.setdefault(getattr(origin, by), []).append((float(np.mean(checks)), float(np.mean(audits))))
        bounded.append(Clustering(np.array([np.sum(of, axis=0) for of in groups.values()]),
                                  np.array([float(len(of)) for of in groups.values()])))  # fmt: skip
    things, pairs = bounded
    most = bounds(len(things.weights), {"picture": things, "pair of kinds": pairs}).high
    return AlarmRates(
        things=len(things.weights),
        pairs=len(pairs.weights),
        checks=sum(len(checks) for _, checks, _ in judged),
        outside=sum(sum(checks) for _, checks, _ in judged),
        outside_most=float(f"{most[0]:.3g}"),
        audits=sum(len(audits) for _, _, audits in judged),
        accused=sum(sum(audits) for _, _, audits in judged),
        accused_most=float(f"{most[1]:.3g}"),
    )
