"""The tables of what was measured, and the bands that are made from it."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np

from benchmarks.text_audits.measure import SECOND, WRONG_SEED, Measured
from benchmarks.text_audits.plan import CHEATS, HONEST, WAYS
from benchmarks.text_audits.rates import auc, peak, tail
from crynux_validate import ModelRef
from crynux_validate.audits.bands import AuditBands
from crynux_validate.audits.text_bands import TextBand
from crynux_validate.calibration.audits.calibrating import LEAST_TEXTS, bands_of
from crynux_validate.calibration.audits.fitting import fit_texts
from crynux_validate.calibration.audits.rates import POSITIONS, by_rows, crossing, drawn_rows, held_out

LEAST_FOR_A_TAIL: Final = 100
"""Fewer texts have no tail that could be fitted."""


def bands(found: Sequence[Measured], model: ModelRef) -> AuditBands:
    """Make the bands of all dtypes that have enough texts."""
    honest = [each.record(str(model.digest)) for each in found if each.text.who == HONEST]
    counts = Counter(record.origin.dtype for record in honest)
    return bands_of([], [record for record in honest if counts[record.origin.dtype] >= LEAST_TEXTS], made_from="")


def tables(found: Sequence[Measured], made: AuditBands) -> str:
    """All tables in Markdown."""
    return "\n\n".join(
        [_honest(found, made), _false_alarms(made), _tails(found, made), _by_kind(found), _detection(found, made)]
    )


def _of_dtype(texts: Iterable[Measured], dtype: str) -> list[Measured]:
    return [each for each in texts if each.text.way.startswith(dtype)]


def _band(each: Measured, made: AuditBands) -> TextBand | None:
    found = made.texts.get(each.text.way.split(", ")[0])
    return None if found is None else found.band


def _held_out(found: Sequence[Measured], dtype: str) -> list[tuple[Measured, TextBand]]:
    """Each honest text with a band that was made without its kind of machine and its half of the prompts."""
    records = {each.record(""): each for each in _of_dtype(found, dtype) if each.text.who == HONEST}
    return [(records[record], fit.band) for record, fit in held_out(list(records), fit_texts)]


def _honest(found: Sequence[Measured], made: AuditBands) -> str:
    """What honest texts are like, way by way."""
    rows = []
    for way in WAYS:
        texts = [each for each in found if each.text.who == HONEST and each.text.way == way]
        band = _band(texts[0], made) if texts else None
        if band is None:
            continue
        margins = np.array([each.margins for each in texts])
        peaks = [peak(each.margins, band) for each in texts]
        logs = [each.rows.mean() for each in texts]
        sums = margins.sum(axis=1)
        rows.append((
            way, len(texts), f"{(margins > 0).mean():.2%}", f"{margins.max():.3g}", f"{np.median(sums):.3g}",
            f"{sums.max():.3g}", f"{max(peaks):.3g} of {band.start:.3g}", f"{min(logs):.2f} to {max(logs):.2f}",
        ))  # fmt: skip
    head = ("honest texts", "number", "odd tokens", "largest margin", "sum of a text: median", "largest",
            "highest above the slope", "rows, all positions")  # fmt: skip
    return _table(head, rows)


def _false_alarms(made: AuditBands) -> str:
    """False alarms of bands that were made from other kinds and other prompts."""
    rows = []
    for dtype, found in made.texts.items():
        rates = found.held_out
        if rates is not None:
            rows.append((dtype, f"{rates.accused} of {rates.audits}", f"{rates.accused_most:.2%}", rates.outside))
    return _table(("false alarms, held out", "texts", "95%", "by rows"), rows)


def _tails(found: Sequence[Measured], made: AuditBands) -> str:
    """What a fitted tail says of the false alarms at the limit of the margins: a model, and no measurement."""
    rows = []
    for dtype in made.texts:
        ways = [peak(each.margins, band) / band.start for each, band in _held_out(found, dtype)]
        if len(ways) < LEAST_FOR_A_TAIL or max(ways) <= 0:
            continue
        fit = tail(ways)
        rows.append((
            dtype, f"{fit.beyond} of {fit.texts}", f"{max(ways):.3f}", f"{fit.threshold:.3f}", f"{fit.shape:.2f}",
            f"{fit.scale:.3f}", f"{fit.rate:.1e}", f"{fit.most:.1e}", f"{fit.flat:.1e}", f"{fit.flat_most:.1e}",
        ))  # fmt: skip
    head = ("tail, a model", "texts beyond the threshold", "furthest (1 is the limit)", "threshold", "shape", "scale",
            "false alarms by it", "95%", "with an exponential tail", "95%")  # fmt: skip
    return _table(head, rows)


def _by_kind(found: Sequence[Measured]) -> str:
    """What each kind's honest texts in 16 bits are like."""
    rows = []
    for dtype in ("bfloat16", "float16"):
        honest = [each for each in _of_dtype(found, dtype) if each.text.who == HONEST]
        for kind in sorted({each.kind for each in honest}):
            texts = [each for each in honest if each.kind == kind]
            margins, logs = np.array([each.margins for each in texts]), [each.rows.mean() for each in texts]
            rows.append((
                dtype, f"`{kind}`", len(texts), f"{(margins > 0).mean():.2%}", f"{margins.max():.3g}",
                f"{margins.sum(axis=1).max():.3g}", f"{np.mean(logs):.3f}", f"{np.std(logs):.3f}",
            ))  # fmt: skip
    head = ("dtype", "kind", "texts", "odd tokens", "largest margin", "largest sum", "rows: mean", "between texts")
    return _table(head, rows)


def _detection(found: Sequence[Measured], made: AuditBands) -> str:
    """How well each cheat is told from honest texts of the same way."""
    rows = []
    for way in WAYS:
        honest = [each for each in found if each.text.who == HONEST and each.text.way == way]
        band = _band(honest[0], made) if honest else None
        if band is None:
            continue
        calm, calm_rows = [peak(each.margins, band) for each in honest], [_rows(each, band) for each in honest]
        for who in (*CHEATS, WRONG_SEED):
            if who == WRONG_SEED:
                cheats = [each for each in honest if who in each.others]
                margins = [each.others[who] for each in cheats]
            else:
                cheats = [each for each in found if each.text.who == who and each.text.way == way]
                margins = [each.margins for each in cheats]
            if not cheats:
                continue
            after = [crossing(each, band) for each in margins]
            caught = sorted(each for each in after if each is not None)
            by_row = [by_rows(each.record(""), band) for each in cheats] if who != WRONG_SEED else []
            by_more = [by_rows(each.record(""), band, 2 * POSITIONS) for each in cheats]
            second = SECOND.get(who, "")
            better = [_better(each, second, band) for each in cheats if second in each.others]
            calm_second = [_better(each, second, band) for each in honest if second in each.others]
            rows.append((
                who, way, len(cheats), f"{auc(calm, [peak(each, band) for each in margins]):.4f}",
                f"{len(caught)} of {len(cheats)}", caught[len(caught) // 2] if caught else "-",
                f"{auc(calm_second, better):.4f}" if better else "-",
                f"{sum(each > band.against for each in better)} of {len(better)}" if better else "-",
                f"{max(calm_second):.3g}" if better else "-",
                f"{auc(calm_rows, [_rows(each, band) for each in cheats]):.4f}" if by_row else "-",
                f"{sum(by_row)}, {sum(by_more)} of {len(by_row)}" if by_row else "-",
            ))  # fmt: skip
    head = (
        *("cheat", "way", "texts", "AUC, margins", "found", "after tokens (median)", "AUC, second hypothesis"),
        *("found by it", "its largest honest", "AUC, 32 rows", "found by 32 rows, by 64"),
    )
    return _table(head, rows)


def _better(each: Measured, second: str, band: TextBand) -> float:
    """How much better a second hypothesis explains a text."""
    own, other = (np.minimum(margins, band.clip).sum() for margins in (each.margins, each.others[second]))
    return float(own - other)


def _rows(each: Measured, band: TextBand) -> float:
    """How far a text's drawn rows are from the middle of the band, on whichever side."""
    return abs(float(drawn_rows(each.record("")).mean()) - band.top_mean)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
